//! Creates the tables on request and refuses tables that are not ours.

use anyhow::{Context, bail};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType, ScalarAttributeType,
    TableDescription, TableStatus, TimeToLiveSpecification, TimeToLiveStatus,
};
use schemas::item::{
    AGENT_ID, CONVERSATION_ID, CONVERSATION_INDEX, DATE, ID, KIND, MESSAGE_TYPE_INDEX, TIMESTAMP, TTL, TYPE_KEY, TableNames, kind, s,
};
use service_kit::metrics_tables::{self, TableVersion};
use service_kit::store::patient;
use std::time::Duration;

/// What the tables shall have.
#[derive(Clone, Copy, Debug, Default)]
pub struct TableOptions {
    /// Whether the events table gets `ConversationIndex` (one more write unit per event that has one).
    pub index_conversations: bool,
    /// Whether raw events expire (`ttl`).
    pub expire_events: bool,
}

/// One table as it must be.
struct Layout<'a> {
    name: &'a str,
    keys: (&'static str, &'static str),
    indexes: Vec<(&'static str, &'static str)>,
    expires: bool,
}

fn layouts(names: &TableNames, options: TableOptions) -> [Layout<'_>; 3] {
    let mut indexes = vec![(MESSAGE_TYPE_INDEX, TYPE_KEY)];
    if options.index_conversations {
        indexes.push((CONVERSATION_INDEX, CONVERSATION_ID));
    }
    [
        Layout { name: &names.control, keys: (KIND, ID), indexes: vec![], expires: false },
        Layout { name: &names.events, keys: (AGENT_ID, TIMESTAMP), indexes, expires: options.expire_events },
        Layout { name: &names.metrics, keys: (AGENT_ID, DATE), indexes: vec![], expires: false },
    ]
}

/// Creates the tables and indexes that are missing, waits until they are active and records them as ours.
///
/// A table that is there already must pass [`check_tables`]. After a rebuild the metrics table is the one that is read.
pub async fn create_tables(store: &Client, names: &TableNames, options: TableOptions) -> anyhow::Result<()> {
    let store = &patient(store);
    let [control, ..] = layouts(names, options);
    make_sure_of(store, &control).await?;
    check_configured_name(store, names).await?;
    let names = &metrics_tables::served(store, names).await?;
    for layout in layouts(names, options) {
        make_sure_of(store, &layout).await?;
    }
    check_and_claim(store, names).await
}

async fn make_sure_of(store: &Client, layout: &Layout<'_>) -> anyhow::Result<()> {
    if describe(store, layout.name).await?.is_none() {
        create(store, layout).await.with_context(|| format!("cannot create table {}", layout.name))?;
    }
    await_active(store, layout.name).await?;
    if layout.expires {
        enable_ttl(store, layout.name).await?;
    }
    Ok(())
}

/// Creates a further version of the metrics table, empty.
pub(crate) async fn create_version(store: &Client, names: &TableNames, version: &str) -> anyhow::Result<()> {
    let names = TableNames { metrics: version.to_owned(), ..names.clone() };
    let [.., metrics] = layouts(&names, TableOptions::default());
    make_sure_of(store, &metrics).await?;
    claim(store, &names, version).await
}

/// The versions of the metrics table that there are, in use or not, oldest first.
pub(crate) async fn versions(store: &Client, names: &TableNames) -> anyhow::Result<Vec<TableVersion>> {
    let mut versions = Vec::new();
    for id in control_ids(store, names, kind::TABLE).await? {
        let generation = if id == names.metrics { Some(0) } else { metrics_tables::generation_of(&id, &names.metrics) };
        versions.extend(generation.map(|generation| TableVersion { name: id, generation }));
    }
    versions.sort_by_key(|version| version.generation);
    Ok(versions)
}

