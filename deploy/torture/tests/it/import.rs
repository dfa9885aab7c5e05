//! `agent-tally import-tables`: the older system's table is brought in, and twice is as good as once.

use crate::deployment::serve;
use crate::pipeline::api::Api;
use crate::pipeline::numbers::same;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};
use engines::dynoxide::Dynoxide;
use schemas::time::{DAY_US, format_micros, now_micros, parse_micros};
use serde_json::{Value, json};
use std::collections::HashMap;
use torture::process::binary_path;

const TABLE: &str = "ai-agent-events";
const EVENTS: i64 = 300;
const AGENTS: i64 = 3;

type Item = HashMap<String, AttributeValue>;

/// An item as the older system stored it, and the event that must come back.
struct Older {
    item: Item,
    event: Value,
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_system_s_table_is_imported_twice_and_counted_once() {
    let older = Dynoxide::start().unwrap();
    let all: Vec<Older> = (0..EVENTS).map(older_event).collect();
    fill(&older.client(), &all).await;
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir.to_str().unwrap()];
    let (_server, url) = serve("agent-tally", &arguments, &[], directory.path());
    for _ in 0..2 {
        let said = import(&older.endpoint(), &url).await;
        assert!(said.contains("300 events imported"), "{said}");
        // What cannot be taken is named and holds nothing up.
        assert!(said.contains("1 refused: message_type"), "{said}");
    }
    let api = Api::at(&url);
    // One partition: what was appended before this event is counted before it.
    let last = api.post("/api/v1/agents/last/events", &json!({"message_type": "custom_metric"})).await;
    api.await_counted(&last).await;
    for agent in 0..AGENTS {
        compare(&api, agent, &all).await;
    }
    assert_eq!(api.get("/api/v1/agents").await, json!(["last", "older-0", "older-1", "older-2"]));
}

async fn compare(api: &Api, agent: i64, all: &[Older]) {
    let agent = format!("older-{agent}");
    let mut want: Vec<&Value> = all.iter().map(|o| &o.event).filter(|e| e["agent_id"] == agent).collect();
    want.sort_by_key(|e| std::cmp::Reverse(e["timestamp"].as_str().unwrap().to_owned()));
    let items = api.pages(&format!("/api/v1/events?agent_id={agent}&limit=1000")).await;
    assert_eq!(items.len(), want.len(), "{agent}");
    items.iter().zip(&want).for_each(|(item, want)| same(item, want, &agent));

    let sum = |name: &str| want.iter().filter_map(|e| e[name].as_f64()).sum::<f64>();
    let of_type = |name: &str| want.iter().filter(|e| e["message_type"] == name).count();
    let numbers = api.get(&format!("/api/v1/agents/{agent}/metrics?days=10")).await;
    let times = want.iter().filter(|e| !e["response_time_ms"].is_null()).count();
    let expected = json!({
        "total_events": want.len(), "duplicates_skipped": want.len(), "total_messages": of_type("user_message"),
        "total_responses": of_type("agent_response"), "total_errors": of_type("error"), "total_tokens_used": sum("token_count"),
        "average_response_time": sum("response_time_ms") / times as f64, "feedback_count": of_type("feedback"), "unique_users": 5,
    });
    same(&numbers["metrics"], &expected, &agent);
}

