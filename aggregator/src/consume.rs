//! Drives the partitions: takes records from the log, carries out what [`crate::partition`] decides, commits.
//!
//! One task per partition; each owns its [`Partition`] and everything that is under way for it, so giving a
//! partition up is dropping the task. Reading is paused on memory, never on time: the group's member keeps
//! answering however slow the store is.

use crate::adaptive_limit::AdaptiveLimit;
use crate::barrier::SharedBarrier;
use crate::begun;
use crate::checkpoint::{Checkpoint, Checkpoints, Spent, Start, StartError, starting_offset};
use crate::commit::Finished;
use crate::config::{AggregatorConfig, Cadence};
use crate::decode::Decoder;
use crate::failpoint::{Failpoints, Point};
use crate::flush::ItemUpdate;
use crate::insert::{InsertError, Inserter};
use crate::partition::{Command, DeadReason, Guards, InsertOutcome, Partition, PartitionConfig, weight_of};
use crate::rebuild_from;
use crate::shards::ShardPlans;
use crate::stopped::StoppedPartitions;
use crate::store::{MetricsStore, StoreError, Updated};
use crate::target::{Table, Target};
use crate::{AggregatorParts, announce, dead_letter, measure};
use anyhow::Context;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use event_log::{Assignment, Committer, Delivery, GroupConsumer, Log, LogError, LogRecord, Revocation};
use futures::FutureExt as _;
use futures::future::{BoxFuture, OptionFuture};
use futures::stream::{self, FuturesUnordered, StreamExt, TryStreamExt as _};
use schemas::AgentEvent;
use schemas::codec::WireForm;
use schemas::item::{Period, Subject};
use schemas::rollup::Rollup;
use schemas::users::UserSet;
use service_kit::metrics_tables::{FollowedTables, MetricsTables, MetricsTablesError};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::JoinMap;

/// Partitions whose beginning is looked up at once.
const STARTS_AT_ONCE: usize = 16;
/// How often a partition that is busy tells what it holds and how far it is behind.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// Requests to the store other than inserts that are under way at once: however many agents have something to be written, no
/// more connections are opened. There is one for each item at most, and none may wait long behind the others: during a rebuild
/// both versions of an item are to be written within moments of each other.
const REQUESTS_AT_ONCE: usize = 256;
/// No answer that came within this is slow.
const LEAST_SLOW: Duration = Duration::from_millis(200);
/// How often a checkpoint is written at most.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(2);

/// Consumes into these versions of the metrics table until `shutdown`, then drains. An error means that the aggregator
/// must not go on.
pub(crate) async fn consume(
    config: AggregatorConfig,
    parts: AggregatorParts,
    (followed, metrics_tables): (FollowedTables, MetricsTables),
    (decoder, wire_form): (Decoder, WireForm),
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let shard_plans = ShardPlans::start(parts.store.clone(), parts.tables.clone(), shutdown.clone()).await?;
    let consumer = Arc::clone(&parts.log).join(&config.group, &config.topic_events).context("cannot join the consumer group")?;
    let log_id = await_log_id(&parts.log, &shutdown).await?;
    let checkpoints = Checkpoints { store: parts.store.clone(), tables: parts.tables.clone(), topic: config.topic_events.clone() };
    let guards = Guards::default();
    let stopped = StoppedPartitions {
        readiness: parts.readiness.clone(),
        store: parts.store.clone(),
        tables: parts.tables.clone(),
        topic: config.topic_events.clone(),
        epoch: config.epoch,
        stopped: Mutex::default(),
    };
    let shared = Arc::new(Shared {
        inserter: Inserter {
            store: parts.store.clone(),
            tables: parts.tables.clone(),
            epoch: config.epoch,
            indexed_types: config.indexed_message_types.clone(),
            shard_plans,
            guards,
        },
        served: MetricsStore { store: parts.store.clone(), table: metrics_tables.served.name.clone(), epoch: config.epoch, guards },
        other: metrics_tables.other.as_ref().map(|other| MetricsStore {
            store: parts.store.clone(),
            table: other.name.clone(),
            epoch: config.epoch,
            guards,
        }),
        followed,
        metrics_tables,
        failpoints: Failpoints::parse(config.failpoints.as_deref().unwrap_or_default())?,
        committer: consumer.committer(),
        log: Arc::clone(&parts.log),
        barrier: SharedBarrier::new(parts.barrier.clone().filter(|_| guards.barrier)),
        room: Notify::new(),
        inserts: AdaptiveLimit::new(slow_answer(&parts.store)),
        requests: Semaphore::new(REQUESTS_AT_ONCE),
        partitions: AtomicUsize::new(1),
        stopped,
        config,
        checkpoints,
        log_id,
        decoder,
        wire_form,
        guards,
    });
    tokio::spawn(crate::lag::watch(
        Arc::clone(&parts.log),
        shared.config.group.clone(),
        shared.config.topic_events.clone(),
        shutdown.clone(),
    ));
    parts.readiness.set("aggregator", Ok(()));
    Group { shared, consumer, workers: HashMap::new(), tasks: JoinMap::new() }.run(shutdown).await
}

