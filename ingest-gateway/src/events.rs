//! The two ways in: one event by its agent's path, and batches. Decides statuses and answers; what an event may
//! be is decided in [`crate::validate`], when it is safe in [`crate::publish`].

use crate::Shared;
use crate::body::{self, BodyError, Encoding, Reservation};
use crate::metrics::{ACCEPTED, REJECTED, reason};
use crate::prepare::{Ground, Handling, Job, Prepared, Refusal, Shape, prepare};
use crate::publish::{Origin, PublishError};
use crate::split::SplitError;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use event_log::{AppendError, Receipt};
use metrics::counter;
use schemas::problem::FieldError;
use schemas::{AgentId, agent_id};
use serde::Serialize;
use service_kit::auth::{Caller, Scope};
use service_kit::problem::ApiError;
use std::sync::Arc;

/// Bodies from this size on, and all packed ones, are worked on off the async threads.
const HEAVY_BYTES: usize = 64 * 1024;
/// What a client is told to wait before it tries again, seconds.
const RETRY_AFTER_S: u64 = 1;
/// The same where the log has no room, which no second mends.
const RETRY_AFTER_NO_ROOM_S: u64 = 30;

pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new().route("/api/v1/agents/{agent_id}/events", post(event_create)).route("/api/v1/events", post(events_create))
}

#[derive(Serialize)]
struct EventCreated<'a> {
    event_id: &'a str,
    status: &'static str,
    message: &'static str,
    receipt: String,
}

#[derive(Serialize)]
struct EventsCreated<'a> {
    status: &'static str,
    accepted: usize,
    event_ids: &'a [String],
    receipt: String,
}

#[derive(Serialize)]
struct EventsJudged<'a> {
    status: &'static str,
    accepted: usize,
    rejected: usize,
    results: Vec<EventResult<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<String>,
}

#[derive(Serialize)]
struct EventResult<'a> {
    index: usize,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<&'a str>,
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    errors: &'a [FieldError],
}

async fn event_create(
    State(shared): State<Arc<Shared>>,
    agent_id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let agent_id = agent_id.map(|Path(id)| id).unwrap_or_default();
    let outcome = take(&shared, request, |_| {
        let agent = AgentId::parse(agent_id).ok_or_else(|| invalid(vec![field_error("agent_id", agent_id::RULE)], 1))?;
        Ok(Shape::One(agent))
    });
    let (prepared, receipt, _) = counted(outcome.await)?;
    let (Some(event_id), Some(receipt)) = (prepared.event_ids.first(), receipt) else {
        return Err(ApiError::internal(anyhow::anyhow!("one event gave no receipt")));
    };
    let message = "Event recorded successfully";
    let created = EventCreated { event_id, status: "success", message, receipt: receipt.to_string() };
    Ok((StatusCode::ACCEPTED, Json(created)).into_response())
}

async fn events_create(State(shared): State<Arc<Shared>>, request: Request) -> Result<Response, ApiError> {
    let (prepared, receipt, handling) =
        counted(take(&shared, request, |is_lines| Ok(if is_lines { Shape::Lines } else { Shape::Batch })).await)?;
    if handling == Handling::Lenient {
        return Ok(judged(&prepared, receipt.as_ref()));
    }
    let Some(receipt) = receipt else {
        return Err(ApiError::internal(anyhow::anyhow!("a batch gave no receipt")));
    };
    let event_ids = &prepared.event_ids;
    let created = EventsCreated { status: "success", accepted: event_ids.len(), event_ids, receipt: receipt.to_string() };
    Ok((StatusCode::ACCEPTED, Json(created)).into_response())
}

/// The answer with a result per index.
fn judged(prepared: &Prepared, receipt: Option<&Receipt>) -> Response {
    let mut errors = prepared.errors.as_slice();
    let mut results = Vec::with_capacity(prepared.event_ids.len());
    for (index, event_id) in prepared.event_ids.iter().enumerate() {
        let (own, later) = errors.split_at(errors.partition_point(|error| error.index <= index));
        errors = later;
        let is_good = own.is_empty();
        let status = if is_good { StatusCode::ACCEPTED } else { StatusCode::UNPROCESSABLE_ENTITY };
        results.push(EventResult { index, status: status.as_u16(), event_id: is_good.then_some(event_id), errors: own });
    }
    let rejected = results.iter().filter(|result| !result.errors.is_empty()).count();
    let body = EventsJudged {
        status: if rejected == 0 { "success" } else { "partial" },
        accepted: results.len() - rejected,
        rejected,
        results,
        receipt: receipt.map(Receipt::to_string),
    };
    let applied = [("preference-applied", HeaderValue::from_static("handling=lenient"))];
    (StatusCode::MULTI_STATUS, applied, Json(body)).into_response()
}

/// A refusal, with the number of events that it concerns.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) error: ApiError,
    pub(crate) events: usize,
}

