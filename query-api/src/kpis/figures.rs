//! What a range knows, read for the range asked for and the one before it. Of whole days everything is exact; of times
//! each figure comes from the finest items that have it, and says from when on it counts.

use super::UPTIME_BY_HOUR_DAYS;
use crate::AppState;
use crate::numbers;
use crate::parameters::{Period, Span};
use crate::store::{Selection, StoreError, Sums};
use schemas::MessageType;
use schemas::rollup::{Rollup, Slot};
use schemas::time::{DAY_US, HOUR_US, SLOT_US, now_micros};
use schemas::users::UserSet;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Spans up to this long are exact to five minutes, µs.
const EXACT_US: i64 = 2 * DAY_US;
/// Spans up to this long are read hour by hour, µs: their uptime is judged by the hour.
const BY_HOUR_US: i64 = 8 * DAY_US;
/// A span that ends this close to now (or later) ends now, µs.
const ENDS_NOW_US: i64 = SLOT_US;
/// Counts of two spans are comparable where their lengths differ by at most one part in so many.
const COMPARABLE: i64 = 20;

/// The counters that five-minute slots have too.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) events: i64,
    pub(super) messages: i64,
    pub(super) errors: i64,
    pub(super) latency_us: i64,
    pub(super) latency_n: i64,
    pub(super) tokens: i64,
    pub(super) cost_nanousd: i64,
    pub(super) cost_n: i64,
}

/// What one range knows.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) counts: Counts,
    pub(super) sum: Rollup,
    pub(super) users: UserSet,
    /// Messages of the days whose users these are.
    pub(super) users_messages: i64,
    /// `None` where it is not known.
    pub(super) active_agents: Option<u64>,
    /// Per cent; `None` without traffic.
    pub(super) uptime: Option<f64>,
}

/// From when on figures of one kind count, and whether its sums may be compared with those of the range before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cover {
    /// µs; `None` where they cover just what was asked.
    pub(super) from: Option<i64>,
    /// Whether the range before is too unlike in length.
    pub(super) is_uneven: bool,
}

/// A range and the one before it.
#[derive(Debug, Default)]
pub(super) struct Compared {
    pub(super) now: Figures,
    pub(super) then: Figures,
    /// Of [`Figures::counts`].
    pub(super) counts: Cover,
    /// Of [`Figures::sum`].
    pub(super) sum: Cover,
    /// Of [`Figures::users`].
    pub(super) users: Cover,
    /// Of [`Figures::active_agents`].
    pub(super) agents: Cover,
    /// Whether the users of the range before are known for days only, and so not comparable.
    pub(super) has_users_before: bool,
    /// Whether the uptime is judged by hour, else by day.
    pub(super) is_uptime_by_hour: bool,
}

impl Compared {
    pub(super) async fn read(state: &AppState, selection: &Selection, period: &Period) -> Result<Self, StoreError> {
        match period {
            Period::Days(days) => of_days(state, selection, days).await,
            Period::Times(span) => of_times(state, selection, *span).await,
        }
    }
}

async fn of_days(state: &AppState, selection: &Selection, days: &RangeInclusive<i32>) -> Result<Compared, StoreError> {
    let length = days.clone().count() as i32;
    let before = *days.start() - length..=*days.start() - 1;
    let (now, then) = tokio::try_join!(figures_of_days(state, selection, days), figures_of_days(state, selection, &before))?;
    let is_uptime_by_hour = length as usize <= UPTIME_BY_HOUR_DAYS;
    Ok(Compared { now, then, has_users_before: true, is_uptime_by_hour, ..Compared::default() })
}

async fn figures_of_days(state: &AppState, selection: &Selection, days: &RangeInclusive<i32>) -> Result<Figures, StoreError> {
    let hours = async {
        if days.clone().count() > UPTIME_BY_HOUR_DAYS {
            return Ok(None);
        }
        state.store.hours(selection, days.start() * 24..=days.end() * 24 + 23).await.map(Some)
    };
    let (sums, users, hours) =
        tokio::try_join!(state.store.sums_of_days(selection, days.clone()), state.store.users(selection, days.clone()), hours)?;
    let active_agents = match selection {
        Selection::Fleet => state.live.active_on(days.clone()).map(|agents| agents as u64),
        Selection::Agents(_) => Some(sums.active.len() as u64),
    };
    let sum = sums.total();
    Ok(Figures {
        counts: Counts::of(&sum),
        users: numbers::united(users.into_values()),
        users_messages: sum.of_type(MessageType::UserMessage),
        active_agents,
        uptime: hours.map_or_else(|| uptime_of(sums.by_number.values()), |hours| uptime_of(hours.values())),
        sum,
    })
}

