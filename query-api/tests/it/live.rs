//! The live paths on the local log: what is appended, announced and committed there shows.

use crate::fixture::{Fixture, Options};
use event_log::{Delivery, GroupConsumer, Record};
use query_api::QueryConfig;
use reqwest::{Response, StatusCode};
use schemas::codec::{WireForm, encode_event};
use schemas::time::{day_of, now_micros};
use schemas::{AgentEvent, AgentTotals, MessageType};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

const GROUP: &str = "agent-tally-aggregator";
/// Nothing here takes so long unless it hangs.
const DEADLINE: Duration = Duration::from_secs(30);

impl Fixture {
    /// Appends an event; its receipt.
    pub(crate) async fn append(&self, agent: &str, content: &str) -> String {
        let mut event = AgentEvent::new(agent, now_micros(), format!("e-{content}"), MessageType::UserMessage);
        event.content = Some(content.into());
        let record = Record { key: agent.to_owned().into(), value: encode_event(&event, WireForm::default()).into(), headers: Vec::new() };
        let (partition, offset) = self.log.append("agent-events", record).expect("room").await.expect("durable");
        format!("0-{partition}-{offset}")
    }

    /// An aggregator that holds both partitions.
    pub(crate) async fn aggregator(&self) -> Box<dyn GroupConsumer> {
        let mut consumer = Arc::clone(&self.log).join(GROUP, "agent-events").expect("a member");
        let mut held = 0;
        while held < 2 {
            if let Delivery::Assigned(assigned) = in_time(consumer.next()).await.expect("a delivery") {
                held += assigned.len();
            }
        }
        consumer
    }
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("within the deadline")
}

fn totals(agent: &str, version: i64) -> AgentTotals {
    let now = now_micros();
    let totals = AgentTotals { agent_id: agent.into(), day: day_of(now), version, calls: version, ..AgentTotals::default() };
    AgentTotals { last_at: now, flushed_at: now, ..totals }
}

/// Reads a stream up to a message of that name; its id and data.
async fn told(response: &mut Response, text: &mut String, name: &str) -> (String, Value) {
    loop {
        while let Some((message, rest)) = text.split_once("\n\n") {
            let field = |field: &str| message.lines().find_map(|l| l.strip_prefix(field)).unwrap_or_default().trim().to_owned();
            let (event, id, data) = (field("event:"), field("id:"), field("data:"));
            *text = rest.to_owned();
            if event == name {
                return (id, serde_json::from_str(&data).expect("json"));
            }
        }
        let chunk = in_time(response.chunk()).await.expect("a stream").expect("the stream goes on");
        text.push_str(std::str::from_utf8(&chunk).expect("text"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_waits_for_the_group_s_commit() {
    let fixture = Fixture::start().await;
    let (first, second) = (fixture.append("a", "1").await, fixture.append("a", "2").await);
    let aggregator = fixture.aggregator().await;
    let partition: u32 = first.split('-').nth(1).and_then(|p| p.parse().ok()).expect("a partition");
    let path = |receipt: &str, wait_ms: u32| format!("/api/v1/receipts/{receipt}?wait_ms={wait_ms}");
    let before = fixture.get(&path(&second, 0)).await;
    assert_eq!((&before["logged"], &before["counted"]), (&true.into(), &false.into()));
    let committer = aggregator.committer();
    let waiting_path = path(&second, 30_000);
    let waiting = fixture.get(&waiting_path);
    let counting = async {
        committer.commit(partition, 1).await.expect("committed");
        assert_eq!(fixture.get(&path(&first, 5_000)).await["counted"], true);
        assert_eq!(fixture.get(&path(&second, 0)).await["counted"], false);
        committer.commit(partition, 2).await.expect("committed");
    };
    let (answer, ()) = tokio::join!(waiting, counting);
    assert_eq!((&answer["counted"], &answer["lag_ms"]), (&true.into(), &0.into()));
    assert_eq!(fixture.get("/api/v1/pipeline").await["lag_records"], 0);
    fixture.refused(&path(&format!("0-{partition}-2"), 0), 404).await;
    fixture.refused("/api/v1/receipts/0-9-0", 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_shows_in_its_receipt() {
    let fixture = Fixture::start().await;
    let receipt = fixture.append("a", "1").await;
    let aggregator = fixture.aggregator().await;
    let headers = vec![("dead-reason".to_owned(), "id_conflict".into())];
    let letter = Record { key: receipt.clone().into(), value: Vec::new().into(), headers };
    fixture.log.append("agent-events-dead", letter).expect("room").await.expect("durable");
    let partition = receipt.split('-').nth(1).and_then(|p| p.parse().ok()).expect("a partition");
    aggregator.committer().commit(partition, 1).await.expect("committed");
    let answer = fixture.get(&format!("/api/v1/receipts/{receipt}?wait_ms=5000")).await;
    assert_eq!(answer["counted"], false);
    assert_eq!((&answer["dead_letters"][0]["position"], &answer["dead_letters"][0]["reason"]), (&receipt.into(), &"id_conflict".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_shows_events_and_totals_and_goes_on_where_it_was() {
    let fixture = Fixture::start().await;
    fixture.append("a", "before").await;
    let follow = |id: String| {
        let request = fixture.http.get(format!("{}/api/v1/stream?events=true", fixture.base));
        request.header("last-event-id", id).send()
    };
    let (mut stream, mut text) = (follow(String::new()).await.expect("an answer"), String::new());
    told(&mut stream, &mut text, "heartbeat").await;
    let receipt = fixture.append("a", "1").await;
    let (id, event) = told(&mut stream, &mut text, "event").await;
    assert_eq!((&event["content"], &event["receipt"]), (&"1".into(), &receipt.into()));
    fixture.eventually("/api/v1/pipeline", |p| p["live_table"]["is_caught_up"] == true).await;
    fixture.announce(&totals("a", 5)).await;
    let (_, data) = told(&mut stream, &mut text, "totals").await;
    assert_eq!((&data["agents"][0]["calls"], &data["fleet"][0]["calls"]), (&5.into(), &5.into()));
    drop(stream);
    for content in ["2", "3", "4"] {
        fixture.append(content, content).await;
    }
    let (mut stream, mut text) = (follow(id).await.expect("an answer"), String::new());
    let mut contents = Vec::new();
    for _ in 0..3 {
        contents.push(told(&mut stream, &mut text, "event").await.1["content"].as_str().expect("text").to_owned());
    }
    contents.sort();
    assert_eq!(contents, ["2", "3", "4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_follows_without_a_key_where_keys_are_needed() {
    let fixture = Fixture::with(Options { has_keys: true, config: QueryConfig::default(), ..Options::default() }).await;
    for path in ["stream", "ws", "pipeline", "receipts/0-0-0"] {
        let answer = fixture.http.get(format!("{}/api/v1/{path}", fixture.base)).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
}
