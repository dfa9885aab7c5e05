//! The aggregator on a broker and a store that answer at once: what the counting itself costs, beside a put and an update
//! per event with the same SDK.

use crate::Options;
use crate::parts::{MEASURED, OnParts, REST, free_address, part};
use crate::plot::{self, Bar};
use crate::process::{MemoryWatch, Place, Server, beside};
use crate::report::{Table, say, thousands, verdict};
use crate::side_by_side::median;
use anyhow::{Context as _, ensure};
use std::time::{Duration, Instant};

/// Partitions of the events: the mock broker keeps only so much of each.
const PARTITIONS: &str = "16";
/// Events that are waiting when the aggregator starts, and the most of them in one partition: the mock broker drops more.
const EVENTS: u64 = 400_000;
const EVENTS_OF_A_PARTITION: u64 = 25_000;
/// Events of the put-and-update program.
const PUTS: &str = "60000";
/// So few that about a hundred events of each are added at once.
const AGENTS: usize = 100;
/// An agent's day and hour, the fleet's, and the log's own item.
const ITEMS_PER_EVENT: f64 = 5.0;
/// Rarely, since rendering the metrics is work of the process that is measured.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// With many agents nearly every event is an item of its own.
const PATIENCE: Duration = Duration::from_secs(600);

pub(crate) async fn measure(place: &Place, options: &Options) -> anyhow::Result<()> {
    let store = part(place, REST, &["dynamodb"])?;
    let (mut ours, mut peer, mut grouped, mut memory) = (vec![], vec![], vec![], vec![]);
    for _ in 0..options.rounds {
        let run = counted(place, AGENTS, 1).await?;
        ours.push(run.per_core);
        grouped.push(run.events_per_update);
        memory.push(run.memory_mb);
        peer.push(put_and_update(place, &store)?);
    }
    let mut table =
        Table::new(&format!("Aggregator on an instant store: medians of {} rounds", options.rounds), &["what", "measured", "target", ""]);
    let (rate, per_update) = (median(&ours), median(&grouped));
    table.row(&["events per core and second", &thousands(rate), "≥ 80,000", verdict(rate >= 80_000.0)]);
    table.row(&["µs per event", &format!("{:.2}", 1e6 / rate), "", ""]);
    table.row(&["events per update of an agent's or the fleet's item", &format!("{per_update:.0}"), "100", ""]);
    table.row(&["a put and an update per event, the same", &thousands(median(&peer)), "", ""]);
    let ratio = median(&ours.iter().zip(&peer).map(|(a, b)| a / b).collect::<Vec<_>>());
    table.row(&["of that", &format!("{ratio:.1} ×"), "≥ 10 ×", verdict(ratio >= 10.0)]);
    table.row(&["highest resident memory", &format!("{:.0} MB", median(&memory)), "", ""]);
    table.print()?;
    if let Some(document) = &options.write {
        let bar = |name: &str, value, is_ours| Bar { name: name.to_owned(), value, is_ours };
        let bars = [bar("a put and an update per event", median(&peer), false), bar("aggregator, exactly once", rate, true)];
        say(&plot::bars(document, "aggregator", "Aggregator: events per core and second", &bars)?)?;
    }

    let columns = ["agents", "µs per event", "events per update", "highest resident memory"];
    let mut table = Table::new("Aggregator: time and memory as agents grow", &columns);
    for agents in [1, 100, 1_000, 10_000, 100_000] {
        let run = counted(place, agents, 1).await?;
        run.row(&mut table, &thousands(agents as f64));
    }
    table.print()?;
    let columns = ["processes", "µs per event, all together", "events per update", "highest resident memory of one"];
    let mut table = Table::new("Aggregator: processes that share the partitions", &columns);
    for processes in [1, 2, 4, 8] {
        let run = counted(place, AGENTS, processes).await?;
        run.row(&mut table, &processes.to_string());
    }
    table.print()
}