async fn of_times(state: &AppState, selection: &Selection, span: Span) -> Result<Compared, StoreError> {
    let length = span.to + 1 - span.from;
    let is_uptime_by_hour = length <= BY_HOUR_US;
    let (by_hour, before) = touched_and_before(span, HOUR_US, 0);
    let days = span.days();
    let days_before = days.start() - days.clone().count() as i32..=days.start() - 1;
    let (now, then, of_days, users, users_before) = tokio::try_join!(
        sums(state, selection, by_hour, is_uptime_by_hour),
        sums(state, selection, before, is_uptime_by_hour),
        state.store.days(selection, days.clone()),
        state.store.users(selection, days.clone()),
        state.store.users(selection, days_before),
    )?;
    let of_sums = |sums: &Sums| {
        let sum = sums.total();
        Figures { counts: Counts::of(&sum), uptime: uptime_of(sums.by_number.values()), sum, ..Figures::default() }
    };
    let mut compared = Compared {
        now: of_sums(&now),
        then: of_sums(&then),
        sum: Cover::of(span, by_hour, before),
        users: Cover { from: Some(i64::from(*days.start()) * DAY_US).filter(|from| *from < span.from), is_uneven: false },
        is_uptime_by_hour,
        ..Compared::default()
    };
    compared.counts = compared.sum;
    if length <= EXACT_US {
        // Slots are found among the hours that were read, whichever way this is rounded.
        let (by_slot, before) = touched_and_before(span, SLOT_US, SLOT_US / 2);
        compared.now.counts = Counts::of_slots(&[&now.by_number], by_slot);
        compared.then.counts = Counts::of_slots(&[&now.by_number, &then.by_number], before);
        compared.counts = Cover::of(span, by_slot, before);
    }
    compared.now.users = numbers::united(users.into_values());
    compared.now.users_messages = of_days.values().map(|rollup| rollup.of_type(MessageType::UserMessage)).sum();
    compared.then.users = numbers::united(users_before.into_values());
    match selection {
        Selection::Agents(_) => {
            compared.now.active_agents = Some(now.active.len() as u64);
            compared.then.active_agents = Some(then.active.len() as u64);
            compared.agents = compared.sum;
        }
        // The live table knows of each agent its days and its newest event, and nothing of the range before.
        Selection::Fleet if span.to >= now_micros() - ENDS_NOW_US => {
            compared.now.active_agents = state.live.seen_since(span.from).map(|agents| agents as u64);
        }
        Selection::Fleet => {
            compared.now.active_agents = state.live.active_on(days).map(|agents| agents as u64);
            compared.agents = compared.users;
        }
    }
    Ok(compared)
}

/// Hour by hour, or as few items as there can be.
async fn sums(state: &AppState, selection: &Selection, span: Span, is_by_hour: bool) -> Result<Sums, StoreError> {
    if is_by_hour { state.store.sums_of_hours(selection, span.hours()).await } else { state.store.sums_of_span(selection, span).await }
}

/// The span from the beginning of the interval (of `unit` µs) in which it begins; and what lies right before that, about as
/// long, from the beginning of an interval too: the one in which it would begin, or with half a unit as `shift` the nearest.
fn touched_and_before(span: Span, unit: i64, shift: i64) -> (Span, Span) {
    let floor = |at: i64| at.div_euclid(unit) * unit;
    let from = floor(span.from);
    let length = span.to + 1 - from;
    let before = floor(from - length + shift).min(from - unit);
    (Span { from, to: span.to }, Span { from: before, to: from - 1 })
}

impl Cover {
    fn of(asked: Span, now: Span, then: Span) -> Self {
        let (length, before) = (now.to + 1 - now.from, then.to + 1 - then.from);
        Self { from: Some(now.from).filter(|from| *from < asked.from), is_uneven: (before - length).abs() * COMPARABLE > length }
    }
}

