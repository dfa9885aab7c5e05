//! Measures how far the counting is behind the log: records between the group's commits and the log's end.

use event_log::{Log, LogError};
use futures::stream::{self, TryStreamExt as _};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it is measured.
const EVERY: Duration = Duration::from_secs(5);
/// Partitions that the log is asked about at once.
const WIDTH: usize = 8;

/// Measures until `shutdown`.
pub(crate) async fn watch(log: Arc<dyn Log>, group: String, topic: String, shutdown: CancellationToken) {
    while shutdown.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        if let Err(error) = measure(&log, &group, &topic).await {
            tracing::debug!(%error, "cannot measure the lag");
        }
    }
}

async fn measure(log: &Arc<dyn Log>, group: &str, topic: &str) -> Result<(), LogError> {
    let committed = log.committed(group, topic).await?;
    let partitions = stream::iter((0_u32..).zip(committed).map(Ok));
    partitions
        .try_for_each_concurrent(WIDTH, async |(partition, committed)| {
            let bounds = log.bounds(topic, partition).await?;
            crate::measure::lag_records(partition, bounds.end - committed.unwrap_or(bounds.start).clamp(bounds.start, bounds.end));
            Ok(())
        })
        .await
}
