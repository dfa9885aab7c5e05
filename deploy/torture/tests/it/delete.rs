//! Deletions on real Kafka and DynamoDB Local, under load, while an aggregator is killed: the tables equal the ledger without
//! what was deleted, in every counter and every maximum.

use crate::PATIENCE;
use crate::kafka::{Aggregator, Deployment};
use schemas::item::TableNames;
use serde_json::Value;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use torture::audit::{audit, audit_log};
use torture::client::{Load, Progress, await_counted};
use torture::ledger::{Ledger, SentEvent};
use torture::process::binary_path;

const USER: &str = "user-7";
const AGENT: &str = "agent-3";

fn delete(deployment: &Deployment, whose: [&str; 2]) -> Command {
    let mut command = Command::new(binary_path("aggregator").unwrap());
    command.arg("delete").args(whose).args(["--yes", "--json"]).envs(deployment.environment(&[])).stdin(Stdio::null());
    command
}

fn report_of(output: &Output) -> Value {
    assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn is_users(event: &SentEvent) -> bool {
    event.user.as_deref() == Some(USER)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_under_load_is_out_of_every_counter() {
    let Some(_turn) = crate::real_engines().await else { return };
    let deployment = Deployment::start(4).await;
    let mut aggregators: Vec<Aggregator> = vec![deployment.aggregator(None)];
    let (_gateway, gateway_url) = deployment.serve("ingest-gateway");
    let (_query, query_url) = deployment.serve("query-api");
    aggregators.push(deployment.aggregator(None));
    let load = Load {
        gateways: vec![gateway_url],
        seed: 11,
        run: "delete".into(),
        agents: 10,
        events: 16_000,
        batch: 25,
        concurrency: 4,
        twice_per_cent: 10,
        timeout: Duration::from_secs(15),
        patience: PATIENCE,
    };
    let plan = load.plan();
    let progress = Arc::new(Progress::default());
    let counted = async || {
        let receipts = progress.receipts.lock().unwrap().clone();
        await_counted(&query_url, &receipts, PATIENCE).await.unwrap();
    };
    let (before, during) = plan.batches.split_at(plan.batches.len() / 4);
    load.post(before.to_vec(), Arc::clone(&progress)).await.unwrap();
    counted().await;
    let gone: Vec<SentEvent> = before.iter().flatten().filter(|event| is_users(event)).cloned().collect();
    // What the user does meanwhile may still be deleted or not, so it comes later.
    let is_later = |event: &SentEvent| is_users(event) && !gone.contains(event);
    let (later, during): (Vec<SentEvent>, Vec<SentEvent>) = during.iter().flatten().cloned().partition(is_later);
    assert!(gone.len() > 30 && later.len() > 100, "{} {}", gone.len(), later.len());
    // Repeats of what is deleted come all the while.
    let mut repeats = gone.iter().chain(&gone).cloned();
    let every = during.len() / gone.len() / 2;
    let with_repeats = during.chunks(every).flat_map(|some| some.iter().cloned().chain(repeats.next()));
    let during: Vec<SentEvent> = with_repeats.collect();

    let batches = |events: &[SentEvent]| events.chunks(25).map(<[SentEvent]>::to_vec).collect::<Vec<_>>();
    let posting = tokio::spawn({
        let (load, during, progress) = (load.clone(), batches(&during), Arc::clone(&progress));
        async move { load.post(during, progress).await }
    });
    let started = progress.accepted.load(Ordering::Relaxed);
    let mut command = delete(&deployment, ["--user", USER]);
    let deleting = tokio::task::spawn_blocking(move || command.output());
    while progress.accepted.load(Ordering::Relaxed) < started + 500 {
        assert!(!posting.is_finished(), "the load ended early");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    std::mem::replace(&mut aggregators[0], deployment.aggregator(None)).process.kill().unwrap();
    let report = report_of(&deleting.await.unwrap().unwrap());
    assert_eq!(report["outcome"], "deleted", "{report}");
    posting.await.unwrap().unwrap();
    load.post(batches(&later), Arc::clone(&progress)).await.unwrap();
    counted().await;
    let is_gone = |event: &SentEvent| gone.contains(event);
    let left = |is_gone: &dyn Fn(&SentEvent) -> bool| {
        let mut ledger = Ledger::default();
        plan.ledger.events().values().filter(|event| !is_gone(event)).for_each(|event| ledger.accept(event.clone()));
        ledger
    };
    assert_eq!(report["events"].as_u64(), Some((plan.ledger.events().len() - left(&is_gone).events().len()) as u64), "{report}");
    let found = audit(&deployment.dynamodb.client(), &TableNames::default(), &left(&is_gone)).await.unwrap();
    audit_log(&*deployment.log(), "agent-events", found, 0).await.unwrap();

    // Then a whole agent.
    let mut command = delete(&deployment, ["--agent", AGENT]);
    let report = report_of(&tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap());
    assert_eq!(report["agents"], serde_json::json!([AGENT]));
    let without_agent = left(&|event: &SentEvent| is_gone(event) || event.agent == AGENT);
    let found = audit(&deployment.dynamodb.client(), &TableNames::default(), &without_agent).await.unwrap();
    audit_log(&*deployment.log(), "agent-events", found, 0).await.unwrap();
    let agents: Vec<String> = reqwest::get(format!("{query_url}/api/v1/agents")).await.unwrap().json().await.unwrap();
    assert!(agents.len() == 9 && !agents.contains(&AGENT.to_owned()), "{agents:?}");
    let verify =
        Command::new(binary_path("aggregator").unwrap()).args(["verify", "--scan-events"]).envs(deployment.environment(&[])).output();
    let verify = verify.unwrap();
    assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stdout));
    for aggregator in aggregators {
        aggregator.leave().await;
    }
}
