//! Measures how far the counting is behind the log: records between the group's commits and the log's end.

use event_log::{Log, LogError};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it is measured.
const EVERY: Duration = Duration::from_secs(5);

/// Measures until `shutdown`.
pub(crate) async fn watch(log: Arc<dyn Log>, group: String, topic: String, shutdown: CancellationToken) {
    while shutdown.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        if let Err(error) = measure(&log, &group, &topic).await {
            tracing::debug!(%error, "cannot measure the lag");
        }
    }
}

async fn measure(log: &Arc<dyn Log>, group: &str, topic: &str) -> Result<(), LogError> {
    for (partition, committed) in log.committed(group, topic).await?.into_iter().enumerate() {
        let partition = partition as u32;
        let bounds = log.bounds(topic, partition).await?;
        crate::measure::lag_records(partition, bounds.end - committed.unwrap_or(bounds.start).clamp(bounds.start, bounds.end));
    }
    Ok(())
}
