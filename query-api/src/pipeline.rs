//! `GET /api/v1/pipeline`: how far each stage is behind the one before, for the page that shows the system's health.

use crate::AppState;
use crate::progress::Progress;
use crate::shards::{Spent, Stopped};
use axum::Json;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse as _, Response};
use event_log::{Bounds, LogError};
use futures::future::try_join_all;
use schemas::Problem;
use schemas::size::DOLLARS_PER_MILLION_WRITE_UNITS;
use schemas::time::{day_of, format_day, format_micros, now_micros};
use serde::Serialize;
use service_kit::problem::ApiError;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// An answer this old will do.
const FRESH_FOR: Duration = Duration::from_millis(500);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

pub(crate) fn router() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::new().routes(routes!(pipeline_read))
}

/// How far the pipeline is.
#[derive(Debug, Serialize, ToSchema)]
struct PipelineAnswer {
    /// Events that the log has and that are not counted yet.
    lag_records: u64,
    /// Age of the oldest of them, ms; 0 where there is none.
    lag_ms: i64,
    /// Events that the log ever took.
    accepted: u64,
    /// Those of them that are counted (or dead letters).
    counted: u64,
    /// Age of the newest totals in the live table, ms, while events wait to be counted; else 0.
    freshness_ms: i64,
    /// Today's events (UTC, by their own time), of all agents.
    today: TodayCounts,
    /// What counting cost in write units; null where no aggregator has told yet.
    #[schema(required)]
    write_units: Option<WriteUnits>,
    /// The partitions of the log.
    partitions: Vec<PartitionProgress>,
    /// Events that were refused after they were accepted.
    dead_letters: DeadLetterCounts,
    /// The live table of this replica.
    live_table: LiveTableState,
    /// Open streams of this replica.
    streams: usize,
    /// When this was so.
    #[schema(format = DateTime)]
    as_of: String,
}

/// The fleet's day, from the live table.
#[derive(Debug, Serialize, ToSchema)]
struct TodayCounts {
    /// The day.
    #[schema(format = Date)]
    date: String,
    /// Events stored and counted.
    events: i64,
    /// `error` events among them.
    errors: i64,
    /// Repeats that were recognised and not counted again.
    duplicates_skipped: i64,
}

/// Write units of the store that counting has cost, as the aggregators noted them with their checkpoints, some seconds ago.
/// What a killed process had not noted is missing.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct WriteUnits {
    /// As the store reported them, since `since`.
    total: u64,
    /// Since when they are counted.
    #[schema(format = DateTime)]
    since: String,
    /// Per 1,000 events finished for them; null where there are none.
    #[schema(required)]
    per_1000_events: Option<f64>,
    /// US dollars per million events at the price of a write unit on demand in us-east-1; null where there are none.
    #[schema(required)]
    dollars_per_million_events: Option<f64>,
}

impl From<Spent> for WriteUnits {
    fn from(spent: Spent) -> Self {
        let per_event = (spent.records > 0).then(|| spent.write_units as f64 / spent.records as f64);
        Self {
            total: spent.write_units,
            since: format_micros(spent.since_ms * 1_000),
            per_1000_events: per_event.map(|units| units * 1_000.0),
            dollars_per_million_events: per_event.map(|units| units * DOLLARS_PER_MILLION_WRITE_UNITS),
        }
    }
}

/// One partition of the log.
#[derive(Debug, Serialize, ToSchema)]
struct PartitionProgress {
    /// Its number.
    partition: u32,
    /// Offset of the oldest record there is.
    start: u64,
    /// Offset that the next record gets.
    end: u64,
    /// The next offset to count: everything before is counted.
    committed: u64,
    /// Records between the two.
    lag_records: u64,
    /// Why nothing of it is counted any more; null where it is.
    #[schema(required)]
    stopped: Option<PartitionStop>,
}

