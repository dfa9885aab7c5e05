//! `agent-tally rebuild`: a wrong number is mended beside the running server, which reads the new table from then on.

use crate::server::{Server, agent_tally, run};
use agent_tally::engine::Engine;
use schemas::item::{MetricKey, Period, Subject, TableNames, n};
use schemas::time::{day_of, format_day, now_micros};
use serde_json::{Value, json};
use std::process::Output;

async fn rebuild(arguments: &[&str]) -> Output {
    let mut command = agent_tally();
    command.arg("rebuild").args(arguments);
    run(command).await
}

#[tokio::test]
async fn a_wrong_number_is_mended_beside_the_running_server() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_str().unwrap();
    let server = Server::start(dir.path(), &[]).await;
    let event = json!({"timestamp": schemas::time::format_micros(now_micros()), "message_type": "user_message", "content": "hello"});
    let (_, answer) = server.post("bot", &event).await;
    server.await_counted(answer["receipt"].as_str().unwrap()).await;
    assert!(server.stop().await.success());

    let not_running = rebuild(&["--data-dir", place]).await;
    let text = String::from_utf8(not_running.stderr.clone()).unwrap();
    assert!(not_running.status.code() == Some(2) && text.contains("beside the server: start `agent-tally serve"), "{not_running:?}");

    let day = day_of(now_micros());
    let key = MetricKey { subject: Subject::Agent("bot".into()), period: Period::Day(day) };
    let engine = Engine::open(&dir.path().join("store.sqlite3")).unwrap();
    let update = engine.client().update_item().table_name(TableNames::default().metrics).set_key(Some(key.key()));
    update.update_expression("ADD user_message :n").expression_attribute_values(":n", n(2)).send().await.unwrap();
    tokio::task::spawn_blocking(move || engine.close()).await.unwrap();

    let server = Server::start(dir.path(), &[]).await;
    let messages = async || server.get("/api/v1/agents/bot/metrics").await.1["metrics"]["total_messages"].clone();
    assert_eq!(messages().await, 3);
    let output = rebuild(&["--data-dir", place, "--drop-old"]).await;
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let change = format!("agent bot, day {}: user_message was 3, becomes 1", format_day(day));
    assert!(output.status.success() && text.contains(&change) && text.contains("ai-agent-metrics-g1 is in use now"), "{output:?}");
    assert_eq!(messages().await, 1);

    // Counting goes on, after a restart too, and everything is what its events add up to.
    let (_, answer) = server.post("bot", &json!({"message_type": "user_message"})).await;
    server.await_counted(answer["receipt"].as_str().unwrap()).await;
    assert!(server.stop().await.success());
    let server = Server::start(dir.path(), &[]).await;
    assert_eq!(server.get("/api/v1/agents/bot/metrics").await.1["metrics"]["total_messages"], 2);
    let mut verify = agent_tally();
    verify.args(["verify", "--json", "--data-dir", place]);
    let report: Value = serde_json::from_slice(&run(verify).await.stdout).unwrap();
    assert_eq!((&report["agrees"], &report["raw"]["events"]), (&json!(true), &json!(2)));
}
