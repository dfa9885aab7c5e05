//! An orderly stop under load.

use super::api::Api;
use crate::deployment::Deployment;
use schemas::time::{format_micros, now_micros};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const AGENT: &str = "stopped-agent";

/// Whatever the log took was answered with 202, and nothing else was: the client's list is the stored list.
pub(super) async fn answers_what_it_accepted(deployment: &mut Deployment) {
    let answered = Arc::new(AtomicU64::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..6 {
        clients.spawn(post_until_refused(deployment.gateway.clone(), client, Arc::clone(&answered)));
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    while answered.load(Ordering::Relaxed) < 100 {
        assert!(Instant::now() < deadline, "no load");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    tokio::task::block_in_place(|| deployment.stop_gateway());
    let (mut accepted, mut answers) = (BTreeSet::new(), Vec::new());
    while let Some(sent) = clients.join_next().await {
        for (id, answer) in sent.unwrap() {
            accepted.insert(id);
            answers.push(answer);
        }
    }
    deployment.start();
    let api = Api::new(deployment);
    for answer in &answers {
        api.await_counted(answer).await;
    }
    let stored = api.pages(&format!("/api/v1/events?agent_id={AGENT}&limit=1000")).await;
    let stored: BTreeSet<String> = stored.iter().map(|e| e["event_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(stored, accepted, "stored and answered differ");
}

/// Posts one event after the other, each over a connection of its own and once, until nobody takes them.
async fn post_until_refused(gateway: String, client: u64, answered: Arc<AtomicU64>) -> Vec<(String, Value)> {
    let http = reqwest::Client::builder().pool_max_idle_per_host(0).timeout(Duration::from_secs(20)).build().unwrap();
    let mut accepted = Vec::new();
    for n in 0.. {
        let id = format!("stop-{client}-{n}");
        let event = json!({"event_id": id, "timestamp": format_micros(now_micros()), "message_type": "custom_metric"});
        let Ok(answer) = http.post(format!("{gateway}/api/v1/agents/{AGENT}/events")).json(&event).send().await else { break };
        if answer.status() != 202 {
            break;
        }
        accepted.push((id, answer.json().await.unwrap()));
        answered.fetch_add(1, Ordering::Relaxed);
    }
    accepted
}
