//! `GET /api/v1/agents`: the ids of all agents, or a page of agents with today's numbers and how they are.

use crate::AppState;
use crate::answer::{Caching, as_of_now, json};
use crate::cursor;
use crate::live_table::{Column, RankAfter, RankQuery};
use crate::numbers;
use crate::parameters::Parameters;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use schemas::time::{day_of, format_micros, now_micros};
use schemas::{AgentTotals, Problem};
use serde::{Deserialize, Serialize};
use service_kit::problem::ApiError;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn router() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::new().routes(routes!(agents_read))
}

/// An error rate from which on an agent is degraded.
const DEGRADED_ERROR_RATE: f64 = 0.05;
/// An error rate from which on an agent is failing.
const FAILING_ERROR_RATE: f64 = 0.25;
/// Fewer errors than this say nothing.
const FEWEST_ERRORS: i64 = 3;
/// So many times slower than yesterday is degraded.
const SLOWER: f64 = 2.0;
/// Fewer response times than this, today or yesterday, say nothing.
const FEWEST_TIMES: i64 = 20;
/// Dormant agents of a page whose last event is looked up in the store at once.
const WIDTH: usize = 16;

/// How an agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum AgentStatus {
    /// None of the other rules holds.
    Healthy,
    /// At least 5 errors per 100 messages today, or twice as slow as yesterday.
    Degraded,
    /// At least 25 errors per 100 messages today.
    Failing,
    /// No event for an hour (`AGENT_SILENT_MINUTES`).
    Silent,
}

/// One agent with today's numbers (UTC).
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct AgentSummary {
    /// The agent.
    agent_id: String,
    /// How it is.
    status: AgentStatus,
    /// The rule that decided it, in words.
    status_rule: String,
    /// Time of its newest event; null where that is not known.
    #[schema(required, format = DateTime)]
    last_seen: Option<String>,
    /// When it was first seen; null for a moment after its first event.
    #[schema(required, format = DateTime)]
    first_seen: Option<String>,
    /// All events today.
    calls: i64,
    /// `user_message` events today.
    total_messages: i64,
    /// `agent_response` events today.
    total_responses: i64,
    /// `error` events today.
    total_errors: i64,
    /// `tool_call` events today.
    tool_calls: i64,
    /// Errors per message today; 0 with no messages.
    error_rate: f64,
    /// Mean response time today, ms.
    #[schema(required)]
    average_response_time_ms: Option<f64>,
    /// Longest response time today, ms.
    #[schema(required)]
    max_response_time_ms: Option<f64>,
    /// Sum of `token_count` today.
    total_tokens_used: i64,
    /// Known cost today, US dollars; null where none is known.
    #[schema(required)]
    cost_usd: Option<f64>,
    /// Mean feedback today.
    #[schema(required)]
    average_feedback_score: Option<f64>,
    /// Repeats recognised and not counted again today.
    duplicates_skipped: i64,
}

/// A page of agents.
#[derive(Debug, Serialize, ToSchema)]
struct AgentsPage {
    /// The agents in the order asked for; agents without a value come last.
    items: Vec<AgentSummary>,
    /// Send it back as `cursor`, with the same parameters, for the next page; null at the end.
    #[schema(required)]
    next_key: Option<String>,
    /// Agents that `q` takes, all pages together.
    total: usize,
    /// Whether the live table has caught up; until then today's numbers may be too low.
    is_live: bool,
    /// Everything announced before this time is in the numbers.
    #[schema(format = DateTime)]
    as_of: String,
}

/// The plain list, or with `detail=true` a page.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only describes the answer")]
enum AgentsAnswer {
    /// Ids, sorted.
    Ids(Vec<String>),
    /// With `detail=true`.
    Page(AgentsPage),
}

/// Where the next page goes on.
#[derive(Serialize, Deserialize)]
enum After {
    /// Behind this row of the live table.
    Live(RankAfter),
    /// Behind this agent, among those that the live table does not hold.
    Dormant(String),
    /// Behind this agent, in the order of ids.
    Id(String),
}

