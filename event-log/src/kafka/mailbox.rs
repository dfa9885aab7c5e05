//! The hand-over from the thread that polls librdkafka to the async side: in order, and measured in bytes so that the
//! thread can stop fetching. What was not handed over yet can be taken back when partitions go.

use crate::{Delivery, LogError, LogRecord};
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(super) struct Mailbox {
    state: Mutex<State>,
    /// For the async side: something came.
    filled: Notify,
    /// For the polling thread: something was taken, or it has a command.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Each with the rebalance that it belongs to.
    items: VecDeque<(u64, Result<Delivery, LogError>)>,
    bytes: usize,
    is_ended: bool,
}

impl Mailbox {
    pub(super) fn push(&self, round: u64, item: Result<Delivery, LogError>) {
        let mut state = self.state();
        if let Ok(Delivery::Records(records)) = &item {
            state.bytes += weight(records);
        }
        state.items.push_back((round, item));
        drop(state);
        self.filled.notify_one();
    }

    /// Forgets records that were not handed over. For when all partitions go: their next holder reads them again.
    pub(super) fn take_back_records(&self) {
        let mut state = self.state();
        state.items.retain(|(_, item)| !matches!(item, Ok(Delivery::Records(_))));
        state.bytes = 0;
    }

    /// Forgets a revocation that was not handed over: it is too late for it.
    pub(super) fn take_back_revocation(&self) {
        let mut state = self.state();
        let (late, kept) = std::mem::take(&mut state.items).into_iter().partition(|(_, item)| matches!(item, Ok(Delivery::Revoked(_))));
        state.items = kept;
        drop(state);
        drop(late);
    }

    /// Nothing comes any more.
    pub(super) fn end(&self) {
        self.state().is_ended = true;
        self.filled.notify_one();
    }

    /// Safe to cancel: an item is either returned or still there.
    pub(super) async fn next(&self) -> (u64, Result<Delivery, LogError>) {
        loop {
            if let Some(item) = self.pop() {
                return item;
            }
            self.filled.notified().await;
        }
    }

    fn pop(&self) -> Option<(u64, Result<Delivery, LogError>)> {
        let mut state = self.state();
        let item = match state.items.pop_front() {
            // For good: nobody polls any more, so asking again would wait for ever.
            None if state.is_ended => (0, Err(LogError::Broken("the consumer has left its group".into()))),
            None => return None,
            Some(item) => item,
        };
        if let Ok(Delivery::Records(records)) = &item.1 {
            state.bytes = state.bytes.saturating_sub(weight(records));
        }
        drop(state);
        self.emptied.notify_one();
        Some(item)
    }

    pub(super) fn bytes(&self) -> usize {
        self.state().bytes
    }

    /// Waits until something was taken or [`Mailbox::wake`] was called, at most that long.
    pub(super) fn wait(&self, at_most: Duration) {
        drop(self.emptied.wait_timeout(self.state(), at_most).unwrap_or_else(PoisonError::into_inner));
    }

    /// Ends a [`Mailbox::wait`].
    pub(super) fn wake(&self) {
        self.emptied.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn weight(records: &[LogRecord]) -> usize {
    records.iter().map(LogRecord::weight).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_is_told_behind_what_came_before_it_and_is_no_reason_to_try_again() {
        let mailbox = Mailbox::default();
        mailbox.push(1, Ok(Delivery::Lost(vec![0])));
        mailbox.end();
        assert!(matches!(mailbox.next().await, (1, Ok(Delivery::Lost(_)))));
        assert!(matches!(mailbox.next().await, (_, Err(error)) if !error.is_retryable()));
    }
}
