//! `/api/v1/openapi.json`: the contract itself, made from the code. The paths of the ingest gateway are described here
//! by hand, since the gateway is no dependency of ours; everything else comes from the handlers.

use schemas::{Problem, problem};
use serde::Serialize;
use utoipa::openapi::RefOr;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, ResponseBuilder};
use utoipa::{Modify, OpenApi, ToSchema};

/// The part of the description that no handler brings along.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Agent Tally",
        description = "Events of AI agents in, numbers that can be proved out. Every event answered with 202 is counted exactly once. Errors are `application/problem+json` everywhere.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(agent_event_create, events_create, dead_letter_redrive, dead_letters_redrive, health_read, live_read, ready_read),
    tags(
        (name = "ingest", description = "Events in"),
        (name = "agents", description = "Agents and their numbers"),
        (name = "metrics", description = "Numbers over time"),
        (name = "events", description = "Raw events"),
        (name = "conversations", description = "Conversations"),
        (name = "receipts", description = "Whether an event is counted"),
        (name = "dead-letters", description = "Events that were accepted and could not be counted"),
        (name = "stream", description = "Changes as they happen"),
        (name = "session", description = "Sign-in of the dashboard"),
        (name = "dashboard", description = "What the dashboard tells of itself"),
        (name = "health", description = "Whether the service is well"),
    ),
    modifiers(&Keys),
    security((), ("bearer" = []), ("api_key" = []), ("session" = [])),
)]
pub(crate) struct Description;

/// Adds what guards every path but health and sign-in alike, so that no handler has to describe it.
pub(crate) fn guarded(api: &mut utoipa::openapi::OpenApi) {
    let refusals = [
        ("401", "No key, or none that is good, where keys are required"),
        ("403", "The key may not do this; or the host or the origin is a foreign one"),
    ];
    let unguarded = ["health", "session"];
    for operation in operations(api) {
        if operation.tags.iter().flatten().any(|tag| unguarded.contains(&tag.as_str())) {
            continue;
        }
        for (status, description) in refusals {
            let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
            let response = ResponseBuilder::new().description(description).content(problem::CONTENT_TYPE, body).build();
            operation.responses.responses.entry(status.into()).or_insert_with(|| response.into());
        }
    }
}

fn operations(api: &mut utoipa::openapi::OpenApi) -> impl Iterator<Item = &mut Operation> {
    let items = api.paths.paths.values_mut();
    items.flat_map(|item| [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch]).flatten()
}

struct Keys;

impl Modify for Keys {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()));
        components.add_security_scheme("api_key", SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-API-Key"))));
        let cookie = ApiKeyValue::new(service_kit::sessions::COOKIE_NAME);
        components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    }
}

/// An event as an agent posts it. Absent, null and (for ids and names) empty are the same.
#[derive(Serialize, ToSchema)]
#[schema(as = NewEvent)]
struct NewEvent {
    /// The agent; optional where the path names it.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._:@/-]{0,127}$")]
    agent_id: Option<String>,
    /// ISO 8601 with `Z`, an offset, or none (then UTC), from 2000-01-01 to 10 minutes ahead. Absent: now, or the time
    /// of a `UUIDv7` `event_id`; with any other `event_id` it is required.
    timestamp: Option<String>,
    /// Kind of event.
    message_type: crate::events::EventType,
    /// The text.
    content: Option<String>,
    /// Any JSON object, at most 32 levels deep; comes back as sent. `user_id`, `session_id`, `conversation_id`,
    /// `trace_id`, `source`, `tokens_prompt`, `tokens_completion`, `error_type` and `tool_name` are understood.
    #[schema(value_type = Option<Object>)]
    metadata: Option<serde_json::Value>,
    /// What went wrong.
    error_details: Option<String>,
    /// ms, 0 to 10⁹, fractions allowed.
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    response_time_ms: Option<f64>,
    /// Tokens; input + output where absent.
    #[schema(minimum = 0)]
    token_count: Option<i64>,
    /// Name of the model.
    #[schema(max_length = 128)]
    model_used: Option<String>,
    /// 1 to 5.
    #[schema(minimum = 1, maximum = 5)]
    user_feedback: Option<f64>,
    /// The client's id of the event; a repeat of (agent, timestamp, event id) is accepted again and counted once.
    #[schema(pattern = "^[A-Za-z0-9._:-]{1,64}$")]
    event_id: Option<String>,
    /// Who used the agent.
    #[schema(max_length = 256)]
    user_id: Option<String>,
    /// The client's session.
    #[schema(max_length = 256)]
    session_id: Option<String>,
    /// The conversation.
    #[schema(max_length = 256)]
    conversation_id: Option<String>,
    /// The trace.
    #[schema(max_length = 256)]
    trace_id: Option<String>,
    /// The span.
    #[schema(max_length = 256)]
    span_id: Option<String>,
    /// The span above.
    #[schema(max_length = 256)]
    parent_span_id: Option<String>,
    /// The tool called.
    #[schema(max_length = 128)]
    tool_name: Option<String>,
    /// Kind of the error.
    #[schema(max_length = 128)]
    error_type: Option<String>,
    /// Input tokens, cached ones included.
    #[schema(minimum = 0)]
    input_tokens: Option<i64>,
    /// Output tokens, reasoning included.
    #[schema(minimum = 0)]
    output_tokens: Option<i64>,
    /// Input tokens that came from a cache.
    #[schema(minimum = 0)]
    cached_input_tokens: Option<i64>,
    /// Output tokens spent on reasoning.
    #[schema(minimum = 0)]
    reasoning_tokens: Option<i64>,
    /// US dollars; priced from the model and the tokens where absent and known.
    #[schema(minimum = 0, maximum = 1_000_000)]
    cost_usd: Option<f64>,
}

