//! What a run came to: one line of JSON each, and the tables made of many.

use crate::cluster::Tally;
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// One run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The scenario.
    pub scenario: String,
    /// The seed of its schedule and its load.
    pub seed: u64,
    /// What `make torture` is to be told to have the run again.
    pub arguments: String,
    /// The sources that it was run from.
    pub commit: String,
    /// `debug` or `release`.
    pub build: String,
    /// When it began.
    pub started: String,
    /// Load averages of the machine meanwhile: a busy one recovers later.
    pub loads: Vec<f64>,
    /// How long it took, s.
    pub seconds: u64,
    /// Different events that were accepted.
    pub events: u64,
    /// Events acknowledged, repeats included.
    pub acknowledged: u64,
    /// Requests answered with 503 or 429.
    pub refused: u64,
    /// What happened to the processes.
    #[serde(flatten)]
    pub tally: Tally,
    /// Accepted and not counted.
    pub lost: u64,
    /// Counted more than once, or never accepted.
    pub double_counted: u64,
    /// The first difference that the audit of every event and counter found.
    pub difference: Option<String>,
    /// What `verify` said.
    pub verify: String,
    /// How long until counting went on, ms, by what had happened.
    pub recovery_ms: BTreeMap<String, Vec<u64>>,
}

impl Run {
    /// Whether every number was right.
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.double_counted == 0 && self.difference.is_none() && self.verify == "agrees"
    }

    /// Adds it to a file, a line.
    pub fn append_to(&self, file: &Path) -> anyhow::Result<()> {
        use std::io::Write as _;
        let mut out = std::fs::OpenOptions::new().create(true).append(true).open(file)?;
        writeln!(out, "{}", serde_json::to_string(self)?).with_context(|| format!("writing {}", file.display()))
    }
}

/// Reads files of runs.
pub fn read(files: &[impl AsRef<Path>]) -> anyhow::Result<Vec<Run>> {
    let mut runs = Vec::new();
    for file in files.iter().map(AsRef::as_ref) {
        let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        for (n, line) in text.lines().enumerate() {
            runs.push(serde_json::from_str(line).with_context(|| format!("{}:{}", file.display(), n + 1))?);
        }
    }
    Ok(runs)
}

/// The tables: every run, the sums with their bounds, the times.
pub fn tables(runs: &[Run]) -> String {
    let mut text = String::from(
        "| `TORTURE_ARGS` | seed | commit | minutes | events | kills | zombies | broker failures | partitions | lost | counted twice |\n\
         |---|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for run in runs {
        line(
            &mut text,
            &[
                format!("`{}`", run.arguments),
                run.seed.to_string(),
                run.commit.clone(),
                format!("{:.0}", run.seconds as f64 / 60.0),
                thousands(run.events),
                thousands(kills(run)),
                thousands(run.tally.zombies),
                thousands(sum(&run.tally.broker_failures)),
                thousands(sum(&run.tally.partitions)),
                run.lost.to_string(),
                run.double_counted.to_string(),
            ],
        );
    }
    let total = |of: fn(&Run) -> u64| runs.iter().map(of).sum::<u64>();
    let (events, killed) = (total(|run| run.events), total(kills));
    line(
        &mut text,
        &[
            format!("**{} runs**", runs.len()),
            String::new(),
            String::new(),
            format!("{:.0}", total(|run| run.seconds) as f64 / 60.0),
            thousands(events),
            thousands(killed),
            thousands(total(|run| run.tally.zombies)),
            thousands(total(|run| sum(&run.tally.broker_failures))),
            thousands(total(|run| sum(&run.tally.partitions))),
            total(|run| run.lost).to_string(),
            total(|run| run.double_counted).to_string(),
        ],
    );
    text += "\n| with 95 % confidence | at most |\n|---|---|\n";
    for (what, seen) in [("lost", total(|run| run.lost)), ("counted twice", total(|run| run.double_counted))] {
        line(&mut text, &[format!("{what}, per event"), bound(seen, events)]);
        line(&mut text, &[format!("{what}, per kill"), bound(seen, killed)]);
    }
    text += "\n| from | seed | load average | to counted again: number | median | 99th percentile | longest |\n|---|---:|---:|---:|---:|---:|---:|\n";
    let mut times: Vec<(&str, &Run, &[u64])> =
        runs.iter().flat_map(|run| run.recovery_ms.iter().map(move |(what, times)| (what.as_str(), run, times.as_slice()))).collect();
    times.sort_by_key(|(what, ..)| *what);
    for (what, run, times) in times {
        let mut times = times.to_vec();
        times.sort_unstable();
        let rank = |share: f64| times[((share * times.len() as f64).ceil() as usize).clamp(1, times.len()) - 1];
        let load = run.loads.iter().sum::<f64>() / run.loads.len().max(1) as f64;
        let [median, late, longest] = [0.5, 0.99, 1.0].map(|share| seconds(rank(share)));
        line(&mut text, &[what.to_owned(), run.seed.to_string(), format!("{load:.0}"), times.len().to_string(), median, late, longest]);
    }
    text += "\n| what else went wrong | times |\n|---|---:|\n";
    let mut others: BTreeMap<String, u64> = BTreeMap::new();
    for run in runs {
        let named = |kind: &str, of: &BTreeMap<String, u64>| of.iter().map(|(k, n)| (format!("{kind}{k}"), *n)).collect::<Vec<_>>();
        let all = [
            named("killed: ", &run.tally.kills),
            named("broker ", &run.tally.broker_failures),
            named("cut: ", &run.tally.partitions),
            named("", &run.tally.others),
        ];
        all.into_iter().flatten().for_each(|(what, n)| *others.entry(what).or_default() += n);
        *others.entry("processes that died between two steps".into()).or_default() += run.tally.aborts;
        *others.entry("processes that ended by themselves and were started again".into()).or_default() += run.tally.ended;
        *others.entry("requests refused with 503".into()).or_default() += run.refused;
    }
    others.iter().for_each(|(what, n)| line(&mut text, &[what.clone(), thousands(*n)]));
    text
}

