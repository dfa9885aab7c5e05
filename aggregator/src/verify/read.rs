//! Reads of the store for a verification: whole ranges page by page, at a bounded rate, and consistently wherever a number
//! depends on it. Writes nothing.

use super::VerifyError;
use super::finding::EventName;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, Select};
use futures::future::try_join_all;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use schemas::item::{
    AGENT_ID, DATE, DELETED, DIRECTORY_SHARDS, FIRST_SEEN, KIND, MetricKey, Period, SRC, ShardPlan, StoredEvent, Subject, TIMESTAMP, TTL,
    TableNames, USER_SET, event_of_item, event_partition_keys, kind, s,
};
use schemas::rollup::Rollup;
use schemas::time::format_micros;
use schemas::users::UserSet;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

type Item = HashMap<String, AttributeValue>;

/// Keys per `BatchGetItem`: the most that DynamoDB takes.
pub(crate) const KEYS_PER_GET: usize = 100;
/// Agents whose first and last day are looked up at once.
const SPANS_AT_ONCE: usize = 16;
/// Pauses between tries of keys that the store left out of its answer double up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What of an event is needed to count it, or to leave its marker: its content and metadata stay where they are.
const COUNTED_FIELDS: [&str; 19] = [
    AGENT_ID,
    TIMESTAMP,
    SRC,
    "message_type",
    "response_time_ms",
    "token_count",
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "reasoning_tokens",
    "cost_usd",
    "cost_estimated",
    "user_feedback",
    "model_used",
    "tool_name",
    "error_type",
    "user_id",
    TTL,
    DELETED,
];

/// What the table has under an event's identity.
#[derive(Debug)]
pub(crate) enum Found {
    /// The event.
    Event(Box<StoredEvent>),
    /// The marker of one that was deleted.
    Deleted {
        /// The position of its insert.
        src: Option<String>,
    },
}

/// The tables, reading only.
#[derive(Debug)]
pub(crate) struct Reader {
    store: Client,
    tables: TableNames,
    pace: Pace,
    shard_plans: HashMap<String, Vec<ShardPlan>>,
}

impl Reader {
    /// A reader of at most so many items per second.
    pub(crate) async fn open(store: &Client, tables: TableNames, items_per_second: Option<u32>) -> Result<Self, VerifyError> {
        let store = service_kit::store::patient(store);
        let shard_plans = crate::shards::read(&store, &tables).await.map_err(VerifyError::Shards)?;
        Ok(Self { store, tables, pace: Pace::new(items_per_second), shard_plans })
    }

    /// Accounts for items that are read elsewhere, and waits while that was too fast.
    pub(crate) async fn pace(&self, items: usize) {
        self.pace.take(items).await;
    }

    /// Items read so far.
    pub(crate) fn items(&self) -> u64 {
        self.pace.taken.load(Ordering::Relaxed)
    }

    /// Every agent of the directory.
    pub(crate) async fn agents(&self) -> Result<BTreeSet<String>, VerifyError> {
        Ok(self.directory().await?.into_keys().collect())
    }

    /// Every agent of the directory, with when it was first seen, µs.
    pub(crate) async fn directory(&self) -> Result<BTreeMap<String, i64>, VerifyError> {
        let shards = (0..DIRECTORY_SHARDS).map(|shard| async move {
            let mut agents = Vec::new();
            self.range(&self.tables.metrics, (AGENT_ID, format!("#agents~{shard}")), None, |item| {
                let first_seen = item.get(FIRST_SEEN).and_then(|v| v.as_n().ok()?.parse().ok()).unwrap_or(0);
                agents.extend(item.get(DATE).and_then(|v| v.as_s().ok()).map(|agent| (agent.clone(), first_seen)));
            })
            .await?;
            Ok::<_, VerifyError>(agents)
        });
        Ok(try_join_all(shards).await?.into_iter().flatten().collect())
    }

    /// The oldest and the newest day of which any of these agents has a rollup or an event.
    pub(crate) async fn days(&self, agents: &BTreeSet<String>) -> Result<Option<(i32, i32)>, VerifyError> {
        let spans: Vec<(i32, i32)> = stream::iter(agents.iter().cloned().map(|agent| async move { self.span(&agent).await }))
            .buffer_unordered(SPANS_AT_ONCE)
            .try_filter_map(|span| std::future::ready(Ok(span)))
            .try_collect()
            .await?;
        Ok(spans.iter().map(|s| s.0).min().zip(spans.iter().map(|s| s.1).max()))
    }

