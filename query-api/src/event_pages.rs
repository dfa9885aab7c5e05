//! Pages of raw events, newest first, from the cheapest source that has them: a conversation's index, the agent's own
//! events, the index by type, or a merge of the agents most recently seen. Never a scan of the table.

use crate::AppState;
use crate::event_days::EventDays;
use crate::store::{EventFilter, EventKey, EventPage, EventRange, StoreError, sort_key, time_of_key};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use schemas::item::{StoredEvent, TYPE_SHARDS};
use schemas::time::{DAY_US, day_of, format_micros, now_micros};
use serde::{Deserialize, Serialize};
use service_kit::problem::ApiError;
use std::sync::Arc;

/// Agents that a question without an agent looks at.
pub(crate) const MERGED_AGENTS: usize = 200;
/// Agents read at once for it.
const WAVE: usize = 16;
/// How far beyond its share an agent is read where a page may be short.
const SHARES: usize = 3;
/// The least that is read of an agent.
const LEAST: usize = 32;
/// Rounds that one page by an index takes where a filter takes little.
const ROUNDS: usize = 40;
/// Days without any key that one page by type looks at: their events were counted, but have expired since.
const EMPTY_DAYS: usize = 100;

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// One agent, or all.
    pub(crate) agent_id: Option<String>,
    /// µs, inclusive.
    pub(crate) from: i64,
    /// µs, inclusive.
    pub(crate) to: i64,
    /// What an event must be like.
    pub(crate) filter: EventFilter,
    /// Events of a page.
    pub(crate) limit: usize,
    /// Whether a page merged from many agents may be shorter than `limit`: then each is read only a little beyond its
    /// share, in place of as far as if all the newest events were its own.
    pub(crate) may_be_short: bool,
}

/// A place in the order of events: by sort key, then agent. The empty agent lies before every agent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Place {
    #[serde(rename = "k")]
    pub(crate) key: String,
    #[serde(rename = "a")]
    pub(crate) agent: String,
}

/// Which agents a merged page looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    /// How many.
    pub(crate) agents: usize,
    /// Of how many.
    pub(crate) of: usize,
    /// µs; events of all agents from here on are complete. `None` where all agents were looked at.
    pub(crate) complete_from: Option<i64>,
}

/// A page.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    /// Newest first.
    pub(crate) events: Vec<StoredEvent>,
    /// Where the next page begins (exclusive); `None` at the end.
    pub(crate) next: Option<Place>,
    /// Only of a merged page.
    pub(crate) scope: Option<Scope>,
}

/// The page of `question` below `after`.
pub(crate) async fn page(state: &AppState, question: &Question, after: Option<&Place>) -> Result<Page, ApiError> {
    if let Some(conversation) = &question.filter.conversation_id
        && state.store.has_conversation_index()
    {
        return Ok(of_conversation(state, question, conversation, after).await?);
    }
    if let Some(agent) = &question.agent_id {
        return Ok(of_agent(state, question, agent, after).await?);
    }
    match question.filter.message_type {
        Some(message_type) if state.config.indexed_message_types.contains(&message_type) => Ok(of_type(state, question, after).await?),
        _ => merged(state, question, after).await,
    }
}

fn range(question: &Question, after: Option<&Place>) -> EventRange {
    EventRange { from: question.from, to: question.to, before: after.map(|p| p.key.clone()), at_before: false }
}

async fn of_agent(state: &AppState, question: &Question, agent: &str, after: Option<&Place>) -> Result<Page, StoreError> {
    let page = state.store.newest_events(agent, &range(question, after), &question.filter, question.limit).await?;
    let mut merge = Merge::new(question.limit);
    merge.take(page);
    let (events, next) = merge.finish();
    Ok(Page { events, next, scope: None })
}

