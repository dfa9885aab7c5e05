//! One partition's events on their way from the log into the counters: decides, does no I/O.
//!
//! The driver (`consume`) feeds records, answers and the time in and carries out the [`Command`]s
//! that come out, in whatever order the world answers. The model test drives the same code with crashes,
//! zombies, delayed writes and lost answers.
//!
//! Each record has obligations, and the commit waits for all of them ([`crate::commit`]): the insert, the four
//! rollup items it touches (agent and fleet, day and hour), the users items, the directory, and for the
//! agent's day the announcement; or the dead letter's acknowledgement. Either way the log's own item, which
//! tells what became of the records of a day of append, gets exactly one of its outcomes. Where most records die the
//! partition stops: it buries no more, and so commits nothing beyond ([`Partition::stopped`]).
//!
//! During a rebuild the metrics table has two versions ([`crate::target`]), and a record is finished when both hold it.

mod flood;

pub use flood::Stopped;

use crate::commit::{Finished, Frontier};
use crate::config::Cadence;
use crate::flush::{ItemQueue, ItemUpdate, Next};
use crate::fold::{Addition, Outcome, fold};
use crate::target::{Table, Target};
use event_log::LogRecord;
use flood::Flood;
use rustc_hash::{FxHashMap, FxHashSet};
use schemas::AgentEvent;
use schemas::item::{MetricKey, Period, Subject};
use schemas::rollup::Rollup;
use schemas::time::{day_of, hour_of};
use schemas::users::{UserSet, user_hash};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Events per insert request: the most that `BatchExecuteStatement` takes.
pub const INSERTS_PER_REQUEST: usize = 25;
/// How long a single event waits for company before it is inserted, ms.
const INSERT_LINGER_MS: u64 = 5;
/// First and longest wait before something is tried again, ms.
const BACKOFF_MS: (u64, u64) = (25, 5_000);
/// Memory that an unfinished position holds: its places in the queues of its items, and what it adds to them.
const POSITION_WEIGHT: usize = 450;
/// Memory that a record which waits for its insert holds beside twice its bytes, once as they came and once decoded.
const PENDING_WEIGHT: usize = 1_500;
/// Items that a partition remembers beyond those in use; a tenth as many sets of users, twice as many names, and four
/// times as many agents.
const REMEMBERED: usize = 20_000;
/// Items that all partitions of a process remember together.
const REMEMBERED_TOGETHER: usize = 4 * REMEMBERED;
/// However many partitions there are, each remembers so many.
const LEAST_REMEMBERED: usize = 200;

/// The guards of exactly-once. All are on; the model test switches each off and must see counts go wrong.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guards {
    /// A raw event that is there already is compared by `src`.
    pub compare_src: bool,
    /// An update is accepted only above the item's mark.
    pub mark_condition: bool,
    /// An update takes only positions whose predecessors are resolved.
    pub in_order: bool,
    /// A position is finished only when its totals are announced.
    pub publish_before_commit: bool,
    /// The store is durable before a commit.
    pub barrier: bool,
    /// The commit waits for the lowest unfinished position.
    pub commit_rule: bool,
    /// A log that is not the one committed to is refused.
    pub epoch: bool,
    /// A partition stops where most of it would be buried.
    pub dead_letter_limit: bool,
}

impl Default for Guards {
    fn default() -> Self {
        Self {
            compare_src: true,
            mark_condition: true,
            in_order: true,
            publish_before_commit: true,
            barrier: true,
            commit_rule: true,
            epoch: true,
            dead_letter_limit: true,
        }
    }
}

/// What a partition is told.
#[derive(Clone, Copy, Debug)]
pub struct PartitionConfig {
    /// The log's epoch.
    pub epoch: u32,
    /// The partition.
    pub partition: u32,
    /// When items are written.
    pub cadence: Cadence,
    /// How long raw events are kept.
    pub retention: Option<Duration>,
    /// Insert requests under way at once.
    pub inserts_in_flight: usize,
    /// The versions of the metrics table that are written.
    pub tables: &'static [Table],
    /// Dead letters within a minute beyond which it stops where they are most of what it has to count; `None` for no limit.
    pub dead_letter_limit: Option<u64>,
    /// On, but in tests.
    pub guards: Guards,
}

/// A raw event to insert.
#[derive(Clone, Debug)]
pub struct Insertion {
    /// Its offset.
    pub offset: u64,
    /// The event.
    pub event: Arc<AgentEvent>,
    /// When it may be deleted, seconds since the epoch.
    pub ttl: Option<i64>,
}

/// What became of an insert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InsertOutcome {
    /// The event is stored.
    New,
    /// It was stored from this very position before: a replay.
    Replay,
    /// It was stored from this very position before, counted, and deleted since.
    Deleted,
    /// It was stored from another position: the client's duplicate.
    Duplicate,
    /// Another event has its identity.
    Conflict,
    /// The store will never take it.
    Invalid(String),
    /// Throttled or a passing failure: try again.
    Retry,
}

