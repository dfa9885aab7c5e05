//! Where a record is in the log, and the receipt that a client gets for it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A record's place in the log of one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Raised by hand when a topic is created anew.
    pub epoch: u32,
    /// Partition of the topic.
    pub partition: u32,
    /// Offset within the partition.
    pub offset: u64,
}

impl Position {
    /// `epoch:partition:offset`, as stored with an event.
    pub fn src(&self) -> String {
        format!("{}:{}:{}", self.epoch, self.partition, self.offset)
    }

    /// Reads what [`Position::src`] writes.
    pub fn parse_src(text: &str) -> Option<Self> {
        parse_three(text, ':')
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.epoch, self.partition, self.offset)
    }
}

/// The text is no position or receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected <epoch>-<partition>-<offset>, joined by '.' for several partitions")]
pub struct ParseError;

impl FromStr for Position {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        parse_three(text, '-').ok_or(ParseError)
    }
}

fn parse_three(text: &str, separator: char) -> Option<Position> {
    let mut parts = text.split(separator);
    let mut next = || parts.next().filter(|p| p.bytes().all(|b| b.is_ascii_digit()));
    let position = Position { epoch: next()?.parse().ok()?, partition: next()?.parse().ok()?, offset: next()?.parse().ok()? };
    parts.next().is_none().then_some(position)
}

/// Everything that was logged before some positions, one per partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// Epoch and offset by partition.
    from: BTreeMap<u32, (u32, u64)>,
    epoch: u32,
}

impl Before {
    /// Before these positions; `epoch` is the newest that was counted.
    pub fn new(positions: impl IntoIterator<Item = Position>, epoch: u32) -> Self {
        let from: BTreeMap<_, _> = positions.into_iter().map(|p| (p.partition, (p.epoch, p.offset))).collect();
        let epoch = from.values().map(|(epoch, _)| *epoch).fold(epoch, u32::max);
        Self { from, epoch }
    }

    /// Whether a position lies before. Of a partition that is not named, everything of earlier epochs does.
    pub fn holds(&self, at: Position) -> bool {
        match self.from.get(&at.partition) {
            Some(from) => (at.epoch, at.offset) < *from,
            None => at.epoch < self.epoch,
        }
    }

    /// Whether nothing of that epoch's log is counted any more.
    pub fn is_over(&self, epoch: u32) -> bool {
        epoch < self.epoch
    }

    /// The positions, by partition.
    pub fn positions(&self) -> impl Iterator<Item = Position> + '_ {
        self.from.iter().map(|(partition, (epoch, offset))| Position { epoch: *epoch, partition: *partition, offset: *offset })
    }
}

/// The highest position of each partition that a request touched. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt(Vec<Position>);

/// Partitions that a receipt may name.
const MAX_POSITIONS: usize = 1_000;

impl Receipt {
    /// The receipt of these positions; `None` for none.
    pub fn of(positions: impl IntoIterator<Item = Position>) -> Option<Self> {
        let mut highest: BTreeMap<(u32, u32), u64> = BTreeMap::new();
        for p in positions {
            let offset = highest.entry((p.epoch, p.partition)).or_insert(p.offset);
            *offset = p.offset.max(*offset);
        }
        let positions: Vec<_> = highest.into_iter().map(|((epoch, partition), offset)| Position { epoch, partition, offset }).collect();
        (!positions.is_empty()).then_some(Self(positions))
    }

    /// The positions, by partition.
    pub fn positions(&self) -> &[Position] {
        &self.0
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, p) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(".")?;
            }
            write!(f, "{p}")?;
        }
        Ok(())
    }
}

impl FromStr for Receipt {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let positions = text.split('.').take(MAX_POSITIONS + 1).map(str::parse).collect::<Result<Vec<Position>, _>>()?;
        if positions.len() > MAX_POSITIONS {
            return Err(ParseError);
        }
        Self::of(positions).ok_or(ParseError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_name_the_highest_offset_of_each_partition() {
        let p = |partition, offset| Position { epoch: 0, partition, offset };
        let receipt = Receipt::of([p(3, 12_344), p(5, 778), p(3, 12_345)]).expect("positions");
        assert_eq!(receipt.to_string(), "0-3-12345.0-5-778");
        assert_eq!(receipt.to_string().parse(), Ok(receipt));
        assert_eq!(Position::parse_src("1:2:3").map(|p| p.src()), Some("1:2:3".into()));
    }

    #[test]
    fn what_is_no_receipt_is_refused() {
        for text in ["", ".", "0-3", "0-3-1.", "0-3-1-4", "0-3--1", "+0-3-1", "a-b-c", "0-3-18446744073709551616"] {
            assert_eq!(text.parse::<Receipt>(), Err(ParseError), "{text}");
        }
    }
}
