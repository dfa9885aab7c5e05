//! `GET /api/v1/metrics/series`: numbers over time, by day, hour or five minutes, of some agents or the fleet.

use crate::AppState;
use crate::answer::{Caching, as_of_now, json};
use crate::numbers;
use crate::parameters::{MOST_DAYS, MOST_DAYS_BY_HOUR, MOST_DAYS_BY_SLOT, Parameters, Span, end_of_today};
use crate::store::Selection;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use schemas::rollup::{Rollup, Slot};
use schemas::time::{HOUR_US, SLOT_US, format_day, now_micros};
use schemas::users::UserSet;
use schemas::{MessageType, Problem};
use serde::Serialize;
use service_kit::problem::ApiError;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn router() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::new().routes(routes!(series_read))
}

/// Width of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) enum Interval {
    /// A UTC day.
    #[serde(rename = "day")]
    Day,
    /// A UTC hour.
    #[serde(rename = "hour")]
    Hour,
    /// Five minutes.
    #[serde(rename = "5m")]
    FiveMinutes,
}

/// Numbers over time.
#[derive(Debug, Serialize, ToSchema)]
struct SeriesAnswer {
    /// First day.
    #[schema(format = Date)]
    start_date: String,
    /// Last day.
    #[schema(format = Date)]
    end_date: String,
    /// Width of a point.
    interval: Interval,
    /// The agents asked for; empty for all.
    agents: Vec<String>,
    /// One point per interval, oldest first, those without events included.
    items: Vec<SeriesPoint>,
    /// Greatest relative error of the percentiles.
    percentile_error: f64,
    /// Every event that was counted before this time is in the numbers.
    #[schema(format = DateTime)]
    as_of: String,
}

/// The numbers of one interval.
#[derive(Debug, Default, PartialEq, Serialize, ToSchema)]
struct SeriesPoint {
    /// The day (`2026-01-31`), or when the hour or the five minutes begin (`2026-01-31T10:00:00Z`).
    date: String,
    /// All events.
    calls: i64,
    /// `error` events.
    errors: i64,
    /// Distinct users; by day only, else null.
    #[schema(required)]
    visitors: Option<u64>,
    /// Names of the models used; by day and hour.
    models: Vec<String>,
    /// Events by model; by day and hour.
    model_usage: BTreeMap<String, i64>,
    /// `user_message` events.
    messages: i64,
    /// `agent_response` events; by day and hour, else null.
    #[schema(required)]
    responses: Option<i64>,
    /// `tool_call` events; by day and hour, else null.
    #[schema(required)]
    tool_calls: Option<i64>,
    /// Errors per message; 0 with no messages.
    error_rate: f64,
    /// Events with a response time.
    response_time_count: i64,
    /// Mean response time, ms.
    #[schema(required)]
    average_response_time_ms: Option<f64>,
    /// Median response time, ms (estimate); by day and hour.
    #[schema(required)]
    p50_response_time_ms: Option<f64>,
    /// 95th percentile, ms (estimate); by day and hour.
    #[schema(required)]
    p95_response_time_ms: Option<f64>,
    /// 99th percentile, ms (estimate); by day and hour.
    #[schema(required)]
    p99_response_time_ms: Option<f64>,
    /// Longest response time, ms.
    #[schema(required)]
    max_response_time_ms: Option<f64>,
    /// Sum of `token_count`.
    tokens: i64,
    /// Sum of input tokens; by day and hour, else null.
    #[schema(required)]
    input_tokens: Option<i64>,
    /// Sum of output tokens; by day and hour, else null.
    #[schema(required)]
    output_tokens: Option<i64>,
    /// Known cost, US dollars; null where none is known.
    #[schema(required)]
    cost_usd: Option<f64>,
    /// Known cost by model, US dollars; by day and hour.
    model_cost_usd: BTreeMap<String, f64>,
    /// Mean feedback; by day and hour.
    #[schema(required)]
    average_feedback_score: Option<f64>,
}

