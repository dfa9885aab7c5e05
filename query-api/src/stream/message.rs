//! What a stream tells, the same over SSE and WebSocket.

use crate::live_table::Notice;
use crate::tail::{MissedEvents, TailedEvent};
use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::Arc;
use utoipa::ToSchema;

/// A message; its data is JSON on one line.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) id: String,
    pub(super) data: Data,
}

/// What it says.
#[derive(Debug)]
pub(super) enum Data {
    Totals(Arc<Notice>),
    Event(Arc<TailedEvent>),
    Missed(Missed),
    Heartbeat(Heartbeat),
}

/// Data of a `missed` message: the follower has a gap and should read again what it shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Missed {
    /// How many events were lost; null where nobody knows (or where totals are concerned).
    #[schema(required)]
    pub(super) count: Option<u64>,
    /// Whether `count` has only events that fit the filter; else it is an upper bound.
    pub(super) is_exact: bool,
    /// Of what: `events` or `totals`.
    pub(super) of: MissedOf,
    /// Why.
    pub(super) reason: MissedReason,
}

/// What was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum MissedOf {
    /// `event` messages.
    Events,
    /// `totals` messages; the rows' newest numbers are to be had from the other paths.
    Totals,
}

/// Why something was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum MissedReason {
    /// The follower reads more slowly than events come.
    Slow,
    /// The stream could not be resumed: too much came since, or it is no longer in the log.
    Behind,
    /// The stream could not be resumed: the id is none of this replica's (or of this log's).
    UnknownId,
    /// The live table was read anew.
    Reloaded,
}

/// Data of a `heartbeat` message. The first comes at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Heartbeat {
    /// Everything announced before this time is in the live table.
    #[schema(format = DateTime)]
    pub(super) as_of: String,
    /// Whether the live table has read all totals once.
    pub(super) is_caught_up: bool,
    /// Whether `event` messages come: `off` where they were not asked for.
    pub(super) events: EventsState,
}

/// Whether events arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum EventsState {
    /// Not asked for.
    Off,
    /// They do.
    Live,
    /// The log cannot be read for now.
    Interrupted,
}

impl Missed {
    pub(super) fn of_events(missed: MissedEvents) -> Self {
        let reason = if missed.is_exact { MissedReason::Slow } else { MissedReason::Behind };
        Self { count: Some(missed.count), is_exact: missed.is_exact, of: MissedOf::Events, reason }
    }

    pub(super) fn unknown(of: MissedOf, reason: MissedReason) -> Self {
        Self { count: None, is_exact: false, of, reason }
    }
}

impl Data {
    /// The SSE event's name and the WebSocket message's `type`.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Totals(_) => "totals",
            Self::Event(_) => "event",
            Self::Missed(_) => "missed",
            Self::Heartbeat(_) => "heartbeat",
        }
    }

    /// The data as JSON on one line.
    pub(super) fn json(&self) -> std::borrow::Cow<'_, str> {
        let written = |json: Result<String, serde_json::Error>| json.expect("numbers and text are JSON").into();
        match self {
            Self::Totals(notice) => notice.json.as_str().into(),
            Self::Event(event) => event.json.as_str().into(),
            Self::Missed(missed) => written(serde_json::to_string(missed)),
            Self::Heartbeat(heartbeat) => written(serde_json::to_string(heartbeat)),
        }
    }
}

impl Message {
    /// `{"type","id","data"}`.
    pub(super) fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Envelope<'a> {
            r#type: &'static str,
            id: &'a str,
            data: &'a RawValue,
        }
        let json = self.data.json();
        let data = serde_json::from_str(&json).expect("data is JSON");
        serde_json::to_string(&Envelope { r#type: self.data.kind(), id: &self.id, data }).expect("an envelope is JSON")
    }
}
