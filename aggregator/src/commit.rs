//! How far a partition is finished: the committed offset never passes the lowest unfinished position.

use std::collections::VecDeque;

/// Positions that are not finished yet, in offset order, and what each still waits for.
#[derive(Debug, Default)]
pub struct Frontier {
    positions: VecDeque<Waiting>,
    /// The newest position behind which everything is finished.
    finished: Option<Finished>,
}

#[derive(Debug)]
struct Waiting {
    offset: u64,
    appended_at_ms: i64,
    obligations: u16,
}

/// A position that can be committed: everything up to it is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The last finished offset; the group's committed offset is one more.
    pub offset: u64,
    /// When its record was appended, ms since the epoch.
    pub appended_at_ms: i64,
}

impl Frontier {
    /// A new position with so many obligations. Offsets grow.
    pub fn begin(&mut self, offset: u64, appended_at_ms: i64, obligations: u16) {
        debug_assert!(self.positions.back().is_none_or(|p| p.offset < offset));
        self.positions.push_back(Waiting { offset, appended_at_ms, obligations });
    }

    /// More obligations of a position.
    pub fn oblige(&mut self, offset: u64, more: u16) {
        if let Some(i) = self.index(offset) {
            self.positions[i].obligations += more;
        }
    }

    /// One obligation of a position is met.
    pub fn meet(&mut self, offset: u64) {
        let Some(i) = self.index(offset) else {
            debug_assert!(false, "position {offset} is not waiting");
            return;
        };
        debug_assert!(self.positions[i].obligations > 0, "position {offset} has no obligation left");
        self.positions[i].obligations -= 1;
        while self.positions.front().is_some_and(|p| p.obligations == 0) {
            if let Some(p) = self.positions.pop_front() {
                self.finished = Some(Finished { offset: p.offset, appended_at_ms: p.appended_at_ms });
            }
        }
    }

    /// The newest position that can be committed.
    pub fn finished(&self) -> Option<Finished> {
        self.finished
    }

    /// The newest position seen, whether finished or not: what a broken commit rule would commit.
    #[doc(hidden)]
    pub fn newest(&self) -> Option<Finished> {
        self.positions.back().map(|p| Finished { offset: p.offset, appended_at_ms: p.appended_at_ms }).or(self.finished)
    }

    /// Number of positions not finished, or finished behind an unfinished one.
    pub fn waiting(&self) -> usize {
        self.positions.len()
    }

    /// Append time of the oldest unfinished position, ms since the epoch.
    pub fn oldest_ms(&self) -> Option<i64> {
        self.positions.front().map(|p| p.appended_at_ms)
    }

    fn index(&self, offset: u64) -> Option<usize> {
        let first = self.positions.front()?.offset;
        // Offsets are dense but for gaps of the broker's own records: guess, then search.
        let guess = offset.checked_sub(first)? as usize;
        if self.positions.get(guess).is_some_and(|p| p.offset == offset) {
            return Some(guess);
        }
        self.positions.binary_search_by_key(&offset, |p| p.offset).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_passes_an_unfinished_position() {
        let mut f = Frontier::default();
        for offset in [5, 6, 9] {
            f.begin(offset, offset as i64 * 10, 2);
        }
        for offset in [9, 9, 6, 6, 5] {
            f.meet(offset);
            assert_eq!(f.finished(), None);
        }
        f.meet(5);
        assert_eq!(f.finished(), Some(Finished { offset: 9, appended_at_ms: 90 }));
        assert_eq!(f.waiting(), 0);
    }
}