impl Counts {
    fn of(sum: &Rollup) -> Self {
        Self {
            events: sum.calls,
            messages: sum.of_type(MessageType::UserMessage),
            errors: sum.of_type(MessageType::Error),
            latency_us: sum.latency_us,
            latency_n: sum.latency_n,
            tokens: sum.tokens,
            cost_nanousd: sum.cost_nanousd,
            cost_n: sum.cost_n,
        }
    }

    /// The five-minute slots that the span touches, from whichever of `hours` has them.
    fn of_slots(hours: &[&BTreeMap<i32, Rollup>], span: Span) -> Self {
        let slots_of_hour = HOUR_US / SLOT_US;
        let mut sum = Slot::default();
        for number in span.slots() {
            let (hour, slot) = (number.div_euclid(slots_of_hour) as i32, number.rem_euclid(slots_of_hour) as u8);
            if let Some(slot) = hours.iter().find_map(|hours| hours.get(&hour)).and_then(|rollup| rollup.slots.get(&slot)) {
                sum.add(slot);
            }
        }
        Self {
            events: sum.calls,
            messages: sum.messages,
            errors: sum.errors,
            latency_us: sum.latency_us,
            latency_n: sum.latency_n,
            tokens: sum.tokens,
            cost_nanousd: sum.cost_nanousd,
            // A slot does not count events with a known cost: a sum of 0 may be unknown.
            cost_n: sum.cost_nanousd,
        }
    }
}

/// The share of periods with traffic in which fewer than half of the events were errors; `None` without traffic.
/// Nobody tells us whether an agent that is silent is down or idle, so silence is not counted either way.
fn uptime_of<'a>(periods: impl Iterator<Item = &'a Rollup>) -> Option<f64> {
    let (mut all, mut up) = (0u32, 0u32);
    for period in periods.filter(|p| p.calls > 0) {
        all += 1;
        up += u32::from(period.of_type(MessageType::Error) * 2 < period.calls);
    }
    (all > 0).then(|| f64::from(up) / f64::from(all) * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_full_of_errors_is_down_and_a_silent_one_is_neither() {
        let hour = |calls, errors| {
            let mut r = Rollup { calls, ..Rollup::default() };
            r.by_type[MessageType::Error as usize] = errors;
            r
        };
        assert_eq!(uptime_of([hour(10, 4), hour(10, 5), hour(0, 0), hour(1, 0), hour(1, 0)].iter()), Some(75.0));
        assert_eq!(uptime_of([hour(0, 0)].iter()), None);
    }

    #[test]
    fn the_range_before_is_as_long_and_neither_overlaps_nor_leaves_a_gap() {
        let minute = 60_000_000;
        let hour = Span { from: 572 * minute, to: 632 * minute - 1 };
        let (now, then) = touched_and_before(hour, SLOT_US, SLOT_US / 2);
        assert_eq!((now.from, then.to + 1, then.from), (570 * minute, 570 * minute, 510 * minute));
        assert_eq!(Cover::of(hour, now, then).from, Some(570 * minute));
        assert!(!Cover::of(hour, now, then).is_uneven, "60 minutes before 62");
        let (now, then) = touched_and_before(hour, HOUR_US, 0);
        assert_eq!((now.from, then.from), (540 * minute, 420 * minute));
        assert!(Cover::of(hour, now, then).is_uneven, "two hours before 92 minutes");
        // However an hour lies, as many slots as it has are a fair comparison.
        for second in 0..3_600 {
            let from = second * 1_000_000;
            let hour = Span { from, to: from + HOUR_US - 1 };
            let (now, then) = touched_and_before(hour, SLOT_US, SLOT_US / 2);
            assert!(!Cover::of(hour, now, then).is_uneven, "{second}");
        }
        let moment = Span { from: 600 * minute, to: 601 * minute };
        assert_eq!(touched_and_before(moment, SLOT_US, SLOT_US / 2).1, Span { from: 595 * minute, to: 600 * minute - 1 });
        let whole = Span { from: 60 * minute, to: 120 * minute - 1 };
        let (now, then) = touched_and_before(whole, HOUR_US, 0);
        assert_eq!((then.from, then.to + 1), (0, 60 * minute));
        assert!(Cover::of(whole, now, then).from.is_none() && !Cover::of(whole, now, then).is_uneven);
    }
}
