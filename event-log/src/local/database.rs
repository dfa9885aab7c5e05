//! The file: its tables, how connections are set up, and what is checked when it is opened. Owns all SQL but that of
//! reading (`read`) and trimming (`trim`).
//!
//! One table per partition, its row id the offset: appends go to the right end of a tree and fill its pages, trims
//! free whole pages at the left end. A compacted topic has an index on the key besides.

use super::record::{COLUMNS, NO_CHECKSUM, damaged};
use super::topic::{Partition, Topic, Topics};
use crate::{LogError, TopicSpec};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, params};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Marks the file as ours (`ATlg` in ASCII).
const APPLICATION_ID: i32 = 0x4154_6c67;
/// Raised when the tables change in a way that older code cannot read.
const FORMAT: i32 = 2;
/// Had no checksums.
const FORMAT_UNCHECKED: i32 = 1;
const MAX_PARTITIONS: u32 = 1_024;

const TABLES: &str = "
CREATE TABLE identity(id TEXT NOT NULL);
CREATE TABLE topics(
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, retention_ms INTEGER, retention_bytes INTEGER, is_compacted INTEGER NOT NULL);
CREATE TABLE partitions(
  topic INTEGER NOT NULL REFERENCES topics(id), partition INTEGER NOT NULL,
  start INTEGER NOT NULL, next INTEGER NOT NULL, bytes INTEGER NOT NULL, unchecked_until INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY(topic, partition)) WITHOUT ROWID;
CREATE TABLE groups(topic INTEGER NOT NULL REFERENCES topics(id), name TEXT NOT NULL, PRIMARY KEY(topic, name)) WITHOUT ROWID;
CREATE TABLE commits(
  topic INTEGER NOT NULL, name TEXT NOT NULL, partition INTEGER NOT NULL, next INTEGER NOT NULL,
  PRIMARY KEY(topic, name, partition), FOREIGN KEY(topic, name) REFERENCES groups(topic, name)) WITHOUT ROWID;
";

/// What lies in a partition: first offset, next offset and bytes (not kept for compacted topics).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) bytes: u64,
}

/// What the writer keeps of a partition. `staged` differs from `durable` only within a transaction.
#[derive(Debug)]
pub(super) struct PartitionLedger {
    pub(super) shared: Arc<Partition>,
    pub(super) durable: Extent,
    pub(super) staged: Extent,
    pub(super) sql: PartitionSql,
}

/// The statements on a partition's table.
#[derive(Debug)]
pub(super) struct PartitionSql {
    pub(super) insert: String,
    /// Removes what the record at an offset supersedes; for compacted topics.
    pub(super) supersede: Option<String>,
}

/// What the writer keeps of a topic.
#[derive(Debug)]
pub(super) struct TopicLedger {
    pub(super) shared: Arc<Topic>,
    pub(super) spec: TopicSpec,
    pub(super) partitions: Vec<PartitionLedger>,
}

/// The name of a partition's table.
pub(super) fn table(topic: i64, partition: u32) -> String {
    format!("records_{topic}_{partition}")
}

impl PartitionLedger {
    fn new(topic: &Topic, partition: u32, extent: Extent, unchecked_until: u64) -> Self {
        let table = table(topic.id, partition);
        let sql = PartitionSql {
            insert: format!("INSERT INTO {table}({COLUMNS}) VALUES(?1, ?2, ?3, ?4, ?5, ?6)"),
            supersede: topic.is_compacted.then(|| format!("DELETE FROM {table} WHERE key = ?1 AND offset < ?2")),
        };
        Self { shared: Arc::new(Partition::new(extent.start, extent.end, unchecked_until)), durable: extent, staged: extent, sql }
    }
}