/// Why a record cannot be processed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadReason {
    /// `undecodable`, `invalid`, `too_old` or `id_conflict`.
    pub reason: &'static str,
    /// Where it was found: `decode`, `admit` or `insert`.
    pub stage: &'static str,
    /// More about it; never content.
    pub detail: String,
}

/// What the driver has to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// Insert these if absent; answer with [`Partition::inserted`].
    Insert(Vec<Insertion>),
    /// Read the item consistently; answer with [`Partition::item_read`] or [`Partition::item_failed`].
    Read(Target),
    /// Add to the item under the mark; answer with [`Partition::item_applied`], `item_refused` or `item_failed`.
    Update(Target, Box<ItemUpdate>),
    /// Publish the totals of an agent's day, until acknowledged; answer with [`Partition::announced`].
    Announce(Target, Box<Rollup>),
    /// Unite the users item with these users, each its offset and hash; answer with [`Partition::united`] or [`Partition::unite_failed`].
    Unite(Target, Vec<(u64, u64)>),
    /// Note the agent and when it was first seen in the directory, until done; answer with [`Partition::registered`].
    Register(Arc<str>, i64),
    /// Publish the dead letter, until acknowledged; answer with [`Partition::dead_lettered`].
    DeadLetter(Arc<LogRecord>, DeadReason),
}

#[derive(Debug)]
struct Pending {
    record: Arc<LogRecord>,
    event: Arc<AgentEvent>,
    /// The items that it adds to.
    keys: [MetricKey; 4],
    identity: Identity,
    attempts: u32,
}

impl Pending {
    fn weight(record: &LogRecord) -> usize {
        record.weight() * 2 + PENDING_WEIGHT
    }
}

/// Memory that a record takes once a partition has it.
pub fn weight_of(record: &LogRecord) -> usize {
    Pending::weight(record) + POSITION_WEIGHT
}

#[derive(Debug)]
struct Item {
    queue: ItemQueue,
    is_agent: bool,
    /// Announcements follow the updates of agents' day items only.
    is_announced: bool,
    first_ready: Option<u64>,
    last_flush: Option<u64>,
    attempts: u32,
    retry_at: u64,
    scheduled: Option<u64>,
    unannounced: Vec<u64>,
    announcing: Option<Vec<u64>>,
    totals: Option<Box<Rollup>>,
}

#[derive(Debug, Default)]
struct UsersItem {
    known: Option<UserSet>,
    pending: Vec<(u64, u64)>,
    uniting: Option<Vec<u64>>,
    first_pending: Option<u64>,
    last_flush: Option<u64>,
    attempts: u32,
    retry_at: u64,
    scheduled: Option<u64>,
}

#[derive(Debug, Default)]
struct Delayed {
    waiting: VecDeque<u64>,
    attempts: u32,
    retry_at: u64,
    in_flight: usize,
}

type Identity = (Arc<str>, i64, Arc<str>);

/// What a partition waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Item(Target),
    Users(Target),
    Agent(Arc<str>),
    Inserts,
}

/// The state of one partition.
#[derive(Debug)]
pub struct Partition {
    config: PartitionConfig,
    now: u64,
    frontier: Frontier,
    pending: FxHashMap<u64, Pending>,
    pending_bytes: usize,
    /// Dead letters that are not acknowledged, and the bytes that each holds.
    burying: FxHashMap<u64, usize>,
    burying_bytes: usize,
    flood: Flood,
    to_insert: VecDeque<u64>,
    to_insert_since: u64,
    requests_in_flight: usize,
    identities: FxHashMap<Identity, VecDeque<u64>>,
    delayed: FxHashMap<Arc<str>, Delayed>,
    items: FxHashMap<Target, Item>,
    users: FxHashMap<Target, UsersItem>,
    agents: FxHashSet<Arc<str>>,
    /// Agents that are on their way into the directory, and the positions that wait for it.
    registering: FxHashMap<Arc<str>, Vec<u64>>,
    names: FxHashSet<Arc<str>>,
    timers: BinaryHeap<Reverse<(u64, Timer)>>,
    commands: Vec<Command>,
    is_draining: bool,
    jitter: u64,
    /// Items to remember beyond those in use.
    remembered: usize,
    /// Sizes of items, users and names at which to forget what is not in use.
    forget_at: [usize; 3],
}

