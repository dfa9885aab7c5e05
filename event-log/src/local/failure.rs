//! Whether the log has failed for good. A write or fsync that failed for another reason than a full disk is never tried
//! again: what the kernel then holds of the file is unknown. The process has to stop; at the next start SQLite
//! recovers what is durable.

use crate::LogError;
use tokio::sync::watch;

/// Set once, seen by all parts of the log.
#[derive(Debug, Default)]
pub(super) struct Failure(watch::Sender<Option<String>>);

impl Failure {
    /// The first reason stays.
    pub(super) fn set(&self, reason: String) {
        tracing::error!(reason, "the log failed and takes nothing more until the process is restarted");
        self.0.send_if_modified(|failure| {
            let is_first = failure.is_none();
            failure.get_or_insert(reason);
            is_first
        });
    }

    pub(super) fn reason(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    pub(super) fn check(&self) -> Result<(), LogError> {
        self.reason().map_or(Ok(()), |reason| Err(LogError::Broken(reason)))
    }

    /// Waits for it.
    pub(super) async fn wait(&self) -> String {
        let mut failure = self.0.subscribe();
        match failure.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            // The sender is `self`.
            Err(_) => std::future::pending().await,
        }
    }
}