/// Opens the file for the writer, makes it where there is none, and refuses what is not a log.
pub(super) fn open(path: &Path) -> Result<Connection, LogError> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(|error| broken(&error))?;
    prepare(&connection).map_err(|error| broken(&error))?;
    let found = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0)).map_err(|error| broken(&error));
    let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(|error| broken(&error))?;
    if tables == 0 {
        create(&connection).map_err(|error| broken(&error))?;
        sync_directory(path)?;
    } else if found("application_id")? != APPLICATION_ID {
        return Err(LogError::Broken(format!("{} is not a log", path.display())));
    }
    let format = found("user_version")?;
    if !matches!(format, FORMAT | FORMAT_UNCHECKED) {
        return Err(LogError::Broken(format!("the log has format {format}, this version reads format {FORMAT}")));
    }
    durable(&connection).map_err(|error| broken(&error))?;
    if format == FORMAT_UNCHECKED {
        add_checksums(&connection).map_err(|error| broken(&error))?;
    }
    Ok(connection)
}

/// Opens the file for reading; the writer has it open.
pub(super) fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    prepare(&connection)?;
    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(512);
    // SQLite ignores a failed fsync of the checkpoint that it makes on closing, and would try it again later.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(())
}

fn create(connection: &Connection) -> rusqlite::Result<()> {
    // Can be chosen before the first table only.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE; {TABLES} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT};
         INSERT INTO identity(id) VALUES('{:032x}'); COMMIT;",
        rand::random::<u128>()
    ))
}

fn durable(connection: &Connection) -> rusqlite::Result<()> {
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(rusqlite::Error::InvalidParameterName(format!("journal_mode is {mode}, not wal")));
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    // The writer makes its own checkpoints: those of SQLite's hook hide a failed fsync.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.pragma_update(None, "cache_size", -16_384)
}

/// Makes the file's name as durable as its content.
fn sync_directory(path: &Path) -> Result<(), LogError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| LogError::Broken(format!("cannot sync {}: {error}", directory.display())))
}

/// From here on rows have checksums; those that are there stay without, since a large log would take minutes.
fn add_checksums(connection: &Connection) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    transaction.execute_batch(
        "ALTER TABLE partitions ADD COLUMN unchecked_until INTEGER NOT NULL DEFAULT 0;
         UPDATE partitions SET unchecked_until = next;",
    )?;
    let mut statement = transaction.prepare("SELECT topic, partition FROM partitions")?;
    let partitions = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<Vec<(i64, u32)>>>()?;
    drop(statement);
    for (topic, partition) in partitions {
        let table = table(topic, partition);
        transaction.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN checksum INTEGER NOT NULL DEFAULT {NO_CHECKSUM}"))?;
    }
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.commit()
}

pub(super) fn identity(connection: &Connection) -> Result<String, LogError> {
    connection.query_row("SELECT id FROM identity", [], |row| row.get(0)).map_err(|error| broken(&error))
}

/// Reads what is there into `topics` and the writer's ledgers.
pub(super) fn load(connection: &Connection, topics: &Topics) -> Result<Vec<TopicLedger>, LogError> {
    let mut ledgers = Vec::new();
    for (id, mut spec) in load_specs(connection).map_err(|error| broken(&error))? {
        let shared = Arc::new(Topic::new(id, ledgers.len(), spec.name.clone(), spec.is_compacted));
        let partitions = load_partitions(connection, &shared).map_err(|error| broken(&error))?;
        for (n, partition) in (0_u32..).zip(&partitions) {
            check_extent(connection, id, n, partition.durable)?;
        }
        spec.partitions = u32::try_from(partitions.len()).unwrap_or(u32::MAX);
        shared.set_partitions(partitions.iter().map(|partition| Arc::clone(&partition.shared)).collect());
        load_groups(connection, &shared).map_err(|error| broken(&error))?;
        topics.insert(Arc::clone(&shared));
        ledgers.push(TopicLedger { shared, spec, partitions });
    }
    Ok(ledgers)
}

fn load_specs(connection: &Connection) -> rusqlite::Result<Vec<(i64, TopicSpec)>> {
    let mut statement = connection.prepare("SELECT id, name, retention_ms, retention_bytes, is_compacted FROM topics ORDER BY id")?;
    let rows = statement.query_map([], |row| {
        let spec = TopicSpec {
            name: row.get(1)?,
            partitions: 0,
            retention: row.get::<_, Option<u64>>(2)?.map(Duration::from_millis),
            retention_bytes: row.get(3)?,
            is_compacted: row.get(4)?,
        };
        Ok((row.get(0)?, spec))
    })?;
    rows.collect()
}

