//! What the events of a conversation say together, whatever the order in which they are read. Pure.

use schemas::time::format_micros;
use schemas::{AgentEvent, MessageType};
use serde::Serialize;
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// A conversation whose last event is younger than this is active, µs.
const ACTIVE_US: i64 = 5 * 60 * 1_000_000;
/// Names of models kept of one conversation.
const MOST_MODELS: usize = 64;
/// Characters of a title.
const TITLE: usize = 120;

/// One conversation, as far as it lies in the range.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Conversation {
    /// `conversation_id`, else `trace_id`.
    id: String,
    /// The agent.
    #[serde(rename = "agent_id")]
    agent_id: String,
    /// Time of its first event.
    #[schema(format = DateTime)]
    started_at: String,
    /// From its first to its last event, whole seconds.
    duration: i64,
    /// All its events.
    message_count: u64,
    /// How it is.
    status: ConversationStatus,
    /// Time of its last event.
    #[schema(format = DateTime)]
    last_event_at: String,
    /// Whether all its events in the range were read; a very long one may have more.
    is_complete: bool,
    /// `error` events among those read, as are all numbers here.
    error_count: u64,
    /// `user_message` events.
    user_messages: u64,
    /// `tool_call` events.
    tool_calls: u64,
    /// Sum of `token_count`.
    tokens: i64,
    /// Known cost, US dollars; null where no event has a known cost.
    #[schema(required)]
    cost_usd: Option<f64>,
    /// Names of the models used, at most 64.
    models: Vec<String>,
    /// The first 120 characters of the first `user_message` with a content; null where there is none.
    #[schema(required)]
    title: Option<String>,
}

/// How a conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ConversationStatus {
    /// The last event is less than 5 minutes old, and none said that it ended.
    Active,
    /// Neither active nor an error.
    Completed,
    /// Any of its events is an error.
    Error,
}

impl ConversationStatus {
    /// Every one with its name.
    pub(super) const NAMES: [(&'static str, Self); 3] = [("active", Self::Active), ("completed", Self::Completed), ("error", Self::Error)];
}

/// What the events seen so far say.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) agent_id: String,
    pub(super) last: i64,
    pub(super) is_complete: bool,
    first: i64,
    count: u64,
    errors: u64,
    user_messages: u64,
    tool_calls: u64,
    tokens: i64,
    cost_usd: f64,
    has_cost: bool,
    has_end: bool,
    models: BTreeSet<String>,
    title: Option<(i64, String)>,
}

impl Group {
    /// Of one event.
    pub(super) fn of(event: &AgentEvent) -> Self {
        let is = |message_type: MessageType| event.message_type == message_type;
        let content = event.content.as_deref().map(str::trim).filter(|content| is(MessageType::UserMessage) && !content.is_empty());
        Self {
            agent_id: event.agent_id.clone(),
            first: event.timestamp,
            last: event.timestamp,
            count: 1,
            errors: u64::from(is(MessageType::Error)),
            user_messages: u64::from(is(MessageType::UserMessage)),
            tool_calls: u64::from(is(MessageType::ToolCall)),
            tokens: event.token_count.unwrap_or(0),
            cost_usd: event.cost_usd.unwrap_or(0.0),
            has_cost: event.cost_usd.is_some(),
            has_end: is(MessageType::ConversationEnd),
            is_complete: true,
            models: event.model_used.iter().cloned().collect(),
            title: content.map(|content| (event.timestamp, content.chars().take(TITLE).collect())),
        }
    }

    /// Adds what other events of it say.
    pub(super) fn add(&mut self, other: Self) {
        // The agent of a conversation among several is the one that began it.
        if other.first < self.first {
            self.agent_id = other.agent_id;
        }
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.count += other.count;
        self.errors += other.errors;
        self.user_messages += other.user_messages;
        self.tool_calls += other.tool_calls;
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.cost_usd += other.cost_usd;
        self.has_cost |= other.has_cost;
        self.has_end |= other.has_end;
        self.is_complete &= other.is_complete;
        for model in other.models {
            if self.models.len() < MOST_MODELS {
                self.models.insert(model);
            }
        }
        if let Some((at, title)) = other.title
            && self.title.as_ref().is_none_or(|(mine, _)| at < *mine)
        {
            self.title = Some((at, title));
        }
    }

