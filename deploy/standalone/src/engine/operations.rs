//! The DynamoDB operations that our services use, handed to the engine: JSON in, JSON out. It must not
//! change what the engine answers, except that long error messages are cut (they echo whole requests).

use super::inserts;
use dynoxide::{Database, DynoxideError};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest error message passed on, bytes.
const MESSAGE_BYTES: usize = 512;

/// The engine's answer to a request.
#[derive(Debug)]
pub(super) struct Answer {
    /// HTTP status.
    pub(super) status: u16,
    /// Body.
    pub(super) json: String,
}

/// Which threads take an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Changes nothing.
    Read,
    /// Changes items.
    Write,
    /// Changes tables; done by the writers.
    Tables,
}

/// The lane of an operation.
pub(super) fn lane(operation: &str) -> Lane {
    match operation {
        "GetItem" | "BatchGetItem" | "Query" | "Scan" => Lane::Read,
        "CreateTable" | "UpdateTable" | "DeleteTable" | "UpdateTimeToLive" => Lane::Tables,
        _ => Lane::Write,
    }
}

/// Does what `operation` and its JSON `body` ask for.
pub(super) fn answer(database: &Database, operation: &str, body: &[u8]) -> Answer {
    match dispatch(database, operation, body) {
        Ok(json) => Answer { status: 200, json },
        Err(error) => Answer { status: error.status_code(), json: error_body(operation, &error) },
    }
}

fn dispatch(db: &Database, operation: &str, body: &[u8]) -> Result<String, DynoxideError> {
    match operation {
        "BatchExecuteStatement" => match inserts::in_one_transaction(db, body) {
            Some(answer) => Ok(answer),
            None => run(body, |r| db.batch_execute_statement(r)),
        },
        "UpdateItem" => run(body, |r| db.update_item(r)),
        "Query" => run(body, |r| db.query(r)),
        "GetItem" => run(body, |r| db.get_item(r)),
        "BatchGetItem" => run(body, |r| db.batch_get_item(r)),
        "PutItem" => run(body, |r| db.put_item(r)),
        "DeleteItem" => run(body, |r| db.delete_item(r)),
        "BatchWriteItem" => run(body, |r| db.batch_write_item(r)),
        "Scan" => run(body, |r| db.scan(r)),
        "ExecuteStatement" => run(body, |r| db.execute_statement(r)),
        "TransactWriteItems" => run(body, |r| db.transact_write_items(r)),
        "TransactGetItems" => run(body, |r| db.transact_get_items(r)),
        "CreateTable" => run(body, |r| db.create_table(r)),
        "DescribeTable" => run(body, |r| db.describe_table(r)),
        "UpdateTable" => run(body, |r| db.update_table(r)),
        "DeleteTable" => run(body, |r| db.delete_table(r)),
        "ListTables" => run(body, |r| db.list_tables(r)),
        "UpdateTimeToLive" => run(body, |r| db.update_time_to_live(r)),
        "DescribeTimeToLive" => run(body, |r| db.describe_time_to_live(r)),
        _ => Err(DynoxideError::UnsupportedCapability(operation.to_owned())),
    }
}

fn run<Q, A>(body: &[u8], work: impl FnOnce(Q) -> Result<A, DynoxideError>) -> Result<String, DynoxideError>
where
    Q: DeserializeOwned,
    A: Serialize,
{
    let request = serde_json::from_slice(body).map_err(|e| unreadable(&e))?;
    let answer = work(request)?;
    serde_json::to_string(&answer).map_err(|e| DynoxideError::InternalServerError(e.to_string()))
}

/// The SDK writes well-formed requests, so what the engine's types refuse is a value that DynamoDB forbids too.
/// Their messages begin with a marker in capitals for the engine's own server.
fn unreadable(error: &serde_json::Error) -> DynoxideError {
    let whole = error.to_string();
    let message = match whole.split_once(':') {
        Some((marker, rest)) if marker.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') => rest,
        _ => whole.as_str(),
    };
    DynoxideError::ValidationException(message.to_owned())
}

/// The error's body. Errors that carry items are passed on whole.
fn error_body(operation: &str, error: &DynoxideError) -> String {
    let carries_items = matches!(
        error,
        DynoxideError::ConditionalCheckFailedException(..)
            | DynoxideError::StatementConditionalCheckFailed(..)
            | DynoxideError::TransactionCanceledException(..)
    );
    if error.status_code() >= 500 {
        tracing::error!(operation, error = cut(&error.to_string()), "the store failed");
    }
    if carries_items {
        return error.to_json();
    }
    let whole = error.to_response();
    serde_json::json!({ "__type": whole.error_type, "message": cut(&whole.message) }).to_string()
}

fn cut(message: &str) -> &str {
    let end = message.char_indices().map(|(i, c)| i + c.len_utf8()).take_while(|end| *end <= MESSAGE_BYTES).last().unwrap_or(0);
    &message[..end]
}
