//! The pass over the log: each record of it is a stored event, a repeat of one, or a dead letter.
//!
//! Memory is bounded by what does not agree (named up to a bound) and by the repeats (kept up to a bound).

use super::finding::{EventName, Finding};
use super::progress::{Progress, Stage};
use super::read::{Found, KEYS_PER_GET, Reader};
use super::report::PartitionTally;
use super::{Findings, Verifier, VerifyError};
use crate::fold::Outcome;
use event_log::{Log, LogRecord, Position, ReadFrom};
use schemas::AgentEvent;
use schemas::item::{MetricKey, Period, StoredEvent, Subject};
use schemas::rollup::Rollup;
use schemas::time::{day_of, hour_of, now_micros};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Events that the table lacks, kept to be counted by the other pass.
const MOST_MISSING: usize = 100_000;
/// Agent-hours with repeats that are kept; beyond, repeats are not compared.
const MOST_DUPLICATE_HOURS: usize = 200_000;
/// Dead letters whose positions are kept.
const MOST_DEAD: usize = 2_000_000;

/// What the log says.
#[derive(Debug, Default)]
pub(super) struct LogPass {
    /// By partition.
    pub(super) partitions: BTreeMap<u32, PartitionTally>,
    /// Events that were logged and are in no table, by agent.
    pub(super) missing: HashMap<String, Vec<(Position, AgentEvent)>>,
    missing_total: usize,
    /// What became of the records, by partition and day of append.
    pub(super) outcomes: LogItems,
    /// Days of append (by partition) of which the log lacks records or the table has let events expire.
    incomplete: BTreeSet<(u32, i32)>,
    /// Repeats by the rollup that counts them; `None` where the log no longer has all of them.
    pub(super) duplicates: Option<HashMap<MetricKey, i64>>,
    /// Agents of the log.
    pub(super) agents: BTreeSet<String>,
}

impl LogPass {
    /// Whether this record was looked at.
    pub(super) fn has_judged(&self, epoch: u32, position: Position) -> bool {
        position.epoch == epoch
            && self.partitions.get(&position.partition).is_some_and(|log| (log.start..log.until).contains(&position.offset))
    }

    /// Events of a partition that are in no table, as far as they are kept.
    pub(super) fn missing_in(&self, partition: u32) -> u64 {
        self.missing.values().flatten().filter(|(position, _)| position.partition == partition).count() as u64
    }

    /// The days of append that the log and the table tell all about, with what became of their records.
    pub(super) fn comparable(&self) -> impl Iterator<Item = (&(u32, i32), &Rollup)> {
        self.outcomes.iter().filter(|(key, _)| !self.incomplete.contains(*key))
    }
}

/// Which records to look at, by partition.
pub(super) type Extents = BTreeMap<u32, Extent>;
/// The log's own items, by partition and day of append.
pub(super) type LogItems = BTreeMap<(u32, i32), Rollup>;

/// Which records of a partition to look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// The oldest record there is.
    pub(super) start: u64,
    /// Everything before is finished.
    pub(super) committed: u64,
    /// Everything before is in the log's own item.
    pub(super) until: u64,
}

/// Reads the log and judges each record.
pub(super) async fn run(
    verifier: &Verifier,
    reader: &Reader,
    (epoch, extents, items): (u32, &Extents, &LogItems),
    findings: &mut Findings,
    progress: &Progress,
) -> Result<LogPass, VerifyError> {
    let log = &verifier.log;
    let dead = dead_positions(log, &verifier.topics.dead, epoch).await?;
    let was_repriced = reader.was_repriced().await?;
    let is_whole = extents.values().all(|extent| extent.start == 0);
    let mut pass = LogPass { duplicates: is_whole.then(HashMap::new), ..LogPass::default() };
    for (partition, extent) in extents {
        pass.partitions.insert(*partition, PartitionTally { start: extent.start, until: extent.start, ..PartitionTally::default() });
    }
    let total: u64 = extents.values().map(|e| e.until.saturating_sub(e.start)).sum();
    let starts = extents.iter().map(|(partition, extent)| (*partition, extent.start)).collect();
    let mut records = Arc::clone(log).read(&verifier.topics.events, ReadFrom::Offsets(starts)).await?;
    let is_done = |pass: &LogPass| extents.iter().all(|(p, extent)| pass.partitions[p].until >= extent.until);
    while !is_done(&pass) && !records.is_caught_up() {
        let batch = records.next().await?;
        let wanted: Vec<LogRecord> = batch.into_iter().filter(|r| extents.get(&r.partition).is_some_and(|e| r.offset < e.until)).collect();
        for some in wanted.chunks(KEYS_PER_GET) {
            Judge { verifier, reader, epoch, extents, items, dead: &dead, was_repriced, pass: &mut pass, findings }.judge(some).await?;
        }
        progress.report(Stage::Log, pass.partitions.values().map(|p| p.records).sum(), Some(total));
    }
    // Of the day in which a trimmed log begins, some records are gone.
    let trimmed = extents.iter().filter(|(_, extent)| extent.start > 0);
    pass.incomplete.extend(trimmed.filter_map(|(partition, _)| pass.outcomes.keys().find(|(p, _)| p == partition).copied()));
    Ok(pass)
}

