//! Order and search over the live table's rows. A page costs one walk over the agents and a sort of the page.

use super::rows::Rows;
use rustc_hash::FxHashSet;
use schemas::AgentTotals;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::sync::Arc;

/// What agents can be ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Column {
    /// The agent's id.
    #[default]
    AgentId,
    /// Time of the newest event.
    LastSeen,
    /// All events.
    Calls,
    /// `user_message` events.
    TotalMessages,
    /// `agent_response` events.
    TotalResponses,
    /// `error` events.
    TotalErrors,
    /// Errors per message.
    ErrorRate,
    /// `tool_call` events.
    ToolCalls,
    /// Mean response time, ms.
    AverageResponseTimeMs,
    /// Longest response time, ms.
    MaxResponseTimeMs,
    /// Sum of token counts.
    TotalTokensUsed,
    /// Sum of input tokens.
    InputTokens,
    /// Sum of output tokens.
    OutputTokens,
    /// Known cost, US dollars.
    CostUsd,
    /// Mean feedback.
    AverageFeedbackScore,
    /// Repeats recognised and not counted again.
    DuplicatesSkipped,
}

impl Column {
    /// Every column.
    pub const ALL: [Self; 16] = [
        Self::AgentId,
        Self::LastSeen,
        Self::Calls,
        Self::TotalMessages,
        Self::TotalResponses,
        Self::TotalErrors,
        Self::ErrorRate,
        Self::ToolCalls,
        Self::AverageResponseTimeMs,
        Self::MaxResponseTimeMs,
        Self::TotalTokensUsed,
        Self::InputTokens,
        Self::OutputTokens,
        Self::CostUsd,
        Self::AverageFeedbackScore,
        Self::DuplicatesSkipped,
    ];

    /// The name in queries and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AgentId => "agent_id",
            Self::LastSeen => "last_seen",
            Self::Calls => "calls",
            Self::TotalMessages => "total_messages",
            Self::TotalResponses => "total_responses",
            Self::TotalErrors => "total_errors",
            Self::ErrorRate => "error_rate",
            Self::ToolCalls => "tool_calls",
            Self::AverageResponseTimeMs => "average_response_time_ms",
            Self::MaxResponseTimeMs => "max_response_time_ms",
            Self::TotalTokensUsed => "total_tokens_used",
            Self::InputTokens => "input_tokens",
            Self::OutputTokens => "output_tokens",
            Self::CostUsd => "cost_usd",
            Self::AverageFeedbackScore => "average_feedback_score",
            Self::DuplicatesSkipped => "duplicates_skipped",
        }
    }

    /// The column of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.name() == name)
    }

    /// What a row is ordered by; `None` (no data) comes last in both directions. All are 0 for [`Column::AgentId`],
    /// whose order the id decides.
    pub fn value(self, t: &AgentTotals) -> Option<f64> {
        let mean = |sum: i64, n: i64| (n > 0).then(|| sum as f64 / n as f64);
        match self {
            Self::AgentId => Some(0.0),
            Self::LastSeen => Some(t.last_at as f64),
            Self::Calls => Some(t.calls as f64),
            Self::TotalMessages => Some(t.messages as f64),
            Self::TotalResponses => Some(t.responses as f64),
            Self::TotalErrors => Some(t.errors as f64),
            Self::ErrorRate => Some(mean(t.errors, t.messages).unwrap_or(0.0)),
            Self::ToolCalls => Some(t.tool_calls as f64),
            Self::AverageResponseTimeMs => mean(t.latency_us, t.latency_n),
            Self::MaxResponseTimeMs => (t.latency_n > 0).then_some(t.latency_max_us as f64),
            Self::TotalTokensUsed => Some(t.tokens as f64),
            Self::InputTokens => Some(t.input_tokens as f64),
            Self::OutputTokens => Some(t.output_tokens as f64),
            Self::CostUsd => (t.cost_n > 0).then_some(t.cost_nanousd as f64),
            Self::AverageFeedbackScore => mean(t.feedback_micro, t.feedback_n),
            Self::DuplicatesSkipped => Some(t.duplicates as f64),
        }
    }
}

/// Where a page goes on: the last row of the page before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RankAfter {
    /// Its [`Column::value`].
    pub value: Option<f64>,
    /// Its agent.
    pub agent_id: String,
}

