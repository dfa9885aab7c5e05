//! Delivers batches over HTTP as a careful client does: the same events with the same ids again until they are
//! acknowledged, at the pace that the server asks for. It must not give up an event silently, nor wait silently.

use super::conversation::Event;
use super::progress::Progress;
use crate::server::{bearer, describe};
use crate::silence::{Silence, find_host};
use anyhow::{Context, bail};
use event_log::{Position, Receipt};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How long one batch is tried for.
const PATIENCE: Duration = Duration::from_secs(120);
/// First and longest pause where the server names none.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// How long a connection may take to come about, and a request to be answered.
const ANSWER_WITHIN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(30));
/// Longest pause that a server may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(30);

/// The way to the server.
#[derive(Debug)]
pub(super) struct Delivery {
    client: Client,
    url: String,
    /// The highest position of each partition so far.
    receipt: Mutex<Option<Receipt>>,
    progress: Progress,
    shutdown: CancellationToken,
}

#[derive(serde::Deserialize)]
struct Accepted {
    receipt: String,
}

#[derive(serde::Deserialize)]
struct Counted {
    counted: bool,
}

impl Delivery {
    /// To the server at `url`, with a key where it wants one; gives up on `shutdown`.
    ///
    /// # Errors
    /// Where there is no such host, or the key is no text for a header.
    pub(super) async fn new(url: &reqwest::Url, key: Option<&str>, shutdown: CancellationToken) -> anyhow::Result<Self> {
        find_host(url).await?;
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            headers.insert(reqwest::header::AUTHORIZATION, bearer(key)?);
        }
        let (connected, answered) = ANSWER_WITHIN;
        let client = Client::builder().default_headers(headers).connect_timeout(connected).timeout(answered).no_proxy().build();
        let client = client.context("cannot make an HTTP client")?;
        let url = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self { client, url, receipt: Mutex::new(None), progress: Progress::new(), shutdown })
    }

    /// Where it is shown how far it got.
    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Whether the user wants to stop.
    pub(super) fn is_stopped(&self) -> bool {
        self.shutdown.is_cancelled()
    }

    /// Until the user wants to stop.
    pub(super) async fn stopped(&self) {
        self.shutdown.cancelled().await;
    }

    /// Posts a batch until it is acknowledged.
    pub(super) async fn post(&self, events: &[Event]) -> anyhow::Result<()> {
        let body = bytes::Bytes::from(serde_json::to_vec(events)?);
        let begun = Instant::now();
        let mut pause = PAUSE.0;
        loop {
            let request =
                self.client.post(format!("{}/api/v1/events", self.url)).header("content-type", "application/json").body(body.clone());
            let (reason, asked) = match request.send().await {
                Ok(response) if response.status() == StatusCode::ACCEPTED => {
                    let accepted: Accepted = response.json().await.context("the answer is none of Agent Tally's")?;
                    self.progress.well();
                    return self.note(&accepted.receipt);
                }
                Ok(response) if is_worth_retrying(response.status()) => {
                    let asked = retry_after(&response);
                    (format!("{} does not take the events: {}", self.url, describe(response).await), asked)
                }
                Ok(response) => bail!("{} refused the events: {}", self.url, describe(response).await),
                Err(error) => match Silence::of(&self.client, &self.url, &error).await {
                    Silence::Passing(reason) => (reason, None),
                    Silence::ForGood(reason) => bail!(reason),
                },
            };
            let until = begun + PATIENCE;
            if Instant::now() >= until {
                bail!("{reason}; gave up after {} s", PATIENCE.as_secs());
            }
            if !self.pause(asked.unwrap_or(pause).min(LONGEST_ASKED), &reason, until).await {
                bail!("stopped, with events that were not taken: {reason}");
            }
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Waits before the next try, counting down the time that is left in all; false where the user wants to stop.
    async fn pause(&self, length: Duration, reason: &str, until: Instant) -> bool {
        let end = Instant::now() + length;
        loop {
            let now = Instant::now();
            if now >= end {
                return true;
            }
            self.progress.trouble(reason, until.saturating_duration_since(now));
            let step = (end - now).min(Duration::from_secs(1));
            if self.shutdown.run_until_cancelled(tokio::time::sleep(step)).await.is_none() {
                return false;
            }
        }
    }

    fn note(&self, receipt: &str) -> anyhow::Result<()> {
        let new: Receipt = receipt.parse().context("the answer's receipt is unreadable")?;
        let mut receipt = self.receipt.lock().unwrap_or_else(PoisonError::into_inner);
        let old = receipt.iter().flat_map(|r| r.positions().iter().copied());
        let positions: Vec<Position> = old.chain(new.positions().iter().copied()).collect();
        *receipt = Receipt::of(positions);
        Ok(())
    }

    /// Waits until everything posted so far is counted; returns what to tell about it.
    pub(super) async fn await_counted(&self, patience: Duration) -> String {
        let Some(receipt) = self.receipt.lock().unwrap_or_else(PoisonError::into_inner).clone() else { return "nothing was posted".into() };
        let begun = Instant::now();
        while begun.elapsed() < patience && !self.is_stopped() {
            let asked = self.client.get(format!("{}/api/v1/receipts/{receipt}?wait_ms=5000", self.url)).send().await;
            let answer = match asked {
                Ok(response) if response.status().is_success() => response.json::<Counted>().await,
                Ok(response) => return format!("cannot ask whether they are counted: {}", describe(response).await),
                Err(e) => Err(e),
            };
            match answer {
                Ok(Counted { counted: true }) => return format!("all counted {:.1} s later", begun.elapsed().as_secs_f64()),
                Ok(Counted { counted: false }) => {}
                Err(e) => return format!("cannot ask whether they are counted: {:#}", anyhow::Error::new(e)),
            }
        }
        format!("not all counted within {} s; the receipt is {receipt}", begun.elapsed().as_secs())
    }
}

fn is_worth_retrying(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
}

fn retry_after(response: &Response) -> Option<Duration> {
    response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}
