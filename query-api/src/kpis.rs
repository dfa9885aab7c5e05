//! `GET /api/v1/dashboard/kpis`: a range's figures against the range of the same length before it.

mod figures;

use crate::AppState;
use crate::answer::{Caching, as_of_now, json};
use crate::numbers::{self, percentile_ms};
use crate::parameters::{Parameters, Span};
use crate::store::Selection;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use figures::{Compared, Cover, Figures};
use schemas::time::{format_day, format_micros};
use schemas::users::intersection_count;
use schemas::{MessageType, Problem};
use serde::Serialize;
use service_kit::problem::ApiError;
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
    /// When the range begins.
    #[schema(format = DateTime)]
    start: String,
    /// When it ends; the first moment that is no longer part of it.
    #[schema(format = DateTime)]
    end: String,
    /// When the range compared with begins. It is as long as the range and ends where that begins.
    #[schema(format = DateTime)]
    previous_start: String,
    /// When it ends, exclusive.
    #[schema(format = DateTime)]
    previous_end: String,
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
    /// The figure over the range before; null where it is unknown, or of a range too unlike in length to compare with.
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
    /// Where the figure covers more than was asked: from when on it does. Of times, messages, events, errors, response
    /// times' mean, tokens and cost of up to 2 days are exact to 5 minutes, users cover whole days, all else whole hours.
    /// Null where it covers just the range.
    #[schema(required, format = DateTime)]
    covers_from: Option<String>,
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

/// Figures against the range before
///
/// By default the last 7 days against the 7 before. Today counts as far as it has come. With a time as `start_date` or
/// `end_date` the range is from that moment to before that moment, and is compared with as long a range right before.
#[utoipa::path(
    get, path = "/api/v1/dashboard/kpis", operation_id = "getKpis", tag = "metrics",
    params(
        ("start_date" = Option<String>, Query, description = "First day, UTC (`2026-01-31`), or a time (`2026-01-31T12:00:00Z`)"),
        ("end_date" = Option<String>, Query, description = "Last day, UTC, inclusive, or a time, exclusive; with a time as `start_date`, now where absent"),
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
    let period = parameters.period(7);
    parameters.check()?;
    let (days, span) = (period.days(), period.span());
    let length = span.to + 1 - span.from;
    let before = Span { from: span.from - length, to: span.from - 1 };
    let as_of = as_of_now();
    let compared = Compared::read(&state, &selection, &period).await?;
    let answer = KpisAnswer {
        start_date: format_day(*days.start()),
        end_date: format_day(*days.end()),
        previous_start_date: format_day(*before.days().start()),
        previous_end_date: format_day(*before.days().end()),
        start: format_micros(span.from),
        end: format_micros(span.to + 1),
        previous_start: format_micros(before.from),
        previous_end: format_micros(span.from),
        agents: match selection {
            Selection::Fleet => Vec::new(),
            Selection::Agents(agents) => agents,
        },
        kpis: kpis(&compared),
        as_of,
    };
    json(&headers, &answer, &answer.as_of, Caching::until_day(*days.end()))
}

/// How a figure is to be read.
type Reading = (Unit, Desired);

