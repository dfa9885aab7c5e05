//! `GET /api/v1/dashboard/kpis`: a range's figures against the range of the same length before it.

use crate::AppState;
use crate::answer::{Caching, as_of_now, json};
use crate::numbers::{self, percentile_ms};
use crate::parameters::Parameters;
use crate::store::{Selection, StoreError};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use schemas::rollup::Rollup;
use schemas::time::format_day;
use schemas::users::{UserSet, intersection_count};
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
    OpenApiRouter::new().routes(routes!(kpis_read))
}

/// Ranges longer than this are judged by day for the uptime, not by hour.
const UPTIME_BY_HOUR_DAYS: usize = 31;

/// Figures of a range against the one before.
#[derive(Debug, Serialize, ToSchema)]
struct KpisAnswer {
    /// First day.
    #[schema(format = Date)]
    start_date: String,
    /// Last day.
    #[schema(format = Date)]
    end_date: String,
    /// First day of the range compared with.
    #[schema(format = Date)]
    previous_start_date: String,
    /// Last day of the range compared with.
    #[schema(format = Date)]
    previous_end_date: String,
    /// The agents asked for; empty for all.
    agents: Vec<String>,
    /// The figures.
    kpis: Vec<Kpi>,
    /// Every event that was counted before this time is in the numbers.
    #[schema(format = DateTime)]
    as_of: String,
}

/// One figure.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Kpi {
    /// A name that stays the same, for programs.
    id: &'static str,
    /// A name to show.
    title: &'static str,
    /// The figure over the range; 0 where `hasData` is false.
    value: f64,
    /// The figure over the range before; null where it is unknown.
    #[schema(required)]
    previous: Option<f64>,
    /// Change against the range before, per cent; 100 where there was nothing before, 0 where either is unknown.
    change: f64,
    /// Which way.
    change_type: ChangeType,
    /// What the figure is.
    description: String,
    /// What it is counted in.
    unit: Unit,
    /// Which way is good.
    desired: Desired,
    /// Whether there is anything that the figure could come from.
    has_data: bool,
}

/// Which way a figure went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ChangeType {
    /// Up, or the same.
    Increase,
    /// Down.
    Decrease,
}

/// What a figure is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Unit {
    /// Plain number.
    Count,
    /// Milliseconds.
    Ms,
    /// Per cent.
    Percent,
    /// US dollars.
    Usd,
    /// Points from 1 to 5.
    Points,
}

/// Which way is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Desired {
    /// Up.
    Increase,
    /// Down.
    Decrease,
    /// Neither.
    Neutral,
}

/// What one range knows.
#[derive(Debug, Default)]
struct Figures {
    sum: Rollup,
    users: UserSet,
    active_agents: Option<u64>,
    uptime: Option<f64>,
}

