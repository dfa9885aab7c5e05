//! `GET /api/v1/events` and the permalink of one event: raw events as they were sent.

use crate::AppState;
use crate::answer::{Caching, as_of_now, json};
use crate::cursor;
use crate::event_pages::{self, Place, Question};
use crate::parameters::{MOST_DAYS, Parameters, Span, agent_of_path};
use crate::store::EventFilter;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use schemas::item::StoredEvent;
use schemas::problem::FieldError;
use schemas::time::{DAY_US, day_of, format_micros, now_micros, parse_client_time};
use schemas::{MessageType, Problem};
use serde::Serialize;
use serde_json::value::RawValue;
use service_kit::problem::ApiError;
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn router() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::new().routes(routes!(events_read)).routes(routes!(event_read))
}

/// The earliest time that an event can have: 2000-01-01.
pub(crate) const FIRST_TIME: i64 = 946_684_800_000_000;
/// What a cursor of this path is bound to.
const CURSOR_OF: [&str; 8] =
    ["agent_id", "message_type", "start_date", "end_date", "conversation_id", "model", "user_id", "min_response_time_ms"];

/// Kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "only describes the parameter and the field; the values are schemas::MessageType's")]
pub(crate) enum EventType {
    /// A user wrote to the agent.
    UserMessage,
    /// The agent answered.
    AgentResponse,
    /// The agent failed.
    Error,
    /// A user rated the agent.
    Feedback,
    /// A conversation began.
    ConversationStart,
    /// A conversation ended.
    ConversationEnd,
    /// A step of an agent's graph ran.
    GraphStep,
    /// A figure of the client's own.
    CustomMetric,
    /// The agent called a tool.
    ToolCall,
}

/// One event, as it was sent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Event {
    /// The agent.
    agent_id: String,
    /// The client's id of the event, or the one derived from its content.
    event_id: String,
    /// When, by the client's clock, UTC.
    #[schema(format = DateTime)]
    timestamp: String,
    /// Its kind.
    #[schema(value_type = EventType)]
    message_type: &'static str,
    /// The text.
    #[schema(required)]
    content: Option<String>,
    /// The client's object.
    #[schema(required, value_type = Option<Object>)]
    metadata: Option<Box<RawValue>>,
    /// What went wrong.
    #[schema(required)]
    error_details: Option<String>,
    /// Response time, ms.
    #[schema(required)]
    response_time_ms: Option<f64>,
    /// Tokens.
    #[schema(required)]
    token_count: Option<i64>,
    /// Name of the model.
    #[schema(required)]
    model_used: Option<String>,
    /// 1 to 5.
    #[schema(required)]
    user_feedback: Option<f64>,
    /// Who used the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    user_id: Option<String>,
    /// The client's session.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    session_id: Option<String>,
    /// The conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    conversation_id: Option<String>,
    /// The trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    trace_id: Option<String>,
    /// The span.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    span_id: Option<String>,
    /// The span above.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    parent_span_id: Option<String>,
    /// The tool called.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    tool_name: Option<String>,
    /// Kind of the error.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error_type: Option<String>,
    /// Input tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    input_tokens: Option<i64>,
    /// Output tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    output_tokens: Option<i64>,
    /// Input tokens that came from a cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    cached_input_tokens: Option<i64>,
    /// Output tokens spent on reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reasoning_tokens: Option<i64>,
    /// Cost, US dollars; null where it is unknown.
    #[schema(required)]
    cost_usd: Option<f64>,
    /// Whether the cost was priced from model and tokens.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    cost_estimated: bool,
    /// The receipt of the record that was counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    receipt: Option<String>,
}

