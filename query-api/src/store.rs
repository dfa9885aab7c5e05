//! Reads of the DynamoDB tables: bounded in number, retried when throttled. Knows keys and items, but neither HTTP
//! nor what the numbers mean. Writes nothing.
//!
//! Base tables are read consistently: once a receipt says "counted", the numbers contain the event.

mod events;
mod rollups;

pub(crate) use events::{EventFilter, EventKey, EventPage, EventRange, sort_key, time_of_key};
pub(crate) use rollups::Sums;

use crate::QueryConfig;
use crate::shards::{Shards, Spent, Stopped};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;
use event_log::Log;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use schemas::item::{AGENT_ID, CONVERSATION_INDEX, DATE, DIRECTORY_SHARDS, FIRST_SEEN, TableNames, directory_partition, s};
use schemas::rollup::Rollup;
use service_kit::admin::Readiness;
use service_kit::deletions::{self, Deletion};
use service_kit::metrics_tables::{FollowedTables, TableVersion};
use service_kit::problem::ApiError;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

type Item = HashMap<String, AttributeValue>;

/// Tries of one request, the first included.
const TRIES: u32 = 4;
/// Upper bound of the first pause between tries; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Partitions read at once for one question.
const WIDTH: usize = 16;
/// Directories up to this size are believed for a moment, larger ones for longer.
const SMALL_DIRECTORY: usize = 5_000;
/// How long a directory is believed, a small and a large one. However many ask, a small one is read twice a second at most.
const DIRECTORY_AGES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(30)];

/// Why the store could not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Throttled, not reachable, or a passing failure.
    #[error("{operation} failed for now: {code}")]
    Passing {
        /// The operation.
        operation: &'static str,
        /// The store's error code, or `no_answer`.
        code: String,
    },
    /// No retry can mend it.
    #[error("{operation} was refused: {code}: {message}")]
    Refused {
        /// The operation.
        operation: &'static str,
        /// The store's error code.
        code: String,
        /// The store's message.
        message: String,
    },
}

impl StoreError {
    /// Whether trying again later can help.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Passing { .. })
    }

    /// Whether a table is not there (yet).
    pub fn is_missing_table(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "ResourceNotFoundException")
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        if error.is_retryable() {
            tracing::warn!(%error, "the store did not answer");
            return Self::unavailable("the store cannot be read at the moment; try again", 2);
        }
        Self::internal(error)
    }
}

/// Judges a failed request.
pub(crate) fn failure<E: ProvideErrorMetadata, R>(operation: &'static str, error: &SdkError<E, R>) -> StoreError {
    let code = error.code().unwrap_or("no_answer").to_owned();
    ::metrics::counter!("query_store_failures_total", "operation" => operation, "code" => code.clone()).increment(1);
    let is_passing = match error {
        SdkError::ServiceError(e) => {
            matches!(
                code.as_str(),
                "ProvisionedThroughputExceededException"
                    | "ThrottlingException"
                    | "RequestLimitExceeded"
                    | "InternalServerError"
                    | "InternalServerErrorException"
                    | "ServiceUnavailable"
                    | "LimitExceededException"
                    | "TransactionInProgressException"
                    | "no_answer"
            ) || e.err().code().is_none()
        }
        SdkError::ConstructionFailure(_) => false,
        _ => true,
    };
    if is_passing {
        return StoreError::Passing { operation, code };
    }
    // Messages may echo requests: keep them short.
    let message = error.message().unwrap_or_default().chars().take(200).collect();
    StoreError::Refused { operation, code, message }
}

/// Days read at once to find one with events; nearly always the first is one.
const NEWEST_DAYS: i32 = 2;

/// Whose rollups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All agents.
    Fleet,
    /// These.
    Agents(Vec<String>),
}

/// The store, reading only. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    client: Client,
    tables: TableNames,
    requests: Semaphore,
    shards: Shards,
    /// Which version of the metrics table is read.
    metrics_tables: FollowedTables,
    has_conversation_index: bool,
    directory: tokio::sync::Mutex<KnownDirectory>,
}

