//! What a figure was measured on: machine, disk, versions, commit, date.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, UNIX_EPOCH};

/// Appends that the price of an fsync is the median of.
const FSYNCS: usize = 200;
const BLOCK: usize = 4_096;

/// A markdown list.
pub(crate) async fn describe(directory: &Path) -> anyhow::Result<String> {
    let cpu = proc_line("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".into());
    let cores = std::thread::available_parallelism()?;
    let memory = proc_line("/proc/meminfo", "MemTotal").and_then(|m| m.trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or_default()
        / 1024.0
        / 1024.0;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let program = crate::process::beside("agent-tally")?;
    let version = said_by(program.to_str().unwrap_or("agent-tally"), &["--version"]);
    let commit = said_by("git", &["describe", "--always", "--dirty", "--abbrev=10"]);
    let date = schemas::time::format_micros(schemas::time::now_micros());
    // The checkout may have moved on since: a figure belongs to what was built.
    let built = program.metadata()?.modified()?.duration_since(UNIX_EPOCH)?;
    let built = schemas::time::format_micros(i64::try_from(built.as_micros())?);
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let fsync = fsync_price(directory).await?;
    Ok(format!(
        "- {cpu}, {cores} cores for server and clients together, {memory:.0} GiB, Linux {}\n- {version}, {}, {profile} build of {}; the checkout is at {commit}\n- {}\n- 4 KiB appended and fsynced: median {:.2} ms",
        kernel.trim(),
        said_by("rustc", &["--version"]),
        to_seconds(&built),
        to_seconds(&date),
        fsync.as_secs_f64() * 1_000.0
    ))
}

fn to_seconds(time: &str) -> &str {
    time.split('.').next().unwrap_or(time)
}

fn proc_line(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|l| l.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn said_by(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().ok().filter(|o| o.status.success());
    output.map_or_else(|| format!("{program}: unknown"), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
}

/// Median time of making one appended block durable in `directory`.
async fn fsync_price(directory: &Path) -> anyhow::Result<Duration> {
    let path = directory.join("fsync");
    let taken = tokio::task::spawn_blocking(move || -> anyhow::Result<Vec<Duration>> {
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        let mut taken = Vec::with_capacity(FSYNCS);
        for _ in 0..FSYNCS {
            let began = Instant::now();
            file.write_all(&[7; BLOCK])?;
            file.sync_data()?;
            taken.push(began.elapsed());
        }
        std::fs::remove_file(&path)?;
        Ok(taken)
    });
    Ok(crate::report::quantile(&taken.await??, 0.5).unwrap_or_default())
}
