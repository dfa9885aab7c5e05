//! Ties a child process to this one. A small shell starts the child and waits on a pipe that only this process holds
//! open; when this process ends, by whatever means, the pipe closes and the shell kills the child. (`PDEATHSIG` would
//! need unsafe code.) The shell has a process group of its own, so an interrupt from the terminal does not end it first.

use anyhow::Context as _;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const KILL_WHEN_LET_GO: &str =
    r#"log="$1"; shift; "$@" </dev/null >>"$log" 2>&1 & child=$!; echo "$child"; exec >/dev/null; read -r _; kill -9 "$child"; wait"#;
/// The pause lets killed children finish writing first.
const REMOVE_WHEN_LET_GO: &str = r#"exec >/dev/null; read -r _; sleep 1; rm -rf "$1""#;

/// A process that ends with this value or with this process, whichever comes first.
#[derive(Debug)]
pub(crate) struct Leash {
    shell: Child,
    pid: u32,
}

impl Leash {
    /// Starts `command` with its output appended to the file `log`.
    pub(crate) fn start(command: &[String], log: &Path) -> anyhow::Result<Self> {
        let mut shell = shell(KILL_WHEN_LET_GO).arg(log).args(command).stdout(Stdio::piped()).spawn().context("starting sh")?;
        let stdout = shell.stdout.take().context("the shell has no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let pid = line.trim().parse().context("the shell named no process")?;
        Ok(Self { shell, pid })
    }

    /// Sends a signal by name (`STOP`, `CONT`, `TERM`).
    pub(crate) fn signal(&self, name: &str) -> anyhow::Result<()> {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.pid.to_string()).status().context("running kill")?;
        anyhow::ensure!(status.success(), "kill -{name} {} failed", self.pid);
        Ok(())
    }

    /// Whether the process is still there.
    pub(crate) fn is_alive(&self) -> bool {
        Command::new("kill").arg("-0").arg(self.pid.to_string()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // The shell kills the child and goes; there is nobody to tell if it cannot.
        drop(self.shell.wait());
    }
}

/// A folder that is removed with this value or with this process, whichever comes first.
#[derive(Debug)]
pub(crate) struct Folder {
    path: std::path::PathBuf,
    shell: Child,
}

impl Folder {
    pub(crate) fn create() -> anyhow::Result<Self> {
        let path = tempfile::Builder::new().prefix("agent-tally-engine-").tempdir()?.keep();
        let shell = shell(REMOVE_WHEN_LET_GO).arg(&path).stdout(Stdio::null()).spawn().context("starting sh")?;
        Ok(Self { path, shell })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // Waited for, so that no zombie stays; it takes a second and cannot usefully fail.
        drop(self.shell.wait());
    }
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script, "engine"]).stdin(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    command
}