impl Partition {
    /// A partition that has seen nothing yet.
    pub fn new(config: PartitionConfig) -> Self {
        Self {
            config,
            now: 0,
            frontier: Frontier::default(),
            pending: FxHashMap::default(),
            pending_bytes: 0,
            burying: FxHashMap::default(),
            burying_bytes: 0,
            flood: Flood::new(config.dead_letter_limit.filter(|_| config.guards.dead_letter_limit)),
            to_insert: VecDeque::new(),
            to_insert_since: 0,
            requests_in_flight: 0,
            identities: FxHashMap::default(),
            delayed: FxHashMap::default(),
            items: FxHashMap::default(),
            users: FxHashMap::default(),
            agents: FxHashSet::default(),
            registering: FxHashMap::default(),
            names: FxHashSet::default(),
            timers: BinaryHeap::new(),
            commands: Vec::new(),
            is_draining: false,
            jitter: 0x9E37_79B9 ^ u64::from(config.partition),
            remembered: REMEMBERED,
            forget_at: [REMEMBERED, REMEMBERED / 10, REMEMBERED * 2],
        }
    }

    /// The next record of the partition, decoded or not. Taken no more once the partition has stopped: the log has it.
    pub fn record(&mut self, record: Arc<LogRecord>, decoded: Result<AgentEvent, DeadReason>) {
        if self.flood.stopped().is_some() {
            return;
        }
        let (offset, appended_at_ms) = (record.offset, record.appended_at_ms);
        let event = match decoded.and_then(|event| self.admit(event, appended_at_ms)) {
            Ok(event) => event,
            Err(reason) => {
                // Not buried, it holds back the commit.
                self.frontier.begin(offset, appended_at_ms, 1 + self.tables().len() as u16);
                self.expect(&self.log_key(appended_at_ms), offset);
                if self.flood.may_bury(offset, &reason, self.now) {
                    self.dead_letter(record, reason);
                    self.resolve_record(offset, appended_at_ms, Outcome::DeadLetter);
                }
                return;
            }
        };
        self.flood.admitted(self.now);
        let keys = self.keys_of(&event);
        self.frontier.begin(offset, appended_at_ms, 1 + (self.tables().len() * (1 + keys.len())) as u16);
        self.expect(&self.log_key(appended_at_ms), offset);
        for key in &keys {
            self.expect(key, offset);
        }
        self.pending_bytes += Pending::weight(&record);
        let identity = identity_of(&event, &mut self.names);
        let agent = Arc::clone(&identity.0);
        self.pending.insert(offset, Pending { record, event: Arc::new(event), keys, identity: identity.clone(), attempts: 0 });
        // Of several records with one identity only one is under way: a request must not name a key twice.
        let same = self.identities.entry(identity).or_default();
        same.push_back(offset);
        if same.len() == 1 {
            self.enqueue_insert(offset, &agent);
        }
    }

    /// The time and everything that is due. Call after every change; then take the commands.
    pub fn tick(&mut self, now: u64) -> Vec<Command> {
        self.now = now;
        while let Some(Reverse((due, _))) = self.timers.peek() {
            if *due > now {
                break;
            }
            match self.timers.pop() {
                Some(Reverse((_, Timer::Item(key)))) => {
                    if let Some(item) = self.items.get_mut(&key) {
                        item.scheduled = None;
                    }
                    self.poke_item(&key);
                }
                Some(Reverse((_, Timer::Users(key)))) => {
                    if let Some(users) = self.users.get_mut(&key) {
                        users.scheduled = None;
                    }
                    self.poke_users(&key);
                }
                Some(Reverse((_, Timer::Agent(agent)))) => self.retry_agent(&agent),
                Some(Reverse((_, Timer::Inserts))) | None => {}
            }
        }
        self.send_inserts();
        self.forget();
        std::mem::take(&mut self.commands)
    }

    /// When [`Partition::tick`] is wanted next, if nothing happens before.
    pub fn next_due(&self) -> Option<u64> {
        self.timers.peek().map(|Reverse((due, _))| *due)
    }

    /// With how many partitions of this process, itself included, it shares what may be remembered.
    pub fn share_with(&mut self, partitions: usize) {
        let remembered = (REMEMBERED_TOGETHER / partitions.max(1)).clamp(LEAST_REMEMBERED, REMEMBERED);
        if self.remembered != remembered {
            self.remembered = remembered;
            self.forget_at = [remembered, remembered / 10, remembered * 2];
        }
    }

    /// Items, sets of users and agents that are in memory.
    pub fn remembers(&self) -> [usize; 3] {
        [self.items.len(), self.users.len(), self.agents.len()]
    }

    /// From now on nothing waits for its cadence: the partition is about to be given up.
    pub fn drain(&mut self) {
        self.is_draining = true;
        let keys: Vec<Target> = self.items.keys().cloned().collect();
        for key in keys {
            self.poke_item(&key);
        }
        let keys: Vec<Target> = self.users.keys().cloned().collect();
        for key in keys {
            self.poke_users(&key);
        }
    }

    /// Why the partition has stopped: nothing more is buried or taken, and nothing beyond is ever finished.
    pub fn stopped(&self) -> Option<&Stopped> {
        self.flood.stopped()
    }

