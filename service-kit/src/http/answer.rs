//! The last touch on every answer: the request's id, security headers, and one form for all errors, those of the
//! router and of its extractors too.

use super::{API_CSP, HTML_CSP, X_REQUEST_ID};
use crate::problem::respond;
use axum::body::{Body, HttpBody as _, to_bytes};
use axum::http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use schemas::Problem;

/// Headers that an answer gets here, and those that the server adds.
const ADDED: usize = 10;
/// What a framework says about a bad request is short.
const PLAIN_MAX: u64 = 2_048;

pub(super) async fn finish(response: Response, request_id: &str) -> Response {
    let status = response.status();
    let mut response = if status.is_client_error() || status.is_server_error() { as_problem(response, request_id).await } else { response };
    let headers = response.headers_mut();
    // Growing it on the way would move what is there time and again.
    headers.reserve(ADDED);
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(X_REQUEST_ID, id);
    }
    let is_html = headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/html"));
    let fixed = [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    // A 304 has no type, and a browser puts its headers over those that it kept (RFC 9111, 4.3.4): a page would lose its policy.
    if status != StatusCode::NOT_MODIFIED {
        let policy = if is_html { HTML_CSP } else { API_CSP };
        headers.entry(CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(policy));
    }
    response
}

/// Gives a problem its request id; makes one of what the router (nothing) or an extractor (plain text) said.
async fn as_problem(mut response: Response, request_id: &str) -> Response {
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        None => match said_otherwise(&response) {
            Some(Said::Nothing) => described(response.status(), None),
            Some(Said::Plain) => {
                let (parts, body) = response.into_parts();
                let text = to_bytes(body, PLAIN_MAX as usize).await.ok().and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
                let problem = described(parts.status, text);
                response = Response::from_parts(parts, Body::empty());
                problem
            }
            // Whoever made it meant it so.
            None => return response,
        },
    };
    let (mut parts, mut made) = (response.into_parts().0, respond(Problem { request_id: Some(request_id.to_owned()), ..problem }, None));
    parts.headers.remove(CONTENT_LENGTH);
    // A layer below may have compressed the body that is replaced here.
    parts.headers.remove(CONTENT_ENCODING);
    for (name, value) in made.headers_mut().drain() {
        // What the answer brought (`Retry-After`, `Allow`, …) stays.
        if let Some(name) = name {
            parts.headers.insert(name, value);
        }
    }
    Response::from_parts(parts, made.into_body())
}

enum Said {
    Nothing,
    Plain,
}

fn said_otherwise(response: &Response) -> Option<Said> {
    if response.body().size_hint().exact() == Some(0) {
        return Some(Said::Nothing);
    }
    let is_plain = response.headers().get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/plain"));
    let is_short = response.body().size_hint().exact().is_some_and(|length| length <= PLAIN_MAX);
    (is_plain && is_short).then_some(Said::Plain)
}

fn described(status: StatusCode, text: Option<String>) -> Problem {
    let detail = match (status, text) {
        // Nothing of what happened inside is told.
        (status, _) if status == StatusCode::INTERNAL_SERVER_ERROR => "something went wrong on our side".to_owned(),
        (status, _) if status.is_server_error() => "the service cannot answer at the moment".to_owned(),
        (_, Some(text)) => text,
        (StatusCode::NOT_FOUND, None) => "there is nothing at this path".to_owned(),
        (StatusCode::METHOD_NOT_ALLOWED, None) => "this path does not take this method; see the header Allow".to_owned(),
        (status, None) => status.canonical_reason().unwrap_or("the request was refused").to_lowercase(),
    };
    Problem::new(status.as_u16(), status.canonical_reason().unwrap_or("Error"), detail)
}