/// Where the tables stand on a page.
const BEGIN: &str = "<!-- tables: begin -->\n";
const END: &str = "<!-- tables: end -->\n";

/// The page with these tables in their place.
pub fn on_page(page: &str, tables: &str) -> anyhow::Result<String> {
    let (before, rest) = page.split_once(BEGIN).context("the page has no place for the tables")?;
    let (_, after) = rest.split_once(END).context("the tables' place has no end")?;
    Ok(format!("{before}{BEGIN}\n{tables}\n{END}{after}"))
}

fn kills(run: &Run) -> u64 {
    sum(&run.tally.kills)
}

fn sum(of: &BTreeMap<String, u64>) -> u64 {
    of.values().sum()
}

/// Where nothing was seen in `n` independent trials, the probability is at most 3 / n ("rule of three": 0.95 = 1 - e^-3).
fn bound(seen: u64, n: u64) -> String {
    match (seen, n) {
        (_, 0) => "nothing was tried".into(),
        (0, n) => format!("{:.1e}", 3.0 / n as f64),
        (seen, n) => format!("seen {seen} times in {n}"),
    }
}

fn seconds(ms: u64) -> String {
    format!("{:.1} s", ms as f64 / 1_000.0)
}

fn line(text: &mut String, cells: &[String]) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_summed_and_bounded() {
        let run = Run {
            scenario: "standalone".into(),
            loads: vec![1.0, 3.0],
            events: 1_500,
            tally: Tally { kills: BTreeMap::from([("agent-tally".into(), 30)]), ..Tally::default() },
            recovery_ms: BTreeMap::from([("a kill".into(), vec![300, 100, 200])]),
            ..Run::default()
        };
        let text = tables(&[run.clone(), run]);
        for part in [
            "| **2 runs** |  |  | 0 | 3,000 | 60 |",
            "lost, per event | 1.0e-3",
            "lost, per kill | 5.0e-2",
            "| a kill | 0 | 2 | 3 | 0.2 s | 0.3 s | 0.3 s |",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn the_published_tables_are_those_of_the_published_runs() -> anyhow::Result<()> {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        let page = std::fs::read_to_string(docs.join("reliability.md"))?;
        let runs = read(&[docs.join("reliability.jsonl")])?;
        assert_eq!(on_page(&page, &tables(&runs))?, page, "make torture-report writes them anew");
        Ok(())
    }
}
