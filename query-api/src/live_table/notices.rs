//! Notices of changed totals: for everyone who follows the whole fleet, one notice is written once and shared.
//!
//! A follower keeps nothing but the number of the last change it was told of, and asks for what changed since: so a
//! slow one gets the newest totals of each agent, never a backlog.

use super::{Freshness, LiveTable};
use rustc_hash::FxHashSet;
use schemas::AgentTotals;
use schemas::time::{format_day, format_micros};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

/// Between two notices: at most four a second.
const BETWEEN_NOTICES: Duration = Duration::from_millis(250);
/// Rows of one notice; more follow in the next.
const ROWS: usize = 500;

/// The totals of one agent and day, or of all agents, as clients see them. Sums and counts of the UTC day.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct LiveTotals {
    /// The agent; `*` for all of them.
    pub agent_id: String,
    /// `YYYY-MM-DD`, UTC.
    pub date: String,
    /// Grows with every change of the row (for `*` the number of agents with events).
    pub version: i64,
    /// When the row was last written.
    #[schema(format = DateTime)]
    pub as_of: String,
    /// Time of the newest event of the day; null where there is none.
    #[schema(required, format = DateTime)]
    pub last_seen: Option<String>,
    /// All events.
    pub calls: i64,
    /// `user_message` events.
    pub total_messages: i64,
    /// `agent_response` events.
    pub total_responses: i64,
    /// `error` events.
    pub total_errors: i64,
    /// Errors per message; 0 without messages.
    pub error_rate: f64,
    /// `tool_call` events.
    pub tool_calls: i64,
    /// Mean response time, ms; null without data.
    #[schema(required)]
    pub average_response_time_ms: Option<f64>,
    /// Longest response time, ms; null without data.
    #[schema(required)]
    pub max_response_time_ms: Option<f64>,
    /// Sum of token counts.
    pub total_tokens_used: i64,
    /// Sum of input tokens.
    pub input_tokens: i64,
    /// Sum of output tokens.
    pub output_tokens: i64,
    /// Known cost, US dollars; null where no event had one.
    #[schema(required)]
    pub cost_usd: Option<f64>,
    /// Mean feedback; null without data.
    #[schema(required)]
    pub average_feedback_score: Option<f64>,
    /// Repeats recognised and not counted again.
    pub duplicates_skipped: i64,
}

impl From<&AgentTotals> for LiveTotals {
    fn from(t: &AgentTotals) -> Self {
        let mean = |sum: i64, n: i64, unit: f64| (n > 0).then(|| sum as f64 / n as f64 / unit);
        Self {
            agent_id: t.agent_id.clone(),
            date: format_day(t.day),
            version: t.version,
            as_of: format_micros(t.flushed_at),
            last_seen: (t.last_at > 0).then(|| format_micros(t.last_at)),
            calls: t.calls,
            total_messages: t.messages,
            total_responses: t.responses,
            total_errors: t.errors,
            error_rate: mean(t.errors, t.messages, 1.0).unwrap_or(0.0),
            tool_calls: t.tool_calls,
            average_response_time_ms: mean(t.latency_us, t.latency_n, 1e3),
            max_response_time_ms: (t.latency_n > 0).then(|| t.latency_max_us as f64 / 1e3),
            total_tokens_used: t.tokens,
            input_tokens: t.input_tokens,
            output_tokens: t.output_tokens,
            cost_usd: (t.cost_n > 0).then(|| t.cost_nanousd as f64 / 1e9),
            average_feedback_score: mean(t.feedback_micro, t.feedback_n, 1e6),
            duplicates_skipped: t.duplicates,
        }
    }
}

/// Data of a `totals` message.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TotalsChanged {
    /// Everything announced before this time is in the live table.
    pub as_of: String,
    /// Whether the live table has read all totals once; until then rows may be missing.
    pub is_caught_up: bool,
    /// The rows that changed, with their newest numbers.
    pub agents: Vec<LiveTotals>,
    /// The fleet's numbers of the days concerned; absent where only some agents are followed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fleet: Vec<LiveTotals>,
}

/// What changed between two points, as JSON of [`TotalsChanged`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// Number of the last change before.
    pub(crate) from: u64,
    /// Number of the last change told.
    pub(crate) to: u64,
    /// The data; empty where no row of interest changed.
    pub(crate) json: String,
}

impl LiveTable {
    /// Names this table among those of all processes: change numbers mean nothing elsewhere.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Number of the newest change.
    pub(crate) fn seq(&self) -> u64 {
        self.read().seq()
    }

    /// The newest notice to all; changes at most four times a second.
    pub(crate) fn watch_notices(&self) -> watch::Receiver<Arc<Notice>> {
        self.notices.subscribe()
    }

    /// What changed after change `from`; only of these agents where given.
    pub(crate) fn notice_since(&self, from: u64, agents: Option<&FxHashSet<String>>) -> Notice {
        let rows = self.read();
        let changes = rows.changes(from, ROWS, |id| agents.is_none_or(|wanted| wanted.contains(id)));
        let fleet_days = if agents.is_none() { changes.days.as_slice() } else { &[] };
        let fleet: Vec<LiveTotals> = fleet_days.iter().map(|day| LiveTotals::from(&rows.fleet(*day))).collect();
        drop(rows);
        if changes.rows.is_empty() {
            return Notice { from, to: changes.to, json: String::new() };
        }
        let Freshness { as_of, is_caught_up, .. } = self.freshness();
        let agents = changes.rows.iter().map(LiveTotals::from).collect();
        let data = TotalsChanged { as_of: format_micros(as_of), is_caught_up, agents, fleet };
        let json = serde_json::to_string(&data).expect("numbers and text are JSON");
        Notice { from, to: changes.to, json }
    }
}

/// Writes the notices to all while someone follows them. The first reading of the topic is no news.
pub(super) async fn announce(table: Arc<LiveTable>, shutdown: CancellationToken) {
    let mut changed = table.changed.subscribe();
    let mut freshness = table.watch_freshness();
    let notices = async {
        if freshness.wait_for(|f| f.is_caught_up).await.is_err() {
            return;
        }
        let mut from = table.seq();
        table.notices.send_replace(Arc::new(Notice { from, to: from, json: String::new() }));
        while changed.changed().await.is_ok() {
            if table.notices.receiver_count() == 0 {
                from = table.seq();
            } else {
                loop {
                    let notice = table.notice_since(from, None);
                    from = notice.to;
                    if notice.json.is_empty() {
                        break;
                    }
                    table.notices.send_replace(Arc::new(notice));
                    tokio::time::sleep(BETWEEN_NOTICES).await;
                }
            }
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = notices => {}
    }
}