impl From<Refusal<ApiError>> for Refused {
    fn from(refusal: Refusal<ApiError>) -> Self {
        match refusal {
            Refusal::Body(error) => error.into(),
            Refusal::Limited(error) => error.into(),
            Refusal::Invalid(errors, events) => invalid(errors, events),
            Refusal::Split(error) => split_error(&error).into(),
        }
    }
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self { error, events: 1 }
    }
}

impl From<BodyError> for Refused {
    fn from(error: BodyError) -> Self {
        body_error(&error).into()
    }
}

type Taken = (Prepared, Option<Receipt>, Handling);

/// Does everything from the key to the log's acknowledgement.
async fn take(shared: &Arc<Shared>, request: Request, shape: impl FnOnce(bool) -> Result<Shape, Refused>) -> Result<Taken, Refused> {
    let (parts, body) = request.into_parts();
    let headers = &parts.headers;
    let caller = shared.auth.authenticate(headers, Scope::Ingest)?;
    let head = head(headers, shape)?;
    let origin = Origin {
        request_id: service_kit::http::request_id(&parts.extensions).map(|id| id.to_owned()),
        traceparent: service_kit::telemetry::traceparent(headers),
    };
    let (body, reservation) = body::read(body, head.shape.limit(), shared.body_timeout, &shared.budget).await?;
    let handling = head.handling;
    let job = head.with(body);
    let (mut prepared, _reservation) = prepare_somewhere(shared, job, caller, reservation).await?;
    let records = std::mem::take(&mut prepared.records);
    let accepted = records.len();
    let receipt = match shared.publisher.publish(records, &origin).await {
        Ok(receipt) => receipt,
        Err(error) => return Err(Refused { error: publish_error(error, prepared.event_ids), events: accepted }),
    };
    counter!(ACCEPTED).increment(accepted as u64);
    shared.tally.add(accepted);
    Ok((prepared, receipt, handling))
}

/// What a request's headers say of its body.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) shape: Shape,
    pub(crate) encoding: Encoding,
    pub(crate) handling: Handling,
    pub(crate) key: Option<String>,
}

impl Head {
    /// With the body that came behind it.
    pub(crate) fn with(self, body: Bytes) -> Job {
        let Self { shape, encoding, handling, key } = self;
        Job { shape, encoding, handling, key, body }
    }
}

/// Reads the headers; `shape` is told whether they announce NDJSON.
pub(crate) fn head(headers: &HeaderMap, shape: impl FnOnce(bool) -> Result<Shape, Refused>) -> Result<Head, Refused> {
    let media = media_type(headers)?;
    let shape = shape(media == Media::Lines)?;
    if media == Media::Lines && shape != Shape::Lines {
        return Err(ApiError::unsupported_media("one event is sent as application/json; NDJSON goes to /api/v1/events").into());
    }
    let encoding = Encoding::of(headers)?;
    // Leaving out what is bad needs something that remains: one bad event is refused however lenient its client is.
    let handling = match (handling(headers), &shape) {
        (Handling::Lenient, Shape::One(_)) => Handling::Default,
        (handling, _) => handling,
    };
    Ok(Head { shape, encoding, handling, key: idempotency_key(headers)? })
}

/// Prepares small bodies at once and heavy ones on the blocking threads, as many at a time as there are cores.
async fn prepare_somewhere(
    shared: &Arc<Shared>,
    job: Job,
    caller: Caller,
    mut reservation: Reservation,
) -> Result<(Prepared, Reservation), Refused> {
    if job.encoding == Encoding::Identity && job.body.len() < HEAVY_BYTES {
        return Ok((prepare_now(shared, &job, &caller, &mut reservation)?, reservation));
    }
    let core = Arc::clone(&shared.cores).acquire_owned().await.map_err(ApiError::internal)?;
    let shared = Arc::clone(shared);
    let heavy = tokio::task::spawn_blocking(move || {
        let prepared = prepare_now(&shared, &job, &caller, &mut reservation);
        drop(core);
        prepared.map(|prepared| (prepared, reservation))
    });
    heavy.await.map_err(ApiError::internal)?
}

fn prepare_now(shared: &Shared, job: &Job, caller: &Caller, reservation: &mut Reservation) -> Result<Prepared, Refused> {
    let ground =
        Ground { now: schemas::time::now_micros(), retention_days: shared.retention_days, prices: &shared.prices, form: shared.form };
    let charge = |events: usize, bytes: usize| {
        shared.auth.charge(caller, u32::try_from(events).unwrap_or(u32::MAX), u32::try_from(bytes).unwrap_or(u32::MAX))
    };
    let prepared = prepare(job, &ground, reservation, charge)?;
    let left_out = prepared.event_ids.iter().filter(|id| id.is_empty()).count();
    if left_out > 0 {
        counter!(REJECTED, "reason" => reason(422)).increment(left_out as u64);
    }
    Ok(prepared)
}

