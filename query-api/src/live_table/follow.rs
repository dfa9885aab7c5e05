//! Keeps the live table from the compacted topic: reads it from the start, again after every failure of the log,
//! and says how far behind it is.

use super::{Freshness, LiveTable};
use crate::backoff::Backoff;
use crate::registry::TopicSchemas;
use event_log::{Bounds, Log, LogError, LogRecord, ReadFrom};
use futures::future::try_join_all;
use schemas::AgentTotals;
use schemas::codec::decode_totals;
use schemas::time::{day_of, now_micros};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// How often the distance to the topic's end is looked at, and the clock for a new day.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Longest wait for an answer of the log; reading waits meanwhile.
const LOOK_WITHIN: Duration = Duration::from_secs(2);

pub(super) async fn follow(follower: Follower, shutdown: CancellationToken) {
    let mut backoff = Backoff::default();
    loop {
        let failure = tokio::select! {
            () = shutdown.cancelled() => return,
            failure = follower.read_on(&mut backoff) => failure,
        };
        tracing::warn!(error = %failure, topic = follower.topic, "the live table cannot read its topic; trying again");
        metrics::counter!("live_table_interruptions_total").increment(1);
        let trouble = Some(failure.to_string());
        follower.table.freshness.send_modify(|f| *f = Freshness { lag_records: None, trouble, ..f.clone() });
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = backoff.pause() => {}
        }
        follower.table.turn_to(day_of(now_micros()));
    }
}

/// Who keeps the table.
pub(super) struct Follower {
    pub(super) table: Arc<LiveTable>,
    pub(super) log: Arc<dyn Log>,
    pub(super) topic: String,
    pub(super) schemas: TopicSchemas,
}

impl Follower {
    /// Reads until the log fails.
    async fn read_on(&self, backoff: &mut Backoff) -> LogError {
        let mut reader = match Arc::clone(&self.log).read(&self.topic, ReadFrom::Start).await {
            Ok(reader) => reader,
            Err(error) => return error,
        };
        let mut next: Vec<u64> = Vec::new();
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                records = reader.next() => match records {
                    Ok(records) => {
                        if let Err(error) = self.schemas.learn(&records).await {
                            return error;
                        }
                        self.take(&records, &mut next, reader.is_caught_up());
                        backoff.reset();
                    }
                    Err(error) => return error,
                },
                _ = look.tick() => {
                    self.table.turn_to(day_of(now_micros()));
                    if let Err(error) = self.look(&next, reader.is_caught_up()).await {
                        tracing::debug!(%error, "the live table's distance to the topic's end is not known");
                        self.table.freshness.send_modify(|f| f.lag_records = None);
                    }
                }
            }
        }
    }

    fn take(&self, records: &[LogRecord], next: &mut Vec<u64>, is_caught_up: bool) {
        let totals: Vec<AgentTotals> = records.iter().filter_map(understood).collect();
        let changed = self.table.apply(&totals);
        metrics::counter!("live_table_records_total").increment(records.len() as u64);
        metrics::counter!("live_table_changes_total").increment(changed as u64);
        for record in records {
            let partition = record.partition as usize;
            if next.len() <= partition {
                next.resize(partition + 1, 0);
            }
            next[partition] = record.offset + 1;
        }
        let newest_ms = records.iter().map(|r| r.appended_at_ms).max().unwrap_or(0);
        self.table.freshness.send_modify(|f| {
            f.as_of = f.as_of.max(newest_ms.saturating_mul(1_000).min(now_micros()));
            f.is_caught_up |= is_caught_up;
            f.trouble = None;
        });
    }

    async fn bounds(&self) -> Result<Vec<Bounds>, LogError> {
        let partitions = self.log.partitions(&self.topic).await?;
        try_join_all((0..partitions).map(|partition| self.log.bounds(&self.topic, partition))).await
    }

    /// Compares what was read with the topic's end.
    async fn look(&self, next: &[u64], is_caught_up: bool) -> Result<(), LogError> {
        let looked_at = now_micros();
        let bounds = tokio::time::timeout(LOOK_WITHIN, self.bounds()).await;
        let bounds = bounds.unwrap_or_else(|_| Err(LogError::Unavailable("no answer in time".into())))?;
        let read_to = |partition: usize| next.get(partition).copied().unwrap_or(0);
        let lag: u64 = bounds.iter().enumerate().map(|(partition, b)| b.end.saturating_sub(read_to(partition).max(b.start))).sum();
        metrics::gauge!("live_table_lag_records").set(lag as f64);
        metrics::gauge!("live_table_rows").set(self.table.row_count() as f64);
        metrics::gauge!("live_table_bytes").set(self.table.read().bytes() as f64);
        let is_caught_up = is_caught_up || lag == 0;
        self.table.freshness.send_modify(|f| {
            f.lag_records = Some(lag);
            f.is_caught_up |= is_caught_up;
            f.trouble = None;
            if lag == 0 {
                f.as_of = f.as_of.max(looked_at);
            }
        });
        Ok(())
    }
}

