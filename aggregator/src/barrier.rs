//! Makes the embedded store durable before anything in the log says so.
//!
//! The log outlives a power cut; what the store has not synced does not. So three things wait for the store to
//! be durable: a commit (else receipts would claim what a power cut took away), an announcement (else the live
//! topic would hold totals that the store never reaches under that version), and a dead letter (else the event
//! that it conflicted with could be gone, and the "dead" one be counted).
//!
//! Callers share one sync: it must begin after the call, and several calls that wait are served together.

use crate::Barrier;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Mutex;

/// One store's barrier, shared by all partitions.
#[derive(Default)]
pub(crate) struct SharedBarrier {
    sync: Option<Barrier>,
    /// Syncs begun; guarded by `turn` for writing.
    begun: AtomicU64,
    /// Syncs that succeeded: everything called before the begin of number `n` is durable once this is `n`.
    turn: Mutex<u64>,
}

impl std::fmt::Debug for SharedBarrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedBarrier").field("is_needed", &self.sync.is_some()).finish_non_exhaustive()
    }
}

impl SharedBarrier {
    /// `None` for a store whose answers are durable.
    pub(crate) fn new(sync: Option<Barrier>) -> Self {
        Self { sync, ..Self::default() }
    }

    /// Returns once everything that the store answered before the call is durable.
    pub(crate) async fn wait(&self) -> io::Result<()> {
        let Some(sync) = &self.sync else { return Ok(()) };
        let needed = self.begun.load(Ordering::SeqCst) + 1;
        let mut done = self.turn.lock().await;
        if *done >= needed {
            return Ok(());
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        sync().await?;
        *done = number;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_caller_is_served_only_by_a_sync_that_began_after_its_call() {
        let (started, release) = (Arc::new(tokio::sync::Semaphore::new(0)), Arc::new(tokio::sync::Semaphore::new(0)));
        let (s, r) = (Arc::clone(&started), Arc::clone(&release));
        let barrier = Arc::new(SharedBarrier::new(Some(Arc::new(move || {
            let (s, r) = (Arc::clone(&s), Arc::clone(&r));
            Box::pin(async move {
                s.add_permits(1);
                r.acquire().await.expect("open").forget();
                Ok(())
            })
        }))));
        let first = tokio::spawn({
            let b = Arc::clone(&barrier);
            async move { b.wait().await }
        });
        started.acquire().await.expect("open").forget();
        let late: Vec<_> = (0..3)
            .map(|_| {
                let b = Arc::clone(&barrier);
                tokio::spawn(async move { b.wait().await })
            })
            .collect();
        tokio::task::yield_now().await;
        release.add_permits(1);
        first.await.expect("no panic").expect("synced");
        // The three that came during the first sync need one more, and only one.
        started.acquire().await.expect("open").forget();
        release.add_permits(1);
        for l in late {
            l.await.expect("no panic").expect("synced");
        }
        assert_eq!(barrier.begun.load(Ordering::SeqCst), 2);
    }
}
