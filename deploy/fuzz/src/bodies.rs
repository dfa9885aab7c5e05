//! Bodies of `POST /api/v1/agents/{agent_id}/events` and `POST /api/v1/events` with the headers that say how they are to be
//! read: plain, gzip or zstd; an event, an array, `{"events": […]}` or lines.
//!
//! An input is the request: a line with the path, headers, an empty line, the body; lines end with `\n`.
//!
//! What must hold: a refusal is a 4xx that names what is wrong. What is taken is one record per event that was not refused,
//! under its agent's key; each decodes to a valid event that the aggregator admits and that comes back from its item as it
//! was. The same request again gives the same records, but for ids that are made afresh.

use crate::event::check_admitted;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use ingest_gateway::fuzz::{NotTaken, Taken, take};
use schemas::codec::decode_event;
use schemas::{AgentEvent, AgentId};
use uuid::Uuid;

/// 2026-11-23T12:00:00Z, µs: the kept inputs must mean the same tomorrow.
const NOW: i64 = 1_795_435_200_000_000;
/// The largest bodies that the contract allows: one event's, and a batch's.
const LARGEST: usize = 8 << 20;

/// See the module.
pub fn check(bytes: &[u8]) {
    let Some(Request { agent, headers, body }) = Request::read(bytes) else { return };
    let outcome = take(agent.as_ref(), &headers, body.clone(), NOW);
    match &outcome {
        Ok(taken) => check_taken(taken, agent.as_ref()),
        Err(refused) => check_refused(refused),
    }
    let again = take(agent.as_ref(), &headers, body, NOW);
    match (outcome, again) {
        (Ok(one), Ok(other)) => check_repeat(&one, &other),
        (Err(one), Err(other)) => assert_eq!(one.error.problem, other.error.problem),
        (one, other) => panic!("taken once only: {one:?}, {other:?}"),
    }
}

struct Request {
    agent: Option<AgentId>,
    headers: HeaderMap,
    body: Bytes,
}

impl Request {
    /// `None` where HTTP would not have let it through.
    fn read(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(2).position(|two| two == b"\n\n")?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?;
        let mut lines = head.split('\n');
        let agent = match lines.next()?.strip_prefix("/api/v1/") {
            Some("events") => None,
            Some(path) => Some(AgentId::parse(path.strip_prefix("agents/")?.strip_suffix("/events")?)?),
            None => return None,
        };
        let mut headers = HeaderMap::new();
        for line in lines.take(8) {
            let (name, value) = line.split_once(": ")?;
            headers.append(name.parse::<HeaderName>().ok()?, value.parse::<HeaderValue>().ok()?);
        }
        Some(Self { agent, headers, body: Bytes::copy_from_slice(&bytes[end + 2..]) })
    }
}

fn check_refused(refused: &NotTaken) {
    let problem = &refused.error.problem;
    assert!(matches!(problem.status, 400 | 413 | 415 | 422), "{problem:?}");
    assert!(!problem.detail.is_empty() && problem.detail.len() < 100_000);
    assert!(problem.errors.iter().all(|error| error.index < refused.events.max(1) && !error.detail.is_empty()), "{problem:?}");
    assert!(problem.status == 422 || problem.errors.is_empty());
}

fn check_taken(taken: &Taken, agent: Option<&AgentId>) {
    let Taken { records, event_ids, errors } = taken;
    assert!((1..=ingest_gateway::MAX_EVENTS).contains(&event_ids.len()));
    let kept: Vec<&String> = event_ids.iter().filter(|id| !id.is_empty()).collect();
    assert_eq!(kept.len(), records.len(), "a record for each event that was not refused");
    assert!(event_ids.iter().enumerate().all(|(index, id)| id.is_empty() == errors.iter().any(|error| error.index == index)));
    assert!(records.iter().map(|(_, value)| value.len()).sum::<usize>() <= 2 * LARGEST);
    for ((key, value), id) in records.iter().zip(kept) {
        let event = decode_event(value).expect("what is published can be read");
        assert_eq!((key, id), (&Bytes::from(event.agent_id.clone()), &event.event_id));
        assert!(agent.is_none_or(|agent| agent.as_str() == event.agent_id), "the path's agent wins");
        assert!(check_admitted(&event), "{event:?}");
        check_metadata(&event);
    }
}

/// It is JSON text of an object, and stays so for whoever shows it.
fn check_metadata(event: &AgentEvent) {
    let Some(metadata) = &event.metadata else { return };
    let parsed = serde_json::from_str::<serde_json::Value>(metadata);
    assert!(parsed.is_ok_and(|value| value.is_object()), "{metadata}");
}

fn check_repeat(one: &Taken, other: &Taken) {
    assert_eq!((&one.errors, one.event_ids.len()), (&other.errors, other.event_ids.len()));
    for ((key, value), (other_key, other_value)) in one.records.iter().zip(&other.records) {
        assert_eq!(key, other_key);
        let (event, mut again) = (decode_event(value).expect("an event"), decode_event(other_value).expect("an event"));
        if event.event_id != again.event_id {
            let is_fresh = |id: &str| Uuid::try_parse(id).is_ok_and(|uuid| uuid.get_version_num() == 7);
            assert!(is_fresh(&event.event_id) && is_fresh(&again.event_id), "{} {}", event.event_id, again.event_id);
            again.event_id.clone_from(&event.event_id);
        }
        assert_eq!(event, again);
    }
}