async fn of_conversation(state: &AppState, question: &Question, conversation: &str, after: Option<&Place>) -> Result<Page, StoreError> {
    let mut after = after.cloned();
    let mut events = Vec::new();
    for _ in 0..ROUNDS {
        let want = question.limit - events.len();
        let range = EventRange { at_before: true, ..range(question, after.as_ref()) };
        let (keys, has_more) = state.store.newest_of_conversation(conversation, &range, want + 1).await?;
        let (keys, reached) = first_keys(vec![(keys, has_more)], after.as_ref(), want);
        after = fetch(state, question, &keys, reached, &mut events).await?;
        if after.is_none() || events.len() >= question.limit {
            break;
        }
    }
    Ok(Page { events, next: after, scope: None })
}

async fn of_type(state: &AppState, question: &Question, after: Option<&Place>) -> Result<Page, StoreError> {
    let Some(message_type) = question.filter.message_type else { return Ok(Page::default()) };
    let mut after = after.cloned();
    let mut events = Vec::new();
    let last_day = range(question, after.as_ref()).last_day();
    let mut days = EventDays::new(message_type, day_of(question.from)..=last_day, day_of(now_micros()));
    let (mut rounds, mut empty_days) = (0, 0);
    while let Some(day) = days.newest(&state.store).await? {
        if events.len() >= question.limit || rounds >= ROUNDS || empty_days >= EMPTY_DAYS {
            // Below everything of the days above; nothing of `day` was looked at since `after`.
            let start_of_next_day = Place { key: format_micros((i64::from(day) + 1) * DAY_US), agent: String::new() };
            let next = after.filter(|a| a.key < start_of_next_day.key).unwrap_or(start_of_next_day);
            return Ok(Page { events, next: Some(next), scope: None });
        }
        let want = question.limit - events.len();
        let of_day = EventRange { at_before: true, ..range(question, after.as_ref()) }.on_day(day);
        let mut shards = Vec::new();
        if let Some(of_day) = &of_day {
            let asked = (0..TYPE_SHARDS).map(|shard| state.store.newest_of_type((message_type, day, shard), of_day, want + 1));
            shards = futures::future::try_join_all(asked).await?;
        }
        let (keys, reached) = first_keys(shards, after.as_ref(), want);
        if keys.is_empty() {
            empty_days += 1;
        } else {
            rounds += 1;
        }
        match fetch(state, question, &keys, reached, &mut events).await? {
            Some(place) => after = Some(place),
            None => days.pass(day),
        }
    }
    Ok(Page { events, next: None, scope: None })
}

/// The first `limit` keys of several sorted lists (each with whether it goes on), all below `after`; and the place
/// down to which they are complete, `None` where nothing is left.
fn first_keys(lists: Vec<(Vec<EventKey>, bool)>, after: Option<&Place>, limit: usize) -> (Vec<EventKey>, Option<Place>) {
    let horizon = lists.iter().filter(|(_, has_more)| *has_more).filter_map(|(keys, _)| keys.last().map(place_of_key)).max();
    let mut keys: Vec<(Place, EventKey)> = lists.into_iter().flat_map(|(keys, _)| keys).map(|key| (place_of_key(&key), key)).collect();
    keys.retain(|(place, _)| after.is_none_or(|after| place < after) && horizon.as_ref().is_none_or(|horizon| place >= horizon));
    keys.sort_unstable_by(|a, b| b.0.cmp(&a.0));
    let is_cut = keys.len() > limit;
    keys.truncate(limit);
    let reached = if is_cut { keys.last().map(|(place, _)| place.clone()) } else { horizon };
    (keys.into_iter().map(|(_, key)| key).collect(), reached)
}

/// Adds the events of these keys that the filter takes. Answers where to go on: `reached`, or earlier where the
/// events are large.
async fn fetch(
    state: &AppState,
    question: &Question,
    keys: &[EventKey],
    reached: Option<Place>,
    events: &mut Vec<StoredEvent>,
) -> Result<Option<Place>, StoreError> {
    let (found, done) = state.store.events_of(keys).await?;
    let is_wanted = |e: &StoredEvent| question.agent_id.as_ref().is_none_or(|a| *a == e.event.agent_id) && question.filter.takes(&e.event);
    events.extend(found.into_iter().filter(is_wanted));
    if done < keys.len() {
        return Ok(keys[..done].last().map(place_of_key));
    }
    Ok(reached)
}

