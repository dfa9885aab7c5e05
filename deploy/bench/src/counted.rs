//! Asks the query API whether what was posted is counted, and whether the numbers contain it.

use anyhow::{Context as _, bail, ensure};
use event_log::{Position, Receipt};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(300);

/// Reads the numbers over kept connections.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    client: reqwest::Client,
    base: String,
}

impl Reader {
    pub(crate) fn new(base: &str) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).no_proxy().tcp_nodelay(true).build()?;
        Ok(Self { client, base: base.to_owned() })
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.client.get(format!("{}{path}", self.base)).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{path} was answered {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// Returns when the receipt says counted.
    pub(crate) async fn await_counted(&self, receipt: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.get(&format!("/api/v1/receipts/{receipt}?wait_ms=5000")).await?;
            if answer["counted"] == true {
                return Ok(());
            }
            ensure!(answer["dead_letters"].as_array().is_none_or(Vec::is_empty), "events became dead letters: {answer}");
            if Instant::now() > deadline {
                bail!("{receipt} was not counted within {PATIENCE:?}: {answer}");
            }
        }
    }

    /// All events of today and yesterday, as the series says.
    pub(crate) async fn events_counted(&self) -> anyhow::Result<u64> {
        let today = schemas::time::now_micros();
        let day = |micros: i64| schemas::time::format_micros(micros)[..10].to_owned();
        let path = format!("/api/v1/metrics/series?start_date={}&end_date={}", day(today - schemas::time::DAY_US), day(today));
        let series = self.get(&path).await?;
        let items = series["items"].as_array().context("a series has items")?;
        Ok(items.iter().filter_map(|item| item["calls"].as_u64()).sum())
    }

    /// User messages of an agent in its metrics.
    pub(crate) async fn messages_of(&self, agent: &str) -> anyhow::Result<u64> {
        let answer = self.get(&format!("/api/v1/agents/{agent}/metrics?days=2")).await?;
        answer["metrics"]["total_messages"].as_u64().context("metrics have a total")
    }
}

/// One receipt for all of them: the highest position of each partition.
pub(crate) fn union(receipts: &[String]) -> anyhow::Result<String> {
    let mut highest: BTreeMap<(u32, u32), Position> = BTreeMap::new();
    for receipt in receipts {
        let receipt: Receipt = receipt.parse()?;
        for position in receipt.positions() {
            let have = highest.entry((position.epoch, position.partition)).or_insert(*position);
            *have = (*have).max(*position);
        }
    }
    Ok(Receipt::of(highest.into_values()).context("nothing was posted")?.to_string())
}
