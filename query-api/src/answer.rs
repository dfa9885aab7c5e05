//! The form of every answer: JSON that says how fresh it is, with a weak validator and a rule for caches.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use schemas::time::{day_of, format_micros, now_micros};
use serde::Serialize;
use service_kit::problem::ApiError;
use sha2::{Digest as _, Sha256};

/// What a cache may do with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caching {
    /// Ask again each time; an unchanged answer is a 304.
    Revalidate,
    /// Only late events can change it: good for a minute.
    Past,
}

impl Caching {
    /// By the last day that the answer is about: the day before yesterday and earlier rarely change.
    pub(crate) fn until_day(last: i32) -> Self {
        if last < day_of(now_micros()) - 1 { Self::Past } else { Self::Revalidate }
    }
}

/// Now, as the time that a consistent read of the store is fresh as of. Taken before reading.
pub(crate) fn as_of_now() -> String {
    format_micros(now_micros())
}

/// Answers with `body`, or with 304 where the client has it already but for its `as_of`.
pub(crate) fn json<T: Serialize>(request: &HeaderMap, body: &T, as_of: &str, caching: Caching) -> Result<Response, ApiError> {
    let bytes = serde_json::to_vec(body).map_err(ApiError::internal)?;
    let tag = validator(&bytes, as_of);
    let is_known =
        request.get_all(IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).any(|t| t.trim() == tag);
    let mut response = if is_known { Response::new(Body::empty()) } else { Response::new(Body::from(bytes)) };
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let rule = match caching {
        Caching::Revalidate => "private, no-cache",
        Caching::Past => "private, max-age=60",
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(rule));
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept, authorization, cookie, x-api-key"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    Ok(response)
}

/// A weak entity tag of everything but the time that the answer is fresh as of.
fn validator(bytes: &[u8], as_of: &str) -> String {
    let stamp = format!("\"as_of\":\"{as_of}\"");
    let mut digest = Sha256::new();
    let at = bytes.windows(stamp.len()).rposition(|w| w == stamp.as_bytes());
    match at {
        Some(at) => {
            digest.update(&bytes[..at]);
            digest.update(&bytes[at + stamp.len()..]);
        }
        None => digest.update(bytes),
    }
    let digest = digest.finalize();
    let hex: String = digest[..12].iter().map(|b| format!("{b:02x}")).collect();
    format!("W/\"{hex}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_only_got_fresher_is_the_same() {
        let body = |n: i32, as_of: &str| format!("{{\"n\":{n},\"as_of\":\"{as_of}\"}}").into_bytes();
        let tag = |n, as_of: &str| validator(&body(n, as_of), as_of);
        assert_eq!(tag(1, "10:00"), tag(1, "10:01"));
        assert_ne!(tag(1, "10:00"), tag(2, "10:00"));
    }
}
