//! `agent-tally import-tables`: brings the events of the older system (FastAPI on DynamoDB, the same table names
//! and keys) in, through a gateway and the log like any other event. Running it again counts nothing twice.
//!
//! It reads raw events only: the rollups are counted anew from them.

use anyhow::{Context, bail, ensure};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use clap::Args;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use schemas::identity::is_valid_event_id;
use schemas::item::{SRC, stable_hash};
use serde_json::{Map, Value, json};
use service_kit::store::StoreConfig;
use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

/// Events per request.
const BATCH: usize = 500;
/// Bytes of events per request; the gateway takes 8 MiB.
const BATCH_BYTES: usize = 4 << 20;
/// The contract's unmarked fields, which the older system stored under these names.
const FIELDS: [&str; 8] =
    ["message_type", "content", "metadata", "error_details", "response_time_ms", "token_count", "model_used", "user_feedback"];

/// What to import and where to.
#[derive(Args, Clone, Debug)]
pub struct ImportTables {
    /// The older system's events table, read with the AWS SDK's own configuration (`AWS_REGION`, `AWS_ENDPOINT_URL_DYNAMODB`, …).
    #[arg(long, default_value = "ai-agent-events")]
    pub from_table: String,
    /// Where the gateway is.
    #[arg(long, default_value = "http://127.0.0.1:8001")]
    pub url: String,
    /// API key with the scope `ingest`, where keys are required.
    #[arg(long, env = "AGENT_TALLY_KEY", hide_env_values = true)]
    pub key: Option<String>,
}

/// What became of the events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Accepted by the gateway; those imported before are accepted again and not counted again.
    pub accepted: u64,
    /// Refused, by reason.
    pub refused: HashMap<String, u64>,
}

/// Imports with the SDK's own configuration, shows how far it is, and tells what became of the events.
pub async fn run(options: ImportTables) -> anyhow::Result<()> {
    let store = StoreConfig::default().client().await;
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("  import  {spinner} {human_pos} events  {per_sec}")?);
    let imported = import_tables(&store, &options, |so_far| bar.set_position(so_far.accepted)).await;
    bar.finish_and_clear();
    let imported = imported?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{} events imported", HumanCount(imported.accepted))?;
    for (reason, events) in &imported.refused {
        writeln!(out, "{} refused: {reason}", HumanCount(*events))?;
    }
    Ok(())
}

/// Reads the whole table and posts every event. Fails on the first thing that is not an event's own fault.
pub async fn import_tables(store: &Client, options: &ImportTables, mut progress: impl FnMut(&Imported)) -> anyhow::Result<Imported> {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).build()?;
    let mut imported = Imported::default();
    let (mut batch, mut bytes) = (Vec::with_capacity(BATCH), 0);
    let mut pages = store.scan().table_name(&options.from_table).into_paginator().items().send();
    while let Some(item) = pages.next().await {
        let item = item.with_context(|| format!("cannot read table {}", options.from_table))?;
        ensure!(!item.contains_key(SRC), "table {} is written by Agent Tally itself; name the older system's table", options.from_table);
        match event_of(&item) {
            Some(event) => {
                bytes += event.to_string().len();
                batch.push(event);
            }
            None => *imported.refused.entry("the item has no agent_id or timestamp".into()).or_default() += 1,
        }
        if batch.len() == BATCH || bytes >= BATCH_BYTES {
            bytes = 0;
            post(&http, options, &std::mem::take(&mut batch), &mut imported).await?;
            progress(&imported);
        }
    }
    if !batch.is_empty() {
        post(&http, options, &batch, &mut imported).await?;
    }
    progress(&imported);
    Ok(imported)
}

/// The event of an older item. Its key was unique there, so it makes the event id where there is none.
fn event_of(item: &HashMap<String, AttributeValue>) -> Option<Value> {
    let text = |name: &str| item.get(name).and_then(|v| v.as_s().ok());
    let (agent, sort_key) = (text("agent_id")?, text("timestamp")?);
    let mut event = Map::new();
    event.insert("agent_id".into(), agent.as_str().into());
    event.insert("timestamp".into(), sort_key.split('#').next()?.into());
    let id = match text("event_id") {
        Some(id) if is_valid_event_id(id) => id.clone(),
        _ => format!("import:{:08x}{:08x}", stable_hash(agent), stable_hash(&format!("{agent}#{sort_key}"))),
    };
    event.insert("event_id".into(), id.into());
    for name in FIELDS {
        let value = item.get(name).map_or(Value::Null, json_of);
        // The older system stored metadata as a map or as its JSON text.
        let value = match (name, &value) {
            ("metadata", Value::String(text)) => serde_json::from_str(text).unwrap_or(value),
            _ => value,
        };
        if !value.is_null() {
            event.insert(name.into(), value);
        }
    }
    Some(event.into())
}

