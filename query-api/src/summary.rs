//! `GET /api/v1/metrics/summary`: the numbers of the fleet, or of some agents together, over days or times.

use crate::AppState;
use crate::answer::{Caching, as_of_now, json};
use crate::metrics::Metrics;
use crate::numbers;
use crate::parameters::{Parameters, Period};
use crate::store::Selection;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use schemas::Problem;
use schemas::time::{DAY_US, HOUR_US, format_day, format_micros};
use serde::Serialize;
use service_kit::problem::ApiError;
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn router() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::new().routes(routes!(summary_read))
}

/// Numbers over a range, all agents asked for together.
#[derive(Debug, Serialize, ToSchema)]
struct SummaryAnswer {
    /// First day.
    #[schema(format = Date)]
    start_date: String,
    /// Last day.
    #[schema(format = Date)]
    end_date: String,
    /// When the range begins.
    #[schema(format = DateTime)]
    start: String,
    /// When it ends; the first moment that is no longer part of it.
    #[schema(format = DateTime)]
    end: String,
    /// The agents asked for; empty for all.
    agents: Vec<String>,
    /// The numbers.
    metrics: Metrics,
    /// From when on the numbers count, where that is earlier than asked: times cover the whole hours that they touch.
    #[schema(required, format = DateTime)]
    covers_from: Option<String>,
    /// The same of the users, who are known by whole days.
    #[schema(required, format = DateTime)]
    users_cover_from: Option<String>,
    /// Every event that was counted before this time is in the numbers.
    #[schema(format = DateTime)]
    as_of: String,
}

/// Numbers over a range
///
/// Of all agents, or of up to 50 together; by default over the last 7 days. With a time as `start_date` or `end_date` the
/// range is from that moment to before that moment, in whole hours.
#[utoipa::path(
    get, path = "/api/v1/metrics/summary", operation_id = "getSummary", tag = "metrics",
    params(
        ("start_date" = Option<String>, Query, description = "First day, UTC (`2026-01-31`), or a time (`2026-01-31T12:00:00Z`)"),
        ("end_date" = Option<String>, Query, description = "Last day, UTC, inclusive, or a time, exclusive; with a time as `start_date`, now where absent"),
        ("days" = Option<i32>, Query, minimum = 1, maximum = 400, description = "Days ending today (or at `end_date`); 7 where absent"),
        ("agents" = Option<String>, Query, description = "Agent ids, comma separated, at most 50; all agents where absent"),
    ),
    responses(
        (status = 200, body = SummaryAnswer),
        (status = 422, description = "A parameter is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store cannot be read", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn summary_read(State(state): State<Arc<AppState>>, headers: HeaderMap, mut parameters: Parameters) -> Result<Response, ApiError> {
    let selection = parameters.selection();
    let period = parameters.period(7);
    parameters.check()?;
    let (days, span) = (period.days(), period.span());
    let as_of = as_of_now();
    let sums = async {
        match &period {
            Period::Days(days) => state.store.sums_of_days(&selection, days.clone()).await,
            Period::Times(span) => state.store.sums_of_span(&selection, *span).await,
        }
    };
    let (sums, users) = tokio::try_join!(sums, state.store.users(&selection, days.clone()))?;
    let earlier = |unit: i64| Some(span.from.div_euclid(unit) * unit).filter(|from| *from < span.from).map(format_micros);
    let answer = SummaryAnswer {
        start_date: format_day(*days.start()),
        end_date: format_day(*days.end()),
        start: format_micros(span.from),
        end: format_micros(span.to + 1),
        agents: match selection {
            Selection::Fleet => Vec::new(),
            Selection::Agents(agents) => agents,
        },
        metrics: Metrics::of(&sums.total(), &numbers::united(users.into_values())),
        covers_from: earlier(HOUR_US),
        users_cover_from: earlier(DAY_US),
        as_of,
    };
    json(&headers, &answer, &answer.as_of, Caching::until_day(*days.end()))
}
