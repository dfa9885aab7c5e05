//! The built dashboard: the files of a directory, or those in this binary, and its page for every path that is none of the
//! API's. Must not make or change a file: what it serves is what was built, packed or not.

mod files;

pub(crate) use files::Files;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use files::Encoding;
use service_kit::problem::ApiError;
use std::sync::Arc;

/// The page that every path without a file gets.
pub(crate) const PAGE: &str = "index.html";
/// Files below are named by their content: a name never gets another content.
const ASSETS: &str = "assets/";

/// Serves the files for what no route takes.
pub(crate) fn router(files: Files) -> Router {
    Router::new().fallback(file_serve).with_state(Arc::new(files))
}

async fn file_serve(State(files): State<Arc<Files>>, request: Request) -> Response {
    let path = request.uri().path();
    if is_of_a_service(path) {
        return ApiError::not_found("there is nothing at this path").into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD").into_response();
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    let path = path.trim_start_matches('/');
    let name = if path.is_empty() { PAGE } else { path };
    let accepted = Encoding::accepted(request.headers().get_all(ACCEPT_ENCODING));
    let mut found = files.find(name, &accepted).await;
    let is_asset = name.starts_with(ASSETS);
    if found.is_none() && is_asset {
        return ApiError::not_found("there is no such asset; reload the page").into_response();
    }
    if found.is_none() {
        found = files.find(PAGE, &accepted).await;
    }
    let Some(found) = found else { return ApiError::not_found("there is no dashboard here").into_response() };
    // The page names the assets, so it must be asked for again.
    let rule = if is_asset { "public, max-age=31536000, immutable" } else { "no-cache" };
    let is_known = is_known(request.headers(), &found.tag);
    let mut response =
        Response::new(if is_known || request.method() == Method::HEAD { Body::empty() } else { Body::from(found.bytes.clone()) });
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(rule));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if let Ok(tag) = HeaderValue::from_str(&found.tag) {
        headers.insert(ETAG, tag);
    }
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(found.media));
    headers.insert(CONTENT_LENGTH, found.bytes.len().into());
    if let Some(encoding) = found.encoding {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
    }
    response
}

/// Whether the client has this version already.
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let given = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    given.map(str::trim).any(|known| known == tag || known == "*")
}

/// Whether a path belongs to a service, so that a wrong one is an error and not the dashboard.
fn is_of_a_service(path: &str) -> bool {
    ["/api", "/health", "/docs", "/metrics"]
        .iter()
        .any(|of| path.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

#[cfg(test)]
mod tests {
    use super::is_of_a_service;

    #[test]
    fn the_dashboard_takes_only_paths_of_its_own() {
        assert!(is_of_a_service("/api/v1/nothing") && is_of_a_service("/docs") && !is_of_a_service("/agents/api") && !is_of_a_service("/"));
    }
}
