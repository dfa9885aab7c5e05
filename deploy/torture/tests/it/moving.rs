//! `agent-tally export` and `agent-tally import`: what was counted in one place is counted in the other, once, and what is
//! posted there goes on from it.

use crate::PATIENCE;
use crate::deployment::{Deployment, serve};
use crate::pipeline::api::Api;
use crate::pipeline::truth::Truth;
use crate::pipeline::{QUIET_US, compare, plan, post};
use agent_tally::engine::Engine;
use aws_sdk_dynamodb::Client;
use schemas::item::{TableNames, event_of_item};
use schemas::time::now_micros;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use torture::audit::audit;
use torture::client::{Plan, await_counted};
use torture::ledger::Ledger;
use torture::process::{Process, binary_path};

/// A data directory whose server was killed before it had counted everything, exported.
struct Exported {
    directory: TempDir,
    plan: Plan,
    /// Of one of its batches.
    receipt: String,
    folder: PathBuf,
}

impl Exported {
    async fn with_an_uncounted_tail() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path().join("old");
        // Numbers of agents are written after a minute: a kill leaves most of them uncounted.
        let (server, url) = standalone(&data_dir, &["--partitions", "3", "--flush", "cheap"], &[]);
        let plan = plan(31, now_micros() - QUIET_US);
        let receipt = post(&url, plan.batches.clone()).await.swap_remove(0);
        conflict(&url, &plan).await;
        server.kill().unwrap();
        let folder = directory.path().join("export");
        let said = tally(&["export", "--data-dir", text(&data_dir), "--to", text(&folder), "--file-mib", "1"], &[]).await.unwrap();
        assert!(said.contains("exported 2,000 events") && said.contains("were counted first"), "{said}");
        assert!(said.contains(" dead letters"), "{said}");
        Self { directory, plan, receipt, folder }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_directory_is_exported_and_goes_on_in_another_one() {
    let exported = Exported::with_an_uncounted_tail().await;
    let data_dir = exported.directory.path().join("new");
    let import = ["import", "--from", text(&exported.folder), "--data-dir", text(&data_dir)];
    let said = tally(&import, &[]).await.unwrap();
    assert!(said.contains("imported 2,000 events"), "{said}");
    let again = tally(&import, &[]).await.unwrap_err();
    assert!(again.contains("was imported here already"), "{again}");
    // Under the epoch of the directory that was left, positions here would be taken for positions there.
    let epoch = [("LOG_EPOCH".to_owned(), "0".to_owned())];
    let refused = tally(&["serve", "--listen", "127.0.0.1:0", "--data-dir", text(&data_dir)], &epoch).await.unwrap_err();
    assert!(refused.contains("set LOG_EPOCH=1 or higher"), "{refused}");
    // Fewer partitions than have written fleet items.
    let (server, url) = standalone(&data_dir, &[], &[]);
    goes_on(&Api::at(&url), exported.plan, &exported.receipt).await;
    server.stop(PATIENCE).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_directory_moves_to_kafka_and_dynamodb() {
    let Some(_turn) = crate::real_engines().await else { return };
    let exported = Exported::with_an_uncounted_tail().await;
    let mut services = Deployment::real_engines_alone();
    let environment = services.environment();
    let import = ["import", "--from", text(&exported.folder), "--services"];
    // Killed half way: nobody counts into half a table, and running it again finishes it.
    kill_import(&import, &environment, exported.directory.path()).await;
    let refused = refusal_of_the_aggregator(&environment).await;
    assert!(refused.contains("is under way or was interrupted"), "{refused}");
    let said = tally(&import, &environment).await.unwrap();
    assert!(said.contains("need LOG_EPOCH=1 or higher"), "{said}");
    let refused = refusal_of_the_aggregator(&environment).await;
    assert!(refused.contains("set LOG_EPOCH=1 or higher"), "{refused}");
    services.raise_epoch(1);
    services.start();
    goes_on(&Api::new(&services), exported.plan, &exported.receipt).await;
}

/// Exported in the midst of a load: the rollups in the export are those of the events in it, exactly, and nothing that was
/// answered before is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_is_exported_at_a_moment_at_which_all_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new, folder) = (directory.path().join("old"), directory.path().join("new"), directory.path().join("export"));
    let (server, url) = standalone(&old, &["--partitions", "3"], &[]);
    let plan = plan(47, now_micros() - QUIET_US);
    let (before, meanwhile) = plan.batches.split_at(plan.batches.len() / 3);
    post(&url, before.to_vec()).await;
    let posting = tokio::spawn({
        let (url, meanwhile) = (url.clone(), meanwhile.to_vec());
        async move { post(&url, meanwhile).await }
    });
    let said = tally(&["export", "--data-dir", text(&old), "--to", text(&folder)], &[]).await.unwrap();
    assert!(said.contains("the server took no events for "), "{said}");
    // The client was told to come again, and did.
    posting.await.unwrap();
    server.stop(PATIENCE).unwrap();
    assert!(!old.join("export-copy.sqlite3").exists());

    tally(&["import", "--from", text(&folder), "--data-dir", text(&new)], &[]).await.unwrap();
    let engine = Engine::open(&new.join("store.sqlite3")).unwrap();
    let held = events_of(&engine.client(), &plan.ledger).await;
    audit(&engine.client(), &TableNames::default(), &held).await.unwrap();
    engine.close();
    for event in before.iter().flatten() {
        assert!(held.events().contains_key(&(event.agent.clone(), event.timestamp, event.id.clone())), "{event:?} is missing");
    }

    // What came later is not in it; sent again, everything is counted once.
    let (server, url) = standalone(&new, &[], &[]);
    let receipts = post(&url, plan.batches.clone()).await;
    await_counted(&url, &receipts, PATIENCE).await.unwrap();
    compare(&Api::at(&url), &Truth::of(&plan.ledger)).await;
    server.stop(PATIENCE).unwrap();
}

/// Every public number is what was posted before the move; repeats of that change nothing; new events add to it. A receipt
/// of before is not taken for one of this log.
async fn goes_on(api: &Api, plan: Plan, receipt: &str) {
    assert_eq!(api.ask(&format!("/api/v1/receipts/{receipt}")).await.0, 410);
    compare(api, &Truth::of(&plan.ledger)).await;
    let letters = api.get_until("/api/v1/pipeline", |answer| answer["dead_letters"]["total"] == 1).await;
    assert_eq!(letters["dead_letters"]["by_reason"], json!([{"reason": "id_conflict", "count": 1}]), "{letters}");
    let mut receipts = post(&api.gateway, plan.batches.clone()).await;
    let more = crate::pipeline::plan(53, now_micros() - QUIET_US);
    receipts.extend(post(&api.gateway, more.batches).await);
    await_counted(&api.query, &receipts, PATIENCE).await.unwrap();
    let mut ledger = plan.ledger;
    more.ledger.events().values().for_each(|event| ledger.accept(event.clone()));
    compare(api, &Truth::of(&ledger)).await;
}

/// Posts an event that was posted, with other content, and waits until it is a dead letter.
async fn conflict(url: &str, plan: &Plan) {
    let mut body = plan.batches[0][0].body();
    body["content"] = "something else".into();
    let api = Api::at(url);
    api.post("/api/v1/events", &json!([body])).await;
    let letters = api.get_until("/api/v1/pipeline", |answer: &Value| answer["dead_letters"]["total"] == 1).await;
    assert_eq!(letters["dead_letters"]["total"], 1, "{letters}");
}

/// The part of the ledger that a store holds.
async fn events_of(store: &Client, ledger: &Ledger) -> Ledger {
    let mut held = Ledger::default();
    let mut pages = store.scan().table_name(TableNames::default().events).into_paginator().items().send();
    while let Some(item) = pages.next().await {
        let event = event_of_item(&item.unwrap()).unwrap().event;
        held.accept(ledger.events()[&(event.agent_id.clone(), event.timestamp, event.event_id.clone())].clone());
    }
    held
}

/// Kills an import when it has written something.
async fn kill_import(arguments: &[&str], environment: &[(String, String)], directory: &Path) {
    let endpoint = environment.iter().find(|(name, _)| name == "AWS_ENDPOINT_URL_DYNAMODB").unwrap().1.clone();
    let store = engines::dynamodb::client(&endpoint);
    let arguments: Vec<String> = arguments.iter().copied().map(String::from).collect();
    let mut import = Process::start("agent-tally", &arguments, environment, &directory.join("import.log")).unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let page = store.scan().table_name(TableNames::default().events).limit(1).send().await;
        if page.is_ok_and(|page| page.count > 0) {
            break;
        }
        assert!(!import.has_ended().unwrap(), "{}", std::fs::read_to_string(directory.join("import.log")).unwrap());
        assert!(Instant::now() < deadline, "the import wrote nothing");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(!import.has_ended().unwrap(), "it was too quick to be killed");
    import.kill().unwrap();
}

async fn refusal_of_the_aggregator(environment: &[(String, String)]) -> String {
    ended("aggregator", &["--create-tables"], environment).await.unwrap_err()
}

fn standalone(data_dir: &Path, more: &[&str], environment: &[(String, String)]) -> (Process, String) {
    let arguments = [&["serve", "--listen", "127.0.0.1:0", "--data-dir", text(data_dir)], more].concat();
    serve("agent-tally", &arguments, environment, data_dir.parent().unwrap())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs `agent-tally` to its end: what it printed, or what it complained of.
async fn tally(arguments: &[&str], environment: &[(String, String)]) -> Result<String, String> {
    ended("agent-tally", arguments, environment).await
}

async fn ended(binary: &str, arguments: &[&str], environment: &[(String, String)]) -> Result<String, String> {
    let mut command = tokio::process::Command::new(binary_path(binary).unwrap());
    command.args(arguments).env_remove("LOG_EPOCH").env_remove("RUST_LOG").envs(environment.iter().cloned());
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends by itself").unwrap();
    let (out, complaint) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    if output.status.success() { Ok(out) } else { Err(out + &complaint) }
}