fn place_of_key(key: &EventKey) -> Place {
    Place { key: key.sort_key.clone(), agent: key.agent_id().to_owned() }
}

/// Events of all agents: of those seen most recently, merged.
async fn merged(state: &AppState, question: &Question, after: Option<&Place>) -> Result<Page, ApiError> {
    let (agents, scope) = recent_agents(state).await?;
    let reaches_beyond = |place: Option<&Place>| {
        let time = place.and_then(|p| time_of_key(&p.key));
        scope.complete_from.is_some_and(|from| time.is_none_or(|time| time <= from))
    };
    if after.is_some() && reaches_beyond(after) {
        return Err(too_far(&scope));
    }
    let mut merge = Merge::new(question.limit);
    let share = question.limit * SHARES / agents.len().max(1);
    let most = if question.may_be_short { share.clamp(LEAST.min(question.limit), question.limit) } else { question.limit };
    let mut rest = agents.as_slice();
    while !rest.is_empty() {
        // Whoever was last seen before the page's last event has nothing to add, and so have all behind.
        if merge.is_full_above(rest[0].1) {
            merge.ends_here();
            break;
        }
        let (wave, others) = rest.split_at(rest.len().min(WAVE));
        rest = others;
        let mut asked = Vec::with_capacity(wave.len());
        for (agent, _) in wave {
            let range = EventRange { at_before: after.is_some_and(|p| **agent < *p.agent), ..range(question, after) };
            asked.push(async move { state.store.newest_events(agent, &range, &question.filter, most).await });
        }
        let pages: Vec<EventPage> = stream::iter(asked).buffer_unordered(WAVE).try_collect().await?;
        pages.into_iter().for_each(|page| merge.take(page));
    }
    let (mut events, mut next) = merge.finish();
    if let Some(from) = scope.complete_from
        && after.is_some()
    {
        // A further page must not pass for complete where agents out of scope may have events in between.
        let is_complete = |e: &StoredEvent| e.event.timestamp >= from;
        if !events.iter().all(is_complete) {
            events.retain(is_complete);
            next = Some(Place { key: format_micros(from), agent: String::new() });
            if events.is_empty() {
                return Err(too_far(&scope));
            }
        }
    }
    Ok(Page { events, next, scope: Some(scope) })
}

fn too_far(scope: &Scope) -> ApiError {
    let detail = format!(
        "only the {} agents most recently seen (of {}) are merged, and further back others have events too; give agent_id",
        scope.agents, scope.of
    );
    crate::cursor::refusal(&detail)
}

/// The agents most recently seen with the time of their newest event, newest first.
async fn recent_agents(state: &AppState) -> Result<(Vec<(Arc<str>, i64)>, Scope), ApiError> {
    let directory = state.store.directory().await?;
    let mut agents = state.live.most_recent(MERGED_AGENTS + 1);
    // The live table keeps milliseconds; an event may be later within its own.
    agents.iter_mut().for_each(|(_, last_at)| *last_at += 999);
    let mut complete_from = agents.get(MERGED_AGENTS).map(|(_, last_at)| *last_at);
    agents.truncate(MERGED_AGENTS);
    // The rest was seen before the days held, or the live table has not heard of it yet.
    let unseen_before = if state.live.freshness().is_caught_up { i64::from(state.live.days().0) * DAY_US } else { now_micros() + DAY_US };
    let mut unseen = directory.iter().filter(|(agent, _)| state.live.last_at(agent).is_none()).peekable();
    while let Some((agent, _)) = unseen.next_if(|_| agents.len() < MERGED_AGENTS) {
        agents.push((agent.as_str().into(), unseen_before));
    }
    if unseen.peek().is_some() {
        complete_from = complete_from.max(Some(unseen_before));
    }
    agents.sort_by_key(|(_, last_at)| std::cmp::Reverse(*last_at));
    let of = directory.len().max(agents.len());
    let scope = Scope { agents: agents.len(), of, complete_from };
    Ok((agents, scope))
}