    /// Every agent that has an event, by a scan of the table's keys.
    pub(crate) async fn agents_with_events(&self) -> Result<BTreeSet<String>, VerifyError> {
        let mut agents = BTreeSet::new();
        let mut start = None;
        loop {
            let answer = self
                .store
                .scan()
                .table_name(&self.tables.events)
                .select(Select::SpecificAttributes)
                .projection_expression("#a, #d")
                .expression_attribute_names("#a", AGENT_ID)
                .expression_attribute_names("#d", DELETED)
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|e| failure("Scan", &e))?;
            self.pace.take(answer.items().len()).await;
            let left = answer.items().iter().filter(|item| !item.contains_key(DELETED));
            for key in left.filter_map(|item| item.get(AGENT_ID)?.as_s().ok()) {
                let agent = key.split('~').next().unwrap_or(key);
                if !agents.contains(agent) {
                    agents.insert(agent.to_owned());
                }
            }
            start = answer.last_evaluated_key;
            if start.is_none() {
                return Ok(agents);
            }
        }
    }

    /// The rollups of a subject between two days, both included: days, or hours.
    pub(crate) async fn rollups(
        &self,
        subject: &Subject,
        days: (i32, i32),
        by_hour: bool,
    ) -> Result<BTreeMap<Period, Rollup>, VerifyError> {
        let (first, last) =
            if by_hour { (Period::Hour(days.0 * 24), Period::Hour(days.1 * 24 + 23)) } else { (Period::Day(days.0), Period::Day(days.1)) };
        let mut rollups = BTreeMap::new();
        self.of_subject(subject, (first, last), |item, period| {
            rollups.insert(period, Rollup::from_item(&item));
        })
        .await?;
        Ok(rollups)
    }

    /// The users of a subject between two days, both included.
    pub(crate) async fn users(&self, subject: &Subject, days: (i32, i32)) -> Result<BTreeMap<i32, UserSet>, VerifyError> {
        let mut users = BTreeMap::new();
        self.of_subject(subject, (Period::Users(days.0), Period::Users(days.1)), |item, period| {
            let set = item.get(USER_SET).and_then(|v| v.as_b().ok()).and_then(|b| UserSet::from_bytes(b.as_ref()));
            if let (Period::Users(day), Some(set)) = (period, set) {
                users.insert(day, set);
            }
        })
        .await?;
        Ok(users)
    }

    async fn of_subject(
        &self,
        subject: &Subject,
        (first, last): (Period, Period),
        mut take: impl FnMut(Item, Period),
    ) -> Result<(), VerifyError> {
        let key = |period| MetricKey { subject: subject.clone(), period };
        let from = key(first).sort_key();
        let to = key(last).sort_key();
        self.range(&self.tables.metrics, (AGENT_ID, key(first).partition_key()), Some((DATE, from, to)), |item| {
            if let Some(period) = item.get(DATE).and_then(|v| v.as_s().ok()).and_then(|date| period_of(first, date)) {
                take(item, period);
            }
        })
        .await
    }

    /// Every event of an agent from `from` to before `until` (µs), without its content; an item that is no event of ours by
    /// its name.
    pub(crate) async fn events(
        &self,
        agent: &str,
        from: i64,
        until: i64,
        mut take: impl FnMut(Result<StoredEvent, EventName>),
    ) -> Result<(), VerifyError> {
        let mut pages = self.event_pages(agent, from, until);
        while let Some(page) = pages.next(self).await? {
            for item in page {
                take(event_of_item(&item).ok_or_else(|| name_of_item(agent, &item)));
            }
        }
        Ok(())
    }

    /// The items of the same, page by page, but for the markers that deleted events left.
    pub(crate) fn event_pages(&self, agent: &str, from: i64, until: i64) -> EventPages {
        let plans = self.shard_plans.get(agent).map_or(&[][..], Vec::as_slice);
        let keys = event_partition_keys(agent, from, until - 1, plans);
        let between = (TIMESTAMP, format_micros(from), format_micros(until));
        EventPages(
            keys.into_iter().map(|key| Pages::new(&self.tables.events, (AGENT_ID, key), Some(between.clone()), &COUNTED_FIELDS)).collect(),
        )
    }

    /// What the table has under these identities, by partition and sort key: whole events, or what deleted ones left.
    pub(crate) async fn found(&self, keys: &BTreeSet<(String, String)>) -> Result<HashMap<(String, String), Found>, VerifyError> {
        let mut wanted: Vec<Item> =
            keys.iter().map(|(hash, range)| HashMap::from([(AGENT_ID.to_owned(), s(hash)), (TIMESTAMP.to_owned(), s(range))])).collect();
        let mut found = HashMap::new();
        let mut pause = Duration::from_millis(50);
        while !wanted.is_empty() {
            let now: Vec<Item> = wanted.drain(..wanted.len().min(KEYS_PER_GET)).collect();
            self.pace.take(now.len()).await;
            let request = KeysAndAttributes::builder().set_keys(Some(now)).consistent_read(true).build().expect("keys are set");
            let answer = self
                .store
                .batch_get_item()
                .request_items(&self.tables.events, request)
                .send()
                .await
                .map_err(|e| failure("BatchGetItem", &e))?;
            for item in answer.responses().and_then(|r| r.get(&self.tables.events)).into_iter().flatten() {
                let text = |name: &str| item.get(name).and_then(|v| v.as_s().ok()).cloned();
                let what = if item.contains_key(DELETED) {
                    Some(Found::Deleted { src: text(SRC) })
                } else {
                    event_of_item(item).map(|event| Found::Event(Box::new(event)))
                };
                if let (Some(hash), Some(range), Some(what)) = (text(AGENT_ID), text(TIMESTAMP), what) {
                    found.insert((hash, range), what);
                }
            }
            let left = answer.unprocessed_keys.unwrap_or_default().remove(&self.tables.events).map(|k| k.keys).unwrap_or_default();
            if !left.is_empty() {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                wanted.extend(left);
            }
        }
        Ok(found)
    }

    /// The key under which an event of these is stored.
    pub(crate) fn event_key(&self, event: &schemas::AgentEvent) -> (String, String) {
        let plans = self.shard_plans.get(&event.agent_id).map_or(&[][..], Vec::as_slice);
        (
            schemas::item::event_partition_key(&event.agent_id, event.timestamp, &event.event_id, plans),
            schemas::item::event_sort_key(event.timestamp, &event.event_id),
        )
    }

    /// The oldest and the newest day of which an agent has a rollup or an event; `None` where it has neither.
    pub(crate) async fn span(&self, agent: &str) -> Result<Option<(i32, i32)>, VerifyError> {
        let day = |text: &str| schemas::time::parse_day(text.get(..10)?);
        let mut days = Vec::new();
        for ascending in [true, false] {
            days.extend(self.end_of(&self.tables.metrics, agent, DATE, ascending).await?.as_deref().and_then(day));
            let plans = self.shard_plans.get(agent).map_or(&[][..], Vec::as_slice);
            for key in event_partition_keys(agent, i64::MIN, i64::MAX, plans) {
                days.extend(self.end_of(&self.tables.events, &key, TIMESTAMP, ascending).await?.as_deref().and_then(day));
            }
        }
        Ok(days.iter().min().copied().zip(days.iter().max().copied()))
    }

    async fn end_of(&self, table: &str, key: &str, sort: &str, ascending: bool) -> Result<Option<String>, VerifyError> {
        let answer = self
            .store
            .query()
            .table_name(table)
            .key_condition_expression("#p = :p")
            .expression_attribute_names("#p", AGENT_ID)
            .expression_attribute_values(":p", s(key))
            .projection_expression("#s")
            .expression_attribute_names("#s", sort)
            .scan_index_forward(ascending)
            .limit(1)
            .consistent_read(true)
            .send()
            .await
            .map_err(|e| failure("Query", &e))?;
        self.pace.take(1).await;
        Ok(answer.items().first().and_then(|item| item.get(sort)?.as_s().ok()).cloned())
    }

    /// A partition's checkpoint, of whatever epoch.
    pub(crate) async fn checkpoint(&self, topic: &str, partition: u32) -> Result<Option<crate::checkpoint::Checkpoint>, VerifyError> {
        let checkpoints =
            crate::checkpoint::Checkpoints { store: self.store.clone(), tables: self.tables.clone(), topic: topic.to_owned() };
        checkpoints.read(partition).await.map_err(VerifyError::Checkpoint)
    }

    /// Whether stored events were ever priced anew.
    pub(crate) async fn was_repriced(&self) -> Result<bool, VerifyError> {
        let mut was_repriced = false;
        self.range(&self.tables.control, (KIND, kind::REPRICED.to_owned()), None, |_| was_repriced = true).await?;
        Ok(was_repriced)
    }

    /// Partitions that have a checkpoint of that topic.
    pub(crate) async fn checkpointed_partitions(&self, topic: &str) -> Result<BTreeSet<u32>, VerifyError> {
        let mut partitions = BTreeSet::new();
        self.range(&self.tables.control, (KIND, kind::CHECKPOINT.to_owned()), None, |item| {
            let id = item.get(schemas::item::ID).and_then(|v| v.as_s().ok());
            let of_topic: Option<u32> = id.and_then(|id| id.strip_prefix(topic)?.strip_prefix(':')?.parse().ok());
            partitions.extend(of_topic);
        })
        .await?;
        Ok(partitions)
    }

    /// Everything under a partition key, within a range of sort keys where one is given.
    async fn range(
        &self,
        table: &str,
        key: (&'static str, String),
        between: Option<(&'static str, String, String)>,
        mut take: impl FnMut(Item),
    ) -> Result<(), VerifyError> {
        let mut pages = Pages::new(table, key, between, &[]);
        while let Some(page) = pages.next(self).await? {
            page.into_iter().for_each(&mut take);
        }
        Ok(())
    }
}

/// Pages of what is under a partition key, within a range of sort keys where one is given.
struct Pages {
    table: String,
    key: (&'static str, String),
    between: Option<(&'static str, String, String)>,
    /// All where none is named.
    fields: &'static [&'static str],
    start: Option<Item>,
    is_over: bool,
}

impl Pages {
    fn new(
        table: &str,
        key: (&'static str, String),
        between: Option<(&'static str, String, String)>,
        fields: &'static [&'static str],
    ) -> Self {
        Self { table: table.to_owned(), key, between, fields, start: None, is_over: false }
    }

    async fn next(&mut self, reader: &Reader) -> Result<Option<Vec<Item>>, VerifyError> {
        if self.is_over {
            return Ok(None);
        }
        let (hash, key) = &self.key;
        let mut request = reader
            .store
            .query()
            .table_name(&self.table)
            .expression_attribute_names("#p", *hash)
            .expression_attribute_values(":p", s(key))
            .consistent_read(true)
            .set_exclusive_start_key(self.start.take());
        request = match &self.between {
            Some((sort, from, to)) => request
                .key_condition_expression("#p = :p AND #s BETWEEN :a AND :b")
                .expression_attribute_names("#s", *sort)
                .expression_attribute_values(":a", s(from))
                .expression_attribute_values(":b", s(to)),
            None => request.key_condition_expression("#p = :p"),
        };
        if !self.fields.is_empty() {
            let names: Vec<String> = (0..self.fields.len()).map(|i| format!("#f{i}")).collect();
            request = request.projection_expression(names.join(", "));
            for (name, field) in names.into_iter().zip(self.fields) {
                request = request.expression_attribute_names(name, *field);
            }
        }
        let answer = request.send().await.map_err(|e| failure("Query", &e))?;
        reader.pace.take(answer.items().len()).await;
        self.start = answer.last_evaluated_key;
        self.is_over = self.start.is_none();
        Ok(Some(answer.items.unwrap_or_default()))
    }
}

/// Pages of an agent's events, without the markers that deleted ones left.
pub(crate) struct EventPages(VecDeque<Pages>);

impl EventPages {
    pub(crate) async fn next(&mut self, reader: &Reader) -> Result<Option<Vec<Item>>, VerifyError> {
        while let Some(pages) = self.0.front_mut() {
            if let Some(mut page) = pages.next(reader).await? {
                page.retain(|item| !item.contains_key(DELETED));
                return Ok(Some(page));
            }
            self.0.pop_front();
        }
        Ok(None)
    }
}

/// What can be said of an item that cannot be read as an event.
fn name_of_item(agent: &str, item: &Item) -> EventName {
    let sort_key = item.get(TIMESTAMP).and_then(|v| v.as_s().ok()).cloned().unwrap_or_default();
    let (timestamp, event_id) = sort_key.split_once('#').unwrap_or((&sort_key, ""));
    EventName { agent_id: agent.to_owned(), timestamp: timestamp.to_owned(), event_id: event_id.to_owned(), sort_key: sort_key.clone() }
}

fn period_of(like: Period, date: &str) -> Option<Period> {
    let day = schemas::time::parse_day(date.get(..10)?)?;
    match like {
        Period::Day(_) => (date.len() == 10).then_some(Period::Day(day)),
        Period::Users(_) => (date.len() == 10).then_some(Period::Users(day)),
        Period::Hour(_) => Some(Period::Hour(day * 24 + date.get(11..13)?.parse::<i32>().ok().filter(|h| (0..24).contains(h))?)),
    }
}

fn failure<E: ProvideErrorMetadata, R>(operation: &'static str, error: &SdkError<E, R>) -> VerifyError {
    VerifyError::Store { operation, code: error.code().unwrap_or("no_answer").to_owned() }
}

/// Spreads reads over time.
#[derive(Debug)]
struct Pace {
    per_item: Option<Duration>,
    next: Mutex<Instant>,
    taken: AtomicU64,
}

impl Pace {
    fn new(items_per_second: Option<u32>) -> Self {
        let per_item = items_per_second.map(|n| Duration::from_secs(1) / n.max(1));
        Self { per_item, next: Mutex::new(Instant::now()), taken: AtomicU64::new(0) }
    }

    /// Accounts for so many items and waits while the reads before were too fast.
    async fn take(&self, items: usize) {
        self.taken.fetch_add(items as u64, Ordering::Relaxed);
        let Some(per_item) = self.per_item else { return };
        let until = {
            let mut next = self.next.lock().await;
            *next = (*next).max(Instant::now()) + per_item * u32::try_from(items).unwrap_or(u32::MAX);
            *next
        };
        tokio::time::sleep_until(until).await;
    }
}