/// The event is in the log, durably.
#[derive(Serialize, ToSchema)]
struct EventAccepted {
    /// The event's id: the client's, or the one derived.
    event_id: String,
    /// `success`.
    status: String,
    /// A sentence.
    message: String,
    /// Ask `/api/v1/receipts/{receipt}` whether it is counted.
    receipt: String,
}

/// Several events, as an array or as an object.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only describes the gateway's body")]
enum NewEvents {
    /// Just the events.
    Array(Vec<NewEvent>),
    /// In an object.
    Object {
        /// The events.
        events: Vec<NewEvent>,
    },
}

/// The events are in the log, durably.
#[derive(Serialize, ToSchema)]
struct EventsAccepted {
    /// `success`.
    status: String,
    /// How many.
    accepted: u64,
    /// Their ids, in the order sent.
    event_ids: Vec<String>,
    /// Covers all of them.
    receipt: String,
}

/// The service's health.
#[derive(Serialize, ToSchema)]
struct HealthAnswer {
    /// `healthy`, `ready` or `not ready`.
    status: String,
    /// What is not ready; absent where everything is.
    not_ready: Option<Vec<ComponentNotReady>>,
}

/// What is not ready.
#[derive(Serialize, ToSchema)]
struct ComponentNotReady {
    /// Which part.
    component: String,
    /// Why.
    reason: String,
}

/// Post one event
///
/// 202 comes only after the log has the event durably.
#[utoipa::path(
    post, path = "/api/v1/agents/{agent_id}/events", operation_id = "createAgentEvent", tag = "ingest", request_body = NewEvent,
    params(
        ("agent_id" = String, Path, description = "The agent; wins over the body's"),
        ("Idempotency-Key" = Option<String>, Header, description = "Stands for `event_id`"),
        ("Prefer" = Option<String>, Header, description = "`handling=strict` refuses unknown fields"),
    ),
    responses(
        (status = 202, body = EventAccepted),
        (status = 400, description = "Not JSON", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "The body did not arrive in time", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "Larger than 256 KiB", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "Not a type of body that is understood", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A field is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "More than the key's limits allow", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The log cannot take it now", body = Problem, content_type = "application/problem+json"),
    )
)]
#[expect(dead_code, reason = "only describes the gateway's path")]
fn agent_event_create() {}

/// Post up to 1,000 events
///
/// An array, an object with `events`, or NDJSON; gzip or zstd allowed, 8 MiB unpacked. One bad event refuses all, unless
/// `Prefer: handling=lenient` asks for the good ones to be taken (207 with a result per index).
#[utoipa::path(
    post, path = "/api/v1/events", operation_id = "createEvents", tag = "ingest",
    request_body(
        description = "As NDJSON, one event a line",
        content((NewEvents = "application/json"), (NewEvent = "application/x-ndjson")),
    ),
    params(("Prefer" = Option<String>, Header, description = "`handling=lenient`: take the good ones; `handling=strict`: refuse unknown fields")),
    responses(
        (status = 202, body = EventsAccepted),
        (status = 207, description = "Some were taken: a result per index", body = Object),
        (status = 400, description = "Not JSON", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "The body did not arrive in time", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "Too large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "Not a type of body that is understood", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Every bad index and field", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "More than the key's limits allow", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The log cannot take them now; names the ids given", body = Problem, content_type = "application/problem+json"),
    )
)]
#[expect(dead_code, reason = "only describes the gateway's path")]
fn events_create() {}

