//! From the post to the push: a follower of the live stream sees an event's effect, while 40 other agents are busy.

use crate::Options;
use crate::load::{Events, Poster};
use crate::process::Place;
use crate::report::{Table, milliseconds, quantile, verdict};
use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Agents beside the measured one.
const AGENTS: usize = 40;
/// Events per second beside the measured ones: about half of what a machine of two cores stores and counts.
const BACKGROUND: u32 = 3_000;
const BATCH: usize = 25;
const AGENT: &str = "push-probe";
const PAUSE: Duration = Duration::from_millis(37);
const WITHIN: Duration = Duration::from_secs(30);

pub(crate) async fn measure(place: &Place, options: &Options) -> anyhow::Result<()> {
    let mut table = Table::new(
        &format!("Standalone: from the post to the push over SSE, {} posts", options.posts),
        &["load beside it", "p50", "p99", "slowest", "target p50, p99", ""],
    );
    for background in [0, BACKGROUND] {
        let server = place.standalone()?;
        let mut others = JoinSet::new();
        if background > 0 {
            others.spawn(post_steadily(server.url().to_owned(), background));
        }
        let taken = probe(server.url(), options.posts).await?;
        if let Some(ended) = others.try_join_next() {
            ended??;
        }
        others.shutdown().await;
        let of = |share| quantile(&taken, share).unwrap_or_default();
        let (median, p99) = (of(0.5), of(0.99));
        let beside = if background == 0 { "none".to_owned() } else { format!("{background} events/s of {AGENTS} agents") };
        let is_met = median <= Duration::from_millis(100) && p99 <= Duration::from_secs(1);
        table.row(&[&beside, &milliseconds(median), &milliseconds(p99), &milliseconds(of(1.0)), "≤ 100 ms, ≤ 1 s", verdict(is_met)]);
        server.stop()?;
    }
    table.print()
}

/// Posts one event after the other, each when the last was seen in the stream.
async fn probe(url: &str, posts: usize) -> anyhow::Result<Vec<Duration>> {
    let poster = Poster::new(url)?;
    let client = reqwest::Client::builder().no_proxy().tcp_nodelay(true).build()?;
    let mut stream = Stream { answer: client.get(format!("{url}/api/v1/stream")).send().await?, text: String::new() };
    let mut taken = Vec::with_capacity(posts);
    for n in 0..=posts {
        let event = json!([{"agent_id": AGENT, "message_type": "user_message", "content": "Where is my parcel?"}]);
        let body = serde_json::to_vec(&event)?;
        let began = Instant::now();
        poster.post(body.into()).await?;
        tokio::time::timeout(WITHIN, stream.await_calls(n as u64 + 1)).await.context("the event was not pushed in time")??;
        // The first makes the agent and opens connections.
        if n > 0 {
            taken.push(began.elapsed());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(taken)
}

#[derive(Debug)]
struct Stream {
    answer: reqwest::Response,
    text: String,
}

impl Stream {
    /// Reads until the agent's events are so many.
    async fn await_calls(&mut self, calls: u64) -> anyhow::Result<()> {
        loop {
            while let Some((message, rest)) = self.text.split_once("\n\n") {
                let data = message.lines().find_map(|l| l.strip_prefix("data: ").or(l.strip_prefix("data:")));
                let seen = data.filter(|data| data.contains(AGENT)).map(calls_of).transpose()?.flatten();
                self.text = rest.to_owned();
                if seen.is_some_and(|seen| seen >= calls) {
                    return Ok(());
                }
            }
            let Some(chunk) = self.answer.chunk().await? else { bail!("the stream ended") };
            self.text.push_str(std::str::from_utf8(&chunk)?);
        }
    }
}

fn calls_of(data: &str) -> anyhow::Result<Option<u64>> {
    let data: Value = serde_json::from_str(data)?;
    let rows = data["agents"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(rows.iter().find(|row| row["agent_id"] == AGENT).and_then(|row| row["calls"].as_u64()))
}

async fn post_steadily(url: String, rate: u32) -> anyhow::Result<()> {
    let (poster, events) = (Poster::new(&url)?, Events::new("beside", AGENTS)?);
    let mut turns = tokio::time::interval(Duration::from_secs(1) * BATCH as u32 / rate);
    loop {
        turns.tick().await;
        let (_, refused) = poster.post(events.batch(BATCH)?).await?;
        ensure!(refused == 0, "the load beside the measured one was refused");
    }
}
