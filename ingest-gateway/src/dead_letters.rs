//! Finds dead letters in their topic. Nothing of it is kept: redriving is rare, and whoever reads the topic anew each
//! time sees what another gateway redrove a moment ago. Must not change anything.

use crate::GatewayConfig;
use bytes::Bytes;
use event_log::{Log, LogError, LogRecord, Position, ReadFrom, Reader, Record};
use schemas::AgentEvent;
use schemas::codec::{self, DecodeError, EVENTS};
use schemas::dead_letter::{DeadLetter, Redriven, header};
use service_kit::registry::{Registry, RegistryError};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

/// How long reading the topic may take, together with waiting for others who do.
const FOUND_WITHIN: Duration = Duration::from_secs(30);
/// Dead letters of the wanted kind that are remembered while the topic is read.
const MOST_REMEMBERED: usize = 100_000;

/// Why a dead letter could not be looked up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FindError {
    /// The log does not answer.
    #[error("the dead letters cannot be read")]
    Log(#[from] LogError),
    /// The topic was not read in time.
    #[error("the dead letters were not read within {} s", FOUND_WITHIN.as_secs())]
    TimedOut,
    /// The registry does not answer, so that it cannot be told whose events they are.
    #[error("the schema registry cannot be asked")]
    Registry(#[from] RegistryError),
}

/// A dead letter as it lies in the log.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// The original's position.
    pub(crate) position: Position,
    /// The dead letter.
    pub(crate) record: LogRecord,
}

/// Which dead letters are looked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kind {
    /// Only of this reason.
    pub(crate) reason: Option<String>,
    /// Only events of this agent.
    pub(crate) agent_id: Option<String>,
}

/// The dead-letter topic.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    log: Arc<dyn Log>,
    topic: String,
    topic_events: String,
    epoch: u32,
    registry: Option<Registry>,
    /// Whoever reads the topic; one at a time.
    turn: Semaphore,
}

/// When a dead letter died (µs), and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    died_at: i64,
    partition: u32,
    offset: u64,
}

/// Somebody reads the topic.
#[derive(Debug)]
struct Reading<'a> {
    reader: Box<dyn Reader>,
    until: Instant,
    _turn: Option<SemaphorePermit<'a>>,
}

impl Found {
    /// Its headers, told apart.
    pub(crate) fn letter(&self) -> DeadLetter<'_, Bytes> {
        DeadLetter::of(&self.record.headers)
    }

    /// When and where to it was redriven.
    pub(crate) fn redriven(&self) -> Option<Redriven<'_>> {
        self.letter().redriven()
    }
}

impl DeadLetters {
    /// The dead letters of that log.
    ///
    /// # Errors
    /// Where the registry's settings cannot be used.
    pub(crate) fn new(log: Arc<dyn Log>, config: &GatewayConfig) -> Result<Self, RegistryError> {
        Ok(Self {
            log,
            topic: config.topic_dead.clone(),
            topic_events: config.topic.clone(),
            epoch: config.epoch,
            registry: Registry::new(&config.registry)?,
            turn: Semaphore::new(1),
        })
    }

    /// Their topic.
    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    /// The dead letter of that position as it is now.
    pub(crate) async fn find(&self, position: Position) -> Result<Option<Found>, FindError> {
        let (mut found, mut reading) = (None, self.read().await?);
        while let Some(records) = reading.next().await? {
            // What comes later replaces what was there.
            found = records.into_iter().rev().find(|record| position_of(record) == Some(position)).or(found);
        }
        Ok(found.map(|record| Found { position, record }))
    }

