//! The page at `/` where no dashboard is built: what this is, and the first curl for this very address.

use axum::Router;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

const PAGE: &str = include_str!("first_page/page.html");
const STYLE: &str = include_str!("first_page/page.css");
/// Nothing inline, nothing from elsewhere, no script at all.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page and its style sheet.
pub(crate) fn router(keys_required: bool) -> Router {
    Router::new().route("/", get(page_show)).route("/first-page.css", get(style_show)).with_state(keys_required)
}

async fn page_show(State(keys_required): State<bool>, headers: HeaderMap) -> Response {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1:8001");
    let key = if keys_required { " \\\n  -H 'authorization: Bearer &lt;a key with the scope ingest&gt;'" } else { "" };
    let read_key = if keys_required { " \\\n  -H 'authorization: Bearer &lt;a key with the scope read&gt;'" } else { "" };
    let page = PAGE.replace("{{host}}", &escape(host)).replace("{{key}}", key).replace("{{read_key}}", read_key);
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, page).into_response()
}

async fn style_show() -> Response {
    ([(CONTENT_TYPE, "text/css; charset=utf-8"), (CACHE_CONTROL, "no-cache")], STYLE).into_response()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_cannot_bring_markup_into_the_page() {
        assert_eq!(escape(r#"<a href="x">&'"#), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
    }

    #[test]
    fn the_page_needs_nothing_that_its_policy_forbids() {
        for forbidden in ["<script", "<style", "style=\"", "onclick", "http-equiv", "src=\"http"] {
            assert!(!PAGE.contains(forbidden), "{forbidden}");
        }
        assert!(!STYLE.contains("url(http") && !STYLE.contains("@import"));
    }
}