impl From<StoredEvent> for Event {
    fn from(stored: StoredEvent) -> Self {
        let e = stored.event;
        Self {
            agent_id: e.agent_id,
            event_id: e.event_id,
            timestamp: format_micros(e.timestamp),
            message_type: e.message_type.name(),
            content: e.content,
            metadata: e.metadata.and_then(|text| RawValue::from_string(text).ok()),
            error_details: e.error_details,
            response_time_ms: e.response_time_ms,
            token_count: e.token_count,
            model_used: e.model_used,
            user_feedback: e.user_feedback,
            user_id: e.user_id,
            session_id: e.session_id,
            conversation_id: e.conversation_id,
            trace_id: e.trace_id,
            span_id: e.span_id,
            parent_span_id: e.parent_span_id,
            tool_name: e.tool_name,
            error_type: e.error_type,
            input_tokens: e.input_tokens,
            output_tokens: e.output_tokens,
            cached_input_tokens: e.cached_input_tokens,
            reasoning_tokens: e.reasoning_tokens,
            cost_usd: e.cost_usd,
            cost_estimated: e.cost_estimated,
            receipt: stored.src.map(|src| src.replace(':', "-")),
        }
    }
}

/// A page of events.
#[derive(Debug, Serialize, ToSchema)]
struct EventsAnswer {
    /// Newest first; may be fewer than `limit` although `next_key` says that there are more.
    items: Vec<Event>,
    /// Send it back as `cursor`, with the same parameters, for the next page; null at the end.
    #[schema(required)]
    next_key: Option<String>,
    /// The first time of the range that all pages together look at: that of `start_date`; without one, with
    /// `agent_id` the earliest that an event can have, else the first of the last 400 days.
    #[schema(format = DateTime)]
    start: String,
    /// The last time of the range, inclusive: that of `end_date`; without one, a day ahead, since clients' clocks may be.
    #[schema(format = DateTime)]
    end: String,
    /// Which agents were looked at, where no agent was named and no index has the answer.
    #[schema(required)]
    scope: Option<EventScope>,
    /// Every event that was counted before this time is there.
    #[schema(format = DateTime)]
    as_of: String,
}

/// Which agents a merged page looked at.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventScope {
    /// How many, those seen most recently.
    agents: usize,
    /// Of how many.
    of: usize,
    /// Events since then are complete; null where all agents were looked at.
    #[schema(required, format = DateTime)]
    complete_from: Option<String>,
}

impl From<event_pages::Scope> for EventScope {
    fn from(scope: event_pages::Scope) -> Self {
        Self { agents: scope.agents, of: scope.of, complete_from: scope.complete_from.map(format_micros) }
    }
}

/// One event.
#[derive(Debug, Serialize, ToSchema)]
struct EventAnswer {
    /// The event.
    event: Event,
    /// When it was read.
    #[schema(format = DateTime)]
    as_of: String,
}

