//! Which version of the metrics table is read, and which are written: one item of the control table that every service
//! follows. Without that item there is one version, the table that is configured.
//!
//! A rebuild fills a new version while the old one serves; aggregators write both meanwhile, so that readers may change
//! over at any moment, each when it learns of it.

use crate::store::patient;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::DisplayErrorContext;
use aws_sdk_dynamodb::types::AttributeValue;
use schemas::item::{ID, Item, KIND, TableNames, kind, n, s};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often a service looks whether the tables have changed.
const REFRESH: Duration = Duration::from_secs(1);
/// Longest wait for one look.
const LOOK_WITHIN: Duration = Duration::from_secs(3);
/// Within what time every service has followed a change; whoever reads must not go on with what it last heard for longer.
pub const FOLLOWED_WITHIN: Duration = Duration::from_secs(10);

/// A version of the metrics table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableVersion {
    /// The table's name.
    pub name: String,
    /// 0 for the first, one more for each rebuild.
    pub generation: u32,
}

/// The versions that are in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsTables {
    /// Goes up with each change.
    pub revision: u64,
    /// The one that is read.
    pub served: TableVersion,
    /// Another that is written too: the one that is being filled, or the one that was read until a moment ago.
    pub other: Option<TableVersion>,
    /// The highest generation that there ever was. A name is never used again: whoever has not heard that a rebuild
    /// was given up may still write to its table.
    pub newest_generation: u32,
    /// Goes up where numbers were lowered: aggregators forget what they remember of the items and read them again.
    pub forget: u32,
}

/// Why it is not known which tables are in use.
#[derive(Debug, thiserror::Error)]
pub enum MetricsTablesError {
    /// The control table did not answer.
    #[error("the control table did not say which version of the metrics table is in use: {0}")]
    Store(String),
    /// The item is not one of ours.
    #[error("the control table's item {kind}/{id} cannot be read", kind = kind::METRICS_TABLES)]
    Unreadable {
        /// The item's id.
        id: String,
    },
    /// Somebody else was faster.
    #[error("the versions of the metrics table were changed by someone else meanwhile")]
    Changed,
}

impl MetricsTables {
    /// Whether aggregators that began with `self` have to begin anew with `other`.
    pub fn is_another(&self, other: &Self) -> bool {
        (&self.served, &self.other, self.forget) != (&other.served, &other.other, other.forget)
    }

    /// What is in use now, read consistently.
    ///
    /// # Errors
    /// Where the control table does not answer or holds something else.
    pub async fn read(store: &Client, tables: &TableNames) -> Result<Self, MetricsTablesError> {
        let answer = store
            .get_item()
            .table_name(&tables.control)
            .key(KIND, s(kind::METRICS_TABLES))
            .key(ID, s(&tables.metrics))
            .consistent_read(true)
            .send()
            .await
            .map_err(|e| MetricsTablesError::Store(DisplayErrorContext(e).to_string()))?;
        match answer.item {
            None => Ok(Self::first(tables)),
            Some(item) => Self::of_item(&item).ok_or_else(|| MetricsTablesError::Unreadable { id: tables.metrics.clone() }),
        }
    }

    /// As it is before the first rebuild.
    pub fn first(tables: &TableNames) -> Self {
        let served = TableVersion { name: tables.metrics.clone(), generation: 0 };
        Self { revision: 0, served, other: None, newest_generation: 0, forget: 0 }
    }

    /// A version that there never was.
    pub fn next_version(&self, tables: &TableNames) -> TableVersion {
        let generation = self.newest_generation + 1;
        TableVersion { name: format!("{}-g{generation}", tables.metrics), generation }
    }

    /// The version that is being filled.
    pub fn filling(&self) -> Option<&TableVersion> {
        self.other.as_ref().filter(|other| other.generation > self.served.generation)
    }

    /// Puts others in use, unless someone else has meanwhile. A repeat after a lost answer is recognised.
    ///
    /// # Errors
    /// Where someone was faster or the control table does not answer.
    pub async fn change(
        &self,
        store: &Client,
        tables: &TableNames,
        (served, other): (TableVersion, Option<TableVersion>),
    ) -> Result<Self, MetricsTablesError> {
        let newest = other.iter().map(|other| other.generation).fold(self.newest_generation, u32::max);
        let newest_generation = newest.max(served.generation);
        self.replace(store, tables, Self { served, other, newest_generation, ..self.clone() }).await
    }

    /// Has the aggregators forget what they remember of the items, unless someone else has changed something meanwhile.
    ///
    /// # Errors
    /// As [`Self::change`].
    pub async fn have_forgotten(&self, store: &Client, tables: &TableNames) -> Result<Self, MetricsTablesError> {
        self.replace(store, tables, Self { forget: self.forget + 1, ..self.clone() }).await
    }

    async fn replace(&self, store: &Client, tables: &TableNames, by: Self) -> Result<Self, MetricsTablesError> {
        let next = Self { revision: self.revision + 1, ..by };
        let mut request = store.put_item().table_name(&tables.control).set_item(Some(next.item(&tables.metrics)));
        request = if self.revision == 0 {
            request.condition_expression("attribute_not_exists(#k)").expression_attribute_names("#k", KIND)
        } else {
            request
                .condition_expression("#r = :r")
                .expression_attribute_names("#r", "revision")
                .expression_attribute_values(":r", n(self.revision))
        };
        match request.send().await {
            Ok(_) => Ok(next),
            Err(e) if e.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => {
                if Self::read(store, tables).await? == next { Ok(next) } else { Err(MetricsTablesError::Changed) }
            }
            Err(e) => Err(MetricsTablesError::Store(DisplayErrorContext(e).to_string())),
        }
    }

