use super::*;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BatchStatementErrorCodeEnum, BatchStatementRequest, BillingMode, GlobalSecondaryIndex,
    KeySchemaElement, KeyType, KeysAndAttributes, Projection, ProjectionType, PutRequest, ReturnConsumedCapacity, ReturnValue,
    ReturnValuesOnConditionCheckFailure, ScalarAttributeType, TimeToLiveSpecification, WriteRequest,
};
use std::collections::HashMap;

fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

fn n(number: i64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn text<'a>(item: &'a HashMap<String, AttributeValue>, name: &str) -> &'a str {
    match item.get(name) {
        Some(AttributeValue::S(t) | AttributeValue::N(t)) => t,
        other => panic!("{name} is {other:?}"),
    }
}

fn key(name: &str, kind: KeyType) -> KeySchemaElement {
    KeySchemaElement::builder().attribute_name(name).key_type(kind).build().expect("complete")
}

struct Store {
    engine: Engine,
    client: Client,
    dir: tempfile::TempDir,
}

impl Store {
    async fn with_table() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let engine = Engine::open(&dir.path().join("store.sqlite3")).expect("opens");
        let store = Self { client: engine.client(), engine, dir };
        store.create("things").await;
        store
    }

    async fn create(&self, table: &str) {
        let index = GlobalSecondaryIndex::builder()
            .index_name("by_type")
            .key_schema(key("tk", KeyType::Hash))
            .key_schema(key("sk", KeyType::Range))
            .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
            .build()
            .expect("complete");
        let mut request = self
            .client
            .create_table()
            .table_name(table)
            .billing_mode(BillingMode::PayPerRequest)
            .key_schema(key("pk", KeyType::Hash))
            .key_schema(key("sk", KeyType::Range))
            .global_secondary_indexes(index);
        for name in ["pk", "sk", "tk"] {
            let definition = AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S);
            request = request.attribute_definitions(definition.build().expect("complete"));
        }
        request.send().await.expect("creates the table");
    }

    async fn insert(&self, keys: &[&str], src: &str) -> Vec<Option<BatchStatementErrorCodeEnum>> {
        let statement = |sk: &&str| {
            BatchStatementRequest::builder()
                .statement(r#"INSERT INTO "things" VALUE {'pk': ?, 'sk': ?, 'src': ?}"#)
                .set_parameters(Some(vec![s("a"), s(*sk), s(src)]))
                .build()
                .expect("complete")
        };
        let request = self.client.batch_execute_statement().set_statements(Some(keys.iter().map(statement).collect()));
        let answer = request.return_consumed_capacity(ReturnConsumedCapacity::Total).send().await.expect("answers");
        assert!(!answer.consumed_capacity().is_empty());
        answer.responses().iter().map(|r| r.error().and_then(|e| e.code().cloned())).collect()
    }

    async fn add(&self, first: i64, last: i64) -> Result<UpdateItemOutput, SdkError<UpdateItemError>> {
        self.client
            .update_item()
            .table_name("things")
            .key("pk", s("day"))
            .key("sk", s("2026-11-23"))
            .update_expression("ADD #c :c, #v :one SET #m = :last")
            .condition_expression("attribute_not_exists(#m) OR #m < :first")
            .expression_attribute_names("#c", "c_user_message")
            .expression_attribute_names("#v", "version")
            .expression_attribute_names("#m", "mark_0_3")
            .expression_attribute_values(":c", n(last - first + 1))
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":last", n(last))
            .expression_attribute_values(":first", n(first))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await
    }
}

#[tokio::test]
async fn a_duplicate_insert_fails_alone_and_leaves_the_item_as_it_was() {
    let store = Store::with_table().await;
    assert_eq!(store.insert(&["1", "2"], "0:0:1").await, [None, None]);
    assert_eq!(store.insert(&["2", "3"], "0:0:2").await, [Some(BatchStatementErrorCodeEnum::DuplicateItem), None]);

    let keys = ["1", "2", "3"].map(|sk| HashMap::from([("pk".into(), s("a")), ("sk".into(), s(sk))]));
    let wanted = KeysAndAttributes::builder().set_keys(Some(keys.to_vec())).consistent_read(true).projection_expression("sk, src");
    let answer = store.client.batch_get_item().request_items("things", wanted.build().expect("complete")).send().await.expect("answers");
    let mut found: Vec<_> = answer.responses().expect("responses")["things"].iter().map(|i| (text(i, "sk"), text(i, "src"))).collect();
    found.sort_unstable();
    assert_eq!(found, [("1", "0:0:1"), ("2", "0:0:1"), ("3", "0:0:2")]);
}

