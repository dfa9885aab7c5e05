//! The built dashboard: files of a directory, its page for every path that is none of the API's.

use axum::Router;
use axum::extract::Request;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use service_kit::problem::ApiError;
use std::path::Path;
use tower_http::services::{ServeDir, ServeFile};

/// Serves `directory` for what no route takes.
pub(crate) fn router(directory: &Path) -> Router {
    let page = ServeFile::new(directory.join("index.html"));
    let files = ServeDir::new(directory).append_index_html_on_directories(true).fallback(page);
    Router::new().fallback_service(files).layer(middleware::from_fn(file_serve))
}

async fn file_serve(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    if is_of_a_service(&path) {
        return ApiError::not_found("there is nothing at this path").into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD").into_response();
    }
    let mut response = next.run(request).await;
    // The build names assets by their content; the page names the assets, so it must be asked for again.
    let is_asset = path.starts_with("/assets/");
    if is_asset && response.headers().get("content-type").is_some_and(|t| t.as_bytes().starts_with(b"text/html")) {
        return ApiError::not_found("there is no such asset; reload the page").into_response();
    }
    let rule = if is_asset { "public, max-age=31536000, immutable" } else { "no-cache" };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(rule));
    response
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
