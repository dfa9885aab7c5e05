//! Starts the real binary on a directory of its own and a free port, and ends it whatever happens.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Longest wait for anything that should take a moment.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// A running `agent-tally serve`.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    pub(crate) http: reqwest::Client,
}

/// The command without the environment's own settings.
pub(crate) fn agent_tally() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent-tally"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if ["AGENT_TALLY_", "DASHBOARD_", "EVENT_", "LOG_", "RUST_LOG", "ALLOWED_HOSTS", "REQUIRE_KEYS"].iter().any(|p| name.starts_with(p))
        {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end.
pub(crate) async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

impl Server {
    /// Starts on `dir` and waits until it is ready.
    pub(crate) async fn start(dir: &Path, args: &[&str]) -> Self {
        Self::try_start(dir, args).await.unwrap_or_else(|said| panic!("the server did not start: {said}"))
    }

    /// As [`Self::start`], or what the server said on its way out.
    pub(crate) async fn try_start(dir: &Path, args: &[&str]) -> Result<Self, String> {
        Self::try_start_by(agent_tally(), dir, args).await
    }

    /// A server that may have so many file descriptors.
    pub(crate) async fn start_with_descriptors(descriptors: usize, dir: &Path) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {descriptors}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_agent-tally")]);
        Self::try_start_by(shell, dir, &[]).await.unwrap_or_else(|said| panic!("the server did not start: {said}"))
    }

    async fn try_start_by(mut command: Command, dir: &Path, args: &[&str]) -> Result<Self, String> {
        command.arg("serve").arg("--data-dir").arg(dir).args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        if !args.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let mut child = command.spawn().unwrap();
        let (sender, receiver) = mpsc::channel();
        let stdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                drop(sender.send(line));
            }
        });
        let mut stderr = child.stderr.take().unwrap();
        let said = std::thread::spawn(move || {
            let mut text = String::new();
            drop(stderr.read_to_string(&mut text));
            text
        });
        let first = tokio::task::spawn_blocking(move || (receiver.recv_timeout(PATIENCE), receiver)).await.unwrap();
        let (Ok(line), _) = first else {
            drop(child.kill());
            child.wait().unwrap();
            return Err(said.join().unwrap());
        };
        let url = line.strip_prefix("agent-tally is ready on ").unwrap_or_else(|| panic!("unexpected line {line:?}")).to_owned();
        Ok(Self { child, url, http: reqwest::Client::builder().no_proxy().build().unwrap() })
    }

    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Posts one event; the answer's status and body.
    pub(crate) async fn post(&self, agent: &str, event: &Value) -> (u16, Value) {
        let answer = self.http.post(self.at(&format!("/api/v1/agents/{agent}/events"))).json(event).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.http.get(self.at(path)).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Waits until everything up to the receipt is counted.
    pub(crate) async fn await_counted(&self, receipt: &str) {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let (status, answer) = self.get(&format!("/api/v1/receipts/{receipt}?wait_ms=5000")).await;
            assert_eq!(status, 200, "{answer}");
            if answer["counted"] == true {
                return;
            }
        }
        panic!("{receipt} was not counted in time");
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) async fn stop(mut self) -> ExitStatus {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "the server did not stop");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}
