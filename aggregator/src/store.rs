//! The aggregator's requests to the metrics table: read an item, add under the mark, unite users, note agents.

use crate::flush::ItemUpdate;
use crate::insert::{is_hopeless, short};
use crate::partition::Guards;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity, ReturnValue, ReturnValuesOnConditionCheckFailure};
use schemas::item::{AGENT_ID, CORRECTED_BY, DATE, FIRST_SEEN, MetricKey, USER_SET, directory_partition, n, s};
use schemas::rollup::{Rollup, VERSION, mark_attribute};
use schemas::users::UserSet;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::time::Instant;

/// Why a request did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Throttled, no answer, or a passing failure: it may or may not have been applied.
    #[error("the store did not answer: {0}")]
    Passing(String),
    /// No retry can mend it.
    #[error("the store refused {operation}: {code}: {message}")]
    Hopeless {
        /// The operation.
        operation: &'static str,
        /// The store's error code.
        code: String,
        /// The store's message, without content.
        message: String,
    },
}

/// What became of an update.
#[derive(Debug)]
pub enum Updated {
    /// Applied; the item as it is now, where asked for.
    Applied(Option<Rollup>),
    /// Not applied: the mark (or a maximum) is beyond the condition; the item as it is.
    Refused(Rollup),
}

/// A version of the metrics table.
#[derive(Clone, Debug)]
pub struct MetricsStore {
    /// The store.
    pub store: Client,
    /// The table's name.
    pub table: String,
    /// The log's epoch.
    pub epoch: u32,
    /// On, but in tests.
    pub guards: Guards,
}

/// Marks an item that a rebuild has filled, with the time; text, so that it is no counter.
pub(crate) const FILLED: &str = "filled_at";

/// A rollup with what a deletion needs to replace it.
#[derive(Clone, Debug)]
pub(crate) struct Correctable {
    /// Its counters, maxima, marks and version.
    pub(crate) rollup: Rollup,
    /// The deletion that it was last corrected by.
    pub(crate) by: Option<String>,
    /// Attributes that are none of a rollup's.
    rest: HashMap<String, AttributeValue>,
}

/// A users item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StoredUsers {
    /// The users.
    pub(crate) set: UserSet,
    /// `None` where there is no item.
    pub(crate) version: Option<i64>,
    /// Only where a deletion took users away: up to where everything was united by then, by epoch and partition.
    pub(crate) marks: BTreeMap<(u32, u32), u64>,
}

/// A union that loses against other writers this often in a row is left to a later try.
const UNION_TRIES: usize = 4;
/// A rebuild's union is tried again with pauses that double up to this.
const LONGEST_WAIT: std::time::Duration = std::time::Duration::from_secs(10);

impl MetricsStore {
    /// Reads a rollup consistently.
    pub async fn read(&self, key: &MetricKey) -> Result<Option<Rollup>, StoreError> {
        Ok(self.get(key).await?.map(|item| Rollup::from_item(&item)))
    }

