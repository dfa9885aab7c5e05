//! `GET /api/v1/errors`: errors grouped by their type and the shape of their message, with how they came over time, whom
//! they hit, and one of each. What an answer costs and holds is bounded by the events read and the groups kept.

mod groups;
mod reading;

use crate::AppState;
use crate::answer::{Caching, as_of_now, json};
use crate::events::Event;
use crate::parameters::Parameters;
use crate::store::Selection;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use groups::{Group, Groups, Trend};
use reading::Asked;
use schemas::Problem;
use schemas::item::StoredEvent;
use schemas::time::{DAY_US, day_of, format_micros, now_micros};
use serde::Serialize;
use service_kit::problem::ApiError;
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn router() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::new().routes(routes!(errors_read))
}

/// Agents of a group that are named.
const NAMED_AGENTS: usize = 10;
/// Longest content, error details and metadata of an example, bytes.
const LONGEST_TEXT: usize = 4_096;

/// Errors by type and shape.
#[derive(Debug, Serialize, ToSchema)]
struct ErrorsAnswer {
    /// The groups, most errors first.
    items: Vec<ErrorGroup>,
    /// Errors read, all groups together.
    total: u64,
    /// Groups, those beyond `limit` included.
    groups: usize,
    /// When the first interval of each `trend` begins.
    #[schema(format = DateTime)]
    trend_start: String,
    /// Length of an interval of `trend`, seconds.
    trend_interval_s: i64,
    /// Whether all errors of the range were read; else only the newest.
    is_complete: bool,
    /// From when on all errors are in the numbers; null where the whole range is.
    #[schema(required, format = DateTime)]
    complete_from: Option<String>,
    /// When the range begins.
    #[schema(format = DateTime)]
    start: String,
    /// When the range ends; the first moment that is no longer part of it.
    #[schema(format = DateTime)]
    end: String,
    /// The agents asked for; empty for all.
    agents: Vec<String>,
    /// Every event that was counted before this time is there.
    #[schema(format = DateTime)]
    as_of: String,
}

/// Errors of one type and shape.
#[derive(Debug, Serialize, ToSchema)]
struct ErrorGroup {
    /// The same for the same type and shape, on every server.
    id: String,
    /// Kind of the errors; null where they name none.
    #[schema(required)]
    error_type: Option<String>,
    /// Their message (`error_details`, else `content`) with placeholders for what differs: `<n>`, `<id>`, `<uuid>`, `<hex>`,
    /// `<text>`, `<time>`, `<url>`. `(other)` has what is beyond 2,000 groups.
    shape: String,
    /// How many.
    count: u64,
    /// The share of all errors read, 0 to 1.
    share: f64,
    /// Agents that had one.
    agents_affected: usize,
    /// Those with the most, at most 10.
    agents: Vec<ErrorAgent>,
    /// Time of the oldest one read.
    #[schema(format = DateTime)]
    first_seen: String,
    /// Time of the newest one.
    #[schema(format = DateTime)]
    last_seen: String,
    /// How many by interval, from `trend_start` on.
    trend: Vec<u32>,
    /// The newest one.
    example: Event,
    /// Whether texts of the example are cut at 4 KiB (or, `metadata`, left out); its permalink has the whole.
    is_example_cut: bool,
    /// The newest ones, at most 5.
    recent: Vec<ErrorPlace>,
}

/// How many errors of a group one agent had.
#[derive(Debug, Serialize, ToSchema)]
struct ErrorAgent {
    /// The agent.
    agent_id: String,
    /// How many.
    count: u64,
}

/// Where an error is to be found: the parts of its permalink.
#[derive(Debug, Serialize, ToSchema)]
struct ErrorPlace {
    /// The agent.
    agent_id: String,
    /// When.
    #[schema(format = DateTime)]
    timestamp: String,
    /// The event's id.
    event_id: String,
}

