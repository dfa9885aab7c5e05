//! `GET /api/v1/dead-letters` and one dead letter with its bytes: what was accepted and could not be counted, why, and
//! what became of it since. Redriving is the ingest gateway's.

use crate::AppState;
use crate::answer::{Caching, as_of_now, json};
use crate::cursor;
use crate::events::Event;
use crate::parameters::Parameters;
use crate::progress::{DeadLetterPlace, KnownDeadLetter, Listed, Wanted};
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use event_log::{LogError, LogRecord, Position};
use schemas::Problem;
use schemas::codec::decode_event;
use schemas::dead_letter::{DeadLetter as Letter, header};
use schemas::item::StoredEvent;
use schemas::problem::FieldError;
use schemas::time::format_micros;
use serde::Serialize;
use service_kit::problem::ApiError;
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// What a cursor of this path is bound to.
const CURSOR_OF: [&str; 2] = ["reason", "agent_id"];
/// How long dead letters that are written but not read yet are waited for.
const READ_WITHIN: Duration = Duration::from_millis(500);
/// Longest wait for the log's answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Longest bytes that are shown as text too.
const LONGEST_TEXT: usize = 4_096;
const RETRY_AFTER_S: u64 = 2;

pub(crate) fn router() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::new().routes(routes!(dead_letters_read)).routes(routes!(dead_letter_read))
}

/// An event that was accepted and could not be counted.
#[derive(Debug, Serialize, ToSchema)]
struct DeadLetter {
    /// Where the event is in the log, which is also its receipt: `<epoch>-<partition>-<offset>`.
    position: String,
    /// Why: `undecodable`, `invalid`, `too_old` or `id_conflict`.
    reason: String,
    /// Where it was found: `decode`, `admit` or `insert`.
    #[schema(required)]
    stage: Option<String>,
    /// More about the reason.
    #[schema(required)]
    detail: Option<String>,
    /// When it died.
    #[schema(format = DateTime)]
    died_at: String,
    /// Whose event it is; null where it could not be decoded.
    #[schema(required)]
    agent_id: Option<String>,
    /// The event's id; null where it could not be decoded.
    #[schema(required)]
    event_id: Option<String>,
    /// Bytes of the event as it lies in the log.
    bytes: u64,
    /// When it was redriven; null where it was not.
    #[schema(required, format = DateTime)]
    redriven_at: Option<String>,
    /// The receipt of the event that was made of it then.
    #[schema(required)]
    redriven_to: Option<String>,
}

impl From<&Listed> for DeadLetter {
    fn from(listed: &Listed) -> Self {
        let (redriven_at, redriven_to) = listed.redriven.clone().unzip();
        Self {
            position: listed.position.to_string(),
            reason: listed.reason.clone(),
            stage: listed.stage.clone(),
            detail: listed.detail.clone(),
            died_at: format_micros(listed.died_at),
            agent_id: listed.agent_id.clone(),
            event_id: listed.event_id.clone(),
            bytes: listed.bytes,
            redriven_at,
            redriven_to,
        }
    }
}

/// A page of dead letters.
#[derive(Debug, Serialize, ToSchema)]
struct DeadLettersAnswer {
    /// Newest first.
    items: Vec<DeadLetter>,
    /// Send it back as `cursor`, with the same parameters, for the next page; null at the end.
    #[schema(required)]
    next_key: Option<String>,
    /// Dead letters since then are all there; null where all that the log has are. Older ones are read one by one.
    #[schema(required, format = DateTime)]
    complete_from: Option<String>,
    /// Whether everything that the log had when asked was read; just after a start it may not be.
    is_caught_up: bool,
    /// When this was so.
    #[schema(format = DateTime)]
    as_of: String,
}

/// A dead letter with the bytes that could not be counted.
#[derive(Debug, Serialize, ToSchema)]
struct DeadLetterAnswer {
    /// What the list says of it.
    #[serde(flatten)]
    letter: DeadLetter,
    /// The original's key.
    key: RawBytes,
    /// The original's headers, in order.
    headers: Vec<RawHeader>,
    /// The original's value.
    value: RawBytes,
    /// Whether `value` is only the original's beginning: with what a dead letter adds, the log did not take it whole.
    is_cut: bool,
    /// The event, where the value can be decoded.
    #[schema(required)]
    event: Option<Event>,
    /// When it was read.
    #[schema(format = DateTime)]
    as_of: String,
}

/// Bytes as they lie in the log.
#[derive(Debug, Serialize, ToSchema)]
struct RawBytes {
    /// All of them.
    base64: String,
    /// As text, where they are UTF-8 without control characters and at most 4 KiB.
    #[schema(required)]
    text: Option<String>,
}

/// A header as it lies in the log.
#[derive(Debug, Serialize, ToSchema)]
struct RawHeader {
    /// Its name.
    name: String,
    /// Its value.
    value: RawBytes,
}

impl From<&[u8]> for RawBytes {
    fn from(bytes: &[u8]) -> Self {
        let is_shown = |text: &&str| text.len() <= LONGEST_TEXT && !text.chars().any(|c| c.is_control() && !c.is_whitespace());
        let text = std::str::from_utf8(bytes).ok().filter(is_shown).map(str::to_owned);
        Self { base64: STANDARD.encode(bytes), text }
    }
}

