//! A log in memory that can be trimmed, committed to and taken down at will, for this crate's tests of what happens
//! when the real ones fail.

use bytes::Bytes;
use event_log::{Acknowledgement, AppendError, Bounds, GroupConsumer, Log, LogError, LogRecord, ReadFrom, Reader, Record, TopicSpec};
use futures::future::BoxFuture;
use schemas::codec::{WireForm, encode_event, encode_totals};
use schemas::{AgentEvent, AgentTotals};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

#[derive(Debug)]
pub(crate) struct MemoryLog {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    topics: HashMap<String, Vec<Partition>>,
    committed: Vec<Option<u64>>,
    is_down: bool,
}

#[derive(Clone, Debug, Default)]
struct Partition {
    start: u64,
    records: Vec<LogRecord>,
}

impl MemoryLog {
    /// The three topics with two partitions each.
    pub(crate) fn new() -> Arc<Self> {
        let topics = ["agent-events", "agent-metrics", "agent-events-dead"].map(|t| (t.to_owned(), vec![Partition::default(); 2]));
        let state = State { topics: topics.into_iter().collect(), committed: vec![None; 2], is_down: false };
        Arc::new(Self { state: Mutex::new(state), changed: watch::Sender::new(()) })
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let outcome = change(&mut self.state.lock().expect("no panic while held"));
        self.changed.send_replace(());
        outcome
    }

    pub(crate) fn push(&self, topic: &str, partition: usize, record: Record) -> u64 {
        self.change(|state| {
            let records = &mut state.topics.get_mut(topic).expect("a topic")[partition].records;
            let offset = records.len() as u64;
            let Record { key, value, headers } = record;
            let appended_at_ms = schemas::time::now_micros() / 1_000 - 50;
            records.push(LogRecord { partition: partition as u32, offset, appended_at_ms, key, value, headers });
            offset
        })
    }

    pub(crate) fn push_event(&self, partition: usize, event: &AgentEvent) -> u64 {
        let value = encode_event(event, WireForm::SingleObject).into();
        self.push("agent-events", partition, Record { value, ..Record::default() })
    }

    pub(crate) fn push_totals(&self, totals: &AgentTotals) -> u64 {
        let value = encode_totals(totals, WireForm::SingleObject).into();
        self.push("agent-metrics", 0, Record { key: totals.key().into(), value, headers: Vec::new() })
    }

    pub(crate) fn push_dead(&self, position: &str, reason: &'static str) -> u64 {
        let headers = vec![("dead-reason".to_owned(), Bytes::from_static(reason.as_bytes()))];
        self.push("agent-events-dead", 1, Record { key: position.to_owned().into(), value: Bytes::new(), headers })
    }

    pub(crate) fn commit(&self, partition: usize, next: u64) {
        self.change(|state| state.committed[partition] = Some(next));
    }

    pub(crate) fn trim(&self, topic: &str, partition: usize, start: u64) {
        self.change(|state| state.topics.get_mut(topic).expect("a topic")[partition].start = start);
    }

    pub(crate) fn set_down(&self, is_down: bool) {
        self.change(|state| state.is_down = is_down);
    }

    fn ask<T>(&self, answer: impl FnOnce(&State) -> Option<T>, topic: &str) -> BoxFuture<'static, Result<T, LogError>>
    where
        T: Send + 'static,
    {
        let state = self.state.lock().expect("no panic while held");
        let outcome = match state.is_down {
            true => Err(LogError::Unavailable("taken down".into())),
            false => answer(&state).ok_or_else(|| LogError::UnknownTopic(topic.to_owned())),
        };
        Box::pin(std::future::ready(outcome))
    }
}

impl Partition {
    fn end(&self) -> u64 {
        self.records.len() as u64
    }
}

