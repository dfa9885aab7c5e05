//! What was accepted and cannot be counted: listed, shown with its bytes, redriven, and counted once however often that
//! is done. Runs twice: on standalone, and on Apache Kafka with DynamoDB Local.

use crate::PATIENCE;
use crate::deployment::{Deployment, serve};
use crate::pipeline::api::Api;
use event_log::local::{LocalLog, LocalOptions};
use event_log::{Log as _, Record};
use schemas::codec::{WireForm, encode_event};
use schemas::dead_letter::header;
use schemas::time::{format_micros, now_micros};
use schemas::{AgentEvent, MessageType};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_shown_redriven_and_counted_once_on_standalone() {
    everything(Deployment::standalone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_shown_redriven_and_counted_once_on_kafka_and_dynamodb() {
    let Some(_turn) = crate::real_engines().await else { return };
    everything(Deployment::on_real_engines()).await;
}

async fn everything(mut deployment: Deployment) {
    let now = now_micros();
    let api = Api::new(&deployment);
    let receipt = post(&api, "first", now).await;
    api.await_counted(&receipt).await;
    let conflict = post(&api, "second", now).await["receipt"].as_str().unwrap().to_owned();
    dead(&api, &conflict, "id_conflict").await;

    // Larger with what a dead letter adds than the log takes.
    let large = Record { key: "foreign".into(), value: vec![b'#'; 1 << 20].into(), headers: Vec::new() };
    let garbage = Record { key: "foreign".into(), value: "not avro".into(), headers: vec![("trace".into(), "t-1".into())] };
    let invalid = AgentEvent::new("#no-agent", now, "e", MessageType::Error);
    let invalid = Record { key: "x".into(), value: encode_event(&invalid, WireForm::SingleObject).into(), headers: Vec::new() };
    // Of an event that nobody counted, as an aggregator without the registry would have left it.
    let lost = AgentEvent::new("lost", now, "e", MessageType::UserMessage);
    let forged = letter("0-2-999999", "undecodable", encode_event(&lost, WireForm::SingleObject));
    let appended = vec![("agent-events", garbage), ("agent-events", invalid), ("agent-events", large), ("agent-events-dead", forged)];
    let (positions, bytes): (Vec<_>, Vec<_>) = deployment.append(appended).await.into_iter().unzip();
    let api = Api::new(&deployment);
    for (position, reason) in positions.iter().zip(["undecodable", "invalid", "undecodable"]) {
        dead(&api, position, reason).await;
    }

    list(&api, &conflict, &positions).await;
    show(&api, &conflict, &positions, bytes[2]).await;

    // As it is, the conflict fails again; with an id of its own it counts, once however often.
    let again = redrive(&api, &format!("{conflict}/redrive"), &json!({})).await;
    dead(&api, again["redriven_to"].as_str().unwrap(), "id_conflict").await;
    assert_eq!(messages(&api, "bot").await, 1);
    let refused = ask_to_redrive(&api, &format!("{conflict}/redrive"), &json!({"event_id": "own"})).await;
    assert_eq!(refused.0, 409, "{}", refused.1);
    for _ in 0..2 {
        let redriven = redrive(&api, &format!("{conflict}/redrive?again=true"), &json!({"event_id": "own"})).await;
        api.await_counted(&json!({"receipt": redriven["redriven_to"]})).await;
        let original = api.get(&format!("/api/v1/receipts/{conflict}")).await;
        assert_eq!(original["dead_letters"][0]["redriven_to"], redriven["redriven_to"], "{original}");
    }
    assert_eq!(messages(&api, "bot").await, 2);

    // What was mended meanwhile counts as it is.
    let kind = json!({"reason": "undecodable", "agent_id": "lost"});
    let many = redrive(&api, "redrive", &kind).await;
    assert_eq!(
        (many["items"][0]["position"].as_str(), &many["failed"], &many["has_more"]),
        (Some("0-2-999999"), &json!([]), &json!(false))
    );
    let once_more = redrive(&api, "0-2-999999/redrive?again=true", &json!({})).await;
    for receipt in [&many["items"][0]["redriven_to"], &once_more["redriven_to"]] {
        api.await_counted(&json!({"receipt": receipt})).await;
    }
    assert_eq!(messages(&api, "lost").await, 1);
    assert_eq!(redrive(&api, "redrive", &kind).await["items"], json!([]));
    let listed = api.get("/api/v1/dead-letters?agent_id=lost").await;
    assert_eq!((listed["items"].as_array().unwrap().len(), &listed["items"][0]["redriven_to"]), (1, &once_more["redriven_to"]));

    // As large as the log takes: with what redriving adds it is too large, and the dead letter stays as it was.
    let (status, refused) = ask_to_redrive(&api, &format!("{}/redrive", positions[2]), &json!({})).await;
    assert_eq!(status, 413, "{refused}");
    deployment.restart();
    let api = Api::new(&deployment);
    assert_eq!(messages(&api, "bot").await, 2);
    let after = api.get_until("/api/v1/pipeline", |p| p["dead_letters"]["redriven"] == 2).await;
    assert_eq!(after["dead_letters"]["redriven"], 2, "{after}");
}

async fn list(api: &Api, conflict: &str, positions: &[String]) {
    let all = api.pages("/api/v1/dead-letters?limit=2").await;
    let listed: Vec<&str> = all.iter().map(|l| l["position"].as_str().unwrap()).collect();
    assert_eq!(all.len(), 5, "{all:?}");
    assert!(positions[..3].iter().chain([&conflict.to_owned()]).all(|p| listed.contains(&p.as_str())), "{listed:?}");
    let died: Vec<&str> = all.iter().map(|l| l["died_at"].as_str().unwrap()).collect();
    assert!(died.is_sorted_by(|a, b| a >= b), "{died:?}");
    let of_bot = api.get("/api/v1/dead-letters?agent_id=bot").await;
    let item = &of_bot["items"][0];
    assert_eq!((item["position"].as_str(), item["event_id"].as_str(), item["stage"].as_str()), (Some(conflict), Some("e"), Some("insert")));
    assert!(item["redriven_to"].is_null() && of_bot["complete_from"].is_null() && of_bot["is_caught_up"] == true, "{of_bot}");
    assert_eq!(api.get("/api/v1/dead-letters?reason=undecodable").await["items"].as_array().unwrap().len(), 3);
    for wrong in ["?limit=0", "?agent_id=%23", "?cursor=junk", "/junk"] {
        assert_eq!(api.ask(&format!("/api/v1/dead-letters{wrong}")).await.0, 422, "{wrong}");
    }
    assert_eq!(api.ask("/api/v1/dead-letters/0-0-424242").await.0, 404);
}

async fn show(api: &Api, conflict: &str, positions: &[String], large_bytes: usize) {
    let shown = api.get(&format!("/api/v1/dead-letters/{conflict}")).await;
    assert_eq!((shown["event"]["content"].as_str(), shown["key"]["text"].as_str()), (Some("second"), Some("bot")));
    assert!(shown["headers"].as_array().unwrap().iter().any(|h| h["name"] == "epoch" && h["value"]["text"] == "0"), "{shown}");
    let garbage = api.get(&format!("/api/v1/dead-letters/{}", positions[0])).await;
    assert_eq!((&garbage["value"]["base64"], &garbage["value"]["text"]), (&json!("bm90IGF2cm8="), &json!("not avro")));
    let own = json!([{"name": "trace", "value": {"base64": "dC0x", "text": "t-1"}}]);
    assert_eq!((&garbage["headers"], &garbage["event"], &garbage["bytes"]), (&own, &Value::Null, &json!(8)));
    let invalid = api.get(&format!("/api/v1/dead-letters/{}", positions[1])).await;
    assert_eq!((&invalid["agent_id"], &invalid["event"]["agent_id"]), (&Value::Null, &json!("#no-agent")));
    let large = api.get(&format!("/api/v1/dead-letters/{}", positions[2])).await;
    assert_eq!((&large["is_cut"], &large["bytes"]), (&json!(false), &json!(large_bytes)));
    assert_eq!(large["value"]["base64"].as_str().map(str::len), Some(large_bytes.div_ceil(3) * 4));
}

/// Two events of one identity where `content` differs.
async fn post(api: &Api, content: &str, at: i64) -> Value {
    let event = json!({"event_id": "e", "timestamp": format_micros(at), "message_type": "user_message", "content": content});
    api.post("/api/v1/agents/bot/events", &event).await
}

/// Waits until the receipt tells of a dead letter.
async fn dead(api: &Api, receipt: &str, reason: &str) {
    let is_dead = |answer: &Value| answer["dead_letters"][0]["reason"] == reason;
    let answer = api.get_until(&format!("/api/v1/receipts/{receipt}?wait_ms=5000"), is_dead).await;
    assert!(is_dead(&answer), "{answer}");
}

async fn messages(api: &Api, agent: &str) -> i64 {
    let numbers = api.get(&format!("/api/v1/agents/{agent}/metrics?days=2")).await;
    numbers["metrics"]["total_messages"].as_i64().unwrap()
}

async fn ask_to_redrive(api: &Api, path: &str, body: &Value) -> (u16, Value) {
    let answer = api.http.post(format!("{}/api/v1/dead-letters/{path}", api.gateway)).json(body).send().await.unwrap();
    let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

async fn redrive(api: &Api, path: &str, body: &Value) -> Value {
    let (status, answer) = ask_to_redrive(api, path, body).await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

fn letter(position: &str, reason: &'static str, value: Vec<u8>) -> Record {
    let headers = [(header::REASON, reason), (header::STAGE, "decode"), (header::KEY, "lost")];
    let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    Record { key: position.to_owned().into(), value: value.into(), headers }
}

/// Records that nobody can read, and one event behind them.
const GARBAGE: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_stops_counting_says_so_and_goes_on_when_an_operator_has_decided() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir.to_str().unwrap()];
    let start = |limit: &str| serve("agent-tally", &arguments, &[("DEAD_LETTER_LIMIT".to_owned(), limit.to_owned())], directory.path());
    let (server, _) = start("5");
    server.stop(PATIENCE).unwrap();
    let log = LocalLog::open(data_dir.join("log.sqlite3"), LocalOptions::default()).unwrap();
    for _ in 0..GARBAGE {
        let record = Record { key: "foreign".into(), value: "not avro".into(), headers: Vec::new() };
        log.append("agent-events", record).unwrap().await.unwrap();
    }
    drop(log);

    let (server, url) = start("5");
    let api = Api::at(&url);
    let receipt = post(&api, "behind", now_micros()).await;
    let is_stopped = |pipeline: &Value| pipeline["partitions"][0]["stopped"].is_object();
    let pipeline = api.get_until("/api/v1/pipeline", is_stopped).await;
    let partition = &pipeline["partitions"][0];
    assert_eq!((&partition["stopped"]["offset"], &partition["stopped"]["reason"]), (&json!(5), &json!("undecodable")), "{pipeline}");
    assert_eq!((&partition["stopped"]["dead_letters"], &partition["committed"]), (&json!(6), &json!(5)), "{pipeline}");
    assert_eq!((&pipeline["dead_letters"]["total"], &pipeline["lag_records"]), (&json!(5), &json!(GARBAGE - 5 + 1)), "{pipeline}");
    let (status, ready) = api.ask("/health/ready").await;
    assert!(status == 503 && ready["not_ready"][0]["reason"].as_str().unwrap().contains("DEAD_LETTER_LIMIT=0"), "{ready}");
    let waiting = api.get(&format!("/api/v1/receipts/{}", receipt["receipt"].as_str().unwrap())).await;
    assert_eq!(waiting["counted"], false, "{waiting}");
    assert_eq!(server.stop(PATIENCE).map_err(|error| error.to_string()), Ok(()));

    let (server, url) = start("0");
    let api = Api::at(&url);
    api.await_counted(&receipt).await;
    let pipeline = api.get_until("/api/v1/pipeline", |p| p["dead_letters"]["total"] == GARBAGE).await;
    assert_eq!((&pipeline["dead_letters"]["total"], &pipeline["partitions"][0]["stopped"]), (&json!(GARBAGE), &Value::Null), "{pipeline}");
    assert_eq!((api.ask("/health/ready").await.0, messages(&api, "bot").await), (200, 1));
    server.stop(PATIENCE).unwrap();
}

/// A flood on a small log: the oldest dead letters go, and events still find room.
#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_take_no_more_room_than_they_may_have() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let environment =
        [("LOG_MAX_MIB", "32"), ("DEAD_LETTER_LIMIT", "0"), ("DEAD_LETTER_MAX_MIB", "2")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir.to_str().unwrap()];
    let start = || serve("agent-tally", &arguments, &environment, directory.path());
    for round in 0..3 {
        let (server, _) = start();
        server.stop(PATIENCE).unwrap();
        let log = LocalLog::open(data_dir.join("log.sqlite3"), LocalOptions::default()).unwrap();
        for _ in 0..160 {
            let record = Record { key: "foreign".into(), value: vec![b'#'; 64 << 10].into(), headers: Vec::new() };
            log.append("agent-events", record).unwrap().await.unwrap();
        }
        drop(log);
        let (server, url) = start();
        let api = Api::at(&url);
        let receipt = post(&api, &format!("round {round}"), now_micros()).await;
        api.await_counted(&receipt).await;
        let is_trimmed = |answer: &Value| answer["items"].as_array().unwrap().len() <= 40;
        let listed = api.get_until("/api/v1/dead-letters?limit=1000", is_trimmed).await;
        assert!(is_trimmed(&listed) && !listed["items"].as_array().unwrap().is_empty(), "{}", listed["items"].as_array().unwrap().len());
        let newest = api.get(&format!("/api/v1/dead-letters/{}", listed["items"][0]["position"].as_str().unwrap())).await;
        assert_eq!(newest["reason"], "undecodable");
        server.stop(PATIENCE).unwrap();
    }
}
