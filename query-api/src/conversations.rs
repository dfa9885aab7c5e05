//! `GET /api/v1/conversations`: events grouped by conversation, newest first.

use crate::AppState;
use crate::answer::{Caching, as_of_now, json};
use crate::event_pages::{self, Place, Question};
use crate::events::{self, EventScope};
use crate::parameters::Parameters;
use crate::store::EventFilter;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use schemas::item::StoredEvent;
use schemas::time::{day_of, format_micros, now_micros};
use schemas::{AgentEvent, MessageType, Problem};
use serde::Serialize;
use service_kit::problem::ApiError;
use std::collections::HashMap;
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn router() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::new().routes(routes!(conversations_read))
}

/// Events that one answer reads at most.
const MOST_EVENTS: usize = 20_000;
/// Events of one page.
const PAGE: usize = 1_000;
/// A conversation whose last event is younger than this is active, µs.
const ACTIVE_US: i64 = 5 * 60 * 1_000_000;
/// Conversations completed from the index at once.
const WIDTH: usize = 16;

/// Conversations, newest first.
#[derive(Debug, Serialize, ToSchema)]
struct ConversationsAnswer {
    /// Ordered by their newest event.
    items: Vec<Conversation>,
    /// Whether there may be more conversations in the range than these.
    has_more: bool,
    /// Which agents were looked at, where none was named.
    #[schema(required)]
    scope: Option<EventScope>,
    /// Every event that was counted before this time is in the numbers.
    #[schema(format = DateTime)]
    as_of: String,
}

/// One conversation, as far as it lies in the range.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Conversation {
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
}

/// How a conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ConversationStatus {
    /// The last event is less than 5 minutes old, and none said that it ended.
    Active,
    /// Neither active nor an error.
    Completed,
    /// Any of its events is an error.
    Error,
}

/// What the events seen so far say.
#[derive(Debug)]
struct Group {
    agent_id: String,
    first: i64,
    last: i64,
    count: u64,
    has_error: bool,
    has_end: bool,
    is_complete: bool,
}

