//! Runs wrk, the load generator, on the core beside the server's, and reads what it says.

use crate::parts::REST;
use anyhow::{Context as _, ensure};
use std::path::{Path, PathBuf};

/// A request that is sent again and again.
#[derive(Debug)]
pub(crate) struct Request {
    script: PathBuf,
    connections: usize,
}

impl Request {
    /// A POST of that body over so many connections, with a key where the server wants one.
    pub(crate) fn post(directory: &Path, name: &str, body: &[u8], key: Option<&str>, connections: usize) -> anyhow::Result<Self> {
        let (body_file, script) = (directory.join(format!("{name}.json")), directory.join(format!("{name}.lua")));
        std::fs::write(&body_file, body)?;
        let key = key.map_or(String::new(), |key| format!("wrk.headers[\"Authorization\"] = \"Bearer {key}\"\n"));
        let text = format!(
            "wrk.method = \"POST\"\nwrk.headers[\"Content-Type\"] = \"application/json\"\n{key}local file = io.open(\"{}\", \"rb\")\nwrk.body = file:read(\"*a\")\nfile:close()\n",
            body_file.display()
        );
        std::fs::write(&script, text)?;
        Ok(Self { script, connections })
    }

    /// Sends it over its connections, each as soon as the last was answered.
    pub(crate) fn run(&self, url: &str, seconds: u64) -> anyhow::Result<Load> {
        let mut command = crate::process::pinned(REST, Path::new("wrk"));
        command.args(["-t1", &format!("-c{}", self.connections), &format!("-d{seconds}s"), "--latency", "--timeout", "20s", "-s"]);
        let output = command.arg(&self.script).arg(url).output().context("cannot run wrk: `deploy/setup.sh bench` installs it")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "wrk failed: {text}{}", String::from_utf8_lossy(&output.stderr));
        Load::read(&text).with_context(|| format!("wrk said:\n{text}"))
    }
}

/// What wrk saw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Load {
    /// Requests that were answered well.
    pub(crate) requests: u64,
    /// 99 of 100 were answered within so many ms.
    pub(crate) p99_ms: f64,
}

impl Load {
    fn read(text: &str) -> anyhow::Result<Self> {
        let after = |name: &str| text.lines().find_map(|l| l.trim().strip_prefix(name)).map(str::trim);
        ensure!(after("Non-2xx or 3xx responses:").is_none(), "not every request was answered well");
        ensure!(after("Socket errors:").is_none(), "connections broke or were silent");
        let requests = text.lines().find(|l| l.contains(" requests in ")).and_then(|l| l.split_whitespace().next());
        let p99 = after("99%").context("no latencies")?;
        Ok(Self { requests: requests.context("no count")?.parse()?, p99_ms: milliseconds(p99).context("an odd latency")? })
    }
}

fn milliseconds(text: &str) -> Option<f64> {
    let units = [("us", 1e-3), ("ms", 1.0), ("m", 60_000.0), ("s", 1e3)];
    units.iter().find_map(|(unit, factor)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    const SAID: &str = "Running 4s test @ http://127.0.0.1:1\n  1 threads and 512 connections\n  Latency Distribution\n     50%   10.10ms\n     99%    1.20s \n  123456 requests in 4.01s, 20MB read\nRequests/sec:  30786.53\n";

    #[test]
    fn what_wrk_says_is_read_and_failures_are_not_overlooked() {
        assert_eq!(Load::read(SAID).unwrap(), Load { requests: 123_456, p99_ms: 1_200.0 });
        assert!(Load::read(&format!("{SAID}  Non-2xx or 3xx responses: 7\n")).is_err());
        assert!(Load::read(&format!("{SAID}  Socket errors: connect 0, read 0, write 0, timeout 3\n")).is_err());
        assert_eq!([milliseconds("250.00us"), milliseconds("7.50ms"), milliseconds("x")], [Some(0.25), Some(7.5), None]);
    }
}
