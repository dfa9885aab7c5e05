//! One follower of a stream: takes from the live table's notices and the tail of events what it wants, in turn.
//! Holds nothing back: a slow follower gets newer totals and is told how many events it missed.

use super::message::{Data, EventsState, Heartbeat, Message, Missed, MissedOf, MissedReason};
use super::place::Place;
use super::seats::Seat;
use crate::AppState;
use crate::live_table::{LiveTable, Notice};
use crate::tail::{EventFilter, EventWatch, Tail, TailState, Tailed};
use axum::http::HeaderMap;
use event_log::LogError;
use rustc_hash::FxHashSet;
use schemas::time::format_micros;
use service_kit::auth::Scope;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

/// Between two looks whether the follower may still read: with the copy of the keys that is five seconds old at most,
/// a revocation ends a stream within ten seconds.
const CHECK_EVERY: Duration = Duration::from_secs(4);
/// Between two `totals` messages of one follower.
const BETWEEN_TOTALS: Duration = Duration::from_millis(250);

/// What a follower wants.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Wishes {
    /// `totals` messages.
    pub(super) totals: bool,
    /// Only of these agents.
    pub(super) agents: Option<FxHashSet<String>>,
    /// `event` messages that fit.
    pub(super) events: Option<EventFilter>,
    /// The id of the last message that it got.
    pub(super) last_id: Option<String>,
}

/// A follower, until it is dropped.
#[derive(Debug)]
pub(super) struct Follower {
    state: Arc<AppState>,
    headers: HeaderMap,
    seat: Seat,
    waiting: VecDeque<Data>,
    totals: Option<TotalsWatch>,
    events: Option<EventWatch>,
    heartbeat: tokio::time::Interval,
    checked: Instant,
}

#[derive(Debug)]
struct TotalsWatch {
    notices: watch::Receiver<Arc<Notice>>,
    agents: Option<FxHashSet<String>>,
    seq: u64,
    /// When to ask for what changed; `None` until a notice comes.
    due: Option<Instant>,
    not_before: Instant,
}

impl Follower {
    /// Begins to follow. `headers` say who: they are checked again and again.
    pub(super) async fn new(state: Arc<AppState>, headers: HeaderMap, seat: Seat, wishes: Wishes) -> Result<Self, LogError> {
        let mut waiting = VecDeque::new();
        let mut lost = |of| waiting.push_back(Data::Missed(Missed::unknown(of, MissedReason::UnknownId)));
        let last = wishes.last_id.map(|id| id.parse::<Place>());
        let mut totals = wishes.totals.then(|| TotalsWatch::new(&state.live, wishes.agents));
        if let Some(totals) = &mut totals {
            match &last {
                None => {}
                Some(Ok(place)) if place.generation == state.live.generation() && place.seq <= totals.seq => totals.resume(place.seq),
                Some(_) => lost(MissedOf::Totals),
            }
        }
        let mut events = None;
        if let Some(filter) = wishes.events {
            let resume = match last {
                None => None,
                Some(Ok(Place { events: None, .. })) => None,
                Some(Ok(Place { events: Some((epoch, offsets)), .. })) if epoch == state.tail.epoch() => Some(offsets),
                Some(_) => {
                    lost(MissedOf::Events);
                    None
                }
            };
            events = Some(state.tail.watch(filter, resume).await?);
        }
        let mut heartbeat = tokio::time::interval(Duration::from_secs(state.config.stream_heartbeat_s));
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self { state, headers, seat, waiting, totals, events, heartbeat, checked: Instant::now() })
    }

    /// Waits for the next message; `None` where the stream ends. Safe to cancel.
    pub(super) async fn next(&mut self) -> Option<Message> {
        loop {
            self.seat.is_kept().then_some(())?;
            if self.checked.elapsed() >= CHECK_EVERY {
                self.may_go_on().await.then_some(())?;
            }
            if let Some(data) = self.waiting.pop_front() {
                return Some(self.message(data));
            }
            tokio::select! {
                biased;
                () = self.state.shutdown.cancelled() => return None,
                _ = self.heartbeat.tick() => {
                    let data = Data::Heartbeat(self.heartbeat_data());
                    return Some(self.message(data));
                }
                data = next_totals(&mut self.totals, &self.state.live) => return Some(self.message(data)),
                data = next_event(&mut self.events) => return Some(self.message(data)),
                () = tokio::time::sleep_until(self.checked + CHECK_EVERY) => {}
            }
        }
    }

    fn message(&self, data: Data) -> Message {
        metrics::counter!("stream_messages_total", "type" => data.kind()).increment(1);
        if let Data::Missed(Missed { count: Some(count), .. }) = &data {
            metrics::counter!("stream_missed_total").increment(*count);
        }
        let live = &self.state.live;
        let events = self.events.as_ref().map(|watch| (self.state.tail.epoch(), watch.next_offsets().to_vec()));
        let seq = self.totals.as_ref().map_or_else(|| live.seq(), |t| t.seq);
        Message { id: Place { generation: live.generation(), seq, events }.to_string(), data }
    }

    fn heartbeat_data(&self) -> Heartbeat {
        let freshness = self.state.live.freshness();
        let events = self.events.as_ref().map_or(EventsState::Off, |_| events_state(&self.state.tail));
        Heartbeat { as_of: format_micros(freshness.as_of), is_caught_up: freshness.is_caught_up, events }
    }

    /// An outage of the store is no reason to end a stream; a refusal is.
    async fn may_go_on(&mut self) -> bool {
        let outcome = self.state.auth.authenticate_browser(&self.headers, Scope::Read).await;
        // Only now: a check that is cancelled must be made again.
        self.checked = Instant::now();
        outcome.map_or_else(|error| error.status().is_server_error(), |_| true)
    }
}

