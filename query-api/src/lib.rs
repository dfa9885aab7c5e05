//! Everything that is read: REST, SSE, WebSocket, the API's own description, and the built dashboard.
//!
//! Reads DynamoDB (history, hours, percentiles, raw events) and the log (live totals, the tail of raw events,
//! committed offsets). Never writes events or rollups; the sessions of the sign-in page are service-kit's to write.
//!
//! A request passes `router` (who may ask), a file named after what is asked for (`agents`, `metrics`,
//! `series`, `kpis`, `events`, `conversations`, `receipts`, `dead_letters`, `stream`) and `store` or `live_table`.

mod agents;
mod answer;
mod backoff;
mod config;
mod conversations;
mod cursor;
mod dashboard;
mod dead_letters;
mod docs;
mod error_shape;
mod errors;
mod event_days;
mod event_pages;
mod events;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod kpis;
pub mod live_table;
#[cfg(test)]
mod memory_log;
mod metrics;
mod numbers;
mod openapi;
mod parameters;
mod pipeline;
mod progress;
mod receipts;
mod reconciliation;
mod registry;
mod router;
mod series;
mod serve;
mod session;
mod shards;
pub mod store;
mod stream;
mod summary;
mod tail;
mod vitals;

pub use config::QueryConfig;
pub use serve::{ServeConfig, serve};

use crate::backoff::Backoff;
use crate::live_table::LiveTable;
use crate::progress::Progress;
use crate::session::Sessions;
use crate::store::Store;
use crate::stream::Seats;
use crate::tail::Tail;
use aws_sdk_dynamodb::Client;
use event_log::Log;
use schemas::item::TableNames;
use service_kit::admin::Readiness;
use service_kit::auth::Authenticator;
use service_kit::imported;
use service_kit::store::patient;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What the query API works with; made by the caller, so that the standalone binary and the tests start the real thing.
#[derive(Debug)]
pub struct QueryParts {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The store.
    pub store: Client,
    /// The store's tables.
    pub tables: TableNames,
    /// Who may read.
    pub auth: Authenticator,
    /// Where the service says what is not ready.
    pub readiness: Readiness,
    /// Ends the background work.
    pub shutdown: CancellationToken,
}

/// What every handler sees.
#[derive(Debug)]
pub struct AppState {
    /// The configuration.
    pub config: QueryConfig,
    /// The log.
    pub log: Arc<dyn Log>,
    /// The store, reading only.
    pub store: Store,
    /// Who may read.
    pub auth: Authenticator,
    /// Where the service says what is not ready.
    pub readiness: Readiness,
    /// Totals of agents and days, from the compacted topic.
    pub live: Arc<LiveTable>,
    /// Raw events as they are appended to the log.
    pub tail: Arc<Tail>,
    /// How far the aggregators are.
    pub progress: Arc<Progress>,
    /// What became of all records, as last read.
    pub(crate) all_records: reconciliation::AllRecords,
    /// Who follows a stream.
    pub seats: Arc<Seats>,
    /// Ends streams and waiting requests.
    pub shutdown: CancellationToken,
}

/// The running query API.
#[derive(Clone, Debug)]
pub struct QueryApi {
    state: Arc<AppState>,
    sessions: Sessions,
}

impl QueryApi {
    /// Starts reading the live topic and the shard plans.
    ///
    /// Fails where the configuration cannot work or the store cannot be read.
    pub async fn start(config: QueryConfig, parts: QueryParts) -> anyhow::Result<Self> {
        config.validate()?;
        let QueryParts { log, store, tables, auth, readiness, shutdown } = parts;
        let sessions = Sessions { store: store.clone(), tables: tables.clone() };
        let store = reached_store(&config, (store, tables), &log, &readiness, &shutdown).await?;
        imported::check(&patient(&sessions.store), &sessions.tables, config.epoch).await?;
        let live = LiveTable::start(&config, Arc::clone(&log), store.clone(), shutdown.clone())?;
        let tail = Tail::start(&config, Arc::clone(&log), shutdown.clone())?;
        let progress = Progress::start(&config, Arc::clone(&log), shutdown.clone())?;
        let seats = Seats::new(config.streams);
        let all_records = reconciliation::AllRecords::default();
        let state = AppState { config, log, store, auth, readiness, live, tail, progress, all_records, seats, shutdown };
        Ok(Self { state: Arc::new(state), sessions })
    }

    /// Every path of the API and, where configured, the dashboard; without the layers that all services share and
    /// without the health paths, which the binary adds once however many services it holds.
    pub fn router(&self) -> axum::Router {
        router::router(Arc::clone(&self.state), self.sessions.clone())
    }
}

/// How long the store is waited for; the aggregator may be about to create its tables.
const STORE_WITHIN: Duration = Duration::from_secs(60);

async fn reached_store(
    config: &QueryConfig,
    (client, tables): (Client, TableNames),
    log: &Arc<dyn Log>,
    readiness: &Readiness,
    shutdown: &CancellationToken,
) -> anyhow::Result<Store> {
    let deadline = tokio::time::Instant::now() + STORE_WITHIN;
    let mut backoff = Backoff::default();
    loop {
        match Store::start(config, (client.clone(), tables.clone()), log, readiness.clone(), shutdown.clone()).await {
            Ok(store) => return Ok(store),
            Err(error) if (error.is_retryable() || error.is_missing_table()) && tokio::time::Instant::now() < deadline => {
                readiness.set("store", Err(error.to_string()));
                if shutdown.run_until_cancelled(backoff.pause()).await.is_none() {
                    return Err(error.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}
