//! The fleet's past, day by day, in the order in which it happened.

use super::conversation::{Event, converse};
use super::delivery::Delivery;
use super::fleet::Fleet;
use super::ledger::Ledger;
use futures::stream::{self, StreamExt};
use schemas::time::{day_of, format_day};

/// Events per request.
const BATCH: usize = 500;
/// Requests under way at once.
const IN_FLIGHT: usize = 4;

/// How far back, from when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    /// Days, the one of `until` included.
    pub(super) days: u32,
    /// The end, microseconds since the epoch.
    pub(super) until: i64,
}

/// Posts the past; returns how many events were acknowledged.
pub(super) async fn post(past: Past, fleet: &Fleet, delivery: &Delivery, ledger: &mut Ledger) -> anyhow::Result<u64> {
    let today = day_of(past.until);
    let mut posted = 0;
    for day in today - past.days.cast_signed() + 1..=today {
        delivery.progress().remark(format_day(day));
        let events = events_of_day(fleet, day, past.until);
        let mut requests =
            stream::iter(events.chunks(BATCH).map(|batch| async move { delivery.post(batch).await.map(|()| batch) })).buffered(IN_FLIGHT);
        while let Some(batch) = requests.next().await {
            let batch = batch?;
            batch.iter().for_each(|event| ledger.add(event));
            delivery.progress().advance(batch.len() as u64);
            posted += batch.len() as u64;
        }
        if delivery.is_stopped() {
            break;
        }
    }
    Ok(posted)
}

/// Every event of the conversations that begin on that day, up to `until`, by time.
pub(super) fn events_of_day(fleet: &Fleet, day: i32, until: i64) -> Vec<Event> {
    let mut events = Vec::new();
    for agent in fleet.agents() {
        for (number, start) in agent.starts(day).into_iter().enumerate() {
            // 100,000 conversations per day and agent at most, so numbers of different days never meet.
            events.extend(converse(agent, "conversation", i64::from(day) * 100_000 + number as i64, start, None));
        }
    }
    events.retain(|event| event.at <= until);
    events.sort_by_key(|event| event.at);
    events
}