/// Puts pages of several agents in one order, and knows down to which place the result is complete.
#[derive(Debug)]
struct Merge {
    limit: usize,
    events: Vec<(Place, StoredEvent)>,
    horizon: Option<Place>,
}

impl Merge {
    fn new(limit: usize) -> Self {
        Self { limit, events: Vec::new(), horizon: None }
    }

    fn take(&mut self, page: EventPage) {
        let reached = page.reached.map(|key| Place { key, agent: String::new() });
        self.horizon = self.horizon.take().max(reached);
        let placed = page.events.into_iter().map(|e| (Place { key: sort_key(&e.event), agent: e.event.agent_id.clone() }, e));
        self.events.extend(placed);
        self.settle();
    }

    /// Keeps what is complete and fits.
    fn settle(&mut self) {
        self.events.sort_unstable_by(|a, b| b.0.cmp(&a.0));
        if let Some(horizon) = &self.horizon {
            let complete = self.events.partition_point(|(place, _)| place >= horizon);
            self.events.truncate(complete);
        }
        if self.events.len() > self.limit {
            self.events.truncate(self.limit);
            self.horizon = self.events.last().map(|(place, _)| place.clone());
        }
    }

    /// Whether the page is full of events newer than `time` (µs).
    fn is_full_above(&self, time: i64) -> bool {
        self.events.len() >= self.limit && self.events.last().is_some_and(|(_, e)| e.event.timestamp > time)
    }

    /// Says that more may come below the page's last event.
    fn ends_here(&mut self) {
        self.horizon = self.horizon.take().max(self.events.last().map(|(place, _)| place.clone()));
    }

    fn finish(self) -> (Vec<StoredEvent>, Option<Place>) {
        (self.events.into_iter().map(|(_, event)| event).collect(), self.horizon)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::{AgentEvent, MessageType};

    fn stored(agent: &str, at: i64) -> StoredEvent {
        StoredEvent { event: AgentEvent::new(agent, at, "e", MessageType::UserMessage), src: None }
    }

    fn times(merge: Merge) -> (Vec<i64>, Option<Place>) {
        let (events, next) = merge.finish();
        (events.iter().map(|e| e.event.timestamp).collect(), next)
    }

    #[test]
    fn a_merge_ends_where_the_first_of_its_pages_ends() {
        let mut merge = Merge::new(10);
        merge.take(EventPage { events: vec![stored("a", 9), stored("a", 1)], reached: None });
        merge.take(EventPage { events: vec![stored("b", 8), stored("b", 5)], reached: Some(sort_key(&stored("b", 5).event)) });
        let (times, next) = times(merge);
        assert_eq!(times, [9, 8, 5]);
        assert_eq!(next.map(|p| p.key), Some(sort_key(&stored("b", 5).event)));
    }

    #[test]
    fn equal_keys_of_two_agents_are_told_apart_across_pages() {
        let mut merge = Merge::new(1);
        merge.take(EventPage { events: vec![stored("a", 5)], reached: None });
        merge.take(EventPage { events: vec![stored("b", 5)], reached: None });
        let (events, next) = merge.finish();
        assert_eq!(events[0].event.agent_id, "b");
        assert!(next.is_some_and(|p| Place { key: p.key.clone(), agent: "a".into() } < p));
    }

    #[test]
    fn keys_are_complete_down_to_the_first_list_that_goes_on() {
        let key = |agent: &str, at| EventKey { partition_key: agent.into(), sort_key: sort_key(&stored(agent, at).event) };
        let lists = || vec![(vec![key("a", 9), key("a", 7)], true), (vec![key("b", 8), key("b", 2)], false)];
        let (keys, reached) = first_keys(lists(), None, 10);
        assert_eq!((keys.len(), reached), (3, Some(place_of_key(&key("a", 7)))));
        let (keys, reached) = first_keys(lists(), Some(&place_of_key(&key("b", 8))), 10);
        assert_eq!((keys, reached), (vec![key("a", 7)], Some(place_of_key(&key("a", 7)))));
        let (keys, reached) = first_keys(vec![(vec![key("b", 8)], false)], None, 1);
        assert_eq!((keys.len(), reached), (1, None));
    }
}
