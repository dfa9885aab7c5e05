//! `GET /api/v1/agents/{agent_id}/metrics`: the numbers of one agent over a range of days.

use crate::AppState;
use crate::answer::{Caching, as_of_now, json};
use crate::numbers::{self, ErrorNumbers, ModelNumbers, ResponseTimes, Tokens, ToolNumbers};
use crate::parameters::{Parameters, agent_of_path};
use crate::store::Selection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use schemas::rollup::Rollup;
use schemas::time::{format_day, format_micros};
use schemas::users::UserSet;
use schemas::{MessageType, Problem};
use serde::Serialize;
use service_kit::problem::ApiError;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn router() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::new().routes(routes!(agent_metrics_read))
}

/// Numbers of one agent.
#[derive(Debug, Serialize, ToSchema)]
struct AgentMetricsAnswer {
    /// The agent.
    agent_id: String,
    /// Its numbers over the whole range.
    metrics: AgentMetrics,
    /// `<first day> to <last day>`.
    time_range: String,
    /// Every event that was counted before this time is in the numbers.
    #[schema(format = DateTime)]
    as_of: String,
}

/// Numbers of one agent over the whole range.
#[derive(Debug, Serialize, ToSchema)]
struct AgentMetrics {
    /// The agent.
    agent_id: String,
    /// `<first day>_to_<last day>`.
    date: String,
    /// The numbers.
    #[serde(flatten)]
    numbers: Metrics,
}

/// Numbers over a whole range. Averages without data are 0 here and null in the grouped fields.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Metrics {
    /// `user_message` events.
    total_messages: i64,
    /// `agent_response` events.
    total_responses: i64,
    /// `error` events.
    total_errors: i64,
    /// Mean response time, ms; 0 without data.
    average_response_time: f64,
    /// Sum of `token_count`.
    total_tokens_used: i64,
    /// Mean feedback; 0 without data.
    average_feedback_score: f64,
    /// Distinct users over the whole range.
    unique_users: u64,
    /// Standard error of `unique_users`, relative; 0 where it is exact.
    unique_users_error: f64,
    /// All events.
    total_events: i64,
    /// Events by type; types without events are 0.
    events_by_type: BTreeMap<&'static str, i64>,
    /// Errors per message; 0 with no messages.
    error_rate: f64,
    /// Response times.
    response_times: ResponseTimes,
    /// Tokens.
    tokens: Tokens,
    /// Known cost, US dollars; null where no event has a known cost.
    #[schema(required)]
    cost_usd: Option<f64>,
    /// Events with a known cost.
    cost_events: i64,
    /// Events with feedback.
    feedback_count: i64,
    /// Models, most used first.
    models: Vec<ModelNumbers>,
    /// Tools, most used first.
    tools: Vec<ToolNumbers>,
    /// Kinds of errors, most frequent first.
    error_types: Vec<ErrorNumbers>,
    /// Repeats of events that were recognised and not counted again.
    duplicates_skipped: i64,
    /// Time of the newest event of the range; null where there is none.
    #[schema(required, format = DateTime)]
    last_event_at: Option<String>,
}

impl Metrics {
    /// Of the sum of a range's rollups and the union of its users.
    pub(crate) fn of(sum: &Rollup, users: &UserSet) -> Self {
        Self {
            total_messages: sum.of_type(MessageType::UserMessage),
            total_responses: sum.of_type(MessageType::AgentResponse),
            total_errors: sum.of_type(MessageType::Error),
            average_response_time: sum.average_latency_ms().unwrap_or(0.0),
            total_tokens_used: sum.tokens,
            average_feedback_score: sum.average_feedback().unwrap_or(0.0),
            unique_users: users.count(),
            unique_users_error: numbers::users_error(users),
            total_events: sum.calls,
            events_by_type: MessageType::ALL.into_iter().map(|t| (t.name(), sum.of_type(t))).collect(),
            error_rate: numbers::error_rate(sum.of_type(MessageType::Error), sum.of_type(MessageType::UserMessage)),
            response_times: ResponseTimes::of(sum),
            tokens: Tokens::of(sum),
            cost_usd: numbers::dollars(sum.cost_nanousd, sum.cost_n),
            cost_events: sum.cost_n,
            feedback_count: sum.feedback_n,
            models: numbers::models(&sum.models),
            tools: numbers::tools(&sum.tools),
            error_types: numbers::errors(&sum.error_types),
            duplicates_skipped: sum.duplicates,
            last_event_at: (sum.last_at != 0).then(|| format_micros(sum.last_at)),
        }
    }
}

/// Numbers of one agent
///
/// Sums over the days asked for, by default the last 7. An agent that never posted anything is a 404.
#[utoipa::path(
    get, path = "/api/v1/agents/{agent_id}/metrics", operation_id = "getAgentMetrics", tag = "agents",
    params(
        ("agent_id" = String, Path, description = "The agent"),
        ("days" = Option<i32>, Query, minimum = 1, maximum = 400, description = "Days ending today (or at `end_date`); 7 where absent"),
        ("start_date" = Option<String>, Query, format = Date, description = "First day, UTC"),
        ("end_date" = Option<String>, Query, format = Date, description = "Last day, UTC, inclusive"),
    ),
    responses(
        (status = 200, body = AgentMetricsAnswer),
        (status = 404, description = "An agent never seen", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A parameter is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store cannot be read", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn agent_metrics_read(
    State(state): State<Arc<AppState>>,
    Path(agent_id): Path<String>,
    headers: HeaderMap,
    mut parameters: Parameters,
) -> Result<Response, ApiError> {
    let agent_id = agent_of_path(agent_id)?;
    let days = parameters.days(7);
    parameters.check()?;
    let as_of = as_of_now();
    let selection = Selection::Agents(vec![agent_id.clone()]);
    let (sums, users) = tokio::try_join!(state.store.sums_of_days(&selection, days.clone()), state.store.users(&selection, days.clone()))?;
    if sums.by_number.is_empty() && !state.is_known(&agent_id).await? {
        return Err(ApiError::not_found(format!("agent {agent_id} was never seen")));
    }
    let users = numbers::united(users.into_values());
    let caching = Caching::until_day(*days.end());
    let (first, last) = texts(&days);
    let metrics =
        AgentMetrics { agent_id: agent_id.clone(), date: format!("{first}_to_{last}"), numbers: Metrics::of(&sums.total(), &users) };
    let answer = AgentMetricsAnswer { metrics, agent_id, time_range: format!("{first} to {last}"), as_of };
    json(&headers, &answer, &answer.as_of, caching)
}

fn texts(days: &RangeInclusive<i32>) -> (String, String) {
    (format_day(*days.start()), format_day(*days.end()))
}

impl AppState {
    /// Whether the agent ever posted anything.
    pub(crate) async fn is_known(&self, agent_id: &str) -> Result<bool, ApiError> {
        Ok(self.live.last_at(agent_id).is_some() || self.store.is_known(agent_id).await?)
    }
}
