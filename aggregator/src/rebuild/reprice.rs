//! Prices stored events anew: those whose cost was estimated from their tokens, or is not known. What a client said it cost
//! stays.
//!
//! Only what comes by the rebuild: later events have the price that their gateway gave them. The rollups follow when the
//! new table is filled from what is stored then.

use super::RebuildError;
use crate::store::{StoreError, failure};
use crate::verify::{Progress, Reader, Stage, Window};
use aws_sdk_dynamodb::Client;
use event_log::{Before, Position};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use schemas::AgentEvent;
use schemas::item::{AGENT_ID, ID, KIND, SRC, StoredEvent, TIMESTAMP, TableNames, kind, n, s};
use schemas::price::PriceTable;
use schemas::time::{DAY_US, format_micros, now_micros};
use std::collections::BTreeSet;

/// Events of one agent that are written at once.
const WRITES_AT_ONCE: usize = 16;

pub(super) struct Reprice<'a> {
    pub(super) prices: PriceTable,
    pub(super) store: Client,
    pub(super) tables: TableNames,
    pub(super) reader: &'a Reader,
    pub(super) before: &'a Before,
}

/// A stored event and what it shall cost.
struct Change {
    event: AgentEvent,
    src: String,
    cost_usd: Option<f64>,
}

/// Whether the rebuild into this version of the metrics table prices events anew.
pub(super) async fn is_noted(store: &Client, tables: &TableNames, version: &str) -> Result<bool, StoreError> {
    let get = store.get_item().table_name(&tables.control).key(KIND, s(kind::REPRICED)).key(ID, s(version)).consistent_read(true);
    Ok(get.send().await.map_err(|e| failure("GetItem", &e))?.item.is_some())
}

impl Reprice<'_> {
    /// Prices all events of these agents and days; how many have another cost now.
    pub(super) async fn run(
        &self,
        version: &str,
        agents: &BTreeSet<String>,
        (first, last): (i32, i32),
        progress: &Progress,
    ) -> Result<u64, RebuildError> {
        self.note(version).await?;
        let mut repriced = 0;
        for window in Window::over(first, last) {
            for (done, agent) in agents.iter().enumerate() {
                // A day at a time: so many changes are held at most.
                for day in window.days().0..=window.days().1 {
                    repriced += self.day(agent, i64::from(day) * DAY_US).await?;
                }
                progress.report(Stage::Prices(window), done as u64 + 1, Some(agents.len() as u64));
            }
        }
        Ok(repriced)
    }

    /// Says that stored costs are no longer those of the log's records.
    async fn note(&self, version: &str) -> Result<(), RebuildError> {
        let put = self.store.put_item().table_name(&self.tables.control).item(KIND, s(kind::REPRICED)).item(ID, s(version));
        let put = put.item("at", s(format_micros(now_micros()))).item("prices", s(format!("{}: {}", self.prices.date, self.prices.source)));
        put.send().await.map(drop).map_err(|e| failure("PutItem", &e).into())
    }

    async fn day(&self, agent: &str, from: i64) -> Result<u64, RebuildError> {
        let mut changes = Vec::new();
        self.reader
            .events(agent, from, from + DAY_US, |stored| changes.extend(stored.ok().and_then(|stored| self.change_of(stored))))
            .await?;
        let count = changes.len() as u64;
        let writes = changes.into_iter().map(|change| async move { self.write(&change).await });
        stream::iter(writes).buffer_unordered(WRITES_AT_ONCE).try_collect::<Vec<()>>().await?;
        Ok(count)
    }

    fn change_of(&self, stored: StoredEvent) -> Option<Change> {
        let StoredEvent { event, src } = stored;
        let src = src.filter(|src| Position::parse_src(src).is_some_and(|at| self.before.holds(at)))?;
        let is_ours = event.cost_estimated || event.cost_usd.is_none();
        let cost_usd = self.prices.estimate_usd(&event);
        (is_ours && cost_usd != event.cost_usd).then_some(Change { event, src, cost_usd })
    }

    async fn write(&self, Change { event, src, cost_usd }: &Change) -> Result<(), StoreError> {
        let (hash, range) = self.reader.event_key(event);
        let request = self
            .store
            .update_item()
            .table_name(&self.tables.events)
            .key(AGENT_ID, s(hash))
            .key(TIMESTAMP, s(range))
            // Not where it expired meanwhile.
            .condition_expression("#s = :s")
            .expression_attribute_names("#s", SRC)
            .expression_attribute_names("#c", "cost_usd")
            .expression_attribute_names("#e", "cost_estimated")
            .expression_attribute_values(":s", s(src));
        let request = match cost_usd {
            Some(cost) => request
                .update_expression("SET #c = :c, #e = :e")
                .expression_attribute_values(":c", n(cost))
                .expression_attribute_values(":e", aws_sdk_dynamodb::types::AttributeValue::Bool(true)),
            None => request.update_expression("REMOVE #c, #e"),
        };
        match request.send().await {
            Ok(_) => Ok(()),
            Err(e) if e.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => Ok(()),
            Err(e) => Err(failure("UpdateItem", &e)),
        }
    }
}