/// How one dead letter is redriven; all of it may be absent.
#[derive(Serialize, ToSchema)]
#[schema(as = RedriveOne)]
struct RedriveOne {
    /// Another id for the event, where another event has its own (`id_conflict`).
    #[schema(pattern = "^[A-Za-z0-9._:-]{1,64}$")]
    event_id: Option<String>,
}

/// Which dead letters are redriven: those that were not yet, oldest first.
#[derive(Serialize, ToSchema)]
#[schema(as = RedriveMany)]
struct RedriveMany {
    /// Only of this reason.
    reason: Option<String>,
    /// Only events of this agent.
    agent_id: Option<String>,
    /// At most so many; 100 where absent.
    #[schema(minimum = 1, maximum = 1000)]
    limit: Option<i32>,
}

/// What a dead letter became.
#[derive(Serialize, ToSchema)]
struct Redriven {
    /// The dead letter's position.
    position: String,
    /// The receipt of the event that was made of it: whether that is counted, is asked with it.
    redriven_to: String,
    /// When.
    #[schema(format = DateTime)]
    redriven_at: String,
}

/// A dead letter that was not redriven.
#[derive(Serialize, ToSchema)]
struct NotRedriven {
    /// The dead letter's position.
    position: String,
    /// Why.
    detail: String,
}

/// What became of the dead letters.
#[derive(Serialize, ToSchema)]
struct RedrivenMany {
    /// Those that were redriven, oldest first.
    items: Vec<Redriven>,
    /// Those that were not.
    failed: Vec<NotRedriven>,
    /// Whether there are more of the kind: ask again.
    has_more: bool,
}

/// Redrive a dead letter: publish its event once more
///
/// Answers when the log has it durably. However often it is redriven, the event counts once; where it still cannot be
/// counted it becomes another dead letter.
#[utoipa::path(
    post, path = "/api/v1/dead-letters/{position}/redrive", operation_id = "redriveDeadLetter", tag = "dead-letters",
    params(
        ("position" = String, Path, description = "The dead letter's position"),
        ("again" = Option<bool>, Query, description = "Also where it was redriven before"),
    ),
    request_body = Option<RedriveOne>,
    responses(
        (status = 200, body = Redriven),
        (status = 400, description = "Not JSON", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such dead letter", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It was redriven before", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The event is larger than the log takes, or the body too large", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Not a position, or the event cannot get another id", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The log cannot take it now", body = Problem, content_type = "application/problem+json"),
    )
)]
#[expect(dead_code, reason = "only describes the gateway's path")]
fn dead_letter_redrive() {}

/// Redrive the oldest dead letters of a kind that were not redriven yet
#[utoipa::path(
    post, path = "/api/v1/dead-letters/redrive", operation_id = "redriveDeadLetters", tag = "dead-letters",
    request_body = RedriveMany,
    responses(
        (status = 200, body = RedrivenMany),
        (status = 400, description = "Not JSON", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A field is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The log cannot take them now", body = Problem, content_type = "application/problem+json"),
    )
)]
#[expect(dead_code, reason = "only describes the gateway's path")]
fn dead_letters_redrive() {}

/// Whether the service runs
#[utoipa::path(get, path = "/health", operation_id = "getHealth", tag = "health", responses((status = 200, body = HealthAnswer)))]
#[expect(dead_code, reason = "only describes service-kit's path")]
fn health_read() {}

/// Whether the service runs, as `/health`
#[utoipa::path(get, path = "/health/live", operation_id = "getLiveness", tag = "health", responses((status = 200, body = HealthAnswer)))]
#[expect(dead_code, reason = "only describes service-kit's path")]
fn live_read() {}

/// Whether the service is ready
#[utoipa::path(
    get, path = "/health/ready", operation_id = "getReadiness", tag = "health",
    responses((status = 200, body = HealthAnswer), (status = 503, description = "What is not ready, and why", body = HealthAnswer))
)]
#[expect(dead_code, reason = "only describes service-kit's path")]
fn ready_read() {}

/// Every answer must be described (OpenAPI 3.1, Response Object); those whose body says it all get a word.
pub(crate) fn describe_answers(api: &mut utoipa::openapi::OpenApi) {
    for operation in operations(api) {
        for answer in operation.responses.responses.values_mut() {
            if let RefOr::T(answer) = answer
                && answer.description.is_empty()
            {
                "As asked for".clone_into(&mut answer.description);
            }
        }
    }
}
