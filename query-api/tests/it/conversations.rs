//! One conversation with its events, and what the list says of each.

use crate::fixture::{Fixture, Options};
use schemas::event::{AgentEvent, MessageType};
use schemas::time::{format_micros, now_micros};
use serde_json::{Value, json};

const SECOND: i64 = 1_000_000;

/// An event of a conversation so many seconds ago.
fn said(agent: &str, conversation: &str, age_s: i64, message_type: MessageType) -> AgentEvent {
    let mut event = AgentEvent::new(agent, now_micros() - age_s * SECOND, format!("{conversation}-{age_s}"), message_type);
    event.conversation_id = Some(conversation.into());
    event
}

/// A conversation of six events with a model, tokens, cost and a title.
fn order() -> Vec<AgentEvent> {
    let mut events: Vec<AgentEvent> = [
        (600, MessageType::ConversationStart),
        (590, MessageType::UserMessage),
        (580, MessageType::ToolCall),
        (570, MessageType::AgentResponse),
        (560, MessageType::UserMessage),
        (550, MessageType::AgentResponse),
    ]
    .into_iter()
    .map(|(age_s, message_type)| said("shop", "order/7", age_s, message_type))
    .collect();
    events[1].content = Some(format!("Where is my order? {}", "é".repeat(200)));
    events[4].content = Some("And when?".into());
    for (i, model) in [(3, "gpt-4o"), (5, "claude-sonnet")] {
        (events[i].model_used, events[i].token_count, events[i].cost_usd) = (Some(model.into()), Some(100), Some(0.1));
    }
    events
}

