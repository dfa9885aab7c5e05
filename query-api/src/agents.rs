//! `GET /api/v1/agents`: the ids of all agents, or a page of agents with their numbers and how they are; and one agent
//! by its id.

pub(crate) mod listing;
mod status;

use crate::AppState;
use crate::answer::{Caching, as_of_now, json};
use crate::cursor;
use crate::live_table::{Column, Search};
use crate::numbers;
use crate::parameters::{MOST_DAYS, Parameters, Span, agent_of_path};
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use listing::{After, Listing, Row, Wishes};
use schemas::Problem;
use schemas::time::{day_of, format_day, format_micros, now_micros};
use serde::Serialize;
use service_kit::problem::ApiError;
use status::{AgentStatus, StatusCounts, status};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn router() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::new().routes(routes!(agents_read)).routes(routes!(agent_read))
}

/// Days of `calls_by_day`.
const SHOWN_DAYS: i32 = 14;
/// Dormant agents of a page whose last event is looked up in the store at once.
const WIDTH: usize = 16;

/// One agent with its numbers of the days asked for (UTC), by default today's.
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
    /// All events.
    calls: i64,
    /// `user_message` events.
    total_messages: i64,
    /// `agent_response` events.
    total_responses: i64,
    /// `error` events.
    total_errors: i64,
    /// `tool_call` events.
    tool_calls: i64,
    /// Errors per message; 0 with no messages.
    error_rate: f64,
    /// Mean response time, ms.
    #[schema(required)]
    average_response_time_ms: Option<f64>,
    /// Longest response time, ms.
    #[schema(required)]
    max_response_time_ms: Option<f64>,
    /// Sum of `token_count`.
    total_tokens_used: i64,
    /// Known cost, US dollars; null where none is known.
    #[schema(required)]
    cost_usd: Option<f64>,
    /// Mean feedback.
    #[schema(required)]
    average_feedback_score: Option<f64>,
    /// Repeats recognised and not counted again.
    duplicates_skipped: i64,
    /// All events of each of the last 14 days up to the last day asked for, oldest first; fewer days where the live
    /// table holds fewer.
    calls_by_day: Vec<i64>,
}

