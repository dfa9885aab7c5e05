//! One rollup item's queue of additions: in offset order, written under the mark, one update at a time.
//!
//! An update carries the mark of its last position and is accepted only where the item's mark is absent or
//! lower than its first position. So a replay with other batch boundaries, a zombie and an answer that was
//! lost are all the same case: the store refuses, tells its mark, and what lies at or below it is dropped.
//! Since the mark says "everything of this partition for this item up to here", an update takes only the
//! prefix of positions whose inserts are resolved.

use crate::fold::{self, Addition, Names};
use schemas::rollup::Rollup;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Counters per update: keeps the expression below DynamoDB's 4 KB, and below its 300 operators even if it counts each
/// action (the version's and the mark's too) as one.
const COUNTERS_PER_UPDATE: usize = 280;
/// Positions per update.
const POSITIONS_PER_UPDATE: usize = 2_000;

/// What one update adds.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemUpdate {
    /// First position of this partition in it.
    pub first: u64,
    /// Last position of this partition in it: the new mark.
    pub last: u64,
    /// The counters to add.
    pub sum: Rollup,
    /// Maxima that are greater than what the item is known to have: set where that still holds.
    pub maxima: Vec<(String, i64)>,
}

#[derive(Debug)]
struct Slot {
    offset: u64,
    state: SlotState,
}

#[derive(Debug)]
enum SlotState {
    /// The insert is under way.
    Unresolved,
    /// To be added.
    Ready(Arc<Addition>),
    /// Nothing to add (dead letter).
    Void,
}

/// What an item in the store is known to have.
#[derive(Debug, Default)]
struct Shape {
    names: Names,
    maxima: BTreeMap<String, i64>,
}

/// What the queue is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Busy {
    Idle,
    Reading,
    Updating,
}

/// What to do next for an item.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// Nothing is ready, or an answer is awaited.
    Nothing,
    /// Read the item (consistently): this process does not know it yet.
    Read,
    /// Send this update.
    Update(Box<ItemUpdate>),
}

/// The queue of one item.
#[derive(Debug)]
pub struct ItemQueue {
    slots: VecDeque<Slot>,
    with_slots: bool,
    ready: usize,
    busy: Busy,
    shape: Option<Shape>,
    in_order: bool,
}

impl ItemQueue {
    /// An empty queue. Hour items have five-minute slots. `in_order` is true but in tests of the guard.
    pub fn new(with_slots: bool, in_order: bool) -> Self {
        Self { slots: VecDeque::new(), with_slots, ready: 0, busy: Busy::Idle, shape: None, in_order }
    }

    /// A position that touches the item and whose insert is under way.
    pub fn expect(&mut self, offset: u64) {
        self.slots.push_back(Slot { offset, state: SlotState::Unresolved });
    }

    /// The insert of a position is resolved: it adds this, or nothing.
    pub fn resolve(&mut self, offset: u64, addition: Option<Arc<Addition>>) {
        let Ok(i) = self.slots.binary_search_by_key(&offset, |s| s.offset) else { return };
        self.slots[i].state = match addition {
            Some(addition) => {
                self.ready += 1;
                SlotState::Ready(addition)
            }
            None => SlotState::Void,
        };
    }

    /// Number of additions that are ready, in whatever order.
    pub fn ready(&self) -> usize {
        self.ready
    }

