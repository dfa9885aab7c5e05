//! Rollups and users of agents and the fleet, by day and by hour, and sums over spans of times. A span costs the day
//! items of the whole days within and the hour items of its two ragged ends, never an hour item for every hour.

use super::{Item, Selection, Store, StoreError, WIDTH, text};
use crate::parameters::Span;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use schemas::item::{AGENT_ID, DATE, MetricKey, Period, Subject, USER_SET, s};
use schemas::rollup::Rollup;
use schemas::users::UserSet;
use std::collections::{BTreeMap, HashSet};
use std::ops::RangeInclusive;

/// Rollups by the number of their day or hour, and whose they are.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    /// One without an item is missing.
    pub(crate) by_number: BTreeMap<i32, Rollup>,
    /// The agents that have events in them; of the fleet, its parts.
    pub(crate) active: HashSet<String>,
}

/// Which items cover a span.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cover {
    /// The whole days.
    days: Option<RangeInclusive<i32>>,
    /// The hours before and after them.
    hours: Vec<RangeInclusive<i32>>,
}

impl Cover {
    /// Covers all hours that the span touches.
    fn of(span: Span) -> Self {
        let (first, last) = span.hours().into_inner();
        // A day is whole where both its first and its last hour are touched.
        let (first_day, last_day) = ((first + 23).div_euclid(24), (last + 1).div_euclid(24) - 1);
        if first_day > last_day {
            return Self { days: None, hours: vec![first..=last] };
        }
        let hours = [first..=first_day * 24 - 1, (last_day + 1) * 24..=last].into_iter().filter(|hours| !hours.is_empty()).collect();
        Self { days: Some(first_day..=last_day), hours }
    }
}

impl Sums {
    /// All of it in one.
    pub(crate) fn total(&self) -> Rollup {
        let mut total = Rollup::default();
        self.by_number.values().for_each(|rollup| total.add(rollup));
        total
    }

    fn add(&mut self, number: i32, partition_key: &str, rollup: &Rollup) {
        if rollup.calls > 0 {
            let whose = partition_key.split('#').next().unwrap_or(partition_key);
            if !self.active.contains(whose) {
                self.active.insert(whose.to_owned());
            }
        }
        self.by_number.entry(number).or_default().add(rollup);
    }

    fn join(&mut self, other: Self, number_of: impl Fn(i32) -> i32) {
        for (number, rollup) in &other.by_number {
            self.by_number.entry(number_of(*number)).or_default().add(rollup);
        }
        self.active.extend(other.active);
    }
}

impl Store {
    /// One rollup.
    pub async fn rollup(&self, key: &MetricKey) -> Result<Option<Rollup>, StoreError> {
        let request = self.inner.client.get_item().table_name(self.metrics_table()?.name).set_key(Some(key.key())).consistent_read(true);
        let answer = self.tried("GetItem", || request.clone().send()).await?;
        Ok(answer.item.as_ref().map(Rollup::from_item))
    }

    /// The rollups of these days, by day; a day without an item is missing.
    pub(crate) async fn days(&self, selection: &Selection, days: RangeInclusive<i32>) -> Result<BTreeMap<i32, Rollup>, StoreError> {
        Ok(self.sums_of_days(selection, days).await?.by_number)
    }

    /// The rollups of these hours, by hour; an hour without an item is missing.
    pub(crate) async fn hours(&self, selection: &Selection, hours: RangeInclusive<i32>) -> Result<BTreeMap<i32, Rollup>, StoreError> {
        Ok(self.sums_of_hours(selection, hours).await?.by_number)
    }

    /// The same with the agents that have events on them.
    pub(crate) async fn sums_of_days(&self, selection: &Selection, days: RangeInclusive<i32>) -> Result<Sums, StoreError> {
        self.sums(selection, Period::Day(*days.start()), Period::Day(*days.end()), schemas::time::parse_day).await
    }

    /// The same with the agents that have events in them.
    pub(crate) async fn sums_of_hours(&self, selection: &Selection, hours: RangeInclusive<i32>) -> Result<Sums, StoreError> {
        self.sums(selection, Period::Hour(*hours.start()), Period::Hour(*hours.end()), parse_hour).await
    }

    /// The hours that a span touches, by day: whole days from day items, the others as far as the span goes.
    pub(crate) async fn sums_of_span(&self, selection: &Selection, span: Span) -> Result<Sums, StoreError> {
        let cover = Cover::of(span);
        let of_hours = cover.hours.into_iter().map(|hours| self.sums_of_hours(selection, hours));
        let of_days = async {
            match cover.days {
                Some(days) => self.sums_of_days(selection, days).await,
                None => Ok(Sums::default()),
            }
        };
        let (mut sums, ends) = tokio::try_join!(of_days, futures::future::try_join_all(of_hours))?;
        ends.into_iter().for_each(|end| sums.join(end, |hour| hour.div_euclid(24)));
        Ok(sums)
    }

    /// What became of the log's records, by day of their append; a day without any is missing.
    pub(crate) async fn records(&self, days: RangeInclusive<i32>) -> Result<BTreeMap<i32, Rollup>, StoreError> {
        let subjects = (0..self.inner.shards.fleet_partitions().await).map(Subject::Log).collect();
        let mut by_day: BTreeMap<i32, Rollup> = BTreeMap::new();
        let mut items = std::pin::pin!(self.metric_items(subjects, Period::Day(*days.start()), Period::Day(*days.end()))?);
        while let Some(item) = items.try_next().await? {
            if let Some(day) = text(&item, DATE).and_then(schemas::time::parse_day) {
                by_day.entry(day).or_default().add(&Rollup::from_item(&item));
            }
        }
        Ok(by_day)
    }