/// Answers that take longer say that too much is asked at once: well before an attempt's time is up and it is sent again.
/// Some turns are several requests, one after the other; however short an attempt's time is, those are not slow by that.
fn slow_answer(store: &Client) -> Duration {
    let attempt = store.config().timeout_config().and_then(TimeoutConfig::operation_attempt_timeout);
    (attempt.unwrap_or(Duration::from_secs(3)) / 4).max(LEAST_SLOW)
}

async fn await_log_id(log: &Arc<dyn Log>, shutdown: &CancellationToken) -> anyhow::Result<String> {
    let mut wait = Duration::from_millis(100);
    loop {
        match log.id().await {
            Ok(id) => return Ok(id),
            Err(error) if error.is_retryable() => {
                tracing::warn!(%error, "waiting for the log");
                if shutdown.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                    anyhow::bail!("stopped while waiting for the log");
                }
                wait = (wait * 2).min(Duration::from_secs(5));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// What every partition's task works with.
#[derive(Debug)]
struct Shared {
    config: AggregatorConfig,
    inserter: Inserter,
    served: MetricsStore,
    /// The version beside it, where there is one.
    other: Option<MetricsStore>,
    followed: FollowedTables,
    /// What this consumer counts into.
    metrics_tables: MetricsTables,
    checkpoints: Checkpoints,
    failpoints: Failpoints,
    committer: Arc<dyn Committer>,
    log: Arc<dyn Log>,
    log_id: String,
    barrier: SharedBarrier,
    decoder: Decoder,
    wire_form: WireForm,
    guards: Guards,
    room: Notify,
    inserts: AdaptiveLimit,
    requests: Semaphore,
    /// Partitions that are worked on.
    partitions: AtomicUsize,
    /// Those of them that have stopped before they bury more.
    stopped: StoppedPartitions,
}

impl Shared {
    /// The versions that are written.
    fn tables(&self) -> &'static [Table] {
        if self.other.is_some() { Table::BOTH } else { Table::ONE }
    }

    fn store_of(&self, table: Table) -> &MetricsStore {
        match table {
            Table::Served => &self.served,
            // A partition has targets in this table only where there is one.
            Table::Other => self.other.as_ref().unwrap_or(&self.served),
        }
    }
}

/// The group's member: hands records to the partitions' tasks and partitions back to the group.
struct Group {
    shared: Arc<Shared>,
    consumer: Box<dyn GroupConsumer>,
    workers: HashMap<u32, Worker>,
    tasks: JoinMap<u32, anyhow::Result<()>>,
}

struct Worker {
    inbox: mpsc::UnboundedSender<Message>,
    weight: Arc<Weight>,
}

/// Bytes that a partition holds: on their way to its task (as what they will be there, or a backlog would be let in whose
/// events then take several times its bytes), and in its state.
#[derive(Debug, Default)]
struct Weight {
    queued: AtomicUsize,
    held: AtomicUsize,
    /// The partition has stopped: there is no room for anything.
    is_stopped: AtomicBool,
    /// Nothing more comes until there is room again.
    is_paused: AtomicBool,
}

impl Weight {
    fn total(&self) -> usize {
        self.queued.load(Ordering::Relaxed) + self.held.load(Ordering::Relaxed)
    }

    /// Whether so much is held that nothing more should come.
    fn is_above(&self, bytes: usize) -> bool {
        self.is_stopped.load(Ordering::Relaxed) || self.total() > bytes
    }
}

enum Message {
    Records(Vec<LogRecord>),
    /// Finish and commit what was begun, answer, end.
    Drain(oneshot::Sender<()>),
}

impl Group {
    async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let shared = Arc::clone(&self.shared);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => {
                    let partitions: Vec<u32> = self.workers.keys().copied().collect();
                    self.drain(&partitions).await;
                    self.consumer.leave().await;
                    return Ok(());
                }
                Some((partition, ended)) = self.tasks.join_next() => {
                    self.workers.remove(&partition);
                    match ended {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => return Err(error.context(format!("partition {partition} cannot go on"))),
                        Err(e) if e.is_cancelled() => {}
                        Err(e) => anyhow::bail!("partition {partition} panicked: {e}"),
                    }
                }
                () = shared.room.notified() => self.resume_where_there_is_room()?,
                delivery = self.consumer.next() => match delivery {
                    Ok(Delivery::Records(records)) => self.hand_over(records)?,
                    Ok(Delivery::Assigned(assignments)) => self.begin(assignments, &shutdown).await?,
                    Ok(Delivery::Revoked(revocation)) => self.revoke(revocation).await,
                    Ok(Delivery::Lost(partitions)) => self.lose(&partitions),
                    Err(error) if error.is_retryable() => {
                        tracing::warn!(%error, "the log does not deliver");
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                    Err(error) => return Err(error.into()),
                },
            }
        }
    }

    fn budget(&self) -> usize {
        (self.shared.config.memory_mib << 20) / self.workers.len().max(1)
    }

    async fn begin(&mut self, assignments: Vec<Assignment>, shutdown: &CancellationToken) -> anyhow::Result<()> {
        // Whoever had these partitions may have known of a change already, and have counted into both tables.
        match shutdown.run_until_cancelled(current_tables(&self.shared)).await {
            Some(Ok(now)) if !now.is_another(&self.shared.metrics_tables) => {}
            Some(Ok(now)) if now.revision < self.shared.metrics_tables.revision => {
                anyhow::bail!("the control table went back to an earlier version of the metrics table; was an older copy brought back?");
            }
            Some(Ok(_)) | None => return Ok(()),
            Some(Err(error)) => return Err(error),
        }
        let checks = assignments.into_iter().map(|assignment| {
            let (shared, shutdown) = (Arc::clone(&self.shared), shutdown.clone());
            async move { Ok::<_, anyhow::Error>((assignment, ready_start(&shared, assignment, &shutdown).await?)) }
        });
        let mut ready = stream::iter(checks).buffer_unordered(STARTS_AT_ONCE);
        while let Some((assignment, start)) = ready.try_next().await? {
            let Some(start) = start else { continue };
            let offset = start.offset;
            if !is_held(self.consumer.begin(assignment.partition, offset))? {
                tracing::info!(partition = assignment.partition, "the partition is gone before it began");
                continue;
            }
            let (inbox, messages) = mpsc::unbounded_channel();
            let weight = Arc::new(Weight::default());
            let mut task = PartitionTask::new(Arc::clone(&self.shared), assignment.partition, start, Arc::clone(&weight));
            // A replay of what the group has committed takes nothing back.
            task.committed = assignment.committed.filter(|_| !start.is_anew).and_then(|c| c.checked_sub(1));
            tracing::info!(partition = assignment.partition, offset, "partition assigned");
            self.shared.stopped.forget(assignment.partition);
            self.tasks.spawn(assignment.partition, measure::spending(Arc::clone(&task.spent), task.run(messages)));
            self.workers.insert(assignment.partition, Worker { inbox, weight });
            self.shared.partitions.store(self.workers.len(), Ordering::Relaxed);
        }
        Ok(())
    }

    fn hand_over(&mut self, records: Vec<LogRecord>) -> Result<(), LogError> {
        let budget = self.budget();
        let mut by_partition: HashMap<u32, Vec<LogRecord>> = HashMap::new();
        for record in records {
            by_partition.entry(record.partition).or_default().push(record);
        }
        for (partition, records) in by_partition {
            let Some(worker) = self.workers.get_mut(&partition) else { continue };
            worker.weight.queued.fetch_add(records.iter().map(weight_of).sum(), Ordering::Relaxed);
            // A task that ended is reported by join_next.
            let is_paused = || worker.weight.is_paused.load(Ordering::Relaxed);
            if worker.inbox.send(Message::Records(records)).is_ok() && !is_paused() && worker.weight.is_above(budget) {
                worker.weight.is_paused.store(true, Ordering::Relaxed);
                is_held(self.consumer.pause(partition))?;
                // Its task may have been through before it could see that it is waited for.
                self.shared.room.notify_one();
            }
        }
        Ok(())
    }

    fn resume_where_there_is_room(&mut self) -> Result<(), LogError> {
        let budget = self.budget();
        for (partition, worker) in &mut self.workers {
            if worker.weight.is_paused.load(Ordering::Relaxed) && !worker.weight.is_above(budget / 2) {
                worker.weight.is_paused.store(false, Ordering::Relaxed);
                is_held(self.consumer.resume(*partition))?;
            }
        }
        Ok(())
    }

    async fn revoke(&mut self, revocation: Revocation) {
        tracing::info!(partitions = ?revocation.partitions, "partitions revoked");
        let partitions = revocation.partitions.clone();
        self.drain(&partitions).await;
        revocation.done();
    }

    /// Lets partitions finish what they began, within the time that is allowed, and ends their tasks.
    async fn drain(&mut self, partitions: &[u32]) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(self.shared.config.drain_seconds);
        let mut finished = Vec::new();
        for partition in partitions {
            if let Some(worker) = self.workers.remove(partition) {
                let (done, is_done) = oneshot::channel();
                if worker.inbox.send(Message::Drain(done)).is_ok() {
                    finished.push(is_done);
                }
            }
        }
        if tokio::time::timeout_at(deadline, futures::future::join_all(finished)).await.is_err() {
            tracing::warn!(?partitions, "partitions were given up before all they had begun was finished; it will be replayed");
        }
        self.lose(partitions);
    }

    fn lose(&mut self, partitions: &[u32]) {
        for partition in partitions {
            self.workers.remove(partition);
            self.tasks.abort(partition);
            self.shared.stopped.forget(*partition);
        }
        self.shared.partitions.store(self.workers.len().max(1), Ordering::Relaxed);
    }
}

