//! Counts what this gateway answered with success, by day, and says so in the live topic, so that anyone can compare it
//! with what the log has. It is told, never relied on: a gateway that is killed takes its last second along.

use event_log::{Log, Record};
use schemas::AgentTotals;
use schemas::codec::{WireForm, encode_totals};
use schemas::time::{day_of, now_micros};
use schemas::totals::gateway_name;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often a changed count is told.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How long the log may take for it.
const TELL_WITHIN: Duration = Duration::from_secs(2);
/// Days that are kept: an answer may come a little after midnight.
const DAYS: usize = 3;

/// The counts of this gateway since its start.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Another one for each start: counts begin at 0.
    gateway: String,
    by_day: Mutex<BTreeMap<i32, Count>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    accepted: u64,
    told: u64,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self { gateway: gateway_name(&uuid::Uuid::new_v4().simple().to_string()), by_day: Mutex::default() }
    }

    /// So many events (or redriven ones) were acknowledged by the log, and whoever sent them is about to hear of it.
    pub(crate) fn add(&self, events: usize) {
        let mut by_day = self.by_day.lock().expect("no panic while held");
        by_day.entry(day_of(now_micros())).or_default().accepted += events as u64;
        while by_day.len() > DAYS {
            by_day.pop_first();
        }
    }

    /// Tells every second what has changed, until `shutdown`, and once more then.
    pub(crate) async fn tell(&self, log: &Arc<dyn Log>, topic: &str, form: WireForm, shutdown: &CancellationToken) {
        while shutdown.run_until_cancelled(tokio::time::sleep(TELL_EVERY)).await.is_some() {
            self.tell_changes(log, topic, form).await;
        }
        self.tell_changes(log, topic, form).await;
    }

    async fn tell_changes(&self, log: &Arc<dyn Log>, topic: &str, form: WireForm) {
        let changed: Vec<(i32, u64)> = {
            let by_day = self.by_day.lock().expect("no panic while held");
            by_day.iter().filter(|(_, count)| count.accepted > count.told).map(|(day, count)| (*day, count.accepted)).collect()
        };
        for (day, accepted) in changed {
            let calls = i64::try_from(accepted).unwrap_or(i64::MAX);
            let totals = AgentTotals {
                agent_id: self.gateway.clone(),
                day,
                version: calls,
                flushed_at: now_micros(),
                calls,
                ..AgentTotals::default()
            };
            let record = Record { key: totals.key().into(), value: encode_totals(&totals, form).into(), headers: Vec::new() };
            let Ok(acknowledgement) = log.append(topic, record) else { return };
            match tokio::time::timeout(TELL_WITHIN, acknowledgement).await {
                Ok(Ok(_)) => {
                    let mut by_day = self.by_day.lock().expect("no panic while held");
                    if let Some(count) = by_day.get_mut(&day) {
                        count.told = accepted;
                    }
                }
                // Said again in a second, with what came to it.
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }
}