fn kpis(compared: &Compared) -> Vec<Kpi> {
    use Desired::{Decrease, Increase, Neutral};
    let users = |f: &Figures| f.users.count();
    let share = |part: i64, whole: i64| (whole > 0).then(|| part as f64 / whole as f64 * 100.0);
    let returning = intersection_count(&compared.now.users, &compared.then.users) as f64;
    let period = if compared.is_uptime_by_hour { "hours" } else { "days" };
    let uptime =
        format!("Share of {period} with traffic in which fewer than half of the events were errors; {period} without traffic do not count");
    let count = |name, cover: Cover, get: &dyn Fn(&Figures) -> i64, desired, description: &str| {
        let then = Some(get(&compared.then) as f64).filter(|_| !cover.is_uneven);
        kpi(name, (Some(get(&compared.now) as f64), then), cover, (Unit::Count, desired), description)
    };
    let level = |name, cover: Cover, get: &dyn Fn(&Figures) -> Option<f64>, reading: Reading, description: &str| {
        kpi(name, (get(&compared.now), get(&compared.then)), cover, reading, description)
    };
    let of_users = |name, now: Option<f64>, then: Option<f64>, description: &str| {
        let then = then.filter(|_| compared.has_users_before);
        kpi(name, (now, then), compared.users, (Unit::Count, Increase), description)
    };
    let dollars = |f: &Figures| numbers::dollars(f.counts.cost_nanousd, f.counts.cost_n);
    let per_user = |f: &Figures| (users(f) > 0).then(|| f.users_messages as f64 / users(f) as f64);
    let (now, then, counts, sum) = (&compared.now, &compared.then, compared.counts, compared.sum);
    vec![
        count(("total_messages", "Total Messages"), counts, &|f| f.counts.messages, Increase, "Messages that users sent"),
        count(("responses", "Responses"), sum, &|f| f.sum.of_type(MessageType::AgentResponse), Increase, "Answers that agents gave"),
        level(
            ("error_rate", "Error Rate"),
            counts,
            &|f| share(f.counts.errors, f.counts.messages),
            (Unit::Percent, Decrease),
            "Errors per 100 messages",
        ),
        level(
            ("average_response_time", "Avg Response Time"),
            counts,
            &|f| numbers::mean_ms(f.counts.latency_us, f.counts.latency_n),
            (Unit::Ms, Decrease),
            "Mean response time",
        ),
        level(
            ("p95_response_time", "P95 Response Time"),
            sum,
            &|f| percentile_ms(&f.sum, 0.95),
            (Unit::Ms, Decrease),
            "95 of 100 response times are at most this; an estimate within 2 %",
        ),
        count(("tokens", "Tokens"), counts, &|f| f.counts.tokens, Neutral, "Tokens used"),
        kpi(
            ("cost", "Cost"),
            (dollars(now), dollars(then).filter(|_| !counts.is_uneven)),
            counts,
            (Unit::Usd, Decrease),
            "Known cost; events whose price is unknown are not in it",
        ),
        kpi(
            ("active_agents", "Active Agents"),
            (now.active_agents.map(|n| n as f64), then.active_agents.map(|n| n as f64).filter(|_| !compared.agents.is_uneven)),
            compared.agents,
            (Unit::Count, Neutral),
            "Agents with at least one event",
        ),
        of_users(("unique_users", "Unique Users"), Some(users(now) as f64), Some(users(then) as f64), "Distinct users over the range"),
        of_users(("returning_users", "Returning Users"), Some(returning), None, "Users who were also there in the range before"),
        of_users(("messages_per_user", "Messages per User"), per_user(now), per_user(then), "Messages divided by unique users"),
        level(("uptime", "Uptime"), sum, &|f| f.uptime, (Unit::Percent, Increase), &uptime),
        level(
            ("feedback", "Feedback"),
            sum,
            &|f| f.sum.average_feedback(),
            (Unit::Points, Increase),
            "Mean of the feedback given, from 1 to 5",
        ),
        count(("errors", "Errors"), counts, &|f| f.counts.errors, Decrease, "Errors that agents reported"),
        count(("events", "Events"), counts, &|f| f.counts.events, Neutral, "Events of all kinds"),
    ]
}

fn kpi(
    name: (&'static str, &'static str),
    (now, then): (Option<f64>, Option<f64>),
    cover: Cover,
    (unit, desired): Reading,
    description: &str,
) -> Kpi {
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
        covers_from: cover.from.map(format_micros),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(now: Option<f64>, then: Option<f64>) -> (f64, ChangeType, bool) {
        let kpi = kpi(("id", "Title"), (now, then), Cover::default(), (Unit::Count, Desired::Neutral), "");
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
}
