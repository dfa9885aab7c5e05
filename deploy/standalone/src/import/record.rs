//! The note in the control table that an import is under way or done, of which export, and how far it is.

use anyhow::{Context, bail, ensure};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use schemas::item::{ID, IMPORT_DONE, IMPORT_STATE, IMPORT_UNDER_WAY, KIND, LEAST_EPOCH, TableNames, kind, n, s};
use schemas::time::{format_micros, now_micros};
use service_kit::imported;
use service_kit::store::patient;
use std::collections::HashSet;

/// Names of the files that are in the tables.
const FILES: &str = "files";

/// One import of one export.
#[derive(Debug)]
pub(super) struct ImportRecord<'a> {
    pub(super) store: &'a Client,
    pub(super) tables: &'a TableNames,
    pub(super) export: &'a str,
    pub(super) least_epoch: u32,
}

impl ImportRecord<'_> {
    /// Names of the files that are in the tables already; `None` where the import is yet to begin. Refuses tables that hold
    /// anything else.
    pub(super) async fn progress(&self) -> anyhow::Result<Option<HashSet<String>>> {
        if let Some(import) = imported::imports(self.store, self.tables).await?.into_iter().next() {
            let text = |name: &str| import.get(name).and_then(|v| v.as_s().ok()).map_or("", String::as_str);
            let is_done = text(IMPORT_STATE) != IMPORT_UNDER_WAY;
            match text(ID) == self.export {
                true if is_done => bail!("this export was imported here already, at {}", text("ended_at")),
                true => return Ok(Some(import.get(FILES).and_then(|v| v.as_ss().ok()).into_iter().flatten().cloned().collect())),
                false if is_done => bail!("another export ({}) was imported here; import into an empty place", text(ID)),
                false => bail!("the import of another export ({}) was interrupted here; import into an empty place", text(ID)),
            }
        }
        self.check_empty().await?;
        Ok(None)
    }

    /// Begins the import, or goes on with it: answers the names of the files that are in the tables already.
    pub(super) async fn begin(&self) -> anyhow::Result<HashSet<String>> {
        if let Some(files) = self.progress().await? {
            return Ok(files);
        }
        patient(self.store)
            .put_item()
            .table_name(&self.tables.control)
            .item(KIND, s(kind::IMPORT))
            .item(ID, s(self.export))
            .item(IMPORT_STATE, s(IMPORT_UNDER_WAY))
            .item(LEAST_EPOCH, n(self.least_epoch))
            .item("began_at", s(format_micros(now_micros())))
            .send()
            .await
            .context("cannot note in the control table that an import begins")?;
        Ok(HashSet::new())
    }

    /// Notes that everything of a file is in the tables.
    pub(super) async fn note(&self, file: &str) -> anyhow::Result<()> {
        let set = AttributeValue::Ss(vec![file.to_owned()]);
        self.update("ADD #f :f", &[("#f", FILES)], [(":f", set)]).await
    }

    /// Notes that the import is done. What the log's epoch must be stays on record.
    pub(super) async fn finish(&self) -> anyhow::Result<()> {
        let names = [("#s", IMPORT_STATE), ("#e", "ended_at"), ("#f", FILES)];
        let values = [(":s", s(IMPORT_DONE)), (":e", s(format_micros(now_micros())))];
        self.update("SET #s = :s, #e = :e REMOVE #f", &names, values).await
    }

    async fn update<const N: usize>(
        &self,
        expression: &str,
        names: &[(&str, &str)],
        values: [(&str, AttributeValue); N],
    ) -> anyhow::Result<()> {
        let mut request = patient(self.store)
            .update_item()
            .table_name(&self.tables.control)
            .key(KIND, s(kind::IMPORT))
            .key(ID, s(self.export))
            .update_expression(expression);
        for (placeholder, name) in names {
            request = request.expression_attribute_names(*placeholder, *name);
        }
        for (placeholder, value) in values {
            request = request.expression_attribute_values(placeholder, value);
        }
        request.send().await.context("cannot note in the control table how far the import is")?;
        Ok(())
    }

    async fn check_empty(&self) -> anyhow::Result<()> {
        let store = patient(self.store);
        for table in [&self.tables.events, &self.tables.metrics] {
            let page = store.scan().table_name(table).limit(1).consistent_read(true).send().await;
            let page = page.with_context(|| format!("cannot read table {table}"))?;
            ensure!(page.count == 0, "table {table} is not empty; import into empty tables");
        }
        for kind in [kind::CHECKPOINT, kind::SHARD_PLAN] {
            let page = store
                .query()
                .table_name(&self.tables.control)
                .key_condition_expression("#k = :k")
                .expression_attribute_names("#k", KIND)
                .expression_attribute_values(":k", s(kind))
                .limit(1)
                .consistent_read(true)
                .send()
                .await
                .context("cannot read the control table")?;
            ensure!(page.count == 0, "table {} is in use (it has a {kind}); import into empty tables", self.tables.control);
        }
        Ok(())
    }
}