    /// The oldest dead letters of a kind that were not redriven, and whether there are more.
    pub(crate) async fn find_kind(&self, kind: &Kind, limit: usize) -> Result<(Vec<Found>, bool), FindError> {
        let mut places: HashMap<Position, Place> = HashMap::new();
        let (mut is_full, mut reading) = (false, self.read().await?);
        while let Some(records) = reading.next().await? {
            for record in records {
                let Some(position) = position_of(&record) else { continue };
                places.remove(&position);
                if !self.is_of(kind, &record).await? {
                    continue;
                }
                if places.len() < MOST_REMEMBERED {
                    places.insert(position, Place::of(&record));
                } else {
                    is_full = true;
                }
            }
        }
        drop(reading);
        let mut oldest: Vec<(Place, Position)> = places.into_iter().map(|(position, place)| (place, position)).collect();
        oldest.sort_unstable();
        let has_more = is_full || oldest.len() > limit;
        let mut found = Vec::new();
        for (Place { partition, offset, .. }, position) in oldest.into_iter().take(limit) {
            // Replaced and compacted away meanwhile: then it was redriven by somebody else.
            if let Some(record) = self.log.record_at(&self.topic, partition, offset).await? {
                found.push(Found { position, record });
            }
        }
        Ok((found, has_more))
    }

    /// The event that died, as it was published. The whole original stands for the beginning of it where the log still
    /// has it; `None` where it has not.
    pub(crate) async fn original(&self, found: &Found) -> Result<Option<Record>, FindError> {
        let letter = found.letter();
        if letter.whole_bytes().is_none() {
            let key = letter.value(header::KEY).cloned().unwrap_or_default();
            return Ok(Some(Record { key, value: found.record.value.clone(), headers: letter.original.to_vec() }));
        }
        let Position { epoch, partition, offset } = found.position;
        if epoch != self.epoch {
            return Ok(None);
        }
        let original = self.log.record_at(&self.topic_events, partition, offset).await?;
        Ok(original.map(|LogRecord { key, value, headers, .. }| Record { key, value, headers }))
    }

    /// The event of these bytes, where they are one.
    pub(crate) async fn decode(&self, value: &[u8]) -> Result<Option<AgentEvent>, FindError> {
        match (codec::decode_event(value), &self.registry) {
            (Ok(event), _) => Ok(Some(event)),
            (Err(DecodeError::UnknownSchemaId(id)), Some(registry)) => match registry.teach(&EVENTS, id).await {
                Ok(()) => Ok(codec::decode_event(value).ok()),
                Err(error) if error.is_retryable() => Err(error.into()),
                Err(_) => Ok(None),
            },
            (Err(_), _) => Ok(None),
        }
    }

    async fn is_of(&self, kind: &Kind, record: &LogRecord) -> Result<bool, FindError> {
        let letter = DeadLetter::of(&record.headers);
        if letter.redriven().is_some() || kind.reason.as_ref().is_some_and(|reason| letter.text(header::REASON) != Some(reason.as_str())) {
            return Ok(false);
        }
        let Some(agent_id) = &kind.agent_id else { return Ok(true) };
        Ok(self.decode(&record.value).await?.is_some_and(|event| event.agent_id == *agent_id))
    }

    /// Begins to read the whole topic as it is now.
    async fn read(&self) -> Result<Reading<'_>, FindError> {
        let until = Instant::now() + FOUND_WITHIN;
        let opening = async {
            let turn = self.turn.acquire().await.ok();
            let reader = Arc::clone(&self.log).read(&self.topic, ReadFrom::Start).await?;
            Ok::<_, FindError>(Reading { reader, until, _turn: turn })
        };
        timeout_at(until, opening).await.unwrap_or(Err(FindError::TimedOut))
    }
}

impl Reading<'_> {
    /// The next records; `None` where the topic has been read as it was in the beginning.
    async fn next(&mut self) -> Result<Option<Vec<LogRecord>>, FindError> {
        if self.reader.is_caught_up() {
            return Ok(None);
        }
        match timeout_at(self.until, self.reader.next()).await {
            Ok(records) => Ok(Some(records?)),
            Err(_) => Err(FindError::TimedOut),
        }
    }
}

impl Place {
    fn of(record: &LogRecord) -> Self {
        let died_at = DeadLetter::of(&record.headers).died_at().unwrap_or(record.appended_at_ms.saturating_mul(1_000));
        Self { died_at, partition: record.partition, offset: record.offset }
    }
}

/// The original's position: the record's key, else its header.
fn position_of(record: &LogRecord) -> Option<Position> {
    let parsed = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse().ok();
    parsed(&record.key).or_else(|| parsed(DeadLetter::of(&record.headers).value(header::POSITION)?))
}
