//! `agent-tally verify`, and the reconciliation that the API shows.

use crate::server::{PATIENCE, Server, agent_tally, run};
use agent_tally::engine::Engine;
use schemas::item::{MetricKey, Period, Subject, TableNames, n};
use schemas::time::{day_of, format_day, now_micros};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;
use std::time::Instant;

async fn verify(arguments: &[&str]) -> Output {
    let mut command = agent_tally();
    command.arg("verify").args(arguments);
    run(command).await
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

async fn post_a_fleet(server: &Server) {
    let mut command = agent_tally();
    command.args(["demo", "--agents", "4", "--days", "3", "--events-per-day", "40", "--duration", "0s", "--url", &server.url]);
    assert!(run(command).await.status.success());
    let event = json!({"timestamp": schemas::time::format_micros(now_micros()), "message_type": "user_message", "content": "twice"});
    let (status, _) = server.post("repeats", &event).await;
    assert_eq!(status, 202);
    let (_, answer) = server.post("repeats", &event).await;
    server.await_counted(answer["receipt"].as_str().unwrap()).await;
}

/// Asks until it is so, as long as anyone has patience.
async fn eventually(server: &Server, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let (status, answer) = server.get(path).await;
        assert_eq!(status, 200, "{answer}");
        if is_so(&answer) {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "{answer}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn numbers_are_proved_with_and_without_a_server_and_from_outside() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_str().unwrap();
    let server = Server::start(dir.path(), &[]).await;
    post_a_fleet(&server).await;

    let running = verify(&["--data-dir", place, "--json"]).await;
    assert_eq!(running.status.code(), Some(0), "{running:?}");
    let running = report(&running);
    assert_eq!((&running["agrees"], &running["agents"], &running["log"]["0"]["duplicates"]), (&json!(true), &json!(5), &json!(1)));
    assert_eq!(running["raw"]["events"], running["log"]["0"]["inserted"]);

    let outside = verify(&["--url", &server.url]).await;
    let text = String::from_utf8(outside.stdout.clone()).unwrap();
    assert!(outside.status.code() == Some(0) && text.contains("agrees"), "{outside:?}");

    // The gateway tells what it accepted once a second.
    let today = eventually(&server, "/api/v1/reconciliation", |a| a["unacknowledged"] == 0 && a["totals"]["agrees"] == true).await;
    assert_eq!((&today["logged"], &today["duplicates"], &today["adds_up"]), (&running["log"]["0"]["records"], &json!(1), &json!(true)));
    assert_eq!((&today["accepted"], &today["pending"]), (&today["logged"], &json!(0)));
    let (_, before) = server.get("/api/v1/reconciliation?date=2020-01-01").await;
    assert_eq!((&before["logged"], &before["accepted"], &before["adds_up"]), (&json!(0), &Value::Null, &json!(true)));
    assert_eq!(server.get("/api/v1/reconciliation?date=yesterday").await.0, 422);

    assert!(server.stop().await.success());
    let stopped = verify(&["--data-dir", place, "--json"]).await;
    assert_eq!(stopped.status.code(), Some(0), "{stopped:?}");
    assert_eq!(report(&stopped)["raw"], running["raw"]);
}

/// Adds to a counter behind everybody's back.
async fn corrupt(dir: &Path, key: &MetricKey, counter: &str, by: i64) {
    let engine = Engine::open(&dir.join("store.sqlite3")).unwrap();
    let update = engine.client().update_item().table_name(TableNames::default().metrics).set_key(Some(key.key()));
    let update = update.update_expression("ADD #c :n").expression_attribute_names("#c", counter);
    update.expression_attribute_values(":n", n(by)).send().await.unwrap();
    tokio::task::spawn_blocking(move || engine.close()).await.unwrap();
}

#[tokio::test]
async fn a_wrong_number_is_named_inside_and_outside() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_str().unwrap();
    let server = Server::start(dir.path(), &[]).await;
    post_a_fleet(&server).await;
    assert!(server.stop().await.success());
    let day = day_of(now_micros());
    let key = MetricKey { subject: Subject::Agent("repeats".into()), period: Period::Day(day) };
    corrupt(dir.path(), &key, "user_message", 2).await;

    let wrong = format!("agent repeats, day {}: user_message is 3, its events add up to 1", format_day(day));
    for is_running in [false, true] {
        let server = if is_running { Some(Server::start(dir.path(), &[]).await) } else { None };
        let output = verify(&["--data-dir", place]).await;
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        assert!(output.status.code() == Some(1) && text.contains(&wrong), "{output:?}");
        if let Some(server) = server {
            let output = verify(&["--url", &server.url]).await;
            let text = String::from_utf8(output.stdout.clone()).unwrap();
            let wrong = "agent repeats: total_messages is shown as 3, its events add up to 1";
            assert!(output.status.code() == Some(1) && text.contains(wrong), "{output:?}");
        }
    }
}

#[tokio::test]
async fn without_a_verdict_it_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    for (arguments, says) in [
        (vec!["--data-dir", missing.to_str().unwrap()], "there is no data directory"),
        (vec!["--url", "http://127.0.0.1:1"], "nothing listens"),
        (vec!["--url", "foo"], "is no URL"),
        (vec!["--from", "2026-11-02", "--to", "2026-11-01"], "--from is after --to"),
        (vec!["--from", "yesterday"], "is no day like 2026-11-01"),
    ] {
        let output = verify(&arguments).await;
        let text = String::from_utf8(output.stderr.clone()).unwrap();
        assert!(output.status.code() == Some(2) && text.contains(says), "{arguments:?}: {output:?}");
    }
    assert!(!missing.exists(), "looking creates nothing");
}
