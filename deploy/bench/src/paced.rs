//! Requests at an even pace, whatever the answers take: latencies count from when a request was due, so a server that
//! stands still is not spared.

use crate::report::quantile;
use anyhow::{Context as _, ensure};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// A load of one request again and again.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) url: String,
    pub(crate) key: Option<String>,
    pub(crate) body: Vec<u8>,
    pub(crate) per_second: f64,
    pub(crate) connections: u32,
}

/// How long the answers took.
#[derive(Debug, Default)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn quantile_ms(&self, share: f64) -> f64 {
        quantile(&self.0, share).unwrap_or_default().as_secs_f64() * 1e3
    }
}

impl Load {
    /// Sends for so long.
    pub(crate) async fn run(&self, seconds: u64) -> anyhow::Result<Latencies> {
        let (address, path) = self.url.trim_start_matches("http://").split_once('/').context("a URL with a path")?;
        let key = self.key.as_ref().map_or(String::new(), |key| format!("authorization: Bearer {key}\r\n"));
        let head = format!(
            "POST /{path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n{key}content-length: {}\r\n\r\n",
            self.body.len()
        );
        let request = [head.as_bytes(), &self.body].concat();
        let every = Duration::from_secs_f64(f64::from(self.connections) / self.per_second);
        let began = Instant::now();
        let mut connections = JoinSet::new();
        for n in 0..self.connections {
            let (address, request) = (address.to_owned(), request.clone());
            // Not all at once.
            let first = began + every * n / self.connections;
            connections.spawn(async move {
                let mut stream = TcpStream::connect(&address).await?;
                stream.set_nodelay(true)?;
                let mut taken = Vec::new();
                let mut due = first;
                while due < began + Duration::from_secs(seconds) {
                    tokio::time::sleep_until(due).await;
                    stream.write_all(&request).await?;
                    await_answer(&mut stream).await?;
                    taken.push(due.elapsed());
                    due += every;
                }
                anyhow::Ok(taken)
            });
        }
        let mut all = Latencies::default();
        while let Some(connection) = connections.join_next().await {
            all.0.extend(connection??);
        }
        Ok(all)
    }
}

/// Reads one answer to its end.
async fn await_answer(stream: &mut TcpStream) -> anyhow::Result<()> {
    let (mut have, mut buffer) = (0, [0_u8; 4_096]);
    loop {
        let read = stream.read(&mut buffer[have..]).await?;
        ensure!(read > 0, "the connection was closed");
        have += read;
        let text = std::str::from_utf8(&buffer[..have])?;
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            ensure!(head.starts_with("HTTP/1.1 2"), "answered {}", head.lines().next().unwrap_or_default());
            let length = head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok());
            if body.len() >= length.context("an answer has a length")? {
                return Ok(());
            }
        }
    }
}
