//! The built dashboard, served from a directory: which path gets which file, in which form, and under which policy.

use crate::fixture::{Fixture, Options};
use query_api::QueryConfig;
use reqwest::header::HeaderMap;
use reqwest::{Method, Response};
use std::path::Path;

fn write(directory: &Path, name: &str, content: &[u8]) {
    let file = directory.join(name);
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("the folder is made");
    std::fs::write(file, content).expect("written");
}

/// A built dashboard and who serves it.
async fn served() -> (tempfile::TempDir, Fixture) {
    let directory = tempfile::tempdir().expect("a directory");
    let script = "export const n = 1;\n".repeat(100);
    for (name, content) in [
        ("index.html", &b"<!doctype html><title>page</title>"[..]),
        ("assets/app-1a2b.js", script.as_bytes()),
        ("assets/app-1a2b.js.br", b"packed by brotli"),
        ("assets/app-1a2b.js.gz", b"packed by gzip"),
        ("assets/style-3c4d.css", b"a{color:red}"),
        ("favicon.svg", b"<svg/>"),
        (".env", b"SECRET=1"),
    ] {
        write(directory.path(), name, content);
    }
    let config = QueryConfig { dashboard_dir: Some(directory.path().to_owned()), ..QueryConfig::default() };
    let fixture = Fixture::with(Options { config, ..Options::default() }).await;
    (directory, fixture)
}

async fn ask(fixture: &Fixture, method: Method, path: &str, headers: &[(&'static str, &str)]) -> Response {
    // Nothing is to be unpacked on the way.
    let http = reqwest::Client::builder().no_gzip().build().expect("a client");
    let mut request = http.request(method, format!("{}{path}", fixture.base));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.expect("an answer")
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().expect("text"))
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_without_a_file_get_the_page_and_missing_assets_do_not() {
    let (directory, fixture) = served().await;
    for path in ["/", "/agents/team%2Fbot", "/index.html", "/conversations/a.b"] {
        let answer = ask(&fixture, Method::GET, path, &[]).await;
        assert_eq!((answer.status().as_u16(), header(answer.headers(), "cache-control")), (200, Some("no-cache")), "{path}");
        assert_eq!(header(answer.headers(), "content-type"), Some("text/html; charset=utf-8"), "{path}");
        assert!(answer.text().await.expect("text").contains("page"), "{path}");
    }
    for (path, media, rule) in [
        ("/assets/app-1a2b.js", "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"),
        ("/assets/style-3c4d.css", "text/css; charset=utf-8", "public, max-age=31536000, immutable"),
        ("/favicon.svg", "image/svg+xml", "no-cache"),
    ] {
        let answer = ask(&fixture, Method::GET, path, &[]).await;
        assert_eq!(
            (header(answer.headers(), "content-type"), header(answer.headers(), "cache-control")),
            (Some(media), Some(rule)),
            "{path}"
        );
    }
    for path in ["/api/v1/nothing", "/assets/gone.js", "/metrics/x", "/docs/none", "/assets/../.env"] {
        let text = ask(&fixture, Method::GET, path, &[]).await.text().await.expect("text");
        assert!(text.contains("\"status\":404") || text.contains("page"), "{path}: {text}");
    }
    for path in ["/.env", "/%2eenv", "/%2e%2e/Cargo.toml", "/..%2fCargo.toml"] {
        let text = ask(&fixture, Method::GET, path, &[]).await.text().await.expect("text");
        assert!(text.contains("<title>page"), "{path}: {text}");
    }
    fixture.refused("/api/v1/nothing", 404).await;
    fixture.refused("/assets/gone.js", 404).await;
    let refused = ask(&fixture, Method::PUT, "/agents", &[]).await;
    assert_eq!((refused.status().as_u16(), header(refused.headers(), "allow")), (405, Some("GET, HEAD")));
    // A new build shows without a restart.
    write(directory.path(), "index.html", b"<!doctype html><title>newer</title>");
    assert!(ask(&fixture, Method::GET, "/", &[]).await.text().await.expect("text").contains("newer"));
}

#[tokio::test(flavor = "multi_thread")]
async fn packed_variants_go_to_those_who_unpack_them() {
    let (_directory, fixture) = served().await;
    let path = "/assets/app-1a2b.js";
    for (accepted, encoding, body) in [
        ("gzip, deflate, br", "br", "packed by brotli"),
        ("gzip", "gzip", "packed by gzip"),
        ("br;q=0, gzip;q=0.1", "gzip", "packed by gzip"),
    ] {
        let answer = ask(&fixture, Method::GET, path, &[("accept-encoding", accepted)]).await;
        assert_eq!(header(answer.headers(), "content-encoding"), Some(encoding), "{accepted}");
        assert_eq!(header(answer.headers(), "content-type"), Some("text/javascript; charset=utf-8"));
        assert!(header(answer.headers(), "vary").is_some_and(|v| v.contains("accept-encoding")));
        assert_eq!(answer.text().await.expect("text"), body, "{accepted}");
    }
    let plain = ask(&fixture, Method::GET, path, &[("accept-encoding", "identity")]).await;
    assert_eq!(header(plain.headers(), "content-encoding"), None);
    assert!(plain.text().await.expect("text").starts_with("export"));
    // Without a variant it is packed on the way, where that is worth it.
    let page = ask(&fixture, Method::GET, "/assets/style-3c4d.css", &[("accept-encoding", "br")]).await;
    assert_eq!(page.status().as_u16(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_the_client_has_is_not_sent_again_and_head_sends_none() {
    let (directory, fixture) = served().await;
    for path in ["/", "/assets/app-1a2b.js"] {
        let whole = ask(&fixture, Method::GET, path, &[]).await;
        let tag = header(whole.headers(), "etag").expect("a tag").to_owned();
        let length = whole.text().await.expect("text").len();
        let again = ask(&fixture, Method::GET, path, &[("if-none-match", &format!("\"x\", {tag}"))]).await;
        assert_eq!((again.status().as_u16(), header(again.headers(), "etag")), (304, Some(&*tag)), "{path}");
        assert!(again.text().await.expect("text").is_empty());
        let head = ask(&fixture, Method::HEAD, path, &[]).await;
        assert_eq!((head.status().as_u16(), header(head.headers(), "content-length")), (200, Some(&*length.to_string())), "{path}");
        assert_eq!(header(head.headers(), "etag"), Some(&*tag));
    }
    let tag = header(ask(&fixture, Method::GET, "/", &[]).await.headers(), "etag").expect("a tag").to_owned();
    write(directory.path(), "index.html", b"<!doctype html><title>newer</title>");
    assert_eq!(ask(&fixture, Method::GET, "/", &[("if-none-match", &tag)]).await.status().as_u16(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_may_run_and_load_only_what_is_served_here() {
    let (_directory, fixture) = served().await;
    for path in ["/", "/docs"] {
        let answer = ask(&fixture, Method::GET, path, &[]).await;
        let policy = header(answer.headers(), "content-security-policy").expect("a policy").to_owned();
        for rule in [
            "default-src 'self'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "img-src 'self' data: blob:",
            "object-src 'none'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.split(';').any(|part| part.trim() == rule), "{rule} in {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
    }
}