/// Events that were accepted and could not be counted, newest first
///
/// The newest 10,000 can be listed, as `complete_from` says. A dead letter that was redriven stays and says so.
#[utoipa::path(
    get, path = "/api/v1/dead-letters", operation_id = "listDeadLetters", tag = "dead-letters",
    params(
        ("reason" = Option<String>, Query, description = "Only of this reason"),
        ("agent_id" = Option<String>, Query, description = "Only events of this agent"),
        ("limit" = Option<i32>, Query, minimum = 1, maximum = 1000, description = "Dead letters of a page; 100 where absent"),
        ("cursor" = Option<String>, Query, description = "`next_key` of the page before"),
    ),
    responses(
        (status = 200, body = DeadLettersAnswer),
        (status = 422, description = "A parameter is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The log does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn dead_letters_read(
    State(state): State<Arc<AppState>>,
    headers: HeaderMap,
    mut parameters: Parameters,
) -> Result<Response, ApiError> {
    let (reason, agent_id, limit) = (parameters.text("reason"), parameters.agent(), parameters.limit());
    let cursor = parameters.cursor();
    parameters.check()?;
    let bound_to = format!("dead-letters;{}", parameters.fingerprint(&CURSOR_OF));
    let before = cursor.map(|text| place_of(&bound_to, &text)).transpose()?;
    let as_of = as_of_now();
    let (bounds, is_caught_up) = state.progress.read_dead_letters(READ_WITHIN).await.map_err(no_answer)?;
    let page = state.progress.dead_letters().page(&Wanted { reason, agent_id, limit, before }, &bounds);
    let answer = DeadLettersAnswer {
        items: page.letters.iter().map(|listed| DeadLetter::from(&**listed)).collect(),
        next_key: page.next.map(|(died_at, position)| cursor::encode(&bound_to, &(died_at, position.to_string()))),
        complete_from: page.complete_from.map(format_micros),
        is_caught_up,
        as_of,
    };
    json(&headers, &answer, &answer.as_of, Caching::Revalidate)
}

pub(crate) fn place_of(bound_to: &str, text: &str) -> Result<DeadLetterPlace, ApiError> {
    let (died_at, position): (i64, String) = cursor::decode(bound_to, text)?;
    Ok((died_at, position.parse().map_err(|_| cursor::refusal("is not a cursor of this path"))?))
}

/// One dead letter with the original's bytes
#[utoipa::path(
    get, path = "/api/v1/dead-letters/{position}", operation_id = "getDeadLetter", tag = "dead-letters",
    params(("position" = String, Path, description = "The original's position: `<epoch>-<partition>-<offset>`")),
    responses(
        (status = 200, body = DeadLetterAnswer),
        (status = 404, description = "No such dead letter", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Not a position", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The log does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn dead_letter_read(
    State(state): State<Arc<AppState>>,
    Path(position): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let position: Position = position.parse().map_err(|_| {
        let detail = "must be <epoch>-<partition>-<offset>";
        ApiError::unprocessable(
            format!("position {detail}"),
            vec![FieldError { index: 0, field: "position".into(), detail: detail.into() }],
        )
    })?;
    let as_of = as_of_now();
    state.progress.read_dead_letters(READ_WITHIN).await.map_err(no_answer)?;
    let unknown = || ApiError::not_found("no such dead letter: the event was counted or still waits, or the dead letter has left the log");
    let KnownDeadLetter { place: (partition, offset), .. } = state.progress.dead_letter(position).ok_or_else(unknown)?;
    let record = record_at(&state, &state.config.topic_dead, partition, offset).await?.ok_or_else(unknown)?;
    let answer = answer_of(&state, &record, position, as_of).await?;
    json(&headers, &answer, &answer.as_of, Caching::Revalidate)
}

/// The whole original stands for the beginning of it where the log still has it.
async fn answer_of(state: &AppState, record: &LogRecord, position: Position, as_of: String) -> Result<DeadLetterAnswer, ApiError> {
    let listed = Listed::of(record, position);
    let original = match listed.is_cut && position.epoch == state.config.epoch {
        true => record_at(state, &state.config.topic_events, position.partition, position.offset).await?,
        false => None,
    };
    let letter = Letter::of(&record.headers);
    let kept_key = letter.value(header::KEY).map_or(&b""[..], |key| &key[..]);
    let (key, headers, value) = match &original {
        Some(original) => (&original.key[..], &original.headers[..], &original.value),
        None => (kept_key, letter.original, &record.value),
    };
    let event = decode_event(value).ok();
    Ok(DeadLetterAnswer {
        letter: DeadLetter::from(&listed),
        key: key.into(),
        headers: headers.iter().map(|(name, value)| RawHeader { name: name.clone(), value: (&value[..]).into() }).collect(),
        value: (&value[..]).into(),
        is_cut: listed.is_cut && original.is_none(),
        event: event.map(|event| StoredEvent { event, src: None }.into()),
        as_of,
    })
}

async fn record_at(state: &AppState, topic: &str, partition: u32, offset: u64) -> Result<Option<LogRecord>, ApiError> {
    let asked = tokio::time::timeout(ANSWER_WITHIN, state.log.record_at(topic, partition, offset)).await;
    asked.unwrap_or_else(|_| Err(LogError::Unavailable(format!("no answer within {ANSWER_WITHIN:?}")))).map_err(no_answer)
}

fn no_answer(error: LogError) -> ApiError {
    if matches!(error, LogError::Broken(_)) {
        return ApiError::internal(error);
    }
    tracing::warn!(%error, "the log did not answer for dead letters");
    ApiError::unavailable("the log does not answer at the moment; try again", RETRY_AFTER_S)
}