    /// Adds under the mark of `partition`. `return_new` asks for the item as it is afterwards.
    pub async fn update(&self, key: &MetricKey, partition: u32, update: &ItemUpdate, return_new: bool) -> Result<Updated, StoreError> {
        let expression = Expression::of(update, &mark_attribute(self.epoch, partition), self.guards);
        let request = self
            .store
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key.key()))
            .update_expression(expression.update)
            .set_condition_expression(expression.condition)
            .set_expression_attribute_names(Some(expression.names))
            .set_expression_attribute_values(Some(expression.values))
            .return_values(if return_new { ReturnValue::AllNew } else { ReturnValue::None })
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let started = Instant::now();
        let answer = request.send().await;
        crate::measure::operation("UpdateItem", started, answer.is_ok());
        match answer {
            Ok(answer) => {
                crate::measure::write_units("UpdateItem", answer.consumed_capacity().and_then(|c| c.capacity_units).unwrap_or(0.0));
                Ok(Updated::Applied(answer.attributes.as_ref().filter(|_| return_new).map(Rollup::from_item)))
            }
            Err(SdkError::ServiceError(e)) if e.err().is_conditional_check_failed_exception() => {
                crate::measure::store_failure("UpdateItem", "ConditionalCheckFailed");
                let UpdateItemError::ConditionalCheckFailedException(failed) = e.into_err() else {
                    return Err(StoreError::Passing("no item with a failed condition".into()));
                };
                match failed.item {
                    Some(item) => Ok(Updated::Refused(Rollup::from_item(&item))),
                    None => self.read(key).await.map(|item| Updated::Refused(item.unwrap_or_default())),
                }
            }
            Err(e) => Err(failure("UpdateItem", &e)),
        }
    }

    /// Reads a rollup consistently, and whether it has that attribute.
    pub(crate) async fn read_with(&self, key: &MetricKey, attribute: &str) -> Result<(Option<Rollup>, bool), StoreError> {
        let item = self.get(key).await?;
        let has = item.as_ref().is_some_and(|item| item.contains_key(attribute));
        Ok((item.map(|item| Rollup::from_item(&item)), has))
    }

    /// Replaces a rollup by itself with everything from before a rebuild, and marks it [`FILLED`]. Whether it was written:
    /// not where it has another version by now (`None`: where it is there).
    pub(crate) async fn put_filled(&self, key: &MetricKey, filled: &Rollup, version: Option<i64>) -> Result<bool, StoreError> {
        let mut item = rollup_item(key, filled);
        item.insert(FILLED.into(), s(schemas::time::format_micros(schemas::time::now_micros())));
        self.put_if(item, version.map(|v| v.to_string())).await
    }

    /// Reads a rollup consistently, with what else a deletion needs of it.
    pub(crate) async fn read_corrected(&self, key: &MetricKey) -> Result<Option<Correctable>, StoreError> {
        Ok(self.get(key).await?.map(|mut item| {
            let rollup = Rollup::from_item(&item);
            let by = item.get(CORRECTED_BY).and_then(|v| v.as_s().ok()).cloned();
            item.retain(|name, _| !Rollup::has(name));
            Correctable { rollup, by, rest: item }
        }))
    }

    /// Replaces the rollup that was read by one without deleted events, with the names of which none is left where they still
    /// take up room. Whether it was written: not where it has another version by now.
    pub(crate) async fn put_corrected(
        &self,
        key: &MetricKey,
        read: &Correctable,
        (corrected, by, names): (&Rollup, &str, &[String]),
    ) -> Result<bool, StoreError> {
        let mut item = read.rest.clone();
        item.extend(rollup_item(key, corrected));
        for name in names {
            item.entry(name.clone()).or_insert_with(|| n(0));
        }
        item.insert(CORRECTED_BY.into(), s(by));
        self.put_if(item, Some(read.rollup.version.to_string())).await
    }

    /// Reads a set of users consistently.
    pub(crate) async fn read_users(&self, key: &MetricKey) -> Result<StoredUsers, StoreError> {
        let item = self.get(key).await?.unwrap_or_default();
        let set = item.get(USER_SET).and_then(|v| v.as_b().ok()).and_then(|b| UserSet::from_bytes(b.as_ref()));
        let Rollup { version, marks, .. } = Rollup::from_item(&item);
        Ok(StoredUsers { set: set.unwrap_or_default(), version: item.contains_key(VERSION).then_some(version), marks })
    }

    /// Unites a users item with these users of a partition, each an offset and a hash; writes only where a register changes.
    /// Returns the set as stored.
    pub async fn unite(&self, key: &MetricKey, partition: u32, users: &[(u64, u64)]) -> Result<UserSet, StoreError> {
        self.unite_by(key, |stored| {
            // Everything up to a mark was united before a deletion took some of it away: a late writer must not bring it back.
            let mark = stored.marks.get(&(self.epoch, partition)).copied();
            let new = users.iter().filter(|(offset, _)| mark.is_none_or(|mark| mark < *offset));
            new.fold(false, |changed, (_, hash)| stored.set.insert(*hash) | changed)
        })
        .await
    }

    /// Unites a users item with a set, until no other writer is faster.
    pub(crate) async fn unite_set(&self, key: &MetricKey, others: &UserSet) -> Result<(), StoreError> {
        let mut wait = std::time::Duration::from_millis(20);
        loop {
            match self.unite_by(key, |stored| stored.set.unite(others)).await {
                Err(StoreError::Passing(_)) if wait < LONGEST_WAIT => tokio::time::sleep(wait).await,
                outcome => return outcome.map(drop),
            }
            wait *= 2;
        }
    }

    async fn unite_by(&self, key: &MetricKey, unite: impl Fn(&mut StoredUsers) -> bool) -> Result<UserSet, StoreError> {
        for _ in 0..UNION_TRIES {
            let mut stored = self.read_users(key).await?;
            if !unite(&mut stored) || self.put_users(key, &stored).await? {
                return Ok(stored.set);
            }
        }
        Err(StoreError::Passing("other writers united the users faster".into()))
    }

    /// Replaces a users item. Whether it was written: not where its version is no longer the one that was read.
    pub(crate) async fn put_users(&self, key: &MetricKey, users: &StoredUsers) -> Result<bool, StoreError> {
        let mut item = key.key();
        item.insert(USER_SET.into(), AttributeValue::B(Blob::new(users.set.to_bytes())));
        item.extend(users.marks.iter().map(|((epoch, partition), mark)| (mark_attribute(*epoch, *partition), n(mark))));
        item.insert(VERSION.into(), n(users.version.unwrap_or(0) + 1));
        self.put_if(item, users.version.map(|version| version.to_string())).await
    }

    /// Puts an item where it has this version, or is not there; whether it did.
    async fn put_if(&self, item: HashMap<String, AttributeValue>, version: Option<String>) -> Result<bool, StoreError> {
        let mut request = self
            .store
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .expression_attribute_names("#v", VERSION)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        request = match version {
            Some(v) => request.condition_expression("#v = :v").expression_attribute_values(":v", AttributeValue::N(v)),
            None => request.condition_expression("attribute_not_exists(#v)"),
        };
        let started = Instant::now();
        let answer = request.send().await;
        crate::measure::operation("PutItem", started, answer.is_ok());
        match answer {
            Ok(answer) => {
                crate::measure::write_units("PutItem", answer.consumed_capacity().and_then(|c| c.capacity_units).unwrap_or(0.0));
                Ok(true)
            }
            Err(SdkError::ServiceError(e)) if e.err().is_conditional_check_failed_exception() => Ok(false),
            Err(e) => Err(failure("PutItem", &e)),
        }
    }

    /// Notes an agent in the directory; whatever is noted there is later.
    pub(crate) async fn register_first(&self, agent: &str, first_seen: i64) -> Result<(), StoreError> {
        let answer = self
            .store
            .put_item()
            .table_name(&self.table)
            .item(AGENT_ID, s(directory_partition(agent)))
            .item(DATE, s(agent))
            .item(FIRST_SEEN, n(first_seen))
            .send()
            .await;
        answer.map(drop).map_err(|e| failure("PutItem", &e))
    }

    /// Takes an agent out of the directory.
    pub(crate) async fn unregister(&self, agent: &str) -> Result<(), StoreError> {
        let key = [(AGENT_ID.to_owned(), s(directory_partition(agent))), (DATE.to_owned(), s(agent))];
        let answer = self.store.delete_item().table_name(&self.table).set_key(Some(HashMap::from(key))).send().await;
        answer.map(drop).map_err(|e| failure("DeleteItem", &e))
    }

    /// Notes an agent in the directory; a repeat changes nothing.
    pub async fn register(&self, agent: &str, first_seen: i64) -> Result<(), StoreError> {
        let started = Instant::now();
        let answer = self
            .store
            .update_item()
            .table_name(&self.table)
            .key(AGENT_ID, s(directory_partition(agent)))
            .key(DATE, s(agent))
            .update_expression("SET #f = if_not_exists(#f, :f)")
            .expression_attribute_names("#f", FIRST_SEEN)
            .expression_attribute_values(":f", n(first_seen))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        crate::measure::operation("UpdateItem", started, answer.is_ok());
        let answer = answer.map_err(|e| failure("UpdateItem", &e))?;
        crate::measure::write_units("UpdateItem", answer.consumed_capacity().and_then(|c| c.capacity_units).unwrap_or(0.0));
        Ok(())
    }

    async fn get(&self, key: &MetricKey) -> Result<Option<HashMap<String, AttributeValue>>, StoreError> {
        let started = Instant::now();
        let answer = self.store.get_item().table_name(&self.table).set_key(Some(key.key())).consistent_read(true).send().await;
        crate::measure::operation("GetItem", started, answer.is_ok());
        Ok(answer.map_err(|e| failure("GetItem", &e))?.item)
    }
}

