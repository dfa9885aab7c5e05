//! The days that are recounted together: memory holds the fleet's rollups of one window at a time.

use schemas::item::Period;
use schemas::time::{DAY_US, HOUR_US, format_day, now_micros};
use std::fmt;
use std::time::Duration;

/// Days per window.
const DAYS: i32 = 7;

/// Some days, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    first: i32,
    last: i32,
}

impl Window {
    /// The windows that cover these days, newest first: what is looked at most is proved first.
    pub(crate) fn over(first: i32, last: i32) -> Vec<Self> {
        let mut windows = Vec::new();
        let mut end = last;
        while end >= first {
            windows.push(Self { first: first.max(end - DAYS + 1), last: end });
            end -= DAYS;
        }
        windows
    }

    pub(crate) fn days(self) -> (i32, i32) {
        (self.first, self.last)
    }

    pub(crate) fn start_us(self) -> i64 {
        i64::from(self.first) * DAY_US
    }

    /// Excluded.
    pub(crate) fn end_us(self) -> i64 {
        (i64::from(self.last) + 1) * DAY_US
    }

    pub(crate) fn holds(self, timestamp: i64) -> bool {
        (self.start_us()..self.end_us()).contains(&timestamp)
    }
}

/// Whether some raw events of the period may be deleted by now.
pub(crate) fn may_have_expired(period: Period, retention: Option<Duration>) -> bool {
    let Some(retention) = retention else { return false };
    let start = match period {
        Period::Day(day) | Period::Users(day) => i64::from(day) * DAY_US,
        Period::Hour(hour) => i64::from(hour) * HOUR_US,
    };
    start.saturating_add(i64::try_from(retention.as_micros()).unwrap_or(i64::MAX)) <= now_micros()
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", format_day(self.first), format_day(self.last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_every_day_once() {
        for last in 100..130 {
            let mut days: Vec<i32> = Window::over(100, last).iter().flat_map(|w| w.first..=w.last).collect();
            days.sort_unstable();
            assert_eq!(days, (100..=last).collect::<Vec<_>>());
        }
        assert_eq!(Window::over(5, 4), []);
    }
}