/// Runs the command to its end; returns what it printed.
async fn import(endpoint: &str, url: &str) -> String {
    let mut command = tokio::process::Command::new(binary_path("agent-tally").unwrap());
    command.args(["import-tables", "--url", url]).kill_on_drop(true);
    for (name, value) in [
        ("AWS_ENDPOINT_URL_DYNAMODB", endpoint),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ] {
        command.env(name, value);
    }
    let output = command.output().await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// The `i`-th event in the shapes that the older system left behind over time.
fn older_event(i: i64) -> Older {
    let base = now_micros() / DAY_US * DAY_US - 4 * DAY_US;
    let micros = base + i * 1_000_003_000 + if i % 5 == 0 { 0 } else { 123_456 };
    let micros = if i % 5 == 0 { micros / 1_000_000 * 1_000_000 } else { micros };
    let utc = format_micros(micros);
    // `isoformat()` leaves the fraction out where it is 0; some clients named the zone.
    let naive = utc.trim_end_matches('Z').trim_end_matches(".000000").to_owned();
    let stamp = match i % 3 {
        0 => naive,
        1 => utc.clone(),
        _ => format!("{naive}+00:00"),
    };
    assert_eq!(parse_micros(&utc), Some(micros));
    let message_type = ["user_message", "agent_response", "error", "feedback"][i as usize % 4];
    let agent = format!("older-{}", i % AGENTS);
    let mut event = json!({
        "agent_id": agent, "timestamp": utc, "message_type": message_type, "content": format!("text {i}"), "metadata": null,
        "error_details": null, "response_time_ms": null, "token_count": null, "model_used": null, "user_feedback": null,
    });
    match message_type {
        "agent_response" => {
            (event["response_time_ms"], event["token_count"]) = (json!(i as f64 + 0.25), json!(i * 10));
            event["model_used"] = "in-house-7b".into();
        }
        "error" => event["error_details"] = format!("Traceback {i}").into(),
        "feedback" => event["user_feedback"] = json!(1 + i % 5),
        _ => {}
    }
    let has_metadata = i % 7 != 0;
    if has_metadata {
        event["metadata"] = json!({
            "user_id": format!("user-{}", i % 5), "session_id": null, "nested": {"list": [1, "two", null, true], "ratio": 0.125},
        });
    }
    let mut item = Item::from([("timestamp".to_owned(), AttributeValue::S(stamp))]);
    for (name, value) in event.as_object().unwrap().iter().filter(|(name, _)| *name != "timestamp") {
        let stored = match (name.as_str(), value) {
            // Not stored, or stored as null.
            (_, Value::Null) if i % 2 == 0 => continue,
            ("metadata", Value::Object(_)) if i % 4 < 2 => AttributeValue::S(value.to_string()),
            // Python's Decimal keeps its zeros.
            ("token_count", Value::Number(n)) if i % 8 == 1 => AttributeValue::N(format!("{n}.0")),
            _ => attribute(value),
        };
        item.insert(name.clone(), stored);
    }
    Older { item, event }
}

fn attribute(value: &Value) -> AttributeValue {
    match value {
        Value::Null => AttributeValue::Null(true),
        Value::Bool(b) => AttributeValue::Bool(*b),
        Value::Number(n) => AttributeValue::N(n.to_string()),
        Value::String(s) => AttributeValue::S(s.clone()),
        Value::Array(list) => AttributeValue::L(list.iter().map(attribute).collect()),
        Value::Object(map) => AttributeValue::M(map.iter().map(|(k, v)| (k.clone(), attribute(v))).collect()),
    }
}

async fn fill(store: &Client, all: &[Older]) {
    let mut create = store.create_table().table_name(TABLE).billing_mode(BillingMode::PayPerRequest);
    for (name, key) in [("agent_id", KeyType::Hash), ("timestamp", KeyType::Range)] {
        let attribute = AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build().unwrap();
        let element = KeySchemaElement::builder().attribute_name(name).key_type(key).build().unwrap();
        create = create.attribute_definitions(attribute).key_schema(element);
    }
    create.send().await.unwrap();
    let text = |s: &str| AttributeValue::S(s.to_owned());
    let unknown = [("agent_id", "older-0"), ("timestamp", "2026-01-07T10:30:00"), ("message_type", "of_a_later_version")];
    let unknown: Item = unknown.into_iter().map(|(k, v)| (k.to_owned(), text(v))).collect();
    for item in all.iter().map(|o| o.item.clone()).chain([unknown]) {
        store.put_item().table_name(TABLE).set_item(Some(item)).send().await.unwrap();
    }
}
