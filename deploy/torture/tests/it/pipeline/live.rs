//! What is told while it happens.

use super::api::Api;
use schemas::time::{format_micros, now_micros};
use serde_json::{Value, json};
use std::time::Duration;

/// After a POST a follower hears of the event and of the new totals.
pub(super) async fn follows(api: &Api) {
    let url = format!("{}/api/v1/stream?events=true&agents=live-agent", api.query);
    let mut answer = reqwest::Client::new().get(url).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    let following = async {
        let (mut text, mut is_posted, mut has_event, mut has_totals) = (String::new(), false, false, false);
        while !(has_event && has_totals) {
            let chunk = answer.chunk().await.unwrap().expect("the stream goes on");
            text.push_str(std::str::from_utf8(&chunk).unwrap());
            while let Some((message, rest)) = text.split_once("\n\n") {
                let (name, data) = parse(message);
                has_event |= name == "event" && data["event_id"] == "live-1" && data["content"] == "now";
                has_totals |= name == "totals" && data["agents"].as_array().unwrap().iter().any(|a| a["agent_id"] == "live-agent");
                text = rest.to_owned();
                // The first message says that the stream is there.
                if !is_posted {
                    is_posted = true;
                    let event = json!({
                        "event_id": "live-1", "timestamp": format_micros(now_micros()), "message_type": "user_message", "content": "now",
                    });
                    api.post("/api/v1/agents/live-agent/events", &event).await;
                }
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), following).await.expect("an event and totals");
}

fn parse(message: &str) -> (String, Value) {
    let field = |name: &str| message.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim().to_owned();
    assert!(!field("id:").is_empty(), "every message has an id: {message}");
    (field("event:"), serde_json::from_str(&field("data:")).unwrap())
}