fn events_state(tail: &Tail) -> EventsState {
    match tail.state() {
        TailState::Interrupted(_) => EventsState::Interrupted,
        TailState::Idle | TailState::Live => EventsState::Live,
    }
}

async fn next_totals(totals: &mut Option<TotalsWatch>, live: &LiveTable) -> Data {
    match totals {
        Some(totals) => totals.next(live).await,
        None => std::future::pending().await,
    }
}

async fn next_event(events: &mut Option<EventWatch>) -> Data {
    match events {
        None => std::future::pending().await,
        Some(watch) => match watch.next().await {
            Tailed::Event(event) => Data::Event(event),
            Tailed::Missed(missed) => Data::Missed(Missed::of_events(missed)),
        },
    }
}

impl TotalsWatch {
    fn new(live: &LiveTable, agents: Option<FxHashSet<String>>) -> Self {
        // First the notices, then the number: no change can fall between.
        let notices = live.watch_notices();
        Self { notices, agents, seq: live.seq(), due: None, not_before: Instant::now() }
    }

    fn resume(&mut self, seq: u64) {
        self.seq = seq;
        self.due = Some(Instant::now());
    }

    async fn next(&mut self, live: &LiveTable) -> Data {
        loop {
            if let Some(due) = self.due {
                tokio::time::sleep_until(due).await;
                self.due = None;
                let notice = self.changes(live);
                if notice.to < live.seq() {
                    self.due = Some(Instant::now() + BETWEEN_TOTALS);
                }
                self.seq = notice.to;
                if !notice.json.is_empty() {
                    self.not_before = Instant::now() + BETWEEN_TOTALS;
                    return Data::Totals(notice);
                }
                continue;
            }
            if self.notices.changed().await.is_err() {
                return std::future::pending().await;
            }
            let notice = Arc::clone(&self.notices.borrow_and_update());
            if notice.json.is_empty() && notice.to > self.seq {
                // The table was filled for the first time: no news, but reason to read again.
                self.seq = notice.to;
                return Data::Missed(Missed::unknown(MissedOf::Totals, MissedReason::Reloaded));
            }
            self.due = Some(self.not_before);
        }
    }

    /// The shared notice where it goes on exactly where this follower is, else one of its own.
    fn changes(&mut self, live: &LiveTable) -> Arc<Notice> {
        let shared = Arc::clone(&self.notices.borrow_and_update());
        if self.agents.is_none() && shared.from == self.seq && !shared.json.is_empty() {
            return shared;
        }
        Arc::new(live.notice_since(self.seq, self.agents.as_ref()))
    }
}