async fn control_ids(store: &Client, names: &TableNames, kind: &str) -> anyhow::Result<Vec<String>> {
    let mut items = store
        .query()
        .table_name(&names.control)
        .key_condition_expression("#k = :k")
        .expression_attribute_names("#k", KIND)
        .expression_attribute_values(":k", s(kind))
        .consistent_read(true)
        .into_paginator()
        .items()
        .send();
    let mut ids = Vec::new();
    while let Some(item) = items.next().await {
        ids.extend(item.context("cannot read the control table")?.get(ID).and_then(|id| id.as_s().ok()).cloned());
    }
    Ok(ids)
}

/// A table that a rebuild made is found by the name before it, and only so.
async fn check_configured_name(store: &Client, names: &TableNames) -> anyhow::Result<()> {
    for id in control_ids(store, names, kind::METRICS_TABLES).await? {
        if metrics_tables::generation_of(&names.metrics, &id).is_some() {
            bail!("{} was made by a rebuild of {id}: keep DYNAMODB_TABLE_METRICS={id}, which leads to it", names.metrics);
        }
    }
    Ok(())
}

/// Deletes a version of the metrics table that nobody uses any more. A repeat does no harm.
pub(crate) async fn drop_version(store: &Client, names: &TableNames, version: &str) -> anyhow::Result<()> {
    match store.delete_table().table_name(version).send().await {
        Ok(_) => {}
        Err(SdkError::ServiceError(e)) if e.err().is_resource_not_found_exception() => {}
        Err(e) => return Err(anyhow::Error::new(e).context(format!("cannot delete table {version}"))),
    }
    let record = store.delete_item().table_name(&names.control).key(KIND, s(kind::TABLE)).key(ID, s(version));
    record.send().await.context("cannot write the control table").map(drop)
}

/// Refuses tables that are missing, have other keys, or hold items without our record. After a rebuild the metrics table is
/// the one that is read.
pub async fn check_tables(store: &Client, names: &TableNames) -> anyhow::Result<()> {
    let store = &patient(store);
    // Without a control table it cannot say what is read; that it is missing is told below.
    let has_control = describe(store, &names.control).await?.is_some();
    if has_control {
        check_configured_name(store, names).await?;
    }
    let names = if has_control { metrics_tables::served(store, names).await? } else { names.clone() };
    check_and_claim(store, &names).await
}

async fn check_and_claim(store: &Client, names: &TableNames) -> anyhow::Result<()> {
    for layout in layouts(names, TableOptions::default()) {
        let Some(table) = describe(store, layout.name).await? else {
            bail!("table {} does not exist; start once with --create-tables, or create it as docs/operations.md says", layout.name);
        };
        check_keys(&table, &layout)?;
    }
    for name in [&names.events, &names.metrics] {
        claim(store, names, name).await?;
    }
    Ok(())
}

fn check_keys(table: &TableDescription, layout: &Layout<'_>) -> anyhow::Result<()> {
    let key = |kind: KeyType| table.key_schema().iter().find(|k| k.key_type == kind).map(|k| k.attribute_name.as_str());
    let (have, want) = ((key(KeyType::Hash), key(KeyType::Range)), (Some(layout.keys.0), Some(layout.keys.1)));
    if have != want {
        bail!(
            "table {} has the keys {:?}/{:?}, but {:?}/{:?} are needed; give another table by DYNAMODB_TABLE_EVENTS, DYNAMODB_TABLE_METRICS or DYNAMODB_TABLE_CONTROL",
            layout.name,
            have.0.unwrap_or("-"),
            have.1.unwrap_or("-"),
            layout.keys.0,
            layout.keys.1
        );
    }
    Ok(())
}