/// All agents
///
/// The sorted ids of every agent ever seen; with `detail=true` a page of objects with today's numbers.
#[utoipa::path(
    get, path = "/api/v1/agents", operation_id = "listAgents", tag = "agents",
    params(
        ("detail" = Option<bool>, Query, description = "Objects with today's numbers in place of ids"),
        ("sort" = Option<String>, Query, description = "With `detail`: agent_id, last_seen, calls, total_messages, total_responses, total_errors, error_rate, tool_calls, average_response_time_ms, max_response_time_ms, total_tokens_used, input_tokens, output_tokens, cost_usd, average_feedback_score or duplicates_skipped; `-` in front for the largest first"),
        ("q" = Option<String>, Query, description = "Part of the id; with a `*` at its end, its beginning"),
        ("limit" = Option<i32>, Query, minimum = 1, maximum = 1000, description = "Agents of a page; with `detail` 100 where absent, else all"),
        ("cursor" = Option<String>, Query, description = "With `detail`: `next_key` of the page before"),
    ),
    responses(
        (status = 200, body = AgentsAnswer),
        (status = 422, description = "A parameter is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store cannot be read", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn agents_read(State(state): State<Arc<AppState>>, headers: HeaderMap, mut parameters: Parameters) -> Result<Response, ApiError> {
    let is_detailed = parameters.flag("detail");
    let has_limit = parameters.text("limit").is_some();
    let limit = parameters.limit();
    let search = parameters.text("q").unwrap_or_default();
    let order = parameters.text("sort").unwrap_or_else(|| "agent_id".into());
    let (name, is_descending) = order.strip_prefix('-').map_or((order.as_str(), false), |name| (name, true));
    let column = Column::parse(name);
    if column.is_none() {
        let names = Column::ALL.map(Column::name).join(", ");
        parameters.refuse("sort", format!("must be one of {names}, with - in front for the largest first"));
    }
    let cursor = parameters.cursor();
    parameters.check()?;
    let bound_to = format!("agents;{}", parameters.fingerprint(&["detail", "sort", "q"]));
    let after = cursor.map(|text| cursor::decode::<After>(&bound_to, &text)).transpose()?;
    let directory = state.store.directory().await?;
    if !is_detailed {
        let count = if has_limit { limit } else { usize::MAX };
        let ids: Vec<String> = all_ids(&state, &directory, &search).into_iter().take(count).collect();
        return json(&headers, &ids, &as_of_now(), Caching::Revalidate);
    }
    let listing = Listing { state: &state, directory: &directory, search: &search, today: day_of(now_micros()) };
    let column = column.unwrap_or_default();
    let (rows, next, total) = if column == Column::AgentId {
        listing.by_id(is_descending, after.as_ref(), limit)
    } else {
        listing.by_value(column, is_descending, after.as_ref(), limit)
    };
    let freshness = state.live.freshness();
    let answer = AgentsPage {
        items: listing.summaries(rows).await?,
        next_key: next.map(|after| cursor::encode(&bound_to, &after)),
        total,
        is_live: freshness.is_caught_up,
        as_of: format_micros(freshness.as_of),
    };
    json(&headers, &answer, &answer.as_of, Caching::Revalidate)
}

/// Every id that the search takes: the directory's, and those that the live table heard of since.
fn all_ids(state: &AppState, directory: &BTreeMap<String, i64>, search: &str) -> BTreeSet<String> {
    let wanted = matcher(search);
    let mut ids: BTreeSet<String> = directory.keys().filter(|id| wanted(id)).cloned().collect();
    ids.extend(state.live.search(search).iter().map(ToString::to_string));
    ids
}

/// The live table's search, for ids that it does not hold.
fn matcher(search: &str) -> impl Fn(&str) -> bool {
    let is_prefix = search.ends_with('*');
    let term = search.trim_end_matches('*').to_ascii_lowercase();
    move |id| {
        let id = id.to_ascii_lowercase();
        if is_prefix { id.starts_with(&term) } else { id.contains(&term) }
    }
}

struct Listing<'a> {
    state: &'a AppState,
    directory: &'a BTreeMap<String, i64>,
    search: &'a str,
    today: i32,
}

/// An agent and its totals of today (zeros where it was idle), with `last_at` over all days held; 0 where unknown.
type Row = (String, AgentTotals);

impl Listing<'_> {
    fn by_id(&self, is_descending: bool, after: Option<&After>, limit: usize) -> (Vec<Row>, Option<After>, usize) {
        let ids = all_ids(self.state, self.directory, self.search);
        let total = ids.len();
        let last = match after {
            Some(After::Id(id)) => Some(id.as_str()),
            _ => None,
        };
        let follows = |id: &String| last.is_none_or(|last| if is_descending { id.as_str() < last } else { id.as_str() > last });
        let ordered: Box<dyn Iterator<Item = String>> =
            if is_descending { Box::new(ids.into_iter().rev()) } else { Box::new(ids.into_iter()) };
        let mut page: Vec<String> = ordered.filter(follows).take(limit + 1).collect();
        let has_more = page.len() > limit;
        page.truncate(limit);
        let next = page.last().filter(|_| has_more).map(|id| After::Id(id.clone()));
        (page.into_iter().map(|id| self.row(id)).collect(), next, total)
    }

    fn by_value(&self, sort: Column, is_descending: bool, after: Option<&After>, limit: usize) -> (Vec<Row>, Option<After>, usize) {
        let after_row = match after {
            Some(After::Live(row)) => Some(row),
            _ => None,
        };
        let search = Some(self.search).filter(|s| !s.is_empty());
        let query = RankQuery { day: self.today, sort, is_descending, search, after: after_row, limit };
        let ranked = self.state.live.rank(&query);
        let wanted = matcher(self.search);
        let dormant: Vec<&String> = self.directory.keys().filter(|id| wanted(id) && self.state.live.last_at(id).is_none()).collect();
        let total = ranked.total + dormant.len();
        let mut rows: Vec<Row> = Vec::new();
        if !matches!(after, Some(After::Dormant(_))) {
            rows.extend(ranked.rows.into_iter().map(|row| (row.agent_id.to_string(), row.totals)));
            if let Some(next) = ranked.next {
                return (rows, Some(After::Live(next)), total);
            }
        }
        let first = match after {
            Some(After::Dormant(last)) => dormant.partition_point(|id| *id <= last),
            _ => 0,
        };
        let room = limit - rows.len();
        let page = &dormant[first..dormant.len().min(first + room)];
        let has_more = first + page.len() < dormant.len();
        rows.extend(page.iter().map(|id| self.row((*id).clone())));
        let next = has_more.then(|| After::Dormant(page.last().map(|id| (*id).clone()).unwrap_or_default()));
        (rows, next, total)
    }

    fn row(&self, id: String) -> Row {
        let mut totals = self.state.live.get(&id, self.today).unwrap_or_default();
        totals.last_at = self.state.live.last_at(&id).unwrap_or(totals.last_at);
        (id, totals)
    }

    async fn summaries(&self, rows: Vec<Row>) -> Result<Vec<AgentSummary>, ApiError> {
        use futures::stream::{self, StreamExt as _, TryStreamExt as _};
        stream::iter(rows.into_iter().map(|row| self.summary(row))).buffered(WIDTH).try_collect().await
    }

    async fn summary(&self, (agent_id, totals): Row) -> Result<AgentSummary, ApiError> {
        let mut last_at = totals.last_at;
        if last_at == 0 {
            last_at = self.state.store.newest_day(&agent_id).await?.map_or(0, |rollup| rollup.last_at);
        }
        let yesterday = self.state.live.get(&agent_id, self.today - 1).unwrap_or_default();
        let silent_us = i64::from(self.state.config.agent_silent_minutes) * 60_000_000;
        let (status, status_rule) = status(&totals, &yesterday, now_micros() - last_at, silent_us);
        Ok(AgentSummary {
            status,
            status_rule,
            last_seen: (last_at != 0).then(|| format_micros(last_at)),
            first_seen: self.directory.get(&agent_id).map(|at| format_micros(*at)),
            calls: totals.calls,
            total_messages: totals.messages,
            total_responses: totals.responses,
            total_errors: totals.errors,
            tool_calls: totals.tool_calls,
            error_rate: numbers::error_rate(totals.errors, totals.messages),
            average_response_time_ms: numbers::mean_ms(totals.latency_us, totals.latency_n),
            max_response_time_ms: (totals.latency_n > 0).then(|| totals.latency_max_us as f64 / 1e3),
            total_tokens_used: totals.tokens,
            cost_usd: numbers::dollars(totals.cost_nanousd, totals.cost_n),
            average_feedback_score: (totals.feedback_n > 0).then(|| totals.feedback_micro as f64 / totals.feedback_n as f64 / 1e6),
            duplicates_skipped: totals.duplicates,
            agent_id,
        })
    }
}