/// Figures against the range before
///
/// By default the last 7 days against the 7 before. Today counts as far as it has come.
#[utoipa::path(
    get, path = "/api/v1/dashboard/kpis", operation_id = "getKpis", tag = "metrics",
    params(
        ("start_date" = Option<String>, Query, format = Date, description = "First day, UTC"),
        ("end_date" = Option<String>, Query, format = Date, description = "Last day, UTC, inclusive"),
        ("days" = Option<i32>, Query, minimum = 1, maximum = 400, description = "Days ending today (or at `end_date`); 7 where absent"),
        ("agents" = Option<String>, Query, description = "Agent ids, comma separated, at most 50; all agents where absent"),
    ),
    responses(
        (status = 200, body = KpisAnswer),
        (status = 422, description = "A parameter is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store cannot be read", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn kpis_read(State(state): State<Arc<AppState>>, headers: HeaderMap, mut parameters: Parameters) -> Result<Response, ApiError> {
    let selection = parameters.selection();
    let days = parameters.days(7);
    parameters.check()?;
    let length = days.clone().count() as i32;
    let before = *days.start() - length..=*days.start() - 1;
    let as_of = as_of_now();
    let (now, then) = tokio::try_join!(figures(&state, &selection, days.clone()), figures(&state, &selection, before.clone()))?;
    let caching = Caching::until_day(*days.end());
    let answer = KpisAnswer {
        start_date: format_day(*days.start()),
        end_date: format_day(*days.end()),
        previous_start_date: format_day(*before.start()),
        previous_end_date: format_day(*before.end()),
        agents: match selection {
            Selection::Fleet => Vec::new(),
            Selection::Agents(agents) => agents,
        },
        kpis: kpis(&now, &then, length as usize),
        as_of,
    };
    json(&headers, &answer, &answer.as_of, caching)
}

async fn figures(state: &AppState, selection: &Selection, days: RangeInclusive<i32>) -> Result<Figures, ApiError> {
    let (rollups, users, uptime) = tokio::try_join!(
        state.store.days(selection, days.clone()),
        state.store.users(selection, days.clone()),
        hourly_errors(state, selection, &days),
    )?;
    let uptime = uptime.map_or_else(|| uptime_of(rollups.values()), |hours| uptime_of(hours.values()));
    let mut sum = Rollup::default();
    for rollup in rollups.values() {
        sum.add(rollup);
    }
    let active_agents = state.active_agents(selection, days).await?;
    Ok(Figures { sum, users: numbers::united(users.into_values()), active_agents, uptime })
}

async fn hourly_errors(
    state: &AppState,
    selection: &Selection,
    days: &RangeInclusive<i32>,
) -> Result<Option<BTreeMap<i32, Rollup>>, StoreError> {
    if days.clone().count() > UPTIME_BY_HOUR_DAYS {
        return Ok(None);
    }
    state.store.hours(selection, days.start() * 24..=days.end() * 24 + 23).await.map(Some)
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

impl AppState {
    /// Number of agents with events on these days; `None` where it is not known: the days are older than the live
    /// table, or it has not caught up, and the fleet is asked for.
    async fn active_agents(&self, selection: &Selection, days: RangeInclusive<i32>) -> Result<Option<u64>, StoreError> {
        let Selection::Agents(agents) = selection else {
            let (first_held, _) = self.live.days();
            if *days.start() < first_held || !self.live.freshness().is_caught_up {
                return Ok(None);
            }
            let is_active = |agent: &str| days.clone().any(|day| self.live.get(agent, day).is_some_and(|t| t.calls > 0));
            return Ok(Some(self.live.search("").iter().filter(|agent| is_active(agent)).count() as u64));
        };
        let asked = agents.iter().map(|agent| {
            let days = days.clone();
            async move { self.store.days(&Selection::Agents(vec![agent.clone()]), days).await }
        });
        let found = futures::future::try_join_all(asked).await?;
        Ok(Some(found.iter().filter(|days| days.values().any(|r| r.calls > 0)).count() as u64))
    }
}

fn kpis(now: &Figures, then: &Figures, days: usize) -> Vec<Kpi> {
    let count = |figures: &Figures, t: MessageType| Some(figures.sum.of_type(t) as f64);
    let both = |get: &dyn Fn(&Figures) -> Option<f64>| (get(now), get(then));
    let share = |part: i64, whole: i64| (whole > 0).then(|| part as f64 / whole as f64 * 100.0);
    let users = |f: &Figures| f.users.count();
    let returning = (Some(intersection_count(&now.users, &then.users) as f64), None);
    let period = if days > UPTIME_BY_HOUR_DAYS { "days" } else { "hours" };
    use Desired::{Decrease, Increase, Neutral};
    vec![
        kpi(
            ("total_messages", "Total Messages"),
            both(&|f| count(f, MessageType::UserMessage)),
            (Unit::Count, Increase),
            "Messages that users sent",
        ),
        kpi(
            ("responses", "Responses"),
            both(&|f| count(f, MessageType::AgentResponse)),
            (Unit::Count, Increase),
            "Answers that agents gave",
        ),
        kpi(
            ("error_rate", "Error Rate"),
            both(&|f| share(f.sum.of_type(MessageType::Error), f.sum.of_type(MessageType::UserMessage))),
            (Unit::Percent, Decrease),
            "Errors per 100 messages",
        ),
        kpi(
            ("average_response_time", "Avg Response Time"),
            both(&|f| f.sum.average_latency_ms()),
            (Unit::Ms, Decrease),
            "Mean response time",
        ),
        kpi(
            ("p95_response_time", "P95 Response Time"),
            both(&|f| percentile_ms(&f.sum, 0.95)),
            (Unit::Ms, Decrease),
            "95 of 100 response times are at most this; an estimate within 2 %",
        ),
        kpi(("tokens", "Tokens"), both(&|f| Some(f.sum.tokens as f64)), (Unit::Count, Neutral), "Tokens used"),
        kpi(
            ("cost", "Cost"),
            both(&|f| numbers::dollars(f.sum.cost_nanousd, f.sum.cost_n)),
            (Unit::Usd, Decrease),
            "Known cost; events whose price is unknown are not in it",
        ),
        kpi(
            ("active_agents", "Active Agents"),
            both(&|f| f.active_agents.map(|n| n as f64)),
            (Unit::Count, Neutral),
            "Agents with at least one event",
        ),
        kpi(("unique_users", "Unique Users"), both(&|f| Some(users(f) as f64)), (Unit::Count, Increase), "Distinct users over the range"),
        kpi(("returning_users", "Returning Users"), returning, (Unit::Count, Increase), "Users who were also there in the range before"),
        kpi(
            ("messages_per_user", "Messages per User"),
            both(&|f| (users(f) > 0).then(|| f.sum.of_type(MessageType::UserMessage) as f64 / users(f) as f64)),
            (Unit::Count, Increase),
            "Messages divided by unique users",
        ),
        kpi(
            ("uptime", "Uptime"),
            both(&|f| f.uptime),
            (Unit::Percent, Increase),
            &format!(
                "Share of {period} with traffic in which fewer than half of the events were errors; {period} without traffic do not count"
            ),
        ),
        kpi(
            ("feedback", "Feedback"),
            both(&|f| f.sum.average_feedback()),
            (Unit::Points, Increase),
            "Mean of the feedback given, from 1 to 5",
        ),
    ]
}

fn kpi(name: (&'static str, &'static str), values: (Option<f64>, Option<f64>), (unit, desired): (Unit, Desired), description: &str) -> Kpi {
    let (now, then) = values;
    let change = match (now, then) {
        (Some(now), Some(0.0)) if now != 0.0 => 100.0,
        (Some(now), Some(then)) if then != 0.0 => (now - then) / then * 100.0,
        _ => 0.0,
    };
    Kpi {
        id: name.0,
        title: name.1,
        value: now.unwrap_or(0.0),
        previous: then,
        change: (change * 100.0).round() / 100.0,
        change_type: if change < 0.0 { ChangeType::Decrease } else { ChangeType::Increase },
        description: description.to_owned(),
        unit,
        desired,
        has_data: now.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(now: Option<f64>, then: Option<f64>) -> (f64, ChangeType, bool) {
        let kpi = kpi(("id", "Title"), (now, then), (Unit::Count, Desired::Neutral), "");
        (kpi.change, kpi.change_type, kpi.has_data)
    }

    #[test]
    fn changes_are_per_cent_of_the_range_before() {
        assert_eq!(of(Some(150.0), Some(100.0)), (50.0, ChangeType::Increase, true));
        assert_eq!(of(Some(50.0), Some(100.0)), (-50.0, ChangeType::Decrease, true));
        assert_eq!(of(Some(5.0), Some(0.0)), (100.0, ChangeType::Increase, true));
        assert_eq!(of(Some(0.0), Some(0.0)), (0.0, ChangeType::Increase, true));
        assert_eq!(of(None, Some(3.0)), (0.0, ChangeType::Increase, false));
    }

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
}