/// A partition that stopped because most of its records would have become dead letters. What is not counted stays in the
/// log.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
struct PartitionStop {
    /// Offset of the first record that was not buried.
    offset: u64,
    /// Why it would have been.
    reason: String,
    /// Records that died within a minute.
    dead_letters: u64,
    /// When it stopped.
    #[schema(format = DateTime)]
    at: String,
}

/// Dead letters that the log has.
#[derive(Debug, Serialize, ToSchema)]
struct DeadLetterCounts {
    /// How many.
    total: u64,
    /// How many of the newest 100,000 were redriven.
    redriven: u64,
    /// By reason, most frequent first; of the newest 100,000.
    by_reason: Vec<ReasonCount>,
}

/// Dead letters of one reason.
#[derive(Debug, Serialize, ToSchema)]
struct ReasonCount {
    /// The reason.
    reason: String,
    /// How many.
    count: u64,
}

/// How far the live table can be believed.
#[derive(Debug, Serialize, ToSchema)]
struct LiveTableState {
    /// Everything announced before this time is in it.
    #[schema(format = DateTime)]
    as_of: String,
    /// Whether it has read all totals once.
    is_caught_up: bool,
    /// Announcements that it has not read; null where the log did not say.
    #[schema(required)]
    lag_records: Option<u64>,
    /// Why it cannot read for now.
    #[schema(required)]
    trouble: Option<&'static str>,
    /// Rows: agents × days.
    rows: usize,
    /// First day held.
    #[schema(format = Date)]
    first_day: String,
    /// Last day held.
    #[schema(format = Date)]
    last_day: String,
}

/// How far each stage of the pipeline is behind
#[utoipa::path(
    get,
    path = "/api/v1/pipeline",
    operation_id = "getPipeline",
    tag = "health",
    responses(
        (status = 200, description = "Lag, dead letters and the live table", body = PipelineAnswer),
        (status = 503, description = "The log does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn pipeline_read(State(state): State<Arc<AppState>>) -> Result<Response, ApiError> {
    let as_of = format_micros(now_micros());
    let partitions = asked_partitions(&state.progress, FRESH_FOR).await?;
    let partitions = with_stops(partitions, state.store.stopped(), state.config.epoch);
    let lag_records = partitions.iter().map(|p| p.lag_records).sum();
    let lag_ms = lag_ms(&state.progress, &partitions).await;
    let dead = state.progress.dead_letters();
    let by_reason = dead.by_reason().into_iter().map(|(reason, count)| ReasonCount { reason: reason.to_string(), count }).collect();
    let dead_letters = DeadLetterCounts { total: dead.total(), redriven: dead.redriven(), by_reason };
    let now = now_micros();
    let today = state.live.fleet(day_of(now));
    let freshness_us = state.live.newest_flush().filter(|_| lag_records > 0).map_or(0, |at| (now - at).max(0));
    let answer = PipelineAnswer {
        lag_records,
        lag_ms,
        accepted: partitions.iter().map(|p| p.end).sum(),
        counted: partitions.iter().map(|p| p.committed).sum(),
        freshness_ms: freshness_us / 1_000,
        today: TodayCounts { date: format_day(today.day), events: today.calls, errors: today.errors, duplicates_skipped: today.duplicates },
        write_units: state.store.spent().map(WriteUnits::from),
        partitions,
        dead_letters,
        live_table: live_table(&state),
        streams: state.seats.taken(),
        as_of,
    };
    Ok(([(CACHE_CONTROL, "no-store")], Json(answer)).into_response())
}

/// How far the counting is behind the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lag {
    /// Records that are not counted.
    pub(crate) records: u64,
    /// Records that the log ever took.
    pub(crate) end: u64,
}

/// How far the counting is behind the log now.
pub(crate) async fn lag(state: &AppState) -> Result<Lag, ApiError> {
    let partitions = asked_partitions(&state.progress, Duration::ZERO).await?;
    Ok(Lag { records: partitions.iter().map(|p| p.lag_records).sum(), end: partitions.iter().map(|p| p.end).sum() })
}