/// Where a partition begins, once that is known and the group's commit is not beyond it. `None` where the process shall
/// stop meanwhile, or another consumer holds the partition by now.
async fn ready_start(shared: &Shared, assignment: Assignment, shutdown: &CancellationToken) -> anyhow::Result<Option<Start>> {
    let partition = assignment.partition;
    let mut wait = Duration::from_millis(100);
    let start = loop {
        let found = starting_offset(&shared.log, &shared.checkpoints, assignment, shared.config.epoch, shared.config.accept_loss);
        match shutdown.run_until_cancelled(found).await {
            None => return Ok(None),
            Some(Ok(start)) => break start,
            Some(Err(StartError::Log(e @ LogError::Trimmed { .. }))) => {
                return Err(
                    anyhow::Error::new(e).context("events were trimmed before they were counted; --accept-loss goes on without them")
                );
            }
            Some(Err(e)) if !e.is_retryable() => return Err(e.into()),
            Some(Err(error)) => {
                tracing::warn!(partition, %error, "cannot begin a partition yet");
                if shutdown.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                    return Ok(None);
                }
                wait = (wait * 2).min(Duration::from_secs(5));
            }
        }
    };
    if let Some(filling) = shared.metrics_tables.filling() {
        let from = rebuild_from::note(&shared.checkpoints, &filling.name, (shared.config.epoch, partition, start.offset));
        match shutdown.run_until_cancelled(from).await {
            None => return Ok(None),
            Some(noted) => noted?,
        }
    }
    let forgotten = shared.metrics_tables.forget;
    if forgotten > 0 && shutdown.run_until_cancelled(begun::note(&shared.checkpoints, partition, forgotten)).await.is_none() {
        return Ok(None);
    }
    if start.is_anew {
        tracing::warn!(partition, offset = start.offset, "this store has not counted this log: counting it anew");
        if !is_held(shared.committer.commit(partition, start.offset).await)? {
            return Ok(None);
        }
    }
    Ok(Some(start))
}

