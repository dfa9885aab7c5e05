//! Writes raw events, each only if it is absent, and tells a replay from a duplicate.
//!
//! One `BatchExecuteStatement` with up to 25 PartiQL `INSERT`s; then, for those that answered `DuplicateItem`,
//! one consistent `BatchGetItem` of `src`. `src` is never overwritten, so whatever is retried, delivered twice
//! or late, an event is counted from the one position that it was stored from.

use crate::partition::{Guards, InsertOutcome, Insertion};
use crate::shards::ShardPlans;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{
    AttributeValue, BatchStatementErrorCodeEnum, BatchStatementRequest, KeysAndAttributes, ReturnConsumedCapacity,
};
use event_log::Position;
use schemas::MessageType;
use schemas::item::{
    AGENT_ID, CONTENT_HASH, DELETED, EventItemOptions, SRC, TIMESTAMP, TableNames, event_attributes, event_partition_key, event_sort_key, s,
};
use std::collections::HashMap;

/// How raw events are written.
#[derive(Clone, Debug)]
pub struct Inserter {
    /// The store.
    pub store: Client,
    /// Its tables.
    pub tables: TableNames,
    /// The log's epoch.
    pub epoch: u32,
    /// Types that the index by type holds.
    pub indexed_types: Vec<MessageType>,
    /// How agents' raw events are sharded.
    pub shard_plans: ShardPlans,
    /// On, but in tests.
    pub guards: Guards,
}

/// The store answered something that no retry and no dead letter can mend.
#[derive(Debug, thiserror::Error)]
#[error("the store refused inserts: {code}: {message}")]
pub struct InsertError {
    code: String,
    message: String,
}

/// What the store has under an event's key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Existing {
    /// Position of its insert; absent where another program wrote it.
    pub src: Option<String>,
    /// Hash of its content; absent where the id was derived from it.
    pub content_hash: Option<[u8; 16]>,
    /// Whether only the marker of a deleted event is left.
    pub is_deleted: bool,
}

/// Judges an event whose key is taken already.
pub fn judge(existing: &Existing, own_src: &str, own_hash: &[u8; 16], guards: Guards) -> InsertOutcome {
    if guards.compare_src && existing.src.as_deref() == Some(own_src) {
        return if existing.is_deleted { InsertOutcome::Deleted } else { InsertOutcome::Replay };
    }
    match existing.content_hash {
        Some(hash) if hash != *own_hash => InsertOutcome::Conflict,
        _ => InsertOutcome::Duplicate,
    }
}

impl Inserter {
    /// Inserts events of one partition. Keys must be unique within the call.
    pub async fn insert(&self, partition: u32, insertions: &[Insertion]) -> Result<Vec<(u64, InsertOutcome)>, InsertError> {
        let statements = insertions.iter().map(|i| self.statement(partition, i)).collect();
        let request =
            self.store.batch_execute_statement().set_statements(Some(statements)).return_consumed_capacity(ReturnConsumedCapacity::Total);
        let started = std::time::Instant::now();
        let answer = request.send().await;
        crate::measure::operation("BatchExecuteStatement", started, answer.is_ok());
        let answer = match answer {
            Ok(answer) => answer,
            // One statement that the store finds malformed fails them all: each for itself, then.
            Err(e) if e.code() == Some("ValidationException") => match insertions {
                [only] => return Ok(vec![(only.offset, InsertOutcome::Invalid(short(e.message().unwrap_or_default())))]),
                _ => return self.insert_one_by_one(partition, insertions).await,
            },
            Err(e) if is_hopeless(&e) => {
                return Err(InsertError { code: e.code().unwrap_or("unknown").into(), message: short(e.message().unwrap_or_default()) });
            }
            Err(e) => {
                crate::measure::store_failure("BatchExecuteStatement", e.code().unwrap_or("no_answer"));
                return Ok(insertions.iter().map(|i| (i.offset, InsertOutcome::Retry)).collect());
            }
        };
        crate::measure::write_units("BatchExecuteStatement", answer.consumed_capacity().iter().filter_map(|c| c.capacity_units).sum());
        let mut outcomes = Vec::with_capacity(insertions.len());
        let mut taken = Vec::new();
        for (i, insertion) in insertions.iter().enumerate() {
            let error = answer.responses().get(i).and_then(|r| r.error());
            let Some(error) = error else {
                outcomes.push((insertion.offset, InsertOutcome::New));
                continue;
            };
            use BatchStatementErrorCodeEnum as Code;
            match error.code() {
                Some(Code::DuplicateItem) => taken.push(insertion),
                Some(
                    code @ (Code::ThrottlingError
                    | Code::ProvisionedThroughputExceeded
                    | Code::RequestLimitExceeded
                    | Code::InternalServerError
                    | Code::TransactionConflict),
                ) => {
                    crate::measure::store_failure("BatchExecuteStatement", code.as_str());
                    outcomes.push((insertion.offset, InsertOutcome::Retry));
                }
                Some(Code::ValidationError | Code::ItemCollectionSizeLimitExceeded) => {
                    outcomes.push((insertion.offset, InsertOutcome::Invalid(short(error.message().unwrap_or("refused by the store")))));
                }
                code => {
                    return Err(InsertError {
                        code: code.map_or("unknown", |c| c.as_str()).into(),
                        message: short(error.message().unwrap_or_default()),
                    });
                }
            }
        }
        if !taken.is_empty() {
            self.judge_taken(partition, &taken, &mut outcomes).await;
        }
        Ok(outcomes)
    }

