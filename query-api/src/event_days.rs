//! Which days can have events of a type, newest first, so that the index by type is not asked for days that have none.
//! The fleet's day rollups say it; days that are still being counted are always taken. Looks at no event.

use crate::store::{Store, StoreError};
use schemas::MessageType;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// Days whose rollups are read at once: an ordinary page is filled from less, and 400 days are four times this.
const WINDOW: i32 = 100;

/// The days of a range that are left, read from the rollups when they are needed.
#[derive(Debug)]
pub(crate) struct EventDays {
    message_type: MessageType,
    /// First day of the range.
    first: i32,
    /// Days to look at, not passed yet.
    left: BTreeSet<i32>,
    /// The rollups of all days before this one are still to be read.
    known_from: i32,
}

impl EventDays {
    /// The days of a range. Yesterday and later are looked at whatever the rollups say: what was inserted a moment ago
    /// may not be counted yet.
    pub(crate) fn new(message_type: MessageType, days: RangeInclusive<i32>, today: i32) -> Self {
        let (first, last) = (*days.start(), *days.end());
        let known_from = (today - 1).clamp(first, first.max(last + 1));
        Self { message_type, first, left: (known_from..=last).collect(), known_from }
    }

    /// The newest day that is left; `None` where the rest of the range has no such events.
    pub(crate) async fn newest(&mut self, store: &Store) -> Result<Option<i32>, StoreError> {
        while self.left.is_empty() && self.known_from > self.first {
            let window = self.first.max(self.known_from - WINDOW)..=self.known_from - 1;
            self.left = store.days_with(self.message_type, window.clone()).await?;
            self.known_from = *window.start();
        }
        Ok(self.left.last().copied())
    }

    /// Leaves out a day that has been looked at.
    pub(crate) fn pass(&mut self, day: i32) {
        self.left.remove(&day);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_still_being_counted_are_taken_and_older_ones_asked_for() {
        let of = |days: RangeInclusive<i32>| {
            let days = EventDays::new(MessageType::Error, days, 1_000);
            (days.left.into_iter().collect::<Vec<_>>(), days.known_from)
        };
        assert_eq!(of(600..=1_001), (vec![999, 1_000, 1_001], 999));
        assert_eq!(of(1_000..=1_001), (vec![1_000, 1_001], 1_000));
        assert_eq!(of(600..=700), (vec![], 701));
        assert_eq!(of(RangeInclusive::new(700, 600)), (vec![], 700));
    }
}