/// Which agents in which order.
#[derive(Clone, Debug)]
pub struct RankQuery<'a> {
    /// First and last day number whose totals count, together.
    pub days: (i32, i32),
    /// What to order by; equal values are ordered by id.
    pub sort: Column,
    /// Largest first.
    pub is_descending: bool,
    /// Part of the id, upper and lower case alike; with a `*` at its end, its beginning.
    pub search: Option<&'a str>,
    /// Only these agents.
    pub among: Option<&'a FxHashSet<Arc<str>>>,
    /// Go on behind this row.
    pub after: Option<&'a RankAfter>,
    /// Rows of the page.
    pub limit: usize,
}

/// A row of the ranking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RankedAgent {
    /// The agent.
    pub agent_id: Arc<str>,
    /// Its totals of the days, zeros where it was idle; `last_at` is its newest event on any of the days held and
    /// `agent_id` is empty.
    pub totals: AgentTotals,
}

/// A page of the ranking.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    /// The page's rows.
    pub rows: Vec<RankedAgent>,
    /// Where the next page goes on; `None` at the end.
    pub next: Option<RankAfter>,
    /// Agents that fit the search, all pages together.
    pub total: usize,
}

/// A search term, understood.
pub(crate) struct Search {
    term: String,
    is_prefix: bool,
}

impl Search {
    /// Of a text as [`RankQuery::search`] takes it.
    pub(crate) fn new(term: &str) -> Self {
        let is_prefix = term.ends_with('*');
        Self { term: term.trim_end_matches('*').to_ascii_lowercase(), is_prefix }
    }

    /// Whether it takes an id.
    pub(crate) fn takes(&self, id: &str) -> bool {
        let (id, term) = (id.as_bytes(), self.term.as_bytes());
        if self.is_prefix {
            return id.get(..term.len()).is_some_and(|start| start.eq_ignore_ascii_case(term));
        }
        term.is_empty() || id.windows(term.len()).any(|part| part.eq_ignore_ascii_case(term))
    }
}

pub(super) fn rank(rows: &Rows, query: &RankQuery<'_>) -> Ranked {
    let search = Search::new(query.search.unwrap_or_default());
    let order = |a: (Option<f64>, &str), b: (Option<f64>, &str)| compare(query, a, b);
    let mut total = 0;
    let mut found: Vec<(Option<f64>, &Arc<str>, AgentTotals)> = Vec::new();
    let is_wanted = |id: &str| search.takes(id) && query.among.is_none_or(|among| among.contains(id));
    for (id, totals) in rows.agents_over(query.days, is_wanted) {
        total += 1;
        let value = query.sort.value(&totals);
        if query.after.is_none_or(|after| order((value, id), (after.value, &after.agent_id)) == Ordering::Greater) {
            found.push((value, id, totals));
            // Keep the page's worth and no more: cut back whenever twice as many were found.
            if found.len() > 2 * query.limit + 64 {
                found.select_nth_unstable_by(query.limit, |a, b| order((a.0, a.1), (b.0, b.1)));
                found.truncate(query.limit + 1);
            }
        }
    }
    found.sort_unstable_by(|a, b| order((a.0, a.1), (b.0, b.1)));
    let has_more = found.len() > query.limit;
    found.truncate(query.limit);
    let next = found.last().filter(|_| has_more).map(|(value, id, _)| RankAfter { value: *value, agent_id: id.to_string() });
    let rows = found.into_iter().map(|(_, id, totals)| RankedAgent { agent_id: Arc::clone(id), totals }).collect();
    Ranked { rows, next, total }
}