    /// How it is at `now` (µs).
    pub(super) fn status(&self, now: i64) -> ConversationStatus {
        if self.errors > 0 {
            ConversationStatus::Error
        } else if now - self.last < ACTIVE_US && !self.has_end {
            ConversationStatus::Active
        } else {
            ConversationStatus::Completed
        }
    }

    /// As it is shown at `now` (µs).
    pub(super) fn conversation(self, id: String, now: i64) -> Conversation {
        Conversation {
            id,
            status: self.status(now),
            agent_id: self.agent_id,
            started_at: format_micros(self.first),
            duration: (self.last - self.first) / 1_000_000,
            message_count: self.count,
            last_event_at: format_micros(self.last),
            is_complete: self.is_complete,
            error_count: self.errors,
            user_messages: self.user_messages,
            tool_calls: self.tool_calls,
            tokens: self.tokens,
            // Sums of dollars as text are not to show what binary fractions leave behind.
            cost_usd: self.has_cost.then(|| (self.cost_usd * 1e9).round() / 1e9),
            models: self.models.into_iter().collect(),
            title: self.title.map(|(_, title)| title),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(types: &[MessageType], age_s: i64) -> ConversationStatus {
        let now = 1_000_000_000_000_000;
        let events = types.iter().enumerate();
        let groups = events.map(|(i, t)| Group::of(&AgentEvent::new("a", now - (age_s + i as i64) * 1_000_000, format!("e{i}"), *t)));
        let group = groups.reduce(|mut all, one| {
            all.add(one);
            all
        });
        group.expect("one").status(now)
    }

    #[test]
    fn any_error_decides_then_the_end_then_the_age() {
        use MessageType::{ConversationEnd, Error, UserMessage};
        assert_eq!(status(&[UserMessage, Error], 1), ConversationStatus::Error);
        assert_eq!(status(&[UserMessage], 299), ConversationStatus::Active);
        assert_eq!(status(&[UserMessage], 300), ConversationStatus::Completed);
        assert_eq!(status(&[UserMessage, ConversationEnd], 1), ConversationStatus::Completed);
    }

    #[test]
    fn the_order_of_reading_makes_no_difference() {
        let event = |at: i64, message_type, content: &str| {
            let mut event = AgentEvent::new("a", at, format!("e{at}"), message_type);
            event.content = Some(content.into());
            event.model_used = Some(format!("m{}", at % 2));
            event.token_count = Some(at);
            event.cost_usd = (at == 3).then_some(0.1);
            event
        };
        let events = [
            event(1, MessageType::UserMessage, "  "),
            event(2, MessageType::UserMessage, &"ä".repeat(130)),
            event(3, MessageType::ToolCall, "no title"),
            event(4, MessageType::UserMessage, "later"),
        ];
        let shown = |order: [usize; 4]| {
            let mut groups = order.iter().map(|i| Group::of(&events[*i]));
            let mut all = groups.next().expect("one");
            groups.for_each(|one| all.add(one));
            all.conversation("c".into(), 10)
        };
        let forth = shown([0, 1, 2, 3]);
        assert_eq!(forth, shown([3, 1, 0, 2]));
        assert_eq!((forth.message_count, forth.user_messages, forth.tool_calls, forth.tokens), (4, 3, 1, 10));
        assert_eq!((forth.cost_usd, forth.models), (Some(0.1), vec!["m0".to_owned(), "m1".to_owned()]));
        assert_eq!(forth.title, Some("ä".repeat(120)));
    }
}
