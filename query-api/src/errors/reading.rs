//! Reads errors, newest first: from the index by type, of which only keys are read until their agent is known to be asked
//! for; where errors are not indexed, from the agents' own events. Bounded in keys and events.

use super::groups::Groups;
use crate::AppState;
use crate::event_pages::{self, Question};
use crate::store::{EventFilter, EventKey, EventRange, Selection, StoreError, time_of_key};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use rustc_hash::FxHashSet;
use schemas::MessageType;
use schemas::item::{StoredEvent, TYPE_SHARDS};
use schemas::time::{DAY_US, day_of};
use service_kit::problem::ApiError;

/// Keys of the index that one answer reads at most.
const MOST_KEYS: usize = 100_000;
/// Keys of a shard read at once.
const KEYS: usize = 1_000;
/// Events fetched with one request.
const BATCH: usize = 100;
/// Requests for events under way at once.
const FETCHES: usize = 4;
/// Pages that one agent's own events are read in.
const PAGES: usize = 20;

/// What is asked for.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    /// Whose errors.
    pub(super) selection: &'a Selection,
    /// µs, inclusive.
    pub(super) from: i64,
    /// µs, inclusive.
    pub(super) to: i64,
}

/// Puts the errors asked for into groups. Answers from when on (µs) all of them are there; `None` where all are.
pub(super) async fn read(state: &AppState, asked: &Asked<'_>, groups: &mut Groups) -> Result<Option<i64>, ApiError> {
    if state.config.indexed_message_types.contains(&MessageType::Error) {
        return Ok(by_index(state, asked, groups).await?);
    }
    match asked.selection {
        Selection::Fleet => of_pages(state, asked, None, state.config.most_errors, groups).await,
        Selection::Agents(agents) => {
            let mut complete_from = None;
            for agent in agents {
                complete_from =
                    complete_from.max(of_pages(state, asked, Some(agent), state.config.most_errors / agents.len(), groups).await?);
            }
            Ok(complete_from)
        }
    }
}

/// A reader of the index and what it may still read.
struct Reader<'a> {
    state: &'a AppState,
    asked: &'a Asked<'a>,
    agents: Option<FxHashSet<&'a str>>,
    keys: usize,
    events: usize,
}

async fn by_index(state: &AppState, asked: &Asked<'_>, groups: &mut Groups) -> Result<Option<i64>, StoreError> {
    let agents = match asked.selection {
        Selection::Fleet => None,
        Selection::Agents(agents) => Some(agents.iter().map(String::as_str).collect()),
    };
    let mut reader = Reader { state, asked, agents, keys: MOST_KEYS, events: state.config.most_errors };
    // Days without errors are not looked at: what is not in their rollups is not counted yet.
    let days = state.store.days(asked.selection, day_of(asked.from)..=day_of(asked.to)).await?;
    let with_errors = days.into_iter().rev().filter(|(_, rollup)| rollup.of_type(MessageType::Error) > 0);
    for (day, _) in with_errors {
        if reader.is_exhausted() {
            return Ok(Some((i64::from(day) + 1) * DAY_US));
        }
        let stopped_at = reader.day(day, groups).await?;
        if stopped_at.is_some() {
            return Ok(stopped_at);
        }
    }
    Ok(None)
}

impl Reader<'_> {
    fn is_exhausted(&self) -> bool {
        self.keys == 0 || self.events == 0
    }

    /// Reads a day. Answers from when on it is complete where it had to stop.
    async fn day(&mut self, day: i32, groups: &mut Groups) -> Result<Option<i64>, StoreError> {
        let mut before: Option<String> = None;
        loop {
            let range = EventRange { from: self.asked.from, to: self.asked.to, before: before.clone(), at_before: true };
            let Some(range) = range.on_day(day) else { return Ok(None) };
            let asked = (0..TYPE_SHARDS).map(|shard| self.state.store.newest_of_type((MessageType::Error, day, shard), &range, KEYS));
            let lists = futures::future::try_join_all(asked).await?;
            // All lists together are complete above the first end of one that goes on; what is at it comes with the next.
            let ends = lists.iter().filter(|(_, goes_on)| *goes_on).filter_map(|(keys, _)| keys.last());
            let horizon = ends.map(|key| key.sort_key.clone()).max();
            let mut keys: Vec<EventKey> = lists.into_iter().flat_map(|(keys, _)| keys).collect();
            keys.retain(|key| horizon.as_ref().is_none_or(|horizon| key.sort_key > *horizon));
            keys.sort_unstable_by(|a, b| b.sort_key.cmp(&a.sort_key));
            let is_stuck = keys.is_empty();
            self.keys = self.keys.saturating_sub(keys.len());
            keys.retain(|key| self.agents.as_ref().is_none_or(|agents| agents.contains(key.agent_id())));
            let is_cut = keys.len() > self.events;
            keys.truncate(self.events);
            self.events -= keys.len();
            self.fetch(&keys, groups).await?;
            // Of the last time, some may be missing.
            let after = |key: &String| time_of_key(key).map(|time| time + 1);
            if is_cut {
                return Ok(keys.last().and_then(|key| after(&key.sort_key)).or(Some(self.asked.to)));
            }
            match horizon {
                None => return Ok(None),
                // Or more agents share one time and event id than a list has room for.
                Some(horizon) if is_stuck || self.is_exhausted() => return Ok(after(&horizon)),
                Some(horizon) => before = Some(horizon),
            }
        }
    }

    async fn fetch(&self, keys: &[EventKey], groups: &mut Groups) -> Result<(), StoreError> {
        let store = &self.state.store;
        let mut batches = Vec::with_capacity(keys.len().div_ceil(BATCH));
        for batch in keys.chunks(BATCH) {
            batches.push(async move {
                let (mut events, mut rest): (Vec<StoredEvent>, &[EventKey]) = (Vec::with_capacity(batch.len()), batch);
                while !rest.is_empty() {
                    let (found, done) = store.events_of(rest).await?;
                    events.extend(found);
                    rest = &rest[done..];
                }
                Ok::<_, StoreError>(events)
            });
        }
        let mut batches = stream::iter(batches).buffer_unordered(FETCHES);
        while let Some(events) = batches.try_next().await? {
            events.into_iter().for_each(|event| groups.take(event));
        }
        Ok(())
    }
}

/// Reads page by page without the index.
async fn of_pages(
    state: &AppState,
    asked: &Asked<'_>,
    agent: Option<&String>,
    most: usize,
    groups: &mut Groups,
) -> Result<Option<i64>, ApiError> {
    let filter = EventFilter { message_type: Some(MessageType::Error), ..EventFilter::default() };
    let question = Question { agent_id: agent.cloned(), from: asked.from, to: asked.to, filter, limit: KEYS, may_be_short: false };
    let (mut after, mut read, mut complete_from) = (None, 0, None);
    for _ in 0..PAGES {
        let page = match event_pages::page(state, &question, after.as_ref()).await {
            Ok(page) => page,
            // A merge that can go no further; its scope said down to where it is complete.
            Err(error) if after.is_some() && error.problem.status == 422 => return Ok(complete_from),
            Err(error) => return Err(error),
        };
        read += page.events.len();
        page.events.into_iter().for_each(|event| groups.take(event));
        complete_from = page.scope.and_then(|scope| scope.complete_from).filter(|from| *from > asked.from);
        let Some(next) = page.next else { return Ok(complete_from) };
        after = Some(next);
        if read >= most {
            break;
        }
    }
    let reached = after.and_then(|place| time_of_key(&place.key)).map(|time| time + 1);
    Ok(complete_from.max(reached))
}
