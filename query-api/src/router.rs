//! Which path is answered where, and who may ask.

use crate::session::Sessions;
use crate::{
    AppState, agents, conversations, dashboard, dead_letters, docs, errors, events, kpis, metrics, openapi, pipeline, receipts,
    reconciliation, series, session, stream, summary, vitals,
};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{Extensions, HeaderMap, StatusCode, Version};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use service_kit::auth::Scope;
use service_kit::problem::ApiError;
use std::sync::Arc;
use tower_http::CompressionLevel;
use tower_http::compression::{CompressionLayer, DefaultPredicate, Predicate as _};
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

/// Every path of the API and, where configured, the dashboard.
pub(crate) fn router(state: Arc<AppState>, sessions: Sessions) -> Router {
    let (router, mut api) = described(Arc::clone(&state), sessions).split_for_parts();
    openapi::describe_answers(&mut api);
    openapi::guarded(&mut api);
    let json = Bytes::from(api.to_pretty_json().expect("a description is plain data"));
    let page = Bytes::from(docs::render(&serde_json::to_value(&api).expect("a description is plain data")));
    let mut router = router
        .route("/api/v1/openapi.json", get(fixed("application/json", json)))
        .route("/docs", get(fixed("text/html; charset=utf-8", page)))
        .route("/docs/style.css", get(fixed("text/css; charset=utf-8", Bytes::from_static(docs::STYLE.as_bytes()))))
        .with_state(Arc::clone(&state));
    if let Some(files) = state.config.dashboard() {
        router = router.merge(dashboard::router(files));
    }
    // Higher levels of brotli take longer than they save.
    let predicate = DefaultPredicate::new().and(is_worth_packing);
    router.layer(CompressionLayer::new().quality(CompressionLevel::Precise(4)).compress_when(predicate))
}

/// Errors are short, and the layers around us still write into them.
fn is_worth_packing(status: StatusCode, _: Version, _: &HeaderMap, _: &Extensions) -> bool {
    !status.is_client_error() && !status.is_server_error()
}

/// Every described path. What needs no key: the sign-in itself and the description.
fn described(state: Arc<AppState>, sessions: Sessions) -> OpenApiRouter<Arc<AppState>> {
    let guarded = OpenApiRouter::new()
        .merge(agents::router())
        .merge(metrics::router())
        .merge(series::router())
        .merge(summary::router())
        .merge(kpis::router())
        .merge(events::router())
        .merge(errors::router())
        .merge(conversations::router())
        .merge(receipts::router())
        .merge(reconciliation::router())
        .merge(dead_letters::router())
        .merge(pipeline::router())
        .merge(stream::router())
        .merge(vitals::router())
        .route_layer(middleware::from_fn_with_state(state, reader_check));
    OpenApiRouter::with_openapi(openapi::Description::openapi()).merge(session::router(sessions)).merge(guarded)
}

/// Lets those pass who may read; whoever may post events may also ask for their receipts.
async fn reader_check(State(state): State<Arc<AppState>>, request: Request, next: Next) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    if let Err(refusal) = state.auth.authenticate_browser(&parts.headers, Scope::Read).await {
        let is_receipt = parts.uri.path().starts_with("/api/v1/receipts/");
        if !is_receipt || state.auth.authenticate(&parts.headers, Scope::Ingest).is_err() {
            return Err(refusal);
        }
    }
    Ok(next.run(Request::from_parts(parts, body)).await)
}

/// A handler of something that never changes while we run.
fn fixed(media: &'static str, body: Bytes) -> impl Fn() -> std::future::Ready<Response> + Clone + Send + Sync + 'static {
    move || std::future::ready(([(CONTENT_TYPE, media), (CACHE_CONTROL, "no-cache")], body.clone()).into_response())
}
