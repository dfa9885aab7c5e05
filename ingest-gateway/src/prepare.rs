//! From a request's bytes to the records that will be published: unpack, split, validate, identify, encode.
//! No I/O; heavy requests run it off the async threads.

use crate::body::{BodyError, Encoding, Reservation, unpack};
use crate::identify::identify;
use crate::publish::Encoded;
use crate::split::{MAX_EVENTS, SplitError, split_json, split_lines};
use crate::validate::{MAX_EVENT_BYTES, Rules, Valid, validate};
use bytes::Bytes;
use schemas::AgentId;
use schemas::codec::WireForm;
use schemas::identity::is_valid_event_id;
use schemas::price::PriceTable;
use schemas::problem::FieldError;

/// Bytes of a batch, packed or unpacked.
pub(crate) const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Characters of an `Idempotency-Key` that gets an index behind it.
const MAX_BATCH_KEY: usize = 58;
/// What unpacked bytes take in memory once they are parsed and encoded too.
const MEMORY_PER_BYTE: usize = 3;

/// What a body holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One event of that agent.
    One(AgentId),
    /// A JSON array or `{"events": [...]}`.
    Batch,
    /// One event a line.
    Lines,
}

impl Shape {
    /// Bytes that such a body may have.
    pub(crate) fn limit(&self) -> usize {
        match self {
            Self::One(_) => MAX_EVENT_BYTES,
            Self::Batch | Self::Lines => MAX_BATCH_BYTES,
        }
    }
}

/// What the client asked to be done with faults: `Prefer: handling=…`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Handling {
    /// One bad event refuses the request; unknown fields are kept.
    #[default]
    Default,
    /// Unknown fields are refused too.
    Strict,
    /// The good events of a batch are published.
    Lenient,
}

/// A request as read.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// What the body holds.
    pub(crate) shape: Shape,
    /// How it is packed.
    pub(crate) encoding: Encoding,
    /// What to do with faults.
    pub(crate) handling: Handling,
    /// The header `Idempotency-Key`.
    pub(crate) key: Option<String>,
    /// The body as received.
    pub(crate) body: Bytes,
}

/// What every request is judged by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ground<'a> {
    /// The server's clock, µs since the epoch.
    pub(crate) now: i64,
    /// See [`Rules::retention_days`].
    pub(crate) retention_days: Option<u32>,
    /// What tokens cost.
    pub(crate) prices: &'a PriceTable,
    /// How records are framed.
    pub(crate) form: WireForm,
}

/// Why a request is refused as a whole.
#[derive(Debug)]
pub(crate) enum Refusal<E> {
    /// The body as such.
    Body(BodyError),
    /// Not UTF-8, not JSON, or not a batch.
    Split(SplitError),
    /// The caller's limit; the error is the limiter's.
    Limited(E),
    /// Invalid events: every complaint, and the number of events.
    Invalid(Vec<FieldError>, usize),
}

impl<E> From<BodyError> for Refusal<E> {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

impl<E> From<SplitError> for Refusal<E> {
    fn from(error: SplitError) -> Self {
        Self::Split(error)
    }
}

/// A request that can be published.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// The records, in order.
    pub(crate) records: Vec<Encoded>,
    /// The event id at each index; empty where the event was refused.
    pub(crate) event_ids: Vec<String>,
    /// Complaints about the events left out (with [`Handling::Lenient`]).
    pub(crate) errors: Vec<FieldError>,
}

/// Does all that comes before publishing. `charge` is asked once, with the number of events and unpacked bytes.
pub(crate) fn prepare<E>(
    job: &Job,
    ground: &Ground<'_>,
    reservation: &mut Reservation,
    charge: impl FnOnce(usize, usize) -> Result<(), E>,
) -> Result<Prepared, Refusal<E>> {
    let body = unpack(job.body.clone(), job.encoding, job.shape.limit(), reservation)?;
    reservation.cover(job.body.len() + body.len() * MEMORY_PER_BYTE)?;
    let text = std::str::from_utf8(&body).map_err(|e| SplitError::NotJson(format!("not UTF-8 at byte {}", e.valid_up_to())))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let events = match job.shape {
        Shape::One(_) => vec![text],
        Shape::Batch => split_json(text)?,
        Shape::Lines => split_lines(text)?,
    };
    charge(events.len(), body.len()).map_err(Refusal::Limited)?;
    check_key(job).map_err(|error| Refusal::Invalid(vec![error], events.len()))?;
    let (valid, errors) = judge(job, ground, &events)?;
    if !errors.is_empty() && job.handling != Handling::Lenient {
        return Err(Refusal::Invalid(errors, events.len()));
    }
    let mut prepared = Prepared { records: Vec::with_capacity(valid.len()), event_ids: vec![String::new(); events.len()], errors };
    for (index, Valid { event, .. }) in valid {
        prepared.records.push(Encoded::of(&event, ground.form));
        prepared.event_ids[index] = event.event_id;
    }
    Ok(prepared)
}

type Judged = (Vec<(usize, Valid)>, Vec<FieldError>);

fn judge(job: &Job, ground: &Ground<'_>, events: &[&str]) -> Result<Judged, SplitError> {
    let agent = match &job.shape {
        Shape::One(agent) => Some(agent),
        Shape::Batch | Shape::Lines => None,
    };
    let is_strict = job.handling == Handling::Strict;
    let rules = Rules { now: ground.now, retention_days: ground.retention_days, is_strict, prices: ground.prices, agent };
    let mut valid = Vec::with_capacity(events.len());
    let mut errors = Vec::new();
    for (index, text) in events.iter().enumerate() {
        let key_id = job.key.as_ref().map(|key| if agent.is_some() { key.clone() } else { format!("{key}:{index}") });
        match validate(index, text, key_id.as_deref(), &rules) {
            Ok(event) => valid.push((index, event)),
            Err(refused) if !refused.is_json && agent.is_some() => {
                let detail = refused.errors.into_iter().next().map(|error| error.detail).unwrap_or_default();
                return Err(SplitError::NotJson(detail.trim_start_matches("not JSON: ").to_owned()));
            }
            Err(refused) => errors.extend(refused.errors),
        }
    }
    let conflicts = identify(&mut valid);
    valid.retain(|(index, _)| !conflicts.iter().any(|conflict| conflict.index == *index));
    errors.extend(conflicts);
    errors.sort_by_key(|error| error.index);
    Ok((valid, errors))
}

