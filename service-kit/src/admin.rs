//! The admin port: health, readiness and metrics of a service. Nothing here reads or changes what it serves.

use crate::http;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Which components are ready, and why the others are not. Ready means that every component named so far is.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    components: Arc<RwLock<BTreeMap<&'static str, Result<(), String>>>>,
}

/// What is not ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotReady {
    /// The component.
    pub component: &'static str,
    /// Why; told to operators, so it holds no secrets.
    pub reason: String,
}

impl Readiness {
    /// Nothing named yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says how a component is.
    pub fn set(&self, component: &'static str, state: Result<(), String>) {
        let mut components = self.components.write().unwrap_or_else(PoisonError::into_inner);
        let before = components.insert(component, state.clone());
        drop(components);
        match (before, state) {
            (Some(Err(_)) | None, Ok(())) => tracing::info!(component, "ready"),
            (Some(Ok(())) | None, Err(reason)) => tracing::warn!(component, reason, "not ready"),
            _ => {}
        }
    }

    /// What is not ready; empty where everything is.
    pub fn missing(&self) -> Vec<NotReady> {
        let components = self.components.read().unwrap_or_else(PoisonError::into_inner);
        let missing = components.iter().filter_map(|(component, state)| {
            let reason = state.as_ref().err()?.clone();
            Some(NotReady { component, reason })
        });
        missing.collect()
    }

    /// Whether everything is ready.
    pub fn is_ready(&self) -> bool {
        self.missing().is_empty()
    }
}

/// `/health`, `/health/live` and `/health/ready`.
pub fn router(readiness: Readiness) -> Router {
    Router::new().route("/health", get(live)).route("/health/live", get(live)).route("/health/ready", get(ready)).with_state(readiness)
}

/// `/metrics` in the Prometheus text form.
pub fn metrics(prometheus: PrometheusHandle) -> Router {
    Router::new().route("/metrics", get(metrics_render)).with_state(prometheus)
}

/// Serves the admin port until `shutdown`.
///
/// # Errors
/// Where the listener breaks.
pub async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    prometheus: PrometheusHandle,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    http::serve(listener, router(readiness).merge(metrics(prometheus)), shutdown).await
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_ready: Vec<NotReady>,
}

async fn live() -> Json<Health> {
    Json(Health { status: "healthy", not_ready: Vec::new() })
}

async fn ready(State(readiness): State<Readiness>) -> Response {
    let not_ready = readiness.missing();
    if not_ready.is_empty() {
        return Json(Health { status: "ready", not_ready }).into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status: "not ready", not_ready })).into_response()
}

async fn metrics_render(State(prometheus): State<PrometheusHandle>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], prometheus.render()).into_response()
}
