//! A client that does not give up: posts batches, posts some of them twice, and repeats what was not answered.

use crate::ledger::{Dice, Ledger, SentEvent};
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How a load is sent.
#[derive(Clone, Debug)]
pub struct Load {
    /// Gateways' base URLs; each request goes to the next.
    pub gateways: Vec<String>,
    /// Seed of what is sent.
    pub seed: u64,
    /// Names the run: part of every event id.
    pub run: String,
    /// Number of agents.
    pub agents: u64,
    /// Number of different events.
    pub events: u64,
    /// Events per request.
    pub batch: usize,
    /// Requests under way at once.
    pub concurrency: usize,
    /// Per cent of the events that are sent twice (in the same batch, or again in another).
    pub twice_per_cent: u64,
    /// How long a request may take before it is repeated, at the next gateway.
    pub timeout: Duration,
    /// How long a batch is repeated before the load fails.
    pub patience: Duration,
}

/// How far a load has come, for the one who kills processes meanwhile.
#[derive(Debug, Default)]
pub struct Progress {
    /// Events accepted so far, repeats included.
    pub accepted: AtomicU64,
    /// The receipts so far.
    pub receipts: Mutex<Vec<String>>,
    /// Which of the plan's batches were answered.
    pub answered: Mutex<Vec<usize>>,
    /// Requests that were answered with 503 or 429.
    pub refused: AtomicU64,
    /// What the last of them said.
    pub last_refusal: Mutex<Option<Refusal>>,
    /// Tells [`Load::send_until_over`] to come to an end.
    pub is_over: AtomicBool,
}

/// A 503 or 429.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// `Retry-After` and `Content-Type`, as sent.
    pub headers: [Option<String>; 2],
    /// The body.
    pub body: String,
}

/// Everything that a load will send.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// What follows once all of it is accepted.
    pub ledger: Ledger,
    /// The requests, repeats included.
    pub batches: Vec<Vec<SentEvent>>,
}

impl Load {
    /// Sends everything; returns the ledger of what was answered with 202. Every event is, in the end.
    pub async fn send(&self, progress: Arc<Progress>) -> anyhow::Result<Ledger> {
        let plan = self.plan();
        self.post(plan.batches, progress).await?;
        Ok(plan.ledger)
    }

    /// Sends plan after plan, each of `events` events and none sooner than `every` after the one before, until
    /// `progress.is_over` says so. Each also repeats some events of the plan before, which were acknowledged long ago.
    pub async fn send_until_over(&self, every: Duration, progress: Arc<Progress>) -> anyhow::Result<Ledger> {
        let mut ledger = Ledger::default();
        let mut old = Vec::new();
        for n in 0_u64.. {
            let began = tokio::time::Instant::now();
            let plan = Self { seed: self.seed.wrapping_add(n), run: format!("{}-{n}", self.run), ..self.clone() }.plan();
            let mut batches = plan.batches;
            batches.extend(Some(std::mem::take(&mut old)).filter(|batch| !batch.is_empty()));
            old = plan.ledger.events().values().step_by(20).cloned().collect();
            self.post(batches, Arc::clone(&progress)).await?;
            plan.ledger.events().values().for_each(|event| ledger.accept(event.clone()));
            if progress.is_over.load(Ordering::Acquire) {
                break;
            }
            // Not synchronisation: the load's pace.
            tokio::time::sleep_until(began + every).await;
        }
        Ok(ledger)
    }

    /// What [`Load::send`] would send now, for those who want to know it before all of it is sent.
    pub fn plan(&self) -> Plan {
        let mut dice = Dice(self.seed);
        let now = schemas::time::now_micros();
        let mut ledger = Ledger::default();
        let mut batches: Vec<Vec<SentEvent>> = Vec::new();
        let mut batch = Vec::new();
        let mut again = Vec::new();
        for n in 0..self.events {
            let event = SentEvent::make(&mut dice, &self.run, n, self.agents, now);
            ledger.accept(event.clone());
            if dice.roll(100) < self.twice_per_cent {
                // Half in the same batch, half in another.
                if dice.roll(2) == 0 { batch.push(event.clone()) } else { again.push(event.clone()) }
            }
            batch.push(event);
            if batch.len() >= self.batch {
                batches.push(std::mem::take(&mut batch));
                if again.len() >= self.batch {
                    batches.push(again.split_off(0));
                }
            }
        }
        batches.extend([batch, again].into_iter().filter(|b| !b.is_empty()));
        Plan { ledger, batches }
    }

