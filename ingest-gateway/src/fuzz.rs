//! A door for deploy/fuzz: a request's way from its headers and body to what would be published, without HTTP around it
//! and without a log behind it. Decides nothing by itself.

use crate::body::Budget;
use crate::events::{Refused, head};
use crate::prepare::{Ground, Shape, prepare};
use axum::http::HeaderMap;
use bytes::Bytes;
use schemas::AgentId;
use schemas::codec::WireForm;
use schemas::price::PriceTable;
use schemas::problem::FieldError;
use service_kit::problem::ApiError;
use std::sync::LazyLock;
use tokio::runtime::Runtime;

/// What is published of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Keys and values of the records.
    pub records: Vec<(Bytes, Bytes)>,
    /// The id of each event of the request; empty where it was refused.
    pub event_ids: Vec<String>,
    /// Complaints about those that were refused.
    pub errors: Vec<FieldError>,
}

/// Why nothing is published, and of how many events.
#[derive(Debug)]
pub struct NotTaken {
    /// The answer.
    pub error: ApiError,
    /// Events in the request, as far as it could be read.
    pub events: usize,
}

/// Bytes that a request may hold while it is worked on.
const BUDGET: usize = 64 << 20;

/// Reading bodies waits for its budget, so it needs a clock.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime"));

/// Takes a request at that time (µs since the epoch): of one agent's event where there is one, else of a batch.
pub fn take(agent: Option<&AgentId>, headers: &HeaderMap, body: Bytes, now: i64) -> Result<Taken, NotTaken> {
    taken(agent, headers, body, now).map_err(|Refused { error, events }| NotTaken { error, events })
}

fn taken(agent: Option<&AgentId>, headers: &HeaderMap, body: Bytes, now: i64) -> Result<Taken, Refused> {
    let head = head(headers, |is_lines| {
        Ok(match agent {
            Some(agent) => Shape::One(agent.clone()),
            None if is_lines => Shape::Lines,
            None => Shape::Batch,
        })
    })?;
    let mut reservation = RUNTIME.block_on(Budget::new(BUDGET).reserve(body.len()))?;
    let ground = Ground { now, retention_days: Some(90), prices: PriceTable::builtin(), form: WireForm::SingleObject };
    let prepared = prepare(&head.with(body), &ground, &mut reservation, |_, _| Ok::<_, ApiError>(()))?;
    let records = prepared.records.into_iter().map(|record| (record.key, record.value)).collect();
    Ok(Taken { records, event_ids: prepared.event_ids, errors: prepared.errors })
}
