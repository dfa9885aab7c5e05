//! Publishes the events of dead letters once more, for an operator who has mended what was wrong. Whatever happens in
//! between, the event counts once: it keeps its identity.
//!
//! First the event, then its dead letter anew with where it went, each acknowledged. A crash in between leaves a dead
//! letter that does not say so; redriving it again is a repeat that is skipped.

use crate::Shared;
use crate::dead_letters::{FindError, Found, Kind};
use crate::metrics::REDRIVEN;
use crate::publish::{EPOCH_HEADER, PublishError};
use axum::body::{Body, to_bytes};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use event_log::{AppendError, Position, Record};
use metrics::counter;
use schemas::agent_id;
use schemas::codec::encode_event;
use schemas::dead_letter::header;
use schemas::identity::is_valid_event_id;
use schemas::problem::FieldError;
use schemas::time::{format_micros, now_micros};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use service_kit::auth::Scope;
use service_kit::problem::ApiError;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Largest body.
const MOST_BYTES: usize = 16 * 1024;
/// Dead letters that one request redrives at most, and where it does not say.
const LIMITS: (usize, usize) = (1_000, 100);
/// After this time a request begins no further dead letters.
const BEGUN_WITHIN: Duration = Duration::from_secs(20);
/// Dead letters, and their bytes, that are under way at once.
const AT_ONCE: (usize, usize) = (100, 4 << 20);
const RETRY_AFTER_S: u64 = 2;
/// The same where the log has no room, which no second mends.
const RETRY_AFTER_NO_ROOM_S: u64 = 30;

pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/v1/dead-letters/redrive", post(dead_letters_redrive))
        .route("/api/v1/dead-letters/{position}/redrive", post(dead_letter_redrive))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RedriveOne {
    event_id: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RedriveMany {
    reason: Option<String>,
    agent_id: Option<String>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
struct Again {
    #[serde(default)]
    again: bool,
}

/// What a dead letter became.
#[derive(Debug, Serialize)]
struct Redriven {
    position: String,
    redriven_to: String,
    redriven_at: String,
}

#[derive(Debug, Serialize)]
struct NotRedriven {
    position: String,
    detail: String,
}

#[derive(Debug, Default, Serialize)]
struct RedrivenMany {
    items: Vec<Redriven>,
    failed: Vec<NotRedriven>,
    has_more: bool,
}

async fn dead_letter_redrive(
    State(shared): State<Arc<Shared>>,
    position: Result<Path<String>, PathRejection>,
    again: Result<Query<Again>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Redriven>, ApiError> {
    let caller = shared.auth.authenticate_browser(&headers, Scope::Admin).await?;
    let position = position.ok().and_then(|Path(position)| position.parse::<Position>().ok());
    let position = position.ok_or_else(|| invalid("position", "must be <epoch>-<partition>-<offset>"))?;
    let Query(Again { again }) = again.map_err(|_| invalid("again", "must be true or false"))?;
    let RedriveOne { event_id } = read(body).await?;
    if event_id.as_ref().is_some_and(|id| !is_valid_event_id(id)) {
        return Err(invalid("event_id", "must be 1 to 64 letters, digits or . _ : -"));
    }
    let unknown = || ApiError::not_found("no such dead letter: the event was counted or still waits, or the dead letter has left the log");
    let found = shared.dead_letters.find(position).await.map_err(find_error)?.ok_or_else(unknown)?;
    if let Some(before) = found.redriven()
        && !again
    {
        let detail = format!("it was redriven at {} to {}; with ?again=true it is redriven once more", before.at, before.to);
        return Err(ApiError::conflict(detail));
    }
    let event = event_of(&shared, &found, event_id).await?;
    let redriven = redrive(&shared, vec![(found, event)]).await.pop();
    let redriven = redriven.ok_or_else(|| ApiError::internal(anyhow::anyhow!("one dead letter gave no outcome")))?.1?;
    tracing::info!(position = redriven.position, to = redriven.redriven_to, key_id = caller.key_id, "dead letter redriven");
    Ok(Json(redriven))
}

async fn dead_letters_redrive(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Body) -> Result<Json<RedrivenMany>, ApiError> {
    let caller = shared.auth.authenticate_browser(&headers, Scope::Admin).await?;
    let RedriveMany { reason, agent_id, limit } = read(body).await?;
    if agent_id.as_ref().is_some_and(|id| !agent_id::is_valid(id)) {
        return Err(invalid("agent_id", agent_id::RULE));
    }
    let limit = limit.unwrap_or(LIMITS.1);
    if !(1..=LIMITS.0).contains(&limit) {
        return Err(invalid("limit", &format!("must be a whole number from 1 to {}", LIMITS.0)));
    }
    let kind = Kind { reason, agent_id };
    let (found, has_more) = shared.dead_letters.find_kind(&kind, limit).await.map_err(find_error)?;
    let many = redrive_in_turn(&shared, found, has_more).await?;
    tracing::info!(redriven = many.items.len(), failed = many.failed.len(), key_id = caller.key_id, "dead letters redriven");
    Ok(Json(many))
}

/// Redrives some at a time. An outage ends it: what was redriven before is answered, and an error only where nothing was.
async fn redrive_in_turn(shared: &Shared, found: Vec<Found>, has_more: bool) -> Result<RedrivenMany, ApiError> {
    let begun = Instant::now();
    let mut many = RedrivenMany { has_more, ..RedrivenMany::default() };
    let mut found = found.into_iter().peekable();
    while found.peek().is_some() {
        if begun.elapsed() >= BEGUN_WITHIN {
            many.has_more = true;
            break;
        }
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < AT_ONCE.0
            && bytes < AT_ONCE.1
            && let Some(next) = found.next()
        {
            bytes += next.record.weight();
            match event_of(shared, &next, None).await {
                Ok(event) => batch.push((next, event)),
                Err(error) => many.failed.push(not_redriven(next.position, &error)),
            }
        }
        let mut outage = None;
        for (position, outcome) in redrive(shared, batch).await {
            match outcome {
                Ok(redriven) => many.items.push(redriven),
                Err(error) => {
                    many.failed.push(not_redriven(position, &error));
                    outage = outage.or(Some(error).filter(|error| error.retry_after_s.is_some()));
                }
            }
        }
        if let Some(error) = outage {
            if many.items.is_empty() {
                return Err(error);
            }
            many.has_more = true;
            break;
        }
    }
    Ok(many)
}

fn not_redriven(position: Position, error: &ApiError) -> NotRedriven {
    NotRedriven { position: position.to_string(), detail: error.problem.detail.clone() }
}

/// The record to publish: the original as it was, under our epoch, with where it comes from; or with another id.
async fn event_of(shared: &Shared, found: &Found, event_id: Option<String>) -> Result<Record, ApiError> {
    let original = shared.dead_letters.original(found).await.map_err(find_error)?;
    let mut record = original
        .ok_or_else(|| ApiError::conflict("only the beginning of this event was kept, and the whole of it is no longer in the log"))?;
    if let Some(id) = event_id {
        let event = shared.dead_letters.decode(&record.value).await.map_err(find_error)?;
        let mut event = event.ok_or_else(|| invalid("event_id", "cannot be given to bytes that are no event"))?;
        event.event_id = id;
        record.value = encode_event(&event, shared.form).into();
    }
    record.headers.retain(|(name, _)| name != EPOCH_HEADER && name != header::REDRIVEN_FROM);
    record.headers.extend([
        (EPOCH_HEADER.to_owned(), shared.publisher.epoch().to_string().into()),
        (header::REDRIVEN_FROM.to_owned(), found.position.to_string().into()),
    ]);
    Ok(record)
}

/// Publishes the events, then their dead letters anew; all at once, since each waits for the disk.
async fn redrive(shared: &Shared, letters: Vec<(Found, Record)>) -> Vec<(Position, Result<Redriven, ApiError>)> {
    let (found, events): (Vec<_>, Vec<_>) = letters.into_iter().unzip();
    let published = shared.publisher.append_all(shared.publisher.topic(), events).await;
    let redriven_at = format_micros(now_micros());
    let (mut outcomes, mut marks, mut marked) = (Vec::new(), Vec::new(), Vec::new());
    for (found, published) in found.into_iter().zip(published) {
        match published {
            Ok((partition, offset)) => {
                let to = Position { epoch: shared.publisher.epoch(), partition, offset };
                marks.push(mark(&found, &redriven_at, to));
                marked.push((found.position, to));
            }
            Err(error) => outcomes.push((found.position, Err(publish_error(error)))),
        }
    }
    counter!(REDRIVEN).increment(marked.len() as u64);
    shared.tally.add(marked.len());
    let noted = append_marks(shared, marks).await;
    outcomes.extend(marked.into_iter().zip(noted).map(|((position, to), noted)| {
        let redriven = Redriven { position: position.to_string(), redriven_to: to.to_string(), redriven_at: redriven_at.clone() };
        let not_noted = |error: PublishError| {
            let detail = format!(
                "the event is published as {to}, but its dead letter could not be made to say so: redriving it again counts it once"
            );
            ApiError::unavailable(detail, RETRY_AFTER_S).caused_by(error)
        };
        (position, noted.map(|_| redriven).map_err(not_noted))
    }));
    outcomes
}

/// The dead letter with what became of it.
fn mark(found: &Found, at: &str, to: Position) -> Record {
    let letter = found.letter();
    let is_kept = |name: &str| name != header::REDRIVEN_AT && name != header::REDRIVEN_TO;
    let mut headers = letter.original.to_vec();
    headers.extend(letter.ours.iter().filter(|(name, _)| is_kept(name)).cloned());
    headers.push((header::REDRIVEN_AT.to_owned(), Bytes::copy_from_slice(at.as_bytes())));
    headers.push((header::REDRIVEN_TO.to_owned(), to.to_string().into()));
    Record { key: found.record.key.clone(), value: found.record.value.clone(), headers }
}

/// A dead letter that this makes larger than the log takes loses its body: the event is in the events topic again.
async fn append_marks(shared: &Shared, marks: Vec<Record>) -> Vec<Result<(u32, u64), PublishError>> {
    let topic = shared.dead_letters.topic();
    let mut outcomes = shared.publisher.append_all(topic, marks.clone()).await;
    for (outcome, mut mark) in outcomes.iter_mut().zip(marks) {
        if matches!(outcome, Err(PublishError::Append(AppendError::TooLarge(_)))) {
            let whole = mark.value.len();
            mark.value = Bytes::new();
            mark.headers.retain(|(name, _)| name.starts_with("dead-") && name != header::KEY || name.starts_with("redriven-"));
            if !mark.headers.iter().any(|(name, _)| name == header::CUT) {
                mark.headers.push((header::CUT.to_owned(), whole.to_string().into()));
            }
            if let Some(again) = shared.publisher.append_all(topic, vec![mark]).await.pop() {
                *outcome = again;
            }
        }
    }
    outcomes
}

/// The body's JSON; nothing is as good as `{}`.
async fn read<T: DeserializeOwned + Default>(body: Body) -> Result<T, ApiError> {
    let bytes =
        to_bytes(body, MOST_BYTES).await.map_err(|_| ApiError::too_large(format!("the body must be at most {MOST_BYTES} bytes")))?;
    if bytes.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(&bytes).map_err(|error| match error.is_data() {
        true => ApiError::unprocessable(error.to_string(), Vec::new()),
        false => ApiError::bad_request(format!("the body is not JSON: {error}")),
    })
}

fn invalid(field: &str, detail: &str) -> ApiError {
    ApiError::unprocessable(format!("{field} {detail}"), vec![FieldError { index: 0, field: field.into(), detail: detail.into() }])
}

fn find_error(error: FindError) -> ApiError {
    ApiError::unavailable("the dead letters cannot be read at the moment; try again", RETRY_AFTER_S).caused_by(error)
}

fn publish_error(error: PublishError) -> ApiError {
    match error {
        PublishError::Append(AppendError::TooLarge(_)) => {
            ApiError::too_large("the event is larger than the log takes with what redriving adds").caused_by(error)
        }
        PublishError::Append(AppendError::NoRoom) => {
            ApiError::unavailable("the event log has no room left", RETRY_AFTER_NO_ROOM_S).caused_by(error)
        }
        _ => {
            let detail = "the event log did not acknowledge in time; redrive it again, it counts once";
            ApiError::unavailable(detail, RETRY_AFTER_S).caused_by(error)
        }
    }
}