/// Records an empty table as ours; a table with items but without our record belongs to something else.
async fn claim(store: &Client, names: &TableNames, table: &str) -> anyhow::Result<()> {
    let key = |b: aws_sdk_dynamodb::operation::get_item::builders::GetItemFluentBuilder| b.key(KIND, s(kind::TABLE)).key(ID, s(table));
    let record =
        key(store.get_item().table_name(&names.control).consistent_read(true)).send().await.context("cannot read the control table")?;
    if record.item.is_some() {
        return Ok(());
    }
    let page =
        store.scan().table_name(table).limit(1).consistent_read(true).send().await.with_context(|| format!("cannot read table {table}"))?;
    if page.count > 0 {
        bail!(
            "table {table} holds items that Agent Tally did not write (no record of it in {}); \
             use other table names, and `agent-tally import-tables` to bring those events in",
            names.control
        );
    }
    store
        .put_item()
        .table_name(&names.control)
        .item(KIND, s(kind::TABLE))
        .item(ID, s(table))
        .item("claimed_at", s(schemas::time::format_micros(schemas::time::now_micros())))
        .item("layout", s("1"))
        .send()
        .await
        .context("cannot write the control table")?;
    Ok(())
}

/// Whether the events table has `ConversationIndex`.
pub async fn has_conversation_index(store: &Client, names: &TableNames) -> anyhow::Result<bool> {
    let table = describe(store, &names.events).await?;
    Ok(table.is_some_and(|t| t.global_secondary_indexes().iter().any(|i| i.index_name() == Some(CONVERSATION_INDEX))))
}

async fn describe(store: &Client, name: &str) -> anyhow::Result<Option<TableDescription>> {
    match store.describe_table().table_name(name).send().await {
        Ok(out) => Ok(out.table),
        Err(SdkError::ServiceError(e)) if e.err().is_resource_not_found_exception() => Ok(None),
        Err(e) => Err(anyhow::Error::new(e).context(format!("cannot describe table {name}"))),
    }
}

async fn create(store: &Client, layout: &Layout<'_>) -> anyhow::Result<()> {
    let mut attributes = vec![layout.keys.0, layout.keys.1];
    attributes.extend(layout.indexes.iter().map(|(_, hash)| *hash));
    let mut request = store.create_table().table_name(layout.name).billing_mode(BillingMode::PayPerRequest);
    for name in attributes {
        request = request
            .attribute_definitions(AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build()?);
    }
    for element in key_schema(layout.keys.0, layout.keys.1)? {
        request = request.key_schema(element);
    }
    for (index, hash) in &layout.indexes {
        request = request.global_secondary_indexes(
            GlobalSecondaryIndex::builder()
                .index_name(*index)
                .set_key_schema(Some(key_schema(hash, layout.keys.1)?))
                .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
                .build()?,
        );
    }
    match request.send().await {
        Ok(_) => Ok(()),
        // Another process creates it at the same time.
        Err(SdkError::ServiceError(e)) if e.err().is_resource_in_use_exception() => Ok(()),
        Err(e) => Err(e.into()),
    }
}

fn key_schema(hash: &str, range: &str) -> anyhow::Result<Vec<KeySchemaElement>> {
    let element = |name: &str, key_type| KeySchemaElement::builder().attribute_name(name).key_type(key_type).build();
    Ok(vec![element(hash, KeyType::Hash)?, element(range, KeyType::Range)?])
}

async fn await_active(store: &Client, name: &str) -> anyhow::Result<()> {
    for _ in 0..240 {
        if let Some(table) = describe(store, name).await?
            && table.table_status() == Some(&TableStatus::Active)
        {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    bail!("table {name} did not become active within two minutes")
}

async fn enable_ttl(store: &Client, name: &str) -> anyhow::Result<()> {
    let now = store.describe_time_to_live().table_name(name).send().await?;
    let status = now.time_to_live_description().and_then(|d| d.time_to_live_status());
    if matches!(status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)) {
        return Ok(());
    }
    let specification = TimeToLiveSpecification::builder().enabled(true).attribute_name(TTL).build()?;
    store.update_time_to_live().table_name(name).time_to_live_specification(specification).send().await?;
    Ok(())
}
