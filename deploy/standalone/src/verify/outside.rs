//! `agent-tally verify --url`: recounts from outside, with nothing but a read key. It pages through the raw events
//! that the API shows, adds them up by itself (without the aggregator's fold) and compares with the numbers that the
//! API shows. So anyone may check, without access to the tables or the log.

use super::tally::{Seen, Tally};
use crate::server::{Server, ServerArgs};
use aggregator::verify::Progress;
use anyhow::{Context, ensure};
use schemas::time::{day_of, format_day, now_micros};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use std::time::Duration;

/// Days recounted where none are named.
const DAYS: i32 = 7;
/// Events per page: the most that the API gives.
const PAGE: u32 = 1_000;
/// While events come, what was read last may lack the newest: it is read again so often, after a pause.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(2);

/// The server, as anyone sees it.
#[derive(Debug)]
pub(super) struct Outside(Server);

/// What the recount from outside found.
#[derive(Debug, Default, Serialize)]
pub(super) struct OutsideReport {
    pub(super) agrees: bool,
    from: String,
    to: String,
    agents: u64,
    events: u64,
    numbers: u64,
    differences: Vec<Difference>,
    /// Agents that were too busy to be compared: their numbers moved while their events were read.
    moving: Vec<String>,
}

/// A number that is not what the events that the API shows add up to.
#[derive(Debug, Serialize)]
struct Difference {
    agent_id: String,
    number: String,
    shown: Value,
    recounted: Value,
}

#[derive(Deserialize)]
struct EventsPage {
    items: Vec<Seen>,
    next_key: Option<Value>,
}

#[derive(Deserialize)]
struct MetricsAnswer {
    metrics: Value,
}

impl Outside {
    /// The way to the API at `url`, with a key where one is needed.
    pub(super) async fn new(url: &str, key: Option<&str>) -> anyhow::Result<Self> {
        Ok(Self(Server::of(&ServerArgs { url: url.to_owned(), key: key.map(str::to_owned) }).await?))
    }

    /// Recounts every agent over these days, the last seven where none are named.
    pub(super) async fn verify(
        &self,
        days: (Option<i32>, Option<i32>),
        retention: Option<Duration>,
        progress: &Progress,
    ) -> anyhow::Result<OutsideReport> {
        let last = days.1.unwrap_or_else(|| day_of(now_micros()) + 1);
        let first = days.0.unwrap_or(last - DAYS);
        // Of the day that begins to expire some events are gone.
        let kept = retention.map(|kept| day_of(now_micros() - i64::try_from(kept.as_micros()).unwrap_or(i64::MAX)) + 1);
        let first = kept.map_or(first, |kept| first.max(kept));
        ensure!(first <= last, "the events of these days have expired");
        let agents: Vec<String> =
            serde_json::from_value(self.0.get(&["agents"], &[]).await?).context("the list of agents is unreadable")?;
        let (from, to) = (format_day(first), format_day(last));
        let mut report = OutsideReport { from: from.clone(), to: to.clone(), agents: agents.len() as u64, ..OutsideReport::default() };
        for (done, agent) in agents.iter().enumerate() {
            self.agent(agent, (&from, &to), &mut report).await.with_context(|| format!("agent {agent}"))?;
            progress.tell(format!("{} of {} agents, {} events", done + 1, agents.len(), report.events));
        }
        report.agrees = report.differences.is_empty();
        Ok(report)
    }

    async fn agent(&self, agent: &str, days: (&str, &str), report: &mut OutsideReport) -> anyhow::Result<()> {
        for attempt in 1..=TRIES {
            let before = self.metrics(agent, days).await?;
            let tally = self.recount(agent, days).await?;
            let shown = self.metrics(agent, days).await?;
            let numbers = tally.compare(&shown);
            let is_still = before == shown;
            let differing: Vec<_> = numbers.iter().filter(|n| !n.agrees).collect();
            if !differing.is_empty() && attempt < TRIES {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            report.events += tally.events;
            report.numbers += numbers.len() as u64;
            // Numbers that move faster than the events can be paged through prove nothing, either way.
            if !differing.is_empty() && !is_still {
                report.moving.push(agent.to_owned());
                return Ok(());
            }
            report.differences.extend(differing.into_iter().map(|n| Difference {
                agent_id: agent.to_owned(),
                number: n.name.clone(),
                shown: n.shown.clone(),
                recounted: n.recounted.clone(),
            }));
            return Ok(());
        }
        Ok(())
    }

    async fn metrics(&self, agent: &str, (from, to): (&str, &str)) -> anyhow::Result<Value> {
        let range = [("start_date", from.to_owned()), ("end_date", to.to_owned())];
        let answer: MetricsAnswer = serde_json::from_value(self.0.get(&["agents", agent, "metrics"], &range).await?)?;
        Ok(answer.metrics)
    }

    async fn recount(&self, agent: &str, (from, to): (&str, &str)) -> anyhow::Result<Tally> {
        let (mut tally, mut cursor) = (Tally::default(), None::<String>);
        loop {
            let mut query = vec![("agent_id", agent), ("start_date", from), ("end_date", to)]
                .into_iter()
                .map(|(k, v)| (k, v.to_owned()))
                .collect::<Vec<_>>();
            query.push(("limit", PAGE.to_string()));
            query.extend(cursor.map(|cursor| ("cursor", cursor)));
            let page: EventsPage =
                serde_json::from_value(self.0.get(&["events"], &query).await?).context("a page of events is unreadable")?;
            page.items.iter().for_each(|event| tally.add(event));
            cursor = match page.next_key {
                None | Some(Value::Null) => return Ok(tally),
                Some(Value::String(next)) => Some(next),
                Some(next) => Some(next.to_string()),
            };
        }
    }
}

impl fmt::Display for OutsideReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "days      {} to {}, {} agents, as the API shows them", self.from, self.to, self.agents)?;
        writeln!(f, "events    {} raw events recounted, {} numbers compared", self.events, self.numbers)?;
        for Difference { agent_id, number, shown, recounted } in &self.differences {
            writeln!(f, "DIFFERS   agent {agent_id}: {number} is shown as {shown}, its events add up to {recounted}")?;
        }
        for agent in &self.moving {
            writeln!(
                f,
                "moving    agent {agent}: its numbers changed while its events were read, so nothing can be said; name days that are over"
            )?;
        }
        if self.agrees {
            write!(f, "agrees    every number is what the events that are shown add up to")
        } else {
            write!(f, "differs   {} differences", self.differences.len())
        }
    }
}
