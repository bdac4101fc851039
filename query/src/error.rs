//! Why a query has no answer, in Prometheus' words where Prometheus has some.

use marigram_storage::{Error, ErrorKind};

/// What the caller does about it; the server maps each to a status code and an `errorType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryErrorKind {
    /// The query or a parameter is wrong: `bad_data`, 400.
    BadData,
    /// The query is legal, but evaluating it on this data failed: `execution`, 422.
    Execution,
    /// The deadline passed: `timeout`, 503.
    Timeout,
    /// The client gave up: `canceled`, 503 (499 in access logs).
    Canceled,
    /// Data that belongs to the answer cannot be read now: `unavailable`, 503.
    Unavailable,
    /// A bug or a failing machine: `internal`, 500.
    Internal,
}

/// A failed query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct QueryError {
    /// What the caller does about it.
    pub kind: QueryErrorKind,
    /// For people.
    pub message: String,
}

impl QueryError {
    /// An evaluation that failed.
    pub fn execution(message: impl Into<String>) -> Self {
        QueryError { kind: QueryErrorKind::Execution, message: message.into() }
    }

    /// A query or parameter that is wrong.
    pub fn bad_data(message: impl Into<String>) -> Self {
        QueryError { kind: QueryErrorKind::BadData, message: message.into() }
    }

    /// A state that the code rules out.
    pub fn internal(message: impl Into<String>) -> Self {
        QueryError { kind: QueryErrorKind::Internal, message: message.into() }
    }

    /// More samples than the engine's limit would be held at once.
    pub fn too_many_samples() -> Self {
        QueryError::execution("query processing would load too many samples into memory in query execution")
    }

    /// Two series of a vector ended up with the same labels.
    pub fn same_labelset() -> Self {
        QueryError::execution("vector cannot contain metrics with the same labelset")
    }
}

impl From<Error> for QueryError {
    fn from(error: Error) -> Self {
        let (kind, message) = match error.kind() {
            ErrorKind::BadInput => (QueryErrorKind::BadData, error.to_string()),
            ErrorKind::LimitExceeded => (QueryErrorKind::Execution, error.to_string()),
            ErrorKind::Timeout => (QueryErrorKind::Timeout, "query timed out in expression evaluation".to_owned()),
            ErrorKind::Cancelled => {
                (QueryErrorKind::Canceled, "query was canceled in expression evaluation".to_owned())
            }
            // Damaged data would make the answer short, so it is as good as not there.
            ErrorKind::Unavailable | ErrorKind::Corrupt => (QueryErrorKind::Unavailable, error.to_string()),
            ErrorKind::Internal => (QueryErrorKind::Internal, error.to_string()),
        };
        QueryError { kind, message }
    }
}
