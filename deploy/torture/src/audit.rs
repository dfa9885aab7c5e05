//! Compares the store with the ledger: every raw event, every counter of every rollup, every user, every agent.

use crate::ledger::{Ledger, SentEvent};
use anyhow::{Context, ensure};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use event_log::Log;
use schemas::item::{AGENT_ID, DATE, TableNames, USER_SET, event_of_item};
use schemas::rollup::Rollup;
use schemas::time::{parse_day, parse_micros};
use schemas::users::UserSet;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What an audit found in order.
#[derive(Clone, Copy, Debug)]
pub struct Audit {
    /// Raw events stored.
    pub events: usize,
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
}

/// Fails with the first difference between the store and the ledger.
pub async fn audit(store: &Client, tables: &TableNames, ledger: &Ledger) -> anyhow::Result<Audit> {
    let events = audit_events(store, tables, ledger).await?;
    let metrics = read_metrics(store, tables).await?;
    let (days, hours) = (ledger.days(), ledger.hours());
    compare("day", &metrics.days, &days)?;
    compare("hour", &metrics.hours, &hours)?;
    compare("fleet day", &metrics.fleet_days, &over_agents(&days))?;
    compare("fleet hour", &metrics.fleet_hours, &over_agents(&hours))?;
    for (key, want) in ledger.users() {
        let have = metrics.users.get(&key).map_or(0, UserSet::count);
        ensure!(have == want.len() as u64, "users of {key:?}: {have} instead of {}", want.len());
    }
    let agents: BTreeSet<String> = ledger.events().keys().map(|k| k.0.clone()).collect();
    ensure!(metrics.directory == agents, "the directory has {:?} instead of {agents:?}", metrics.directory);
    let duplicates = metrics.days.values().map(|r| r.duplicates).sum();
    ensure!(duplicates == metrics.fleet_days.values().map(|r| r.duplicates).sum::<i64>(), "agents and fleet disagree on the duplicates");
    Ok(Audit { events, rollups: metrics.days.len() + metrics.hours.len(), duplicates })
}

/// Every record of the topic is an inserted event, a duplicate or a dead letter.
pub async fn audit_log(log: &dyn Log, topic: &str, audit: Audit, dead_letters: u64) -> anyhow::Result<()> {
    let mut records = 0;
    for partition in 0..log.partitions(topic).await? {
        let bounds = log.bounds(topic, partition).await?;
        records += bounds.end - bounds.start;
    }
    let accounted = audit.events as u64 + audit.duplicates as u64 + dead_letters;
    ensure!(
        records == accounted,
        "the log has {records} records, but {} events + {} duplicates + {dead_letters} dead letters = {accounted}",
        audit.events,
        audit.duplicates
    );
    Ok(())
}

async fn audit_events(store: &Client, tables: &TableNames, ledger: &Ledger) -> anyhow::Result<usize> {
    let mut seen = BTreeSet::new();
    for item in scan(store, &tables.events).await? {
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
    Ok(seen.len())
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
    if let Some((key, extra)) = have.iter().find(|(k, r)| !want.contains_key(k) && r.calls > 0) {
        anyhow::bail!("{what} {key:?} counts {} events that nobody sent", extra.calls);
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
