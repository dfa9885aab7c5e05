//! What stands around every service's routes: request ids, spans, measures, guards on host and origin, CORS, security
//! headers, and errors that all look alike. Knows no route.

mod answer;
mod body;
mod durations;
mod guard;
mod serve;
mod stall;

pub use body::read_body;
pub use guard::{ListenError, guard_listen};
pub use serve::serve;

use crate::problem::ApiError;
use crate::telemetry;
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use clap::Args;
use durations::Durations;
use futures::FutureExt as _;
use guard::Guard;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tower_http::cors::{AllowOrigin, CorsLayer};
use tracing::{Instrument as _, Span};
use uuid::Uuid;

/// The header of the request's id, in and out.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The policy of HTML pages, set where a page brings none of its own: everything from here, nothing inline, no plug-ins,
/// in nobody's frame. `blob:` and `data:` are for images that a page makes itself.
pub const HTML_CSP: &str = "default-src 'self'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; \
                            object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
/// The policy of everything else.
const API_CSP: &str = "default-src 'none'; frame-ancestors 'none'";
const REQUEST_ID_MAX: usize = 128;

/// Whom the service answers.
#[derive(Args, Clone, Debug, Default)]
pub struct HttpConfig {
    /// Host names, besides localhost, 127.0.0.1 and `[::1]`, under which the service may be asked, comma separated, with
    /// or without a port; `*` allows all. Others get 403: that stops web pages that point their own name here.
    #[arg(long, env = "ALLOWED_HOSTS", value_delimiter = ',', value_parser = guard::parse_host)]
    pub allowed_hosts: Vec<String>,
    /// Origins of web pages elsewhere that may use the API from a browser, comma separated, as in
    /// `https://tally.example.com`.
    #[arg(long, env = "CORS_ORIGINS", value_delimiter = ',', value_parser = guard::parse_origin)]
    pub cors_origins: Vec<String>,
}

/// A request's id: the client's `x-request-id` where it is sane, else a new one.
#[derive(Clone, Debug)]
struct RequestId(Arc<str>);

#[derive(Debug)]
struct Frame {
    service: &'static str,
    guard: Guard,
    durations: Durations,
}

/// Puts everything around a service's routes. To be called once, last, with all routes merged.
pub fn layered(router: Router, service: &'static str, config: &HttpConfig) -> Router {
    let frame = Arc::new(Frame { service, guard: Guard::new(config), durations: Durations::default() });
    let router = if config.cors_origins.iter().all(String::is_empty) { router } else { router.layer(cors(config)) };
    router.layer(from_fn_with_state(frame, around))
}

/// The id of a request that came through [`layered`].
pub fn request_id(extensions: &Extensions) -> Option<&str> {
    extensions.get::<RequestId>().map(|id| &*id.0)
}

async fn around(State(frame): State<Arc<Frame>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = RequestId(take_request_id(request.headers()));
    let method = method_name(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route_name = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    let span = request_span(frame.service, &id.0, method, route_name);
    telemetry::stamp(&span, request.headers_mut());
    request.extensions_mut().insert(id.clone());
    let request = body::read_on_when_refused(request);
    let answered = async {
        let response = match frame.guard.check(&request) {
            Ok(()) => AssertUnwindSafe(next.run(request)).catch_unwind().await,
            Err(refusal) => Ok(refusal.into_response()),
        };
        let response = response.unwrap_or_else(|_| ApiError::internal(anyhow::anyhow!("the handler panicked")).into_response());
        answer::finish(response, &id.0).await
    };
    let response = answered.instrument(span.clone()).await;
    let (status, took) = (response.status(), started.elapsed());
    if telemetry::is_exporting() {
        span.record("http.response.status_code", status.as_u16());
        if status.is_server_error() {
            span.record("otel.status_code", "ERROR");
        }
    }
    span.in_scope(|| log_request(status.as_u16(), took));
    frame.durations.record(frame.service, (route_name, method, status.as_u16()), took);
    response
}

/// What the log and, where they are exported, the traces know of a request. Fields that only traces want cost nothing
/// where nobody takes them.
fn request_span(service: &'static str, request_id: &str, method: &'static str, route: &str) -> Span {
    if !telemetry::is_exporting() {
        return tracing::info_span!("request", service, request_id, method, route);
    }
    tracing::info_span!(
        "request",
        service,
        request_id,
        method,
        route,
        "otel.name" = format_args!("{method} {route}"),
        "otel.kind" = "server",
        "otel.status_code" = tracing::field::Empty,
        "http.response.status_code" = tracing::field::Empty,
    )
}

/// Requests that went well are many and say little: `RUST_LOG=service_kit=debug` shows them.
fn log_request(status: u16, took: Duration) {
    let took_ms = took.as_secs_f64() * 1e3;
    if status < 400 {
        tracing::debug!(status, took_ms, "request answered");
    } else {
        tracing::info!(status, took_ms, "request answered");
    }
}

fn take_request_id(headers: &HeaderMap) -> Arc<str> {
    let given = headers.get(X_REQUEST_ID).and_then(|value| value.to_str().ok());
    match given {
        Some(id) if !id.is_empty() && id.len() <= REQUEST_ID_MAX && id.bytes().all(|b| b.is_ascii_graphic()) => id.into(),
        _ => Uuid::now_v7().to_string().into(),
    }
}

/// A client can make methods up, and each label value costs memory.
fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        "CONNECT" => "CONNECT",
        _ => "other",
    }
}

fn cors(config: &HttpConfig) -> CorsLayer {
    let origins = config.cors_origins.iter().filter(|origin| !origin.is_empty()).filter_map(|origin| HeaderValue::from_str(origin).ok());
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_NONE_MATCH,
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("last-event-id"),
            HeaderName::from_static("prefer"),
            HeaderName::from_static("traceparent"),
            HeaderName::from_static("x-api-key"),
            X_REQUEST_ID,
        ])
        // The sign-in's cookie comes along from pages of the same site.
        .allow_credentials(true)
        // `Date`: the dashboard's ranges end when it is now here, whatever the viewer's clock says.
        .expose_headers([header::DATE, header::ETAG, header::RETRY_AFTER, HeaderName::from_static("preference-applied"), X_REQUEST_ID])
        .max_age(Duration::from_secs(600))
}
