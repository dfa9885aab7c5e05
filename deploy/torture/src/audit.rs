//! Compares the store with the ledger: every raw event, every counter of every rollup, every user, every agent.

use crate::ledger::{Ledger, SentEvent};
use anyhow::{Context, ensure};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use event_log::Log;
use schemas::item::{AGENT_ID, DATE, DELETED, TableNames, USER_SET, event_of_item};
use schemas::rollup::Rollup;
use schemas::time::{parse_day, parse_micros};
use schemas::users::UserSet;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What an audit found in order.
#[derive(Clone, Copy, Debug)]
pub struct Audit {
    /// Raw events stored.
    pub events: usize,
    /// Markers that deleted events left.
    pub deleted: usize,
    /// Rollup items compared.
    pub rollups: usize,
    /// Duplicates that were counted as such.
    pub duplicates: i64,
}

/// Everything the metrics table holds.
#[derive(Default)]
struct Metrics {
    days: BTreeMap<(String, i32), Rollup>,
    hours: BTreeMap<(String, i32), Rollup>,
    fleet_days: BTreeMap<i32, Rollup>,
    fleet_hours: BTreeMap<i32, Rollup>,
    users: BTreeMap<(String, i32), UserSet>,
    directory: BTreeSet<String>,
    /// What became of the log's records, all together.
    records: Rollup,
}

/// How far the store is off, in events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shortfall {
    /// Accepted and not stored, or not counted in its agent's day or hour, or in the fleet's: the worst of these.
    pub lost: u64,
    /// Counted more often than accepted, likewise.
    pub doubled: u64,
}

/// Counts what is missing and what is too much. All agreeing is shown by [`audit`] alone, which compares every counter.
pub async fn shortfall(store: &Client, tables: &TableNames, ledger: &Ledger) -> anyhow::Result<Shortfall> {
    let items = scan(store, &tables.events).await?;
    let stored = items.iter().filter_map(event_of_item).map(|stored| stored.event);
    let stored: BTreeSet<_> = stored.map(|e| (e.agent_id.clone(), e.timestamp, e.event_id.clone())).collect();
    let metrics = read_metrics(store, tables).await?;
    let (days, hours) = (ledger.days(), ledger.hours());
    let mut worst = Shortfall {
        lost: ledger.events().keys().filter(|key| !stored.contains(*key)).count() as u64,
        doubled: stored.iter().filter(|key| !ledger.events().contains_key(*key)).count() as u64,
    };
    let sums = [
        off(&metrics.days, &days),
        off(&metrics.hours, &hours),
        off(&metrics.fleet_days, &over_agents(&days)),
        off(&metrics.fleet_hours, &over_agents(&hours)),
    ];
    for sum in sums {
        worst = Shortfall { lost: worst.lost.max(sum.lost), doubled: worst.doubled.max(sum.doubled) };
    }
    Ok(worst)
}

fn off<K: Ord>(have: &BTreeMap<K, Rollup>, want: &BTreeMap<K, Rollup>) -> Shortfall {
    let calls = |of: &BTreeMap<K, Rollup>, key: &K| of.get(key).map_or(0, |rollup| rollup.calls);
    let keys: BTreeSet<&K> = have.keys().chain(want.keys()).collect();
    keys.into_iter().fold(Shortfall::default(), |sum, key| {
        let difference = calls(have, key) - calls(want, key);
        Shortfall { lost: sum.lost + (-difference).max(0) as u64, doubled: sum.doubled + difference.max(0) as u64 }
    })
}