#[derive(Debug)]
struct Run {
    per_core: f64,
    events_per_update: f64,
    memory_mb: f64,
}

impl Run {
    fn row(&self, table: &mut Table, what: &str) {
        let memory = format!("{:.0} MB", self.memory_mb);
        table.row(&[what, &format!("{:.2}", 1e6 / self.per_core), &format!("{:.0}", self.events_per_update), &memory]);
    }
}

/// Counts what waits on a broker of its own, with so many aggregators on the one core. The store is its own too: one that
/// knows another log is refused.
async fn counted(place: &Place, agents: usize, processes: usize) -> anyhow::Result<Run> {
    let waiting = EVENTS.min(EVENTS_OF_A_PARTITION * agents as u64);
    let (events, agents) = (waiting.to_string(), agents.to_string());
    let kafka = part(place, REST, &["kafka", "--partitions", PARTITIONS, "--events", &events, "--agents", &agents])?;
    let store = part(place, REST, &["dynamodb"])?;
    let on_parts = OnParts { place, kafka: &kafka, store: &store };
    let mut members = Vec::new();
    for _ in 0..processes {
        let admin = free_address()?;
        let more = [("ADMIN_LISTEN", admin.to_string()), ("FLUSH_CADENCE", "balanced".into())];
        let server = on_parts.service(&beside("aggregator")?, &[], &more, admin).await?;
        let memory = server.watch_memory();
        let metrics = Metrics { url: format!("http://{admin}/metrics"), client: reqwest::Client::builder().no_proxy().build()? };
        members.push((metrics, server, memory));
    }
    // The group has formed and connections are open by then.
    let (first, started) = await_counted(&members, waiting / 5).await?;
    let (last, ended) = await_counted(&members, waiting).await?;
    let per_core = (last.inserted - first.inserted) / (ended - started);
    let mut memory_mb = 0.0_f64;
    for (_, server, memory) in members {
        memory_mb = memory_mb.max(memory.highest() * 1.048_576);
        server.stop()?;
    }
    Ok(Run { per_core, events_per_update: ITEMS_PER_EVENT * last.inserted / last.updates, memory_mb })
}

/// Waits until so many events are inserted by all together; what they said, and their processor seconds by then.
async fn await_counted(members: &[(Metrics, Server, MemoryWatch)], events: u64) -> anyhow::Result<(Counted, f64)> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (mut sum, mut seconds) = (Counted::default(), 0.0);
        for (metrics, server, _) in members {
            let counted = metrics.read().await.with_context(|| format!("the aggregator said:\n{}", server.said()))?;
            (sum.inserted, sum.updates) = (sum.inserted + counted.inserted, sum.updates + counted.updates);
            seconds += server.processor_seconds()?;
        }
        if sum.inserted >= events as f64 {
            return Ok((sum, seconds));
        }
        ensure!(Instant::now() < deadline, "{} of {events} events were inserted within {PATIENCE:?}", sum.inserted);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What the aggregator says of itself.
#[derive(Debug)]
struct Metrics {
    url: String,
    client: reqwest::Client,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    inserted: f64,
    updates: f64,
}

impl Metrics {
    async fn read(&self) -> anyhow::Result<Counted> {
        let text = self.client.get(&self.url).send().await?.text().await?;
        let sum = |name: &str, label: &str| -> f64 {
            let lines = text.lines().filter(|l| l.starts_with(name) && l.contains(label));
            lines.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        Ok(Counted {
            inserted: sum("aggregator_events_total", "outcome=\"inserted\""),
            updates: sum("dynamodb_request_duration_seconds_count", "operation=\"UpdateItem\""),
        })
    }
}

/// Events per core and second of the other program.
fn put_and_update(place: &Place, store: &Server) -> anyhow::Result<f64> {
    let said = part(place, MEASURED, &["put-and-update", "--store", store.url(), "--events", PUTS])?;
    said.url().parse().context("put-and-update says its rate")
}
