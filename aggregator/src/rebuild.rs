//! `rebuild`: counts the metrics table anew from the raw events, into a version of its own, while the old one serves and
//! events keep coming; proves the new one; then changes over.
//!
//! 1. A new table is named in the control table. The aggregators begin their partitions anew and from then on count into
//!    both, each noting from which position on (`rebuild_from`).
//! 2. `fill` adds everything before those positions, item by item: what the raw events add up to, and what only the old
//!    table can tell ([`item`]).
//! 3. [`crate::verify`] counts the new table again.
//! 4. The control table names the new one as the one that is read. Both are written until every reader has changed over,
//!    so none sees a gap, and no commit ever speaks for less than both. Then the live tables are told the new totals.
//!
//! Interrupted anywhere, it goes on from there when it is run again.

mod command;
mod fill;
#[doc(hidden)]
pub mod item;
mod report;
mod reprice;

#[doc(hidden)]
pub use crate::rebuild_from::{From, before};
pub use command::RebuildArgs;
pub use report::{FillTally, RebuildReport};

use crate::Barrier;
use crate::announce::{announce, totals_record};
use crate::decode::Decoder;
use crate::rebuild_from;
use crate::tables::{create_version, drop_version, versions};
use crate::verify::{Progress, Reader, Verifier, VerifyError, VerifyOptions};
use aws_sdk_dynamodb::Client;
use event_log::{Log, LogError, Record};
use fill::Fill;
use futures::stream::{self, StreamExt as _};
use schemas::codec::WireForm;
use schemas::item::{MetricKey, Subject, TableNames};
use schemas::price::PriceTable;
use schemas::time::{day_of, now_micros};
use serde::{Deserialize, Serialize};
use service_kit::deletions::{self, DeletionsError};
use service_kit::log::Topics;
use service_kit::metrics_tables::{FOLLOWED_WITHIN, MetricsTables, MetricsTablesError, TableVersion};
use service_kit::store::patient;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked whether the aggregators have begun.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Agents whose totals are announced at once.
const ANNOUNCED_AT_ONCE: usize = 32;

/// What to do, and how gently.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RebuildOptions {
    /// How long raw events are kept: items of which some may be gone are taken over from the old table.
    pub retention: Option<Duration>,
    /// Items read per second at most.
    pub items_per_second: Option<u32>,
    /// Days, today included, whose totals the live tables hold.
    pub live_days: u32,
    /// Fill and compare, and leave the old table in use.
    pub no_switch: bool,
    /// Change over although the new table does not agree with the raw events, or counts fewer of them.
    pub accept_findings: bool,
    /// Delete the old table at the end.
    pub drop_old: bool,
    /// End a rebuild that was begun, and delete what it filled.
    pub give_up: bool,
    /// Price stored events anew before they are counted: a price table as JSON, whose prices go before the built-in ones, or
    /// nothing but white space for these alone.
    #[serde(default)]
    pub prices: Option<String>,
    /// For tests: how long every service is given to hear of a change; [`FOLLOWED_WITHIN`] where absent.
    #[serde(skip)]
    pub followed_within: Option<Duration>,
}

impl RebuildOptions {
    /// The prices that stored events shall have.
    fn price_table(&self) -> Result<Option<PriceTable>, RebuildError> {
        let Some(text) = &self.prices else { return Ok(None) };
        let builtin = PriceTable::builtin();
        if text.trim().is_empty() {
            return Ok(Some(builtin.clone()));
        }
        let own = PriceTable::from_json(text).map_err(|e| RebuildError::Other(anyhow::Error::new(e).context("that is no price table")))?;
        Ok(Some(builtin.overridden_by(&own)))
    }
}

/// What a rebuild works with.
#[derive(Clone)]
pub struct Rebuilder {
    /// The store.
    pub store: Client,
    /// Its tables, as the services are configured.
    pub tables: TableNames,
    /// The log.
    pub log: Arc<dyn Log>,
    /// The log's topics.
    pub topics: Topics,
    /// Reads the log's records.
    pub decoder: Decoder,
    /// How records of the live topic are framed.
    pub wire_form: WireForm,
    /// Awaited before the live tables are told what the store has; only the embedded store needs one.
    pub barrier: Option<Barrier>,
    /// What and how.
    pub options: RebuildOptions,
}

impl std::fmt::Debug for Rebuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rebuilder").field("tables", &self.tables).field("options", &self.options).finish_non_exhaustive()
    }
}

