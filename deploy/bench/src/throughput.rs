//! How many events one process stores and counts, with the clients on the same cores, and what bounds it.

use crate::Options;
use crate::counted::{Reader, union};
use crate::load::{Events, Poster};
use crate::process::{Place, Server};
use crate::processor::{Snapshot, Usage};
use crate::report::{Table, quantile, thousands, verdict};
use anyhow::ensure;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const SUSTAINED_BATCH: usize = 100;
/// Events per request of the burst.
pub(crate) const BURST_BATCH: usize = 1_000;
/// Batches that a connection is ahead of what is counted: the load is as much as the server counts.
const AHEAD: usize = 40;
/// A connection asks about every so many batches.
const ASK_EVERY: usize = 10;

/// One run of a load.
#[derive(Debug)]
struct Run {
    events: u64,
    /// Until the last was accepted.
    accepted: Duration,
    /// Until the last was counted.
    counted: Duration,
    refused: u64,
    memory_mib: f64,
    disk_bytes: u64,
    usage: Usage,
}

impl Run {
    fn accepted_per_second(&self) -> f64 {
        self.events as f64 / self.accepted.as_secs_f64()
    }

    fn counted_per_second(&self) -> f64 {
        self.events as f64 / self.counted.as_secs_f64()
    }
}

/// Batches of 100 for a while, as many as are counted.
pub(crate) async fn sustained(place: &Place, options: &Options) -> anyhow::Result<()> {
    let mut runs = Vec::new();
    for n in 0..options.repeat {
        let server = place.standalone()?;
        let events = Arc::new(Events::new(&format!("sustained-{n}"), options.agents)?);
        let seconds = Duration::from_secs(options.seconds);
        runs.push(measured(&server, keep_posting(&server, options.connections, &events, seconds)).await?);
        server.stop()?;
    }
    let run = median_by(runs, Run::counted_per_second)?;
    let heading = format!(
        "Standalone, sustained: batches of {SUSTAINED_BATCH}, {} connections, {} agents{}",
        options.connections,
        options.agents,
        times(options.repeat)
    );
    let mut table = Table::new(&heading, &["what", "measured", "target", ""]);
    let rate = run.counted_per_second();
    table.row(&["stored and counted, events/s", &thousands(rate), "≥ 4,000", verdict(rate >= 4_000.0)]);
    table.row(&["events", &thousands(run.events as f64), "", ""]);
    table.row(&["first post to the last counted", &format!("{:.1} s", run.counted.as_secs_f64()), "", ""]);
    common_rows(&run, &mut table);
    table.print()?;
    run.usage.print("Sustained: who uses the processors")
}

/// Everything at once, in batches of 1,000.
pub(crate) async fn burst(place: &Place, options: &Options) -> anyhow::Result<()> {
    let mut runs = Vec::new();
    for n in 0..options.repeat {
        let server = place.standalone()?;
        let events = Events::new(&format!("burst-{n}"), options.agents)?;
        let bodies = (0..options.burst / BURST_BATCH).map(|_| events.batch(BURST_BATCH)).collect::<anyhow::Result<Vec<_>>>()?;
        runs.push(measured(&server, post_all(&server, options.connections, bodies)).await?);
        server.stop()?;
    }
    let run = median_by(runs, Run::accepted_per_second)?;
    let heading = format!("Standalone, burst: batches of {BURST_BATCH}, {} connections{}", options.connections, times(options.repeat));
    let mut table = Table::new(&heading, &["what", "measured", "target", ""]);
    let rate = run.accepted_per_second();
    table.row(&["acknowledged, events/s", &thousands(rate), "≥ 20,000", verdict(rate >= 20_000.0)]);
    table.row(&["events", &thousands(run.events as f64), "", ""]);
    table.row(&["first post to the last acknowledged", &format!("{:.1} s", run.accepted.as_secs_f64()), "", ""]);
    table.row(&["then drained in", &format!("{:.1} s", (run.counted - run.accepted).as_secs_f64()), "", ""]);
    table.row(&["counted over all, events/s", &thousands(run.counted_per_second()), "", ""]);
    common_rows(&run, &mut table);
    table.print()?;
    run.usage.print("Burst and drain: who uses the processors")
}