/// The positions of this epoch's dead letters.
#[derive(Debug, Default)]
struct DeadPositions {
    positions: HashSet<(u32, u64)>,
    /// Whether these are all: none has left the topic, and there was room for each.
    is_complete: bool,
}

async fn dead_positions(log: &Arc<dyn Log>, topic: &str, epoch: u32) -> Result<DeadPositions, VerifyError> {
    let mut dead = DeadPositions { is_complete: true, ..DeadPositions::default() };
    let mut letters = match Arc::clone(log).read(topic, ReadFrom::Start).await {
        Ok(letters) => letters,
        Err(event_log::LogError::UnknownTopic(_)) => return Ok(dead),
        Err(e) => return Err(e.into()),
    };
    // Looked at before reading: what leaves meanwhile may have been read.
    for partition in 0..log.partitions(topic).await? {
        dead.is_complete &= log.bounds(topic, partition).await?.start == 0;
    }
    while !letters.is_caught_up() {
        for letter in letters.next().await? {
            // The key; headers may be a foreign original's.
            let position = std::str::from_utf8(&letter.key).ok().and_then(|key| key.parse::<Position>().ok());
            if let Some(position) = position.filter(|p| p.epoch == epoch) {
                if dead.positions.len() < MOST_DEAD {
                    dead.positions.insert((position.partition, position.offset));
                } else {
                    dead.is_complete = false;
                }
            }
        }
    }
    Ok(dead)
}

struct Judge<'a> {
    verifier: &'a Verifier,
    reader: &'a Reader,
    epoch: u32,
    extents: &'a Extents,
    /// The log's own items, as they were before.
    items: &'a LogItems,
    dead: &'a DeadPositions,
    pass: &'a mut LogPass,
    /// Whether stored events were priced anew since they were stored.
    was_repriced: bool,
    findings: &'a mut Findings,
}