    /// The newest position that may be committed.
    pub fn finished(&self) -> Option<Finished> {
        if !self.config.guards.commit_rule {
            return self.frontier.newest();
        }
        self.frontier.finished()
    }

    /// Number of positions that are not finished.
    pub fn unfinished(&self) -> usize {
        self.frontier.waiting()
    }

    /// Append time of the oldest unfinished position, ms since the epoch.
    pub fn oldest_unfinished_ms(&self) -> Option<i64> {
        self.frontier.oldest_ms()
    }

    /// Bytes that unfinished positions hold.
    pub fn weight(&self) -> usize {
        self.pending_bytes + self.burying_bytes + self.frontier.waiting() * POSITION_WEIGHT
    }

    /// The answer to [`Command::Insert`], for every event of it.
    pub fn inserted(&mut self, outcomes: Vec<(u64, InsertOutcome)>) {
        self.requests_in_flight -= 1;
        for (offset, outcome) in outcomes {
            if matches!(outcome, InsertOutcome::New | InsertOutcome::Replay | InsertOutcome::Deleted | InsertOutcome::Duplicate) {
                self.flood.stored(self.now);
            }
            match outcome {
                InsertOutcome::Retry => self.delay_insert(offset),
                InsertOutcome::New | InsertOutcome::Replay => self.resolve_stored(offset),
                // Nothing of it: neither its user nor its agent may come back.
                InsertOutcome::Deleted => self.resolve_insert(offset, Some(Arc::new(Addition::Nothing)), Outcome::Inserted),
                InsertOutcome::Duplicate => self.resolve_insert(offset, Some(Arc::new(Addition::Duplicate)), Outcome::Duplicate),
                InsertOutcome::Conflict => {
                    self.bury(
                        offset,
                        flood::ID_CONFLICT,
                        "another event with other content has the same agent_id, timestamp and event_id".into(),
                    );
                }
                InsertOutcome::Invalid(detail) => self.bury(offset, "invalid", detail),
            }
        }
    }

    /// The answer to [`Command::Read`]: the item, or `None` where there is none.
    pub fn item_read(&mut self, key: &Target, rollup: Option<Rollup>) {
        let mark = self.mark_of(rollup.as_ref());
        self.with_item(key, |item| {
            let finished = item.queue.read(rollup.as_ref(), mark);
            (finished, rollup)
        });
    }

    /// The answer to [`Command::Update`]: applied. `new` is the item as it is now, for agents' days.
    pub fn item_applied(&mut self, key: &Target, update: &ItemUpdate, new: Option<Rollup>) {
        let now = self.now;
        self.with_item(key, |item| {
            item.last_flush = Some(now);
            item.first_ready = (item.queue.ready() > 0).then_some(now);
            (item.queue.applied(update), new)
        });
    }

    /// The answer to [`Command::Update`]: refused, since the item holds some of it already (or a greater maximum).
    pub fn item_refused(&mut self, key: &Target, old: Rollup) {
        let mark = self.mark_of(Some(&old));
        self.with_item(key, |item| (item.queue.refused(&old, mark), Some(old)));
    }

    /// The answer to [`Command::Read`] or [`Command::Update`]: no answer, or throttled.
    pub fn item_failed(&mut self, key: &Target) {
        let wait = self.backoff(self.items.get(key).map_or(0, |i| i.attempts));
        let retry_at = self.now + wait;
        if let Some(item) = self.items.get_mut(key) {
            item.queue.failed();
            item.attempts += 1;
            item.retry_at = retry_at;
        }
        self.poke_item(key);
    }

    /// The answer to [`Command::Announce`].
    pub fn announced(&mut self, key: &Target) {
        let Some(item) = self.items.get_mut(key) else { return };
        for offset in item.announcing.take().unwrap_or_default() {
            self.frontier.meet(offset);
        }
        self.announce(key);
    }

    /// The answer to [`Command::Unite`]: the set as it is stored now.
    pub fn united(&mut self, key: &Target, set: UserSet) {
        let now = self.now;
        let Some(users) = self.users.get_mut(key) else { return };
        users.known = Some(set);
        users.attempts = 0;
        users.last_flush = Some(now);
        for offset in users.uniting.take().unwrap_or_default() {
            self.frontier.meet(offset);
        }
        self.poke_users(key);
    }

    /// The answer to [`Command::Unite`]: no answer, throttled, or another writer was faster too often.
    pub fn unite_failed(&mut self, key: &Target, again: Vec<(u64, u64)>) {
        let wait = self.backoff(self.users.get(key).map_or(0, |u| u.attempts));
        let retry_at = self.now + wait;
        if let Some(users) = self.users.get_mut(key) {
            users.uniting = None;
            users.pending.splice(0..0, again);
            users.attempts += 1;
            users.retry_at = retry_at;
        }
        self.poke_users(key);
    }

