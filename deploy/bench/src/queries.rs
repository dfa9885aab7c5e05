//! The query API's answers on a store with 10,000 agents: how long they take and how large they are.

use crate::Options;
use crate::counted::{Reader, union};
use crate::load::Poster;
use crate::process::Place;
use crate::report::{Table, quantile, thousands, verdict};
use anyhow::ensure;
use schemas::time::{DAY_US, format_day, format_micros, now_micros};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const AGENTS: usize = 10_000;
/// Days on which every agent has an event, today being the last.
const DAYS_OF_ALL: i64 = 3;
/// Agents with events on each of the last 30 days.
const BUSY: usize = 40;
const DAYS: i64 = 30;
const BATCH: usize = 1_000;

pub(crate) async fn measure(place: &Place, options: &Options) -> anyhow::Result<()> {
    let server = place.standalone()?;
    let began = Instant::now();
    let (poster, reader) = (Poster::new(server.url())?, Reader::new(server.url())?);
    let events = history();
    let mut receipts = Vec::new();
    for batch in events.chunks(BATCH) {
        receipts.push(poster.post(serde_json::to_vec(batch)?.into()).await?.0);
    }
    reader.await_counted(&union(&receipts)?).await?;
    let filled = format!(
        "{} events of {AGENTS} agents, stored and counted in {:.0} s",
        thousands(events.len() as f64),
        began.elapsed().as_secs_f64()
    );

    let today = now_micros().div_euclid(DAY_US) as i32;
    let (first, last) = (format_day(today - DAYS as i32 + 1), format_day(today));
    let one = format!("/api/v1/agents/agent-00007/metrics?days={DAYS}");
    let ranking = format!("/api/v1/agents?detail=true&sort=-cost_usd&start_date={first}&end_date={last}&limit=100");
    let search = "/api/v1/agents?detail=true&q=9&sort=-calls&limit=100".to_owned();
    let series = format!("/api/v1/metrics/series?start_date={first}&end_date={last}");
    let hours = "/api/v1/metrics/series?interval=hour".to_owned();
    let kpis = format!("/api/v1/metrics/kpis?start_date={first}&end_date={last}");
    let asked = [
        ("one agent, 30 days", one, 10.0),
        ("ranking of 10,000 agents by cost over 30 days, a page of 100", ranking, 30.0),
        ("search in 10,000 agents, a page of 100", search, 30.0),
        ("fleet series, 30 days", series, 20.0),
        ("fleet series by hour", hours, 20.0),
        ("KPIs of 30 days", kpis, 20.0),
    ];
    let mut table = Table::new(
        &format!("Query API on standalone: {filled}; {} requests each, one after the other", options.posts),
        &["question", "p50", "p99", "answer", "target p99", ""],
    );
    let client = reqwest::Client::builder().no_proxy().tcp_nodelay(true).build()?;
    for (what, path, target_ms) in asked {
        let url = format!("{}{path}", server.url());
        let (mut taken, mut bytes) = (Vec::new(), 0);
        for n in 0..options.posts + 20 {
            let began = Instant::now();
            let answer = client.get(&url).send().await?;
            let status = answer.status();
            let body = answer.bytes().await?;
            ensure!(status.is_success(), "{path} was answered {status}: {}", String::from_utf8_lossy(&body));
            bytes = bytes.max(body.len());
            if n >= 20 {
                taken.push(began.elapsed());
            }
        }
        let of = |share| quantile(&taken, share).unwrap_or_default();
        let p99 = of(0.99);
        table.row(&[
            what,
            &ms(of(0.5)),
            &ms(p99),
            &format!("{:.1} KB", bytes as f64 / 1e3),
            &format!("≤ {target_ms} ms"),
            verdict(p99.as_secs_f64() * 1e3 <= target_ms),
        ]);
    }
    table.row(&["(resident memory of the server)", "", "", &format!("{:.0} MiB", server.resident_mib()?), "", ""]);
    server.stop()?;
    table.print()
}

fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

/// An event of every agent on each of some days, and more of the busy ones.
fn history() -> Vec<Value> {
    let now = now_micros();
    let mut events = Vec::new();
    for day in 0..DAYS {
        let agents = if day < DAYS_OF_ALL { AGENTS } else { BUSY };
        for agent in 0..agents {
            let at = now - day * DAY_US - agent as i64 * 1_000;
            events.push(json!({
                "agent_id": format!("agent-{agent:05}"), "event_id": format!("q-{day}-{agent}"), "timestamp": format_micros(at),
                "message_type": "agent_response", "model_used": "gpt-4o", "response_time_ms": 200 + agent % 900,
                "input_tokens": 100 + agent, "output_tokens": 50, "user_id": format!("user-{}", agent % 500),
            }));
        }
    }
    events
}