    /// Posts a plan's batches until all are answered with 202.
    pub async fn post(&self, batches: Vec<Vec<SentEvent>>, progress: Arc<Progress>) -> anyhow::Result<()> {
        let client = reqwest::Client::builder().timeout(self.timeout).build()?;
        let next = Arc::new(AtomicU64::new(0));
        let batches = Arc::new(batches);
        let mut senders = tokio::task::JoinSet::new();
        for _ in 0..self.concurrency {
            let (load, client, next, batches, progress) = (self.clone(), client.clone(), next.clone(), batches.clone(), progress.clone());
            senders.spawn(async move {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed) as usize;
                    let Some(batch) = batches.get(i) else { return Ok(()) };
                    let receipt = load.insist(&client, i, batch, &progress).await?;
                    progress.accepted.fetch_add(batch.len() as u64, Ordering::Relaxed);
                    progress.receipts.lock().expect("no panic while held").push(receipt);
                    progress.answered.lock().expect("no panic while held").push(i);
                }
            });
        }
        while let Some(sender) = senders.join_next().await {
            let outcome: anyhow::Result<()> = sender?;
            outcome?;
        }
        Ok(())
    }

    /// Posts a batch until it is answered with 202.
    async fn insist(&self, client: &reqwest::Client, i: usize, batch: &[SentEvent], progress: &Progress) -> anyhow::Result<String> {
        let body = json!({"events": batch.iter().map(SentEvent::body).collect::<Vec<_>>()});
        let deadline = Instant::now() + self.patience;
        let mut turn = i;
        loop {
            let gateway = &self.gateways[turn % self.gateways.len()];
            turn += 1;
            let why = match client.post(format!("{gateway}/api/v1/events")).json(&body).send().await {
                Ok(answer) if answer.status() == 202 => {
                    // Killed in the midst of its answer: it counts as none.
                    match answer.json::<Value>().await {
                        Ok(body) => return Ok(body["receipt"].as_str().context("a 202 has a receipt")?.to_owned()),
                        Err(e) => e.to_string(),
                    }
                }
                Ok(answer) if answer.status().as_u16() == 503 || answer.status().as_u16() == 429 => {
                    let refusal = Refusal::of(answer).await;
                    let why = format!("answered {} {}", refusal.status, refusal.body);
                    progress.refused.fetch_add(1, Ordering::Relaxed);
                    *progress.last_refusal.lock().expect("no panic while held") = Some(refusal);
                    why
                }
                Ok(answer) => bail!("batch refused with {}: {}", answer.status(), answer.text().await.unwrap_or_default()),
                Err(e) => e.to_string(),
            };
            if Instant::now() > deadline {
                bail!("no 202 within {:?}; last: {why}", self.patience);
            }
            // Not synchronisation: a client's pause before it tries again.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Refusal {
    async fn of(answer: reqwest::Response) -> Self {
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let headers = [header("retry-after"), header("content-type")];
        Self { status: answer.status().as_u16(), headers, body: answer.text().await.unwrap_or_default() }
    }
}

/// Waits until a query API says that everything up to these receipts is counted.
pub async fn await_counted(query_api: &str, receipts: &[String], patience: Duration) -> anyhow::Result<()> {
    let mut highest: std::collections::BTreeMap<(u32, u32), event_log::Position> = std::collections::BTreeMap::new();
    for receipt in receipts {
        let receipt: event_log::Receipt = receipt.parse()?;
        for p in receipt.positions() {
            let have = highest.entry((p.epoch, p.partition)).or_insert(*p);
            *have = (*have).max(*p);
        }
    }
    let Some(receipt) = event_log::Receipt::of(highest.into_values()) else { return Ok(()) };
    let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?;
    let deadline = Instant::now() + patience;
    loop {
        let answer = client.get(format!("{query_api}/api/v1/receipts/{receipt}?wait_ms=5000")).send().await;
        let last = match answer {
            Ok(answer) => {
                let (status, body) = (answer.status(), answer.text().await.unwrap_or_default());
                if serde_json::from_str::<Value>(&body).is_ok_and(|b| b["counted"] == true) {
                    return Ok(());
                }
                format!("{status} {body}")
            }
            Err(e) => e.to_string(),
        };
        if Instant::now() > deadline {
            bail!("{receipt} was not counted within {patience:?}; last: {last}");
        }
    }
}