impl Judge<'_> {
    /// Judges some records by the stored events that have their identities.
    async fn judge(&mut self, records: &[LogRecord]) -> Result<(), VerifyError> {
        let mut events = Vec::with_capacity(records.len());
        for record in records {
            events.push(self.verifier.decoder.decode(record).await.ok());
        }
        let keys = events.iter().flatten().map(|event| self.reader.event_key(event)).collect();
        let stored = self.reader.found(&keys).await?;
        for (record, event) in records.iter().zip(events) {
            let found = event.as_ref().and_then(|event| stored.get(&self.reader.event_key(event)));
            self.judge_one(record, event, found);
        }
        Ok(())
    }

    fn judge_one(&mut self, record: &LogRecord, event: Option<AgentEvent>, found: Option<&Found>) {
        let (partition, offset) = (record.partition, record.offset);
        let position = Position { epoch: self.epoch, partition, offset };
        let day = day_of(record.appended_at_ms.saturating_mul(1_000));
        let is_finished = self.extents.get(&partition).is_some_and(|extent| offset < extent.committed);
        let is_dead = self.dead.positions.contains(&(partition, offset));
        let outcome = match (event, found) {
            (Some(_), Some(Found::Deleted { src })) if src.as_deref() == Some(&position.src()) => {
                self.pass.partitions.entry(partition).or_default().deleted += 1;
                Some(Outcome::Inserted)
            }
            (Some(event), Some(Found::Event(stored))) if stored.src.as_deref() == Some(&position.src()) => {
                self.note_altered(&event, stored, position);
                if is_finished {
                    self.pass.agents.insert(event.agent_id);
                }
                Some(Outcome::Inserted)
            }
            _ if is_dead => Some(Outcome::DeadLetter),
            (Some(event), Some(found)) if !is_conflict(&event, found) => {
                if is_finished {
                    self.note_duplicate(&event, partition);
                }
                Some(Outcome::Duplicate)
            }
            // Its dead letter may have left its topic.
            _ if is_finished && !self.dead.is_complete => {
                self.pass.incomplete.insert((partition, day));
                self.pass.partitions.entry(partition).or_default().untold += 1;
                None
            }
            (Some(event), None) if is_finished && self.has_expired(&event) => {
                self.pass.incomplete.insert((partition, day));
                self.pass.partitions.entry(partition).or_default().expired += 1;
                None
            }
            (Some(event), None) if is_finished => {
                self.findings.add(Finding::EventMissing { event: EventName::from(&event), position: position.to_string() });
                if self.pass.missing_total < MOST_MISSING {
                    self.pass.missing_total += 1;
                    // What is not counted need not be held.
                    let event = AgentEvent { content: None, metadata: None, error_details: None, ..event };
                    self.pass.missing.entry(event.agent_id.clone()).or_default().push((position, event));
                }
                Some(Outcome::Inserted)
            }
            // No event, or another one of its identity: a dead letter, which may still be on its way.
            _ => {
                if is_finished {
                    self.findings.add(Finding::DeadLetterMissing { position: position.to_string() });
                }
                Some(Outcome::DeadLetter)
            }
        };
        let tally = self.pass.partitions.entry(partition).or_default();
        tally.records += 1;
        tally.until = tally.until.max(offset + 1);
        let Some(outcome) = outcome else { return };
        match outcome {
            Outcome::Inserted => tally.inserted += 1,
            Outcome::Duplicate => tally.duplicates += 1,
            Outcome::DeadLetter => tally.dead_letters += 1,
        }
        let mark = self.items.get(&(partition, day)).and_then(|item| item.marks.get(&(self.epoch, partition)));
        if !is_finished && mark.is_none_or(|mark| *mark < offset) {
            return;
        }
        crate::fold::add(self.pass.outcomes.entry((partition, day)).or_default(), &crate::fold::Addition::Record(outcome), false);
    }

    fn note_altered(&mut self, event: &AgentEvent, stored: &StoredEvent, position: Position) {
        let fields = altered_fields(event, &stored.event, self.was_repriced);
        if !fields.is_empty() {
            self.findings.add(Finding::EventAltered { event: EventName::from(event), position: position.to_string(), fields });
        }
    }

    fn note_duplicate(&mut self, event: &AgentEvent, partition: u32) {
        let Some(duplicates) = &mut self.pass.duplicates else { return };
        for subject in [Subject::Agent(event.agent_id.as_str().into()), Subject::Fleet(partition)] {
            for period in [Period::Day(day_of(event.timestamp)), Period::Hour(hour_of(event.timestamp))] {
                *duplicates.entry(MetricKey { subject: subject.clone(), period }).or_default() += 1;
            }
        }
        if duplicates.len() > MOST_DUPLICATE_HOURS {
            self.pass.duplicates = None;
        }
    }

    /// Whether the store may have deleted the event by now. It may keep one longer, but this record may be the repeat of one that
    /// it need not.
    fn has_expired(&self, event: &AgentEvent) -> bool {
        let Some(retention) = self.verifier.options.retention else { return false };
        event.timestamp.saturating_add(i64::try_from(retention.as_micros()).unwrap_or(i64::MAX)) <= now_micros()
    }
}

/// The same identity with other content. Where the client chose no id, the id itself says what the content is.
fn is_conflict(event: &AgentEvent, found: &Found) -> bool {
    // What a deleted event's content was is forgotten.
    let Found::Event(stored) = found else { return false };
    stored.event.content_hash != [0; 16] && stored.event.content_hash != event.content_hash
}

/// Fields of a stored event that are not its record's. Costs that were estimated may have been estimated anew since.
fn altered_fields(event: &AgentEvent, stored: &AgentEvent, was_repriced: bool) -> Vec<String> {
    let mut event = event.clone();
    if was_repriced && (event.cost_estimated || event.cost_usd.is_none()) {
        (event.cost_usd, event.cost_estimated) = (stored.cost_usd, stored.cost_estimated);
    }
    if stored.content_hash == [0; 16] {
        // Not stored where the id is derived from the content.
        event.content_hash = [0; 16];
    }
    if event == *stored {
        return Vec::new();
    }
    let fields = |event: &AgentEvent| serde_json::to_value(event).ok().and_then(|v| v.as_object().cloned()).unwrap_or_default();
    let (own, theirs) = (fields(&event), fields(stored));
    let names: BTreeSet<&String> = own.keys().chain(theirs.keys()).collect();
    names.into_iter().filter(|name| own.get(*name) != theirs.get(*name)).cloned().collect()
}