    /// The answer to [`Command::Register`].
    pub fn registered(&mut self, agent: &Arc<str>) {
        if self.agents.len() >= self.remembered * 4 {
            self.agents.clear();
        }
        self.agents.insert(Arc::clone(agent));
        for offset in self.registering.remove(agent).unwrap_or_default() {
            self.frontier.meet(offset);
        }
    }

    /// The answer to [`Command::DeadLetter`].
    pub fn dead_lettered(&mut self, offset: u64) {
        self.burying_bytes -= self.burying.remove(&offset).unwrap_or_default();
        self.frontier.meet(offset);
    }

    /// Checks what other producers than the gateway may have got wrong, and the rule of the late.
    fn admit(&self, event: AgentEvent, appended_at_ms: i64) -> Result<AgentEvent, DeadReason> {
        let dead = |reason, detail: String| Err(DeadReason { reason, stage: "admit", detail });
        if let Err(detail) = check_values(&event) {
            return dead("invalid", detail.into());
        }
        if let Some(retention) = self.config.retention {
            let oldest = appended_at_ms * 1_000 - (retention.as_micros() as i64 - schemas::time::DAY_US);
            if event.timestamp < oldest {
                return dead("too_old", "older than EVENT_RETENTION_DAYS less one day when it was appended".into());
            }
        }
        Ok(event)
    }

    fn ttl_of(&self, event: &AgentEvent, appended_at_ms: i64) -> Option<i64> {
        let retention = self.config.retention?.as_secs() as i64;
        Some((event.timestamp / 1_000_000 + retention).max(appended_at_ms / 1_000 + 2 * 86_400))
    }

    fn keys_of(&mut self, event: &AgentEvent) -> [MetricKey; 4] {
        let agent = Subject::Agent(intern(&mut self.names, &event.agent_id));
        let fleet = Subject::Fleet(self.config.partition);
        let (day, hour) = (Period::Day(day_of(event.timestamp)), Period::Hour(hour_of(event.timestamp)));
        [
            MetricKey { subject: agent.clone(), period: day },
            MetricKey { subject: agent, period: hour },
            MetricKey { subject: fleet.clone(), period: day },
            MetricKey { subject: fleet, period: hour },
        ]
    }

    fn log_key(&self, appended_at_ms: i64) -> MetricKey {
        MetricKey { subject: Subject::Log(self.config.partition), period: Period::Day(day_of(appended_at_ms.saturating_mul(1_000))) }
    }

