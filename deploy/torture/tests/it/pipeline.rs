//! The whole pipeline, from an agent's POST to every number and event that can be read, compared with the sender's own
//! books. Runs twice: on standalone, and on Apache Kafka with DynamoDB Local.

pub(crate) mod api;
mod events;
mod live;
pub(crate) mod numbers;
mod older_client;
mod shutdown;
pub(crate) mod truth;

use crate::PATIENCE;
use crate::deployment::Deployment;
use api::Api;
use schemas::time::{DAY_US, day_of, now_micros};
use std::sync::Arc;
use std::time::Duration;
use torture::client::{Load, Plan, Progress, await_counted};
use torture::ledger::{Dice, Ledger, SentEvent};
use truth::Truth;

const AGENTS: u64 = 6;
const EVENTS: u64 = 2_000;
/// Events end this long ago, so that no conversation is active.
pub(crate) const QUIET_US: i64 = 600_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_agrees_with_what_was_posted_on_standalone() {
    everything(Deployment::standalone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_agrees_with_what_was_posted_on_kafka_and_dynamodb() {
    let Some(_turn) = crate::real_engines().await else { return };
    everything(Deployment::on_real_engines()).await;
}

async fn everything(mut deployment: Deployment) {
    let plan = plan(23, now_micros() - QUIET_US);
    let receipts = post(&deployment.gateway, plan.batches).await;
    await_counted(&deployment.query, &receipts, PATIENCE).await.unwrap();
    let truth = Truth::of(&plan.ledger);
    let api = Api::new(&deployment);
    compare(&api, &truth).await;
    events::check_receipts(&api, &receipts[0]).await;

    deployment.restart();
    let api = Api::new(&deployment);
    compare(&api, &truth).await;

    // What follows posts more; the comparison above is over.
    older_client::works_unchanged(&api).await;
    live::follows(&api).await;
    shutdown::answers_what_it_accepted(&mut deployment).await;
}

/// Posts a plan's batches until each is accepted; returns the receipts.
pub(crate) async fn post(gateway: &str, batches: Vec<Vec<SentEvent>>) -> Vec<String> {
    let load = Load {
        gateways: vec![gateway.to_owned()],
        seed: 0,
        run: "pipeline".into(),
        agents: AGENTS,
        events: EVENTS,
        batch: 50,
        concurrency: 4,
        twice_per_cent: 20,
        timeout: Duration::from_secs(15),
        patience: PATIENCE,
    };
    let progress = Arc::new(Progress::default());
    load.post(batches, Arc::clone(&progress)).await.unwrap();
    progress.receipts.lock().unwrap().clone()
}

pub(crate) async fn compare(api: &Api, truth: &Truth) {
    numbers::check_agents(api, truth).await;
    numbers::check_metrics(api, truth).await;
    numbers::check_series(api, truth).await;
    numbers::check_kpis(api, truth).await;
    events::check_pages(api, truth).await;
    events::check_filters(api, truth).await;
    events::check_conversations(api, truth).await;
}

/// Events over three days that end at `end`; every fifth is sent twice, in the same batch or in another.
pub(crate) fn plan(seed: u64, end: i64) -> Plan {
    let mut dice = Dice(seed);
    let start = i64::from(day_of(end) - 2) * DAY_US;
    let (mut ledger, mut sent) = (Ledger::default(), Vec::new());
    for n in 0..EVENTS {
        let mut event = SentEvent::make(&mut dice, "pipeline", n, AGENTS, end);
        event.timestamp = start + dice.roll((end - start) as u64) as i64;
        event.conversation = (dice.roll(3) > 0).then(|| format!("conversation-{}", dice.roll(25)));
        ledger.accept(event.clone());
        if dice.roll(5) == 0 {
            let at = if dice.roll(2) == 0 { sent.len() } else { dice.roll(sent.len() as u64 + 1) as usize };
            sent.insert(at, event.clone());
        }
        sent.push(event);
    }
    Plan { ledger, batches: sent.chunks(50).map(<[_]>::to_vec).collect() }
}
