//! Pauses between tries, longer each time, with jitter so that replicas do not come back together.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(15);

/// The pauses of one thing that is tried again and again.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// Waits between half and all of the next pause.
    pub(crate) async fn pause(&mut self) {
        let random = uuid::Uuid::new_v4().as_fields().0;
        let share = 0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX);
        let pause = self.next.mul_f64(share);
        self.next = (self.next * 2).min(LONGEST);
        tokio::time::sleep(pause).await;
    }

    /// Whether it has failed for a while.
    pub(crate) fn is_long(&self) -> bool {
        self.next >= LONGEST
    }

    /// It worked: the next pause is the shortest again.
    pub(crate) fn reset(&mut self) {
        self.next = FIRST;
    }
}
