//! One process on one machine, killed again and again under load: with SIGKILL, or between two steps of the counting.

use super::{RunOptions, Sending, judge, moment, new_run, say, verify};
use crate::client::await_counted;
use crate::ledger::{Dice, Ledger};
use crate::probe::Probe;
use crate::process::Process;
use crate::report::Run;
use agent_tally::engine::Engine;
use anyhow::Context as _;
use event_log::local::{LocalLog, LocalOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const PARTITIONS: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(60);
const FAILPOINTS: &str = "after_insert=0.02,after_update=0.02,after_announce=0.02,before_commit=0.04,after_commit=0.04";
/// One life of so many has failpoints; one of the others has a clock that steps.
const FAILPOINTS_EVERY: u64 = 4;

/// Kills, `rounds` of them.
pub async fn kills(directory: &Path, options: &RunOptions) -> anyhow::Result<Run> {
    let mut run = new_run(options);
    let mut server = Server::new(directory, PARTITIONS)?;
    server.start(&[])?;
    let url = server.url.clone();
    let sending = Sending::begin(vec![url.clone()], options);
    let mut probe = Probe::new(vec![url.clone()], vec![url.clone()], PARTITIONS, !options.seed)?;
    let mut dice = Dice(options.seed);
    let mut kills = 0;
    let mut life = 0;
    while kills < options.rounds {
        let has_failpoints = life % FAILPOINTS_EVERY == FAILPOINTS_EVERY - 1;
        // Right after a start, in the midst of catching up, or in calm water.
        let longest = if dice.roll(2) == 0 { 100 } else { 900 };
        let ends = Instant::now() + Duration::from_millis(dice.roll(longest));
        let clock = dice.roll(10) == 0;
        if clock && server.set_clock([-300, -60, 60, 300, 1_800][dice.roll(5) as usize])? {
            *run.tally.others.entry("steps of a process' clock".into()).or_default() += 2;
        }
        while Instant::now() < ends && !server.has_ended()? {
            sending.check()?;
            moment().await;
        }
        let since = Instant::now();
        if server.has_ended()? {
            if has_failpoints { run.tally.aborts += 1 } else { run.tally.ended += 1 }
        } else {
            server.kill()?;
            kills += 1;
        }
        if clock {
            server.set_clock(0)?;
        }
        life += 1;
        let has_failpoints = life % FAILPOINTS_EVERY == FAILPOINTS_EVERY - 1;
        let environment = if has_failpoints { vec![("AGENT_TALLY_FAILPOINTS".to_owned(), FAILPOINTS.to_owned())] } else { Vec::new() };
        server.start(&environment)?;
        // A life with failpoints may be over before it has counted anything.
        if !has_failpoints {
            let took = probe.counted_since(since, PATIENCE).await?;
            run.recovery_ms.entry("SIGKILL of standalone, restarted".into()).or_default().push(took.as_millis() as u64);
        }
        if life % 50 == 0 {
            run.loads.push(super::load_average()?);
            say(&format!("{kills} kills; {} events so far", sending.acknowledged()))?;
        }
    }
    // A failpoint may still strike: the last life has none.
    if !server.has_ended()? {
        server.kill()?;
        kills += 1;
    }
    server.start(&[])?;
    run.tally.kills.insert("agent-tally".into(), kills);
    server.finish(run, sending, probe).await
}

/// A server on a data directory, which is killed and started again on the same address.
pub(super) struct Server {
    /// Where it answers.
    pub(super) url: String,
    /// What it keeps its files in.
    pub(super) data_dir: PathBuf,
    listen: String,
    partitions: String,
    log_file: PathBuf,
    clock: Option<(PathBuf, PathBuf)>,
    process: Option<Process>,
}

impl Server {
    pub(super) fn new(directory: &Path, partitions: u32) -> anyhow::Result<Self> {
        let listen = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let clock = crate::clock::library().map(|library| (library, directory.join("clock")));
        let server = Self {
            url: format!("http://{listen}"),
            listen,
            partitions: partitions.to_string(),
            data_dir: directory.join("data"),
            log_file: directory.join("agent-tally.log"),
            clock,
            process: None,
        };
        server.set_clock(0)?;
        Ok(server)
    }

    /// Starts it; returns when it takes requests, or has ended.
    pub(super) fn start(&mut self, environment: &[(String, String)]) -> anyhow::Result<()> {
        let data_dir = self.data_dir.to_str().context("a path in UTF-8")?;
        let arguments = ["serve", "--listen", &self.listen, "--data-dir", data_dir, "--partitions", &self.partitions].map(str::to_owned);
        let mut environment = environment.to_vec();
        if let Some((library, file)) = &self.clock {
            environment.extend(crate::clock::variables(library, file));
        }
        let mut process = Process::start("agent-tally", &arguments, &environment, &self.log_file)?;
        // It may die before that, at a failpoint or for want of room.
        drop(process.await_line("http://"));
        self.process = Some(process);
        Ok(())
    }

    pub(super) fn has_ended(&mut self) -> anyhow::Result<bool> {
        self.process.as_mut().map_or(Ok(true), Process::has_ended)
    }

    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        self.process.take().map_or(Ok(()), Process::kill)
    }

    /// Lets its clock be so many seconds ahead. Whether that can be done here.
    pub(super) fn set_clock(&self, seconds: i64) -> anyhow::Result<bool> {
        match &self.clock {
            Some((_, file)) => crate::clock::set(file, seconds).map(|()| true),
            None => Ok(false),
        }
    }

    /// Lets all be counted, stops it in order and compares what it leaves behind with what was accepted.
    pub(super) async fn finish(mut self, mut run: Run, sending: Sending, mut probe: Probe) -> anyhow::Result<Run> {
        let progress = Arc::clone(&sending.progress);
        let mut ledger = sending.end().await?;
        probe.counted_since(Instant::now(), PATIENCE).await?;
        let receipts = progress.receipts.lock().expect("no panic while held").clone();
        await_counted(&self.url, &receipts, PATIENCE).await?;
        if let Some(process) = self.process.take() {
            process.stop(Duration::from_secs(20))?;
        }
        run.acknowledged = progress.accepted.load(Ordering::Relaxed) + probe.acknowledged();
        run.refused = progress.refused.load(Ordering::Relaxed);
        ledger.unite(probe.into_ledger());
        run.verify = verify("agent-tally", &["--data-dir", self.data_dir.to_str().context("a path in UTF-8")?], &[])?;
        audit_data_dir(&mut run, &self.data_dir, &ledger).await?;
        Ok(run)
    }
}

async fn audit_data_dir(run: &mut Run, data_dir: &Path, ledger: &Ledger) -> anyhow::Result<()> {
    let engine = Engine::open(&data_dir.join("store.sqlite3"))?;
    let log = LocalLog::open(data_dir.join("log.sqlite3"), LocalOptions::default())?;
    judge(run, &engine.client(), &log, ledger).await?;
    engine.close();
    Ok(())
}