fn json_of(value: &AttributeValue) -> Value {
    let number = |n: &str| n.parse::<i64>().map(Value::from).or_else(|_| n.parse::<f64>().map(Value::from)).unwrap_or(Value::Null);
    match value {
        AttributeValue::S(s) => s.as_str().into(),
        AttributeValue::N(n) => number(n),
        AttributeValue::Bool(b) => (*b).into(),
        AttributeValue::L(l) => l.iter().map(json_of).collect(),
        AttributeValue::M(m) => m.iter().map(|(k, v)| (k.clone(), json_of(v))).collect::<Map<_, _>>().into(),
        AttributeValue::Ss(s) => s.iter().map(|s| Value::from(s.as_str())).collect(),
        AttributeValue::Ns(n) => n.iter().map(|n| number(n)).collect(),
        _ => Value::Null,
    }
}

/// Posts a batch until it is answered for good.
async fn post(http: &reqwest::Client, options: &ImportTables, batch: &[Value], imported: &mut Imported) -> anyhow::Result<()> {
    let body = json!({"events": batch});
    for attempt in 0..10u32 {
        let mut request =
            http.post(format!("{}/api/v1/events", options.url.trim_end_matches('/'))).header("Prefer", "handling=lenient").json(&body);
        if let Some(key) = &options.key {
            request = request.bearer_auth(key);
        }
        let answer = request.send().await.with_context(|| format!("cannot reach {}", options.url))?;
        let status = answer.status().as_u16();
        let text = answer.text().await?;
        match status {
            202 => {
                imported.accepted += batch.len() as u64;
                return Ok(());
            }
            207 => return note_results(&text, imported),
            422 if serde_json::from_str::<Value>(&text).is_ok_and(|v| v["errors"].is_array()) => {
                return note_all_refused(&text, batch.len(), imported);
            }
            429 | 503 => tokio::time::sleep(Duration::from_millis(200 << attempt.min(5))).await,
            _ => bail!("the gateway refused the import with {status}: {}", text.chars().take(500).collect::<String>()),
        }
    }
    bail!("the gateway took no events for a minute; what was imported is counted, run the import again to go on")
}

fn note_results(text: &str, imported: &mut Imported) -> anyhow::Result<()> {
    let body: Value = serde_json::from_str(text).context("a 207 has a JSON body")?;
    for result in body["results"].as_array().context("a 207 has results")? {
        if result["status"].as_u64().is_some_and(|s| s == 202) || result["status"] == "success" {
            imported.accepted += 1;
        } else {
            let error = &result["errors"][0];
            let reason = format!("{}: {}", error["field"].as_str().unwrap_or("event"), error["detail"].as_str().unwrap_or("refused"));
            *imported.refused.entry(reason).or_default() += 1;
        }
    }
    Ok(())
}

fn note_all_refused(text: &str, events: usize, imported: &mut Imported) -> anyhow::Result<()> {
    let body: Value = serde_json::from_str(text)?;
    let error = &body["errors"][0];
    let reason = format!("{}: {}", error["field"].as_str().unwrap_or("event"), error["detail"].as_str().unwrap_or("refused"));
    *imported.refused.entry(reason).or_default() += events as u64;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::item::{n, s};

    #[test]
    fn an_older_item_becomes_the_event_that_was_posted() {
        let item = HashMap::from([
            ("agent_id".to_owned(), s("bot")),
            ("timestamp".to_owned(), s("2026-01-07T10:30:00.123456")),
            ("message_type".to_owned(), s("agent_response")),
            ("token_count".to_owned(), n(12)),
            ("response_time_ms".to_owned(), n("12.5")),
            (
                "metadata".to_owned(),
                AttributeValue::M(HashMap::from([("user_id".to_owned(), s("u")), ("none".to_owned(), AttributeValue::Null(true))])),
            ),
            ("error_details".to_owned(), AttributeValue::Null(true)),
        ]);
        let event = event_of(&item).expect("an event");
        assert_eq!(event["metadata"], json!({"user_id": "u", "none": null}));
        assert_eq!((&event["token_count"], &event["response_time_ms"]), (&json!(12), &json!(12.5)));
        assert!(event.get("error_details").is_none());
        assert!(is_valid_event_id(event["event_id"].as_str().expect("an id")));
        assert_eq!(event, event_of(&item).expect("the same again"));
    }
}