fn load_partitions(connection: &Connection, topic: &Topic) -> rusqlite::Result<Vec<PartitionLedger>> {
    let mut statement =
        connection.prepare("SELECT partition, start, next, bytes, unchecked_until FROM partitions WHERE topic = ?1 ORDER BY partition")?;
    let rows = statement.query_map([topic.id], |row| {
        let extent = Extent { start: row.get(1)?, end: row.get(2)?, bytes: row.get(3)? };
        Ok((row.get(0)?, PartitionLedger::new(topic, row.get(0)?, extent, row.get(4)?)))
    })?;
    let ledgers = rows.collect::<rusqlite::Result<Vec<(u32, PartitionLedger)>>>()?;
    // By their numbers they are found from here on; without any, whoever joins would wait for ever.
    if ledgers.is_empty() || !(0..).zip(&ledgers).all(|(n, (partition, _)): (u32, _)| n == *partition) {
        return Err(damaged(0, format!("a partition of topic {} is missing", topic.name)));
    }
    Ok(ledgers.into_iter().map(|(_, ledger)| ledger).collect())
}

fn load_groups(connection: &Connection, topic: &Topic) -> rusqlite::Result<()> {
    let mut groups = connection.prepare("SELECT name FROM groups WHERE topic = ?1")?;
    for name in groups.query_map([topic.id], |row| row.get::<_, String>(0))? {
        topic.register(&name?);
    }
    let mut commits = connection.prepare("SELECT name, partition, next FROM commits WHERE topic = ?1")?;
    let mut rows = commits.query([topic.id])?;
    while let Some(row) = rows.next()? {
        let partition = row.get(1)?;
        if partition >= topic.partition_count() {
            return Err(damaged(1, format!("topic {} has no partition {partition}, which a group committed", topic.name)));
        }
        topic.set_committed(&row.get::<_, String>(0)?, partition, row.get(2)?);
    }
    Ok(())
}

/// A record outside of the partition's bounds means that the file was tampered with or lost a write.
fn check_extent(connection: &Connection, topic: i64, partition: u32, extent: Extent) -> Result<(), LogError> {
    let table = table(topic, partition);
    let outer = |end: &str| {
        connection
            .query_row(&format!("SELECT offset FROM {table} ORDER BY offset {end} LIMIT 1"), [], |row| row.get::<_, u64>(0))
            .optional()
            .map_err(|error| broken(&error))
    };
    let is_inside = |offset: Option<u64>| offset.is_none_or(|offset| (extent.start..extent.end).contains(&offset));
    if extent.start <= extent.end && is_inside(outer("ASC")?) && is_inside(outer("DESC")?) {
        return Ok(());
    }
    Err(LogError::Broken(format!("{table} holds records outside of {}..{}", extent.start, extent.end)))
}

