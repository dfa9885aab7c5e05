//! How long until counting goes on: events of many agents, so that every partition has one, posted again and again until
//! they are acknowledged, then asked after until they are counted.

use crate::ledger::{Dice, Ledger, SentEvent};
use anyhow::{bail, ensure};
use event_log::Receipt;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The one who asks.
#[derive(Debug)]
pub struct Probe {
    /// Where to post and where to ask, each the next where one does not answer.
    pub gateways: Vec<String>,
    /// See above.
    pub query_apis: Vec<String>,
    agents: u64,
    partitions: usize,
    dice: Dice,
    sent: u64,
    client: reqwest::Client,
    ledger: Ledger,
}

impl Probe {
    /// For a log of so many partitions.
    pub fn new(gateways: Vec<String>, query_apis: Vec<String>, partitions: u32, seed: u64) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(3)).build()?;
        Ok(Self {
            gateways,
            query_apis,
            // So many that no partition is left out.
            agents: u64::from(partitions) * 8,
            partitions: partitions as usize,
            dice: Dice(seed),
            sent: 0,
            client,
            ledger: Ledger::default(),
        })
    }

    /// Posts and waits until all of it is counted; returns how long that was after `since`.
    ///
    /// # Errors
    /// Where it is not counted within `patience`.
    pub async fn counted_since(&mut self, since: Instant, patience: Duration) -> anyhow::Result<Duration> {
        let run = format!("probe-{}", self.sent);
        self.sent += 1;
        let now = schemas::time::now_micros();
        let events: Vec<SentEvent> = (0..self.agents)
            .map(|n| SentEvent { agent: format!("probe-{n}"), ..SentEvent::make(&mut self.dice, &run, n, 1, now) })
            .collect();
        let deadline = Instant::now() + patience;
        let receipt = self.post(&events, deadline).await?;
        let covered = receipt.parse::<Receipt>()?.positions().len();
        ensure!(covered == self.partitions, "a probe reached {covered} of {} partitions", self.partitions);
        self.await_counted(&receipt, deadline).await?;
        let took = since.elapsed();
        events.into_iter().for_each(|event| self.ledger.accept(event));
        Ok(took)
    }

    /// Everything that it posted.
    pub fn into_ledger(self) -> Ledger {
        self.ledger
    }

    /// Events acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.ledger.events().len() as u64
    }

    async fn post(&self, events: &[SentEvent], deadline: Instant) -> anyhow::Result<String> {
        let body = json!({"events": events.iter().map(SentEvent::body).collect::<Vec<_>>()});
        let mut last = String::new();
        for gateway in self.gateways.iter().cycle() {
            match self.client.post(format!("{gateway}/api/v1/events")).json(&body).send().await {
                Ok(answer) if answer.status() == 202 => match answer.json::<Value>().await {
                    Ok(body) => return Ok(body["receipt"].as_str().unwrap_or_default().to_owned()),
                    Err(error) => last = error.to_string(),
                },
                Ok(answer) if answer.status().is_client_error() => bail!("refused: {}", answer.text().await?),
                Ok(answer) => last = answer.text().await.unwrap_or_default(),
                Err(error) => last = error.to_string(),
            }
            ensure!(Instant::now() < deadline, "a probe is not acknowledged; last: {last}");
            pause().await;
        }
        bail!("there is no gateway; last: {last}")
    }

    async fn await_counted(&self, receipt: &str, deadline: Instant) -> anyhow::Result<()> {
        let mut last = String::new();
        for query in self.query_apis.iter().cycle() {
            match self.client.get(format!("{query}/api/v1/receipts/{receipt}?wait_ms=1500")).send().await {
                Ok(answer) => match answer.json::<Value>().await {
                    Ok(body) if body["counted"] == true => return Ok(()),
                    Ok(body) => last = body.to_string(),
                    Err(error) => last = error.to_string(),
                },
                Err(error) => last = error.to_string(),
            }
            ensure!(Instant::now() < deadline, "the probe {receipt} is not counted; last: {last}");
            pause().await;
        }
        bail!("there is no query API; last: {last}")
    }
}

/// Not synchronisation: between two tries.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}
