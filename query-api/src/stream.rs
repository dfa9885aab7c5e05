//! `GET /api/v1/stream` (SSE) and `GET /api/v1/ws` (WebSocket): changed totals and raw events as they come.
//!
//! Both carry the same messages (see [`message`]). Followers are bounded in number (see [`seats`]); what waits for
//! one is bounded in [`crate::live_table`] and [`crate::tail`]. Must not answer questions about the past.

mod follower;
mod message;
pub(crate) mod place;
mod seats;

pub(crate) use seats::Seats;

use crate::AppState;
use crate::live_table::TotalsChanged;
use crate::parameters::Parameters;
use crate::store::Selection;
use crate::tail::{EventFilter, WatchedEvent};
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message as Frame, WebSocket, WebSocketUpgrade, close_code};
use axum::http::header::{CACHE_CONTROL, HeaderName};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse as _, Response};
use follower::{Follower, Wishes};
use futures::stream;
use message::{Data, Heartbeat, Message, Missed};
use schemas::{MessageType, Problem};
use service_kit::auth::Scope;
use service_kit::problem::ApiError;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// A client that takes longer to accept a WebSocket message is gone.
const SEND_WITHIN: Duration = Duration::from_secs(30);
/// Nothing that a client says over a WebSocket is read further than this.
const LONGEST_FRAME: usize = 4_096;
/// What a browser waits before it connects again.
const RECONNECT_AFTER: Duration = Duration::from_secs(2);
const RETRY_AFTER_S: u64 = 10;
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

pub(crate) fn router() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::new().routes(routes!(stream_follow)).routes(routes!(ws_follow))
}

/// The messages of a stream, by their names
#[derive(serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "describes the messages in the API's own description")]
enum StreamMessage<'a> {
    /// Totals that changed, at most four a second; a slow follower gets the newest.
    Totals(TotalsChanged),
    /// A raw event, as accepted.
    Event(Box<WatchedEvent<'a>>),
    /// There is a gap.
    Missed(Missed),
    /// The stream is alive; the first comes at once.
    Heartbeat(Heartbeat),
}

