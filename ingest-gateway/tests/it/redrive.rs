//! Dead letters that are published once more: what goes into the log, what the dead letter then says, and who may.

use crate::keys::create_control_table;
use crate::outage::{Fault, faulty};
use crate::server::{Server, TOPIC, TOPIC_DEAD, answer};
use bytes::Bytes;
use engines::dynoxide::Dynoxide;
use event_log::{LogRecord, Record};
use ingest_gateway::GatewayConfig;
use schemas::codec::{WireForm, decode_event, encode_event};
use schemas::dead_letter::{DeadLetter, header};
use schemas::item::TableNames;
use schemas::time::format_micros;
use schemas::{AgentEvent, MessageType};
use serde_json::{Value, json};
use service_kit::auth::{Authenticator, Scope};
use service_kit::keys::{self, NewKey};
use tokio_util::sync::CancellationToken;

const AT: i64 = 1_767_781_800_000_000;

fn event(agent: &str, id: &str) -> Bytes {
    encode_event(&AgentEvent::new(agent, AT, id, MessageType::Error), WireForm::SingleObject).into()
}

fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// The dead letter of a record as the aggregator writes it.
fn letter(position: &str, reason: &str, value: Bytes) -> Record {
    let offset: i64 = position.rsplit('-').next().unwrap().parse().unwrap();
    let headers = vec![
        ("epoch".to_owned(), text("0")),
        ("request-id".to_owned(), text("r-1")),
        (header::REASON.to_owned(), text(reason)),
        (header::STAGE.to_owned(), text("insert")),
        (header::POSITION.to_owned(), text(position)),
        (header::DETAIL.to_owned(), text("why")),
        (header::AT.to_owned(), text(&format_micros(AT + offset))),
        (header::KEY.to_owned(), text("bot")),
    ];
    Record { key: text(position), value, headers }
}

impl Server {
    async fn bury(&self, position: &str, reason: &str, value: Bytes) {
        self.log.append(TOPIC_DEAD, letter(position, reason, value)).unwrap().await.unwrap();
    }

    async fn redrive(&self, path: &str, body: &Value) -> (u16, Value) {
        answer(self.post(&format!("/api/v1/dead-letters{path}")).body(body.to_string())).await
    }

    /// The newest record of the dead-letter topic.
    async fn newest_letter(&self) -> LogRecord {
        let end = self.log.bounds(TOPIC_DEAD, 0).await.unwrap().end;
        self.log.record_at(TOPIC_DEAD, 0, end - 1).await.unwrap().unwrap()
    }
}

fn headers(record: &LogRecord) -> Vec<(&str, &str)> {
    record.headers.iter().map(|(name, value)| (name.as_str(), std::str::from_utf8(value).unwrap())).collect()
}