fn common_rows(run: &Run, table: &mut Table) {
    let mega = run.memory_mib * 1.048_576;
    table.row(&["highest resident memory", &format!("{:.0} MiB", run.memory_mib), "≤ 300 MB", verdict(mega <= 300.0)]);
    table.row(&["requests refused for now", &run.refused.to_string(), "", ""]);
    let per_event = |bytes: u64| format!("{} B per event", thousands(bytes as f64 / run.events as f64));
    table.row(&["sent to the disk", &per_event(run.usage.written), "", ""]);
    table.row(&["files afterwards", &per_event(run.disk_bytes), "", ""]);
    table.row(&[
        "server's processor time",
        &format!("{:.0} µs per event", run.usage.server * run.counted.as_secs_f64() * 1e6 / run.events as f64),
        "",
        "",
    ]);
}

fn times(repeat: usize) -> String {
    if repeat > 1 { format!(" (median of {repeat})") } else { String::new() }
}

/// The run in the middle.
fn median_by(mut runs: Vec<Run>, figure: fn(&Run) -> f64) -> anyhow::Result<Run> {
    let median = quantile(&runs.iter().map(figure).collect::<Vec<_>>(), 0.5);
    let at = runs.iter().position(|run| Some(figure(run)) == median);
    Ok(runs.swap_remove(at.unwrap_or_default()))
}

/// What a load sent.
#[derive(Debug)]
struct Sent {
    events: u64,
    refused: u64,
    receipts: Vec<String>,
}

/// Runs a load, waits until everything is counted, and checks that the numbers say just that.
async fn measured(server: &Server, load: impl Future<Output = anyhow::Result<Sent>>) -> anyhow::Result<Run> {
    let reader = Reader::new(server.url())?;
    let memory = server.watch_memory();
    let snapshot = Snapshot::take(server.pid())?;
    let began = Instant::now();
    let sent = load.await?;
    let accepted = began.elapsed();
    reader.await_counted(&union(&sent.receipts)?).await?;
    let counted = began.elapsed();
    let usage = snapshot.until_now()?;
    let says = reader.events_counted().await?;
    ensure!(says == sent.events, "{} events were accepted and counted, but the series says {says}", sent.events);
    Ok(Run {
        events: sent.events,
        accepted,
        counted,
        refused: sent.refused,
        memory_mib: memory.highest(),
        disk_bytes: server.disk_bytes()?,
        usage,
    })
}

/// Each connection posts on while what it posted [`AHEAD`] batches ago is counted.
async fn keep_posting(server: &Server, connections: usize, events: &Arc<Events>, time: Duration) -> anyhow::Result<Sent> {
    let (poster, reader) = (Poster::new(server.url())?, Reader::new(server.url())?);
    let until = Instant::now() + time;
    let mut senders = JoinSet::new();
    for _ in 0..connections {
        let (poster, reader, events) = (poster.clone(), reader.clone(), Arc::clone(events));
        senders.spawn(async move {
            let mut sent = Sent { events: 0, refused: 0, receipts: Vec::new() };
            let mut ahead = VecDeque::new();
            while Instant::now() < until {
                let (receipt, refused) = poster.post(events.batch(SUSTAINED_BATCH)?).await?;
                sent.events += SUSTAINED_BATCH as u64;
                sent.refused += refused;
                ahead.push_back(receipt.clone());
                sent.receipts = vec![receipt];
                if ahead.len() == AHEAD {
                    // Positions are in order, so the last of these speaks for those before it.
                    let asked = ahead.drain(..ASK_EVERY).next_back();
                    reader.await_counted(&asked.unwrap_or_default()).await?;
                }
            }
            Ok(sent)
        });
    }
    join(senders).await
}

async fn post_all(server: &Server, connections: usize, bodies: Vec<bytes::Bytes>) -> anyhow::Result<Sent> {
    let poster = Poster::new(server.url())?;
    let (bodies, next) = (Arc::new(bodies), Arc::new(AtomicUsize::new(0)));
    let mut senders = JoinSet::new();
    for _ in 0..connections {
        let (poster, bodies, next) = (poster.clone(), Arc::clone(&bodies), Arc::clone(&next));
        senders.spawn(async move {
            let mut sent = Sent { events: 0, refused: 0, receipts: Vec::new() };
            while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
                let (receipt, refused) = poster.post(body.clone()).await?;
                sent.events += BURST_BATCH as u64;
                sent.refused += refused;
                sent.receipts.push(receipt);
            }
            Ok(sent)
        });
    }
    join(senders).await
}

async fn join(mut senders: JoinSet<anyhow::Result<Sent>>) -> anyhow::Result<Sent> {
    let mut all = Sent { events: 0, refused: 0, receipts: Vec::new() };
    while let Some(sender) = senders.join_next().await {
        let sent = sender??;
        all.events += sent.events;
        all.refused += sent.refused;
        all.receipts.extend(sent.receipts);
    }
    Ok(all)
}
