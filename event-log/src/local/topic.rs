//! What all parts of the local log know of a topic, in memory: its partitions' bounds and its groups' committed offsets.
//! Only the writer changes it, after its transaction is durable; everyone else reads.

use super::record::{RowsOf, partition_of};
use crate::{Bounds, LogError};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::watch;

/// The topics by name.
#[derive(Debug, Default)]
pub(super) struct Topics(RwLock<HashMap<String, Arc<Topic>>>);

impl Topics {
    pub(super) fn get(&self, name: &str) -> Option<Arc<Topic>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).map(Arc::clone)
    }

    pub(super) fn find(&self, name: &str) -> Result<Arc<Topic>, LogError> {
        self.get(name).ok_or_else(|| LogError::UnknownTopic(name.to_owned()))
    }

    pub(super) fn insert(&self, topic: Arc<Topic>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(topic.name.clone(), topic);
    }

    /// Wakes everyone who waits for records, so that they see that the log has failed.
    pub(super) fn wake_all(&self) {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().for_each(|topic| topic.wake());
    }
}

/// A topic.
#[derive(Debug)]
pub(super) struct Topic {
    /// Its id in the file.
    pub(super) id: i64,
    /// Its place among the writer's ledgers.
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) is_compacted: bool,
    partitions: RwLock<Arc<[Arc<Partition>]>>,
    groups: RwLock<HashMap<String, Vec<Option<u64>>>>,
    /// Changes with every append, trim and added partition.
    changed: watch::Sender<()>,
}

impl Topic {
    pub(super) fn new(id: i64, index: usize, name: String, is_compacted: bool) -> Self {
        let partitions = RwLock::new(Arc::from([]));
        Self { id, index, name, is_compacted, partitions, groups: RwLock::default(), changed: watch::Sender::new(()) }
    }

    pub(super) fn partitions(&self) -> Arc<[Arc<Partition>]> {
        Arc::clone(&self.partitions.read().unwrap_or_else(PoisonError::into_inner))
    }

    #[expect(clippy::cast_possible_truncation, reason = "bounded when created")]
    pub(super) fn partition_count(&self) -> u32 {
        self.partitions.read().unwrap_or_else(PoisonError::into_inner).len() as u32
    }

    pub(super) fn partition(&self, partition: u32) -> Result<Arc<Partition>, LogError> {
        let partitions = self.partitions();
        partitions.get(partition as usize).map(Arc::clone).ok_or_else(|| LogError::UnknownTopic(format!("{}/{partition}", self.name)))
    }

    /// Where a partition's rows are.
    pub(super) fn rows_of(&self, partition: u32) -> Result<RowsOf, LogError> {
        Ok(RowsOf { topic: self.id, partition, unchecked_until: self.partition(partition)?.unchecked_until })
    }

    /// Where a key's records go.
    pub(super) fn place(&self, key: &[u8]) -> u32 {
        partition_of(key, self.partition_count())
    }

    pub(super) fn set_partitions(&self, partitions: Vec<Arc<Partition>>) {
        *self.partitions.write().unwrap_or_else(PoisonError::into_inner) = partitions.into();
        self.wake();
    }

    /// A receiver that changes whenever there may be something new.
    pub(super) fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub(super) fn wake(&self) {
        self.changed.send_replace(());
    }

    /// A group's committed offsets by partition.
    pub(super) fn committed(&self, group: &str) -> Vec<Option<u64>> {
        let mut committed = self.groups.read().unwrap_or_else(PoisonError::into_inner).get(group).cloned().unwrap_or_default();
        committed.resize(self.partitions().len(), None);
        committed
    }

    /// From now on the group holds what it has not committed. Whether it is new.
    pub(super) fn register(&self, group: &str) -> bool {
        let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = !groups.contains_key(group);
        if is_new {
            groups.insert(group.to_owned(), Vec::new());
        }
        is_new
    }

    pub(super) fn set_committed(&self, group: &str, partition: u32, offset: u64) {
        let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
        let committed = groups.entry(group.to_owned()).or_default();
        let index = partition as usize;
        if committed.len() <= index {
            committed.resize(index + 1, None);
        }
        committed[index] = Some(offset);
    }

    pub(super) fn has_groups(&self) -> bool {
        !self.groups.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Records of the partition from this offset on may not go: some registered group has not committed them.
    /// `None` where no group is registered. A group that never committed holds everything.
    pub(super) fn held_from(&self, partition: u32) -> Option<u64> {
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        groups.values().map(|committed| committed.get(partition as usize).copied().flatten().unwrap_or(0)).min()
    }
}

/// A partition's bounds.
#[derive(Debug)]
pub(super) struct Partition {
    start: AtomicU64,
    end: AtomicU64,
    /// Records from here on have a checksum.
    pub(super) unchecked_until: u64,
}

impl Partition {
    pub(super) fn new(start: u64, end: u64, unchecked_until: u64) -> Self {
        Self { start: AtomicU64::new(start), end: AtomicU64::new(end), unchecked_until }
    }

    pub(super) fn bounds(&self) -> Bounds {
        // The start never passes the end: reading it first keeps that true.
        let start = self.start.load(Ordering::Acquire);
        Bounds { start, end: self.end.load(Ordering::Acquire) }
    }

    pub(super) fn set(&self, start: u64, end: u64) {
        self.end.store(end, Ordering::Release);
        self.start.store(start, Ordering::Release);
    }
}
