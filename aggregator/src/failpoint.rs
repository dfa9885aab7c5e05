//! Places where tests let the process die, between the steps that must not depend on each other's luck.

use anyhow::{Context, bail};

/// A place between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Raw events are inserted, nothing is counted.
    AfterInsert,
    /// An item is updated, its totals are not announced.
    AfterUpdate,
    /// Totals are announced, nothing is committed.
    AfterAnnounce,
    /// The store is synced, nothing is committed.
    BeforeCommit,
    /// The offset is committed, the checkpoint is not written.
    AfterCommit,
}

const NAMES: [(&str, Point); 5] = [
    ("after_insert", Point::AfterInsert),
    ("after_update", Point::AfterUpdate),
    ("after_announce", Point::AfterAnnounce),
    ("before_commit", Point::BeforeCommit),
    ("after_commit", Point::AfterCommit),
];

/// Probabilities of dying, by point. Empty outside tests.
#[derive(Clone, Debug, Default)]
pub struct Failpoints(Vec<(Point, f64)>);

impl Failpoints {
    /// Reads `point=probability,…`.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut points = Vec::new();
        for part in text.split(',').filter(|p| !p.is_empty()) {
            let (name, probability) = part.split_once('=').context("a failpoint is point=probability")?;
            let Some((_, point)) = NAMES.iter().find(|(n, _)| *n == name) else { bail!("unknown failpoint {name:?}") };
            points.push((*point, probability.parse().context("a failpoint's probability is a number")?));
        }
        Ok(Self(points))
    }

    /// Dies here with the point's probability.
    pub fn hit(&self, point: Point) {
        for (p, probability) in &self.0 {
            if *p == point && rand::random::<f64>() < *probability {
                std::process::abort();
            }
        }
    }
}
