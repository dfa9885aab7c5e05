//! What holds for every path: problems, validation, keys, the description and the pages served beside it.

use crate::fixture::{Fixture, Options};
use serde_json::{Value, json};
use service_kit::keys::{self, NewKey, Scope};
use std::path::Path;

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_problems_that_name_the_parameter() {
    let fixture = Fixture::start().await;
    for (path, field) in [
        ("/api/v1/agents/a/metrics?days=0", "days"),
        ("/api/v1/agents/a/metrics?days=401", "days"),
        ("/api/v1/agents/a/metrics?days=seven", "days"),
        ("/api/v1/agents/a/metrics?start_date=2026-01-32", "start_date"),
        ("/api/v1/agents/a/metrics?start_date=2026-01-02&end_date=2026-01-01", "start_date"),
        ("/api/v1/agents/a/metrics?start_date=2024-01-01&end_date=2026-01-01", "start_date"),
        ("/api/v1/agents/%23a/metrics", "agent_id"),
        ("/api/v1/agents?limit=0&detail=true", "limit"),
        ("/api/v1/agents?limit=1001", "limit"),
        ("/api/v1/agents?detail=maybe", "detail"),
        ("/api/v1/agents?detail=true&cursor=nonsense", "cursor"),
        ("/api/v1/events?limit=-1", "limit"),
        ("/api/v1/events?message_type=shout", "message_type"),
        ("/api/v1/events?agent_id=*", "agent_id"),
        ("/api/v1/events?start_date=noon", "start_date"),
        ("/api/v1/events?min_response_time_ms=-1", "min_response_time_ms"),
        ("/api/v1/events?cursor=e30", "cursor"),
        ("/api/v1/events?start_date=2026-02-01&end_date=2026-01-01", "start_date"),
        ("/api/v1/metrics/series?interval=week", "interval"),
        ("/api/v1/metrics/series?interval=hour&start_date=2026-01-01&end_date=2026-02-01", "start_date"),
        ("/api/v1/metrics/series?interval=5m&start_date=2026-01-01&end_date=2026-01-03", "start_date"),
        ("/api/v1/metrics/series?agents=a,b%23", "agents"),
        ("/api/v1/dashboard/kpis?start_date=x", "start_date"),
        ("/api/v1/conversations?limit=0", "limit"),
    ] {
        let body = fixture.refused(path, 422).await;
        assert_eq!(body["errors"][0]["field"], field, "{path}");
    }
    for path in ["/api/v1/nothing", "/api/v2/agents", "/nothing", "/api/v1/agents/a", "/api/v1/agents/a/metrics/more"] {
        fixture.refused(path, 404).await;
    }
    for path in ["/api/v1/agents", "/api/v1/metrics/series", "/api/v1/events", "/api/v1/conversations", "/docs"] {
        let answer = fixture.http.put(format!("{}{path}", fixture.base)).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 405, "{path}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{path}");
    }
    assert_eq!(fixture.get("/api/v1/agents?color=blue").await, json!([]), "unknown parameters are passed over");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_documents_are_there() {
    let fixture = Fixture::start().await;
    assert_eq!(fixture.get("/health").await["status"], "healthy");
    fixture.get("/health/live").await;
    let docs = fixture.http.get(format!("{}/docs", fixture.base)).send().await.expect("an answer");
    assert_eq!(docs.headers()["content-type"], "text/html; charset=utf-8");
    let page = docs.text().await.expect("text");
    assert!(page.contains("/api/v1/agents/{agent_id}/metrics") && page.contains("/api/v1/receipts/{receipt}"));
    for foreign in ["<script", "<style", "style=", "http://", "https://"] {
        assert!(!page.contains(foreign), "{foreign} in /docs");
    }
    let style = fixture.http.get(format!("{}/docs/style.css", fixture.base)).send().await.expect("an answer");
    assert_eq!(style.headers()["content-type"], "text/css; charset=utf-8");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_as_reviewed() {
    let fixture = Fixture::start().await;
    let api = fixture.get("/api/v1/openapi.json").await;
    let operations: Vec<&Value> =
        api["paths"].as_object().expect("paths").values().flat_map(|item| item.as_object().expect("operations").values()).collect();
    let mut ids: Vec<&str> = operations.iter().filter_map(|operation| operation["operationId"].as_str()).collect();
    assert_eq!(ids.len(), operations.len(), "every operation has an id");
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), operations.len(), "no id is used twice");
    let described: Vec<&Value> = api["tags"].as_array().expect("tags").iter().map(|tag| &tag["name"]).collect();
    for operation in &operations {
        // The page shows operations by the tags that are described.
        assert!(operation["tags"].as_array().is_some_and(|tags| tags.iter().all(|tag| described.contains(&tag))), "{operation}");
        let is_open = operation["tags"].as_array().is_some_and(|tags| tags.contains(&json!("health")) || tags.contains(&json!("session")));
        assert!(is_open || operation["responses"].get("401").is_some_and(|r| r["content"]["application/problem+json"].is_object()));
    }
    let batch = &api["paths"]["/api/v1/events"]["post"]["requestBody"]["content"];
    assert!(batch["application/json"].is_object() && batch["application/x-ndjson"].is_object(), "{batch}");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboard/openapi.json");
    let described = serde_json::to_string_pretty(&api).expect("JSON") + "\n";
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&file, described).expect("the file is written");
        return;
    }
    let committed = std::fs::read_to_string(&file).expect("dashboard/openapi.json is there");
    // The dashboard's client is made from the file, so a description that nobody reviewed must not pass.
    let differs = committed.lines().zip(described.lines()).position(|(a, b)| a != b);
    assert!(
        committed == described,
        "the API is no longer as dashboard/openapi.json describes it (line {}). Where that is meant, run\n  \
         UPDATE_OPENAPI=1 cargo test -p query-api --test it the_description_is_as_reviewed\nread the difference, and make the \
         dashboard's client anew",
        differs.unwrap_or_else(|| committed.lines().count().min(described.lines().count())) + 1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_compressed_on_request() {
    let fixture = Fixture::start().await;
    for encoding in ["gzip", "br"] {
        let answer = fixture
            .http
            .get(format!("{}/api/v1/openapi.json", fixture.base))
            .header("accept-encoding", encoding)
            .send()
            .await
            .expect("an answer");
        // The client unpacks gzip by itself and drops the header.
        let sent = answer.headers().get("content-encoding").map(|v| v.to_str().unwrap_or_default().to_owned());
        let length: Option<u64> = answer.headers().get("content-length").and_then(|v| v.to_str().ok()?.parse().ok());
        assert!(sent.as_deref() == Some(encoding) || (encoding == "gzip" && length.is_none()), "{encoding}: {sent:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_needs_a_key_where_keys_are_required_and_a_session_does() {
    let fixture = Fixture::with(Options { has_keys: true, ..Options::default() }).await;
    let key =
        |scope| NewKey { name: "test".into(), scopes: vec![scope], expires_at: None, events_per_second: None, bytes_per_second: None };
    let (reader, _) = keys::create(&fixture.store, &fixture.tables, key(Scope::Read)).await.expect("a key");
    let (writer, _) = keys::create(&fixture.store, &fixture.tables, key(Scope::Ingest)).await.expect("a key");
    fixture.refused("/api/v1/agents", 401).await;
    let session = fixture.get("/api/v1/session").await;
    assert_eq!((session["is_required"].as_bool(), session["is_signed_in"].as_bool()), (Some(true), Some(false)));
    let agents = format!("{}/api/v1/agents", fixture.base);
    let with_key = |key: String| fixture.http.get(&agents).bearer_auth(key).send();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(15);
    while with_key(reader.reveal().to_owned()).await.expect("an answer").status().as_u16() != 200 {
        assert!(std::time::Instant::now() < deadline, "the key is never known");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(with_key(writer.reveal().to_owned()).await.expect("an answer").status().as_u16(), 403);

    let sign_in = |key: &str| fixture.http.post(format!("{}/api/v1/session", fixture.base)).json(&json!({"key": key})).send();
    assert_eq!(sign_in("at_wrong_key").await.expect("an answer").status().as_u16(), 401);
    let signed_in = sign_in(reader.reveal()).await.expect("an answer");
    assert_eq!(signed_in.status().as_u16(), 200);
    let cookie = signed_in.headers()["set-cookie"].to_str().expect("text").to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
    let with_cookie = || fixture.http.get(&agents).header("cookie", &cookie).send();
    assert_eq!(with_cookie().await.expect("an answer").status().as_u16(), 200);
    let out = fixture.http.delete(format!("{}/api/v1/session", fixture.base)).header("cookie", &cookie).send().await.expect("an answer");
    assert_eq!(out.status().as_u16(), 204);
    assert_eq!(with_cookie().await.expect("an answer").status().as_u16(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn web_vitals_are_noted_and_bounded() {
    let fixture = Fixture::start().await;
    let post = |body: Value| fixture.http.post(format!("{}/api/v1/web-vitals", fixture.base)).json(&body).send();
    assert_eq!(
        post(json!({"values": [{"name": "LCP", "value": 812.5}, {"name": "CLS", "value": 0.01}]}))
            .await
            .expect("an answer")
            .status()
            .as_u16(),
        204
    );
    for wrong in [
        json!({"values": [{"name": "LCP", "value": -1}]}),
        json!({"values": [{"name": "XXL", "value": 1}]}),
        json!({"values": vec![json!({"name": "LCP", "value": 1}); 33]}),
        json!([]),
    ] {
        assert_eq!(post(wrong.clone()).await.expect("an answer").status().as_u16(), 422, "{wrong}");
    }
    assert_eq!(post(json!({"values": "x".repeat(10_000)})).await.expect("an answer").status().as_u16(), 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_answers_are_503_and_say_when_to_try_again() {
    let mut fixture = Fixture::start().await;
    fixture.stop_store();
    for path in [
        "/api/v1/agents",
        "/api/v1/agents/a/metrics",
        "/api/v1/metrics/series",
        "/api/v1/events?agent_id=a",
        "/api/v1/conversations?agent_id=a",
    ] {
        let answer = fixture.http.get(format!("{}{path}", fixture.base)).send().await.expect("an answer");
        assert_eq!((answer.status().as_u16(), answer.headers().contains_key("retry-after")), (503, true), "{path}");
        let text = answer.text().await.expect("text");
        assert!(!text.contains("dynamo") && !text.contains("127.0.0.1"), "{path}: {text}");
    }
    assert_eq!(fixture.get("/health").await["status"], "healthy");
}
