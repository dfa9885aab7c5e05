//! The audit of a deletion: what it subtracted from each rollup of a day, in the control table. Noted before it is subtracted,
//! and once, so that a deletion that is begun again finds what it was about.

use super::{DeleteError, Work};
use crate::store::failure;
use aws_sdk_dynamodb::types::AttributeValue;
use schemas::item::{ID, Item, KIND, MetricKey, Period, Subject, kind, n, s};
use schemas::rollup::Rollup;
use schemas::time::{format_micros, now_micros, parse_day};

/// The counter of all events.
const CALLS: &str = "calls";
const PARTIAL: &str = "is_partial";

/// That something was subtracted from the rollup of a day.
#[derive(Clone, Debug)]
pub(super) struct Correction {
    /// Whose rollup.
    pub(super) subject: Subject,
    /// Of which day.
    pub(super) day: i32,
    /// How many events.
    pub(super) calls: i64,
    /// Whether its maxima and users stay as they are: what is left of the day nobody knows.
    pub(super) is_partial: bool,
}

impl Work<'_> {
    /// Notes what is subtracted from the rollup of a day; answers what was noted before, by an earlier run.
    pub(super) async fn note(
        &self,
        (subject, day): (&Subject, i32),
        sum: &Rollup,
        is_partial: bool,
    ) -> Result<Option<Rollup>, DeleteError> {
        let key = MetricKey { subject: subject.clone(), period: Period::Day(day) };
        let id = format!("{}#{}#{}", self.deletion.id, key.partition_key(), key.sort_key());
        let mut item: Item = sum.counters().into_iter().map(|(name, value)| (name, n(value))).collect();
        item.extend([
            (KIND.to_owned(), s(kind::CORRECTION)),
            (ID.to_owned(), s(&id)),
            (PARTIAL.to_owned(), AttributeValue::Bool(is_partial)),
            ("at".to_owned(), s(format_micros(now_micros()))),
        ]);
        let put = self.store.put_item().table_name(&self.deleter.tables.control).set_item(Some(item));
        match put.condition_expression("attribute_not_exists(#k)").expression_attribute_names("#k", KIND).send().await {
            Ok(_) => Ok(None),
            Err(e) if e.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => {
                let get = self.store.get_item().table_name(&self.deleter.tables.control).key(KIND, s(kind::CORRECTION)).key(ID, s(id));
                let noted = get.consistent_read(true).send().await.map_err(|e| failure("GetItem", &e))?.item;
                Ok(noted.as_ref().map(Rollup::from_item))
            }
            Err(e) => Err(failure("PutItem", &e).into()),
        }
    }

    /// Everything that this deletion has noted.
    pub(super) async fn corrections(&self) -> Result<Vec<Correction>, DeleteError> {
        let prefix = format!("{}#", self.deletion.id);
        let mut items = self
            .store
            .query()
            .table_name(&self.deleter.tables.control)
            .key_condition_expression("#k = :k AND begins_with(#i, :i)")
            .expression_attribute_names("#k", KIND)
            .expression_attribute_names("#i", ID)
            .projection_expression("#i, #c, #p")
            .expression_attribute_names("#p", PARTIAL)
            .expression_attribute_names("#c", CALLS)
            .expression_attribute_values(":k", s(kind::CORRECTION))
            .expression_attribute_values(":i", s(&prefix))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let mut corrections = Vec::new();
        while let Some(item) = items.next().await {
            let item = item.map_err(|e| failure("Query", &e))?;
            let id = item.get(ID).and_then(|v| v.as_s().ok()).cloned().unwrap_or_default();
            corrections.push(correction_of(&item, id.strip_prefix(&prefix).unwrap_or_default()).ok_or(DeleteError::Unreadable { id })?);
        }
        Ok(corrections)
    }
}

/// `of`: the rollup's partition key and day, joined by `#`.
fn correction_of(item: &Item, of: &str) -> Option<Correction> {
    let (subject, day) = of.rsplit_once('#')?;
    let subject = match subject.strip_prefix("*~") {
        Some(partition) => Subject::Fleet(partition.parse().ok()?),
        None => Subject::Agent(subject.into()),
    };
    let calls = item.get(CALLS).and_then(|v| v.as_n().ok()?.parse().ok()).unwrap_or(0);
    let is_partial = item.get(PARTIAL).and_then(|v| v.as_bool().ok()).copied().unwrap_or(false);
    Some(Correction { subject, day: parse_day(day)?, calls, is_partial })
}
