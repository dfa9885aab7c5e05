//! A DynamoDB that answers at once. It keeps the control table (small, and read by everybody), says that every other table
//! is there and empty, and that every write was taken. What an `UpdateItem` adds is what it says the item holds.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use schemas::item::{AGENT_ID, DATE, ID, KIND, TIMESTAMP, TableNames};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;

/// Items by kind and id.
type Control = Arc<Mutex<BTreeMap<(String, String), Value>>>;

pub(crate) async fn run() -> anyhow::Result<()> {
    let router = Router::new().fallback(answer).with_state(Control::default());
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    crate::announce(&format!("http://{}", listener.local_addr()?))?;
    Ok(axum::serve(listener, router).await?)
}

async fn answer(State(control): State<Control>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").and_then(|v| v.to_str().ok()).unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default();
    let answer = match operation {
        "BatchExecuteStatement" => inserted(&body),
        "UpdateItem" => updated(&body),
        _ => other(operation, &body, &control),
    };
    let content_type = [(header::CONTENT_TYPE, "application/x-amz-json-1.0")];
    match answer {
        Some(answer) => (content_type, answer).into_response(),
        None => (StatusCode::BAD_REQUEST, content_type, format!(r#"{{"__type":"ValidationException","message":"{operation}"}}"#))
            .into_response(),
    }
}

/// Statements are only counted: each begins with its text.
fn inserted(body: &[u8]) -> Option<String> {
    let statements = body.windows(13).filter(|w| w == br#""Statement":""#).count();
    let answers = vec!["{}"; statements].join(",");
    Some(format!(r#"{{"Responses":[{answers}],"ConsumedCapacity":[{{"TableName":"t","CapacityUnits":{statements}.0}}]}}"#))
}

fn updated(body: &[u8]) -> Option<String> {
    let request: Value = serde_json::from_slice(body).ok()?;
    let mut answer = json!({"ConsumedCapacity": {"TableName": "t", "CapacityUnits": 1.0}});
    if request["ReturnValues"] == "ALL_NEW" {
        let mut item = request["Key"].as_object()?.clone();
        let values = request["ExpressionAttributeValues"].as_object()?;
        for (placeholder, name) in request["ExpressionAttributeNames"].as_object()? {
            if let Some(value) = values.get(&placeholder.replacen('#', ":", 1)) {
                item.insert(name.as_str()?.to_owned(), value.clone());
            }
        }
        answer["Attributes"] = Value::Object(item);
    }
    Some(answer.to_string())
}

fn other(operation: &str, body: &[u8], control: &Control) -> Option<String> {
    let request: Value = serde_json::from_slice(body).ok()?;
    let table = request["TableName"].as_str().unwrap_or_default();
    let is_control = table == TableNames::default().control;
    let key = |item: &Value| Some((item[KIND]["S"].as_str()?.to_owned(), item[ID]["S"].as_str()?.to_owned()));
    let mut items = control.lock().unwrap_or_else(PoisonError::into_inner);
    let answer = match operation {
        "DescribeTable" => described(table),
        "DescribeTimeToLive" => json!({"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}}),
        "PutItem" if is_control => {
            items.insert(key(&request["Item"])?, request["Item"].clone());
            json!({})
        }
        "DeleteItem" if is_control => {
            items.remove(&key(&request["Key"])?);
            json!({})
        }
        "GetItem" if is_control => items.get(&key(&request["Key"])?).map_or(json!({}), |item| json!({"Item": item})),
        "Query" if is_control => {
            let kind = request["ExpressionAttributeValues"].as_object()?.values().find_map(|v| v["S"].as_str())?;
            let found: Vec<&Value> = items.iter().filter(|((of, _), _)| of == kind).map(|(_, item)| item).collect();
            json!({"Items": found, "Count": found.len(), "ScannedCount": found.len()})
        }
        "Query" | "Scan" => json!({"Items": [], "Count": 0, "ScannedCount": 0}),
        "BatchGetItem" => json!({"Responses": {}, "UnprocessedKeys": {}}),
        "BatchWriteItem" => json!({"UnprocessedItems": {}}),
        "PutItem" => json!({"ConsumedCapacity": {"TableName": "t", "CapacityUnits": 1.0}}),
        "GetItem" | "DeleteItem" => json!({}),
        _ => return None,
    };
    Some(answer.to_string())
}

fn described(table: &str) -> Value {
    let names = TableNames::default();
    let keys = match table {
        _ if table == names.control => [KIND, ID],
        _ if table == names.events => [AGENT_ID, TIMESTAMP],
        _ => [AGENT_ID, DATE],
    };
    let schema = |keys: [&str; 2]| json!([{"AttributeName": keys[0], "KeyType": "HASH"}, {"AttributeName": keys[1], "KeyType": "RANGE"}]);
    let mut description = Map::from_iter([
        ("TableName".to_owned(), json!(table)),
        ("TableStatus".to_owned(), json!("ACTIVE")),
        ("KeySchema".to_owned(), schema(keys)),
        ("AttributeDefinitions".to_owned(), json!(keys.map(|key| json!({"AttributeName": key, "AttributeType": "S"})))),
    ]);
    if table == names.events {
        let index = json!([{"IndexName": schemas::item::MESSAGE_TYPE_INDEX, "IndexStatus": "ACTIVE",
            "KeySchema": schema([schemas::item::TYPE_KEY, TIMESTAMP]), "Projection": {"ProjectionType": "ALL"}}]);
        description.insert("GlobalSecondaryIndexes".to_owned(), index);
    }
    json!({"Table": description})
}
