//! Counts what a stopped server left in the log: with the aggregator's own start check and the aggregator itself.

use super::CountingArgs;
use super::counted::Counting;
use crate::engine::Engine;
use aggregator::checkpoint::starting_offset;
use aggregator::{AggregatorConfig, AggregatorParts, Cadence};
use anyhow::{Context, bail};
use event_log::{Assignment, Log};
use schemas::item::TableNames;
use service_kit::admin::Readiness;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two looks at how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// MiB of events and additions that are not finished.
const MEMORY_MIB: usize = 48;

/// Counts the log to its end; answers how many records that took. A log that is not the one that was counted is refused.
pub(super) async fn count(args: &CountingArgs, epoch: u32, log: &Arc<dyn Log>, engine: &Engine) -> anyhow::Result<u64> {
    let (store, tables) = (engine.client(), TableNames::default());
    let counting = Counting::of(Arc::clone(log), store.clone(), tables.clone(), epoch);
    let tail = length(&counting).await?;
    if tail == 0 && counting.ends().await?.is_some() {
        return Ok(0);
    }
    let config = AggregatorConfig {
        epoch,
        flush_cadence: Cadence::Fresh,
        indexed_message_types: args.indexed_message_types.clone(),
        event_retention_days: args.event_retention_days,
        memory_mib: MEMORY_MIB,
        ..AggregatorConfig::default()
    };
    let barrier = Some(engine.barrier(None));
    let parts = AggregatorParts { log: Arc::clone(log), store, tables, readiness: Readiness::new(), barrier };
    let stop = CancellationToken::new();
    let mut aggregator = tokio::spawn(aggregator::run(config, parts, stop.clone()));
    while counting.ends().await?.is_none() {
        tokio::select! {
            ended = &mut aggregator => {
                ended.context("the aggregator panicked")?.context("the rest of the log cannot be counted")?;
                bail!("the aggregator ended before the log was counted");
            }
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
    stop.cancel();
    aggregator.await.context("the aggregator panicked")??;
    Ok(tail)
}

/// Records that the store is not known to have counted.
async fn length(counting: &Counting) -> anyhow::Result<u64> {
    let topic = &counting.checkpoints.topic;
    let mut length = 0;
    for partition in 0..counting.partitions().await? {
        let committed = counting.log.committed(aggregator::GROUP, topic).await?.get(partition as usize).copied().flatten();
        let assignment = Assignment { partition, committed };
        let start = starting_offset(&counting.log, &counting.checkpoints, assignment, counting.epoch, false).await?;
        length += counting.log.bounds(topic, partition).await?.end - start.offset;
    }
    Ok(length)
}
