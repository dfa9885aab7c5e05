//! Compares what an item has with what its events add up to. Pure.

use super::finding::{Finding, ItemName};
use crate::fold::Names;
use schemas::item::MetricKey;
use schemas::rollup::{NAMES_PER_ITEM, OTHER, Rollup};
use std::collections::BTreeMap;

/// The counter of duplicates: only the whole log tells how many there were.
const DUPLICATES: &str = "duplicates";

/// Every counter in which an item differs from its recount. `knows_duplicates` says whether the recount has them.
pub(crate) fn differences(key: &MetricKey, stored: &Rollup, mut recount: Rollup, knows_duplicates: bool) -> Vec<Finding> {
    // Names get counters first come, and the item says which came first.
    Names::of(stored).cap(&mut recount);
    let have: BTreeMap<String, i64> = stored.counters().into_iter().chain(stored.maxima()).collect();
    let want: BTreeMap<String, i64> = recount.counters().into_iter().chain(recount.maxima()).collect();
    let crowded = Crowded::of(stored);
    let names: std::collections::BTreeSet<&String> = have.keys().chain(want.keys()).collect();
    let mut findings = Vec::new();
    for counter in names {
        if (counter == DUPLICATES && !knows_duplicates) || crowded.hides(counter) {
            continue;
        }
        let (stored, recounted) = (have.get(counter).copied().unwrap_or(0), want.get(counter).copied().unwrap_or(0));
        if stored != recounted {
            findings.push(Finding::Counter { item: ItemName::from(key), counter: counter.clone(), stored, recounted });
        }
    }
    findings.extend(crowded.sums(key, &have, &want));
    findings
}

/// Kinds of names of which an item has as many as it may. Where two partitions write one item (after the number of
/// partitions was raised), each knows the other's newest names a little late: one name can be counted partly by itself
/// and partly as another. The sum over all names is exact even then, so that is what is compared.
struct Crowded(Vec<&'static str>);

impl Crowded {
    fn of(item: &Rollup) -> Self {
        let is_full = |names: &mut dyn Iterator<Item = &String>| names.filter(|n| *n != OTHER).count() >= NAMES_PER_ITEM;
        let mut prefixes = Vec::new();
        if is_full(&mut item.models.keys()) {
            prefixes.extend(["m#", "mt#", "mc#"]);
        }
        if is_full(&mut item.tools.keys()) {
            prefixes.extend(["t#", "tl#"]);
        }
        if is_full(&mut item.error_types.keys()) {
            prefixes.push("e#");
        }
        Self(prefixes)
    }

    fn hides(&self, counter: &str) -> bool {
        self.0.iter().any(|prefix| counter.starts_with(prefix))
    }

    fn sums(&self, key: &MetricKey, have: &BTreeMap<String, i64>, want: &BTreeMap<String, i64>) -> Vec<Finding> {
        let sum = |of: &BTreeMap<String, i64>, prefix: &str| {
            of.iter().filter(|(name, _)| name.starts_with(prefix)).fold(0i64, |sum, (_, n)| sum.saturating_add(*n))
        };
        let differing = self.0.iter().map(|prefix| (*prefix, sum(have, prefix), sum(want, prefix))).filter(|(_, a, b)| a != b);
        differing
            .map(|(prefix, stored, recounted)| Finding::Counter {
                item: ItemName::from(key),
                counter: format!("{prefix}* together"),
                stored,
                recounted,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::{add, fold};
    use schemas::item::{Period, Subject};
    use schemas::{AgentEvent, MessageType};

    fn key() -> MetricKey {
        MetricKey { subject: Subject::Agent("a".into()), period: Period::Hour(7) }
    }

    fn sum(models: &[&str]) -> Rollup {
        let mut sum = Rollup::default();
        for model in models {
            let mut event = AgentEvent::new("a", 1, "e", MessageType::AgentResponse);
            event.model_used = Some((*model).to_owned());
            event.response_time_ms = Some(12.0);
            event.token_count = Some(3);
            add(&mut sum, &fold(&event), true);
        }
        sum
    }

    #[test]
    fn equal_sums_agree_and_each_counter_that_differs_is_named() {
        let (stored, mut other) = (sum(&["x", "y"]), sum(&["x", "y"]));
        assert_eq!(differences(&key(), &stored, other.clone(), true), []);
        other.tokens += 1;
        other.latency_max_us -= 1;
        other.duplicates = 4;
        let named = |findings: Vec<Finding>| -> Vec<(String, i64, i64)> {
            let counter = |f| match f {
                Finding::Counter { counter, stored, recounted, .. } => (counter, stored, recounted),
                other => panic!("{other}"),
            };
            findings.into_iter().map(counter).collect()
        };
        let latency = ("latency_max_us".to_owned(), 12_000, 11_999);
        assert_eq!(named(differences(&key(), &stored, other.clone(), false)), [latency.clone(), ("tokens".into(), 6, 7)]);
        assert_eq!(named(differences(&key(), &stored, other, true)), [("duplicates".into(), 0, 4), latency, ("tokens".into(), 6, 7)]);
    }

    #[test]
    fn names_beyond_the_first_64_may_be_counted_together_but_not_lost() {
        let names: Vec<String> = (0..70).map(|n| format!("model-{n:02}")).collect();
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut stored = sum(&all);
        Names::default().cap(&mut stored);
        assert_eq!(differences(&key(), &stored, sum(&all), true), []);
        stored.models.get_mut("model-03").expect("a model").calls -= 1;
        let findings = differences(&key(), &stored, sum(&all), true);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].to_string().contains("m#* together is 69, its events add up to 70"), "{}", findings[0]);
    }
}