impl Log for MemoryLog {
    fn id(&self) -> BoxFuture<'_, Result<String, LogError>> {
        self.ask(|_| Some("memory".to_owned()), "")
    }

    fn create_topic<'a>(&'a self, spec: &'a TopicSpec) -> BoxFuture<'a, Result<(), LogError>> {
        self.ask(|_| Some(()), &spec.name)
    }

    fn partitions<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<u32, LogError>> {
        self.ask(|state| Some(state.topics.get(topic)?.len() as u32), topic)
    }

    fn append(&self, _: &str, _: Record) -> Result<Acknowledgement, AppendError> {
        Err(AppendError::NotAcknowledged("the query api never writes".into()))
    }

    fn bounds<'a>(&'a self, topic: &'a str, partition: u32) -> BoxFuture<'a, Result<Bounds, LogError>> {
        self.ask(|state| state.topics.get(topic)?.get(partition as usize).map(|p| Bounds { start: p.start, end: p.end() }), topic)
    }

    fn committed<'a>(&'a self, _: &'a str, topic: &'a str) -> BoxFuture<'a, Result<Vec<Option<u64>>, LogError>> {
        self.ask(|state| Some(state.committed.clone()), topic)
    }

    fn record_at<'a>(&'a self, topic: &'a str, partition: u32, offset: u64) -> BoxFuture<'a, Result<Option<LogRecord>, LogError>> {
        self.ask(|state| Some(state.topics.get(topic)?.get(partition as usize)?.records.get(offset as usize).cloned()), topic)
    }

    fn join(self: Arc<Self>, _: &str, topic: &str) -> Result<Box<dyn GroupConsumer>, LogError> {
        Err(LogError::UnknownTopic(topic.to_owned()))
    }

    fn read<'a>(self: Arc<Self>, topic: &'a str, from: ReadFrom) -> BoxFuture<'a, Result<Box<dyn Reader>, LogError>> {
        let changed = self.changed.subscribe();
        let opened = self.ask(
            |state| {
                let partitions = state.topics.get(topic)?;
                let ends: Vec<u64> = partitions.iter().map(Partition::end).collect();
                let next = match from {
                    ReadFrom::Start => partitions.iter().map(|p| p.start).collect(),
                    ReadFrom::End => ends.clone(),
                    ReadFrom::Offsets(offsets) => {
                        let mut next = ends.clone();
                        offsets.into_iter().for_each(|(p, offset)| next[p as usize] = offset);
                        next
                    }
                };
                Some((next, ends, partitions.iter().map(|p| p.start).collect::<Vec<_>>()))
            },
            topic,
        );
        let topic = topic.to_owned();
        Box::pin(async move {
            let (next, ends, starts) = opened.await?;
            for (partition, ((next, end), start)) in (0..).zip(next.iter().zip(&ends).zip(&starts)) {
                let (topic, committed, start, end) = (topic.clone(), *next, *start, *end);
                if committed < start {
                    return Err(LogError::Trimmed { topic, partition, committed, start });
                }
                if committed > end {
                    return Err(LogError::BeyondEnd { topic, partition, committed, end });
                }
            }
            Ok(Box::new(MemoryReader { log: self, topic, next, ends, changed }) as Box<dyn Reader>)
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), LogError>> {
        self.ask(|_| Some(()), "")
    }
}

#[derive(Debug)]
struct MemoryReader {
    log: Arc<MemoryLog>,
    topic: String,
    next: Vec<u64>,
    ends: Vec<u64>,
    changed: watch::Receiver<()>,
}

impl Reader for MemoryReader {
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<LogRecord>, LogError>> {
        Box::pin(async move {
            loop {
                self.changed.mark_unchanged();
                let partitions = self.log.ask(|state| state.topics.get(&self.topic).cloned(), &self.topic).await?;
                let mut records = Vec::new();
                for (partition, next) in partitions.iter().zip(&mut self.next) {
                    records.extend(partition.records.iter().skip((*next).max(partition.start) as usize).cloned());
                    *next = partition.end().max(*next);
                }
                if !records.is_empty() {
                    return Ok(records);
                }
                if self.changed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        })
    }

    fn is_caught_up(&self) -> bool {
        self.next.iter().zip(&self.ends).all(|(next, end)| next >= end)
    }
}
