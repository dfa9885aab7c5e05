//! Who uses the processor: a process's threads by name over a stretch of time, from /proc.

use crate::report::Table;
use std::collections::BTreeMap;
use std::time::Instant;

/// Ticks per second in `/proc/<pid>/stat`: 100 on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// The times at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    at: Instant,
    pid: u32,
    /// Ticks of each thread, with its name.
    threads: BTreeMap<u32, (String, u64)>,
    server: u64,
    clients: u64,
    /// Ticks that the machine's processors were idle, and waited for the disk.
    idle: u64,
    waiting: u64,
    /// Ticks of anything else that the machine's processors did.
    busy: u64,
    /// Bytes sent to the disk.
    written: u64,
}

impl Snapshot {
    pub(crate) fn take(pid: u32) -> anyhow::Result<Self> {
        let mut threads = BTreeMap::new();
        for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let path = entry?.path();
            // A thread may end meanwhile.
            let Ok(stat) = std::fs::read_to_string(path.join("stat")) else { continue };
            let Some(tid) = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.parse().ok()) else { continue };
            let name = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')).map_or("?", |(name, _)| name);
            threads.insert(tid, (name.to_owned(), ticks(&stat)));
        }
        let machine = std::fs::read_to_string("/proc/stat")?;
        let machine: Vec<u64> = machine.lines().next().unwrap_or_default().split_whitespace().filter_map(|w| w.parse().ok()).collect();
        let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
        let written = io.lines().find_map(|l| l.strip_prefix("write_bytes: ")).and_then(|b| b.parse().ok()).unwrap_or_default();
        Ok(Self {
            at: Instant::now(),
            pid,
            threads,
            server: ticks(&std::fs::read_to_string(format!("/proc/{pid}/stat"))?),
            clients: ticks(&std::fs::read_to_string("/proc/self/stat")?),
            idle: machine.get(3).copied().unwrap_or_default(),
            waiting: machine.get(4).copied().unwrap_or_default(),
            busy: machine.iter().enumerate().filter(|(i, _)| *i < 8 && ![3, 4].contains(i)).map(|(_, ticks)| ticks).sum(),
            written,
        })
    }

    /// What happened since then.
    pub(crate) fn until_now(self) -> anyhow::Result<Usage> {
        let now = Self::take(self.pid)?;
        let seconds = (now.at - self.at).as_secs_f64();
        let cores = |ticks: u64| ticks as f64 / TICKS_PER_SECOND / seconds;
        let mut by_name: BTreeMap<String, (usize, u64)> = BTreeMap::new();
        for (tid, (name, ticks)) in &now.threads {
            let before = self.threads.get(tid).map_or(0, |(_, t)| *t);
            let sum = by_name.entry(group(name)).or_default();
            *sum = (sum.0 + 1, sum.1 + ticks.saturating_sub(before));
        }
        let server = now.server.saturating_sub(self.server);
        let clients = now.clients.saturating_sub(self.clients);
        let busy = now.busy.saturating_sub(self.busy);
        let ended = server.saturating_sub(by_name.values().map(|(_, ticks)| ticks).sum());
        let mut threads: Vec<_> = by_name.into_iter().map(|(name, (count, ticks))| (name, count, cores(ticks))).collect();
        threads.push(("(ended meanwhile)".into(), 0, cores(ended)));
        threads.retain(|(_, _, share)| *share >= 0.005);
        threads.sort_by(|a, b| b.2.total_cmp(&a.2));
        Ok(Usage {
            threads,
            server: cores(server),
            clients: cores(clients),
            others: cores(busy.saturating_sub(server + clients)),
            idle: cores(now.idle.saturating_sub(self.idle)),
            waiting: cores(now.waiting.saturating_sub(self.waiting)),
            written: now.written.saturating_sub(self.written),
        })
    }
}

/// Threads that differ only in their number are one group.
fn group(name: &str) -> String {
    name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches(['-', '_']).to_owned()
}

/// Processor seconds that a process has used with all its threads.
pub(crate) fn seconds(pid: u32) -> anyhow::Result<f64> {
    Ok(ticks(&std::fs::read_to_string(format!("/proc/{pid}/stat"))?) as f64 / TICKS_PER_SECOND)
}

/// User and system time.
fn ticks(stat: &str) -> u64 {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().skip(11).take(2).filter_map(|w| w.parse::<u64>().ok()).sum()
}

/// Processors used over a stretch of time, in cores.
#[derive(Debug)]
pub(crate) struct Usage {
    threads: Vec<(String, usize, f64)>,
    pub(crate) server: f64,
    clients: f64,
    others: f64,
    idle: f64,
    waiting: f64,
    pub(crate) written: u64,
}

impl Usage {
    /// A table of it.
    pub(crate) fn print(&self, heading: &str) -> anyhow::Result<()> {
        let mut table = Table::new(heading, &["who", "threads", "cores"]);
        table.row(&["server, all threads", "", &format!("{:.2}", self.server)]);
        for (name, count, cores) in &self.threads {
            table.row(&[&format!("— {name}"), &count.to_string(), &format!("{cores:.2}")]);
        }
        table.row(&["clients", "", &format!("{:.2}", self.clients)]);
        table.row(&["other processes and the kernel", "", &format!("{:.2}", self.others)]);
        table.row(&["machine idle", "", &format!("{:.2}", self.idle)]);
        table.row(&["machine waiting for the disk", "", &format!("{:.2}", self.waiting)]);
        table.print()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_thread_s_time_is_read_whatever_its_name() {
        let stat = "4711 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0 20 0 1 0 99";
        assert_eq!(ticks(stat), 42);
        assert_eq!(group("store-write-1"), "store-write");
    }

    #[test]
    fn this_process_can_be_watched() {
        let usage = Snapshot::take(std::process::id()).unwrap().until_now().unwrap();
        assert!(usage.server >= 0.0);
    }
}