    fn tables(&self) -> &'static [Table] {
        self.config.tables
    }

    /// In each table the item has to wait for the position.
    fn expect(&mut self, key: &MetricKey, offset: u64) {
        for table in self.tables() {
            self.item(table.of(key)).queue.expect(offset);
        }
    }

    /// In each table the item learns what the position adds, and goes on.
    fn resolve(&mut self, key: &MetricKey, offset: u64, addition: Option<&Arc<Addition>>) {
        let (is_draining, cadence) = (self.is_draining, self.config.cadence);
        for table in self.tables() {
            let target = table.of(key);
            let item = self.item(target.clone());
            item.queue.resolve(offset, addition.cloned());
            // What is under way or has its time goes on by itself, unless there is enough for an update now, or something to
            // be dropped.
            let is_full = item.is_agent && item.queue.ready() >= cadence.events();
            let is_seen_to = item.queue.is_busy() || item.scheduled.is_some() && !is_full && !is_draining;
            if !is_seen_to || addition.is_none() {
                self.poke_item(&target);
            }
        }
    }

    fn item(&mut self, target: Target) -> &mut Item {
        let in_order = self.config.guards.in_order;
        self.items.entry(target).or_insert_with_key(|Target { table, key }| {
            let is_agent = matches!(key.subject, Subject::Agent(_));
            Item {
                queue: ItemQueue::new(matches!(key.period, Period::Hour(_)), in_order),
                is_agent,
                is_announced: *table == Table::Served && is_agent && matches!(key.period, Period::Day(_)),
                first_ready: None,
                last_flush: None,
                attempts: 0,
                retry_at: 0,
                scheduled: None,
                unannounced: Vec::new(),
                announcing: None,
                totals: None,
            }
        })
    }

    fn mark_of(&self, rollup: Option<&Rollup>) -> Option<u64> {
        rollup?.marks.get(&(self.config.epoch, self.config.partition)).copied()
    }

    /// Lets `change` alter an item; meets the obligations of the positions that it finishes; goes on with it.
    fn with_item(&mut self, key: &Target, change: impl FnOnce(&mut Item) -> (Vec<u64>, Option<Rollup>)) {
        let Some(item) = self.items.get_mut(key) else { return };
        item.attempts = 0;
        let (finished, now_stored) = change(item);
        if item.is_announced && !finished.is_empty() {
            if !self.config.guards.publish_before_commit {
                for offset in &finished {
                    self.frontier.meet(*offset);
                }
                item.totals = now_stored.map(Box::new);
            } else {
                item.unannounced.extend(finished);
                item.totals = now_stored.map(Box::new).or(item.totals.take());
            }
            self.announce(key);
        } else {
            for offset in finished {
                self.frontier.meet(offset);
            }
        }
        self.poke_item(key);
    }

    fn announce(&mut self, key: &Target) {
        let Some(item) = self.items.get_mut(key) else { return };
        if item.announcing.is_some() {
            return;
        }
        let Some(totals) = item.totals.take() else { return };
        item.announcing = Some(std::mem::take(&mut item.unannounced));
        self.commands.push(Command::Announce(key.clone(), totals));
    }

    /// Sends an item's next update if it is time, else sees to it that it is looked at in time. Both versions of an item are
    /// written together: so their marks are the same but for moments, which is when a rebuild can compare them.
    fn poke_item(&mut self, target: &Target) {
        if let Some(item) = self.items.get_mut(target) {
            for offset in item.queue.take_void() {
                self.frontier.meet(offset);
            }
        }
        let tables = self.tables();
        let is_busy = |table: &Table| self.items.get(&table.of(&target.key)).is_some_and(|item| item.queue.is_busy());
        if tables.iter().any(is_busy) {
            return;
        }
        let now = self.now;
        let Some(due) = tables.iter().filter_map(|table| self.due(&table.of(&target.key))).max() else { return };
        if due > now {
            let Some(item) = self.items.get_mut(target) else { return };
            if item.scheduled.is_none_or(|at| at > due) {
                item.scheduled = Some(due);
                self.timers.push(Reverse((due, Timer::Item(target.clone()))));
            }
            return;
        }
        for version in tables.iter().map(|table| table.of(&target.key)) {
            let Some(item) = self.items.get_mut(&version) else { continue };
            match item.queue.start_next() {
                Next::Nothing => {}
                Next::Read => self.commands.push(Command::Read(version)),
                Next::Update(update) => self.commands.push(Command::Update(version, update)),
            }
        }
    }

    /// When an item is to be written; `None` where it has nothing to be written.
    fn due(&mut self, target: &Target) -> Option<u64> {
        let (now, cadence) = (self.now, self.config.cadence);
        let item = self.items.get_mut(target).filter(|item| item.queue.ready() > 0)?;
        let first_ready = *item.first_ready.get_or_insert(now);
        let wait = if item.is_agent { cadence.agent_ms() } else { cadence.fleet_ms() };
        let is_full = item.is_agent && item.queue.ready() >= cadence.events();
        let due = if is_full || self.is_draining {
            now
        } else if cadence == Cadence::Fresh {
            item.last_flush.map_or(now, |last| last + wait)
        } else {
            first_ready + wait
        };
        Some(due.max(if item.attempts > 0 { item.retry_at } else { 0 }))
    }

    fn resolve_stored(&mut self, offset: u64) {
        let Some(pending) = self.pending.get(&offset) else { return };
        let event = Arc::clone(&pending.event);
        self.note_agent(&event, offset);
        self.note_user(&event, offset);
        self.resolve_insert(offset, Some(Arc::new(fold(&event))), Outcome::Inserted);
    }

    /// The insert's own obligation is met; the items learn what the position adds.
    fn resolve_insert(&mut self, offset: u64, addition: Option<Arc<Addition>>, outcome: Outcome) {
        let Some(pending) = self.pending.remove(&offset) else { return };
        self.pending_bytes -= Pending::weight(&pending.record);
        self.resolve_record(offset, pending.record.appended_at_ms, outcome);
        for key in pending.keys {
            self.resolve(&key, offset, addition.as_ref());
        }
        self.frontier.meet(offset);
        let identity = pending.identity;
        if let Some(delayed) = self.delayed.get_mut(&identity.0) {
            delayed.in_flight = delayed.in_flight.saturating_sub(1);
            delayed.attempts = 0;
            if delayed.waiting.is_empty() && delayed.in_flight == 0 {
                self.delayed.remove(&identity.0);
            } else {
                let agent = Arc::clone(&identity.0);
                self.retry_agent(&agent);
            }
        }
        let Some(same) = self.identities.get_mut(&identity) else { return };
        same.pop_front();
        match same.front().copied() {
            Some(next) => self.enqueue_insert(next, &identity.0),
            None => drop(self.identities.remove(&identity)),
        }
    }

    /// The log's item of the record's day of append learns what became of it.
    fn resolve_record(&mut self, offset: u64, appended_at_ms: i64, outcome: Outcome) {
        self.resolve(&self.log_key(appended_at_ms), offset, Some(&Arc::new(Addition::Record(outcome))));
    }

    fn bury(&mut self, offset: u64, reason: &'static str, detail: String) {
        let Some(pending) = self.pending.get(&offset) else { return };
        let dead = DeadReason { reason, stage: "insert", detail };
        if !self.flood.may_bury(offset, &dead, self.now) {
            return;
        }
        self.frontier.oblige(offset, 1);
        let record = Arc::clone(&pending.record);
        self.dead_letter(record, dead);
        self.resolve_insert(offset, None, Outcome::DeadLetter);
    }

    fn dead_letter(&mut self, record: Arc<LogRecord>, reason: DeadReason) {
        let bytes = record.weight();
        self.burying.insert(record.offset, bytes);
        self.burying_bytes += bytes;
        self.commands.push(Command::DeadLetter(record, reason));
    }

    fn enqueue_insert(&mut self, offset: u64, agent: &Arc<str>) {
        if let Some(delayed) = self.delayed.get_mut(agent) {
            delayed.waiting.push_back(offset);
            return;
        }
        if self.to_insert.is_empty() {
            self.to_insert_since = self.now;
        }
        self.to_insert.push_back(offset);
    }

    /// A throttled agent waits by itself; others go on.
    fn delay_insert(&mut self, offset: u64) {
        let Some(pending) = self.pending.get_mut(&offset) else { return };
        pending.attempts += 1;
        let agent = intern(&mut self.names, &pending.event.agent_id);
        let attempts = self.delayed.get(&agent).map_or(0, |d| d.attempts);
        let retry_at = self.now + self.backoff(attempts);
        let delayed = self.delayed.entry(Arc::clone(&agent)).or_default();
        delayed.in_flight = delayed.in_flight.saturating_sub(1);
        delayed.waiting.push_front(offset);
        if delayed.retry_at <= self.now {
            delayed.attempts += 1;
            delayed.retry_at = retry_at;
            self.timers.push(Reverse((retry_at, Timer::Agent(agent))));
        }
    }

    /// Sends a request's worth of a throttled agent's events.
    fn retry_agent(&mut self, agent: &Arc<str>) {
        let now = self.now;
        let Some(delayed) = self.delayed.get_mut(agent) else { return };
        if delayed.retry_at > now || delayed.in_flight > 0 {
            return;
        }
        for _ in 0..INSERTS_PER_REQUEST {
            let Some(offset) = delayed.waiting.pop_front() else { break };
            delayed.in_flight += 1;
            if self.to_insert.is_empty() {
                self.to_insert_since = now;
            }
            self.to_insert.push_back(offset);
        }
    }

    fn send_inserts(&mut self) {
        while !self.to_insert.is_empty() && self.requests_in_flight < self.config.inserts_in_flight {
            let lingered = self.now >= self.to_insert_since + INSERT_LINGER_MS;
            if self.to_insert.len() < INSERTS_PER_REQUEST && self.requests_in_flight > 0 && !lingered && !self.is_draining {
                self.timers.push(Reverse((self.to_insert_since + INSERT_LINGER_MS, Timer::Inserts)));
                return;
            }
            let mut insertions = Vec::with_capacity(INSERTS_PER_REQUEST.min(self.to_insert.len()));
            while insertions.len() < INSERTS_PER_REQUEST
                && let Some(offset) = self.to_insert.pop_front()
            {
                if let Some(pending) = self.pending.get(&offset) {
                    let ttl = self.ttl_of(&pending.event, pending.record.appended_at_ms);
                    insertions.push(Insertion { offset, event: Arc::clone(&pending.event), ttl });
                }
            }
            self.to_insert_since = self.now;
            self.requests_in_flight += 1;
            self.commands.push(Command::Insert(insertions));
        }
    }

    fn note_agent(&mut self, event: &AgentEvent, offset: u64) {
        let agent = intern(&mut self.names, &event.agent_id);
        if self.agents.contains(&agent) {
            return;
        }
        self.frontier.oblige(offset, 1);
        let waiting = self.registering.entry(Arc::clone(&agent)).or_default();
        waiting.push(offset);
        if waiting.len() == 1 {
            self.commands.push(Command::Register(agent, event.timestamp));
        }
    }

    fn note_user(&mut self, event: &AgentEvent, offset: u64) {
        let Some(user) = &event.user_id else { return };
        let hash = user_hash(user);
        let period = Period::Users(day_of(event.timestamp));
        let agent = Subject::Agent(intern(&mut self.names, &event.agent_id));
        for subject in [agent, Subject::Fleet(self.config.partition)] {
            let key = MetricKey { subject, period };
            for target in self.tables().iter().map(|table| table.of(&key)) {
                let users = self.users.entry(target.clone()).or_default();
                if users.known.as_ref().is_some_and(|set| set.contains(hash)) {
                    continue;
                }
                users.pending.push((offset, hash));
                self.frontier.oblige(offset, 1);
                self.poke_users(&target);
            }
        }
    }

    fn poke_users(&mut self, key: &Target) {
        let (now, cadence, is_draining) = (self.now, self.config.cadence, self.is_draining);
        let Some(users) = self.users.get_mut(key) else { return };
        if users.uniting.is_some() {
            return;
        }
        if let Some(known) = &users.known {
            let (known_already, new): (Vec<_>, Vec<_>) =
                std::mem::take(&mut users.pending).into_iter().partition(|(_, h)| known.contains(*h));
            users.pending = new;
            for (offset, _) in known_already {
                self.frontier.meet(offset);
            }
        }
        if users.pending.is_empty() {
            users.first_pending = None;
            return;
        }
        let first = *users.first_pending.get_or_insert(now);
        let wait = if matches!(key.key.subject, Subject::Agent(_)) { cadence.agent_ms() } else { cadence.fleet_ms() };
        let due = match cadence {
            _ if is_draining => now,
            Cadence::Fresh => users.last_flush.map_or(now, |last| last + wait),
            Cadence::Balanced | Cadence::Cheap => first + wait,
        };
        let due = due.max(if users.attempts > 0 { users.retry_at } else { 0 });
        if due > now {
            if users.scheduled.is_none_or(|at| at > due) {
                users.scheduled = Some(due);
                self.timers.push(Reverse((due, Timer::Users(key.clone()))));
            }
            return;
        }
        users.first_pending = None;
        let pending = std::mem::take(&mut users.pending);
        users.uniting = Some(pending.iter().map(|(offset, _)| *offset).collect());
        self.commands.push(Command::Unite(key.clone(), pending));
    }

    /// Full jitter: between half and all of a wait that doubles.
    fn backoff(&mut self, attempts: u32) -> u64 {
        self.jitter = self.jitter.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let wait = (BACKOFF_MS.0 << attempts.min(8)).min(BACKOFF_MS.1);
        wait / 2 + (self.jitter >> 33) % (wait / 2 + 1)
    }

    /// Forgets what is not in use once there is much of it, so that memory does not grow with the agents ever seen.
    fn forget(&mut self) {
        if self.items.len() > self.forget_at[0] {
            self.items.retain(|_, i| !i.queue.is_idle() || i.announcing.is_some() || i.totals.is_some());
            self.forget_at[0] = self.remembered.max(self.items.len() * 2);
        }
        if self.users.len() > self.forget_at[1] {
            self.users.retain(|_, u| u.uniting.is_some() || !u.pending.is_empty());
            self.forget_at[1] = (self.remembered / 10).max(self.users.len() * 2);
        }
        if self.names.len() > self.forget_at[2] {
            self.names.retain(|n| Arc::strong_count(n) > 1);
            self.forget_at[2] = (self.remembered * 2).max(self.names.len() * 2);
        }
    }
}

