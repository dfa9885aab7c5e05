//! `GET /api/v1/conversations/{conversation_id}`: one conversation with its events, oldest first.

use super::group::{Conversation, Group};
use crate::AppState;
use crate::answer::{Caching, as_of_now, json};
use crate::event_pages::{self, Question};
use crate::events::{self, Event};
use crate::parameters::Parameters;
use crate::store::EventFilter;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use schemas::Problem;
use schemas::item::StoredEvent;
use schemas::problem::FieldError;
use schemas::time::now_micros;
use serde::Serialize;
use service_kit::problem::ApiError;
use std::sync::Arc;
use utoipa::ToSchema;

/// Events of an answer.
const MOST_EVENTS: usize = 1_000;
/// An answer ends when its texts hold this many bytes, however few events they are.
const MOST_BYTES: usize = 4 * 1024 * 1024;
/// Pages read for one answer; without the index each reads a part of the agent's events.
const PAGES: usize = 8;
/// Longest id.
const LONGEST_ID: usize = 256;

/// A conversation and what was said in it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConversationAnswer {
    /// The conversation, as far as its events are here.
    conversation: Conversation,
    /// Its events, oldest first; of a very long one the newest.
    events: Vec<Event>,
    /// Whether these are all events.
    is_complete: bool,
    /// Every event that was counted before this time is there.
    #[schema(format = DateTime)]
    as_of: String,
}

/// One conversation
///
/// With its newest 1,000 events, oldest first. Found by `conversation_id` where the store has an index of conversations;
/// else, or where `conversation_id` is a `trace_id`, among the events of `agent_id`. `start_date` and `end_date` spare
/// reading what lies outside. Without `agent_id` it has the events of all agents that took part.
#[utoipa::path(
    get, path = "/api/v1/conversations/{conversation_id}", operation_id = "getConversation", tag = "conversations",
    params(
        ("conversation_id" = String, Path, description = "Its `id`, percent-encoded"),
        ("agent_id" = Option<String>, Query, description = "The agent; required where the store has no index of conversations"),
        ("start_date" = Option<String>, Query, description = "First day (`2026-01-31`) or time"),
        ("end_date" = Option<String>, Query, description = "Last day, inclusive, or time"),
    ),
    responses(
        (status = 200, body = ConversationAnswer),
        (status = 404, description = "No such conversation", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A parameter is wrong, or `agent_id` is needed", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store cannot be read", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn conversation_read(
    State(state): State<Arc<AppState>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    mut parameters: Parameters,
) -> Result<Response, ApiError> {
    let question = Question { limit: MOST_EVENTS, ..events::question(&mut parameters) };
    if id.is_empty() || id.len() > LONGEST_ID {
        parameters.refuse("conversation_id", format!("must be 1 to {LONGEST_ID} bytes"));
    }
    parameters.check()?;
    let as_of = as_of_now();
    let mut found = Found::default();
    if state.store.has_conversation_index() {
        let filter = EventFilter { conversation_id: Some(id.clone()), ..EventFilter::default() };
        found = read(&state, &Question { filter, ..question.clone() }).await?;
    } else if question.agent_id.is_none() {
        return Err(needs_agent());
    }
    if found.events.is_empty() && question.agent_id.is_some() {
        let filter = EventFilter { thread_id: Some(id.clone()), ..EventFilter::default() };
        found = read(&state, &Question { filter, ..question }).await?;
    }
    let Found { mut events, is_complete } = found;
    let group = events.iter().map(|stored| Group::of(&stored.event)).reduce(|mut all, one| {
        all.add(one);
        all
    });
    let mut group = group.ok_or_else(|| not_found(is_complete))?;
    group.is_complete = is_complete;
    events.reverse();
    let conversation = group.conversation(id, now_micros());
    let answer = ConversationAnswer { conversation, events: events.into_iter().map(Event::from).collect(), is_complete, as_of };
    json(&headers, &answer, &answer.as_of, Caching::Revalidate)
}

/// Events, newest first, and whether there are no more.
#[derive(Debug)]
struct Found {
    events: Vec<StoredEvent>,
    is_complete: bool,
}

impl Default for Found {
    fn default() -> Self {
        Self { events: Vec::new(), is_complete: true }
    }
}

async fn read(state: &AppState, question: &Question) -> Result<Found, ApiError> {
    let (mut events, mut after, mut bytes) = (Vec::new(), None, 0);
    for _ in 0..PAGES {
        let rest = Question { limit: MOST_EVENTS - events.len(), ..question.clone() };
        let page = event_pages::page(state, &rest, after.as_ref()).await?;
        let long = |stored: &StoredEvent| {
            let e = &stored.event;
            [&e.content, &e.error_details, &e.metadata].into_iter().flatten().map(String::len).sum::<usize>()
        };
        bytes += page.events.iter().map(long).sum::<usize>();
        events.extend(page.events);
        let Some(next) = page.next else { return Ok(Found { events, is_complete: true }) };
        if events.len() >= MOST_EVENTS || bytes >= MOST_BYTES {
            break;
        }
        after = Some(next);
    }
    Ok(Found { events, is_complete: false })
}

fn needs_agent() -> ApiError {
    let detail = "is needed: the store has no index of conversations";
    ApiError::unprocessable(format!("agent_id {detail}"), vec![FieldError { index: 0, field: "agent_id".into(), detail: detail.into() }])
}

fn not_found(is_complete: bool) -> ApiError {
    ApiError::not_found(if is_complete {
        "no such conversation; one that is known by its trace needs agent_id"
    } else {
        "no such conversation among the agent's newest events; give start_date and end_date to look further back"
    })
}
