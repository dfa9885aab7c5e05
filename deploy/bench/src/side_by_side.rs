//! Servers measured in turns, so that whatever else the machine does meets them alike: figures are medians over the rounds,
//! ratios are taken within a round.

use crate::process::Server;
use crate::report::{Table, quantile, thousands};
use crate::wrk::Request;

/// Seconds before the first round.
const WARM_UP_S: u64 = 2;

/// A server and the load for it.
#[derive(Debug)]
pub(crate) struct Contender<'a> {
    pub(crate) name: String,
    pub(crate) server: &'a Server,
    pub(crate) path: &'static str,
    pub(crate) request: Request,
    /// Events of a request.
    pub(crate) events: u64,
}

/// One contender's figures of each round.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) name: String,
    /// Events of a request.
    pub(crate) events: u64,
    /// Events per second of processor time.
    pub(crate) per_core: Vec<f64>,
    /// Events per second of the clock.
    pub(crate) rate: Vec<f64>,
    pub(crate) p99_ms: Vec<f64>,
}

impl Figures {
    /// The median of the ratio to another, round by round.
    pub(crate) fn ratio(&self, other: &Self) -> f64 {
        let ratios: Vec<f64> = self.per_core.iter().zip(&other.per_core).map(|(a, b)| a / b).collect();
        median(&ratios)
    }
}

pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5).unwrap_or_default()
}

/// Measures all of them, round by round.
pub(crate) fn measure(contenders: &[Contender<'_>], rounds: usize, seconds: u64) -> anyhow::Result<Vec<Figures>> {
    for contender in contenders {
        contender.request.run(&contender.url(), WARM_UP_S)?;
    }
    let mut all: Vec<Figures> = contenders
        .iter()
        .map(|c| Figures { name: c.name.clone(), events: c.events, per_core: vec![], rate: vec![], p99_ms: vec![] })
        .collect();
    for _ in 0..rounds {
        for (contender, figures) in contenders.iter().zip(&mut all) {
            let before = contender.server.processor_seconds()?;
            let load = contender.request.run(&contender.url(), seconds)?;
            let used = contender.server.processor_seconds()? - before;
            let events = (load.requests * contender.events) as f64;
            figures.per_core.push(events / used);
            figures.rate.push(events / seconds as f64);
            figures.p99_ms.push(load.p99_ms);
        }
    }
    Ok(all)
}

impl Contender<'_> {
    fn url(&self) -> String {
        format!("{}{}", self.server.url(), self.path)
    }
}

/// A table of all, compared with those two.
pub(crate) fn table(heading: &str, all: &[Figures], (ceiling, peer): (&Figures, &Figures)) -> anyhow::Result<()> {
    let mut table = Table::new(
        heading,
        &["server", "events per core and second", "µs per event", "events/s", "p99", "of the body-only rate", "× FastAPI"],
    );
    for figures in all {
        let per_core = median(&figures.per_core);
        table.row(&[
            &figures.name,
            &thousands(per_core),
            &format!("{:.2}", 1e6 / per_core),
            &thousands(median(&figures.rate)),
            &format!("{:.1} ms", median(&figures.p99_ms)),
            &format!("{:.0} %", figures.ratio(ceiling) * 100.0),
            // A batch is another task than the peer's, which takes one event per request.
            &if figures.events == 1 { format!("{:.1}", figures.ratio(peer)) } else { String::new() },
        ]);
    }
    table.print()
}
