//! `GET /api/v1/reconciliation`: what became of the records of one day of the log, from counters that add under marks.

use crate::AppState;
use crate::answer::{Caching, json};
use crate::parameters::Parameters;
use crate::store::Selection;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use schemas::Problem;
use schemas::time::{day_of, format_day, format_micros, now_micros};
use serde::Serialize;
use service_kit::deletions::Stage;
use service_kit::problem::ApiError;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn router() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::new().routes(routes!(reconciliation_read))
}

/// What became of the events that were logged on one day.
#[derive(Debug, Serialize, ToSchema)]
struct Reconciliation {
    /// The day (UTC) on which the log took them, whatever their own time says.
    #[schema(format = Date)]
    date: String,
    /// Records that the log took and that are counted.
    logged: i64,
    /// Those that are stored and counted as events.
    inserted: i64,
    /// Those that repeat a stored event: recognised, and not counted again.
    duplicates: i64,
    /// Those that could not be processed; see `/api/v1/pipeline` for the reasons.
    dead_letters: i64,
    /// Whether `logged` is the sum of the three. They are written together, so only tampering makes it false.
    adds_up: bool,
    /// Events that gateways answered with success on that day; null where none of them told.
    #[schema(required)]
    accepted: Option<u64>,
    /// `logged - accepted`: events in the log whose client may not know it (it had no answer and sends them again). While
    /// events are on their way, and around midnight, it can be below 0; null where `accepted` is.
    #[schema(required)]
    unacknowledged: Option<i64>,
    /// All days together, against the rollups.
    totals: Totals,
    /// Records of the log that are not counted yet.
    pending: u64,
    /// When this was so.
    #[schema(format = DateTime)]
    as_of: String,
}

/// Everything that was ever inserted is in the fleet's rollups, once, unless it was deleted.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct Totals {
    /// Records that became events, over all days of append.
    inserted: i64,
    /// Of these, events that were deleted since (`aggregator delete`), and subtracted from the rollups.
    deleted: i64,
    /// Whether some are being deleted at this moment, or that was interrupted and `aggregator delete --resume` has to end it.
    is_deleting: bool,
    /// Events in the fleet's rollups, over all days that events tell of.
    rollups: i64,
    /// Whether `inserted` is `rollups + deleted`; null while events are on their way, since the two are written one after the other,
    /// while some are being deleted, and where some were counted before records were.
    #[schema(required)]
    agrees: Option<bool>,
}

/// The totals as they were last read: they take a look at every day that there is, so equal questions share one, and the more
/// it takes the longer it is believed.
#[derive(Debug, Default)]
pub(crate) struct AllRecords(Mutex<Option<Read>>);

#[derive(Clone, Copy, Debug)]
struct Read {
    totals: Totals,
    until: Instant,
}

/// Totals are believed so many times as long as it took to read them, within these bounds.
const BELIEVED: (u32, Duration, Duration) = (20, Duration::from_millis(500), Duration::from_secs(300));

impl AllRecords {
    async fn totals(&self, state: &AppState) -> Result<Totals, ApiError> {
        let mut last = self.0.lock().await;
        if let Some(read) = last.filter(|read| Instant::now() < read.until) {
            return Ok(read.totals);
        }
        let begun = Instant::now();
        let before = crate::pipeline::lag(state).await?;
        let records = state.store.records(DAYS).await?;
        let fleet = state.store.days(&Selection::Fleet, DAYS).await?;
        let deletions = state.store.deletions().await?;
        let after = crate::pipeline::lag(state).await?;
        let logged: i64 = records.values().map(|day| day.logged).sum();
        let (inserted, rollups) = (records.values().map(|day| day.inserted).sum(), fleet.values().map(|day| day.calls).sum());
        let is_still = before.records == 0 && after == before;
        let is_all = u64::try_from(logged).is_ok_and(|logged| logged >= after.end);
        let is_deleting = deletions.iter().any(|deletion| deletion.stage != Stage::Done);
        let deleted = deletions.iter().map(|deletion| i64::try_from(deletion.events).unwrap_or(i64::MAX)).sum();
        let agrees = (is_still && is_all && !is_deleting).then_some(inserted == rollups + deleted);
        let totals = Totals { inserted, deleted, is_deleting, rollups, agrees };
        let (times, least, most) = BELIEVED;
        *last = Some(Read { totals, until: Instant::now() + (begun.elapsed() * times).clamp(least, most) });
        Ok(totals)
    }
}

/// What became of the records of one day of the log
///
/// Every record is inserted, a duplicate or a dead letter. `agent-tally verify` counts it all again from the events themselves.
#[utoipa::path(
    get,
    path = "/api/v1/reconciliation",
    operation_id = "getReconciliation",
    tag = "health",
    params(
        ("date" = Option<String>, Query, format = Date, description = "Day of the log (UTC); today where absent"),
    ),
    responses(
        (status = 200, description = "The day's records and all days' totals", body = Reconciliation),
        (status = 422, description = "No such day", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The log or the store does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn reconciliation_read(
    State(state): State<Arc<AppState>>,
    mut parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let day = parameters.day("date");
    parameters.check()?;
    let day = day.unwrap_or_else(|| day_of(now_micros()));
    let as_of = format_micros(now_micros());
    let of_day = state.store.records(day..=day).await?.remove(&day).unwrap_or_default();
    // Just after a start the gateways' words are not all read.
    let accepted = state.live.accepted(day).filter(|_| state.live.freshness().is_caught_up);
    let totals = state.all_records.totals(&state).await?;
    let pending = crate::pipeline::lag(&state).await?.records;
    let answer = Reconciliation {
        date: format_day(day),
        logged: of_day.logged,
        inserted: of_day.inserted,
        duplicates: of_day.duplicates,
        dead_letters: of_day.dead_letters,
        adds_up: of_day.logged == of_day.inserted + of_day.duplicates + of_day.dead_letters,
        accepted,
        unacknowledged: accepted.map(|accepted| of_day.logged - i64::try_from(accepted).unwrap_or(i64::MAX)),
        totals,
        pending,
        as_of: as_of.clone(),
    };
    json(&headers, &answer, &as_of, Caching::Revalidate)
}

/// Every day that an event may tell of: 2000-01-01 to 2100-01-01.
const DAYS: std::ops::RangeInclusive<i32> = 10_957..=47_482;