#[test]
fn a_batch_in_one_transaction_answers_as_the_engine_s_batch_does() {
    let create = r#"{"TableName": "things", "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}, {"AttributeName": "sk", "AttributeType": "S"},
            {"AttributeName": "tk", "AttributeType": "S"}],
        "GlobalSecondaryIndexes": [{"IndexName": "by_type", "Projection": {"ProjectionType": "KEYS_ONLY"},
            "KeySchema": [{"AttributeName": "tk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]}]}"#;
    let batch = |keys: &[&str]| {
        let statement = |sk: &&str| {
            serde_json::json!({
                "Statement": r#"INSERT INTO "things" VALUE {'pk': ?, 'sk': ?, 'tk': ?, 'content': ?}"#,
                "Parameters": [{"S": "a"}, {"S": sk}, {"S": "error"}, {"S": "x".repeat(1_500)}],
            })
        };
        let statements: Vec<_> = keys.iter().map(statement).collect();
        serde_json::json!({"Statements": statements, "ReturnConsumedCapacity": "TOTAL"})
    };
    let [ours, theirs] = [(); 2].map(|()| dynoxide::Database::memory().expect("opens"));
    for db in [&ours, &theirs] {
        assert_eq!(operations::answer(db, "CreateTable", create.as_bytes()).status, 200);
    }
    for (keys, is_one_transaction) in [(["1", "2"], true), (["2", "3"], false)] {
        let body = batch(&keys).to_string();
        let before = inserts::in_one_transaction(&ours, body.as_bytes());
        assert_eq!(before.is_some(), is_one_transaction);
        let answer = before.unwrap_or_else(|| operations::answer(&ours, "BatchExecuteStatement", body.as_bytes()).json);
        let expected = theirs.batch_execute_statement(serde_json::from_value(batch(&keys)).expect("reads")).expect("answers");
        let answer: serde_json::Value = serde_json::from_str(&answer).expect("is JSON");
        assert_eq!(answer, serde_json::to_value(&expected).expect("is JSON"));
    }
}

#[tokio::test]
async fn twenty_five_inserts_go_in_one_request() {
    let store = Store::with_table().await;
    let keys: Vec<String> = (0..25).map(|i| i.to_string()).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    assert!(store.insert(&keys, "x").await.iter().all(Option::is_none));
}

#[tokio::test]
async fn adding_under_a_mark_happens_once_and_a_failure_shows_the_old_item() {
    let store = Store::with_table().await;
    let new = store.add(0, 4).await.expect("adds").attributes.expect("all new");
    assert_eq!((text(&new, "c_user_message"), text(&new, "version"), text(&new, "mark_0_3")), ("5", "1", "4"));

    let error = store.add(3, 9).await.expect_err("overlaps").into_service_error();
    let UpdateItemError::ConditionalCheckFailedException(failed) = error else { panic!("{error:?}") };
    assert_eq!(text(failed.item().expect("all old"), "mark_0_3"), "4");

    let new = store.add(5, 9).await.expect("adds").attributes.expect("all new");
    assert_eq!((text(&new, "c_user_message"), text(&new, "version")), ("10", "2"));
}

#[tokio::test]
async fn an_index_holds_only_items_with_its_key_and_only_their_keys() {
    let store = Store::with_table().await;
    for (sk, kind) in [("1", Some("error#d")), ("2", None), ("3", Some("error#d")), ("4", Some("feedback#d"))] {
        let put = store.client.put_item().table_name("things").item("pk", s("a")).item("sk", s(sk)).item("other", n(1));
        let put = if let Some(kind) = kind { put.item("tk", s(kind)) } else { put };
        put.send().await.expect("puts");
    }
    let found = store
        .client
        .query()
        .table_name("things")
        .index_name("by_type")
        .key_condition_expression("tk = :t AND sk BETWEEN :a AND :b")
        .expression_attribute_values(":t", s("error#d"))
        .expression_attribute_values(":a", s("0"))
        .expression_attribute_values(":b", s("9"))
        .scan_index_forward(false)
        .send()
        .await
        .expect("queries");
    let items: Vec<_> = found.items().iter().map(|i| (text(i, "sk"), i.len())).collect();
    assert_eq!(items, [("3", 3), ("1", 3)]);
}

#[tokio::test]
async fn pages_go_on_where_they_ended() {
    let store = Store::with_table().await;
    store.insert(&["1", "2", "3"], "x").await;
    let query =
        || store.client.query().table_name("things").key_condition_expression("pk = :p").expression_attribute_values(":p", s("a")).limit(2);
    let first = query().send().await.expect("queries");
    let second = query().set_exclusive_start_key(first.last_evaluated_key).send().await.expect("queries");
    assert_eq!((first.count, second.count), (2, 1));
    assert!(second.last_evaluated_key.is_none());
}

#[tokio::test]
async fn other_operations_that_the_services_use_answer() {
    let store = Store::with_table().await;
    let put = PutRequest::builder().item("pk", s("b")).item("sk", s("1")).build().expect("complete");
    let write = WriteRequest::builder().put_request(put).build();
    store.client.batch_write_item().request_items("things", vec![write]).send().await.expect("writes");
    store.client.delete_item().table_name("things").key("pk", s("b")).key("sk", s("1")).send().await.expect("deletes");
    assert_eq!(store.client.scan().table_name("things").limit(1).send().await.expect("scans").count, 0);
    assert_eq!(store.client.list_tables().send().await.expect("lists").table_names(), ["things"]);
    let missing = store.client.describe_table().table_name("others").send().await.expect_err("missing").into_service_error();
    assert!(missing.is_resource_not_found_exception());
    let conditional =
        store.client.put_item().table_name("things").item("pk", s("c")).item("sk", s("1")).condition_expression("attribute_exists(pk)");
    assert!(conditional.send().await.expect_err("absent").into_service_error().is_conditional_check_failed_exception());
}

#[tokio::test]
async fn readers_see_tables_and_items_at_once() {
    let store = Store::with_table().await;
    let missing = store.client.scan().table_name("late").send().await.expect_err("missing").into_service_error();
    assert!(missing.is_resource_not_found_exception());
    store.create("late").await;
    for i in 0..50 {
        let sk = i.to_string();
        store.client.put_item().table_name("late").item("pk", s("a")).item("sk", s(&sk)).send().await.expect("puts");
        let got = store.client.get_item().table_name("late").key("pk", s("a")).key("sk", s(&sk)).consistent_read(true).send().await;
        assert!(got.expect("gets").item.is_some());
    }
}

#[tokio::test]
async fn expired_items_go_when_swept() {
    let store = Store::with_table().await;
    let ttl = TimeToLiveSpecification::builder().enabled(true).attribute_name("ttl").build().expect("complete");
    store.client.update_time_to_live().table_name("things").time_to_live_specification(ttl).send().await.expect("enables");
    let described = store.client.describe_time_to_live().table_name("things").send().await.expect("describes");
    assert_eq!(described.time_to_live_description().and_then(|d| d.attribute_name()), Some("ttl"));
    for (sk, ttl) in [("1", 1), ("2", 4_000_000_000)] {
        store.client.put_item().table_name("things").item("pk", s("a")).item("sk", s(sk)).item("ttl", n(ttl)).send().await.expect("puts");
    }
    assert_eq!(store.engine.sweeper().sweep().await, Ok(1));
    assert_eq!(store.client.scan().table_name("things").send().await.expect("scans").count, 1);
}

#[tokio::test]
async fn a_closed_store_opens_with_what_it_had_and_old_clients_get_errors() {
    let Store { engine, client, dir } = Store::with_table().await;
    let put = || client.put_item().table_name("things").item("pk", s("a")).item("sk", s("1"));
    put().send().await.expect("puts");
    engine.close();
    assert!(put().send().await.is_err());
    let again = Engine::open(&dir.path().join("store.sqlite3")).expect("opens");
    assert_eq!(again.client().scan().table_name("things").send().await.expect("scans").count, 1);
}

#[tokio::test]
async fn a_barrier_records_what_a_power_cut_leaves() {
    let store = Store::with_table().await;
    let record = store.dir.path().join("barrier.json");
    let barrier = store.engine.barrier(Some(record.clone()));
    let length = || {
        let state: serde_json::Value = serde_json::from_slice(&std::fs::read(&record).expect("recorded")).expect("json");
        state["length"].as_u64().expect("a length")
    };
    store.insert(&["1"], "x").await;
    barrier().await.expect("syncs");
    let before = length();
    assert_eq!(before, std::fs::metadata(store.dir.path().join("store.sqlite3-wal")).expect("a log").len());
    store.insert(&["2"], "x").await;
    assert_eq!(length(), before);
    barrier().await.expect("syncs");
    assert!(length() > before);
}

#[tokio::test]
async fn long_error_messages_are_cut() {
    let store = Store::with_table().await;
    let statement = "x".repeat(5_000);
    let error = store.client.execute_statement().statement(statement).send().await.expect_err("no PartiQL").into_service_error();
    assert_eq!(error.code(), Some("ValidationException"));
    assert!(error.message().unwrap_or_default().len() <= 512);
}

#[tokio::test]
async fn a_moment_stays_as_it_was_while_others_write_and_leaves_their_locks_alone() {
    let store = Store::with_table().await;
    store.insert(&["1", "2"], "0:0:1").await;
    let (file, copy) = (store.dir.path().join("store.sqlite3"), store.dir.path().join("copy.sqlite3"));
    let moment = Moment::of(&file).expect("a moment");
    store.insert(&["3"], "0:0:2").await;
    tokio::task::spawn_blocking({
        let copy = copy.clone();
        move || moment.copy_to(&copy, || true)
    })
    .await
    .expect("no panic")
    .expect("copied");
    store.insert(&["4"], "0:0:3").await;
    let count = async |client: &Client| client.scan().table_name("things").send().await.expect("answers").count;
    let copied = Engine::open(&copy).expect("opens");
    assert_eq!((count(&copied.client()).await, count(&store.client).await), (2, 4));
    copied.close();
    store.engine.close();
    let again = Engine::open(&file).expect("opens again");
    assert_eq!(count(&again.client()).await, 4);
    again.close();
}