fn check_key(job: &Job) -> Result<(), FieldError> {
    let Some(key) = &job.key else { return Ok(()) };
    let max = if matches!(job.shape, Shape::One(_)) { 64 } else { MAX_BATCH_KEY };
    if is_valid_event_id(key) && key.len() <= max {
        return Ok(());
    }
    let detail = format!("must be 1 to {max} letters, digits or . _ : -");
    Err(FieldError { index: 0, field: "Idempotency-Key".to_owned(), detail })
}

const _: () = assert!(MAX_EVENTS <= 1_000, "an index behind a key has three digits at most");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Budget;
    use schemas::codec::decode_event;
    use schemas::time::parse_micros;

    fn job(shape: Shape, body: &str) -> Job {
        Job { shape, encoding: Encoding::Identity, handling: Handling::Default, key: None, body: Bytes::copy_from_slice(body.as_bytes()) }
    }

    async fn prepared(job: Job) -> Result<Prepared, Refusal<()>> {
        let ground = Ground {
            now: parse_micros("2026-11-23T12:00:00Z").expect("a time"),
            retention_days: None,
            prices: PriceTable::builtin(),
            form: WireForm::SingleObject,
        };
        let mut reservation = Budget::new(64 << 20).reserve(job.body.len()).await.expect("room");
        prepare(&job, &ground, &mut reservation, |_, _| Ok(()))
    }

    const EVENT: &str = r#"{"agent_id":"a","message_type":"user_message","timestamp":"2026-11-23T11:00:00.000Z"}"#;

    #[tokio::test]
    async fn the_same_body_gives_the_same_ids() {
        let batch = format!("[{EVENT},{EVENT}]");
        let one = prepared(job(Shape::Batch, &batch)).await.expect("valid").event_ids;
        let two = prepared(job(Shape::Lines, &format!("{EVENT}\n{EVENT}"))).await.expect("valid").event_ids;
        assert_eq!(one, two);
        assert_ne!(one[0], one[1]);
        let agent = AgentId::parse("a").expect("an id");
        let single = prepared(job(Shape::One(agent), EVENT)).await.expect("valid").event_ids;
        assert_eq!(single[0], one[0], "the way in does not matter");
    }

    #[tokio::test]
    async fn a_key_stands_for_an_id_per_index() {
        let batch = format!("[{EVENT},{EVENT}]");
        let keyed = Job { key: Some("k".into()), ..job(Shape::Batch, &batch) };
        assert_eq!(prepared(keyed).await.expect("valid").event_ids, ["k:0", "k:1"]);
        let keyed = Job { key: Some("k".repeat(59)), ..job(Shape::Batch, &batch) };
        assert!(matches!(prepared(keyed).await, Err(Refusal::Invalid(errors, 2)) if errors[0].field == "Idempotency-Key"));
        let agent = AgentId::parse("a").expect("an id");
        let keyed = Job { key: Some("k".repeat(64)), ..job(Shape::One(agent), EVENT) };
        assert_eq!(prepared(keyed).await.expect("valid").event_ids, ["k".repeat(64)]);
    }

    #[tokio::test]
    async fn lenient_keeps_the_good_and_names_the_bad() {
        let batch = format!("[{EVENT},{{}},7,{EVENT}]");
        let Err(Refusal::Invalid(errors, 4)) = prepared(job(Shape::Batch, &batch)).await else { panic!("must be refused") };
        assert_eq!(errors.iter().map(|e| e.index).collect::<Vec<_>>(), [1, 1, 2]);
        let lenient = prepared(Job { handling: Handling::Lenient, ..job(Shape::Batch, &batch) }).await.expect("taken");
        assert_eq!(lenient.records.len(), 2);
        assert!(lenient.event_ids[1].is_empty() && lenient.event_ids[2].is_empty());
        assert_eq!(decode_event(&lenient.records[1].value).expect("avro").event_id, lenient.event_ids[3]);
        assert_eq!(lenient.errors, errors);
    }

    #[tokio::test]
    async fn a_broken_line_is_a_bad_event_and_a_broken_document_no_document() {
        let Err(Refusal::Invalid(errors, 2)) = prepared(job(Shape::Lines, &format!("{EVENT}\n{{"))).await else {
            panic!("must be refused")
        };
        assert_eq!(errors[0].index, 1);
        assert!(matches!(prepared(job(Shape::Batch, "[{")).await, Err(Refusal::Split(SplitError::NotJson(_)))));
        let agent = AgentId::parse("a").expect("an id");
        assert!(matches!(prepared(job(Shape::One(agent.clone()), "{")).await, Err(Refusal::Split(SplitError::NotJson(_)))));
        assert!(matches!(prepared(job(Shape::One(agent), "[]")).await, Err(Refusal::Invalid(_, 1))));
    }

    #[tokio::test]
    async fn a_byte_order_mark_is_no_part_of_the_json() {
        let agent = AgentId::parse("a").expect("an id");
        assert!(prepared(job(Shape::One(agent), &format!("\u{feff}{EVENT}"))).await.is_ok());
    }
}
