//! Where counts go: the versions of the metrics table.
//!
//! Mostly there is one. While a rebuild fills a new version, and until every reader has left the old one, each addition
//! goes into both, into each under its own marks.

use schemas::item::MetricKey;

/// A version of the metrics table, by what it is to readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// The one that is read, and whose totals are announced.
    Served,
    /// The one that will be or was.
    Other,
}

impl Table {
    /// While there is no rebuild.
    pub const ONE: &'static [Self] = &[Self::Served];
    /// During one.
    pub const BOTH: &'static [Self] = &[Self::Served, Self::Other];

    /// An item of this table.
    pub fn of(self, key: &MetricKey) -> Target {
        Target { table: self, key: key.clone() }
    }
}

/// An item of one of the tables.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// The table.
    pub table: Table,
    /// The item.
    pub key: MetricKey,
}
