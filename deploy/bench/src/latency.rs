//! From the post to counted: a client that posts one event after the other and waits for each receipt, alone and
//! beside others.

use crate::Options;
use crate::counted::Reader;
use crate::load::{Events, Poster};
use crate::process::Place;
use crate::report::{Table, milliseconds, quantile, verdict};
use anyhow::ensure;
use bytes::Bytes;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Events per second beside the measured ones.
pub(crate) const BACKGROUND: u64 = 500;
/// Between a counted event and the next post.
const PAUSE: Duration = Duration::from_millis(15);
const AGENT: &str = "latency-probe";

/// Where to post and where to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Urls<'a> {
    pub(crate) gateway: &'a str,
    pub(crate) query: &'a str,
}

/// What is promised.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Targets {
    pub(crate) median: Duration,
    pub(crate) p99: Duration,
}

/// On standalone.
pub(crate) async fn measure(place: &Place, options: &Options) -> anyhow::Result<()> {
    let server = place.standalone()?;
    let urls = Urls { gateway: server.url(), query: server.url() };
    let targets = Targets { median: Duration::from_millis(300), p99: Duration::from_millis(1_500) };
    let mut table = table("Standalone: from the post to counted");
    for background in [0, BACKGROUND] {
        let probe = Probe { urls, posts: options.posts, background, agents: options.agents };
        probe.run().await?.row(&mut table, background, targets);
    }
    server.stop()?;
    table.print()
}

pub(crate) fn table(heading: &str) -> Table {
    let columns = ["load beside it", "posts", "p50 to 202", "p50 to counted", "p99", "slowest", "target p50, p99", ""];
    Table::new(heading, &columns)
}

/// A measured client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe<'a> {
    pub(crate) urls: Urls<'a>,
    pub(crate) posts: usize,
    /// Events per second from others.
    pub(crate) background: u64,
    pub(crate) agents: usize,
}

impl Probe<'_> {
    /// Posts and waits; with the others, if there are any, until it is through.
    pub(crate) async fn run(&self) -> anyhow::Result<Latencies> {
        let mut others = JoinSet::new();
        if self.background > 0 {
            others.spawn(post_steadily(self.urls.gateway.to_owned(), self.background, self.agents));
        }
        let measured = tokio::select! {
            measured = self.probe() => measured,
            Some(ended) = others.join_next() => { ended??; unreachable!("a steady load ends only with an error") }
        };
        others.shutdown().await;
        measured
    }

    async fn probe(&self) -> anyhow::Result<Latencies> {
        let (poster, reader) = (Poster::new(self.urls.gateway)?, Reader::new(self.urls.query)?);
        let agent = format!("{AGENT}-{}", self.background);
        let mut latencies = Latencies::default();
        // The first connections are not measured.
        reader.await_counted(&poster.post(event(&agent)?).await?.0).await?;
        for n in 0..self.posts as u64 {
            let body = event(&agent)?;
            let began = Instant::now();
            let (receipt, refused) = poster.post(body).await?;
            latencies.accepted.push(began.elapsed());
            reader.await_counted(&receipt).await?;
            latencies.counted.push(began.elapsed());
            latencies.refused += refused;
            let messages = reader.messages_of(&agent).await?;
            ensure!(messages == n + 2, "the metrics say {messages} messages after {} were counted", n + 2);
            tokio::time::sleep(PAUSE).await;
        }
        Ok(latencies)
    }
}

fn event(agent: &str) -> anyhow::Result<Bytes> {
    let event = json!([{"agent_id": agent, "message_type": "user_message", "content": "Where is my parcel?", "user_id": "user-1"}]);
    Ok(serde_json::to_vec(&event)?.into())
}

/// Single events at an even pace, whatever the answers take.
async fn post_steadily(gateway: String, rate: u64, agents: usize) -> anyhow::Result<()> {
    let (poster, events) = (Poster::new(&gateway)?, Arc::new(Events::new("beside", agents)?));
    let mut turns = tokio::time::interval(Duration::from_secs(1) / u32::try_from(rate)?);
    let mut posts: JoinSet<anyhow::Result<()>> = JoinSet::new();
    loop {
        turns.tick().await;
        let (poster, body) = (poster.clone(), events.batch(1)?);
        posts.spawn(async move { poster.post(body).await.map(drop) });
        while let Some(done) = posts.try_join_next() {
            done??;
        }
    }
}

/// What a probe measured.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    accepted: Vec<Duration>,
    counted: Vec<Duration>,
    refused: u64,
}

impl Latencies {
    pub(crate) fn row(&self, table: &mut Table, background: u64, targets: Targets) {
        let of = |values: &[Duration], share| quantile(values, share).unwrap_or_default();
        let (median, p99) = (of(&self.counted, 0.5), of(&self.counted, 0.99));
        let beside = match background {
            0 => "none".to_owned(),
            rate => format!("{rate} single posts/s"),
        };
        let refused = if self.refused > 0 { format!(" ({} refused for now)", self.refused) } else { String::new() };
        table.row(&[
            &beside,
            &format!("{}{refused}", self.counted.len()),
            &milliseconds(of(&self.accepted, 0.5)),
            &milliseconds(median),
            &milliseconds(p99),
            &milliseconds(of(&self.counted, 1.0)),
            &format!("≤ {}, ≤ {}", milliseconds(targets.median), milliseconds(targets.p99)),
            verdict(median <= targets.median && p99 <= targets.p99),
        ]);
    }
}
