//! Compares today's and yesterday's rows with the store in the background, at a bounded rate, and takes the higher
//! version: a late writer can leave an older record last in the compacted topic.

use super::LiveTable;
use crate::backoff::Backoff;
use crate::store::Store;
use schemas::AgentTotals;
use schemas::item::{MetricKey, Period, Subject};
use schemas::time::{day_of, now_micros};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two reads of the store: 25 a second.
const BETWEEN_READS: Duration = Duration::from_millis(40);
/// A round does not begin sooner than this after the one before, so that a small fleet costs little.
const BETWEEN_ROUNDS: Duration = Duration::from_secs(600);

pub(super) async fn compare(table: Arc<LiveTable>, store: Store, shutdown: CancellationToken) {
    let mut freshness = table.watch_freshness();
    let rounds = async {
        if freshness.wait_for(|f| f.is_caught_up).await.is_err() {
            return;
        }
        loop {
            round(&table, &store).await;
            tokio::time::sleep(BETWEEN_ROUNDS).await;
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = rounds => {}
    }
}

/// Every row of today and yesterday once.
pub(crate) async fn round(table: &LiveTable, store: &Store) {
    let today = day_of(now_micros());
    let days = [today, today - 1];
    let mut backoff = Backoff::default();
    let mut at = 0;
    loop {
        let before = at;
        let rows = table.read().walk(&days, &mut at, 1);
        // The walk begins anew behind the last row.
        let Some((agent, day)) = rows.into_iter().next().filter(|_| at > before) else { return };
        let key = MetricKey { subject: Subject::Agent(Arc::clone(&agent)), period: Period::Day(day) };
        let read_from = store.metrics_table().ok();
        match store.rollup(&key).await {
            // A row that is only compared in the next round is better than one of which it is not known which table it is from.
            Ok(Some(rollup)) if read_from.is_some() && read_from == store.metrics_table().ok() => {
                backoff.reset();
                let generation = read_from.map_or(0, |table| table.generation);
                if table.apply(&[AgentTotals::of(&agent, day, &rollup, generation, now_micros())]) > 0 {
                    metrics::counter!("live_table_corrections_total").increment(1);
                }
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "the live table cannot be compared with the store; trying again");
                at = before;
                backoff.pause().await;
            }
        }
        tokio::time::sleep(BETWEEN_READS).await;
    }
}