/// How an agent is, and the rule that says so; the first that holds decides. `age` (µs) is that of its newest event.
fn status(today: &AgentTotals, yesterday: &AgentTotals, age: i64, silent_us: i64) -> (AgentStatus, String) {
    if age >= silent_us {
        return (AgentStatus::Silent, format!("no event for {} minutes or more", silent_us / 60_000_000));
    }
    // Errors without messages are judged by all events: a client may report nothing else.
    let rate = today.errors as f64 / if today.messages > 0 { today.messages } else { today.calls.max(1) } as f64;
    let of = if today.messages > 0 { "messages" } else { "events" };
    for (least, status) in [(FAILING_ERROR_RATE, AgentStatus::Failing), (DEGRADED_ERROR_RATE, AgentStatus::Degraded)] {
        if today.errors >= FEWEST_ERRORS && rate >= least {
            return (status, format!("{:.1} errors per 100 {of} today, {} or more", rate * 100.0, least * 100.0));
        }
    }
    let means = (numbers::mean_ms(today.latency_us, today.latency_n), numbers::mean_ms(yesterday.latency_us, yesterday.latency_n));
    if let (Some(now), Some(then)) = means
        && today.latency_n.min(yesterday.latency_n) >= FEWEST_TIMES
        && now >= then * SLOWER
    {
        return (AgentStatus::Degraded, format!("mean response time {now:.0} ms today, {then:.0} ms yesterday: {SLOWER} times or more"));
    }
    (AgentStatus::Healthy, "seen lately, few errors, about as fast as yesterday".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(messages: i64, errors: i64, mean_ms: i64) -> AgentTotals {
        let calls = messages + errors;
        AgentTotals { calls, messages, errors, latency_n: 100, latency_us: mean_ms * 100_000, ..AgentTotals::default() }
    }

    #[test]
    fn the_first_rule_that_holds_decides() {
        let hour = 3_600_000_000;
        let of = |today: AgentTotals, age| status(&today, &totals(100, 0, 100), age, hour).0;
        assert_eq!(of(totals(100, 50, 100), hour), AgentStatus::Silent);
        assert_eq!(of(totals(100, 25, 100), 0), AgentStatus::Failing);
        assert_eq!(of(totals(100, 5, 100), 0), AgentStatus::Degraded);
        assert_eq!(of(totals(2, 2, 100), 0), AgentStatus::Healthy, "too few errors to say");
        assert_eq!(of(totals(100, 0, 200), 0), AgentStatus::Degraded, "twice as slow");
        assert_eq!(of(totals(100, 0, 150), 0), AgentStatus::Healthy);
    }
}