/// Fails with the first difference between the store and the ledger.
pub async fn audit(store: &Client, tables: &TableNames, ledger: &Ledger) -> anyhow::Result<Audit> {
    let (events, deleted) = audit_events(store, tables, ledger).await?;
    let metrics = read_metrics(store, tables).await?;
    let (days, hours) = (ledger.days(), ledger.hours());
    compare("day", &metrics.days, &days)?;
    compare("hour", &metrics.hours, &hours)?;
    compare("fleet day", &metrics.fleet_days, &over_agents(&days))?;
    compare("fleet hour", &metrics.fleet_hours, &over_agents(&hours))?;
    let users = ledger.users();
    for key in users.keys().chain(metrics.users.keys()) {
        let (have, want) = (metrics.users.get(key).map_or(0, UserSet::count), users.get(key).map_or(0, |users| users.len() as u64));
        ensure!(have == want, "users of {key:?}: {have} instead of {want}");
    }
    let agents: BTreeSet<String> = ledger.events().keys().map(|k| k.0.clone()).collect();
    ensure!(metrics.directory == agents, "the directory has {:?} instead of {agents:?}", metrics.directory);
    let duplicates = metrics.days.values().map(|r| r.duplicates).sum();
    ensure!(duplicates == metrics.fleet_days.values().map(|r| r.duplicates).sum::<i64>(), "agents and fleet disagree on the duplicates");
    let records = &metrics.records;
    ensure!(
        records.inserted == (events + deleted) as i64 && records.duplicates == duplicates,
        "the log's items tell of {} inserted and {} duplicates instead of {events} + {deleted} deleted and {duplicates}",
        records.inserted,
        records.duplicates
    );
    ensure!(records.logged == records.inserted + records.duplicates + records.dead_letters, "the log's items do not add up");
    Ok(Audit { events, deleted, rollups: metrics.days.len() + metrics.hours.len(), duplicates })
}

/// Every record that the topic ever had is an inserted event, a duplicate or a dead letter. Those that are counted may have
/// gone (a full disk takes the oldest).
pub async fn audit_log(log: &dyn Log, topic: &str, audit: Audit, dead_letters: u64) -> anyhow::Result<()> {
    let (mut records, mut gone) = (0, 0);
    for partition in 0..log.partitions(topic).await? {
        let bounds = log.bounds(topic, partition).await?;
        records += bounds.end;
        gone += bounds.start;
    }
    let accounted = (audit.events + audit.deleted) as u64 + audit.duplicates as u64 + dead_letters;
    ensure!(
        records == accounted,
        "the log had {records} records ({gone} are gone), but {} events + {} deleted + {} duplicates + {dead_letters} dead letters = \
         {accounted}",
        audit.events,
        audit.deleted,
        audit.duplicates
    );
    Ok(())
}

/// How many are stored, and how many markers deleted ones left.
async fn audit_events(store: &Client, tables: &TableNames, ledger: &Ledger) -> anyhow::Result<(usize, usize)> {
    let (mut seen, mut deleted) = (BTreeSet::new(), 0);
    for item in scan(store, &tables.events).await? {
        if item.contains_key(DELETED) {
            deleted += 1;
            continue;
        }
        let stored = event_of_item(&item).context("an event's item can be read")?;
        let e = stored.event;
        let key = (e.agent_id.clone(), e.timestamp, e.event_id.clone());
        let sent = ledger.events().get(&key).with_context(|| format!("{key:?} was never accepted"))?;
        check_event(sent, &e).with_context(|| format!("{key:?}"))?;
        ensure!(stored.src.is_some(), "{key:?} has no position");
        ensure!(seen.insert(key.clone()), "{key:?} is stored twice");
    }
    if let Some(missing) = ledger.events().keys().find(|k| !seen.contains(*k)) {
        anyhow::bail!("{missing:?} was accepted but is not stored ({} of {} are)", seen.len(), ledger.events().len());
    }
    Ok((seen.len(), deleted))
}

fn check_event(sent: &SentEvent, stored: &schemas::AgentEvent) -> anyhow::Result<()> {
    ensure!(stored.message_type == sent.message_type, "message_type");
    ensure!(stored.response_time_ms == sent.response_time_ms.map(|ms| ms as f64), "response_time_ms");
    ensure!(stored.token_count == sent.tokens.map(|(i, o)| i + o), "token_count");
    ensure!(stored.model_used == sent.model && stored.tool_name == sent.tool && stored.user_id == sent.user, "names");
    ensure!(stored.user_feedback == sent.feedback.map(|f| f as f64), "user_feedback");
    ensure!(stored.content == Some(format!("event {}", sent.id)), "content");
    let metadata: serde_json::Value = serde_json::from_str(stored.metadata.as_deref().unwrap_or("null"))?;
    ensure!(metadata == serde_json::json!({"run": sent.id, "nothing": null}), "metadata");
    Ok(())
}

