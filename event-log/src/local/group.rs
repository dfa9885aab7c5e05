//! Who holds which partition: the consumer groups of this process. Members come and go, partitions are shared evenly
//! and move as little as possible, and one that moves is first let go by its holder, or taken when it does not answer.
//!
//! Owns no I/O: offsets go to the writer. The lock is held while commands are enqueued, so that a commit that was
//! let through lies before the question for the committed offset that the next holder begins with.

use super::batch::{Command, Commit, Offsets};
use super::topic::Topic;
use crate::{LogError, Revocation};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// The groups of this process, by group and topic.
#[derive(Debug)]
pub(super) struct Groups {
    groups: Mutex<HashMap<(String, String), Group>>,
    writer: Sender<Command>,
    /// How long a holder may take to let go.
    revoke_wait: Duration,
}

/// What a member is told, in order.
#[derive(Debug)]
pub(super) enum Notice {
    /// Partitions that it holds from now on, and the writer's answer: the committed offsets of all partitions.
    Assigned(Vec<u32>, oneshot::Receiver<Offsets>),
    /// Partitions that it has to let go, and the handover's number.
    Revoked(Revocation, u64),
    Lost(Vec<u32>),
}

/// Where a member finds its notices.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    notices: Mutex<VecDeque<Notice>>,
    arrived: Notify,
}

impl Mailbox {
    fn notices(&self) -> MutexGuard<'_, VecDeque<Notice>> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, notice: Notice) {
        self.notices().push_back(notice);
        self.arrived.notify_one();
    }

    pub(super) fn take(&self) -> Option<Notice> {
        self.notices().pop_front()
    }

    /// Waits until there may be a notice. One waiter at a time.
    pub(super) async fn arrival(&self) {
        self.arrived.notified().await;
    }

    /// Takes back a revocation that was not read yet.
    fn withdraw(&self, handover: u64) {
        self.notices().retain(|notice| !matches!(notice, Notice::Revoked(_, number) if *number == handover));
    }
}

/// A member's place in its group. Dropped, it leaves.
#[derive(Debug)]
pub(super) struct Membership {
    groups: Arc<Groups>,
    pub(super) topic: Arc<Topic>,
    group: String,
    member: u64,
    pub(super) mailbox: Arc<Mailbox>,
}

impl Membership {
    pub(super) fn committer(&self) -> MemberCommitter {
        MemberCommitter { groups: Arc::clone(&self.groups), topic: Arc::clone(&self.topic), group: self.group.clone(), member: self.member }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.groups.leave(&self.group, &self.topic, self.member);
    }
}

/// Commits for a member.
#[derive(Debug)]
pub(super) struct MemberCommitter {
    groups: Arc<Groups>,
    topic: Arc<Topic>,
    group: String,
    member: u64,
}

impl MemberCommitter {
    /// Enqueues the commit where the member holds the partition.
    pub(super) fn enqueue(&self, partition: u32, next: u64) -> Result<oneshot::Receiver<Result<(), LogError>>, LogError> {
        let groups = self.groups.lock();
        let slot = groups.get(&(self.group.clone(), self.topic.name.clone())).and_then(|group| group.slots.get(partition as usize));
        if slot.and_then(|slot| slot.holder) != Some(self.member) {
            return Err(LogError::NotHeld(partition));
        }
        let (done, outcome) = oneshot::channel();
        let commit = Commit { topic: self.topic.index, group: self.group.clone(), partition, next, done };
        self.groups.writer.send(Command::Commit(commit)).map_err(|_| closed())?;
        drop(groups);
        Ok(outcome)
    }
}

/// The members of a group and what they hold. Partitions are told apart by their index.
#[derive(Debug, Default)]
struct Group {
    members: BTreeMap<u64, Arc<Mailbox>>,
    slots: Vec<Slot>,
    last_member: u64,
    last_handover: u64,
}

/// A partition of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slot {
    /// Who may commit it.
    holder: Option<u64>,
    /// Who is to hold it.
    heir: Option<u64>,
    /// The handover that its holder was asked for.
    handover: Option<u64>,
}

/// What a rebalance asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Moves {
    given: BTreeMap<u64, Vec<u32>>,
    asked_back: BTreeMap<u64, Vec<u32>>,
}