/// Why a rebuild did not come to its end. What it did is kept; the same command goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The control table does not say which tables are in use.
    #[error(transparent)]
    Tables(#[from] MetricsTablesError),
    /// Events are being deleted.
    #[error(transparent)]
    Deletions(#[from] DeletionsError),
    /// The tables cannot be read.
    #[error(transparent)]
    Read(#[from] VerifyError),
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Log(#[from] LogError),
    /// The store refuses something.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// A table cannot be created or deleted, or the control table cannot be read.
    #[error("{0:#}")]
    Other(anyhow::Error),
    /// What the old table alone knows of an item cannot be told.
    #[error(
        "{item}: the two tables hold different parts of the log although all of it is counted; was one of them changed by hand? \
         End the rebuild with --give-up, `verify` the table, and begin again"
    )]
    Apart {
        /// The item.
        item: String,
    },
    /// Some items are filled with the old prices.
    #[error("the rebuild into {table} was begun without --reprice; end it with --give-up first")]
    PricesTooLate {
        /// The table.
        table: String,
    },
    /// There is nothing to give up.
    #[error("no rebuild is under way")]
    NothingToGiveUp,
}

impl Rebuilder {
    /// Rebuilds, compares, and changes over.
    pub async fn run(&self, progress: &Progress) -> Result<RebuildReport, RebuildError> {
        self.options.price_table()?;
        let store = patient(&self.store);
        let mut now = MetricsTables::read(&store, &self.tables).await?;
        if self.options.give_up {
            return self.give_up(&store, now).await;
        }
        // A change-over that was interrupted behind its decisive step.
        if let Some(old) = now.other.clone().filter(|_| now.filling().is_none()) {
            let now = self.let_old_go(&store, now, progress).await?;
            let report = RebuildReport::new(&old, &now.served, FillTally::default(), crate::verify::Report::empty());
            return Ok(RebuildReport { is_ended: true, is_switched: true, is_old_dropped: self.options.drop_old, ..report });
        }
        let new = match now.filling() {
            Some(filling) => {
                self.check_prices(&store, filling).await?;
                filling.clone()
            }
            None => {
                // After `now` was read: a deletion that begins meanwhile changes its revision.
                deletions::read_done(&store, &self.tables).await?;
                let new = now.next_version(&self.tables);
                create_version(&store, &self.tables, &new.name).await.map_err(RebuildError::Other)?;
                now = now.change(&store, &self.tables, (now.served.clone(), Some(new.clone()))).await?;
                new
            }
        };
        let old = now.served.clone();
        let from = self.await_aggregators(&store, &new, progress).await?;
        let names = |version: &TableVersion| TableNames { metrics: version.name.clone(), ..self.tables.clone() };
        let tally = Fill::open(self, (names(&old), names(&new)), from).await?.run(progress).await?;
        let verified = self.verify(&new, progress).await?;
        let mut report = RebuildReport::new(&old, &new, tally, verified);
        if self.options.no_switch || !(report.is_proved() || self.options.accept_findings) {
            return Ok(report);
        }
        now = now.change(&store, &self.tables, (new.clone(), Some(old.clone()))).await?;
        report.is_switched = true;
        self.let_old_go(&store, now, progress).await?;
        report.is_old_dropped = self.options.drop_old;
        Ok(report)
    }

    /// What a rebuild without other prices has filled it does not fill again.
    async fn check_prices(&self, store: &Client, filling: &TableVersion) -> Result<(), RebuildError> {
        let was_begun_so = reprice::is_noted(store, &self.tables, &filling.name).await?;
        if self.options.prices.is_some() && !was_begun_so {
            return Err(RebuildError::PricesTooLate { table: filling.name.clone() });
        }
        Ok(())
    }

    /// Waits until every partition of the log is counted into both tables, and from where on.
    async fn await_aggregators(
        &self,
        store: &Client,
        new: &TableVersion,
        progress: &Progress,
    ) -> Result<BTreeMap<u32, From>, RebuildError> {
        loop {
            let partitions = self.log.partitions(&self.topics.events).await?;
            if MetricsTables::read(store, &self.tables).await?.filling() != Some(new) {
                return Err(MetricsTablesError::Changed.into());
            }
            let noted = rebuild_from::read(store, &self.tables, &new.name, &self.topics.events).await.map_err(RebuildError::Other)?;
            if (0..partitions).all(|partition| noted.contains_key(&partition)) {
                return Ok(noted);
            }
            progress.now_and_then(|| {
                format!("waiting for the aggregators to count into {} too: {} of {partitions} partitions", new.name, noted.len())
            });
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn verify(&self, new: &TableVersion, progress: &Progress) -> Result<crate::verify::Report, RebuildError> {
        let options = VerifyOptions {
            retention: self.options.retention,
            items_per_second: self.options.items_per_second,
            metrics_table: Some(new.name.clone()),
            scan_events: true,
            ..VerifyOptions::default()
        };
        let verifier = Verifier {
            store: self.store.clone(),
            tables: self.tables.clone(),
            log: Arc::clone(&self.log),
            topics: self.topics.clone(),
            decoder: self.decoder.clone(),
            options,
        };
        Ok(Box::pin(verifier.run(progress)).await?)
    }

    /// Tells the live tables what the new table has, since nobody may post to most of these days again.
    async fn announce_all(&self, store: &Client, new: &TableVersion, progress: &Progress) -> Result<(), RebuildError> {
        let tables = TableNames { metrics: new.name.clone(), ..self.tables.clone() };
        let reader = Reader::open(store, tables, self.options.items_per_second).await?;
        let today = day_of(now_micros());
        let first = today - i32::try_from(self.options.live_days.max(1)).unwrap_or(i32::MAX) + 1;
        let agents: Vec<String> = reader.agents().await?.into_iter().collect();
        for (done, some) in agents.chunks(ANNOUNCED_AT_ONCE).enumerate() {
            let reads = some.iter().map(|agent| self.totals_of(&reader, agent, (first, today + 1), new.generation));
            let records = futures::future::try_join_all(reads).await?;
            // What the log says of the store must be durable there.
            self.sync().await?;
            let announcements = records.into_iter().flatten().map(|record| announce(&self.log, &self.topics.metrics, record));
            stream::iter(announcements).buffer_unordered(ANNOUNCED_AT_ONCE).collect::<Vec<()>>().await;
            progress.now_and_then(|| format!("{} of {} agents announced", done * ANNOUNCED_AT_ONCE, agents.len()));
        }
        Ok(())
    }

    async fn totals_of(&self, reader: &Reader, agent: &str, days: (i32, i32), generation: u32) -> Result<Vec<Record>, RebuildError> {
        let subject = Subject::Agent(agent.into());
        let rollups = reader.rollups(&subject, days, false).await?;
        let record = |(period, rollup)| totals_record(&MetricKey { subject: subject.clone(), period }, &rollup, generation, self.wire_form);
        Ok(rollups.into_iter().filter_map(record).collect())
    }

    async fn sync(&self) -> Result<(), RebuildError> {
        let Some(barrier) = &self.barrier else { return Ok(()) };
        barrier().await.map_err(|e| RebuildError::Other(anyhow::Error::new(e).context("the store's file cannot be synced")))
    }

    /// Ends the writing of the table that was read before, once nobody reads it any more.
    async fn let_old_go(&self, store: &Client, now: MetricsTables, progress: &Progress) -> Result<MetricsTables, RebuildError> {
        let wait = self.options.followed_within.unwrap_or(FOLLOWED_WITHIN);
        progress.tell(format!("waiting {} s until every reader has changed over to {}", wait.as_secs(), now.served.name));
        tokio::time::sleep(wait).await;
        // Not before: an aggregator that has not heard of the change goes on announcing the old table's totals.
        self.announce_all(store, &now.served, progress).await?;
        let now = now.change(store, &self.tables, (now.served.clone(), None)).await?;
        rebuild_from::forget(store, &self.tables, &now.served.name).await.map_err(RebuildError::Other)?;
        if self.options.drop_old {
            self.drop_unused(store, &now, 0, progress).await?;
        }
        Ok(now)
    }

    async fn give_up(&self, store: &Client, now: MetricsTables) -> Result<RebuildReport, RebuildError> {
        let old = now.served.clone();
        let now = match now.filling().cloned() {
            Some(filling) => {
                let now = now.change(store, &self.tables, (old.clone(), None)).await?;
                rebuild_from::forget(store, &self.tables, &filling.name).await.map_err(RebuildError::Other)?;
                now
            }
            None => now,
        };
        let given_up = self.drop_unused(store, &now, old.generation + 1, &Progress::new(|_| {})).await?;
        let Some(newest) = given_up.last() else { return Err(RebuildError::NothingToGiveUp) };
        Ok(RebuildReport { is_given_up: true, ..RebuildReport::new(&old, newest, FillTally::default(), crate::verify::Report::empty()) })
    }

    /// Deletes the tables of these generations that are in use no more, once every aggregator has heard that they are not
    /// written: those of earlier, interrupted commands too.
    async fn drop_unused(
        &self,
        store: &Client,
        now: &MetricsTables,
        from_generation: u32,
        progress: &Progress,
    ) -> Result<Vec<TableVersion>, RebuildError> {
        let versions = versions(store, &self.tables).await.map_err(RebuildError::Other)?;
        let is_used = |version: &TableVersion| *version == now.served || now.other.as_ref() == Some(version);
        let unused: Vec<TableVersion> = versions.into_iter().filter(|v| v.generation >= from_generation && !is_used(v)).collect();
        if unused.is_empty() {
            return Ok(unused);
        }
        let wait = self.options.followed_within.unwrap_or(FOLLOWED_WITHIN);
        progress.tell(format!("waiting {} s until nobody writes what is to be deleted", wait.as_secs()));
        tokio::time::sleep(wait).await;
        for version in &unused {
            drop_version(store, &self.tables, &version.name).await.map_err(RebuildError::Other)?;
        }
        Ok(unused)
    }
}
