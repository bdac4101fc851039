//! What can go wrong in the storage core, and what the caller does about it.

use std::path::PathBuf;

/// What the caller does. Mapped to HTTP status codes (and gRPC codes) in one place of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is wrong; repeating it will not help.
    BadInput,
    /// A limit of the query was reached; a narrower query may pass.
    LimitExceeded,
    /// The store cannot do it now (overload, full disk, stopped after a failed fsync); repeat later.
    Unavailable,
    /// The deadline passed.
    Timeout,
    /// The caller gave up.
    Cancelled,
    /// Bytes on disk failed their checksum; the answer would be short.
    Corrupt,
    /// A bug or an unexpected failure of the machine.
    Internal,
}

/// A failure of the storage core.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operation on the disk failed.
    #[error("{operation} {}: {message}", path.display())]
    Disk {
        /// What was tried: `open`, `fsync` …
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's words.
        message: String,
    },
    /// A file or section is damaged.
    #[error("{what} is corrupt: {detail}")]
    Corrupt {
        /// Which file or section.
        what: String,
        /// What did not hold.
        detail: String,
    },
    /// An intact file of a format version that this program does not read: it was written by a newer one.
    #[error("{what} has format version {version}, which this version of Marigram cannot read")]
    UnknownVersion {
        /// Which file.
        what: String,
        /// Its version.
        version: u32,
    },
    /// A write or fsync of the WAL failed earlier; only a restart through recovery takes writes again.
    #[error("writes are stopped after a failed disk operation ({0}); restart to recover")]
    Poisoned(String),
    /// The disk is nearly full.
    #[error("the disk has {free_bytes} bytes free, {reserve_bytes} are kept in reserve")]
    DiskFull {
        /// Bytes free now.
        free_bytes: u64,
        /// Bytes that writes may not take.
        reserve_bytes: u64,
    },
    /// Too much is in memory or under way.
    #[error("overloaded: {0}")]
    Overloaded(String),
    /// Whoever would have to answer or to store cannot now: no quorum, no member list, no bucket.
    #[error("{0}")]
    Unavailable(String),
    /// An object of the bucket that a catalog names is not there: most likely the catalog is an old one. Whoever reads the
    /// newest and begins again will find the data in other objects.
    #[error("the bucket has no {0}, although the catalog names its block")]
    MissingObject(String),
    /// The query reached a limit.
    #[error("{0}")]
    Limit(String),
    /// The request is wrong.
    #[error("{0}")]
    BadInput(String),
    /// The deadline of the query passed.
    #[error("query timed out")]
    Timeout,
    /// The query was cancelled.
    #[error("query was cancelled")]
    Cancelled,
    /// What another process answered, in its words.
    #[error("{message}")]
    Remote {
        /// What the caller does about it.
        kind: ErrorKind,
        /// The other's words.
        message: String,
    },
    /// Another process uses the data directory.
    #[error("the data directory {} is in use by another process", .0.display())]
    Locked(PathBuf),
}

impl Error {
    /// What the caller does about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Disk { .. } | Error::UnknownVersion { .. } => ErrorKind::Internal,
            Error::Corrupt { .. } => ErrorKind::Corrupt,
            Error::Poisoned(_)
            | Error::DiskFull { .. }
            | Error::Overloaded(_)
            | Error::Unavailable(_)
            | Error::MissingObject(_) => ErrorKind::Unavailable,
            Error::Limit(_) => ErrorKind::LimitExceeded,
            Error::BadInput(_) => ErrorKind::BadInput,
            Error::Timeout => ErrorKind::Timeout,
            Error::Cancelled => ErrorKind::Cancelled,
            Error::Locked(_) => ErrorKind::Unavailable,
            Error::Remote { kind, .. } => *kind,
        }
    }

    /// A damaged file or section.
    pub fn corrupt(what: impl Into<String>, detail: impl ToString) -> Self {
        Error::Corrupt { what: what.into(), detail: detail.to_string() }
    }
}

/// Shorthand of the crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