/// Numbers over time
///
/// By default the last 30 days by day (7 by hour, 1 by five minutes). At most 400 days by day, 31 by hour, 2 by five minutes.
#[utoipa::path(
    get, path = "/api/v1/metrics/series", operation_id = "getSeries", tag = "metrics",
    params(
        ("start_date" = Option<String>, Query, description = "First day (`2026-01-31`) or time"),
        ("end_date" = Option<String>, Query, description = "Last day, inclusive, or time"),
        ("interval" = Option<Interval>, Query, description = "Width of a point; `day` where absent"),
        ("agents" = Option<String>, Query, description = "Agent ids, comma separated, at most 50; all agents where absent"),
    ),
    responses(
        (status = 200, body = SeriesAnswer),
        (status = 422, description = "A parameter is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store cannot be read", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn series_read(State(state): State<Arc<AppState>>, headers: HeaderMap, mut parameters: Parameters) -> Result<Response, ApiError> {
    let interval = parameters.choice("interval", &INTERVALS).unwrap_or(Interval::Day);
    let selection = parameters.selection();
    let span = match interval {
        Interval::Day => parameters.span(30, MOST_DAYS, end_of_today()),
        Interval::Hour => parameters.span(7, MOST_DAYS_BY_HOUR, now_micros()),
        Interval::FiveMinutes => parameters.span(1, MOST_DAYS_BY_SLOT, now_micros()),
    };
    parameters.check()?;
    let as_of = as_of_now();
    let items = match interval {
        Interval::Day => by_day(&state, &selection, span).await?,
        Interval::Hour => by_hour(&state, &selection, span).await?,
        Interval::FiveMinutes => by_slot(&state, &selection, span).await?,
    };
    let days = span.days();
    let answer = SeriesAnswer {
        start_date: format_day(*days.start()),
        end_date: format_day(*days.end()),
        interval,
        agents: match selection {
            Selection::Fleet => Vec::new(),
            Selection::Agents(agents) => agents,
        },
        items,
        percentile_error: schemas::sketch::RELATIVE_ERROR,
        as_of,
    };
    json(&headers, &answer, &answer.as_of, Caching::until_day(*days.end()))
}

const INTERVALS: [(&str, Interval); 3] = [("day", Interval::Day), ("hour", Interval::Hour), ("5m", Interval::FiveMinutes)];

async fn by_day(state: &AppState, selection: &Selection, span: Span) -> Result<Vec<SeriesPoint>, ApiError> {
    let days = span.days();
    let (rollups, users) = tokio::try_join!(state.store.days(selection, days.clone()), state.store.users(selection, days.clone()))?;
    let (none, nobody) = (Rollup::default(), UserSet::default());
    let points = days.map(|day| {
        let visitors = users.get(&day).unwrap_or(&nobody).count();
        SeriesPoint { visitors: Some(visitors), ..SeriesPoint::of(format_day(day), rollups.get(&day).unwrap_or(&none)) }
    });
    Ok(points.collect())
}

async fn by_hour(state: &AppState, selection: &Selection, span: Span) -> Result<Vec<SeriesPoint>, ApiError> {
    let rollups = state.store.hours(selection, span.hours()).await?;
    let none = Rollup::default();
    Ok(span.hours().map(|hour| SeriesPoint::of(time_text(i64::from(hour) * HOUR_US), rollups.get(&hour).unwrap_or(&none))).collect())
}

async fn by_slot(state: &AppState, selection: &Selection, span: Span) -> Result<Vec<SeriesPoint>, ApiError> {
    let rollups = state.store.hours(selection, span.hours()).await?;
    let slots_of_hour = HOUR_US / SLOT_US;
    let points = span.slots().map(|number| {
        let (hour, slot) = (number.div_euclid(slots_of_hour) as i32, number.rem_euclid(slots_of_hour) as u8);
        let slot = rollups.get(&hour).and_then(|r| r.slots.get(&slot)).copied().unwrap_or_default();
        SeriesPoint::of_slot(time_text(number * SLOT_US), &slot)
    });
    Ok(points.collect())
}

fn time_text(micros: i64) -> String {
    let text = schemas::time::format_micros(micros);
    text.split_once('.').map_or(text.clone(), |(seconds, _)| format!("{seconds}Z"))
}

impl SeriesPoint {
    fn of(date: String, rollup: &Rollup) -> Self {
        let (messages, errors) = (rollup.of_type(MessageType::UserMessage), rollup.of_type(MessageType::Error));
        // A name whose events were all deleted may still have its counters.
        let models = || rollup.models.iter().filter(|(_, used)| used.calls != 0);
        Self {
            date,
            calls: rollup.calls,
            errors,
            visitors: None,
            models: models().map(|(name, _)| name.clone()).collect(),
            model_usage: models().map(|(name, used)| (name.clone(), used.calls)).collect(),
            messages,
            responses: Some(rollup.of_type(MessageType::AgentResponse)),
            tool_calls: Some(rollup.of_type(MessageType::ToolCall)),
            error_rate: numbers::error_rate(errors, messages),
            response_time_count: rollup.latency_n,
            average_response_time_ms: rollup.average_latency_ms(),
            p50_response_time_ms: numbers::percentile_ms(rollup, 0.50),
            p95_response_time_ms: numbers::percentile_ms(rollup, 0.95),
            p99_response_time_ms: numbers::percentile_ms(rollup, 0.99),
            max_response_time_ms: (rollup.latency_n > 0).then(|| rollup.latency_max_us as f64 / 1e3),
            tokens: rollup.tokens,
            input_tokens: Some(rollup.input_tokens),
            output_tokens: Some(rollup.output_tokens),
            cost_usd: numbers::dollars(rollup.cost_nanousd, rollup.cost_n),
            model_cost_usd: rollup
                .models
                .iter()
                .filter_map(|(name, used)| Some((name.clone(), numbers::dollars(used.cost_nanousd, used.cost_nanousd)?)))
                .collect(),
            average_feedback_score: rollup.average_feedback(),
        }
    }

    fn of_slot(date: String, slot: &Slot) -> Self {
        Self {
            date,
            calls: slot.calls,
            errors: slot.errors,
            messages: slot.messages,
            error_rate: numbers::error_rate(slot.errors, slot.messages),
            response_time_count: slot.latency_n,
            average_response_time_ms: numbers::mean_ms(slot.latency_us, slot.latency_n),
            max_response_time_ms: (slot.latency_n > 0).then(|| slot.latency_max_us as f64 / 1e3),
            tokens: slot.tokens,
            // A slot does not count events with a known cost: a sum of 0 may be unknown.
            cost_usd: numbers::dollars(slot.cost_nanousd, slot.cost_nanousd),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::time_text;

    #[test]
    fn points_begin_at_whole_seconds() {
        assert_eq!(time_text(300_000_000), "1970-01-01T00:05:00Z");
    }
}