fn intern(names: &mut FxHashSet<Arc<str>>, name: &str) -> Arc<str> {
    if let Some(known) = names.get(name) {
        return Arc::clone(known);
    }
    let name: Arc<str> = name.into();
    names.insert(Arc::clone(&name));
    name
}

fn identity_of(event: &AgentEvent, names: &mut FxHashSet<Arc<str>>) -> Identity {
    (intern(names, &event.agent_id), event.timestamp, event.event_id.as_str().into())
}

/// What the gateway guarantees and a foreign producer may break; the name of what is wrong where it did.
pub fn check_values(event: &AgentEvent) -> Result<(), &'static str> {
    let counts = [event.token_count, event.input_tokens, event.output_tokens, event.cached_input_tokens, event.reasoning_tokens];
    let within = |value: Option<f64>, low: f64, high: f64| value.is_none_or(|v| (low..=high).contains(&v));
    if !schemas::agent_id::is_valid(&event.agent_id) {
        return Err("agent_id");
    }
    if !schemas::identity::is_valid_event_id(&event.event_id) {
        return Err("event_id");
    }
    // 2000-01-01 to 2100-01-01: beyond, keys would not sort.
    if !(946_684_800_000_000..4_102_444_800_000_000).contains(&event.timestamp) {
        return Err("timestamp");
    }
    if counts.iter().flatten().any(|c| !(0..=1_000_000_000_000).contains(c)) {
        return Err("token counts");
    }
    if !within(event.response_time_ms, 0.0, 1e9) || !within(event.user_feedback, 1.0, 5.0) || !within(event.cost_usd, 0.0, 1e6) {
        return Err("response_time_ms, user_feedback or cost_usd");
    }
    let names = [&event.model_used, &event.tool_name, &event.error_type];
    if names.into_iter().flatten().any(|n| n.is_empty() || n.chars().count() > 128) {
        return Err("model_used, tool_name or error_type");
    }
    Ok(())
}
