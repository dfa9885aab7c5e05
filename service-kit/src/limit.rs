//! How much a key may do per second: a bucket per measure. Knows nothing of keys or requests.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// A key's limits on events and bytes per second. A second's worth may come at once. A single request larger than
/// that is taken from a full bucket and paid off afterwards, so that every allowed batch can pass some time.
#[derive(Debug)]
pub(crate) struct Limits {
    buckets: Mutex<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    events: Option<Bucket>,
    bytes: Option<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    per_second: f64,
    left: f64,
    at: Instant,
}

/// Over the limit: how long to wait, and of what there was too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exceeded {
    /// `events` or `bytes`.
    pub(crate) measure: &'static str,
    /// The limit.
    pub(crate) per_second: u32,
    /// Whole seconds, at least 1.
    pub(crate) retry_after_s: u64,
}

impl Limits {
    pub(crate) fn new(events_per_second: Option<u32>, bytes_per_second: Option<u32>, now: Instant) -> Self {
        let bucket = |rate: u32| Bucket { per_second: f64::from(rate), left: f64::from(rate), at: now };
        Self { buckets: Mutex::new(Buckets { events: events_per_second.map(bucket), bytes: bytes_per_second.map(bucket) }) }
    }

    /// Takes both or nothing.
    pub(crate) fn take(&self, events: u32, bytes: u32, now: Instant) -> Result<(), Exceeded> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let Buckets { events: for_events, bytes: for_bytes } = &mut *buckets;
        let mut both = [("events", for_events, events), ("bytes", for_bytes, bytes)];
        for (measure, bucket, amount) in &mut both {
            if let Some(bucket) = bucket {
                bucket.check(measure, f64::from(*amount), now)?;
            }
        }
        for (_, bucket, amount) in both {
            if let Some(bucket) = bucket {
                bucket.left -= f64::from(amount);
            }
        }
        Ok(())
    }
}

impl Bucket {
    fn check(&mut self, measure: &'static str, amount: f64, now: Instant) -> Result<(), Exceeded> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * self.per_second).min(self.per_second);
        self.at = self.at.max(now);
        let needed = amount.min(self.per_second);
        if self.left >= needed {
            return Ok(());
        }
        let wait = ((needed - self.left) / self.per_second).ceil().max(1.0);
        Err(Exceeded { measure, per_second: self.per_second as u32, retry_after_s: wait as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_seconds_worth_passes_at_once_and_more_must_wait() {
        let start = Instant::now();
        let limits = Limits::new(Some(10), None, start);
        assert_eq!(limits.take(10, 1_000_000, start), Ok(()));
        assert_eq!(limits.take(1, 1, start), Err(Exceeded { measure: "events", per_second: 10, retry_after_s: 1 }));
        assert_eq!(limits.take(5, 1, start + Duration::from_millis(500)), Ok(()));
    }

    #[test]
    fn a_batch_larger_than_the_limit_passes_and_is_paid_off() {
        let start = Instant::now();
        let limits = Limits::new(Some(10), None, start);
        assert_eq!(limits.take(100, 0, start), Ok(()));
        assert_eq!(limits.take(1, 0, start + Duration::from_secs(1)).map_err(|e| e.retry_after_s), Err(9));
        assert_eq!(limits.take(1, 0, start + Duration::from_secs(10)), Ok(()));
    }

    #[test]
    fn a_refusal_takes_nothing() {
        let start = Instant::now();
        let limits = Limits::new(Some(10), Some(100), start);
        assert_eq!(limits.take(1, 100, start), Ok(()));
        assert_eq!(limits.take(9, 1, start).map_err(|e| e.measure), Err("bytes"));
        assert_eq!(limits.take(9, 0, start), Ok(()));
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_gives_nothing() {
        let start = Instant::now();
        let later = start + Duration::from_secs(5);
        let limits = Limits::new(Some(1), None, start);
        assert_eq!(limits.take(1, 0, later), Ok(()));
        assert!(limits.take(1, 0, start).is_err());
        assert!(limits.take(1, 0, later).is_err());
    }
}