    /// The users of these days, by day; a day without an item is missing.
    pub(crate) async fn users(&self, selection: &Selection, days: RangeInclusive<i32>) -> Result<BTreeMap<i32, UserSet>, StoreError> {
        let (first, last) = (Period::Users(*days.start()), Period::Users(*days.end()));
        let mut sets: BTreeMap<i32, UserSet> = BTreeMap::new();
        let mut items = std::pin::pin!(self.metric_items(self.subjects(selection).await, first, last)?);
        while let Some(item) = items.try_next().await? {
            let Some(day) = text(&item, DATE).and_then(schemas::time::parse_day) else { continue };
            let Some(set) = item.get(USER_SET).and_then(|v| v.as_b().ok()).and_then(|b| UserSet::from_bytes(b.as_ref())) else { continue };
            sets.entry(day).or_default().unite(&set);
        }
        Ok(sets)
    }

    async fn sums(
        &self,
        selection: &Selection,
        first: Period,
        last: Period,
        number_of: impl Fn(&str) -> Option<i32>,
    ) -> Result<Sums, StoreError> {
        let mut sums = Sums::default();
        let mut items = std::pin::pin!(self.metric_items(self.subjects(selection).await, first, last)?);
        while let Some(item) = items.try_next().await? {
            if let Some(number) = text(&item, DATE).and_then(&number_of) {
                sums.add(number, text(&item, AGENT_ID).unwrap_or_default(), &Rollup::from_item(&item));
            }
        }
        Ok(sums)
    }

    async fn subjects(&self, selection: &Selection) -> Vec<Subject> {
        match selection {
            Selection::Fleet => (0..self.inner.shards.fleet_partitions().await).map(Subject::Fleet).collect(),
            Selection::Agents(agents) => agents.iter().map(|a| Subject::Agent(a.as_str().into())).collect(),
        }
    }

    /// All items of some subjects between two periods of the same kind, in no order.
    fn metric_items(
        &self,
        subjects: Vec<Subject>,
        first: Period,
        last: Period,
    ) -> Result<impl futures::Stream<Item = Result<Item, StoreError>> + use<>, StoreError> {
        let store = self.clone();
        let table = self.metrics_table()?.name;
        let ranges = subjects.into_iter().map(move |subject| {
            let key = |period| MetricKey { subject: subject.clone(), period };
            let request = store
                .inner
                .client
                .query()
                .table_name(&table)
                .key_condition_expression("#p = :p AND #d BETWEEN :a AND :b")
                .expression_attribute_names("#p", AGENT_ID)
                .expression_attribute_names("#d", DATE)
                .expression_attribute_values(":p", s(key(first).partition_key()))
                .expression_attribute_values(":a", s(key(first).sort_key()))
                .expression_attribute_values(":b", s(key(last).sort_key()))
                .consistent_read(true);
            Box::pin(store.clone().pages(request))
        });
        Ok(stream::iter(ranges).flatten_unordered(WIDTH).map_ok(|page| stream::iter(page.into_iter().map(Ok))).try_flatten())
    }
}

/// The hour number of `2026-11-23T07`.
fn parse_hour(text: &str) -> Option<i32> {
    let (day, hour) = text.split_once('T')?;
    Some(schemas::time::parse_day(day)? * 24 + hour.parse::<i32>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::time::{DAY_US, HOUR_US};

    #[test]
    fn hours_are_read_back() {
        assert_eq!(parse_hour("1970-01-02T01"), Some(25));
        assert_eq!(parse_hour("1970-01-02"), None);
    }

    fn cover(from_hour: i64, to_hour: i64) -> Cover {
        Cover::of(Span { from: from_hour * HOUR_US, to: to_hour * HOUR_US - 1 })
    }

    #[test]
    fn whole_days_are_days_and_only_the_ends_are_hours() {
        assert_eq!(cover(48, 96), Cover { days: Some(2..=3), hours: vec![] });
        assert_eq!(cover(47, 97), Cover { days: Some(2..=3), hours: vec![47..=47, 96..=96] });
        assert_eq!(cover(49, 95), Cover { days: None, hours: vec![49..=94] });
        assert_eq!(cover(49, 96), Cover { days: Some(3..=3), hours: vec![49..=71] });
        assert_eq!(cover(-25, 0), Cover { days: Some(-1..=-1), hours: vec![-25..=-25] });
        // Thirty days that end in the middle of one.
        let month = Cover::of(Span { from: DAY_US / 2 + 1, to: 30 * DAY_US + DAY_US / 2 });
        assert_eq!((month.days.clone(), month.hours.iter().map(|h| h.clone().count()).sum::<usize>()), (Some(1..=29), 25));
    }

    #[test]
    fn a_cover_holds_each_touched_hour_once() {
        for from in -30..30 {
            for to in from..from + 80 {
                let span = Span { from: from * HOUR_US + 17, to: to * HOUR_US + 17 };
                let Cover { days, hours } = Cover::of(span);
                let of_days = days.into_iter().flatten().flat_map(|day| day * 24..=day * 24 + 23);
                let mut held: Vec<i32> = of_days.chain(hours.into_iter().flatten()).collect();
                held.sort_unstable();
                assert_eq!(held, span.hours().collect::<Vec<_>>());
            }
        }
    }
}