#[derive(Debug, Default)]
struct KnownDirectory {
    read: Option<Directory>,
    /// When it was last tried in vain.
    failed_at: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Directory {
    agents: Arc<BTreeMap<String, i64>>,
    read_at: Instant,
}

impl Store {
    /// Looks which indexes the events table has and begins to follow the shard plans.
    pub async fn start(
        config: &QueryConfig,
        (client, tables): (Client, TableNames),
        log: &Arc<dyn Log>,
        readiness: Readiness,
        shutdown: CancellationToken,
    ) -> Result<Self, StoreError> {
        let described =
            client.describe_table().table_name(&tables.events).send().await.map_err(|error| failure("DescribeTable", &error))?;
        let has_conversation_index =
            described.table().is_some_and(|t| t.global_secondary_indexes().iter().any(|i| i.index_name() == Some(CONVERSATION_INDEX)));
        let metrics_tables = FollowedTables::start(&client, &tables, shutdown.clone())
            .await
            .map_err(|error| StoreError::Passing { operation: "GetItem", code: error.to_string() })?;
        let shards =
            Shards::start((client.clone(), tables.clone()), (Arc::clone(log), config.topic_events.clone()), readiness, shutdown).await?;
        let inner = Inner {
            client,
            tables,
            requests: Semaphore::new(config.store_requests),
            shards,
            metrics_tables,
            has_conversation_index,
            directory: tokio::sync::Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The metrics table that is read now. A rebuild may change it between two requests; both tables are kept up to date
    /// until every reader has had the time to change over. Whoever cannot have heard of a change must not answer: its table
    /// may be written no more.
    pub(crate) fn metrics_table(&self) -> Result<TableVersion, StoreError> {
        if self.inner.metrics_tables.is_stale() {
            return Err(StoreError::Passing {
                operation: "GetItem",
                code: "the control table did not say which metrics table is read".into(),
            });
        }
        Ok(self.inner.metrics_tables.now().served)
    }

    /// What counting has cost, not more than some seconds ago; `None` where no aggregator has told.
    pub(crate) fn spent(&self) -> Option<Spent> {
        self.inner.shards.spent()
    }

    /// Partitions that an aggregator stopped, as known some seconds ago; some may have gone on since.
    pub(crate) fn stopped(&self) -> Vec<Stopped> {
        self.inner.shards.stopped()
    }

    /// Whether the events table has `ConversationIndex`.
    pub(crate) fn has_conversation_index(&self) -> bool {
        self.inner.has_conversation_index
    }

    /// All deletions of events.
    pub(crate) async fn deletions(&self) -> Result<Vec<Deletion>, StoreError> {
        let mut pages = std::pin::pin!(self.clone().pages(deletions::query(&self.inner.client, &self.inner.tables)));
        let mut deletions = Vec::new();
        while let Some(page) = pages.try_next().await? {
            deletions.extend(page.iter().filter_map(Deletion::of_item));
        }
        Ok(deletions)
    }

    /// The newest day of an agent that has events, by its rollup.
    pub(crate) async fn newest_day(&self, agent_id: &str) -> Result<Option<Rollup>, StoreError> {
        let request = self
            .inner
            .client
            .query()
            .table_name(self.metrics_table()?.name)
            .key_condition_expression("#p = :p")
            .expression_attribute_names("#p", AGENT_ID)
            .expression_attribute_values(":p", s(agent_id))
            .consistent_read(true)
            .scan_index_forward(false)
            .limit(NEWEST_DAYS);
        let mut pages = std::pin::pin!(self.clone().pages(request));
        while let Some(page) = pages.try_next().await? {
            // Of a day whose events were all deleted only the frame is left.
            if let Some(newest) = page.iter().map(Rollup::from_item).find(|day| day.calls > 0) {
                return Ok(Some(newest));
            }
        }
        Ok(None)
    }

    /// Whether the directory knows the agent.
    pub(crate) async fn is_known(&self, agent_id: &str) -> Result<bool, StoreError> {
        Ok(self.first_seen(agent_id).await?.is_some())
    }

    /// When the agent was first seen, µs; `None` where the directory does not know it.
    pub(crate) async fn first_seen(&self, agent_id: &str) -> Result<Option<i64>, StoreError> {
        let request = self
            .inner
            .client
            .get_item()
            .table_name(self.metrics_table()?.name)
            .key(AGENT_ID, s(directory_partition(agent_id)))
            .key(DATE, s(agent_id))
            .consistent_read(true);
        let item = self.tried("GetItem", || request.clone().send()).await?.item;
        Ok(item.map(|item| item.get(FIRST_SEEN).and_then(|v| v.as_n().ok()?.parse().ok()).unwrap_or(0)))
    }

    /// All agents ever seen, with the time (µs) of the first sight, as of a moment ago; a large directory may be half a minute
    /// old. Whoever asks while it is read shares what comes of it.
    pub(crate) async fn directory(&self) -> Result<Arc<BTreeMap<String, i64>>, StoreError> {
        let asked_at = Instant::now();
        let mut known = self.inner.directory.lock().await;
        if let Some(directory) = &known.read {
            let [small, large] = DIRECTORY_AGES;
            let age = if directory.agents.len() > SMALL_DIRECTORY { large } else { small };
            if directory.read_at >= asked_at || directory.read_at.elapsed() < age {
                return Ok(Arc::clone(&directory.agents));
            }
        }
        // A store that is silent would be asked by one after the other.
        if known.failed_at.is_some_and(|failed_at| failed_at >= asked_at) {
            return Err(StoreError::Passing { operation: "Query", code: "no_answer".into() });
        }
        let read_at = Instant::now();
        match self.read_directory().await {
            Ok(agents) => {
                let agents = Arc::new(agents);
                known.read = Some(Directory { agents: Arc::clone(&agents), read_at });
                Ok(agents)
            }
            Err(error) => {
                known.failed_at = error.is_retryable().then_some(Instant::now());
                Err(error)
            }
        }
    }

    async fn read_directory(&self) -> Result<BTreeMap<String, i64>, StoreError> {
        let table = self.metrics_table()?.name;
        let pages = (0..DIRECTORY_SHARDS).map(|shard| {
            let request = self
                .inner
                .client
                .query()
                .table_name(&table)
                .key_condition_expression("#p = :p")
                .expression_attribute_names("#p", AGENT_ID)
                .expression_attribute_values(":p", s(format!("#agents~{shard}")))
                .consistent_read(true);
            Box::pin(self.clone().pages(request))
        });
        let mut pages = stream::iter(pages).flatten_unordered(WIDTH);
        let mut agents = BTreeMap::new();
        while let Some(page) = pages.try_next().await? {
            agents.extend(page.iter().filter_map(|item| {
                let first_seen = item.get(FIRST_SEEN)?.as_n().ok()?.parse().ok()?;
                Some((text(item, DATE)?.to_owned(), first_seen))
            }));
        }
        Ok(agents)
    }

    /// All pages of a query.
    fn pages(self, request: QueryFluentBuilder) -> impl futures::Stream<Item = Result<Vec<Item>, StoreError>> {
        stream::try_unfold((self, Some(request)), |(store, request)| async move {
            let Some(request) = request else { return Ok(None) };
            let answer = store.query(request.clone()).await?;
            let next = answer.last_evaluated_key.map(|key| request.set_exclusive_start_key(Some(key)));
            Ok(Some((answer.items.unwrap_or_default(), (store, next))))
        })
    }

    async fn query(&self, request: QueryFluentBuilder) -> Result<QueryOutput, StoreError> {
        self.tried("Query", || request.clone().send()).await
    }

    /// Sends a request, within the bound of requests under way, again while the failure may pass.
    async fn tried<T, E, F>(&self, operation: &'static str, send: impl Fn() -> F) -> Result<T, StoreError>
    where
        E: ProvideErrorMetadata,
        F: Future<Output = Result<T, SdkError<E>>>,
    {
        let closed = |_| StoreError::Passing { operation, code: "closed".into() };
        let mut pause = FIRST_PAUSE;
        let mut tries = 0;
        loop {
            let permit = self.inner.requests.acquire().await.map_err(closed)?;
            let started = Instant::now();
            let answer = send().await;
            drop(permit);
            ::metrics::histogram!("query_store_request_duration_seconds", "operation" => operation).record(started.elapsed().as_secs_f64());
            tries += 1;
            match answer.map_err(|error| failure(operation, &error)) {
                Err(error) if error.is_retryable() && tries < TRIES => tokio::time::sleep(jittered(pause)).await,
                answer => return answer,
            }
            pause *= 2;
        }
    }
}

fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name).and_then(|v| v.as_s().ok()).map(String::as_str)
}

/// A random part of `pause`, so that clients who were throttled together do not come back together.
fn jittered(pause: Duration) -> Duration {
    let random = uuid::Uuid::new_v4().as_u128() as u32;
    pause.mul_f64(f64::from(random) / f64::from(u32::MAX))
}
