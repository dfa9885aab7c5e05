//! The aggregator's requests to the metrics table: read an item, add under the mark, unite users, note agents.

use crate::flush::ItemUpdate;
use crate::insert::{is_hopeless, short};
use crate::partition::Guards;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity, ReturnValue, ReturnValuesOnConditionCheckFailure};
use schemas::item::{AGENT_ID, DATE, FIRST_SEEN, MetricKey, TableNames, USER_SET, directory_partition, n, s};
use schemas::rollup::{Rollup, VERSION, mark_attribute};
use schemas::users::UserSet;
use std::collections::HashMap;
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

/// The metrics table.
#[derive(Clone, Debug)]
pub struct MetricsStore {
    /// The store.
    pub store: Client,
    /// Its tables.
    pub tables: TableNames,
    /// The log's epoch.
    pub epoch: u32,
    /// On, but in tests.
    pub guards: Guards,
}

/// A union that loses against other writers this often in a row is left to a later try.
const UNION_TRIES: usize = 4;

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
            .table_name(&self.tables.metrics)
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

    /// Unites a users item with these hashes; writes only where a register changes. Returns the set as stored.
    pub async fn unite(&self, key: &MetricKey, hashes: &[u64]) -> Result<UserSet, StoreError> {
        for _ in 0..UNION_TRIES {
            let item = self.get(key).await?;
            let stored =
                item.as_ref().and_then(|i| i.get(USER_SET)).and_then(|v| v.as_b().ok()).and_then(|b| UserSet::from_bytes(b.as_ref()));
            let version = item.as_ref().and_then(|i| i.get(VERSION)).and_then(|v| v.as_n().ok()).cloned();
            let mut set = stored.unwrap_or_default();
            if !hashes.iter().fold(false, |changed, h| set.insert(*h) | changed) {
                return Ok(set);
            }
            if self.put_users(key, &set, version).await? {
                return Ok(set);
            }
        }
        Err(StoreError::Passing("other writers united the users faster".into()))
    }

    /// Whether the set was written: not where the version has changed meanwhile.
    async fn put_users(&self, key: &MetricKey, set: &UserSet, version: Option<String>) -> Result<bool, StoreError> {
        let next = version.as_ref().and_then(|v| v.parse::<u64>().ok()).unwrap_or(0) + 1;
        let mut request = self
            .store
            .put_item()
            .table_name(&self.tables.metrics)
            .set_item(Some(key.key()))
            .item(USER_SET, AttributeValue::B(Blob::new(set.to_bytes())))
            .item(VERSION, n(next))
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

    /// Notes an agent in the directory; a repeat changes nothing.
    pub async fn register(&self, agent: &str, first_seen: i64) -> Result<(), StoreError> {
        let started = Instant::now();
        let answer = self
            .store
            .update_item()
            .table_name(&self.tables.metrics)
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
        let answer = self.store.get_item().table_name(&self.tables.metrics).set_key(Some(key.key())).consistent_read(true).send().await;
        crate::measure::operation("GetItem", started, answer.is_ok());
        Ok(answer.map_err(|e| failure("GetItem", &e))?.item)
    }
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

fn failure<E: ProvideErrorMetadata, R>(operation: &'static str, error: &SdkError<E, R>) -> StoreError {
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
