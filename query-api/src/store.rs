//! Reads of the DynamoDB tables: bounded in number, retried when throttled. Knows keys and items, but neither HTTP
//! nor what the numbers mean. Writes nothing.
//!
//! Base tables are read consistently: once a receipt says "counted", the numbers contain the event.

use crate::QueryConfig;
use crate::shards::Shards;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use event_log::Log;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use schemas::item::{
    AGENT_ID, CONVERSATION_ID, CONVERSATION_INDEX, DATE, DIRECTORY_SHARDS, FIRST_SEEN, MESSAGE_TYPE_INDEX, MetricKey, Period, StoredEvent,
    Subject, TIMESTAMP, TYPE_KEY, TableNames, USER_SET, directory_partition, event_of_item, event_partition_keys, event_sort_key,
    parse_event_sort_key, s,
};
use schemas::rollup::Rollup;
use schemas::users::UserSet;
use service_kit::problem::ApiError;
use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
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
/// Items that `BatchGetItem` takes.
const BATCH: usize = 100;
/// Directories up to this size are read anew for each question.
const SMALL_DIRECTORY: usize = 5_000;
/// How long a larger directory is believed; newer agents are in the live table.
const DIRECTORY_AGE: Duration = Duration::from_secs(30);

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
        SdkError::ServiceError(e) => matches!(
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
        ) || e.err().code().is_none(),
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

/// Whose rollups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All agents.
    Fleet,
    /// These.
    Agents(Vec<String>),
}

