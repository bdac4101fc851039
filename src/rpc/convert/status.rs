//! Errors as gRPC carries them. The kind travels as the code, the sentence as the message.

use std::error::Error as _;

use marigram_storage::{Error, ErrorKind};
use tonic::{Code, Status};

/// Longest message that is sent: it travels in a header.
const MESSAGE_BYTES_MAX: usize = 4096;

/// An error as it is answered.
pub fn encode(error: &Error) -> Status {
    let code = match error.kind() {
        ErrorKind::BadInput => Code::InvalidArgument,
        ErrorKind::LimitExceeded => Code::ResourceExhausted,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Timeout => Code::DeadlineExceeded,
        ErrorKind::Cancelled => Code::Cancelled,
        ErrorKind::Corrupt => Code::DataLoss,
        ErrorKind::Internal => Code::Internal,
    };
    let mut message = error.to_string();
    if message.len() > MESSAGE_BYTES_MAX {
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
    }
    Status::new(code, message)
}

/// What `address` answered, or that it could not be reached.
pub fn decode(address: &str, status: &Status) -> Error {
    if let Some(source) = status.source() {
        return Error::Unavailable(format!("{address} does not answer: {}", deepest(source)));
    }
    let kind = match status.code() {
        Code::InvalidArgument => ErrorKind::BadInput,
        Code::ResourceExhausted => ErrorKind::LimitExceeded,
        Code::DeadlineExceeded => ErrorKind::Timeout,
        Code::Cancelled => ErrorKind::Cancelled,
        Code::DataLoss => ErrorKind::Corrupt,
        Code::Unavailable | Code::FailedPrecondition | Code::NotFound => ErrorKind::Unavailable,
        // The connection ended before the answer did.
        Code::Unknown => return Error::Unavailable(format!("{address} broke off its answer: {}", status.message())),
        // Not a node of this version, or not a node at all.
        Code::Unimplemented => {
            return Error::Unavailable(format!("{address} is no storage node that this version can talk to"));
        }
        _ => ErrorKind::Internal,
    };
    Error::Remote { kind, message: status.message().to_owned() }
}

/// The first cause: what the system said.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_and_message_survive_the_way() {
        let errors = [
            Error::BadInput("a".into()),
            Error::Limit("b".into()),
            Error::Overloaded("c".into()),
            Error::Unavailable("no quorum".into()),
            Error::Timeout,
            Error::Cancelled,
            Error::corrupt("block 7", "its checksum differs"),
            Error::UnknownVersion { what: "index".into(), version: 9 },
        ];
        for error in errors {
            let back = decode("here:1", &encode(&error));
            assert_eq!((back.kind(), back.to_string()), (error.kind(), error.to_string()));
        }
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let status = encode(&Error::BadInput("ä".repeat(MESSAGE_BYTES_MAX)));
        assert!(status.message().len() <= MESSAGE_BYTES_MAX && status.message().ends_with('ä'));
    }

    #[test]
    fn a_broken_connection_is_unavailable() {
        let io = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "connection reset");
        let error = decode("here:1", &Status::from_error(Box::new(io)));
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(error.to_string(), "here:1 does not answer: connection reset");
        let broken_off = decode("here:1", &Status::unknown("missing grpc-status"));
        assert_eq!(broken_off.kind(), ErrorKind::Unavailable);
    }
}
