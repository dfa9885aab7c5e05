//! Work that takes a while, told line by line over the socket: how far it is, and at last what came of it.

use aggregator::verify::Progress;
use anyhow::{Context as _, bail};
use axum::body::Body;
use futures::stream;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// A line of the answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line<R> {
    /// How far it is.
    Progress(String),
    /// What came of it, last.
    Report(Box<R>),
    /// Why nothing did, last.
    Failed(String),
}

/// Does `work` in the background, for as long as somebody listens.
pub(super) fn answer<R, E, F>(work: impl FnOnce(Progress) -> F + Send + 'static) -> Body
where
    R: Serialize + Send + 'static,
    E: Into<anyhow::Error>,
    F: Future<Output = Result<R, E>> + Send + 'static,
{
    let (to, lines) = mpsc::channel(16);
    let told = to.clone();
    tokio::spawn(async move {
        // Progress that nobody has time for is left out; where nobody listens any more, nothing is worth going on with.
        let progress = Progress::new(move |line| drop(told.try_send(Line::Progress(line))));
        let last = tokio::select! {
            outcome = Box::pin(work(progress)) => match outcome {
                Ok(report) => Line::Report(Box::new(report)),
                Err(error) => Line::Failed(format!("{:#}", error.into())),
            },
            () = to.closed() => return,
        };
        drop(to.send(last).await);
    });
    Body::from_stream(stream::unfold(lines, |mut lines: mpsc::Receiver<Line<R>>| async move {
        let line = lines.recv().await?;
        Some((serde_json::to_string(&line).map(|text| text + "\n"), lines))
    }))
}

/// Reads such an answer to its end.
pub(super) async fn read<R: DeserializeOwned>(mut response: reqwest::Response, progress: &Progress) -> anyhow::Result<R> {
    let mut text = Vec::new();
    while let Some(chunk) = response.chunk().await.context("the server ended before it was done")? {
        text.extend_from_slice(&chunk);
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line = text.drain(..=end).collect::<Vec<u8>>();
            match serde_json::from_slice(&line).context("the server's answer is unreadable")? {
                Line::Progress(line) => progress.tell(line),
                Line::Report(report) => return Ok(*report),
                Line::Failed(why) => bail!(why),
            }
        }
    }
    bail!("the server ended before it was done")
}
