//! Query strings and cursors of the query API.
//!
//! An input is a query string; behind a line feed may lie where a cursor goes on, as JSON, or a cursor.
//!
//! What must hold: what is not refused lies within the bounds that the contract gives; a cursor that is taken is written so
//! that it is taken as the same again, and only for its own question.

use query_api::fuzz;

/// See the module.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (query, cursor) = text.split_once('\n').unwrap_or((text, ""));
    fuzz::parameters(query);
    fuzz::cursors(cursor);
}
