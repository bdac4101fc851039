//! The one place where failures become status codes and error types.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use marigram_query::{QueryError, QueryErrorKind, json};
use marigram_storage::{Error, ErrorKind};

/// Seconds after which a client that met an overload should try again.
pub const RETRY_AFTER_S: u64 = 5;

/// The error types of Prometheus' API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// A parameter is wrong.
    BadData,
    /// The query failed on this data.
    Execution,
    /// The deadline passed.
    Timeout,
    /// The client went away.
    Canceled,
    /// Not now.
    Unavailable,
    /// A bug or a failing machine.
    Internal,
    /// No such thing.
    NotFound,
}

impl ErrorType {
    /// As answers name it.
    pub fn name(self) -> &'static str {
        match self {
            ErrorType::BadData => "bad_data",
            ErrorType::Execution => "execution",
            ErrorType::Timeout => "timeout",
            ErrorType::Canceled => "canceled",
            ErrorType::Unavailable => "unavailable",
            ErrorType::Internal => "internal",
            ErrorType::NotFound => "not_found",
        }
    }

    pub(super) fn status(self) -> StatusCode {
        match self {
            ErrorType::BadData => StatusCode::BAD_REQUEST,
            ErrorType::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorType::Timeout | ErrorType::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            // 499, "client closed request": no client is left to read it, but metrics and proxies tell it apart.
            ErrorType::Canceled => StatusCode::from_u16(499).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            ErrorType::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            ErrorType::NotFound => StatusCode::NOT_FOUND,
        }
    }
}

/// A failed read request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// Which kind.
    pub error_type: ErrorType,
    /// For people.
    pub message: String,
    /// Where it differs from the kind's own.
    pub status: Option<StatusCode>,
}

impl ApiError {
    /// A failure of this kind.
    pub fn new(error_type: ErrorType, message: impl Into<String>) -> Self {
        ApiError { error_type, message: message.into(), status: None }
    }

    /// A wrong parameter.
    pub fn bad_data(message: impl Into<String>) -> Self {
        ApiError::new(ErrorType::BadData, message)
    }

    /// Not now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        ApiError::new(ErrorType::Unavailable, message)
    }

    /// With another status code.
    #[must_use]
    pub fn with_status(self, status: StatusCode) -> Self {
        ApiError { status: Some(status), ..self }
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        let error_type = match error.kind {
            QueryErrorKind::BadData => ErrorType::BadData,
            QueryErrorKind::Execution => ErrorType::Execution,
            QueryErrorKind::Timeout => ErrorType::Timeout,
            QueryErrorKind::Canceled => ErrorType::Canceled,
            QueryErrorKind::Unavailable => ErrorType::Unavailable,
            QueryErrorKind::Internal => ErrorType::Internal,
        };
        ApiError::new(error_type, error.message)
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        QueryError::from(error).into()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = Vec::new();
        json::write_error(&mut body, self.error_type.name(), &self.message);
        let status = self.status.unwrap_or(self.error_type.status());
        let mut response = (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE && self.error_type == ErrorType::Unavailable {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
        }
        response
    }
}

/// A write that was not, or not wholly, stored. Answered as plain text, as Prometheus does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteError {
    /// What the sender acts on.
    pub status: StatusCode,
    /// For people.
    pub message: String,
}

impl WriteError {
    /// A refusal.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        WriteError { status, message: message.into() }
    }

    /// Not now: the sender keeps the data and repeats.
    pub fn unavailable(message: impl Into<String>) -> Self {
        WriteError::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }
}

impl From<Error> for WriteError {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::BadInput => StatusCode::BAD_REQUEST,
            ErrorKind::Unavailable | ErrorKind::LimitExceeded | ErrorKind::Timeout | ErrorKind::Cancelled => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            // Whether it was stored is not known; repeating it is harmless.
            ErrorKind::Corrupt | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        WriteError::new(status, error.to_string())
    }
}

impl IntoResponse for WriteError {
    fn into_response(self) -> Response {
        let content_type = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
        let mut response = (self.status, content_type, self.message + "\n").into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
        }
        response
    }
}
