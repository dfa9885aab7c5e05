//! Seats for followers: a bounded number, given back when a follower goes, and taken back from one whose client has
//! not read for so long that it must be gone.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// A follower that did not ask for its next message for so long has lost its seat.
const STALLED_AFTER: Duration = Duration::from_secs(90);

/// All seats.
#[derive(Debug)]
pub struct Seats {
    most: usize,
    began: Instant,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    /// When each was last seen, s since `began`.
    seen: HashMap<u64, Arc<AtomicU64>>,
}

/// A seat, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    number: u64,
    seen: Arc<AtomicU64>,
    transport: &'static str,
}

impl Seats {
    /// So many seats.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, began: Instant::now(), taken: Mutex::default() })
    }

    /// Takes a seat; `None` where all are taken.
    pub(super) fn take(self: &Arc<Self>, transport: &'static str) -> Option<Seat> {
        self.take_at(transport, self.now_s())
    }

    fn take_at(self: &Arc<Self>, transport: &'static str, now: u64) -> Option<Seat> {
        let mut taken = self.taken.lock().expect("no panic while held");
        if taken.seen.len() >= self.most {
            taken.seen.retain(|_, seen| seen.load(Ordering::Relaxed) + STALLED_AFTER.as_secs() >= now);
        }
        if taken.seen.len() >= self.most {
            return None;
        }
        let number = taken.next;
        taken.next += 1;
        let seen = Arc::new(AtomicU64::new(now));
        taken.seen.insert(number, Arc::clone(&seen));
        drop(taken);
        metrics::gauge!("stream_followers", "transport" => transport).increment(1.0);
        Some(Seat { seats: Arc::clone(self), number, seen, transport })
    }

    /// Seats taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.lock().expect("no panic while held").seen.len()
    }

    fn now_s(&self) -> u64 {
        self.began.elapsed().as_secs()
    }
}

impl Seat {
    /// Notes that the follower is there; false where it lost its seat.
    pub(super) fn is_kept(&self) -> bool {
        self.seen.store(self.seats.now_s(), Ordering::Relaxed);
        self.seats.taken.lock().expect("no panic while held").seen.contains_key(&self.number)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.taken.lock().expect("no panic while held").seen.remove(&self.number);
        metrics::gauge!("stream_followers", "transport" => self.transport).decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_bounded_and_given_back() {
        let seats = Seats::new(2);
        let first = seats.take("sse").expect("a seat");
        let second = seats.take("sse").expect("a seat");
        assert!(seats.take("sse").is_none());
        drop(first);
        assert!(second.is_kept());
        assert!(seats.take("sse").is_some());
        assert_eq!(seats.taken(), 1);
    }

    #[test]
    fn a_stalled_follower_loses_its_seat_to_another() {
        let seats = Seats::new(1);
        let stalled = seats.take("sse").expect("a seat");
        let later = STALLED_AFTER.as_secs();
        assert!(seats.take_at("sse", later - 1).is_none());
        let next = seats.take_at("sse", later + 5).expect("the stalled one's seat");
        assert!(next.is_kept() && !stalled.is_kept());
    }
}
