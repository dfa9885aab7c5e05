//! A log that is not the one that was counted is refused, loudly, and the message says what to do.

use crate::deployment::{Deployment, serve};
use crate::pipeline::api::Api;
use schemas::time::{format_micros, now_micros};
use serde_json::json;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use torture::process::binary_path;

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_log_beside_a_counted_store_is_refused_until_the_epoch_is_raised() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir.to_str().unwrap()];
    let (server, url) = serve("agent-tally", &arguments, &[], directory.path());
    post_and_await(&url, "before").await;
    server.stop(Duration::from_secs(20)).unwrap();
    for name in ["log.sqlite3", "log.sqlite3-wal", "log.sqlite3-shm"] {
        let path = data_dir.join(name);
        if path.exists() {
            std::fs::remove_file(path).unwrap();
        }
    }
    for _ in 0..2 {
        let refusal = refusal(&data_dir).await;
        assert!(refusal.contains("LOG_EPOCH"), "{refusal}");
    }
    let environment = [("LOG_EPOCH".to_owned(), "1".to_owned())];
    let (server, url) = serve("agent-tally", &arguments, &environment, directory.path());
    post_and_await(&url, "after").await;
    let numbers = Api::at(&url).get("/api/v1/agents/bot/metrics?days=2").await;
    assert_eq!(numbers["metrics"]["total_messages"], 2, "{numbers}");
    server.stop(Duration::from_secs(20)).unwrap();
    // Back is wrong too: what is counted in epoch 1 would be taken for new.
    let refusal = refusal(&data_dir).await;
    assert!(refusal.contains("LOG_EPOCH"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_created_anew_is_refused_until_the_epoch_is_raised() {
    let Some(_turn) = crate::real_engines().await else { return };
    let mut deployment = Deployment::on_real_engines();
    for id in ["one", "two", "three"] {
        post_to(&deployment, id).await;
    }
    deployment.delete_topic().await;
    // The topic is made again, empty, by whoever starts first.
    for _ in 0..2 {
        let environment = deployment.environment();
        let refusal = refusal_of("aggregator", &["--create-tables"], &environment).await;
        assert!(refusal.contains("LOG_EPOCH"), "{refusal}");
    }
    deployment.raise_epoch(1);
    deployment.start();
    post_to(&deployment, "four").await;
    let numbers = Api::at(&deployment.query).get("/api/v1/agents/bot/metrics?days=2").await;
    assert_eq!(numbers["metrics"]["total_messages"], 4, "{numbers}");
}

/// The log still has everything: the store is counted anew from it, and no receipt claims it before.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_store_is_counted_anew_from_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir.to_str().unwrap()];
    let (server, url) = serve("agent-tally", &arguments, &[], directory.path());
    for id in ["one", "two", "three"] {
        post_and_await(&url, id).await;
    }
    server.stop(Duration::from_secs(20)).unwrap();
    for name in ["store.sqlite3", "store.sqlite3-wal", "store.sqlite3-shm"] {
        let path = data_dir.join(name);
        if path.exists() {
            std::fs::remove_file(path).unwrap();
        }
    }
    let (server, url) = serve("agent-tally", &arguments, &[], directory.path());
    post_and_await(&url, "four").await;
    let numbers = Api::at(&url).get("/api/v1/agents/bot/metrics?days=2").await;
    assert_eq!(numbers["metrics"]["total_messages"], 4, "{numbers}");
    server.stop(Duration::from_secs(20)).unwrap();
}

async fn post_and_await(url: &str, id: &str) {
    post(url, url, id).await;
}

async fn post_to(deployment: &Deployment, id: &str) {
    post(&deployment.gateway, &deployment.query, id).await;
}

async fn post(gateway: &str, query: &str, id: &str) {
    let event = json!({"event_id": id, "timestamp": format_micros(now_micros()), "message_type": "user_message"});
    let answer = Api::at(gateway).post("/api/v1/agents/bot/events", &event).await;
    Api::at(query).await_counted(&answer).await;
}

/// What a server that does not start says.
async fn refusal(data_dir: &Path) -> String {
    refusal_of("agent-tally", &["serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir.to_str().unwrap()], &[]).await
}

async fn refusal_of(binary: &str, arguments: &[&str], environment: &[(String, String)]) -> String {
    let mut command = tokio::process::Command::new(binary_path(binary).unwrap());
    command.args(arguments).env_remove("LOG_EPOCH").env_remove("RUST_LOG").envs(environment.iter().cloned());
    command.stdin(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(Duration::from_secs(30), command.output()).await;
    let output = ended.expect("it ends by itself").unwrap();
    assert!(!output.status.success(), "it served");
    String::from_utf8(output.stderr).unwrap()
}