fn compare(query: &RankQuery<'_>, a: (Option<f64>, &str), b: (Option<f64>, &str)) -> Ordering {
    let turned = |order: Ordering| if query.is_descending { order.reverse() } else { order };
    let by_value = match (a.0, b.0) {
        (Some(a), Some(b)) => turned(a.total_cmp(&b)),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    };
    let by_id = if query.sort == Column::AgentId { turned(a.1.cmp(b.1)) } else { a.1.cmp(b.1) };
    by_value.then(by_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::time::DAY_US;

    fn table() -> Rows {
        let mut rows = Rows::default();
        rows.keep_days(10, 12);
        let mut put = |agent: &str, day: i32, calls: i64, latency: Option<i64>| {
            let (latency_us, latency_n) = latency.map_or((0, 0), |l| (l, 1));
            let last_at = i64::from(day) * DAY_US + calls * 1_000;
            rows.apply(&AgentTotals {
                agent_id: agent.into(),
                day,
                version: 1,
                calls,
                latency_us,
                latency_n,
                last_at,
                ..AgentTotals::default()
            });
        };
        put("team/alpha", 11, 5, Some(10));
        put("team/beta", 11, 9, None);
        put("gamma", 11, 5, Some(30));
        put("idle", 10, 3, Some(20));
        rows
    }

    fn query(sort: Column, is_descending: bool) -> RankQuery<'static> {
        RankQuery { days: (11, 11), sort, is_descending, search: None, among: None, after: None, limit: 10 }
    }

    fn ids(ranked: &Ranked) -> Vec<&str> {
        ranked.rows.iter().map(|r| &*r.agent_id).collect()
    }

    #[test]
    fn agents_without_data_come_last_in_both_directions() {
        let table = table();
        assert_eq!(ids(&rank(&table, &query(Column::AverageResponseTimeMs, true))), ["gamma", "team/alpha", "idle", "team/beta"]);
        assert_eq!(ids(&rank(&table, &query(Column::AverageResponseTimeMs, false))), ["team/alpha", "gamma", "idle", "team/beta"]);
        assert_eq!(ids(&rank(&table, &query(Column::Calls, true))), ["team/beta", "gamma", "team/alpha", "idle"]);
        assert_eq!(ids(&rank(&table, &query(Column::AgentId, true))), ["team/beta", "team/alpha", "idle", "gamma"]);
        assert_eq!(ids(&rank(&table, &query(Column::LastSeen, false)))[0], "idle");
    }

    #[test]
    fn pages_join_to_the_whole() {
        let table = table();
        for sort in Column::ALL {
            for is_descending in [true, false] {
                let whole = rank(&table, &query(sort, is_descending));
                let mut joined = Vec::new();
                let mut after = None;
                loop {
                    let page = rank(&table, &RankQuery { limit: 1, after: after.as_ref(), ..query(sort, is_descending) });
                    assert_eq!(page.total, 4);
                    joined.extend(page.rows);
                    let Some(next) = page.next else { break };
                    after = Some(next);
                }
                assert_eq!(joined, whole.rows, "{sort:?} {is_descending}");
            }
        }
    }

    #[test]
    fn only_a_page_is_kept_of_many_agents() {
        let mut rows = Rows::default();
        rows.keep_days(10, 12);
        for i in 0..2_000i64 {
            let agent_id = format!("a-{i:04}");
            rows.apply(&AgentTotals { agent_id, day: 11, version: 1, calls: (i * 7_919) % 2_000 + 1, ..AgentTotals::default() });
        }
        let page = rank(&rows, &RankQuery { limit: 5, ..query(Column::Calls, true) });
        assert_eq!(page.rows.iter().map(|r| r.totals.calls).collect::<Vec<_>>(), [2_000, 1_999, 1_998, 1_997, 1_996]);
        assert_eq!(page.total, 2_000);
    }

    #[test]
    fn days_are_ordered_by_their_sums_and_only_the_agents_wanted_are_there() {
        let table = table();
        let both = RankQuery { days: (10, 11), ..query(Column::Calls, true) };
        let page = rank(&table, &both);
        assert_eq!(page.rows.iter().map(|r| r.totals.calls).collect::<Vec<_>>(), [9, 5, 5, 3]);
        assert_eq!(rank(&table, &query(Column::Calls, true)).rows.last().map(|r| r.totals.calls), Some(0));
        let among = ["idle".into(), "gamma".into()].into_iter().collect();
        let page = rank(&table, &RankQuery { among: Some(&among), ..both });
        assert_eq!((ids(&page), page.total), (vec!["gamma", "idle"], 2));
    }

    #[test]
    fn search_finds_parts_and_beginnings() {
        let table = table();
        let found = |search| ids(&rank(&table, &RankQuery { search: Some(search), ..query(Column::AgentId, false) })).join(" ");
        assert_eq!(found("TA"), "team/beta");
        assert_eq!(found("m"), "gamma team/alpha team/beta");
        assert_eq!(found("team*"), "team/alpha team/beta");
        assert_eq!(found("zz"), "");
    }

    #[test]
    fn columns_bear_the_names_of_the_live_rows() {
        let row = serde_json::to_value(crate::live_table::LiveTotals::from(&AgentTotals::default())).expect("JSON");
        for column in Column::ALL {
            assert!(row.get(column.name()).is_some(), "{column:?}");
        }
    }

    #[test]
    fn columns_are_found_by_their_names() {
        for column in Column::ALL {
            assert_eq!(Column::parse(column.name()), Some(column));
            assert_eq!(serde_json::to_value(column).ok(), Some(column.name().into()));
        }
        assert_eq!(Column::parse("password"), None);
    }
}