/// Makes sure that a topic is as specified, in one transaction. Answers what changed in memory's terms only when durable.
pub(super) fn create_topic(
    connection: &Connection,
    ledgers: &mut Vec<TopicLedger>,
    topics: &Topics,
    spec: &TopicSpec,
) -> Result<(), CreateError> {
    if !(1..=MAX_PARTITIONS).contains(&spec.partitions) {
        return Err(CreateError::Refused(format!("{}: a topic has 1 to {MAX_PARTITIONS} partitions", spec.name)));
    }
    let existing = topics.get(&spec.name);
    if existing.as_ref().is_some_and(|topic| topic.is_compacted != spec.is_compacted) {
        return Err(CreateError::Refused(format!("{}: a topic cannot be made compacted, or not compacted, later", spec.name)));
    }
    let index = existing.as_ref().map_or(ledgers.len(), |topic| topic.index);
    if ledgers
        .get(index)
        .is_some_and(|ledger| ledger.spec == (TopicSpec { partitions: ledger.spec.partitions.max(spec.partitions), ..spec.clone() }))
    {
        return Ok(());
    }
    let transaction = connection.unchecked_transaction()?;
    let retention_ms =
        spec.retention.map(|age| u64::try_from(age.as_millis()).map_or(i64::MAX, |ms| i64::try_from(ms).unwrap_or(i64::MAX)));
    let retention_bytes = spec.retention_bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    let id = transaction.query_row(
        "INSERT INTO topics(name, retention_ms, retention_bytes, is_compacted) VALUES(?1, ?2, ?3, ?4)
         ON CONFLICT(name) DO UPDATE SET retention_ms = excluded.retention_ms, retention_bytes = excluded.retention_bytes RETURNING id",
        params![spec.name, retention_ms, retention_bytes, spec.is_compacted],
        |row| row.get(0),
    )?;
    let topic = existing.unwrap_or_else(|| Arc::new(Topic::new(id, index, spec.name.clone(), spec.is_compacted)));
    let first_new = topic.partition_count();
    for partition in first_new..spec.partitions {
        create_partition(&transaction, &topic, partition)?;
    }
    transaction.commit()?;

    if index == ledgers.len() {
        ledgers.push(TopicLedger { shared: Arc::clone(&topic), spec: spec.clone(), partitions: Vec::new() });
    }
    let ledger = &mut ledgers[index];
    let empty = Extent { start: 0, end: 0, bytes: 0 };
    ledger.partitions.extend((first_new..spec.partitions).map(|partition| PartitionLedger::new(&topic, partition, empty, 0)));
    ledger.spec = TopicSpec { partitions: first_new.max(spec.partitions), ..spec.clone() };
    topic.set_partitions(ledger.partitions.iter().map(|partition| Arc::clone(&partition.shared)).collect());
    topics.insert(topic);
    Ok(())
}

fn create_partition(connection: &Connection, topic: &Topic, partition: u32) -> rusqlite::Result<()> {
    let table = table(topic.id, partition);
    connection.execute_batch(&format!(
        "CREATE TABLE {table}(offset INTEGER PRIMARY KEY, appended_at_ms INTEGER NOT NULL, key BLOB NOT NULL, headers BLOB NOT NULL, value BLOB NOT NULL,
         checksum INTEGER NOT NULL)"
    ))?;
    if topic.is_compacted {
        connection.execute_batch(&format!("CREATE INDEX newest_{table} ON {table}(key)"))?;
    }
    connection
        .execute("INSERT INTO partitions(topic, partition, start, next, bytes) VALUES(?1, ?2, 0, 0, 0)", params![topic.id, partition])
        .map(drop)
}

/// Why a topic could not be created.
#[derive(Debug)]
pub(super) enum CreateError {
    /// It must not be.
    Refused(String),
    /// SQLite could not.
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for CreateError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Writes a partition's staged extent.
pub(super) fn write_extent(connection: &Connection, topic: i64, partition: u32, extent: Extent) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE partitions SET start = ?3, next = ?4, bytes = ?5 WHERE topic = ?1 AND partition = ?2")?
        .execute(params![topic, partition, extent.start, extent.end, extent.bytes])
        .map(drop)
}

/// A partition's start as of now.
pub(super) fn start(connection: &Connection, topic: i64, partition: u32) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT start FROM partitions WHERE topic = ?1 AND partition = ?2")?
        .query_row(params![topic, partition], |row| row.get(0))
}

pub(super) fn write_group(connection: &Connection, topic: i64, group: &str) -> rusqlite::Result<()> {
    connection.prepare_cached("INSERT OR IGNORE INTO groups(topic, name) VALUES(?1, ?2)")?.execute(params![topic, group]).map(drop)
}

pub(super) fn write_commit(connection: &Connection, topic: i64, group: &str, partition: u32, next: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO commits(topic, name, partition, next) VALUES(?1, ?2, ?3, ?4)
             ON CONFLICT(topic, name, partition) DO UPDATE SET next = excluded.next",
        )?
        .execute(params![topic, group, partition, next])
        .map(drop)
}

/// Whether the file or its disk has no room; nothing of the transaction was written.
pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

fn broken(error: &rusqlite::Error) -> LogError {
    LogError::Broken(error.to_string())
}