/// Everything of a rollup as an item.
fn rollup_item(key: &MetricKey, rollup: &Rollup) -> HashMap<String, AttributeValue> {
    let mut item = key.key();
    item.extend(rollup.counters().into_iter().chain(rollup.maxima()).map(|(name, value)| (name, n(value))));
    item.extend(rollup.marks.iter().map(|((epoch, partition), mark)| (mark_attribute(*epoch, *partition), n(mark))));
    item.insert(VERSION.into(), n(rollup.version));
    item
}

/// An `UpdateItem` expression with its placeholders.
struct Expression {
    update: String,
    condition: Option<String>,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Expression {
    fn of(update: &ItemUpdate, mark: &str, guards: Guards) -> Self {
        let mut names = HashMap::from([("#m".to_owned(), mark.to_owned()), ("#v".to_owned(), VERSION.to_owned())]);
        let mut values = HashMap::from([(":m".to_owned(), n(update.last)), (":f".to_owned(), n(update.first)), (":v".to_owned(), n(1))]);
        let mut add = String::from("ADD #v :v");
        for (i, (name, value)) in update.sum.counters().into_iter().enumerate() {
            write!(add, ",#{i} :{i}").expect("writing to a string cannot fail");
            names.insert(format!("#{i}"), name);
            values.insert(format!(":{i}"), n(value));
        }
        let mut set = String::from(" SET #m=:m");
        let mut condition = String::from("(attribute_not_exists(#m) OR #m<:f)");
        for (i, (name, value)) in update.maxima.iter().enumerate() {
            write!(set, ",#x{i}=:x{i}").expect("writing to a string cannot fail");
            write!(condition, " AND (attribute_not_exists(#x{i}) OR #x{i}<:x{i})").expect("writing to a string cannot fail");
            names.insert(format!("#x{i}"), name.clone());
            values.insert(format!(":x{i}"), n(value));
        }
        let condition = guards.mark_condition.then_some(condition);
        if condition.is_none() {
            values.remove(":f");
        }
        Self { update: add + &set, condition, names, values }
    }
}

pub(crate) fn failure<E: ProvideErrorMetadata, R>(operation: &'static str, error: &SdkError<E, R>) -> StoreError {
    let code = error.code().unwrap_or("no_answer");
    crate::measure::store_failure(operation, code);
    if is_hopeless(error) {
        return StoreError::Hopeless { operation, code: code.into(), message: short(error.message().unwrap_or_default()) };
    }
    StoreError::Passing(code.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::rollup::ModelUse;

    #[test]
    fn the_largest_update_stays_below_the_limit_of_an_expression() {
        let mut sum = Rollup { calls: 1, last_at: 1, latency_max_us: 1, ..Rollup::default() };
        for i in 0..100 {
            sum.models.insert(format!("model-{i}"), ModelUse { calls: 1, tokens: 1, cost_nanousd: 1 });
        }
        let maxima = sum.maxima();
        let e = Expression::of(&ItemUpdate { first: 1, last: 2, sum, maxima }, "mark_0_1", Guards::default());
        assert!(e.update.len() < 4_096 && e.condition.is_some_and(|c| c.len() < 4_096));
    }
}