impl Groups {
    pub(super) fn new(writer: Sender<Command>, revoke_wait: Duration) -> Self {
        Self { groups: Mutex::default(), writer, revoke_wait }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Group>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn join(self: &Arc<Self>, group: &str, topic: &Arc<Topic>) -> Result<Membership, LogError> {
        let mut groups = self.lock();
        // Registered before the first assignment is asked for.
        self.writer.send(Command::Register { topic: topic.index, group: group.to_owned() }).map_err(|_| closed())?;
        let state = groups.entry((group.to_owned(), topic.name.clone())).or_default();
        state.slots.resize(topic.partitions().len().max(state.slots.len()), Slot::default());
        state.last_member += 1;
        let (member, mailbox) = (state.last_member, Arc::new(Mailbox::default()));
        state.members.insert(member, Arc::clone(&mailbox));
        self.rebalance(group, topic, state);
        drop(groups);
        Ok(Membership { groups: Arc::clone(self), topic: Arc::clone(topic), group: group.to_owned(), member, mailbox })
    }

    /// What the member still holds goes to others at once.
    fn leave(self: &Arc<Self>, group: &str, topic: &Arc<Topic>, member: u64) {
        let mut groups = self.lock();
        let Some(state) = groups.get_mut(&(group.to_owned(), topic.name.clone())) else { return };
        state.members.remove(&member);
        state.slots.iter_mut().filter(|slot| slot.holder == Some(member)).for_each(|slot| (slot.holder, slot.handover) = (None, None));
        self.rebalance(group, topic, state);
    }

    /// Shares out partitions that were added.
    pub(super) fn grow(self: &Arc<Self>, topic: &Arc<Topic>) {
        let partitions = topic.partitions().len();
        for ((group, name), state) in self.lock().iter_mut() {
            if *name == topic.name && state.slots.len() < partitions {
                state.slots.resize(partitions, Slot::default());
                self.rebalance(group, topic, state);
            }
        }
    }

    fn rebalance(self: &Arc<Self>, group: &str, topic: &Arc<Topic>, state: &mut Group) {
        let moves = state.share_out();
        for (member, partitions) in moves.given {
            let Some(mailbox) = state.members.get(&member) else { continue };
            let (answer, committed) = oneshot::channel();
            // Where the writer is gone the member learns it from the answer that does not come.
            drop(self.writer.send(Command::Committed { topic: topic.index, group: group.to_owned(), answer }));
            mailbox.put(Notice::Assigned(partitions, committed));
        }
        for (member, partitions) in moves.asked_back {
            let Some(mailbox) = state.members.get(&member) else { continue };
            state.last_handover += 1;
            let handover = state.last_handover;
            for partition in &partitions {
                state.slots[*partition as usize].handover = Some(handover);
            }
            let (done, is_done) = mpsc::sync_channel(1);
            mailbox.put(Notice::Revoked(Revocation::new(partitions, done), handover));
            self.await_handover(group.to_owned(), Arc::clone(topic), handover, is_done);
        }
    }

    /// Waits for the holder on a thread of its own: handovers are rare, and the answer is not asynchronous.
    fn await_handover(self: &Arc<Self>, group: String, topic: Arc<Topic>, handover: u64, is_done: mpsc::Receiver<()>) {
        let (groups, wait) = (Arc::downgrade(self), self.revoke_wait);
        let waiting = move || {
            let is_let_go = is_done.recv_timeout(wait).is_ok();
            if let Some(groups) = groups.upgrade() {
                groups.finish_handover(&group, &topic, handover, is_let_go);
            }
        };
        if let Err(error) = std::thread::Builder::new().name("log-handover".into()).spawn(waiting) {
            // The partitions stay where they are until the holder leaves.
            tracing::error!(%error, "no thread for a handover");
        }
    }

    fn finish_handover(self: &Arc<Self>, group: &str, topic: &Arc<Topic>, handover: u64, is_let_go: bool) {
        let mut groups = self.lock();
        let Some(state) = groups.get_mut(&(group.to_owned(), topic.name.clone())) else { return };
        let mut lost: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for (n, slot) in (0_u32..).zip(&mut state.slots).filter(|(_, slot)| slot.handover == Some(handover)) {
            slot.handover = None;
            if let Some(holder) = slot.holder.take() {
                lost.entry(holder).or_default().push(n);
            }
        }
        if !is_let_go {
            for (member, partitions) in lost {
                tracing::warn!(group, topic = topic.name, ?partitions, "a consumer did not let go in time");
                if let Some(mailbox) = state.members.get(&member) {
                    mailbox.withdraw(handover);
                    mailbox.put(Notice::Lost(partitions));
                }
            }
        }
        self.rebalance(group, topic, state);
    }
}

impl Group {
    /// Decides who is to hold what, and what has to move for it. Free partitions are given at once.
    fn share_out(&mut self) -> Moves {
        self.choose_heirs();
        let mut moves = Moves::default();
        for (n, slot) in (0_u32..).zip(&mut self.slots) {
            match (slot.holder, slot.heir) {
                (None, Some(heir)) => {
                    slot.holder = Some(heir);
                    moves.given.entry(heir).or_default().push(n);
                }
                (Some(holder), heir) if heir != Some(holder) && slot.handover.is_none() => {
                    moves.asked_back.entry(holder).or_default().push(n);
                }
                _ => {}
            }
        }
        moves
    }