async fn asked_partitions(progress: &Progress, fresh_for: Duration) -> Result<Vec<PartitionProgress>, ApiError> {
    match tokio::time::timeout(ANSWER_WITHIN, partitions(progress, fresh_for)).await {
        Ok(Ok(partitions)) => Ok(partitions),
        failure => {
            tracing::warn!(?failure, "the log did not answer for the pipeline");
            Err(ApiError::unavailable("the log does not answer at the moment; try again", 2))
        }
    }
}

async fn partitions(progress: &Progress, fresh_for: Duration) -> Result<Vec<PartitionProgress>, LogError> {
    let now = Instant::now();
    let since = now.checked_sub(fresh_for).unwrap_or(now);
    let look = progress.wait().look_since(since).await?;
    let committed = look.committed()?;
    let bounds = (0..progress.partitions().await?).map(|partition| progress.bounds(partition, since));
    let bounds = try_join_all(bounds).await?;
    let progress_of = |(partition, Bounds { start, end }): (u32, Bounds)| {
        let next = committed.next_of(partition).unwrap_or_default().max(start);
        // The offsets may be younger than the bounds.
        let end = end.max(next);
        PartitionProgress { partition, start, end, committed: next, lag_records: end - next, stopped: None }
    };
    Ok((0..).zip(bounds).map(progress_of).collect())
}

/// A partition that was committed beyond where it stopped has gone on.
fn with_stops(mut partitions: Vec<PartitionProgress>, stops: Vec<Stopped>, epoch: u32) -> Vec<PartitionProgress> {
    for stop in stops.into_iter().filter(|stop| stop.epoch == epoch) {
        if let Some(partition) = partitions.get_mut(stop.partition as usize).filter(|p| p.committed <= stop.offset) {
            let Stopped { offset, reason, dead_letters, at, .. } = stop;
            partition.stopped = Some(PartitionStop { offset, reason, dead_letters, at });
        }
    }
    partitions
}

async fn lag_ms(progress: &Progress, partitions: &[PartitionProgress]) -> i64 {
    let mut oldest: Option<i64> = None;
    for p in partitions.iter().filter(|p| p.lag_records > 0) {
        if let Ok(Some(at)) = progress.appended_at(p.partition, p.committed).await {
            oldest = Some(oldest.map_or(at, |o| o.min(at)));
        }
    }
    oldest.map_or(0, |at| (now_micros() / 1_000 - at).max(0))
}

fn live_table(state: &AppState) -> LiveTableState {
    let freshness = state.live.freshness();
    let (first, last) = state.live.days();
    LiveTableState {
        as_of: format_micros(freshness.as_of),
        is_caught_up: freshness.is_caught_up,
        lag_records: freshness.lag_records,
        trouble: freshness.trouble.map(|_| "the log cannot be read for now"),
        rows: state.live.row_count(),
        first_day: format_day(first),
        last_day: format_day(last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_went_on_is_not_told_as_stopped() {
        let partition =
            |partition, committed| PartitionProgress { partition, start: 0, end: 9, committed, lag_records: 9 - committed, stopped: None };
        let stop = |partition, epoch, offset| Stopped {
            partition,
            epoch,
            offset,
            reason: "undecodable".into(),
            dead_letters: 1_001,
            at: String::new(),
        };
        let partitions = vec![partition(0, 4), partition(1, 5), partition(2, 0)];
        let told = with_stops(partitions, vec![stop(0, 0, 4), stop(1, 0, 4), stop(2, 1, 4), stop(7, 0, 0)], 0);
        let stopped: Vec<_> = told.iter().map(|p| p.stopped.as_ref().map(|s| s.offset)).collect();
        assert_eq!(stopped, [Some(4), None, None]);
    }
}