/// The page of events between two bounds of the sort key.
#[derive(Clone, Debug)]
pub(crate) struct EventRange {
    /// µs, inclusive.
    pub(crate) from: i64,
    /// µs, inclusive.
    pub(crate) to: i64,
    /// Only events with a smaller sort key (or, where `at_before` says so, an equal one).
    pub(crate) before: Option<String>,
    /// Whether an event at `before` itself belongs to the page.
    pub(crate) at_before: bool,
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
    has_conversation_index: bool,
    directory: tokio::sync::Mutex<Option<Directory>>,
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
        client: Client,
        tables: TableNames,
        log: &Arc<dyn Log>,
        shutdown: CancellationToken,
    ) -> Result<Self, StoreError> {
        let described = client.describe_table().table_name(&tables.events).send().await.map_err(|error| failure("DescribeTable", &error))?;
        let has_conversation_index =
            described.table().is_some_and(|t| t.global_secondary_indexes().iter().any(|i| i.index_name() == Some(CONVERSATION_INDEX)));
        let shards = Shards::start(client.clone(), tables.clone(), Arc::clone(log), config.topic_events.clone(), shutdown).await?;
        let inner = Inner {
            client,
            tables,
            requests: Semaphore::new(config.store_requests),
            shards,
            has_conversation_index,
            directory: tokio::sync::Mutex::new(None),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Whether the events table has `ConversationIndex`.
    pub(crate) fn has_conversation_index(&self) -> bool {
        self.inner.has_conversation_index
    }

    /// One rollup.
    pub async fn rollup(&self, key: &MetricKey) -> Result<Option<Rollup>, StoreError> {
        let request = self.inner.client.get_item().table_name(&self.inner.tables.metrics).set_key(Some(key.key())).consistent_read(true);
        let answer = self.tried("GetItem", || request.clone().send()).await?;
        Ok(answer.item.as_ref().map(Rollup::from_item))
    }

    /// The rollups of these days, by day; a day without an item is missing.
    pub(crate) async fn days(&self, selection: &Selection, days: RangeInclusive<i32>) -> Result<BTreeMap<i32, Rollup>, StoreError> {
        self.sums(selection, Period::Day(*days.start()), Period::Day(*days.end()), |date| schemas::time::parse_day(date)).await
    }

    /// The rollups of these hours, by hour; an hour without an item is missing.
    pub(crate) async fn hours(&self, selection: &Selection, hours: RangeInclusive<i32>) -> Result<BTreeMap<i32, Rollup>, StoreError> {
        self.sums(selection, Period::Hour(*hours.start()), Period::Hour(*hours.end()), parse_hour).await
    }

    /// The users of these days, by day; a day without an item is missing.
    pub(crate) async fn users(&self, selection: &Selection, days: RangeInclusive<i32>) -> Result<BTreeMap<i32, UserSet>, StoreError> {
        let (first, last) = (Period::Users(*days.start()), Period::Users(*days.end()));
        let mut sets: BTreeMap<i32, UserSet> = BTreeMap::new();
        let mut items = std::pin::pin!(self.metric_items(selection, first, last).await);
        while let Some(item) = items.try_next().await? {
            let Some(day) = text(&item, DATE).and_then(schemas::time::parse_day) else { continue };
            let Some(set) = item.get(USER_SET).and_then(|v| v.as_b().ok()).and_then(|b| UserSet::from_bytes(b.as_ref())) else { continue };
            sets.entry(day).or_default().unite(&set);
        }
        Ok(sets)
    }

    async fn sums(
        &self,
        selection: &Selection,
        first: Period,
        last: Period,
        number_of: impl Fn(&str) -> Option<i32>,
    ) -> Result<BTreeMap<i32, Rollup>, StoreError> {
        let mut sums: BTreeMap<i32, Rollup> = BTreeMap::new();
        let mut items = std::pin::pin!(self.metric_items(selection, first, last).await);
        while let Some(item) = items.try_next().await? {
            if let Some(number) = text(&item, DATE).and_then(&number_of) {
                sums.entry(number).or_default().add(&Rollup::from_item(&item));
            }
        }
        Ok(sums)
    }

    /// All items of a selection between two periods of the same kind, in no order.
    async fn metric_items(
        &self,
        selection: &Selection,
        first: Period,
        last: Period,
    ) -> impl futures::Stream<Item = Result<Item, StoreError>> + use<> {
        let subjects: Vec<Subject> = match selection {
            Selection::Fleet => (0..self.inner.shards.fleet_partitions().await).map(Subject::Fleet).collect(),
            Selection::Agents(agents) => agents.iter().map(|a| Subject::Agent(a.as_str().into())).collect(),
        };
        let store = self.clone();
        let ranges = subjects.into_iter().map(move |subject| {
            let key = |period| MetricKey { subject: subject.clone(), period };
            let request = store
                .inner
                .client
                .query()
                .table_name(&store.inner.tables.metrics)
                .key_condition_expression("#p = :p AND #d BETWEEN :a AND :b")
                .expression_attribute_names("#p", AGENT_ID)
                .expression_attribute_names("#d", DATE)
                .expression_attribute_values(":p", s(key(first).partition_key()))
                .expression_attribute_values(":a", s(key(first).sort_key()))
                .expression_attribute_values(":b", s(key(last).sort_key()))
                .consistent_read(true);
            Box::pin(store.clone().pages(request))
        });
        stream::iter(ranges).flatten_unordered(WIDTH).map_ok(|page| stream::iter(page.into_iter().map(Ok))).try_flatten()
    }

    /// The newest day of an agent that has a rollup, with it.
    pub(crate) async fn newest_day(&self, agent_id: &str) -> Result<Option<Rollup>, StoreError> {
        let request = self
            .inner
            .client
            .query()
            .table_name(&self.inner.tables.metrics)
            .key_condition_expression("#p = :p")
            .expression_attribute_names("#p", AGENT_ID)
            .expression_attribute_values(":p", s(agent_id))
            .consistent_read(true)
            .scan_index_forward(false)
            .limit(1);
        Ok(self.query(request).await?.items().first().map(Rollup::from_item))
    }

    /// Whether the directory knows the agent.
    pub(crate) async fn is_known(&self, agent_id: &str) -> Result<bool, StoreError> {
        let request = self
            .inner
            .client
            .get_item()
            .table_name(&self.inner.tables.metrics)
            .key(AGENT_ID, s(directory_partition(agent_id)))
            .key(DATE, s(agent_id))
            .consistent_read(true);
        Ok(self.tried("GetItem", || request.clone().send()).await?.item.is_some())
    }

    /// All agents ever seen, with the time (µs) of the first sight. A large directory may be half a minute old.
    pub(crate) async fn directory(&self) -> Result<Arc<BTreeMap<String, i64>>, StoreError> {
        let mut kept = self.inner.directory.lock().await;
        if let Some(directory) = kept.as_ref()
            && directory.agents.len() > SMALL_DIRECTORY
            && directory.read_at.elapsed() < DIRECTORY_AGE
        {
            return Ok(Arc::clone(&directory.agents));
        }
        let read_at = Instant::now();
        let agents = Arc::new(self.read_directory().await?);
        *kept = Some(Directory { agents: Arc::clone(&agents), read_at });
        Ok(agents)
    }

    async fn read_directory(&self) -> Result<BTreeMap<String, i64>, StoreError> {
        let pages = (0..DIRECTORY_SHARDS).map(|shard| {
            let request = self
                .inner
                .client
                .query()
                .table_name(&self.inner.tables.metrics)
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

    /// The newest events of an agent within a range, newest first, at most `limit`; and whether there may be more.
    pub(crate) async fn newest_events(
        &self,
        agent_id: &str,
        range: &EventRange,
        limit: usize,
    ) -> Result<(Vec<StoredEvent>, bool), StoreError> {
        let plans = self.inner.shards.plans_of(agent_id);
        let keys = event_partition_keys(agent_id, range.from, range.to, &plans);
        let is_one = keys.len() == 1;
        let pages = stream::iter(keys.into_iter().map(|key| self.newest_of_key(key, range, limit)))
            .buffer_unordered(WIDTH)
            .try_collect::<Vec<_>>()
            .await?;
        let may_have_more = pages.iter().any(|(_, more)| *more);
        let mut events: Vec<StoredEvent> = pages.into_iter().flat_map(|(events, _)| events).collect();
        if !is_one {
            events.sort_by_cached_key(|e| std::cmp::Reverse(event_sort_key(e.event.timestamp, &e.event.event_id)));
        }
        let is_cut = events.len() > limit;
        events.truncate(limit);
        Ok((events, may_have_more || is_cut))
    }

    async fn newest_of_key(&self, key: String, range: &EventRange, limit: usize) -> Result<(Vec<StoredEvent>, bool), StoreError> {
        let Some((low, high)) = range.sort_keys() else { return Ok((Vec::new(), false)) };
        let request = self
            .inner
            .client
            .query()
            .table_name(&self.inner.tables.events)
            .key_condition_expression("#p = :p AND #t BETWEEN :a AND :b")
            .expression_attribute_names("#p", AGENT_ID)
            .expression_attribute_names("#t", TIMESTAMP)
            .expression_attribute_values(":p", s(key))
            .expression_attribute_values(":a", s(low))
            .expression_attribute_values(":b", s(high))
            .consistent_read(true)
            .scan_index_forward(false);
        let mut events = Vec::new();
        let mut start = None;
        loop {
            // One more where the bound itself is to be left out.
            let want = limit - events.len() + 1;
            let answer = self.query(request.clone().limit(want as i32).set_exclusive_start_key(start)).await?;
            events.extend(answer.items().iter().filter(|item| range.holds(item)).filter_map(event_of_item));
            start = answer.last_evaluated_key;
            if events.len() >= limit || start.is_none() {
                let is_cut = events.len() > limit;
                events.truncate(limit);
                return Ok((events, is_cut || start.is_some()));
            }
        }
    }

    /// One event.
    pub(crate) async fn event(&self, agent_id: &str, timestamp: i64, event_id: &str) -> Result<Option<StoredEvent>, StoreError> {
        let plans = self.inner.shards.plans_of(agent_id);
        let request = self
            .inner
            .client
            .get_item()
            .table_name(&self.inner.tables.events)
            .key(AGENT_ID, s(schemas::item::event_partition_key(agent_id, timestamp, event_id, &plans)))
            .key(TIMESTAMP, s(event_sort_key(timestamp, event_id)))
            .consistent_read(true);
        Ok(self.tried("GetItem", || request.clone().send()).await?.item.as_ref().and_then(event_of_item))
    }

    /// Keys of the newest indexed events of one type key (type, day, shard) below a sort key, newest first.
    pub(crate) async fn newest_of_type(&self, type_key: String, range: &EventRange, limit: usize) -> Result<(Vec<EventKey>, bool), StoreError> {
        let Some((low, high)) = range.sort_keys() else { return Ok((Vec::new(), false)) };
        let request = self.index_request(MESSAGE_TYPE_INDEX, TYPE_KEY, type_key, (low, high)).limit(limit as i32);
        let answer = self.query(request).await?;
        Ok((answer.items().iter().filter_map(EventKey::of_item).collect(), answer.last_evaluated_key.is_some()))
    }

    /// Keys of the events of a conversation within a range, newest first, at most `limit`; needs `ConversationIndex`.
    pub(crate) async fn newest_of_conversation(
        &self,
        conversation_id: &str,
        range: &EventRange,
        limit: usize,
    ) -> Result<(Vec<EventKey>, bool), StoreError> {
        let Some(bounds) = range.sort_keys() else { return Ok((Vec::new(), false)) };
        let request = self.index_request(CONVERSATION_INDEX, CONVERSATION_ID, conversation_id.to_owned(), bounds).limit(limit as i32);
        let answer = self.query(request).await?;
        Ok((answer.items().iter().filter_map(EventKey::of_item).collect(), answer.last_evaluated_key.is_some()))
    }

    fn index_request(&self, index: &str, attribute: &str, value: String, (low, high): (String, String)) -> QueryFluentBuilder {
        self.inner
            .client
            .query()
            .table_name(&self.inner.tables.events)
            .index_name(index)
            .key_condition_expression("#p = :p AND #t BETWEEN :a AND :b")
            .expression_attribute_names("#p", attribute)
            .expression_attribute_names("#t", TIMESTAMP)
            .expression_attribute_values(":p", s(value))
            .expression_attribute_values(":a", s(low))
            .expression_attribute_values(":b", s(high))
            .scan_index_forward(false)
    }

    /// The events of these keys, in no order; keys whose event is gone are passed over.
    pub(crate) async fn events_of(&self, keys: &[EventKey]) -> Result<Vec<StoredEvent>, StoreError> {
        let batches = keys.chunks(BATCH).map(|batch| self.batch(batch.iter().map(EventKey::key).collect()));
        let items: Vec<Vec<Item>> = stream::iter(batches.collect::<Vec<_>>()).buffer_unordered(WIDTH).try_collect().await?;
        Ok(items.iter().flatten().filter_map(event_of_item).collect())
    }

    async fn batch(&self, mut keys: Vec<Item>) -> Result<Vec<Item>, StoreError> {
        let table = &self.inner.tables.events;
        let mut items = Vec::with_capacity(keys.len());
        let mut pause = FIRST_PAUSE;
        for _ in 0..TRIES * 2 {
            let asked = KeysAndAttributes::builder()
                .set_keys(Some(std::mem::take(&mut keys)))
                .consistent_read(true)
                .build()
                .map_err(|e| StoreError::Refused { operation: "BatchGetItem", code: "client".into(), message: e.to_string() })?;
            let request = self.inner.client.batch_get_item().request_items(table, asked);
            let answer = self.tried("BatchGetItem", || request.clone().send()).await?;
            items.extend(answer.responses.and_then(|mut r| r.remove(table)).unwrap_or_default());
            keys = answer.unprocessed_keys.and_then(|mut k| k.remove(table)).map(|k| k.keys).unwrap_or_default();
            if keys.is_empty() {
                return Ok(items);
            }
            tokio::time::sleep(jittered(pause)).await;
            pause *= 2;
        }
        Err(StoreError::Passing { operation: "BatchGetItem", code: "UnprocessedKeys".into() })
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

/// The keys of an event's item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EventKey {
    /// The table's partition key: the agent, or `agent~shard`.
    pub(crate) partition_key: String,
    /// `<timestamp>#<event id>`.
    pub(crate) sort_key: String,
}

impl EventKey {
    fn of_item(item: &Item) -> Option<Self> {
        Some(Self { partition_key: text(item, AGENT_ID)?.to_owned(), sort_key: text(item, TIMESTAMP)?.to_owned() })
    }

    fn key(&self) -> Item {
        HashMap::from([(AGENT_ID.to_owned(), s(&self.partition_key)), (TIMESTAMP.to_owned(), s(&self.sort_key))])
    }

    /// The agent's id.
    pub(crate) fn agent_id(&self) -> &str {
        self.partition_key.split('~').next().unwrap_or_default()
    }
}

impl EventRange {
    /// Events from and to these times (µs, inclusive).
    pub(crate) fn between(from: i64, to: i64) -> Self {
        Self { from, to, before: None, at_before: false }
    }

    /// Lowest and highest sort key, both inclusive; `None` where nothing can lie between.
    fn sort_keys(&self) -> Option<(String, String)> {
        let low = schemas::time::format_micros(self.from);
        // `~` sorts behind every character of an event id.
        let end = format!("{}#~", schemas::time::format_micros(self.to));
        let high = match &self.before {
            Some(before) if *before < end => before.clone(),
            _ => end,
        };
        (low <= high).then_some((low, high))
    }

    fn holds(&self, item: &Item) -> bool {
        self.holds_key(text(item, TIMESTAMP).unwrap_or_default())
    }

    /// Whether a sort key within the bounds belongs to the page.
    pub(crate) fn holds_key(&self, sort_key: &str) -> bool {
        self.at_before || self.before.as_deref() != Some(sort_key)
    }

    /// The part of the range on one day, or `None`.
    pub(crate) fn on_day(&self, day: i32) -> Option<Self> {
        let start = i64::from(day) * schemas::time::DAY_US;
        let from = self.from.max(start);
        let to = self.to.min(start + schemas::time::DAY_US - 1);
        (from <= to).then(|| Self { from, to, ..self.clone() })
    }

    /// The day on which the newest event of the range can be.
    pub(crate) fn last_day(&self) -> i32 {
        let before = self.before.as_deref().and_then(parse_event_sort_key).map_or(i64::MAX, |(t, _)| t);
        schemas::time::day_of(self.to.min(before))
    }
}

fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name).and_then(|v| v.as_s().ok()).map(String::as_str)
}

/// The hour number of `2026-11-23T07`.
fn parse_hour(text: &str) -> Option<i32> {
    let (day, hour) = text.split_once('T')?;
    Some(schemas::time::parse_day(day)? * 24 + hour.parse::<i32>().ok()?)
}

/// A random part of `pause`, so that clients who were throttled together do not come back together.
fn jittered(pause: Duration) -> Duration {
    let random = uuid::Uuid::new_v4().as_u128() as u32;
    pause.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_begins_below_its_cursor_and_stays_within_the_range() {
        let day = schemas::time::DAY_US;
        let mut range = EventRange::between(0, day - 1);
        assert_eq!(range.sort_keys().map(|(low, high)| (low, high)), Some(("1970-01-01T00:00:00.000000Z".into(), "1970-01-01T23:59:59.999999Z#~".into())));
        range.before = Some("1970-01-01T10:00:00.000000Z#e".into());
        assert_eq!(range.sort_keys().map(|k| k.1), range.before);
        assert!(!range.holds_key("1970-01-01T10:00:00.000000Z#e") && range.holds_key("1970-01-01T10:00:00.000000Z#d"));
        range.from = day / 2;
        assert_eq!(range.sort_keys(), None);
        assert_eq!(EventRange::between(5, 3 * day).on_day(1).map(|r| (r.from, r.to)), Some((day, 2 * day - 1)));
    }

    #[test]
    fn hours_are_read_back() {
        assert_eq!(parse_hour("1970-01-02T01"), Some(25));
        assert_eq!(parse_hour("1970-01-02"), None);
    }
}
