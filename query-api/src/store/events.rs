//! Raw events: newest first by agent, by type and by conversation, and one by its key. A page is bounded in events
//! and in bytes, and says how far down it is complete.

use super::{FIRST_PAUSE, Item, Store, StoreError, TRIES, WIDTH, jittered, text};
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use schemas::MessageType;
use schemas::event::AgentEvent;
use schemas::item::{
    AGENT_ID, CONVERSATION_ID, CONVERSATION_INDEX, DATE, MESSAGE_TYPE_INDEX, MetricKey, Period, StoredEvent, Subject, TIMESTAMP, TYPE_KEY,
    event_of_item, event_partition_key, event_partition_keys, event_sort_key, n, parse_event_sort_key, s, type_key,
};
use schemas::size::item_size;
use schemas::time::{DAY_US, day_of, format_micros, parse_day};
use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;

/// Items that `BatchGetItem` takes.
const BATCH: usize = 100;
/// A page ends when its items hold this many bytes, however few they are.
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// Requests for one page of one key; a filter that takes little ends it early (of 1 MiB each).
const PAGE_REQUESTS: usize = 8;

/// Events between two bounds of the sort key.
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

/// What an event must be like.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct EventFilter {
    pub(crate) message_type: Option<MessageType>,
    pub(crate) conversation_id: Option<String>,
    /// Its `conversation_id`, or where it has none its `trace_id`.
    pub(crate) thread_id: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) user_id: Option<String>,
    pub(crate) min_response_time_ms: Option<f64>,
}

/// Events, newest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventPage {
    /// All that fit, from the newest down to `reached`.
    pub(crate) events: Vec<StoredEvent>,
    /// The sort key down to which (inclusive) the page is complete; `None` where nothing is left below.
    pub(crate) reached: Option<String>,
}

/// The keys of an event's item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EventKey {
    /// The table's partition key: the agent, or `agent~shard`.
    pub(crate) partition_key: String,
    /// `<timestamp>#<event id>`.
    pub(crate) sort_key: String,
}

impl Store {
    /// The newest events of an agent within a range that the filter takes, about `limit` of them.
    pub(crate) async fn newest_events(
        &self,
        agent_id: &str,
        range: &EventRange,
        filter: &EventFilter,
        limit: usize,
    ) -> Result<EventPage, StoreError> {
        let plans = self.inner.shards.plans_of(agent_id);
        let keys = event_partition_keys(agent_id, range.from, range.to, &plans);
        let pages: Vec<EventPage> = stream::iter(keys.into_iter().map(|key| self.newest_of_key(key, range, filter, limit)))
            .buffer_unordered(WIDTH)
            .try_collect()
            .await?;
        let reached = pages.iter().filter_map(|page| page.reached.clone()).max();
        let mut events: Vec<(String, StoredEvent)> =
            pages.into_iter().flat_map(|page| page.events).map(|e| (sort_key(&e.event), e)).collect();
        events.retain(|(key, _)| reached.as_ref().is_none_or(|reached| key >= reached));
        events.sort_unstable_by(|a, b| b.0.cmp(&a.0));
        Ok(EventPage { events: events.into_iter().map(|(_, event)| event).collect(), reached })
    }