fn counted(outcome: Result<Taken, Refused>) -> Result<Taken, ApiError> {
    outcome.map_err(|Refused { error, events }| {
        counter!(REJECTED, "reason" => reason(error.problem.status)).increment(events as u64);
        error
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Media {
    Json,
    Lines,
}

fn media_type(headers: &HeaderMap) -> Result<Media, ApiError> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(Media::Json) };
    let value = value.to_str().unwrap_or_default().to_ascii_lowercase();
    let mut parts = value.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let charset = parts.find_map(|part| part.strip_prefix("charset=")).map(|charset| charset.trim_matches('"'));
    if charset.is_some_and(|charset| !matches!(charset, "utf-8" | "utf8" | "us-ascii")) {
        return Err(ApiError::unsupported_media("JSON is sent as UTF-8"));
    }
    match essence {
        "application/json" | "text/json" => Ok(Media::Json),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => Ok(Media::Lines),
        json if json.starts_with("application/") && json.ends_with("+json") => Ok(Media::Json),
        "application/x-www-form-urlencoded" => {
            Err(ApiError::unsupported_media("events are sent as application/json; with curl add -H 'Content-Type: application/json'"))
        }
        _ => Err(ApiError::unsupported_media("events are sent as application/json or, in batches, application/x-ndjson")),
    }
}

/// RFC 7240: of several values the first counts.
fn handling(headers: &HeaderMap) -> Handling {
    let preferences = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split([',', ';']));
    let mut handlings = preferences.filter_map(|preference| {
        let (name, value) = preference.split_once('=')?;
        if !name.trim().eq_ignore_ascii_case("handling") {
            return None;
        }
        match value.trim().trim_matches('"').to_ascii_lowercase().as_str() {
            "strict" => Some(Handling::Strict),
            "lenient" => Some(Handling::Lenient),
            _ => None,
        }
    });
    handlings.next().unwrap_or_default()
}

/// The key, with or without the quotes of a structured header.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Refused> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid(vec![field_error("Idempotency-Key", "is given twice")], 1));
    }
    let key = value.to_str().unwrap_or("\u{fffd}").trim();
    Ok(Some(key.strip_prefix('"').and_then(|key| key.strip_suffix('"')).unwrap_or(key).to_owned()))
}

fn field_error(field: &str, detail: &str) -> FieldError {
    FieldError { index: 0, field: field.to_owned(), detail: detail.to_owned() }
}

/// The refusal of invalid events. Older clients read only `detail`, so it says the first complaint.
fn invalid(errors: Vec<FieldError>, events: usize) -> Refused {
    let first = errors.first().map(|e| if e.field.is_empty() { e.detail.clone() } else { format!("{} {}", e.field, e.detail) });
    let first = first.unwrap_or_default();
    let more = if errors.len() > 1 { format!(" (and {} more errors)", errors.len() - 1) } else { String::new() };
    let detail = match (events, errors.first()) {
        (2.., Some(error)) => format!("event {}: {first}{more}; nothing was recorded", error.index),
        _ => format!("{first}{more}"),
    };
    Refused { error: ApiError::unprocessable(detail, errors), events }
}

fn split_error(error: &SplitError) -> ApiError {
    match error {
        SplitError::NotJson(_) => ApiError::bad_request(error.to_string()),
        SplitError::TooMany => ApiError::too_large(error.to_string()),
        SplitError::NotABatch(_) | SplitError::Empty => ApiError::unprocessable(error.to_string(), Vec::new()),
    }
}

fn body_error(error: &BodyError) -> ApiError {
    match error {
        BodyError::TooLarge(_) => ApiError::too_large(error.to_string()),
        BodyError::TimedOut(_) => ApiError::timed_out(error.to_string()),
        BodyError::Broken | BodyError::NotPacked(_) => ApiError::bad_request(error.to_string()),
        BodyError::Overloaded => ApiError::unavailable(error.to_string(), RETRY_AFTER_S),
        BodyError::UnknownEncoding => ApiError::unsupported_media(error.to_string()),
    }
}

/// An outage, with the ids given: a retry that sends them is counted once, whatever the log took.
fn publish_error(error: PublishError, event_ids: Vec<String>) -> ApiError {
    let mut answer = match error {
        PublishError::Append(AppendError::TooLarge(_)) => {
            return ApiError::too_large("an event is larger than the log takes").caused_by(error);
        }
        PublishError::Held => ApiError::unavailable(
            "the server is being exported and takes no events for a moment; send the same events again, with the ids given here where \
             they had none",
            RETRY_AFTER_S,
        ),
        PublishError::Append(AppendError::NoRoom) => ApiError::unavailable("the event log has no room left", RETRY_AFTER_NO_ROOM_S),
        _ => ApiError::unavailable(
            "the event log did not acknowledge in time; send the same events again, with the ids given here where they had none",
            RETRY_AFTER_S,
        ),
    };
    answer.problem.event_ids = event_ids;
    answer.caused_by(error)
}
