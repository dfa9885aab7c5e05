//! Where keys are required, nothing is published without a good one.

use crate::server::{Server, answer};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};
use engines::dynoxide::Dynoxide;
use schemas::item::{ID, KIND, TableNames};
use service_kit::auth::{Authenticator, Scope};
use service_kit::keys::{self, NewKey};
use tokio_util::sync::CancellationToken;

const EVENT: &str = r#"{"agent_id":"a","message_type":"error"}"#;

pub(crate) async fn create_control_table(store: &Client, tables: &TableNames) {
    let mut request = store.create_table().table_name(&tables.control).billing_mode(BillingMode::PayPerRequest);
    for (name, key_type) in [(KIND, KeyType::Hash), (ID, KeyType::Range)] {
        let attribute = AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build();
        let key = KeySchemaElement::builder().attribute_name(name).key_type(key_type).build();
        request = request.attribute_definitions(attribute.unwrap()).key_schema(key.unwrap());
    }
    request.send().await.unwrap();
}

#[tokio::test]
async fn only_an_ingest_key_within_its_limits_gets_in() {
    let engine = Dynoxide::start().unwrap();
    let (store, tables) = (engine.client(), TableNames::default());
    create_control_table(&store, &tables).await;
    let key = async |scope, events_per_second| {
        let new = NewKey { name: "test".into(), scopes: vec![scope], expires_at: None, events_per_second, bytes_per_second: None };
        keys::create(&store, &tables, new).await.unwrap().0.reveal().to_owned()
    };
    let (ingest, read, limited) = (key(Scope::Ingest, None).await, key(Scope::Read, None).await, key(Scope::Ingest, Some(1)).await);
    let auth = Authenticator::start(store.clone(), tables.clone(), CancellationToken::new()).await.unwrap();
    let server = Server::start_guarded(auth).await;

    let post = async |key: Option<&str>, path: &str, body: &str| {
        let request = server.post(path).body(body.to_owned());
        answer(key.into_iter().fold(request, |request, key| request.bearer_auth(key))).await.0
    };
    for path in ["/api/v1/agents/a/events", "/api/v1/events"] {
        assert_eq!(post(None, path, EVENT).await, 401);
        assert_eq!(post(Some("at_x_y"), path, EVENT).await, 401);
        assert_eq!(post(Some(&read), path, EVENT).await, 403);
        assert_eq!(post(None, path, &"x".repeat(1 << 20)).await, 401, "before anything is read");
    }
    assert!(server.records().await.is_empty());
    assert_eq!(post(Some(&ingest), "/api/v1/agents/a/events", EVENT).await, 202);

    let many = format!("[{}]", vec![EVENT; 1_000].join(","));
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(post(Some(&limited), "/api/v1/events", &many).await);
    }
    assert!(statuses.contains(&429) && statuses.iter().all(|status| matches!(status, 202 | 429)), "{statuses:?}");
    assert_eq!(server.records().await.len(), 1 + 1_000 * statuses.iter().filter(|status| **status == 202).count());
}
