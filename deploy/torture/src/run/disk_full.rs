//! Standalone on a small file system of its own that fills up: events are refused with a clear 503, nothing acknowledged is
//! lost, a kill meanwhile changes nothing, and when there is room again it goes on by itself.

use super::standalone::Server;
use super::{RunOptions, Sending, moment, new_run, say};
use crate::client::Refusal;
use crate::ledger::Dice;
use crate::probe::Probe;
use crate::report::Run;
use anyhow::{Context as _, ensure};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const PARTITIONS: u32 = 1;
const DISK_MIB: u64 = 96;
/// What is left for events before each time that the disk is full.
const ROOM_MIB: u64 = 3;
const PATIENCE: Duration = Duration::from_secs(120);
/// Nothing was acknowledged for so long while requests were refused: the disk is full.
const FULL_AFTER: Duration = Duration::from_secs(1);

/// Mounts a file system of `DISK_MIB` on a directory. It needs a mount namespace of this process' own, so that nothing stays
/// behind however it ends: `unshare --mount`, with `--map-root-user` for whoever is not root.
///
/// # Errors
/// Where this machine does not allow it.
pub fn mount(directory: &Path) -> anyhow::Result<()> {
    let output = Command::new("mount")
        .args(["-t", "tmpfs", "-o", &format!("size={DISK_MIB}m"), "tmpfs"])
        .arg(directory)
        .output()
        .context("running mount")?;
    ensure!(output.status.success(), "cannot mount a small file system: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// Fills the disk `rounds` times; every third time the server is killed while it is full.
pub async fn fills(disk: &Path, options: &RunOptions) -> anyhow::Result<Run> {
    let mut run = new_run(options);
    let mut ballast = Ballast::new(disk)?;
    let mut server = Server::new(disk, PARTITIONS)?;
    server.start(&[])?;
    let url = server.url.clone();
    let mut probe = Probe::new(vec![url.clone()], vec![url.clone()], PARTITIONS, !options.seed)?;
    probe.counted_since(Instant::now(), PATIENCE).await?;
    let sending = Sending::begin(vec![url.clone()], options);
    let mut dice = Dice(options.seed);
    for round in 0..options.rounds {
        ballast.leave(ROOM_MIB)?;
        let refusal = until_full(&mut server, &sending).await?;
        let said = check(&refusal)?;
        let is_killed = round % 3 == 2;
        if is_killed {
            server.kill()?;
            *run.tally.kills.entry("agent-tally".into()).or_default() += 1;
            server.start(&[])?;
        } else {
            let answer = reqwest::get(format!("{url}/api/v1/agents")).await?;
            ensure!(answer.status() == 200, "a full disk must not keep anybody from reading: {}", answer.status());
        }
        let stays = Instant::now() + Duration::from_millis(500 + dice.roll(1_500));
        while Instant::now() < stays {
            moment().await;
        }
        let ended = server.has_ended()?;
        ensure!(is_killed || !ended, "the server ended when its disk was full");
        let since = Instant::now();
        ballast.drop_all()?;
        if ended {
            // Too little room to start on: whoever supervises it starts it again.
            server.start(&[])?;
        }
        let took = probe.counted_since(since, PATIENCE).await?;
        let what = if is_killed { "room on a full disk, after a SIGKILL meanwhile" } else { "room on a full disk" };
        run.recovery_ms.entry(what.into()).or_default().push(took.as_millis() as u64);
        *run.tally.others.entry("times that the disk was full".into()).or_default() += 1;
        run.loads.push(super::load_average()?);
        say(&format!("round {round}: refused with {said:?}; counted again {:.1} s after there was room", took.as_secs_f64()))?;
        ensure!(!server.has_ended()?, "the server ended after there was room");
    }
    server.finish(run, sending, probe).await
}

/// Waits until requests are refused and nothing is acknowledged any more.
async fn until_full(server: &mut Server, sending: &Sending) -> anyhow::Result<Refusal> {
    let deadline = Instant::now() + PATIENCE;
    let (mut acknowledged, mut since) = (sending.acknowledged(), Instant::now());
    let refused = sending.progress.refused.load(Ordering::Relaxed);
    loop {
        sending.check()?;
        ensure!(!server.has_ended()?, "the server ended when its disk was full");
        if sending.acknowledged() != acknowledged {
            (acknowledged, since) = (sending.acknowledged(), Instant::now());
        }
        let is_refused = sending.progress.refused.load(Ordering::Relaxed) > refused;
        if is_refused && since.elapsed() > FULL_AFTER {
            let refusal = sending.progress.last_refusal.lock().expect("no panic while held").clone();
            return refusal.context("a refusal was counted");
        }
        ensure!(Instant::now() < deadline, "the disk does not fill up");
        moment().await;
    }
}

/// What a client is told.
fn check(refusal: &Refusal) -> anyhow::Result<String> {
    let [retry_after, content_type] = &refusal.headers;
    ensure!(refusal.status == 503, "refused with {}", refusal.status);
    ensure!(retry_after.is_some(), "no Retry-After");
    ensure!(content_type.as_deref() == Some("application/problem+json"), "refused as {content_type:?}");
    let body: serde_json::Value = serde_json::from_str(&refusal.body)?;
    let detail = body["detail"].as_str().unwrap_or_default();
    ensure!(body["status"] == 503 && detail.contains("room"), "not clear: {body}");
    Ok(detail.to_owned())
}

/// A file that takes what is to be missing.
struct Ballast<'a> {
    disk: &'a Path,
    file: File,
}

impl<'a> Ballast<'a> {
    fn new(disk: &'a Path) -> anyhow::Result<Self> {
        Ok(Self { disk, file: File::create(disk.join("ballast"))? })
    }

    /// Takes all but so much.
    fn leave(&mut self, mib: u64) -> anyhow::Result<()> {
        let output = Command::new("stat").args(["--file-system", "--format=%a %S"]).arg(self.disk).output().context("running stat")?;
        let text = String::from_utf8(output.stdout)?;
        let (blocks, bytes) = text.trim().split_once(' ').context("stat says blocks and bytes")?;
        let free = blocks.parse::<u64>()? * bytes.parse::<u64>()?;
        let chunk = vec![0; 64 * 1024];
        for _ in 0..free.saturating_sub(mib << 20) / chunk.len() as u64 {
            self.file.write_all(&chunk)?;
        }
        Ok(())
    }

    /// Gives all of it back.
    fn drop_all(&mut self) -> anyhow::Result<()> {
        self.file = File::create(self.disk.join("ballast"))?;
        Ok(())
    }
}
