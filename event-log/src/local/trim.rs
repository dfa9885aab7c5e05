//! What may go, and when: records older than their topic's retention, beyond its size, or, where the log reached its
//! bound, the oldest that every registered group has committed. Never a record that a registered group has not committed.
//!
//! Works in small transactions between the writer's batches, so that appends wait for milliseconds at most.

use super::database::{TopicLedger, is_full, table};
use super::record::STORED_BYTES;
use super::writer::{Writer, now_ms};
use rusqlite::params;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Records that go in one transaction.
const CHUNK_RECORDS: u64 = 1_000;
/// Free pages that go back to the file system in one transaction.
const VACUUM_PAGES: u64 = 512;
/// Between two such transactions.
const VACUUM_PAUSE: Duration = Duration::from_millis(20);
/// Fewer free pages than this are kept for the next records.
const SPARE_PAGES: u64 = 1_024;

/// Where the sweep over all partitions is.
#[derive(Debug)]
pub(super) struct Sweep {
    /// How often all partitions are looked at.
    pub(super) interval: Duration,
    next: Option<Instant>,
    /// Partitions to look at: topic and partition.
    due: BTreeSet<(usize, u32)>,
    /// All pages and those of them that are free, as of the last transaction.
    pub(super) free_pages: (u64, u64),
}

impl Default for Sweep {
    fn default() -> Self {
        Self { interval: Duration::from_secs(10), next: None, due: BTreeSet::new(), free_pages: (0, 0) }
    }
}

impl Sweep {
    /// How long the writer may wait for commands.
    pub(super) fn wait(&self) -> Duration {
        if !self.due.is_empty() {
            return Duration::ZERO;
        }
        let until_next = self.next.map_or(Duration::ZERO, |next| next.saturating_duration_since(Instant::now()));
        if self.has_pages_to_give_back() { until_next.min(VACUUM_PAUSE) } else { until_next }
    }

    fn has_pages_to_give_back(&self) -> bool {
        let (pages, free) = self.free_pages;
        free > SPARE_PAGES.max(pages / 4)
    }

    /// Looks at a partition soon where something of it may go by size.
    pub(super) fn note(&mut self, ledger: &TopicLedger, partition: u32) {
        // Some slack, so that not every batch has to trim.
        let slack = ledger.spec.retention_bytes.unwrap_or_default() / 16;
        if excess(ledger, partition) > slack && limit(ledger, partition) > ledger.partitions[partition as usize].durable.start {
            self.due.insert((ledger.shared.index, partition));
        }
    }
}

/// Why records may go.
#[derive(Clone, Copy, Debug)]
enum Reason {
    /// By age or size, as the topic says.
    Retention,
    /// The log or its disk is full: so many bytes, oldest first.
    Room(u64),
}

/// Bytes that a partition holds beyond its topic's bound.
fn excess(ledger: &TopicLedger, partition: u32) -> u64 {
    match ledger.spec.retention_bytes {
        Some(bound) if !ledger.spec.is_compacted => ledger.partitions[partition as usize].durable.bytes.saturating_sub(bound),
        _ => 0,
    }
}

/// The offset from which on records must stay.
fn limit(ledger: &TopicLedger, partition: u32) -> u64 {
    let end = ledger.partitions[partition as usize].durable.end;
    ledger.shared.held_from(partition).map_or(end, |held| held.min(end))
}

impl Writer {
    /// Trims one chunk where something may go.
    pub(super) fn sweep_once(&mut self) {
        if self.sweep.next.is_none_or(|next| next <= Instant::now()) {
            self.sweep.next = Some(Instant::now() + self.sweep.interval);
            let all = self.all_partitions();
            self.sweep.due.extend(all);
        }
        let Some((topic, partition)) = self.sweep.due.pop_first() else { return };
        match self.trim_chunk(topic, partition, Reason::Retention) {
            // There may be more of it.
            Ok(CHUNK_RECORDS) => drop(self.sweep.due.insert((topic, partition))),
            Ok(_) => {}
            Err(error) => self.note_trim_error(&error),
        }
    }

    /// Trims all that may go by retention.
    pub(super) fn trim_all(&mut self) {
        for (topic, partition) in self.all_partitions() {
            loop {
                match self.trim_chunk(topic, partition, Reason::Retention) {
                    Ok(CHUNK_RECORDS) => {}
                    Ok(_) => break,
                    Err(error) => return self.note_trim_error(&error),
                }
            }
        }
    }

    fn all_partitions(&self) -> Vec<(usize, u32)> {
        self.ledgers.iter().flat_map(|ledger| (0..ledger.spec.partitions).map(|n| (ledger.shared.index, n))).collect()
    }

    /// Trims until no more than `bytes` are in use, or nothing more may go.
    pub(super) fn make_room(&mut self, bytes: u64) {
        while self.used_bytes > bytes {
            let trimmed = self.oldest_committed().and_then(|oldest| match oldest {
                Some((topic, partition)) => self.trim_chunk(topic, partition, Reason::Room(self.used_bytes - bytes)),
                None => Ok(0),
            });
            match trimmed {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => return self.note_trim_error(&error),
            }
        }
    }