/// Errors by type and shape
///
/// Of all agents or of up to 50, by default of the last 7 days: the newest 20,000 errors at most.
#[utoipa::path(
    get, path = "/api/v1/errors", operation_id = "listErrors", tag = "events",
    params(
        ("agents" = Option<String>, Query, description = "Agent ids, comma separated, at most 50; all agents where absent"),
        ("start_date" = Option<String>, Query, description = "First day, UTC (`2026-01-31`), or a time (`2026-01-31T12:00:00Z`); 7 days before the end where absent"),
        ("end_date" = Option<String>, Query, description = "Last day, UTC, inclusive, or a time, exclusive; now where absent"),
        ("limit" = Option<i32>, Query, minimum = 1, maximum = 1000, description = "Groups; 100 where absent"),
    ),
    responses(
        (status = 200, body = ErrorsAnswer),
        (status = 422, description = "A parameter is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store cannot be read", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn errors_read(State(state): State<Arc<AppState>>, headers: HeaderMap, mut parameters: Parameters) -> Result<Response, ApiError> {
    let selection = parameters.selection();
    let limit = parameters.limit();
    // Clients' clocks may be ahead, so an absent end is not now for the events, but it is for the trend.
    let has_end = parameters.has("end_date");
    let span = parameters.moments(DEFAULT_US);
    parameters.check()?;
    let as_of = as_of_now();
    let mut groups = Groups::new(Trend::of(span));
    let asked = Asked { selection: &selection, from: span.from, to: if has_end { span.to } else { now_micros() + DAY_US } };
    let complete_from = reading::read(&state, &asked, &mut groups).await?;
    let (trend_start, trend_interval_s) = groups.trend().described();
    let (total, count) = (groups.total(), groups.len());
    let answer = ErrorsAnswer {
        items: groups.into_largest(limit).into_iter().map(|group| ErrorGroup::of(group, total)).collect(),
        total,
        groups: count,
        trend_start: format_micros(trend_start),
        trend_interval_s,
        is_complete: complete_from.is_none(),
        complete_from: complete_from.map(format_micros),
        start: format_micros(span.from),
        end: format_micros(span.to + 1),
        agents: match selection {
            Selection::Fleet => Vec::new(),
            Selection::Agents(agents) => agents,
        },
        as_of,
    };
    json(&headers, &answer, &answer.as_of, Caching::until_day(day_of(span.to)))
}

/// The range where none is given, µs.
const DEFAULT_US: i64 = 7 * DAY_US;

impl ErrorGroup {
    fn of(group: Group, total: u64) -> Self {
        let mut agents: Vec<(String, u64)> = group.agents.into_iter().map(|(agent, count)| (agent.to_string(), count)).collect();
        agents.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let agents_affected = agents.len();
        agents.truncate(NAMED_AGENTS);
        Self {
            id: group.id,
            error_type: group.error_type,
            shape: group.shape,
            count: group.count,
            share: group.count as f64 / total.max(1) as f64,
            agents_affected,
            agents: agents.into_iter().map(|(agent_id, count)| ErrorAgent { agent_id, count }).collect(),
            first_seen: format_micros(group.first_seen),
            last_seen: format_micros(group.last_seen),
            trend: group.trend,
            example: group.example.into(),
            is_example_cut: group.is_example_cut,
            recent: group
                .recent
                .into_iter()
                .map(|(agent_id, at, event_id)| ErrorPlace { agent_id: agent_id.to_string(), timestamp: format_micros(at), event_id })
                .collect(),
        }
    }
}

/// Cuts the long texts of an example; whether there were any.
fn cut(stored: &mut StoredEvent) -> bool {
    let mut is_cut = false;
    for text in [&mut stored.event.content, &mut stored.event.error_details].into_iter().flatten() {
        if text.len() > LONGEST_TEXT {
            let end = (0..=LONGEST_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(end);
            text.shrink_to_fit();
            is_cut = true;
        }
    }
    if stored.event.metadata.as_ref().is_some_and(|json| json.len() > LONGEST_TEXT) {
        stored.event.metadata = None;
        is_cut = true;
    }
    is_cut
}