/// Follow totals and events over Server-Sent Events
///
/// Events `totals`, `event` (only with `events=true`), `missed` and `heartbeat`, each with an id. With `Last-Event-ID`
/// (or `last_event_id`) the stream goes on where it was, or says with `missed` that it cannot.
#[utoipa::path(
    get,
    path = "/api/v1/stream",
    operation_id = "followStream",
    tag = "stream",
    params(
        ("totals" = Option<bool>, Query, description = "Whether `totals` come; by default true"),
        ("events" = Option<bool>, Query, description = "Whether `event`s come; by default false"),
        ("agent_id" = Option<String>, Query, description = "Only of this agent"),
        ("agents" = Option<String>, Query, description = "Only of these agents, joined by commas"),
        ("message_type" = Option<String>, Query, description = "Only events of these types, joined by commas"),
        ("min_response_time_ms" = Option<f64>, Query, description = "Only events that took at least so long"),
        ("model" = Option<String>, Query, description = "Only events with this model"),
        ("user_id" = Option<String>, Query, description = "Only events of this user"),
        ("conversation_id" = Option<String>, Query, description = "Only events of this conversation"),
        ("last_event_id" = Option<String>, Query, description = "The same as the header `Last-Event-ID`, which wins"),
    ),
    responses(
        (status = 200, description = "The stream; the data of each event is one variant of StreamMessage", body = StreamMessage<'static>, content_type = "text/event-stream"),
        (status = 422, description = "A wrong parameter", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Too many followers, or the log does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn stream_follow(State(state): State<Arc<AppState>>, headers: HeaderMap, parameters: Parameters) -> Result<Response, ApiError> {
    let follower = follow(state, headers, parameters, "sse").await?;
    let messages = stream::unfold(follower, |mut follower| async move {
        let message = follower.next().await?;
        Some((Ok::<_, Infallible>(sse_event(&message)), follower))
    });
    let rules = [(CACHE_CONTROL, HeaderValue::from_static("no-store")), (X_ACCEL_BUFFERING, HeaderValue::from_static("no"))];
    Ok((rules, Sse::new(messages)).into_response())
}

/// Follow totals and events over a WebSocket
///
/// The same as `/api/v1/stream`, as text messages `{"type","id","data"}`. What a client sends is not read.
#[utoipa::path(
    get,
    path = "/api/v1/ws",
    operation_id = "followWebSocket",
    tag = "stream",
    params(
        ("totals" = Option<bool>, Query, description = "As at /api/v1/stream, and so are all other parameters"),
        ("last_event_id" = Option<String>, Query, description = "The id of the last message that came"),
    ),
    responses(
        (status = 101, description = "The socket"),
        (status = 422, description = "A wrong parameter", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Too many followers, or the log does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn ws_follow(
    State(state): State<Arc<AppState>>,
    headers: HeaderMap,
    parameters: Parameters,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(|rejection| ApiError::new(rejection.status(), "this path speaks WebSocket: ask for an upgrade"))?;
    let follower = follow(state, headers, parameters, "websocket").await?;
    let upgrade = upgrade.max_message_size(LONGEST_FRAME).max_frame_size(LONGEST_FRAME);
    Ok(upgrade.on_upgrade(move |socket| serve_socket(socket, follower)))
}

/// Whoever may read, a seat, and what is asked for.
async fn follow(
    state: Arc<AppState>,
    headers: HeaderMap,
    mut parameters: Parameters,
    transport: &'static str,
) -> Result<Box<Follower>, ApiError> {
    state.auth.authenticate_browser(&headers, Scope::Read).await?;
    let mut wishes = wishes(&mut parameters);
    parameters.check()?;
    let header = headers.get(LAST_EVENT_ID).map(|id| id.to_str().unwrap_or_default().to_owned());
    wishes.last_id = header.filter(|id| !id.is_empty()).or(wishes.last_id);
    let full = || ApiError::unavailable("too many streams are open; try again", RETRY_AFTER_S);
    let seat = state.seats.take(transport).ok_or_else(full)?;
    let follower = Follower::new(state, headers, seat, wishes).await.map_err(|error| {
        tracing::warn!(%error, "events cannot be followed");
        ApiError::unavailable("the log does not answer at the moment; try again, or leave events out", RETRY_AFTER_S)
    })?;
    Ok(Box::new(follower))
}

fn wishes(parameters: &mut Parameters) -> Wishes {
    let totals = parameters.choice("totals", &[("true", true), ("false", false)]).unwrap_or(true);
    let wants_events = parameters.flag("events");
    let agents = match (parameters.agent(), parameters.selection()) {
        (Some(agent), Selection::Agents(agents)) => Some(agents.into_iter().filter(|a| *a == agent).collect()),
        (Some(agent), Selection::Fleet) => Some([agent].into_iter().collect()),
        (None, Selection::Agents(agents)) => Some(agents.into_iter().collect()),
        (None, Selection::Fleet) => None,
    };
    let filter = EventFilter {
        agents: agents.clone(),
        message_types: message_types(parameters),
        min_response_time_ms: parameters.amount("min_response_time_ms"),
        model: parameters.text("model"),
        user_id: parameters.text("user_id"),
        conversation_id: parameters.text("conversation_id"),
    };
    let last_id = parameters.text("last_event_id");
    Wishes { totals, agents, events: wants_events.then_some(filter), last_id }
}

fn message_types(parameters: &mut Parameters) -> Vec<MessageType> {
    let Some(list) = parameters.text("message_type") else { return Vec::new() };
    let types: Option<Vec<MessageType>> = list.split(',').filter(|name| !name.is_empty()).map(MessageType::parse).collect();
    types.unwrap_or_else(|| {
        let names = MessageType::ALL.map(MessageType::name).join(", ");
        parameters.refuse("message_type", format!("must be one or more of {names}, joined by commas"));
        Vec::new()
    })
}

fn sse_event(message: &Message) -> Event {
    let event = Event::default().event(message.data.kind()).id(&message.id).data(message.data.json());
    if matches!(message.data, Data::Heartbeat(_)) { event.retry(RECONNECT_AFTER) } else { event }
}

async fn serve_socket(mut socket: WebSocket, mut follower: Box<Follower>) {
    loop {
        let message = {
            // Not begun anew for each frame that comes in: a talkative client must not keep it from getting anywhere.
            let mut next = std::pin::pin!(follower.next());
            loop {
                tokio::select! {
                    message = &mut next => break message,
                    said = socket.recv() => match said {
                        Some(Ok(Frame::Close(_))) => return answer_goodbye(socket).await,
                        Some(Err(_)) | None => return,
                        // Nothing is asked for over an open socket; pings are answered below us.
                        Some(Ok(_)) => {}
                    },
                }
            }
        };
        let Some(message) = message else { break };
        let sent = tokio::time::timeout(SEND_WITHIN, socket.send(Frame::Text(message.to_json().into()))).await;
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
    let goodbye = Frame::Close(Some(CloseFrame { code: close_code::AWAY, reason: "the stream ends; connect again".into() }));
    if tokio::time::timeout(SEND_WITHIN, socket.send(goodbye)).await.is_err() {
        tracing::debug!("a websocket could not be closed in time");
    }
}

/// Reads on until the answer to the client's close frame, which the socket has at hand, is written: without it a browser
/// reports a broken connection (RFC 6455, 7.4.1: 1006).
async fn answer_goodbye(mut socket: WebSocket) {
    if tokio::time::timeout(SEND_WITHIN, socket.recv()).await.is_err() {
        tracing::debug!("a websocket's goodbye could not be answered in time");
    }
}

#[cfg(test)]
mod tests;
