//! Starts the release binaries as processes of their own and watches their memory. Knows nothing of what is posted.

use anyhow::{Context as _, bail, ensure};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const STOPS_WITHIN: Duration = Duration::from_secs(30);
const LISTENS_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);
const MEMORY_EVERY: Duration = Duration::from_millis(50);

/// Where servers keep their data, and how they are started.
#[derive(Debug)]
pub(crate) struct Place {
    directory: TempDir,
    serve: Vec<String>,
    next: AtomicU64,
}

impl Place {
    pub(crate) fn new(directory: Option<&Path>, serve: &str) -> anyhow::Result<Self> {
        let directory = match directory {
            Some(directory) => TempDir::new_in(directory),
            None => TempDir::new(),
        };
        let serve = serve.split_whitespace().map(str::to_owned).collect();
        Ok(Self { directory: directory.context("no directory for the data")?, serve, next: AtomicU64::new(0) })
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A file for the log of a process of that name.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}-{}.log", self.next.fetch_add(1, Ordering::Relaxed)))
    }

    /// Starts `agent-tally serve` on an empty directory; returns when it says that it is ready.
    pub(crate) fn standalone(&self) -> anyhow::Result<Server> {
        let data = self.directory.path().join(format!("data-{}", self.next.fetch_add(1, Ordering::Relaxed)));
        let mut arguments = vec!["serve".into(), "--listen".into(), "127.0.0.1:0".into(), "--data-dir".into(), data.display().to_string()];
        arguments.extend(self.serve.iter().cloned());
        let mut server = Server::start("agent-tally", &arguments, &[], &data.with_extension("log"))?;
        server.data = Some(data);
        server.await_url()?;
        Ok(server)
    }
}

/// A running process. Ends when dropped, and takes its data with it.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    name: String,
    log: PathBuf,
    data: Option<PathBuf>,
    url: String,
    began: Instant,
}

impl Server {
    /// Starts a binary of this workspace; its log goes to a file, which is shown where it ends too soon.
    pub(crate) fn start(name: &str, arguments: &[String], environment: &[(String, String)], log: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(beside(name)?);
        command.args(arguments).envs(environment.iter().cloned());
        Self::spawn(name, command, log)
    }

    /// Starts any program so.
    pub(crate) fn spawn(name: &str, mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let stderr = std::fs::File::create(log)?;
        let began = Instant::now();
        let child = command
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { child, name: name.to_owned(), log: log.to_owned(), data: None, url: String::new(), began })
    }

    /// Waits for the line that names the URL.
    pub(crate) fn await_url(&mut self) -> anyhow::Result<()> {
        self.await_word(|word| word.starts_with("http://"))
    }

    /// Waits for a line with a word like that: its address.
    pub(crate) fn await_word(&mut self, is_address: impl Fn(&str) -> bool) -> anyhow::Result<()> {
        let stdout = self.child.stdout.take().context("standard output is piped")?;
        let mut lines = BufReader::new(stdout).lines();
        for line in lines.by_ref() {
            let line = line?;
            if let Some(address) = line.split_whitespace().find(|word| is_address(word)) {
                self.url = address.trim_end_matches('/').to_owned();
                // Whatever else it prints must not fill the pipe.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(());
            }
        }
        bail!("{} ended before it was ready:\n{}", self.name, std::fs::read_to_string(&self.log).unwrap_or_default())
    }

    /// Waits until it takes connections there.
    pub(crate) async fn await_listening(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let deadline = Instant::now() + LISTENS_WITHIN;
        while tokio::net::TcpStream::connect(address).await.is_err() {
            let said = || std::fs::read_to_string(&self.log).unwrap_or_default();
            ensure!(self.child.try_wait()?.is_none(), "{} ended before it was ready:\n{}", self.name, said());
            ensure!(Instant::now() < deadline, "{} does not listen after {LISTENS_WITHIN:?}:\n{}", self.name, said());
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.url = format!("http://{address}");
        Ok(())
    }

    /// Its URL, or whatever address it said.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Whether it runs, and its log so far.
    pub(crate) fn said(&self) -> String {
        let state = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let state = state.lines().find(|l| l.starts_with("State:")).unwrap_or("it has ended").to_owned();
        format!("{state}\n{}", std::fs::read_to_string(&self.log).unwrap_or_default())
    }

    /// Processor seconds of all its threads, ended ones too.
    pub(crate) fn processor_seconds(&self) -> anyhow::Result<f64> {
        crate::processor::seconds(self.pid()).with_context(|| format!("the processor time of {}", self.name))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// When it was started.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// Bytes of the files in its data directory.
    pub(crate) fn disk_bytes(&self) -> anyhow::Result<u64> {
        let Some(data) = &self.data else { return Ok(0) };
        let mut bytes = 0;
        for entry in std::fs::read_dir(data)? {
            bytes += entry?.metadata()?.len();
        }
        Ok(bytes)
    }

    /// Resident memory in MiB.
    pub(crate) fn resident_mib(&self) -> anyhow::Result<f64> {
        resident_mib(self.pid()).with_context(|| format!("the memory of {}", self.name))
    }

    /// Watches the memory until dropped.
    pub(crate) fn watch_memory(&self) -> MemoryWatch {
        MemoryWatch::start(self.pid())
    }

    /// Stops it in order.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        ensure!(Command::new("kill").arg(self.pid().to_string()).status()?.success(), "cannot stop {}", self.name);
        let deadline = Instant::now() + STOPS_WITHIN;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                ensure!(status.success(), "{} ended with {status}:\n{log}", self.name);
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("{} did not stop within {STOPS_WITHIN:?}", self.name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
        if let Some(data) = &self.data {
            // What stays is in a temporary directory.
            drop(std::fs::remove_dir_all(data));
        }
    }
}

/// The highest resident memory seen.
#[derive(Debug)]
pub(crate) struct MemoryWatch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<f64>>,
}

impl MemoryWatch {
    fn start(pid: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut highest = 0.0_f64;
            while !stopped.load(Ordering::Relaxed) {
                highest = highest.max(resident_mib(pid).unwrap_or_default());
                std::thread::sleep(MEMORY_EVERY);
            }
            highest
        });
        Self { stop, thread: Some(thread) }
    }

    /// Ends the watch; MiB.
    pub(crate) fn highest(mut self) -> f64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|t| t.join().ok()).unwrap_or_default()
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("it has ended")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<f64>()? / 1_024.0)
}

/// A program that runs on that core alone.
pub(crate) fn pinned(core: usize, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.arg("-c").arg(core.to_string()).arg(program);
    command
}

/// The binary of that name in the directory of this one: what cargo built in the same profile.
pub(crate) fn beside(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    ensure!(path.exists(), "{name} is not built: cargo build --release -p {name}");
    Ok(path)
}
