//! Whether tables were filled by `agent-tally import`, and what that asks of the log beside them. Must not write anything.
//!
//! Imported marks and `src` name positions of the log that the numbers come from. A log that is counted into the same
//! tables needs a higher epoch, or its positions would be taken for those; and half a table must not be counted into.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::DisplayErrorContext;
use schemas::item::{ID, IMPORT_STATE, IMPORT_UNDER_WAY, Item, KIND, LEAST_EPOCH, TableNames, kind, s};

/// Why a service must not work with these tables.
#[derive(Debug, thiserror::Error)]
pub enum ImportedError {
    /// They are half filled.
    #[error(
        "the import of export {export} into these tables (recorded in {table}) is under way or was interrupted; \
         let it finish, or run `agent-tally import` again with the same folder"
    )]
    UnderWay {
        /// The export's id.
        export: String,
        /// The control table.
        table: String,
    },
    /// The log's positions would be taken for those of a log before it.
    #[error(
        "LOG_EPOCH is {configured}, but these tables were imported from a log of epoch {}; \
         set LOG_EPOCH={least} or higher on the gateways, the aggregators and the query APIs", .least.saturating_sub(1)
    )]
    EpochTooLow {
        /// What is configured.
        configured: u32,
        /// What is needed.
        least: u32,
    },
    /// Nobody knows.
    #[error("the control table did not say whether an import is under way: {0}")]
    Store(String),
}

/// Refuses tables that are half filled, and an epoch that is too low for those that are.
///
/// # Errors
/// Where either is so or the control table does not answer.
pub async fn check(store: &Client, tables: &TableNames, epoch: u32) -> Result<(), ImportedError> {
    let least = least_epoch(store, tables).await?;
    if epoch < least {
        return Err(ImportedError::EpochTooLow { configured: epoch, least });
    }
    Ok(())
}

/// The lowest epoch of a log that may be counted into these tables; 0 where nothing was imported.
///
/// # Errors
/// Where an import is under way or the control table does not answer.
pub async fn least_epoch(store: &Client, tables: &TableNames) -> Result<u32, ImportedError> {
    let mut least = 0;
    for import in imports(store, tables).await? {
        let text = |name: &str| import.get(name).and_then(|v| v.as_s().ok()).cloned();
        if text(IMPORT_STATE).as_deref() == Some(IMPORT_UNDER_WAY) {
            return Err(ImportedError::UnderWay { export: text(ID).unwrap_or_default(), table: tables.control.clone() });
        }
        let needs = import.get(LEAST_EPOCH).and_then(|v| v.as_n().ok()).and_then(|n| n.parse().ok());
        least = least.max(needs.unwrap_or(0));
    }
    Ok(least)
}

/// The imports into these tables.
///
/// # Errors
/// Where the control table does not answer.
pub async fn imports(store: &Client, tables: &TableNames) -> Result<Vec<Item>, ImportedError> {
    let answer = store
        .query()
        .table_name(&tables.control)
        .key_condition_expression("#k = :k")
        .expression_attribute_names("#k", KIND)
        .expression_attribute_values(":k", s(kind::IMPORT))
        .consistent_read(true)
        .send()
        .await;
    answer.map(|page| page.items.unwrap_or_default()).map_err(|error| ImportedError::Store(DisplayErrorContext(error).to_string()))
}