/// Conversations, newest first
///
/// Without `agent_id`, of the 200 agents most recently seen, as `scope` says.
#[utoipa::path(
    get, path = "/api/v1/conversations", operation_id = "listConversations", tag = "conversations",
    params(
        ("agent_id" = Option<String>, Query, description = "The agent"),
        ("start_date" = Option<String>, Query, description = "First day (`2026-01-31`) or time"),
        ("end_date" = Option<String>, Query, description = "Last day, inclusive, or time"),
        ("limit" = Option<i32>, Query, minimum = 1, maximum = 1000, description = "Conversations; 100 where absent"),
    ),
    responses(
        (status = 200, body = ConversationsAnswer),
        (status = 422, description = "A parameter is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store cannot be read", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn conversations_read(
    State(state): State<Arc<AppState>>,
    headers: HeaderMap,
    mut parameters: Parameters,
) -> Result<Response, ApiError> {
    let question = events::question(&mut parameters);
    parameters.check()?;
    let as_of = as_of_now();
    let limit = question.limit;
    let by_page = Question { limit: PAGE, ..question.clone() };
    let (mut groups, mut scope, mut after) = (HashMap::new(), None, None);
    let (mut read, mut may_be_cut) = (0, false);
    loop {
        let page = match event_pages::page(&state, &by_page, after.as_ref()).await {
            Ok(page) => page,
            // A merge that can go no further ends the list; the scope says down to where it is complete.
            Err(error) if after.is_some() && error.problem.status == 422 => {
                may_be_cut = true;
                break;
            }
            Err(error) => return Err(error),
        };
        read += page.events.len();
        page.events.iter().for_each(|stored| group(&mut groups, &stored.event));
        scope = page.scope.or(scope);
        let Some(next) = page.next else { break };
        // With the index, each conversation is completed by itself; without, older events must be read for it.
        let is_enough = groups.len() >= limit && state.store.has_conversation_index();
        after = Some(next);
        if is_enough || read >= MOST_EVENTS {
            may_be_cut = true;
            break;
        }
    }
    let mut found: Vec<(String, Group)> = groups.into_iter().map(|((_, id), group)| (id, group)).collect();
    found.sort_unstable_by(|a, b| b.1.last.cmp(&a.1.last).then_with(|| a.0.cmp(&b.0)));
    let has_more = found.len() > limit || may_be_cut;
    found.truncate(limit);
    if may_be_cut {
        complete(&state, &question, after.as_ref(), &mut found).await?;
    }
    let now = now_micros();
    let items = found.into_iter().map(|(id, group)| group.conversation(id, now)).collect();
    let answer = ConversationsAnswer { items, has_more, scope: scope.map(EventScope::from), as_of };
    json(&headers, &answer, &answer.as_of, Caching::until_day(day_of(question.to)))
}

fn group(groups: &mut HashMap<(String, String), Group>, event: &AgentEvent) {
    let Some(id) = event.conversation_id.as_ref().or(event.trace_id.as_ref()) else { return };
    let group = groups.entry((event.agent_id.clone(), id.clone())).or_insert_with(|| Group {
        agent_id: event.agent_id.clone(),
        first: event.timestamp,
        last: event.timestamp,
        count: 0,
        has_error: false,
        has_end: false,
        is_complete: true,
    });
    group.first = group.first.min(event.timestamp);
    group.last = group.last.max(event.timestamp);
    group.count += 1;
    group.has_error |= event.message_type == MessageType::Error;
    group.has_end |= event.message_type == MessageType::ConversationEnd;
}

/// Adds the events below the place to which the list was read: from the index where the table has it; else the
/// conversations that may go on below are marked.
async fn complete(state: &AppState, question: &Question, after: Option<&Place>, found: &mut [(String, Group)]) -> Result<(), ApiError> {
    use futures::stream::{self, StreamExt as _, TryStreamExt as _};
    let Some(after) = after else { return Ok(()) };
    if !state.store.has_conversation_index() {
        found.iter_mut().for_each(|(_, group)| group.is_complete = false);
        return Ok(());
    }
    let mut asked = Vec::with_capacity(found.len());
    for (i, (id, group)) in found.iter().enumerate() {
        let filter = EventFilter { conversation_id: Some(id.clone()), ..EventFilter::default() };
        let rest = Question { agent_id: Some(group.agent_id.clone()), filter, limit: PAGE, ..question.clone() };
        asked.push(async move {
            let page = event_pages::page(state, &rest, Some(after)).await?;
            Ok::<_, ApiError>((i, page.events, page.next.is_none()))
        });
    }
    let rests: Vec<(usize, Vec<StoredEvent>, bool)> = stream::iter(asked).buffer_unordered(WIDTH).try_collect().await?;
    for (i, events, is_complete) in rests {
        let (id, known) = &mut found[i];
        let mut one = HashMap::new();
        events.iter().filter(|e| e.event.conversation_id.as_ref() == Some(id)).for_each(|stored| group(&mut one, &stored.event));
        if let Some(rest) = one.into_values().next() {
            known.first = known.first.min(rest.first);
            known.count += rest.count;
            known.has_error |= rest.has_error;
            known.has_end |= rest.has_end;
        }
        known.is_complete = is_complete;
    }
    Ok(())
}

impl Group {
    fn conversation(self, id: String, now: i64) -> Conversation {
        let status = if self.has_error {
            ConversationStatus::Error
        } else if now - self.last < ACTIVE_US && !self.has_end {
            ConversationStatus::Active
        } else {
            ConversationStatus::Completed
        };
        Conversation {
            id,
            agent_id: self.agent_id,
            started_at: format_micros(self.first),
            duration: (self.last - self.first) / 1_000_000,
            message_count: self.count,
            status,
            last_event_at: format_micros(self.last),
            is_complete: self.is_complete,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(types: &[MessageType], age_s: i64) -> ConversationStatus {
        let now = 1_000_000_000_000_000;
        let mut groups = HashMap::new();
        for (i, t) in types.iter().enumerate() {
            let mut event = AgentEvent::new("a", now - (age_s + i as i64) * 1_000_000, format!("e{i}"), *t);
            event.trace_id = Some("t".into());
            group(&mut groups, &event);
        }
        let group = groups.remove(&("a".into(), "t".into())).expect("one");
        group.conversation("t".into(), now).status
    }

    #[test]
    fn any_error_decides_then_the_end_then_the_age() {
        use MessageType::{ConversationEnd, Error, UserMessage};
        assert_eq!(status(&[UserMessage, Error], 1), ConversationStatus::Error);
        assert_eq!(status(&[UserMessage], 299), ConversationStatus::Active);
        assert_eq!(status(&[UserMessage], 300), ConversationStatus::Completed);
        assert_eq!(status(&[UserMessage, ConversationEnd], 1), ConversationStatus::Completed);
    }
}