    fn item(&self, id: &str) -> Item {
        let mut item = Item::from([
            (KIND.to_owned(), s(kind::METRICS_TABLES)),
            (ID.to_owned(), s(id)),
            ("revision".to_owned(), n(self.revision)),
            ("served".to_owned(), s(&self.served.name)),
            ("served_generation".to_owned(), n(self.served.generation)),
            ("newest_generation".to_owned(), n(self.newest_generation)),
            ("forget".to_owned(), n(self.forget)),
        ]);
        if let Some(other) = &self.other {
            item.extend([("other".to_owned(), s(&other.name)), ("other_generation".to_owned(), n(other.generation))]);
        }
        item
    }

    fn of_item(item: &Item) -> Option<Self> {
        let number = |name: &str| item.get(name).and_then(|v: &AttributeValue| v.as_n().ok())?.parse::<u64>().ok();
        let version = |name: &str| {
            Some(TableVersion {
                name: item.get(name)?.as_s().ok()?.clone(),
                generation: number(&format!("{name}_generation"))?.try_into().ok()?,
            })
        };
        Some(Self {
            revision: number("revision")?,
            served: version("served")?,
            other: version("other"),
            newest_generation: number("newest_generation")?.try_into().ok()?,
            forget: number("forget").unwrap_or(0).try_into().ok()?,
        })
    }
}

/// The generation of a table that a rebuild of `first` made; `None` for any other name.
pub fn generation_of(name: &str, first: &str) -> Option<u32> {
    name.strip_prefix(first)?.strip_prefix("-g")?.parse().ok()
}

/// `tables` with the version of the metrics table that is read now.
///
/// # Errors
/// Where the control table does not answer or holds something else.
pub async fn served(store: &Client, tables: &TableNames) -> Result<TableNames, MetricsTablesError> {
    let now = MetricsTables::read(&patient(store), tables).await?;
    Ok(TableNames { metrics: now.served.name, ..tables.clone() })
}

/// The versions in use, kept fresh in the background.
#[derive(Clone, Debug)]
pub struct FollowedTables {
    store: Client,
    tables: TableNames,
    now: Arc<watch::Sender<MetricsTables>>,
    /// When the control table last answered.
    heard_at: Arc<Mutex<Instant>>,
}

impl FollowedTables {
    /// Reads once, then again and again until `shutdown`.
    ///
    /// # Errors
    /// Where the control table does not answer or holds something else.
    pub async fn start(store: &Client, tables: &TableNames, shutdown: CancellationToken) -> Result<Self, MetricsTablesError> {
        let now = MetricsTables::read(&patient(store), tables).await?;
        let followed = Self {
            store: store.clone(),
            tables: tables.clone(),
            now: Arc::new(watch::Sender::new(now)),
            heard_at: Arc::new(Mutex::new(Instant::now())),
        };
        let kept = followed.clone();
        tokio::spawn(async move {
            while shutdown.run_until_cancelled(tokio::time::sleep(REFRESH)).await.is_some() {
                if let Err(error) = kept.refresh().await {
                    tracing::warn!(%error, "keeping to the versions of the metrics table that were in use");
                }
            }
        });
        Ok(followed)
    }

    /// What is in use as last read.
    pub fn now(&self) -> MetricsTables {
        self.now.borrow().clone()
    }

    /// Whether that may be too long ago: others may be done with a change that this process has not heard of.
    pub fn is_stale(&self) -> bool {
        self.heard_at.lock().map_or(true, |at| at.elapsed() >= FOLLOWED_WITHIN)
    }

    /// Tells of changes.
    pub fn watch(&self) -> watch::Receiver<MetricsTables> {
        self.now.subscribe()
    }

    /// Reads what is in use this very moment.
    ///
    /// # Errors
    /// Where the control table does not answer or holds something else.
    pub async fn refresh(&self) -> Result<MetricsTables, MetricsTablesError> {
        let asked_at = Instant::now();
        let read = tokio::time::timeout(LOOK_WITHIN, MetricsTables::read(&self.store, &self.tables)).await;
        let read = read.map_err(|_| MetricsTablesError::Store("no answer in time".into()))??;
        if let Ok(mut heard_at) = self.heard_at.lock() {
            *heard_at = (*heard_at).max(asked_at);
        }
        self.now.send_if_modified(|now| {
            // Two reads may overtake each other.
            let is_newer = read.revision > now.revision;
            if is_newer {
                now.clone_from(&read);
            }
            is_newer
        });
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        let version = |generation| TableVersion { name: format!("metrics-v{generation}"), generation };
        for other in [None, Some(version(2))] {
            let tables = MetricsTables { revision: 3, served: version(1), other, newest_generation: 4, forget: 2 };
            assert_eq!(MetricsTables::of_item(&tables.item("metrics")), Some(tables));
        }
        assert_eq!(MetricsTables::of_item(&Item::new()), None);
    }

    #[test]
    fn a_name_is_never_used_again() {
        let tables = TableNames::default();
        let mut now = MetricsTables::first(&tables);
        assert_eq!(now.next_version(&tables), TableVersion { name: "ai-agent-metrics-g1".into(), generation: 1 });
        now.newest_generation = 1;
        assert_eq!(now.next_version(&tables).name, "ai-agent-metrics-g2");
    }
}