    /// Whether nothing waits and nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.slots.is_empty() && self.busy == Busy::Idle
    }

    /// Whether an answer of the store is awaited.
    pub fn is_busy(&self) -> bool {
        self.busy != Busy::Idle
    }

    /// Drops positions at the head that add nothing; returns them, finished.
    pub fn take_void(&mut self) -> Vec<u64> {
        let mut finished = Vec::new();
        // While an update is under way its positions are at the head, so nothing is taken from before them.
        if self.busy == Busy::Updating {
            return finished;
        }
        while self.slots.front().is_some_and(|s| matches!(s.state, SlotState::Void)) {
            finished.extend(self.slots.pop_front().map(|s| s.offset));
        }
        finished
    }

    /// What to do now; from then on it is under way.
    pub fn start_next(&mut self) -> Next {
        if self.busy != Busy::Idle || self.ready == 0 || (self.in_order && !self.is_head_resolved()) {
            return Next::Nothing;
        }
        let Some(shape) = &self.shape else {
            self.busy = Busy::Reading;
            return Next::Read;
        };
        let mut limit = POSITIONS_PER_UPDATE;
        loop {
            let (update, taken) = self.update_of(limit, shape);
            if taken > 1 && update.sum.counters().len() + update.maxima.len() > COUNTERS_PER_UPDATE {
                limit = taken / 2;
                continue;
            }
            self.busy = Busy::Updating;
            return Next::Update(Box::new(update));
        }
    }

    fn is_head_resolved(&self) -> bool {
        self.slots.front().is_some_and(|s| !matches!(s.state, SlotState::Unresolved))
    }

    fn update_of(&self, limit: usize, shape: &Shape) -> (ItemUpdate, usize) {
        let mut sum = Rollup::default();
        let (mut first, mut last, mut taken) = (None, 0, 0);
        for slot in self.slots.iter().take(limit) {
            match &slot.state {
                SlotState::Unresolved if self.in_order => break,
                SlotState::Unresolved => continue,
                SlotState::Void => {}
                SlotState::Ready(addition) => fold::add(&mut sum, addition, self.with_slots),
            }
            first.get_or_insert(slot.offset);
            last = slot.offset;
            taken += 1;
        }
        shape.names.cap(&mut sum);
        let maxima = sum.maxima().into_iter().filter(|(name, value)| shape.maxima.get(name).is_none_or(|known| known < value)).collect();
        (ItemUpdate { first: first.unwrap_or(last), last, sum, maxima }, taken)
    }

    /// The item was read (`None`: it is not there yet). Returns the positions that it holds already.
    pub fn read(&mut self, item: Option<&Rollup>, mark: Option<u64>) -> Vec<u64> {
        self.busy = Busy::Idle;
        self.learn(item.unwrap_or(&Rollup::default()));
        mark.map_or_else(Vec::new, |mark| self.drop_up_to(mark))
    }

    /// The update was applied. Returns the positions that the item holds now.
    pub fn applied(&mut self, update: &ItemUpdate) -> Vec<u64> {
        self.busy = Busy::Idle;
        if let Some(shape) = &mut self.shape {
            shape.names.extend(&update.sum);
            shape.maxima.extend(update.maxima.iter().cloned());
        }
        if self.in_order {
            return self.drop_up_to(update.last);
        }
        // Without the guard: only what was sent is gone.
        let (gone, kept): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.slots).into_iter().partition(|s| s.offset <= update.last && !matches!(s.state, SlotState::Unresolved));
        self.ready -= gone.iter().filter(|s| matches!(s.state, SlotState::Ready(_))).count();
        self.slots = kept;
        gone.into_iter().map(|s| s.offset).collect()
    }

    /// The store refused the update and told what it has. Returns the positions that it holds already.
    pub fn refused(&mut self, item: &Rollup, mark: Option<u64>) -> Vec<u64> {
        self.read(Some(item), mark)
    }

    /// The update or the read failed and may or may not have been applied: it is tried again.
    pub fn failed(&mut self) {
        self.busy = Busy::Idle;
    }

    fn learn(&mut self, item: &Rollup) {
        self.shape = Some(Shape { names: Names::of(item), maxima: item.maxima().into_iter().collect() });
    }

    fn drop_up_to(&mut self, mark: u64) -> Vec<u64> {
        let mut finished = Vec::new();
        while self.slots.front().is_some_and(|s| s.offset <= mark && !matches!(s.state, SlotState::Unresolved)) {
            if let Some(slot) = self.slots.pop_front() {
                self.ready -= usize::from(matches!(slot.state, SlotState::Ready(_)));
                finished.push(slot.offset);
            }
        }
        finished
    }
}