fn understood(record: &LogRecord) -> Option<AgentTotals> {
    if record.value.is_empty() {
        return None;
    }
    match decode_totals(&record.value) {
        Ok(totals) => Some(totals),
        Err(error) => {
            metrics::counter!("live_table_undecodable_total").increment(1);
            tracing::warn!(%error, partition = record.partition, offset = record.offset, "totals in the live topic cannot be decoded");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory_log::MemoryLog;
    use schemas::codec::TOTALS;
    use service_kit::registry::RegistryConfig;

    fn totals(agent: &str, version: i64) -> AgentTotals {
        let now = now_micros();
        AgentTotals {
            agent_id: agent.into(),
            day: day_of(now),
            version,
            calls: version,
            last_at: now,
            flushed_at: now,
            ..AgentTotals::default()
        }
    }

    fn followed(log: &Arc<MemoryLog>) -> (Arc<LiveTable>, tokio_util::sync::DropGuard) {
        let table = Arc::new(LiveTable::new(2));
        let shutdown = CancellationToken::new();
        let log: Arc<dyn Log> = Arc::clone(log) as _;
        let schemas = TopicSchemas::new(&RegistryConfig::default(), &TOTALS).expect("settings");
        let follower = Follower { table: Arc::clone(&table), log, topic: "agent-metrics".into(), schemas };
        tokio::spawn(follow(follower, shutdown.clone()));
        (table, shutdown.drop_guard())
    }

    async fn until(table: &LiveTable, wanted: impl Fn(&Freshness) -> bool) -> Freshness {
        let mut freshness = table.watch_freshness();
        freshness.wait_for(wanted).await.expect("a table").clone()
    }

    #[tokio::test]
    async fn the_table_says_when_it_has_caught_up() {
        let log = MemoryLog::new();
        let (table, _guard) = followed(&log);
        until(&table, |f| f.is_caught_up && f.lag_records == Some(0)).await;
        assert_eq!(table.row_count(), 0);
        log.push_totals(&totals("a", 2));
        log.push_totals(&totals("a", 1));
        log.push("agent-metrics", 1, event_log::Record { value: b"junk".as_slice().into(), ..event_log::Record::default() });
        let mut changed = table.changed.subscribe();
        changed.wait_for(|seq| *seq > 0).await.expect("a table");
        assert_eq!(table.get("a", day_of(now_micros())).map(|t| t.calls), Some(2));
        let seen_at = table.freshness().as_of;
        until(&table, |f| f.as_of > seen_at && f.lag_records == Some(0)).await;
    }

    #[tokio::test]
    async fn an_outage_is_told_and_what_came_meanwhile_is_read_after_it() {
        let log = MemoryLog::new();
        log.push_totals(&totals("a", 1));
        log.set_down(true);
        let (table, _guard) = followed(&log);
        let freshness = until(&table, |f| f.trouble.is_some()).await;
        assert!(!freshness.is_caught_up);
        log.set_down(false);
        until(&table, |f| f.is_caught_up && f.trouble.is_none()).await;
        assert_eq!(table.row_count(), 1);
        log.set_down(true);
        let freshness = until(&table, |f| f.trouble.is_some()).await;
        assert!(freshness.is_caught_up, "what was read stays good");
        log.push_totals(&totals("b", 1));
        log.set_down(false);
        until(&table, |f| f.trouble.is_none() && f.lag_records == Some(0)).await;
        assert_eq!(table.search("b").len(), 1);
    }
}