#[tokio::test]
async fn a_redriven_event_is_the_original_and_its_dead_letter_says_where_it_went() {
    let server = Server::start_with(GatewayConfig { epoch: 3, ..GatewayConfig::default() }, |log| log).await;
    server.bury("0-1-7", "id_conflict", event("bot", "e")).await;
    let (status, redriven) = answer(server.post("/api/v1/dead-letters/0-1-7/redrive")).await;
    assert_eq!(status, 200, "{redriven}");
    let records = server.records().await;
    assert_eq!((records.len(), &records[0].key[..], &records[0].value), (1, &b"bot"[..], &event("bot", "e")));
    assert_eq!(headers(&records[0]), [("request-id", "r-1"), ("epoch", "3"), ("redriven-from", "0-1-7")]);
    assert_eq!(redriven["redriven_to"], format!("3-{}-{}", records[0].partition, records[0].offset));

    let marked = server.newest_letter().await;
    assert_eq!((&marked.key[..], &marked.value), (&b"0-1-7"[..], &event("bot", "e")));
    let letter = DeadLetter::of(&marked.headers);
    let mark = letter.redriven().unwrap();
    assert_eq!((&redriven["redriven_at"], &redriven["redriven_to"]), (&json!(mark.at), &json!(mark.to)));
    assert_eq!((letter.text(header::REASON), letter.original.len()), (Some("id_conflict"), 2));

    let (status, refused) = server.redrive("/0-1-7/redrive", &json!({})).await;
    assert_eq!(status, 409, "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains(mark.to), "{refused}");
    let (status, again) = server.redrive("/0-1-7/redrive?again=true", &json!({})).await;
    assert_eq!(status, 200, "{again}");
    assert_eq!(server.records().await.len(), 2);
    let marked = server.newest_letter().await;
    let letter = DeadLetter::of(&marked.headers);
    assert_eq!(json!(letter.redriven().unwrap().to), again["redriven_to"]);
    assert_eq!(letter.ours.iter().filter(|(name, _)| name == header::REDRIVEN_TO).count(), 1);
}

#[tokio::test]
async fn an_event_whose_identity_is_taken_gets_an_id_of_its_own() {
    let server = Server::start().await;
    server.bury("0-0-1", "id_conflict", event("bot", "taken")).await;
    server.bury("0-0-2", "undecodable", text("garbage")).await;
    for (path, body, field) in [
        ("/0-0-1/redrive", json!({"event_id": "no spaces"}), Some("event_id")),
        ("/0-0-2/redrive", json!({"event_id": "fine"}), Some("event_id")),
        ("/0-0-1/redrive", json!({"eventid": "typo"}), None),
        ("/junk/redrive", json!({}), Some("position")),
        ("/0-0-1/redrive?again=maybe", json!({}), Some("again")),
        ("/redrive", json!({"limit": 0}), Some("limit")),
        ("/redrive", json!({"limit": "all"}), None),
        ("/redrive", json!({"agent_id": "#"}), Some("agent_id")),
    ] {
        let (status, refused) = server.redrive(path, &body).await;
        assert_eq!((status, refused["errors"][0]["field"].as_str()), (422, field), "{path} {body}: {refused}");
    }
    assert_eq!(answer(server.post("/api/v1/dead-letters/redrive").body("{")).await.0, 400);
    assert_eq!(answer(server.post("/api/v1/dead-letters/redrive").body("x".repeat(20_000))).await.0, 413);
    assert_eq!(server.redrive("/0-0-3/redrive", &json!({})).await.0, 404);
    assert!(server.records().await.is_empty());
    let (status, redriven) = server.redrive("/0-0-1/redrive", &json!({"event_id": "another"})).await;
    assert_eq!(status, 200, "{redriven}");
    let expected = AgentEvent::new("bot", AT, "another", MessageType::Error);
    assert_eq!(server.events().await, [expected]);
}

#[tokio::test]
async fn the_oldest_of_a_kind_are_redriven_and_none_of_them_twice() {
    let server = Server::start().await;
    for (offset, reason, agent) in [(5, "invalid", "a"), (2, "invalid", "b"), (3, "too_old", "a"), (4, "invalid", "a"), (1, "invalid", "a")]
    {
        server.bury(&format!("0-0-{offset}"), reason, event(agent, &format!("e{offset}"))).await;
    }
    let done = |answer: &Value| -> Vec<String> {
        answer["items"].as_array().unwrap().iter().map(|i| i["position"].as_str().unwrap().to_owned()).collect()
    };
    let kind = json!({"reason": "invalid", "agent_id": "a", "limit": 2});
    let (status, first) = server.redrive("/redrive", &kind).await;
    assert_eq!((status, done(&first), &first["has_more"]), (200, vec!["0-0-1".into(), "0-0-4".into()], &json!(true)), "{first}");
    let (_, second) = server.redrive("/redrive", &kind).await;
    assert_eq!((done(&second), &second["has_more"]), (vec!["0-0-5".into()], &json!(false)));
    let (_, rest) = server.redrive("/redrive", &json!({})).await;
    assert_eq!(done(&rest), ["0-0-2", "0-0-3"]);
    let (_, none) = server.redrive("/redrive", &json!({})).await;
    assert_eq!((done(&none).len(), &none["failed"], &none["has_more"]), (0, &json!([]), &json!(false)));
    assert_eq!(server.records().await.len(), 5);
}

#[tokio::test]
async fn where_only_the_beginning_was_kept_the_original_is_published() {
    let server = Server::start().await;
    let record = Record { key: text("bot"), value: event("bot", "whole"), headers: vec![("foreign".into(), text("h"))] };
    let (partition, offset) = server.log.append(TOPIC, record.clone()).unwrap().await.unwrap();
    for (position, is_there) in
        [(format!("0-{partition}-{offset}"), true), ("7-0-0".to_owned(), false), (format!("0-{partition}-99"), false)]
    {
        let mut cut = letter(&position, "invalid", record.value.slice(..5));
        cut.headers.push((header::CUT.to_owned(), text("99")));
        server.log.append(TOPIC_DEAD, cut).unwrap().await.unwrap();
        let (status, answer) = server.redrive(&format!("/{position}/redrive"), &json!({})).await;
        assert_eq!(status, if is_there { 200 } else { 409 }, "{answer}");
    }
    let records = server.records().await;
    assert_eq!(records.len(), 2);
    assert!(records.iter().all(|r| r.value == record.value && r.key == record.key && headers(r)[0] == ("foreign", "h")));
}

#[tokio::test]
async fn an_outage_is_told_and_the_dead_letter_can_be_redriven_later() {
    for fault in [Fault::NoRoom, Fault::FullAfter(0), Fault::LostFrom(0)] {
        let server = Server::start_with(GatewayConfig::default(), faulty(fault)).await;
        server.bury("0-0-1", "invalid", event("bot", "e")).await;
        for path in ["/0-0-1/redrive", "/redrive"] {
            let response = server.post(&format!("/api/v1/dead-letters{path}")).body("{}").send().await.unwrap();
            assert_eq!(response.status().as_u16(), 503, "{path}");
            assert!(response.headers().contains_key("retry-after"), "{path}");
            let body = response.text().await.unwrap();
            assert!(!body.contains("secret-broker"), "{body}");
        }
        let letter = server.newest_letter().await;
        assert!(DeadLetter::of(&letter.headers).redriven().is_none());
    }
    // The event is in the log, its dead letter cannot be made to say so.
    let server = Server::start_with(GatewayConfig::default(), faulty(Fault::LostFrom(1))).await;
    server.bury("0-0-1", "invalid", event("bot", "e")).await;
    let (status, answer) = server.redrive("/0-0-1/redrive", &json!({})).await;
    assert_eq!((status, server.records().await.len()), (503, 1));
    assert!(answer["detail"].as_str().unwrap().contains("published as 0-"), "{answer}");
    assert_eq!(decode_event(&server.records().await[0].value).unwrap().event_id, "e");
}

#[tokio::test]
async fn only_an_admin_key_redrives() {
    let engine = Dynoxide::start().unwrap();
    let (store, tables) = (engine.client(), TableNames::default());
    create_control_table(&store, &tables).await;
    let key = async |scope| {
        let new = NewKey { name: "test".into(), scopes: vec![scope], expires_at: None, events_per_second: None, bytes_per_second: None };
        keys::create(&store, &tables, new).await.unwrap().0.reveal().to_owned()
    };
    let (ingest, read, admin) = (key(Scope::Ingest).await, key(Scope::Read).await, key(Scope::Admin).await);
    let auth = Authenticator::start(store.clone(), tables.clone(), CancellationToken::new()).await.unwrap();
    let server = Server::start_guarded(auth).await;
    server.bury("0-0-1", "invalid", event("bot", "e")).await;
    for path in ["/api/v1/dead-letters/0-0-1/redrive", "/api/v1/dead-letters/redrive"] {
        let asked = async |key: &str| answer(server.post(path).bearer_auth(key).body("{}")).await.0;
        assert_eq!(answer(server.post(path)).await.0, 401);
        assert_eq!((asked(&ingest).await, asked(&read).await), (403, 403));
    }
    assert!(server.records().await.is_empty());
    let allowed = answer(server.post("/api/v1/dead-letters/0-0-1/redrive").bearer_auth(&admin)).await;
    assert_eq!(allowed.0, 200, "{}", allowed.1);
}