fn compare<K: Ord + std::fmt::Debug>(what: &str, have: &BTreeMap<K, Rollup>, want: &BTreeMap<K, Rollup>) -> anyhow::Result<()> {
    for (key, want) in want {
        let have = have.get(key).with_context(|| format!("{what} {key:?} is missing"))?;
        let bare = Rollup { version: 0, marks: BTreeMap::new(), duplicates: 0, ..have.clone() };
        ensure!(bare == *want, "{what} {key:?} differs:\n have {bare:?}\n want {want:?}");
    }
    // Of one whose events were all deleted only the frame may be left.
    for (key, extra) in have.iter().filter(|(key, _)| !want.contains_key(key)) {
        let bare = Rollup { version: 0, marks: BTreeMap::new(), duplicates: 0, ..extra.clone() };
        ensure!(bare == Rollup::default(), "{what} {key:?} has numbers of events that nobody sent:\n {bare:?}");
    }
    Ok(())
}

fn over_agents(sums: &BTreeMap<(String, i32), Rollup>) -> BTreeMap<i32, Rollup> {
    let mut fleet: BTreeMap<i32, Rollup> = BTreeMap::new();
    for ((_, period), rollup) in sums {
        fleet.entry(*period).or_default().add(rollup);
    }
    fleet
}

async fn read_metrics(store: &Client, tables: &TableNames) -> anyhow::Result<Metrics> {
    let mut metrics = Metrics::default();
    for item in scan(store, &tables.metrics).await? {
        let text = |name: &str| item.get(name).and_then(|v| v.as_s().ok()).cloned().unwrap_or_default();
        let (owner, sort) = (text(AGENT_ID), text(DATE));
        let rollup = Rollup::from_item(&item);
        if owner.starts_with("#agents~") {
            metrics.directory.insert(sort);
        } else if owner.starts_with("#log~") {
            metrics.records.add(&rollup);
        } else if let Some(agent) = owner.strip_suffix("#users") {
            let set = item.get(USER_SET).and_then(|v| v.as_b().ok()).and_then(|b| UserSet::from_bytes(b.as_ref()));
            if !agent.starts_with('*') {
                metrics.users.insert((agent.to_owned(), day(&sort)?), set.context("a users item has a set")?);
            }
        } else if let Some(agent) = owner.strip_suffix("#hour") {
            let hour = (parse_micros(&format!("{sort}:00:00Z")).context("an hour")? / schemas::time::HOUR_US) as i32;
            if agent.starts_with('*') {
                metrics.fleet_hours.entry(hour).or_default().add(&rollup);
            } else {
                metrics.hours.insert((agent.to_owned(), hour), rollup);
            }
        } else if owner.starts_with('*') {
            metrics.fleet_days.entry(day(&sort)?).or_default().add(&rollup);
        } else {
            metrics.days.insert((owner, day(&sort)?), rollup);
        }
    }
    Ok(metrics)
}

fn day(text: &str) -> anyhow::Result<i32> {
    parse_day(text).with_context(|| format!("{text:?} is no day"))
}

async fn scan(store: &Client, table: &str) -> anyhow::Result<Vec<HashMap<String, AttributeValue>>> {
    let mut items = Vec::new();
    let mut pages = store.scan().table_name(table).consistent_read(true).into_paginator().items().send();
    while let Some(item) = pages.next().await {
        items.push(item?);
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_here_and_doubled_there_does_not_cancel_out() {
        let sums = |calls: [i64; 3]| (0..).zip(calls.map(|calls| Rollup { calls, ..Rollup::default() })).collect::<BTreeMap<i32, _>>();
        assert_eq!(off(&sums([5, 7, 0]), &sums([6, 5, 0])), Shortfall { lost: 1, doubled: 2 });
        assert_eq!(off(&BTreeMap::new(), &sums([0, 2, 3])), Shortfall { lost: 5, doubled: 0 });
    }
}
