//! Starts, stops, kills, freezes and thaws the services as real processes.

use anyhow::{Context, bail, ensure};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running service.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts one of this workspace's binaries; its log goes to `log_file`.
    pub fn start(binary: &str, arguments: &[String], environment: &[(String, String)], log_file: &std::path::Path) -> anyhow::Result<Self> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log_file)?;
        let child = Command::new(binary_path(binary)?)
            .args(arguments)
            .env_remove("RUST_LOG")
            .envs(environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {binary}"))?;
        Ok(Self { child, name: binary.to_owned() })
    }

    /// Waits for a line on standard output that contains `text`; returns it.
    pub fn await_line(&mut self, text: &str) -> anyhow::Result<String> {
        let stdout = self.child.stdout.take().context("standard output is piped")?;
        let mut lines = BufReader::new(stdout).lines();
        for line in lines.by_ref() {
            let line = line?;
            if line.contains(text) {
                // Whatever else it prints must not fill the pipe.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(line);
            }
        }
        bail!("{} ended without printing {text:?}: {:?}", self.name, self.child.wait()?)
    }

    /// Waits until its log says where it listens; returns the base URL. The log must be this process's own.
    pub fn await_address(&mut self, log_file: &std::path::Path) -> anyhow::Result<String> {
        self.await_logged_address(log_file, "the service is listening")
    }

    /// Waits until its log says where its admin port is; returns the base URL. From then on it stops in order when told so.
    pub fn await_admin(&mut self, log_file: &std::path::Path) -> anyhow::Result<String> {
        self.await_logged_address(log_file, "health and metrics are served")
    }

    fn await_logged_address(&mut self, log_file: &std::path::Path, message: &str) -> anyhow::Result<String> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let log = std::fs::read_to_string(log_file)?;
            let address = log.lines().filter(|l| l.contains(message)).find_map(|l| l.split("\"address\":\"").nth(1)?.split('"').next());
            if let Some(address) = address {
                return Ok(format!("http://{address}"));
            }
            ensure!(!self.has_ended()?, "{} ended: {}", self.name, log.lines().last().unwrap_or_default());
            ensure!(Instant::now() < deadline, "{} did not listen within a minute", self.name);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a signal by name (`KILL`, `STOP`, `CONT`, `TERM`).
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status()?;
        ensure!(status.success(), "kill -{name} {} failed", self.name);
        Ok(())
    }

    /// Waits until a `STOP` has taken effect on every thread: only then do its files stand still.
    pub fn await_stopped(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let mut is_stopped = true;
            for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
                let status = std::fs::read_to_string(task?.path().join("status"))?;
                is_stopped &= status.lines().any(|l| l.starts_with("State:") && l.contains('T'));
            }
            if is_stopped {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{} did not stop", self.name);
            std::thread::yield_now();
        }
    }

    /// Kills with SIGKILL and waits until it is gone.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Stops with SIGTERM and waits for an orderly end.
    pub fn stop(mut self, patience: Duration) -> anyhow::Result<()> {
        self.signal("TERM")?;
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "{} ended with {status}", self.name);
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{} did not stop within {patience:?}", self.name);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Resident memory in MiB.
    pub fn resident_mib(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? / 1_024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Where a binary of this workspace is: in the folder that `TORTURE_BINARIES` names, else beside this program, or, for a test,
/// one directory up, where cargo puts it. A path is left as it is.
pub fn binary_path(name: &str) -> anyhow::Result<PathBuf> {
    if name.contains('/') {
        return Ok(name.into());
    }
    if let Some(directory) = std::env::var_os("TORTURE_BINARIES") {
        return Ok(PathBuf::from(directory).join(name));
    }
    let program = std::env::current_exe()?;
    let found = program.ancestors().skip(1).take(2).map(|directory| directory.join(name)).find(|path| path.is_file());
    found.with_context(|| format!("{name} is not built: run `cargo build --workspace --bins` first (make test and make torture do)"))
}