/// A page of agents.
#[derive(Debug, Serialize, ToSchema)]
struct AgentsPage {
    /// The agents in the order asked for; agents without a value come last.
    items: Vec<AgentSummary>,
    /// Send it back as `cursor`, with the same parameters, for the next page; null at the end.
    #[schema(required)]
    next_key: Option<String>,
    /// Agents that `q` and `status` take, all pages together.
    total: usize,
    /// How the agents are that `q` takes, whatever `status` asks for.
    status_counts: StatusCounts,
    /// First day whose numbers these are.
    #[schema(format = Date)]
    first_day: String,
    /// Last day whose numbers these are.
    #[schema(format = Date)]
    last_day: String,
    /// Whether the live table has caught up; until then the numbers may be too low.
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

/// One agent.
#[derive(Debug, Serialize, ToSchema)]
struct AgentAnswer {
    /// The agent.
    #[serde(flatten)]
    agent: AgentSummary,
    /// First day whose numbers these are.
    #[schema(format = Date)]
    first_day: String,
    /// Last day whose numbers these are.
    #[schema(format = Date)]
    last_day: String,
    /// Whether the live table has caught up; until then the numbers may be too low.
    is_live: bool,
    /// Everything announced before this time is in the numbers.
    #[schema(format = DateTime)]
    as_of: String,
}

/// All agents
///
/// The sorted ids of every agent ever seen; with `detail=true` a page of objects with numbers: today's, or the sums over
/// some of the last days (those that the live table holds, by default 35).
#[utoipa::path(
    get, path = "/api/v1/agents", operation_id = "listAgents", tag = "agents",
    params(
        ("detail" = Option<bool>, Query, description = "Objects with today's numbers in place of ids"),
        ("sort" = Option<String>, Query, description = "With `detail`: agent_id, last_seen, calls, total_messages, total_responses, total_errors, error_rate, tool_calls, average_response_time_ms, max_response_time_ms, total_tokens_used, input_tokens, output_tokens, cost_usd, average_feedback_score or duplicates_skipped; `-` in front for the largest first"),
        ("q" = Option<String>, Query, description = "Part of the id; with a `*` at its end, its beginning"),
        ("status" = Option<String>, Query, description = "With `detail`: only agents that are so today: healthy, degraded, failing, silent, or several of them, comma separated"),
        ("start_date" = Option<String>, Query, format = Date, description = "With `detail`: first day whose numbers count, UTC; `end_date` where absent"),
        ("end_date" = Option<String>, Query, format = Date, description = "With `detail`: last day whose numbers count, UTC, inclusive; today where absent"),
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
    let wishes = is_detailed.then(|| wishes(&state, &mut parameters, search.clone()));
    parameters.check()?;
    let bound_to = format!("agents;{}", parameters.fingerprint(&["detail", "sort", "q", "status", "start_date", "end_date"]));
    let after = cursor.map(|text| cursor::decode::<After>(&bound_to, &text)).transpose()?;
    let directory = state.store.directory().await?;
    let Some(wishes) = wishes else {
        let count = if has_limit { limit } else { usize::MAX };
        let ids: Vec<String> = all_ids(&state, &directory, &search).into_iter().take(count).collect();
        return json(&headers, &ids, &as_of_now(), Caching::Revalidate);
    };
    let listing = Listing::new(&state, &directory, &wishes);
    let column = column.unwrap_or_default();
    let (rows, next) = if column == Column::AgentId {
        listing.by_id(is_descending, after.as_ref(), limit)
    } else {
        listing.by_value(column, is_descending, after.as_ref(), limit)
    };
    let (total, status_counts) = (listing.total(), listing.counts);
    let freshness = state.live.freshness();
    let summed = rows.into_iter().map(|row| {
        let first_seen = directory.get(&row.0).copied();
        summary(&state, &wishes, row, first_seen)
    });
    let answer = AgentsPage {
        items: stream::iter(summed).buffered(WIDTH).try_collect().await?,
        next_key: next.map(|after| cursor::encode(&bound_to, &after)),
        total,
        status_counts,
        first_day: format_day(wishes.days.0),
        last_day: format_day(wishes.days.1),
        is_live: freshness.is_caught_up,
        as_of: format_micros(freshness.as_of),
    };
    json(&headers, &answer, &answer.as_of, Caching::Revalidate)
}

/// One agent
///
/// With its numbers of today, or of some of the last days, and how it is.
#[utoipa::path(
    get, path = "/api/v1/agents/{agent_id}", operation_id = "getAgent", tag = "agents",
    params(
        ("agent_id" = String, Path, description = "The agent"),
        ("start_date" = Option<String>, Query, format = Date, description = "First day whose numbers count, UTC; `end_date` where absent"),
        ("end_date" = Option<String>, Query, format = Date, description = "Last day whose numbers count, UTC, inclusive; today where absent"),
    ),
    responses(
        (status = 200, body = AgentAnswer),
        (status = 404, description = "An agent never seen", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A parameter is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store cannot be read", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn agent_read(
    State(state): State<Arc<AppState>>,
    Path(agent_id): Path<String>,
    headers: HeaderMap,
    mut parameters: Parameters,
) -> Result<Response, ApiError> {
    let agent_id = agent_of_path(agent_id)?;
    let wishes = wishes(&state, &mut parameters, String::new());
    parameters.check()?;
    let first_seen = state.store.first_seen(&agent_id).await?;
    let totals = state.live.over(&agent_id, wishes.days);
    if first_seen.is_none() && totals.is_none() {
        return Err(ApiError::not_found(format!("agent {agent_id} was never seen")));
    }
    let freshness = state.live.freshness();
    let answer = AgentAnswer {
        agent: summary(&state, &wishes, (agent_id, totals.unwrap_or_default()), first_seen).await?,
        first_day: format_day(wishes.days.0),
        last_day: format_day(wishes.days.1),
        is_live: freshness.is_caught_up,
        as_of: format_micros(freshness.as_of),
    };
    json(&headers, &answer, &answer.as_of, Caching::Revalidate)
}

/// What a page is asked to show; refuses days that the live table does not hold.
fn wishes(state: &AppState, parameters: &mut Parameters, search: String) -> Wishes {
    let today = day_of(now_micros());
    let last = parameters.day("end_date").unwrap_or(today);
    let first = parameters.day("start_date").unwrap_or(last);
    let (first_held, _) = state.live.days();
    if first < first_held {
        let name = if parameters.has("start_date") { "start_date" } else { "end_date" };
        parameters.refuse(name, format!("numbers of agents side by side are held from {} on", format_day(first_held)));
    } else {
        parameters.check_span(Span::of_days(first, last), MOST_DAYS);
    }
    Wishes { search, days: (first, last), today, statuses: parameters.choices("status", &AgentStatus::NAMES) }
}

/// Every id that the search takes: the directory's, and those that the live table heard of since.
fn all_ids(state: &AppState, directory: &BTreeMap<String, i64>, search: &str) -> BTreeSet<String> {
    let wanted = Search::new(search);
    let mut ids: BTreeSet<String> = directory.keys().filter(|id| wanted.takes(id)).cloned().collect();
    ids.extend(state.live.search(search).iter().map(ToString::to_string));
    ids
}

async fn summary(state: &AppState, wishes: &Wishes, (agent_id, totals): Row, first_seen: Option<i64>) -> Result<AgentSummary, ApiError> {
    let mut last_at = totals.last_at;
    if last_at == 0 {
        last_at = state.store.newest_day(&agent_id).await?.map_or(0, |rollup| rollup.last_at);
    }
    let [today, yesterday] = [wishes.today, wishes.today - 1].map(|day| state.live.get(&agent_id, day).unwrap_or_default());
    let (status, rule) = status(&today, &yesterday, now_micros() - last_at, state.silent_us());
    let last_day = wishes.days.1;
    let first_shown = state.live.days().0.max(last_day - SHOWN_DAYS + 1);
    Ok(AgentSummary {
        status,
        status_rule: rule.to_string(),
        last_seen: (last_at != 0).then(|| format_micros(last_at)),
        first_seen: first_seen.map(format_micros),
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
        calls_by_day: state.live.calls_by_day(&agent_id, first_shown..=last_day),
        agent_id,
    })
}

impl AppState {
    /// How long an agent must not have been heard of to count as silent, µs.
    fn silent_us(&self) -> i64 {
        i64::from(self.config.agent_silent_minutes) * 60_000_000
    }
}
