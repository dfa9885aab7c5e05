//! A rebuild on real Kafka and DynamoDB Local, under load, while an aggregator is killed: the new table equals the ledger,
//! and nobody who reads ever sees a number go back.

use crate::PATIENCE;
use crate::kafka::Deployment;
use schemas::item::TableNames;
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use torture::audit::{audit, audit_log};
use torture::client::{Load, Progress, await_counted};
use torture::process::binary_path;

const AGENTS: u64 = 10;
/// Posts per second, of [`BATCH`] events each.
const POSTS_PER_SECOND: u32 = 16;
const BATCH: usize = 25;
/// Between a reader's looks at all agents: it is to see what changes, not to keep the store from its work.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the load that there was, for whoever runs it with --nocapture")]
async fn a_table_that_is_rebuilt_under_load_equals_the_ledger_and_readers_see_no_gap() {
    let Some(_turn) = crate::real_engines().await else { return };
    let deployment = Deployment::start(4).await;
    let mut aggregators = vec![deployment.aggregator(None)];
    let (_gateway, gateway_url) = deployment.serve("ingest-gateway");
    let (_query, query_url) = deployment.serve("query-api");
    aggregators.push(deployment.aggregator(None));
    let load = Load {
        gateways: vec![gateway_url],
        seed: 7,
        run: "rebuild".into(),
        agents: AGENTS,
        events: 14_000,
        batch: BATCH,
        concurrency: 4,
        twice_per_cent: 10,
        timeout: Duration::from_secs(15),
        patience: PATIENCE,
    };
    let plan = load.plan();
    let progress = Arc::new(Progress::default());
    let (before, during) = plan.batches.split_at(plan.batches.len() / 4);
    load.post(before.to_vec(), Arc::clone(&progress)).await.unwrap();
    let receipts = progress.receipts.lock().unwrap().clone();
    await_counted(&query_url, &receipts, PATIENCE).await.unwrap();

    let (is_done, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let watching = tokio::spawn(watch(query_url.clone(), Arc::clone(&is_done), Arc::clone(&rounds)));
    let stop = Arc::new(AtomicBool::new(false));
    let posting = tokio::spawn({
        let (load, during, progress, stop) = (load.clone(), during.to_vec(), Arc::clone(&progress), Arc::clone(&stop));
        async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1) / POSTS_PER_SECOND);
            for batch in during {
                // Once the rebuild is over, the rest goes as fast as it can.
                if !stop.load(Ordering::Relaxed) {
                    ticks.tick().await;
                }
                load.post(vec![batch], Arc::clone(&progress)).await.unwrap();
            }
        }
    });
    let (started, started_at) = (progress.accepted.load(Ordering::Relaxed), Instant::now());
    let mut command = Command::new(binary_path("aggregator").unwrap());
    command.arg("rebuild").arg("--json").envs(deployment.environment(&[])).stdin(Stdio::null());
    let rebuild = tokio::task::spawn_blocking(move || command.output());
    // While it fills, one of those who count into both tables dies.
    while progress.accepted.load(Ordering::Relaxed) < started + 2_000 {
        assert!(!posting.is_finished(), "the load ended early: {:?}", posting.await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    std::mem::replace(&mut aggregators[0], deployment.aggregator(None)).process.kill().unwrap();
    let output = rebuild.await.unwrap().unwrap();
    let under_load = progress.accepted.load(Ordering::Relaxed) - started;
    println!("{under_load} events in {:.1} s beside the rebuild", started_at.elapsed().as_secs_f64());
    stop.store(true, Ordering::Relaxed);
    assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["is_switched"], &report["filled"]["changes_total"]), (&true.into(), &0.into()), "{report}");
    assert!(under_load > 2_000, "{under_load} events came during the rebuild");
    posting.await.unwrap();
    let receipts = progress.receipts.lock().unwrap().clone();
    await_counted(&query_url, &receipts, PATIENCE).await.unwrap();
    // Readers see the new table too, and went on seeing the old one until then.
    let (of_old, deadline) = (rounds.load(Ordering::Relaxed), Instant::now() + PATIENCE);
    assert!(of_old > 10, "{of_old} rounds");
    while rounds.load(Ordering::Relaxed) < of_old + 3 && !watching.is_finished() {
        assert!(Instant::now() < deadline, "readers are not answered behind the rebuild");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    is_done.store(true, Ordering::Relaxed);
    watching.await.unwrap();
    for aggregator in aggregators {
        aggregator.leave().await;
    }
    let tables = TableNames { metrics: report["new"].as_str().unwrap().to_owned(), ..TableNames::default() };
    let found = audit(&deployment.dynamodb.client(), &tables, &plan.ledger).await.unwrap();
    audit_log(&*deployment.log(), "agent-events", found, 0).await.unwrap();
}

/// Asks for every agent's numbers again and again, and counts the rounds: none may ever be lower than it was. A store that is
/// busy may have a question answered with 503, never with other numbers.
async fn watch(query_url: String, is_done: Arc<AtomicBool>, rounds: Arc<AtomicU64>) {
    let mut known = 0;
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut highest: BTreeMap<(String, &str), i64> = BTreeMap::new();
    'looks: while !is_done.load(Ordering::Relaxed) {
        looks.tick().await;
        let Some(agents) = ask(&format!("{query_url}/api/v1/agents")).await else { continue };
        let agents: Vec<String> = serde_json::from_value(agents).unwrap();
        assert!(agents.len() >= known, "{known} agents were listed, now {agents:?}");
        known = agents.len();
        for agent in agents {
            let url = format!("{query_url}/api/v1/agents/{agent}/metrics?days=400");
            let Some(answer) = ask(&url).await else { continue 'looks };
            for counter in ["total_messages", "total_responses", "total_errors", "total_tokens_used", "unique_users"] {
                let now = answer["metrics"][counter].as_i64().unwrap_or_else(|| panic!("{answer}"));
                let was = highest.entry((agent.clone(), counter)).or_insert(0);
                assert!(now >= *was, "{counter} of {agent} went from {was} to {now}");
                *was = now;
            }
        }
        rounds.fetch_add(1, Ordering::Relaxed);
    }
}

/// An answer; `None` where the store was too busy to give one.
async fn ask(url: &str) -> Option<Value> {
    let answer = reqwest::get(url).await.unwrap();
    let (status, body) = (answer.status().as_u16(), answer.json().await.unwrap());
    assert!(matches!(status, 200 | 503), "{url} was answered {status}: {body}");
    (status == 200).then_some(body)
}