    async fn insert_one_by_one(&self, partition: u32, insertions: &[Insertion]) -> Result<Vec<(u64, InsertOutcome)>, InsertError> {
        let mut outcomes = Vec::with_capacity(insertions.len());
        for insertion in insertions {
            outcomes.extend(Box::pin(self.insert(partition, std::slice::from_ref(insertion))).await?);
        }
        Ok(outcomes)
    }

    /// One consistent read of what holds the keys. A key that is not found any more is inserted again.
    async fn judge_taken(&self, partition: u32, taken: &[&Insertion], outcomes: &mut Vec<(u64, InsertOutcome)>) {
        let keys: Vec<_> = taken
            .iter()
            .map(|i| {
                let (hash, range) = self.key(i);
                HashMap::from([(AGENT_ID.to_owned(), s(hash)), (TIMESTAMP.to_owned(), s(range))])
            })
            .collect();
        let request = KeysAndAttributes::builder()
            .set_keys(Some(keys))
            .consistent_read(true)
            .projection_expression("#a, #t, #s, #h, #d")
            .expression_attribute_names("#a", AGENT_ID)
            .expression_attribute_names("#t", TIMESTAMP)
            .expression_attribute_names("#s", SRC)
            .expression_attribute_names("#h", CONTENT_HASH)
            .expression_attribute_names("#d", DELETED)
            .build()
            .expect("keys are set");
        let started = std::time::Instant::now();
        let answer = self.store.batch_get_item().request_items(&self.tables.events, request).send().await;
        crate::measure::operation("BatchGetItem", started, answer.is_ok());
        let found: HashMap<(String, String), Existing> = match &answer {
            Ok(answer) => answer
                .responses()
                .and_then(|r| r.get(&self.tables.events))
                .into_iter()
                .flatten()
                .filter_map(|item| {
                    let text = |name: &str| item.get(name).and_then(|v| v.as_s().ok()).cloned();
                    let content_hash = item.get(CONTENT_HASH).and_then(|v| v.as_b().ok()).and_then(|b| b.as_ref().try_into().ok());
                    Some((
                        (text(AGENT_ID)?, text(TIMESTAMP)?),
                        Existing { src: text(SRC), content_hash, is_deleted: item.contains_key(DELETED) },
                    ))
                })
                .collect(),
            Err(e) => {
                crate::measure::store_failure("BatchGetItem", e.code().unwrap_or("no_answer"));
                HashMap::new()
            }
        };
        for insertion in taken {
            let src = self.src(partition, insertion.offset);
            let outcome = found
                .get(&self.key(insertion))
                .map_or(InsertOutcome::Retry, |existing| judge(existing, &src, &insertion.event.content_hash, self.guards));
            outcomes.push((insertion.offset, outcome));
        }
    }

    fn statement(&self, partition: u32, insertion: &Insertion) -> BatchStatementRequest {
        let options = EventItemOptions { indexed_types: self.indexed_types.clone(), ttl: insertion.ttl };
        let (hash, _) = self.key(insertion);
        let attributes = event_attributes(&insertion.event, &hash, &self.src(partition, insertion.offset), &options);
        let names: usize = attributes.iter().map(|(name, _)| name.len() + 5).sum();
        let mut text = String::with_capacity(24 + self.tables.events.len() + names);
        text.extend(["INSERT INTO \"", &self.tables.events, "\" VALUE {"]);
        let mut parameters: Vec<AttributeValue> = Vec::with_capacity(attributes.len());
        for (i, (name, value)) in attributes.into_iter().enumerate() {
            text.extend([if i == 0 { "'" } else { ",'" }, name, "':?"]);
            parameters.push(value);
        }
        text.push('}');
        BatchStatementRequest::builder().statement(text).set_parameters(Some(parameters)).build().expect("the statement is set")
    }

    fn key(&self, insertion: &Insertion) -> (String, String) {
        let event = &insertion.event;
        let plans = self.shard_plans.of(&event.agent_id);
        (event_partition_key(&event.agent_id, event.timestamp, &event.event_id, &plans), event_sort_key(event.timestamp, &event.event_id))
    }

    fn src(&self, partition: u32, offset: u64) -> String {
        Position { epoch: self.epoch, partition, offset }.src()
    }
}

/// Whether a request as a whole failed in a way that a retry cannot mend: ours, not the store's fault.
pub fn is_hopeless<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    if !matches!(error, SdkError::ServiceError(_)) {
        return matches!(error, SdkError::ConstructionFailure(_));
    }
    matches!(error.code(), Some("ValidationException" | "ResourceNotFoundException" | "AccessDeniedException" | "SerializationException"))
}

/// Stores echo whole requests in their messages: content must not reach a log or a dead letter.
pub fn short(message: &str) -> String {
    let until = message.find(['{', '[', '"', '\'']).unwrap_or(message.len());
    message[..until].chars().take(160).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_position_is_a_replay_and_another_a_duplicate() {
        let existing = Existing { src: Some("0:1:2".into()), content_hash: Some([1; 16]), is_deleted: false };
        let judge = |src: &str, hash| judge(&existing, src, &[hash; 16], Guards::default());
        assert_eq!(judge("0:1:2", 1), InsertOutcome::Replay);
        assert_eq!(judge("0:1:3", 1), InsertOutcome::Duplicate);
        assert_eq!(judge("0:1:3", 2), InsertOutcome::Conflict);
        assert_eq!(judge("1:1:2", 1), InsertOutcome::Duplicate);
        let marker = Existing { content_hash: None, is_deleted: true, ..existing.clone() };
        let of_marker = |src: &str| super::judge(&marker, src, &[1; 16], Guards::default());
        assert_eq!((of_marker("0:1:2"), of_marker("0:1:3")), (InsertOutcome::Deleted, InsertOutcome::Duplicate));
    }
}