/// Raw events, newest first
///
/// With `agent_id`, that agent's. Without, errors and feedback of all agents; other kinds are merged from the 200
/// agents most recently seen, as `scope` says. Without `agent_id` and `start_date`, the last 400 days up to the end are
/// looked at, as `start` and `end` say; days on which no error (or feedback) was counted are passed over.
#[utoipa::path(
    get, path = "/api/v1/events", operation_id = "listEvents", tag = "events",
    params(
        ("agent_id" = Option<String>, Query, description = "The agent"),
        ("message_type" = Option<EventType>, Query, description = "Kind of event"),
        ("start_date" = Option<String>, Query, description = "First day (`2026-01-31`) or time; without it and without `agent_id`, the last 400 days"),
        ("end_date" = Option<String>, Query, description = "Last day, inclusive, or time; at most 400 days after `start_date`"),
        ("conversation_id" = Option<String>, Query, description = "Only this conversation"),
        ("model" = Option<String>, Query, description = "Only events of this model"),
        ("user_id" = Option<String>, Query, description = "Only events of this user"),
        ("min_response_time_ms" = Option<f64>, Query, minimum = 0, description = "Only events that took at least this long"),
        ("limit" = Option<i32>, Query, minimum = 1, maximum = 1000, description = "Events of a page; 100 where absent"),
        ("cursor" = Option<String>, Query, description = "`next_key` of the page before"),
    ),
    responses(
        (status = 200, body = EventsAnswer),
        (status = 422, description = "A parameter is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store cannot be read", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn events_read(State(state): State<Arc<AppState>>, headers: HeaderMap, mut parameters: Parameters) -> Result<Response, ApiError> {
    let mut question = question(&mut parameters);
    let types = MessageType::ALL.map(|t| (t.name(), t));
    question.filter = EventFilter {
        message_type: parameters.choice("message_type", &types),
        conversation_id: parameters.text("conversation_id"),
        model: parameters.text("model"),
        user_id: parameters.text("user_id"),
        min_response_time_ms: parameters.amount("min_response_time_ms"),
        ..EventFilter::default()
    };
    let cursor = parameters.cursor();
    parameters.check()?;
    let bound_to = format!("events;{}", parameters.fingerprint(&CURSOR_OF));
    let after = cursor.map(|text| place_of(&bound_to, &text)).transpose()?;
    let as_of = as_of_now();
    let page = event_pages::page(&state, &question, after.as_ref()).await?;
    let answer = EventsAnswer {
        items: page.events.into_iter().map(Event::from).collect(),
        next_key: page.next.map(|place| cursor::encode(&bound_to, &place)),
        start: format_micros(question.from),
        end: format_micros(question.to),
        scope: page.scope.map(EventScope::from),
        as_of,
    };
    json(&headers, &answer, &answer.as_of, Caching::until_day(day_of(question.to)))
}

/// Agent, range and limit of a question for events or what is made of them.
pub(crate) fn question(parameters: &mut Parameters) -> Question {
    let agent_id = parameters.agent();
    let from = parameters.moment("start_date", false);
    let to = parameters.moment("end_date", true);
    let limit = parameters.limit();
    // Clients' clocks may be ahead.
    let span = Span { from: from.unwrap_or(FIRST_TIME), to: to.unwrap_or_else(|| now_micros() + DAY_US) };
    if span.from > span.to {
        parameters.refuse("start_date", "must not be after end_date");
    } else if from.is_some() && (to.is_some() || agent_id.is_none()) {
        parameters.check_span(Span { to: to.unwrap_or_else(now_micros).max(span.from), ..span }, MOST_DAYS);
    }
    // Nothing is older or newer; a bound that no key can have is not sent on.
    let span = Span { from: span.from.max(FIRST_TIME), to: span.to.min(now_micros() + 2 * DAY_US) };
    // Without an agent and a beginning, an index by day must not be asked for days without end.
    let last_day = i64::from(day_of(to.unwrap_or_else(now_micros).min(span.to)));
    let from = if agent_id.is_none() && from.is_none() { span.from.max((last_day - MOST_DAYS + 1) * DAY_US) } else { span.from };
    Question { agent_id, from, to: span.to, filter: EventFilter::default(), limit, may_be_short: false }
}

pub(crate) fn place_of(bound_to: &str, text: &str) -> Result<Place, ApiError> {
    let place: Place = cursor::decode(bound_to, text)?;
    let is_place = crate::store::time_of_key(&place.key).is_some() && place.key.len() <= 128;
    is_place.then_some(place).ok_or_else(|| cursor::refusal("is not a cursor of this path"))
}

/// One event
#[utoipa::path(
    get, path = "/api/v1/agents/{agent_id}/events/{timestamp}/{event_id}", operation_id = "getEvent", tag = "events",
    params(
        ("agent_id" = String, Path, description = "The agent"),
        ("timestamp" = String, Path, description = "The event's time as it came back"),
        ("event_id" = String, Path, description = "The event's id"),
    ),
    responses(
        (status = 200, body = EventAnswer),
        (status = 404, description = "No such event", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A part of the path is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store cannot be read", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn event_read(
    State(state): State<Arc<AppState>>,
    Path((agent_id, timestamp, event_id)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let agent_id = agent_of_path(agent_id)?;
    let refused = |field: &str, detail: &str| {
        ApiError::unprocessable(format!("{field} {detail}"), vec![FieldError { index: 0, field: field.into(), detail: detail.into() }])
    };
    let time = parse_client_time(&timestamp).ok_or_else(|| refused("timestamp", "must be an ISO 8601 time"))?;
    if event_id.len() > 64 || !event_id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b)) {
        return Err(refused("event_id", "must be 1 to 64 letters, digits or . _ : -"));
    }
    let as_of = as_of_now();
    let found = state.store.event(&agent_id, time.micros, &event_id).await?;
    let event = found.ok_or_else(|| ApiError::not_found("no such event; it may have expired, or not be counted yet"))?;
    let answer = EventAnswer { event: event.into(), as_of };
    json(&headers, &answer, &answer.as_of, Caching::Revalidate)
}