    /// The partition with the oldest record that may go for want of room: its topic bounds its age or size, and
    /// at least one group is registered, all of which have committed it.
    fn oldest_committed(&self) -> rusqlite::Result<Option<(usize, u32)>> {
        let mut oldest = None;
        for ledger in &self.ledgers {
            let is_bounded = ledger.spec.retention.is_some() || ledger.spec.retention_bytes.is_some();
            if !is_bounded || ledger.spec.is_compacted || !ledger.shared.has_groups() {
                continue;
            }
            for (n, partition) in (0_u32..).zip(&ledger.partitions) {
                let start = partition.durable.start;
                if limit(ledger, n) <= start {
                    continue;
                }
                let sql = format!("SELECT appended_at_ms FROM {} WHERE offset = ?1", table(ledger.shared.id, n));
                let appended_at_ms: i64 = self.connection.prepare_cached(&sql)?.query_row([start], |row| row.get(0))?;
                if oldest.is_none_or(|(before, _)| appended_at_ms < before) {
                    oldest = Some((appended_at_ms, (ledger.shared.index, n)));
                }
            }
        }
        Ok(oldest.map(|(_, place)| place))
    }

    /// Trims at most a chunk of a partition; answers how many records went.
    fn trim_chunk(&mut self, topic: usize, partition: u32, reason: Reason) -> rusqlite::Result<u64> {
        let Some((records, end, bytes)) = self.measure_chunk(topic, partition, reason)? else { return Ok(0) };
        let outcome = self.begin().and_then(|()| self.delete_before(topic, partition, end, bytes)).and_then(|()| self.commit());
        if let Err(error) = outcome {
            self.roll_back();
            return Err(error);
        }
        self.publish();
        self.measure()?;
        let ledger = &self.ledgers[topic];
        metrics::counter!("log_trimmed_records_total", "topic" => ledger.shared.name.clone()).increment(records);
        tracing::debug!(topic = ledger.shared.name, partition, start = end, records, "trimmed");
        Ok(records)
    }

    /// How many of the oldest records may go: their number, the start that they leave, and their bytes.
    fn measure_chunk(&self, topic: usize, partition: u32, reason: Reason) -> rusqlite::Result<Option<(u64, u64, u64)>> {
        let ledger = &self.ledgers[topic];
        let start = ledger.partitions[partition as usize].durable.start;
        let limit = limit(ledger, partition);
        let oldest_kept_ms = ledger.spec.retention.map(|age| now_ms().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)));
        let excess = match reason {
            Reason::Retention => excess(ledger, partition),
            Reason::Room(bytes) => bytes,
        };
        if limit <= start || (excess == 0 && oldest_kept_ms.is_none()) {
            return Ok(None);
        }
        let sql = format!(
            "SELECT offset, appended_at_ms, {STORED_BYTES} FROM {} WHERE offset >= ?1 AND offset < ?2 ORDER BY offset LIMIT {CHUNK_RECORDS}",
            table(ledger.shared.id, partition)
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params![start, limit])?;
        let (mut records, mut end, mut bytes) = (0, start, 0);
        while let Some(row) = rows.next()? {
            let is_too_old = oldest_kept_ms.is_some_and(|kept| row.get(1).is_ok_and(|appended: i64| appended < kept));
            if !is_too_old && bytes >= excess {
                break;
            }
            records += 1;
            end = row.get::<_, u64>(0)? + 1;
            bytes += row.get::<_, u64>(2)?;
        }
        Ok((records > 0).then_some((records, end, bytes)))
    }

    fn delete_before(&mut self, topic: usize, partition: u32, end: u64, bytes: u64) -> rusqlite::Result<()> {
        let ledger = &mut self.ledgers[topic];
        let sql = format!("DELETE FROM {} WHERE offset < ?1", table(ledger.shared.id, partition));
        self.connection.prepare_cached(&sql)?.execute([end])?;
        let staged = &mut ledger.partitions[partition as usize].staged;
        staged.start = end;
        staged.bytes = staged.bytes.saturating_sub(bytes);
        self.write_extents()
    }

    /// Gives some free pages back to the file system where there are many.
    pub(super) fn vacuum(&mut self) {
        if !self.sweep.has_pages_to_give_back() {
            return;
        }
        if let Err(error) = self.free_pages().and_then(|()| self.measure()) {
            self.note_trim_error(&error);
        }
    }

    fn free_pages(&self) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare_cached(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
        // Each step frees a page.
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        Ok(())
    }

    fn note_trim_error(&mut self, error: &rusqlite::Error) {
        if is_full(error) {
            tracing::warn!("no room on the disk to trim the log");
        } else {
            self.stop("trimming failed", error);
        }
    }
}