    /// Evenly, to within one; each member keeps what it was to hold as far as that goes.
    fn choose_heirs(&mut self) {
        for slot in &mut self.slots {
            slot.heir = slot.heir.filter(|heir| self.members.contains_key(heir));
        }
        let (count, members) = (self.slots.len(), self.members.len());
        if members == 0 {
            return;
        }
        let has = |slots: &[Slot], member: u64| slots.iter().filter(|slot| slot.heir == Some(member)).count();
        let mut order: Vec<u64> = self.members.keys().copied().collect();
        order.sort_by_key(|member| std::cmp::Reverse(has(&self.slots, *member)));
        let quotas: Vec<(u64, usize)> =
            order.iter().enumerate().map(|(n, member)| (*member, count / members + usize::from(n < count % members))).collect();
        for (member, quota) in &quotas {
            self.slots.iter_mut().filter(|slot| slot.heir == Some(*member)).skip(*quota).for_each(|slot| slot.heir = None);
        }
        for (member, quota) in quotas {
            let missing = quota - has(&self.slots, member);
            self.slots.iter_mut().filter(|slot| slot.heir.is_none()).take(missing).for_each(|slot| slot.heir = Some(member));
        }
    }
}

fn closed() -> LogError {
    LogError::Unavailable("the log is closed".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Group {
        fn add(&mut self) -> u64 {
            self.last_member += 1;
            self.members.insert(self.last_member, Arc::default());
            self.last_member
        }

        fn let_go(&mut self, partition: usize) {
            self.slots[partition].holder = None;
            self.slots[partition].handover = None;
        }
    }

    #[test]
    fn a_second_member_takes_half_and_the_first_keeps_the_rest() {
        let mut group = Group { slots: vec![Slot::default(); 5], ..Group::default() };
        let first = group.add();
        assert_eq!(group.share_out().given, BTreeMap::from([(first, vec![0, 1, 2, 3, 4])]));
        let second = group.add();
        let moves = group.share_out();
        assert_eq!(moves, Moves { given: BTreeMap::new(), asked_back: BTreeMap::from([(first, vec![3, 4])]) });
        group.let_go(3);
        group.let_go(4);
        assert_eq!(group.share_out().given, BTreeMap::from([(second, vec![3, 4])]));
    }

    proptest! {
        /// Whatever comes and goes: a partition has one holder until that one let it go, and in the end all are shared evenly.
        #[test]
        fn partitions_are_shared_evenly_and_never_held_twice(partitions in 1_usize..20, steps in proptest::collection::vec((0_u8..4, any::<prop::sample::Index>()), 0..60)) {
            let mut group = Group { slots: vec![Slot::default(); partitions], ..Group::default() };
            let mut holders: Vec<Option<u64>> = vec![None; partitions];
            let settle = |group: &mut Group, holders: &mut Vec<Option<u64>>| {
                let moves = group.share_out();
                for (member, given) in moves.given {
                    for partition in given {
                        assert_eq!(holders[partition as usize].replace(member), None, "still held");
                    }
                }
                for (member, asked) in moves.asked_back {
                    group.last_handover += 1;
                    for partition in asked {
                        assert_eq!(holders[partition as usize], Some(member));
                        group.slots[partition as usize].handover = Some(group.last_handover);
                    }
                }
            };
            for (step, index) in steps {
                match step {
                    0 => drop(group.add()),
                    1 if !group.members.is_empty() => {
                        let member = *index.get(&group.members.keys().copied().collect::<Vec<_>>());
                        group.members.remove(&member);
                        for (n, holder) in holders.iter_mut().enumerate().filter(|(_, holder)| **holder == Some(member)) {
                            *holder = None;
                            group.let_go(n);
                        }
                    }
                    _ => {
                        let n = index.index(partitions);
                        if group.slots[n].handover.is_some() {
                            holders[n] = None;
                            group.let_go(n);
                        }
                    }
                }
                settle(&mut group, &mut holders);
            }
            while let Some(n) = group.slots.iter().position(|slot| slot.handover.is_some()) {
                holders[n] = None;
                group.let_go(n);
                settle(&mut group, &mut holders);
            }
            let counts: Vec<usize> = group.members.keys().map(|member| holders.iter().filter(|holder| **holder == Some(*member)).count()).collect();
            if let (Some(least), Some(most)) = (counts.iter().min(), counts.iter().max()) {
                prop_assert!(most - least <= 1, "{counts:?}");
                prop_assert!(holders.iter().all(Option::is_some));
            }
        }
    }
}