/// The versions of the metrics table that are in use this very moment, once the control table says so.
async fn current_tables(shared: &Shared) -> anyhow::Result<MetricsTables> {
    let mut wait = Duration::from_millis(100);
    loop {
        match shared.followed.refresh().await {
            Ok(now) => return Ok(now),
            Err(error @ MetricsTablesError::Store(_)) => tracing::warn!(%error, "waiting for the control table"),
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(5));
    }
}

/// Whether the consumer still held the partition. Where it did not, a rebalance has begun whose notice is yet to come,
/// and that will say what becomes of it.
fn is_held(outcome: Result<(), LogError>) -> Result<bool, LogError> {
    match outcome {
        Ok(()) => Ok(true),
        Err(LogError::NotHeld(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What has been done for a partition.
enum Done {
    Inserted(Vec<u64>, Result<Vec<(u64, InsertOutcome)>, InsertError>),
    Read(Target, Result<Option<Rollup>, StoreError>),
    Updated(Target, Box<ItemUpdate>, Result<Updated, StoreError>),
    Announced(Target),
    United(Target, Vec<(u64, u64)>, Result<UserSet, StoreError>),
    Registered(Arc<str>, Result<(), StoreError>),
    DeadLettered(u64),
    Committed(Finished, bool, anyhow::Result<Committed>),
    /// It was said that the partition has stopped.
    Noted,
    Unsynced(std::io::Error),
}

enum Committed {
    Yes {
        /// Whether the checkpoint is written too, where one was wanted.
        is_noted: bool,
    },
    Later,
    NotHeld,
}

/// A record and what it decodes to.
type Decoding = BoxFuture<'static, (Arc<LogRecord>, Result<AgentEvent, DeadReason>)>;

/// One partition's task.
struct PartitionTask {
    shared: Arc<Shared>,
    id: u32,
    state: Partition,
    weight: Arc<Weight>,
    started: Instant,
    doing: FuturesUnordered<BoxFuture<'static, Done>>,
    committed: Option<u64>,
    is_committing: bool,
    last_commit: Option<Instant>,
    last_checkpoint: Option<Instant>,
    /// The offset that the last checkpoint was written for.
    checkpointed: Option<u64>,
    draining: Option<oneshot::Sender<()>>,
    /// Whether it was said that the partition has stopped.
    is_stop_noted: bool,
    next_offset: u64,
    /// Where it began, with what the partition had cost until then, and when, ms since the epoch.
    start: Start,
    started_ms: i64,
    /// Write units spent since then.
    spent: Arc<AtomicU64>,
    /// Taken from the inbox, not decoded yet: behind one whose schema the registry has yet to tell.
    undecoded: VecDeque<LogRecord>,
    decoding: Option<Decoding>,
    /// When it last told what it holds and how far it is behind.
    told: Option<Instant>,
}

impl PartitionTask {
    fn new(shared: Arc<Shared>, id: u32, start: Start, weight: Arc<Weight>) -> Self {
        let state = Partition::new(PartitionConfig {
            epoch: shared.config.epoch,
            partition: id,
            cadence: shared.config.flush_cadence,
            retention: shared.config.event_retention(),
            inserts_in_flight: shared.config.inserts_in_flight,
            tables: shared.tables(),
            dead_letter_limit: (shared.config.dead_letter_limit > 0).then_some(shared.config.dead_letter_limit),
            guards: shared.guards,
        });
        Self {
            shared,
            id,
            state,
            weight,
            started: Instant::now(),
            doing: FuturesUnordered::new(),
            committed: None,
            is_committing: false,
            last_commit: None,
            last_checkpoint: None,
            checkpointed: None,
            draining: None,
            is_stop_noted: false,
            next_offset: start.offset,
            start,
            started_ms: schemas::time::now_micros() / 1_000,
            spent: Arc::default(),
            undecoded: VecDeque::new(),
            decoding: None,
            told: None,
        }
    }

    async fn run(mut self, mut messages: mpsc::UnboundedReceiver<Message>) -> anyhow::Result<()> {
        loop {
            let wake = self.wake_at();
            tokio::select! {
                message = messages.recv(), if self.draining.is_none() => match message {
                    Some(Message::Records(records)) => self.take(records)?,
                    Some(Message::Drain(done)) => {
                        // Not begun, so nothing to finish.
                        self.undecoded.clear();
                        self.decoding = None;
                        self.state.drain();
                        self.draining = Some(done);
                    }
                    None => return Ok(()),
                },
                Some((record, decoded)) = OptionFuture::from(self.decoding.as_mut()) => {
                    self.decoding = None;
                    self.begin(record, decoded);
                    self.decode()?;
                }
                Some(done) = self.doing.next(), if !self.doing.is_empty() => {
                    if !self.done(done)? {
                        return Ok(());
                    }
                }
                () = tokio::time::sleep_until(wake.into()) => {}
            }
            self.advance();
            if self.draining.is_some() && self.is_all_finished() && self.is_all_committed() && !self.is_checkpoint_behind() {
                if let Some(done) = self.draining.take() {
                    // The waiting side may have given up already.
                    let _ = done.send(());
                }
                return Ok(());
            }
        }
    }

    /// Whether nothing more comes of what was begun: a partition that has stopped never finishes what it would have buried.
    fn is_all_finished(&self) -> bool {
        self.state.unfinished() == 0 || self.state.stopped().is_some() && self.doing.is_empty()
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn wake_at(&self) -> Instant {
        let mut wake = Instant::now() + Duration::from_secs(1);
        if let Some(due) = self.state.next_due() {
            wake = wake.min(self.started + Duration::from_millis(due));
        }
        let next_commit = self.last_commit.map_or(self.started, |t| t + self.commit_interval());
        if !self.is_committing && !self.is_all_committed() {
            wake = wake.min(next_commit);
        } else if !self.is_committing && self.is_checkpoint_behind() {
            wake = wake.min(next_commit.max(self.last_checkpoint.map_or(self.started, |t| t + CHECKPOINT_EVERY)));
        }
        wake
    }

    /// Whether the last checkpoint is behind what is committed. During a replay of what others committed it is not: then
    /// nothing is to be committed, least of all a lower offset.
    fn is_checkpoint_behind(&self) -> bool {
        self.state.finished().is_some_and(|f| self.committed == Some(f.offset) && self.checkpointed != Some(f.offset))
    }

    fn is_all_committed(&self) -> bool {
        self.state.finished().is_none_or(|f| self.committed.is_some_and(|c| f.offset <= c))
    }

    fn commit_interval(&self) -> Duration {
        Duration::from_millis(if self.shared.config.flush_cadence == Cadence::Fresh { 25 } else { 100 })
    }

    /// Carries on after any change.
    fn advance(&mut self) {
        let now = self.now();
        self.state.share_with(self.shared.partitions.load(Ordering::Relaxed));
        for command in self.state.tick(now) {
            self.carry_out(command);
        }
        self.note_stop();
        self.commit_if_due();
        let held = self.state.weight();
        self.weight.held.store(held, Ordering::Relaxed);
        if self.weight.is_paused.load(Ordering::Relaxed) {
            self.shared.room.notify_one();
        }
        if self.told.is_none_or(|at| at.elapsed() >= TELL_EVERY) || held == 0 {
            self.told = Some(Instant::now());
            measure::memory(self.id, self.weight.total());
            let behind = self.state.oldest_unfinished_ms().map_or(0.0, |ms| (schemas::time::now_micros() / 1_000 - ms) as f64 / 1e3);
            measure::lag_seconds(self.id, behind);
        }
    }

    /// Says once that the partition has stopped. What is not counted stays in the log, so it need not be held here.
    fn note_stop(&mut self) {
        let Some(stopped) = self.state.stopped().filter(|_| !self.is_stop_noted).cloned() else { return };
        self.is_stop_noted = true;
        self.weight.is_stopped.store(true, Ordering::Relaxed);
        self.shared.stopped.note(self.id, &stopped);
        self.drop_undecoded();
        let (shared, partition) = (Arc::clone(&self.shared), self.id);
        self.doing.push(Box::pin(async move {
            shared.stopped.write(partition, &stopped).await;
            Done::Noted
        }));
    }

    fn drop_undecoded(&mut self) {
        let bytes = self.undecoded.drain(..).map(|record| weight_of(&record)).sum();
        self.weight.queued.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn take(&mut self, records: Vec<LogRecord>) -> anyhow::Result<()> {
        self.undecoded.extend(records);
        if self.state.stopped().is_some() {
            self.drop_undecoded();
        }
        self.decode()
    }

    /// Decodes what was taken, in order, up to a record that has to wait. What was begun before it goes on meanwhile.
    fn decode(&mut self) -> anyhow::Result<()> {
        while self.decoding.is_none()
            && self.state.stopped().is_none()
            && let Some(record) = self.undecoded.pop_front()
        {
            // After a seek a batch from before it may still come.
            if record.offset < self.next_offset {
                self.weight.queued.fetch_sub(weight_of(&record), Ordering::Relaxed);
                continue;
            }
            self.next_offset = record.offset + 1;
            self.check_epoch(&record)?;
            let (shared, record) = (Arc::clone(&self.shared), Arc::new(record));
            let mut decoding = Box::pin(async move {
                let decoded = shared.decoder.decode(&record).await;
                (record, decoded)
            });
            match decoding.as_mut().now_or_never() {
                Some((record, decoded)) => self.begin(record, decoded),
                None => self.decoding = Some(decoding),
            }
        }
        Ok(())
    }

    fn begin(&mut self, record: Arc<LogRecord>, decoded: Result<AgentEvent, DeadReason>) {
        self.weight.queued.fetch_sub(weight_of(&record), Ordering::Relaxed);
        self.state.record(record, decoded);
    }

    /// Gateways stamp their epoch into each record; another one means that gateway and aggregator disagree
    /// about which log this is.
    fn check_epoch(&self, record: &LogRecord) -> anyhow::Result<()> {
        let Some(stamped) = record.header("epoch") else { return Ok(()) };
        let ours = self.shared.config.epoch.to_string();
        anyhow::ensure!(
            stamped.as_ref() == ours.as_bytes(),
            "offset {} carries epoch {:?}, but LOG_EPOCH is {ours}: set the same LOG_EPOCH on gateways and aggregators",
            record.offset,
            String::from_utf8_lossy(stamped)
        );
        Ok(())
    }

    fn carry_out(&mut self, command: Command) {
        let (shared, partition) = (Arc::clone(&self.shared), self.id);
        let doing: BoxFuture<'static, Done> = match command {
            Command::Insert(insertions) => Box::pin(async move {
                let _turn = shared.inserts.turn().await;
                let outcome = shared.inserter.insert(partition, &insertions).await;
                shared.failpoints.hit(Point::AfterInsert);
                Done::Inserted(insertions.iter().map(|i| i.offset).collect(), outcome)
            }),
            Command::Read(target) => Box::pin(async move {
                let _turn = shared.requests.acquire().await;
                let item = shared.store_of(target.table).read(&target.key).await;
                Done::Read(target, item)
            }),
            Command::Update(target, update) => Box::pin(async move {
                let _turn = shared.requests.acquire().await;
                let Target { table, key } = &target;
                let is_announced = *table == Table::Served && matches!((&key.subject, key.period), (Subject::Agent(_), Period::Day(_)));
                let updated = shared.store_of(*table).update(key, partition, &update, is_announced).await;
                shared.failpoints.hit(Point::AfterUpdate);
                Done::Updated(target, update, updated)
            }),
            Command::Announce(target, totals) => Box::pin(async move {
                if let Err(e) = shared.barrier.wait().await {
                    return Done::Unsynced(e);
                }
                let generation = shared.metrics_tables.served.generation;
                if let Some(record) = announce::totals_record(&target.key, &totals, generation, shared.wire_form) {
                    announce::announce(&shared.log, &shared.config.topic_metrics, record).await;
                }
                shared.failpoints.hit(Point::AfterAnnounce);
                Done::Announced(target)
            }),
            Command::Unite(target, users) => Box::pin(async move {
                let _turn = shared.requests.acquire().await;
                let set = shared.store_of(target.table).unite(&target.key, partition, &users).await;
                Done::United(target, users, set)
            }),
            Command::Register(agent, first_seen) => Box::pin(async move {
                let mut wait = Duration::from_millis(50);
                loop {
                    let turn = shared.requests.acquire().await;
                    let mut outcome = Ok(());
                    for table in shared.tables() {
                        outcome = shared.store_of(*table).register(&agent, first_seen).await;
                        if outcome.is_err() {
                            break;
                        }
                    }
                    drop(turn);
                    match outcome {
                        Err(StoreError::Passing(_)) => tokio::time::sleep(wait.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await,
                        outcome => return Done::Registered(agent, outcome),
                    }
                    wait = (wait * 2).min(Duration::from_secs(5));
                }
            }),
            Command::DeadLetter(record, reason) => Box::pin(async move {
                if let Err(e) = shared.barrier.wait().await {
                    return Done::Unsynced(e);
                }
                tracing::warn!(partition, offset = record.offset, reason = reason.reason, stage = reason.stage, "dead letter");
                measure::dead_letter(reason.reason);
                let letter = dead_letter::dead_letter(&record, shared.config.epoch, &reason);
                dead_letter::publish(&shared.log, &shared.config.topic_dead, letter).await;
                Done::DeadLettered(record.offset)
            }),
        };
        self.doing.push(doing);
    }

    /// Tells the state what was done; `false` where the partition is held by another consumer now.
    fn done(&mut self, done: Done) -> anyhow::Result<bool> {
        let state = &mut self.state;
        match done {
            Done::Inserted(_, Ok(outcomes)) => {
                for (_, outcome) in &outcomes {
                    measure::outcome(kind_of(outcome), 1);
                }
                state.inserted(outcomes);
            }
            Done::Inserted(offsets, Err(error)) => {
                return Err(anyhow::Error::new(error).context(format!("inserts of offsets {:?}", offsets.first().zip(offsets.last()))));
            }
            Done::Read(key, Ok(item)) => state.item_read(&key, item),
            Done::Updated(key, update, Ok(Updated::Applied(new))) => state.item_applied(&key, &update, new),
            Done::Updated(key, _, Ok(Updated::Refused(old))) => state.item_refused(&key, old),
            Done::Read(key, Err(StoreError::Passing(_))) | Done::Updated(key, _, Err(StoreError::Passing(_))) => state.item_failed(&key),
            Done::Announced(key) => {
                if let Some(oldest) = state.oldest_unfinished_ms() {
                    measure::freshness((schemas::time::now_micros() / 1_000 - oldest) as f64 / 1e3);
                }
                state.announced(&key);
            }
            Done::United(key, _, Ok(set)) => state.united(&key, set),
            Done::United(key, users, Err(StoreError::Passing(_))) => state.unite_failed(&key, users),
            Done::Registered(agent, Ok(())) => state.registered(&agent),
            Done::DeadLettered(offset) => state.dead_lettered(offset),
            Done::Noted => {}
            Done::Read(_, Err(e)) | Done::Updated(_, _, Err(e)) | Done::United(_, _, Err(e)) | Done::Registered(_, Err(e)) => {
                return Err(e.into());
            }
            Done::Unsynced(e) => return Err(anyhow::Error::new(e).context("the store's file cannot be synced")),
            Done::Committed(finished, writes_checkpoint, outcome) => {
                self.is_committing = false;
                match outcome? {
                    Committed::Yes { is_noted } => {
                        self.committed = Some(finished.offset);
                        // One that could not be written is tried again, but not waited for at the end.
                        if writes_checkpoint && (is_noted || self.draining.is_some()) {
                            self.checkpointed = self.committed;
                        }
                    }
                    // Whoever stops does not wait for a checkpoint alone.
                    Committed::Later if self.draining.is_some() && self.committed == Some(finished.offset) => {
                        self.checkpointed = self.committed;
                    }
                    Committed::Later => {}
                    Committed::NotHeld => {
                        tracing::info!(partition = self.id, "the partition is held by another consumer");
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    fn commit_if_due(&mut self) {
        let Some(finished) = self.state.finished() else { return };
        let is_due = self.draining.is_some() || self.last_commit.is_none_or(|at| at.elapsed() >= self.commit_interval());
        let writes_checkpoint = self.draining.is_some() || self.last_checkpoint.is_none_or(|at| at.elapsed() >= CHECKPOINT_EVERY);
        // When records cease to come the checkpoint catches up with what is committed, in a commit of the same offset.
        let is_behind = !self.is_all_committed() || writes_checkpoint && self.is_checkpoint_behind();
        if self.is_committing || !is_behind || !is_due {
            return;
        }
        if writes_checkpoint {
            self.last_checkpoint = Some(Instant::now());
        }
        self.is_committing = true;
        self.last_commit = Some(Instant::now());
        let records = (finished.offset + 1).saturating_sub(self.start.offset);
        let spent = self.start.spent.plus(self.spent.load(Ordering::Relaxed), records, self.started_ms);
        let (shared, partition) = (Arc::clone(&self.shared), self.id);
        self.doing.push(Box::pin(async move {
            let outcome = commit(&shared, partition, finished, writes_checkpoint.then_some(spent)).await;
            Done::Committed(finished, writes_checkpoint, outcome)
        }));
    }
}

/// Barrier, commit, and where there is something to be noted in it the checkpoint, in this order.
async fn commit(shared: &Shared, partition: u32, finished: Finished, spent: Option<Spent>) -> anyhow::Result<Committed> {
    let started = Instant::now();
    shared.barrier.wait().await.context("the store's file cannot be synced")?;
    shared.failpoints.hit(Point::BeforeCommit);
    match shared.committer.commit(partition, finished.offset + 1).await {
        Ok(()) => {}
        Err(LogError::NotHeld(_)) => return Ok(Committed::NotHeld),
        Err(error) if error.is_retryable() => {
            tracing::warn!(partition, %error, "cannot commit yet");
            return Ok(Committed::Later);
        }
        Err(error) => return Err(error.into()),
    }
    shared.failpoints.hit(Point::AfterCommit);
    measure::commit(started);
    let mut is_noted = true;
    if let Some(spent) = spent {
        let checkpoint = Checkpoint {
            epoch: shared.config.epoch,
            log_id: shared.log_id.clone(),
            offset: finished.offset,
            appended_at_ms: finished.appended_at_ms,
            spent,
        };
        if let Err(error) = shared.checkpoints.write(partition, &checkpoint).await {
            tracing::warn!(partition, %error, "cannot write the checkpoint yet");
            is_noted = false;
        }
    }
    Ok(Committed::Yes { is_noted })
}

fn kind_of(outcome: &InsertOutcome) -> &'static str {
    match outcome {
        InsertOutcome::New => "inserted",
        InsertOutcome::Replay | InsertOutcome::Deleted => "replayed",
        InsertOutcome::Duplicate => "duplicate",
        InsertOutcome::Conflict => "conflict",
        InsertOutcome::Invalid(_) => "invalid",
        InsertOutcome::Retry => "retried",
    }
}
