//! A batch of inserts in one SQLite transaction. The engine commits each statement of a batch by itself, and half
//! of an insert's cost is its commit; as a PartiQL transaction the batch commits once.
//!
//! Must answer as the engine's batch does. All of a transaction or nothing is written, so whatever keeps one from
//! being committed (a key that is taken, above all) leaves the batch to be done statement by statement.

use dynoxide::Database;
use dynoxide::actions::execute_transaction::{ExecuteTransactionRequest, ParameterizedStatement};
use dynoxide::types::ConsumedCapacity;
use serde::{Deserialize, Serialize};

const INSERT: &str = "INSERT INTO \"";

#[derive(Deserialize)]
struct Request {
    #[serde(rename = "Statements")]
    statements: Vec<ParameterizedStatement>,
    #[serde(rename = "ReturnConsumedCapacity")]
    return_consumed_capacity: Option<String>,
}

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(rename = "Responses")]
    responses: Vec<Inserted<'a>>,
    #[serde(rename = "ConsumedCapacity", skip_serializing_if = "Option::is_none")]
    consumed_capacity: Option<Vec<ConsumedCapacity>>,
}

#[derive(Serialize)]
struct Inserted<'a> {
    #[serde(rename = "TableName")]
    table: &'a str,
}

/// The answer to a batch that was written in one transaction; nothing where it was not, and must be done otherwise.
pub(super) fn in_one_transaction(db: &Database, body: &[u8]) -> Option<String> {
    let request: Request = serde_json::from_slice(body).ok()?;
    let mode = request.return_consumed_capacity.as_deref();
    // The breakdown by index would have to be told as the batch tells it; nobody asks for it.
    let is_plain = request.statements.len() > 1 && !matches!(mode, Some("INDEXES"));
    let tables: Vec<String> = request.statements.iter().map(|s| table_of(&s.statement)).collect::<Option<_>>()?;
    if !is_plain {
        return None;
    }
    let transaction = ExecuteTransactionRequest {
        transact_statements: request.statements,
        client_request_token: None,
        return_consumed_capacity: request.return_consumed_capacity.map(|mode| if mode == "TOTAL" { "INDEXES".into() } else { mode }),
    };
    let done = db.execute_transaction(transaction).ok()?;
    let answer = Answer {
        responses: tables.iter().map(|table| Inserted { table }).collect(),
        consumed_capacity: done.consumed_capacity.map(|all| all.into_iter().map(without_transaction).collect()),
    };
    serde_json::to_string(&answer).ok()
}

fn table_of(statement: &str) -> Option<String> {
    Some(statement.strip_prefix(INSERT)?.split_once('"')?.0.to_owned())
}

/// What the same writes consume outside a transaction, which doubles the table's part but not the indexes'.
fn without_transaction(consumed: ConsumedCapacity) -> ConsumedCapacity {
    let doubled = consumed.table.map_or(0.0, |table| table.capacity_units);
    ConsumedCapacity {
        table_name: consumed.table_name,
        capacity_units: consumed.capacity_units - doubled / 2.0,
        ..ConsumedCapacity::default()
    }
}
