//! What is posted and how: bodies from templates, so that the load costs little beside what is measured, and
//! connections that are kept.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use serde_json::{Value, json};
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Different events before they repeat (but for id and time).
const TEMPLATES: usize = 400;
const ID_HERE: &str = "ID-HERE";
const TIME_HERE: &str = "TIME-HERE";
/// A refused batch is posted again after so long.
const TRY_AGAIN: Duration = Duration::from_millis(20);
const TIMEOUT: Duration = Duration::from_secs(30);

/// A source of events that are all different.
#[derive(Debug)]
pub(crate) struct Events {
    templates: Vec<[String; 3]>,
    run: String,
    next: AtomicU64,
}

impl Events {
    /// Events of that many agents; `run` keeps their ids apart from those of other sources.
    pub(crate) fn new(run: &str, agents: usize) -> anyhow::Result<Self> {
        let templates = (0..TEMPLATES.next_multiple_of(agents)).map(|i| template(i, agents)).collect::<anyhow::Result<_>>()?;
        Ok(Self { templates, run: run.to_owned(), next: AtomicU64::new(0) })
    }

    /// A batch as a JSON array.
    pub(crate) fn batch(&self, events: usize) -> anyhow::Result<Bytes> {
        let first = self.next.fetch_add(events as u64, Ordering::Relaxed);
        let now = schemas::time::format_micros(schemas::time::now_micros());
        let mut body = Vec::with_capacity(events * 640);
        for n in first..first + events as u64 {
            let [before_id, before_time, rest] = &self.templates[n as usize % self.templates.len()];
            body.push(if n == first { b'[' } else { b',' });
            write!(body, "{before_id}{}-{n}{before_time}{now}{rest}", self.run)?;
        }
        body.push(b']');
        Ok(body.into())
    }
}

/// An event as agents send it, about 500 bytes, cut where its id and its time go.
fn template(i: usize, agents: usize) -> anyhow::Result<[String; 3]> {
    let turn = i / agents;
    let message_type = match turn % 20 {
        7 => "error",
        n if n % 5 == 3 => "tool_call",
        n if n % 2 == 0 => "user_message",
        _ => "agent_response",
    };
    let mut event = json!({
        "agent_id": format!("support-agent-{:02}", i % agents),
        "event_id": ID_HERE,
        "timestamp": TIME_HERE,
        "message_type": message_type,
        "content": "Thanks for your patience. I looked at the order and see that the parcel left the warehouse yesterday; it should reach you by Thursday. Shall I send you the tracking link? ".repeat(1 + i % 2),
        "user_id": format!("user-{:04}", i * 7 % 300),
        "conversation_id": format!("conversation-{:05}", i * 13 % 2_000),
        "metadata": {"source": "bench", "region": "eu-central-1"},
    });
    let more = match message_type {
        "agent_response" => json!({
            "model_used": if turn.is_multiple_of(2) { "gpt-5-mini" } else { "claude-sonnet-4-5" },
            "response_time_ms": 250 + i * 37 % 4_000,
            "input_tokens": 200 + i * 11 % 3_000,
            "output_tokens": 40 + i * 17 % 700,
        }),
        "tool_call" => json!({"tool_name": format!("tool-{}", turn % 4), "response_time_ms": 15 + i * 29 % 900}),
        "error" => json!({"error_type": "RateLimitError", "error_details": "429 from the provider"}),
        _ => json!({}),
    };
    if let (Value::Object(event), Value::Object(more)) = (&mut event, more) {
        event.extend(more);
    }
    let text = event.to_string();
    let (before_id, rest) = text.split_once(ID_HERE).context("the id's place")?;
    let (before_time, rest) = rest.split_once(TIME_HERE).context("the time's place")?;
    Ok([before_id, before_time, rest].map(str::to_owned))
}

/// Posts over kept connections.
#[derive(Clone, Debug)]
pub(crate) struct Poster {
    client: reqwest::Client,
    url: String,
}

impl Poster {
    pub(crate) fn new(base: &str) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().tcp_nodelay(true).build()?;
        Ok(Self { client, url: format!("{base}/api/v1/events") })
    }

    /// Posts until it is accepted; returns the receipt, and how often it was refused for now.
    pub(crate) async fn post(&self, body: Bytes) -> anyhow::Result<(String, u64)> {
        let mut refused = 0;
        loop {
            let request = self.client.post(&self.url).header("content-type", "application/json").body(body.clone());
            let answer = request.send().await.context("posting")?;
            let status = answer.status().as_u16();
            let text = answer.text().await?;
            match status {
                202 => {
                    let answer: Value = serde_json::from_str(&text)?;
                    return Ok((answer["receipt"].as_str().context("a 202 has a receipt")?.to_owned(), refused));
                }
                429 | 503 => refused += 1,
                _ => bail!("a post was answered {status}: {text}"),
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn batches_are_json_of_different_events_of_the_contract() {
        let events = Events::new("t", 20).unwrap();
        let mut ids = HashSet::new();
        for _ in 0..3 {
            let batch: Vec<Value> = serde_json::from_slice(&events.batch(500).unwrap()).unwrap();
            assert_eq!(batch.len(), 500);
            ids.extend(batch.iter().map(|e| e["event_id"].as_str().unwrap().to_owned()));
        }
        assert_eq!(ids.len(), 1_500);
    }
}
