//! What is said to requests that are not passed on: a status and a word.

use crate::metrics::Ended;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Why a request was not passed on to the HSM. The words are stable: programs may match on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotCarried {
    /// The body is no request in its only valid form.
    Malformed,
    /// The body is longer than any request of a device.
    TooLarge,
    /// The body did not come in time.
    TooSlow,
    /// The body is not said to be CBOR.
    NotCbor,
    /// The request carries an API key, which has no business here.
    ApiKey,
    /// It asks for something that devices do not ask for.
    NotOfADevice,
    /// This client, or all of them together, asked too often.
    TooOften {
        /// When it may ask again.
        retry_after_secs: u64,
    },
    /// As many requests are under way as may be.
    Busy,
    /// There is nothing at this path.
    NotFound,
    /// Not with this method.
    Method,
}

impl NotCarried {
    /// One of each.
    pub(crate) const ALL: [Self; 10] = [
        Self::Malformed,
        Self::TooLarge,
        Self::TooSlow,
        Self::NotCbor,
        Self::ApiKey,
        Self::NotOfADevice,
        Self::TooOften { retry_after_secs: 0 },
        Self::Busy,
        Self::NotFound,
        Self::Method,
    ];

    /// The stable word.
    pub(crate) fn word(self) -> &'static str {
        self.said().1
    }
}

#[derive(Serialize)]
struct Told {
    refused: &'static str,
    message: &'static str,
}

impl NotCarried {
    fn said(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Malformed => (
                StatusCode::BAD_REQUEST,
                "malformed-request",
                "The body is not one request in canonical CBOR; docs/approvals.md says how it is encoded.",
            ),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                "The body is longer than any request of a device.",
            ),
            Self::TooSlow => {
                (StatusCode::REQUEST_TIMEOUT, "too-slow", "The body did not come in time; send it again.")
            }
            Self::NotCbor => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "not-cbor",
                "The content type of a request is application/cbor.",
            ),
            Self::ApiKey => (
                StatusCode::FORBIDDEN,
                "api-key-not-taken",
                "The relay takes no API key; whoever has one asks the HSM itself.",
            ),
            Self::NotOfADevice => (
                StatusCode::FORBIDDEN,
                "not-of-a-device",
                "The relay passes on only what a user's device asks.",
            ),
            Self::TooOften { .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                "too-often",
                "Too many requests came from this address, or in total; wait and ask again.",
            ),
            Self::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "Too many requests are under way; ask again in a moment.",
            ),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "There is nothing here."),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Not with this method."),
        }
    }
}

impl IntoResponse for NotCarried {
    fn into_response(self) -> Response {
        let (status, refused, message) = self.said();
        let body = serde_json::to_vec(&Told { refused, message }).expect("it has only strings");
        let json = HeaderValue::from_static("application/json");
        let mut response = (status, [(header::CONTENT_TYPE, json)], body).into_response();
        response.extensions_mut().insert(Ended(refused));
        let wait = match self {
            Self::TooOften { retry_after_secs } => Some(retry_after_secs),
            Self::Busy => Some(1),
            _ => None,
        };
        if let Some(secs) = wait {
            response.headers_mut().insert(header::RETRY_AFTER, secs.into());
        }
        response
    }
}