    async fn newest_of_key(&self, key: String, range: &EventRange, filter: &EventFilter, limit: usize) -> Result<EventPage, StoreError> {
        let Some((low, high)) = range.sort_keys() else { return Ok(EventPage::default()) };
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
        let mut request = filter.applied_to(request);
        let mut page = EventPage::default();
        let (mut requests, mut bytes) = (0, 0);
        loop {
            if filter == &EventFilter::default() {
                // One more, where the bound itself is to be left out.
                request = request.limit((limit - page.events.len() + 1) as i32);
            }
            let answer = self.query(request.clone()).await?;
            requests += 1;
            for item in answer.items().iter().filter(|item| range.holds(item)) {
                bytes += item_size(item.iter().map(|(k, v)| (k.as_str(), v)));
                page.events.extend(event_of_item(item));
            }
            page.reached = answer.last_evaluated_key.as_ref().and_then(|key| text(key, TIMESTAMP)).map(str::to_owned);
            if page.events.len() > limit {
                page.events.truncate(limit);
                page.reached = page.events.last().map(|e| sort_key(&e.event));
            }
            if page.reached.is_none() || page.events.len() >= limit || bytes >= PAGE_BYTES || requests >= PAGE_REQUESTS {
                return Ok(page);
            }
            request = request.set_exclusive_start_key(answer.last_evaluated_key);
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
            .key(AGENT_ID, s(event_partition_key(agent_id, timestamp, event_id, &plans)))
            .key(TIMESTAMP, s(event_sort_key(timestamp, event_id)))
            .consistent_read(true);
        Ok(self.tried("GetItem", || request.clone().send()).await?.item.as_ref().and_then(event_of_item))
    }

    /// The days of a range on which any agent's events of a type were counted.
    pub(crate) async fn days_with(&self, message_type: MessageType, days: RangeInclusive<i32>) -> Result<BTreeSet<i32>, StoreError> {
        let table = self.metrics_table()?.name;
        let fleets = (0..self.inner.shards.fleet_partitions().await).map(|partition| {
            let key = |day: i32| MetricKey { subject: Subject::Fleet(partition), period: Period::Day(day) };
            let request = self
                .inner
                .client
                .query()
                .table_name(&table)
                .key_condition_expression("#p = :p AND #d BETWEEN :a AND :b")
                // A counter that was never added to is not there.
                .filter_expression("attribute_exists(#t)")
                .projection_expression("#d")
                .expression_attribute_names("#p", AGENT_ID)
                .expression_attribute_names("#d", DATE)
                .expression_attribute_names("#t", message_type.name())
                .expression_attribute_values(":p", s(key(*days.start()).partition_key()))
                .expression_attribute_values(":a", s(key(*days.start()).sort_key()))
                .expression_attribute_values(":b", s(key(*days.end()).sort_key()))
                .consistent_read(true);
            Box::pin(self.clone().pages(request))
        });
        let mut pages = stream::iter(fleets).flatten_unordered(WIDTH);
        let mut found = BTreeSet::new();
        while let Some(page) = pages.try_next().await? {
            found.extend(page.iter().filter_map(|item| text(item, DATE).and_then(parse_day)));
        }
        Ok(found)
    }

    /// Keys of the newest indexed events of a type, day and shard within a range, at most `limit`, newest first; and
    /// whether there are more.
    pub(crate) async fn newest_of_type(
        &self,
        (message_type, day, shard): (MessageType, i32, u32),
        range: &EventRange,
        limit: usize,
    ) -> Result<(Vec<EventKey>, bool), StoreError> {
        self.newest_of_index((MESSAGE_TYPE_INDEX, TYPE_KEY), type_key(message_type, day, shard), range, limit).await
    }

    /// Keys of the newest events of a conversation within a range; needs `ConversationIndex`.
    pub(crate) async fn newest_of_conversation(
        &self,
        conversation_id: &str,
        range: &EventRange,
        limit: usize,
    ) -> Result<(Vec<EventKey>, bool), StoreError> {
        self.newest_of_index((CONVERSATION_INDEX, CONVERSATION_ID), conversation_id.to_owned(), range, limit).await
    }

    async fn newest_of_index(
        &self,
        (index, attribute): (&str, &str),
        value: String,
        range: &EventRange,
        limit: usize,
    ) -> Result<(Vec<EventKey>, bool), StoreError> {
        let Some((low, high)) = range.sort_keys() else { return Ok((Vec::new(), false)) };
        let request = self
            .inner
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
            .limit(limit as i32);
        let answer = self.query(request).await?;
        Ok((answer.items().iter().filter_map(EventKey::of_item).collect(), answer.last_evaluated_key.is_some()))
    }

    /// The events of these keys, in their order; keys whose event is gone are passed over. Stops early, after the
    /// number of keys it answers, where the events are large.
    pub(crate) async fn events_of(&self, keys: &[EventKey]) -> Result<(Vec<StoredEvent>, usize), StoreError> {
        let mut events = Vec::with_capacity(keys.len());
        let (mut done, mut bytes) = (0, 0);
        for batch in keys.chunks(BATCH) {
            let items = self.batch(batch.iter().map(EventKey::key).collect()).await?;
            let mut found: HashMap<(String, String), StoredEvent> = HashMap::with_capacity(items.len());
            for item in &items {
                bytes += item_size(item.iter().map(|(k, v)| (k.as_str(), v)));
                if let (Some(key), Some(event)) = (EventKey::of_item(item), event_of_item(item)) {
                    found.insert((key.partition_key, key.sort_key), event);
                }
            }
            events.extend(batch.iter().filter_map(|key| found.remove(&(key.partition_key.clone(), key.sort_key.clone()))));
            done += batch.len();
            if bytes >= PAGE_BYTES {
                break;
            }
        }
        Ok((events, done))
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
}

/// The sort key of an event.
pub(crate) fn sort_key(event: &AgentEvent) -> String {
    event_sort_key(event.timestamp, &event.event_id)
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

impl EventFilter {
    /// Whether the event is as asked for.
    pub(crate) fn takes(&self, event: &AgentEvent) -> bool {
        let is_text = |wanted: &Option<String>, text: &Option<String>| wanted.is_none() || wanted == text;
        self.message_type.is_none_or(|t| t == event.message_type)
            && is_text(&self.conversation_id, &event.conversation_id)
            && (self.thread_id.is_none()
                || self.thread_id == *event.conversation_id.as_ref().map_or(&event.trace_id, |_| &event.conversation_id))
            && is_text(&self.model, &event.model_used)
            && is_text(&self.user_id, &event.user_id)
            && self.min_response_time_ms.is_none_or(|min| event.response_time_ms.is_some_and(|ms| ms >= min))
    }

    /// Lets the store leave out what the filter does not take: it is read (and paid) all the same, but not sent.
    fn applied_to(&self, mut request: QueryFluentBuilder) -> QueryFluentBuilder {
        let mut conditions: Vec<String> = Vec::new();
        let fields: [(&str, &str, Option<AttributeValue>); 5] = [
            ("message_type", "=", self.message_type.map(|t| s(t.name()))),
            (CONVERSATION_ID, "=", self.conversation_id.as_ref().map(s)),
            ("model_used", "=", self.model.as_ref().map(s)),
            ("user_id", "=", self.user_id.as_ref().map(s)),
            ("response_time_ms", ">=", self.min_response_time_ms.map(n)),
        ];
        for (i, (name, compare, value)) in fields.into_iter().enumerate() {
            if let Some(value) = value {
                conditions.push(format!("#f{i} {compare} :f{i}"));
                request = request.expression_attribute_names(format!("#f{i}"), name).expression_attribute_values(format!(":f{i}"), value);
            }
        }
        if let Some(thread) = &self.thread_id {
            conditions.push("(#c = :c OR (attribute_not_exists(#c) AND #r = :c))".to_owned());
            request = request
                .expression_attribute_names("#c", CONVERSATION_ID)
                .expression_attribute_names("#r", "trace_id")
                .expression_attribute_values(":c", s(thread));
        }
        if conditions.is_empty() { request } else { request.filter_expression(conditions.join(" AND ")) }
    }
}

impl EventRange {
    /// Lowest and highest sort key, both inclusive; `None` where nothing can lie between.
    pub(crate) fn sort_keys(&self) -> Option<(String, String)> {
        let low = format_micros(self.from);
        // `~` sorts behind every character of an event id.
        let end = format!("{}#~", format_micros(self.to));
        let high = match &self.before {
            Some(before) if *before < end => before.clone(),
            _ => end,
        };
        (low <= high).then_some((low, high))
    }

    fn holds(&self, item: &Item) -> bool {
        self.at_before || self.before.as_deref() != text(item, TIMESTAMP)
    }

    /// The part of the range on one day, or `None`.
    pub(crate) fn on_day(&self, day: i32) -> Option<Self> {
        let start = i64::from(day) * DAY_US;
        let from = self.from.max(start);
        let to = self.to.min(start + DAY_US - 1);
        (from <= to).then(|| Self { from, to, ..self.clone() })
    }

    /// The day on which the newest event of the range can be.
    pub(crate) fn last_day(&self) -> i32 {
        day_of(self.before.as_deref().and_then(time_of_key).map_or(self.to, |t| t.min(self.to)))
    }
}

/// The time (µs) of a sort key, or of a bound that has only a time.
pub(crate) fn time_of_key(key: &str) -> Option<i64> {
    parse_event_sort_key(key).map(|(time, _)| time).or_else(|| schemas::time::parse_micros(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_begins_below_its_cursor_and_stays_within_the_range() {
        let mut range = EventRange { from: 0, to: DAY_US - 1, before: None, at_before: false };
        assert_eq!(range.sort_keys(), Some(("1970-01-01T00:00:00.000000Z".into(), "1970-01-01T23:59:59.999999Z#~".into())));
        range.before = Some("1970-01-01T10:00:00.000000Z#e".into());
        assert_eq!(range.sort_keys().map(|k| k.1), range.before);
        let item = |key: &str| HashMap::from([(TIMESTAMP.to_owned(), s(key))]);
        assert!(!range.holds(&item("1970-01-01T10:00:00.000000Z#e")) && range.holds(&item("1970-01-01T10:00:00.000000Z#d")));
        range.from = DAY_US / 2;
        assert_eq!(range.sort_keys(), None);
        let days = EventRange { from: 5, to: 3 * DAY_US, before: None, at_before: false };
        assert_eq!(days.on_day(1).map(|r| (r.from, r.to)), Some((DAY_US, 2 * DAY_US - 1)));
        assert_eq!((days.last_day(), range.last_day()), (3, 0));
    }

    #[test]
    fn a_filter_takes_what_fits_in_every_field() {
        let mut event = AgentEvent::new("a", 0, "e", MessageType::Error);
        event.response_time_ms = Some(10.0);
        let filter = EventFilter { message_type: Some(MessageType::Error), min_response_time_ms: Some(10.0), ..EventFilter::default() };
        assert!(filter.takes(&event) && EventFilter::default().takes(&event));
        event.response_time_ms = None;
        assert!(!filter.takes(&event));
        assert!(!EventFilter { model: Some("m".into()), ..EventFilter::default() }.takes(&event));
        let thread = EventFilter { thread_id: Some("t".into()), ..EventFilter::default() };
        event.trace_id = Some("t".into());
        assert!(thread.takes(&event));
        event.conversation_id = Some("c".into());
        assert!(!thread.takes(&event), "its conversation names it, not its trace");
    }
}
