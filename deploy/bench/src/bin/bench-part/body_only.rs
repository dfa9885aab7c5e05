//! The ceiling for one event per request: everything that HTTP costs, and nothing else.

use axum::Json;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use bytes::Bytes;
use serde::Serialize;
use tokio::net::TcpListener;

/// As long as the gateway's answer to one event.
#[derive(Serialize)]
struct Answer {
    event_id: &'static str,
    status: &'static str,
    message: &'static str,
    receipt: &'static str,
}

const ANSWER: Answer = Answer {
    event_id: "d1.0123456789abcdef0123456789abcdef",
    status: "success",
    message: "Event recorded successfully",
    receipt: "0-0-1234567",
};

pub(crate) async fn run() -> anyhow::Result<()> {
    let answer = async |_body: Bytes| (StatusCode::ACCEPTED, Json(ANSWER));
    let router = Router::new().route("/api/v1/agents/{agent_id}/events", post(answer)).route("/api/v1/events", post(answer));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    crate::announce(&format!("http://{}", listener.local_addr()?))?;
    Ok(axum::serve(listener, router).await?)
}
