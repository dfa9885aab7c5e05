//! Puts the rows of an export where they belong. An item is written only where there is none; one that is there already
//! must be the same (an import that is run again), so nothing is ever overwritten.

use crate::archive::{Archive, Content, FileEntry};
use aggregator::announce::totals_record;
use aggregator::insert::{is_hopeless, short};
use anyhow::{Context, bail, ensure};
use apache_avro::types::Value;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use event_log::{AppendError, Log, Record};
use futures::stream::{self, StreamExt, TryStreamExt};
use schemas::codec::WireForm;
use schemas::export::{is_same, item_of_avro, metric_kind, record_of_avro};
use schemas::item::{AGENT_ID, DATE, ID, Item, KIND, MetricKey, Period, Subject, TableNames, kind, s};
use schemas::rollup::Rollup;
use schemas::time::parse_day;
use service_kit::log::Topics;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rows under way at once: requests to the store, and records of the log.
const ROWS_AT_ONCE: usize = 32;
/// First and longest pause before something is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// How long one item is tried.
const TRY_FOR: Duration = Duration::from_secs(300);

/// Where an import goes.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) store: Client,
    pub(super) tables: TableNames,
    pub(super) log: Arc<dyn Log>,
    pub(super) topics: Topics,
    /// How records of the live topic are framed.
    pub(super) form: WireForm,
    /// The first day number whose totals go to the live topic.
    pub(super) live_since: i32,
}

impl Target {
    /// Puts every row of a file in its place.
    pub(super) async fn fill(&self, archive: &Archive, file: &FileEntry, progress: impl Fn(u64)) -> anyhow::Result<()> {
        // Read as they are needed: a row may have 400 KB.
        let puts = stream::iter(archive.rows(file)?).map(async |row| self.put_row(file.content, row?).await);
        let mut puts = puts.buffer_unordered(ROWS_AT_ONCE);
        let mut count = 0;
        while puts.try_next().await?.is_some() {
            count += 1;
            progress(1);
        }
        ensure!(count == file.rows, "{} has {count} rows, not {}", file.name, file.rows);
        Ok(())
    }

    async fn put_row(&self, content: Content, row: Value) -> anyhow::Result<()> {
        if content == Content::DeadLetters {
            let record = record_of_avro(row).context("a row is no record")?;
            let headers = record.headers.into_iter().map(|(name, value)| (name, value.into())).collect();
            return self.append(&self.topics.dead, Record { key: record.key.into(), value: record.value.into(), headers }).await;
        }
        let item = item_of_avro(row).context("a row is no item")?;
        match content {
            Content::Events => self.put(&self.tables.events, AGENT_ID, item).await,
            Content::Control => self.put(&self.tables.control, KIND, self.of_our_topic(item)).await,
            _ => {
                let totals = self.totals(&item);
                self.put(&self.tables.metrics, AGENT_ID, item).await?;
                match totals {
                    Some(totals) => self.append(&self.topics.metrics, totals).await,
                    None => Ok(()),
                }
            }
        }
    }

    /// A checkpoint's id names the topic. Here it says how far the numbers came in another log, which keeps this one from
    /// being counted under the same epoch, and how many partitions have written fleet items.
    fn of_our_topic(&self, mut item: Item) -> Item {
        let text = |item: &Item, name: &str| item.get(name).and_then(|v| v.as_s().ok()).cloned().unwrap_or_default();
        if text(&item, KIND) == kind::CHECKPOINT
            && let Some((_, partition)) = text(&item, ID).rsplit_once(':')
        {
            item.insert(ID.to_owned(), s(format!("{}:{partition}", self.topics.events)));
        }
        item
    }

    /// What the live tables need to know of an agent's day.
    fn totals(&self, item: &Item) -> Option<Record> {
        if metric_kind(item) != "day" {
            return None;
        }
        let text = |name: &str| item.get(name)?.as_s().ok();
        let day = parse_day(text(DATE)?).filter(|day| *day >= self.live_since)?;
        let key = MetricKey { subject: Subject::Agent(text(AGENT_ID)?.as_str().into()), period: Period::Day(day) };
        totals_record(&key, &Rollup::from_item(item), 0, self.form)
    }

    async fn put(&self, table: &str, key: &str, item: Item) -> anyhow::Result<()> {
        let mut patience = Patience::new();
        loop {
            let outcome = self
                .store
                .put_item()
                .table_name(table)
                .set_item(Some(item.clone()))
                .condition_expression("attribute_not_exists(#k)")
                .expression_attribute_names("#k", key)
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                .send()
                .await;
            let error = match outcome {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            if let Some(PutItemError::ConditionalCheckFailedException(taken)) = error.as_service_error() {
                // What an interrupted import wrote, or an attempt whose answer was lost.
                if taken.item.as_ref().is_some_and(|there| is_same(there, &item)) {
                    return Ok(());
                }
                bail!(
                    "table {table} holds another item under the key of one of the export's: something else writes to it; stop that, and import into empty tables"
                );
            }
            let (code, message) = (error.code().unwrap_or("no answer").to_owned(), short(error.message().unwrap_or_default()));
            if is_hopeless(&error) || !patience.pause().await {
                bail!("table {table} does not take an item: {code} {message}");
            }
        }
    }

    /// Appends until acknowledged. Twice does no harm: both topics' readers go by the record's key and version.
    async fn append(&self, topic: &str, record: Record) -> anyhow::Result<()> {
        let mut patience = Patience::new();
        loop {
            let outcome = match self.log.append(topic, record.clone()) {
                Ok(acknowledgement) => acknowledgement.await.map(drop),
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => return Ok(()),
                Err(error @ AppendError::TooLarge(_)) => return Err(error.into()),
                Err(error) if !patience.pause().await => return Err(error).with_context(|| format!("the topic {topic} takes nothing")),
                Err(_) => {}
            }
        }
    }
}

/// Pauses that grow, for a bounded time.
struct Patience {
    pause: Duration,
    until: Instant,
}

impl Patience {
    fn new() -> Self {
        Self { pause: PAUSES.0, until: Instant::now() + TRY_FOR }
    }

    /// Waits; `false` where the time is up.
    async fn pause(&mut self) -> bool {
        if Instant::now() > self.until {
            return false;
        }
        // Those who were throttled together shall not come back together.
        tokio::time::sleep(self.pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
        self.pause = (self.pause * 2).min(PAUSES.1);
        true
    }
}