fn ids(body: &Value, list: &str) -> Vec<String> {
    let items = body[list].as_array().expect("a list").iter();
    items.filter_map(|i| i["event_id"].as_str().or(i["id"].as_str()).map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_tells_what_was_said_in_it() {
    for index_conversations in [true, false] {
        let fixture = Fixture::with(Options { index_conversations, ..Options::default() }).await;
        let mut elsewhere = said("other", "order/7", 500, MessageType::Error);
        elsewhere.error_details = Some("not the shop's".into());
        fixture.put_events(&[order(), vec![elsewhere, said("shop", "else", 5, MessageType::Error)]].concat()).await;

        let body = fixture.get("/api/v1/conversations/order%2F7?agent_id=shop").await;
        let conversation = &body["conversation"];
        assert_eq!((conversation["id"].as_str(), conversation["agent_id"].as_str()), (Some("order/7"), Some("shop")));
        assert_eq!((conversation["messageCount"].as_i64(), conversation["duration"].as_i64()), (Some(6), Some(50)));
        assert_eq!((conversation["userMessages"].as_i64(), conversation["toolCalls"].as_i64()), (Some(2), Some(1)));
        assert_eq!((conversation["errorCount"].as_i64(), conversation["tokens"].as_i64()), (Some(0), Some(200)));
        assert_eq!((conversation["costUsd"].as_f64(), &conversation["models"]), (Some(0.2), &json!(["claude-sonnet", "gpt-4o"])));
        let title = conversation["title"].as_str().expect("a title");
        assert!(title.starts_with("Where is my order? é") && title.chars().count() == 120, "{title}");
        assert_eq!(conversation["status"], "completed");
        assert_eq!((body["is_complete"].as_bool(), conversation["isComplete"].as_bool()), (Some(true), Some(true)));
        let oldest_first: Vec<String> = [600, 590, 580, 570, 560, 550].map(|age_s| format!("order/7-{age_s}")).into();
        assert_eq!(ids(&body, "events"), oldest_first);
        assert!(body["events"][1]["content"].as_str().is_some_and(|c| c.chars().count() > 200), "the events are whole");

        // The list says the same of it.
        let list = fixture.get("/api/v1/conversations?agent_id=shop").await;
        assert_eq!(list["items"][1], *conversation, "index {index_conversations}");
        let half = format!("start_date={}", format_micros(now_micros() - 575 * SECOND));
        let later = fixture.get(&format!("/api/v1/conversations/order%2F7?agent_id=shop&{half}")).await;
        assert_eq!((ids(&later, "events").len(), later["conversation"]["title"].as_str()), (3, Some("And when?")));

        if index_conversations {
            let of_all = fixture.get("/api/v1/conversations/order%2F7").await;
            assert_eq!((ids(&of_all, "events").len(), of_all["conversation"]["errorCount"].as_i64()), (7, Some(1)));
            assert_eq!(of_all["conversation"]["agent_id"], "shop", "who began it");
            fixture.refused("/api/v1/conversations/nothing", 404).await;
        } else {
            let refusal = fixture.refused("/api/v1/conversations/order%2F7", 422).await;
            assert_eq!(refusal["errors"][0]["field"], "agent_id");
        }
        fixture.refused("/api/v1/conversations/nothing?agent_id=shop", 404).await;
        fixture.refused("/api/v1/conversations/order%2F7?agent_id=nobody", 404).await;
        for (path, field) in [
            (format!("/api/v1/conversations/{}?agent_id=shop", "x".repeat(257)), "conversation_id"),
            ("/api/v1/conversations/x?agent_id=%23".into(), "agent_id"),
            ("/api/v1/conversations/x?agent_id=a&start_date=then".into(), "start_date"),
        ] {
            assert_eq!(fixture.refused(&path, 422).await["errors"][0]["field"], field, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_without_a_conversation_is_one() {
    for index_conversations in [true, false] {
        let fixture = Fixture::with(Options { index_conversations, ..Options::default() }).await;
        let traced = |id: &str, age_s: i64| {
            let mut event = said("a", "c", age_s, MessageType::UserMessage);
            (event.conversation_id, event.trace_id, event.event_id) = (None, Some("trace-1".into()), id.into());
            event
        };
        let mut of_conversation = said("a", "c", 30, MessageType::UserMessage);
        of_conversation.trace_id = Some("trace-1".into());
        fixture.put_events(&[traced("first", 50), traced("second", 40), of_conversation]).await;
        let list = fixture.get("/api/v1/conversations?agent_id=a").await;
        assert_eq!(ids(&list, "items"), ["c", "trace-1"]);
        let body = fixture.get("/api/v1/conversations/trace-1?agent_id=a").await;
        assert_eq!((ids(&body, "events"), &body["conversation"]), (vec!["first".to_owned(), "second".to_owned()], &list["items"][1]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_very_long_conversation_the_newest_events_are_there() {
    let fixture = Fixture::start().await;
    let events: Vec<_> = (0..1_100).map(|age_s| said("a", "long", age_s, MessageType::UserMessage)).collect();
    fixture.put_events(&events).await;
    let body = fixture.get("/api/v1/conversations/long").await;
    let met = ids(&body, "events");
    assert_eq!((met.len(), met.first().map(String::as_str), met.last().map(String::as_str)), (1_000, Some("long-999"), Some("long-0")));
    assert_eq!((body["is_complete"].as_bool(), body["conversation"]["isComplete"].as_bool()), (Some(false), Some(false)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_picked_by_how_conversations_are() {
    for index_conversations in [true, false] {
        let fixture = Fixture::with(Options { index_conversations, ..Options::default() }).await;
        let mut events = Vec::new();
        for i in 0..6 {
            let age = 1_000 + i * 100;
            events.push(said("a", &format!("done-{i}"), age, MessageType::UserMessage));
            events.push(said("a", &format!("broken-{i}"), age + 10, MessageType::UserMessage));
            events.push(said("a", &format!("broken-{i}"), age + 5_000, MessageType::Error));
        }
        events.push(said("a", "open", 5, MessageType::UserMessage));
        fixture.put_events(&events).await;
        let list = async |query: &str| {
            let body = fixture.get(&format!("/api/v1/conversations?agent_id=a&{query}")).await;
            ids(&body, "items")
        };
        assert_eq!(list("status=active").await, ["open"]);
        assert_eq!(list("status=error&limit=3").await, ["broken-0", "broken-1", "broken-2"]);
        assert_eq!(list("status=error").await.len(), 6);
        assert_eq!(list("status=completed,active&limit=3").await, ["open", "done-0", "done-1"]);
        assert_eq!(list("").await.len(), 13);
        assert_eq!(fixture.refused("/api/v1/conversations?status=odd", 422).await["errors"][0]["field"], "status");
    }
}
