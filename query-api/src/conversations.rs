//! `GET /api/v1/conversations`: events grouped by conversation, newest first; and one conversation with its events.

mod group;
mod one;

use crate::AppState;
use crate::answer::{Caching, as_of_now, json};
use crate::event_pages::{self, Place, Question};
use crate::events::{self, EventScope};
use crate::parameters::Parameters;
use crate::store::EventFilter;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use group::{Conversation, ConversationStatus, Group};
use one::{__path_conversation_read, conversation_read};
use schemas::item::StoredEvent;
use schemas::time::{day_of, now_micros};
use schemas::{AgentEvent, Problem};
use serde::Serialize;
use service_kit::problem::ApiError;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn router() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::new().routes(routes!(conversations_read)).routes(routes!(conversation_read))
}

/// Events that one answer reads at most.
const MOST_EVENTS: usize = 20_000;
/// Events of one page.
const PAGE: usize = 1_000;
/// Conversations completed from the index at once.
const WIDTH: usize = 16;
/// Conversations completed for one answer at most, those included that then are not as asked for.
const MOST_COMPLETED: usize = 1_000;

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

/// Conversations, newest first
///
/// Without `agent_id`, of the 200 agents most recently seen, as `scope` says.
#[utoipa::path(
    get, path = "/api/v1/conversations", operation_id = "listConversations", tag = "conversations",
    params(
        ("agent_id" = Option<String>, Query, description = "The agent"),
        ("start_date" = Option<String>, Query, description = "First day (`2026-01-31`) or time"),
        ("end_date" = Option<String>, Query, description = "Last day, inclusive, or time"),
        ("status" = Option<String>, Query, description = "Only conversations that are so: active, completed, error, or several of them, comma separated; may answer fewer than `limit` although `has_more` is true"),
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
    let statuses = parameters.choices("status", &ConversationStatus::NAMES);
    parameters.check()?;
    let as_of = as_of_now();
    let now = now_micros();
    let limit = question.limit;
    let is_wanted = |group: &Group| statuses.as_ref().is_none_or(|wanted| wanted.contains(&group.status(now)));
    let by_page = Question { limit: PAGE, may_be_short: true, ..question.clone() };
    let (mut groups, mut scope, mut after) = (Groups::new(), None, None);
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
        page.events.iter().for_each(|stored| take(&mut groups, &stored.event));
        scope = page.scope.or(scope);
        let Some(next) = page.next else { break };
        // With the index, each conversation is completed by itself; without, older events must be read for it.
        let is_enough = state.store.has_conversation_index() && groups.values().filter(|group| is_wanted(group)).count() >= limit;
        after = Some(next);
        if is_enough || read >= MOST_EVENTS {
            may_be_cut = true;
            break;
        }
    }
    let mut found: Vec<(String, Group)> = groups.into_iter().map(|((_, id), group)| (id, group)).collect();
    found.sort_unstable_by(|a, b| b.1.last.cmp(&a.1.last).then_with(|| a.0.cmp(&b.0)));
    let (mut items, mut rest) = (Vec::new(), found.into_iter());
    let mut completed = 0;
    // Only what older events say decides how a conversation is, so it is asked for after they are read.
    while items.len() < limit && completed < MOST_COMPLETED {
        let mut some: Vec<(String, Group)> = rest.by_ref().take(limit - items.len()).collect();
        if some.is_empty() {
            break;
        }
        completed += some.len();
        if may_be_cut {
            complete(&state, &question, after.as_ref(), &mut some).await?;
        }
        items.extend(some.into_iter().filter(|(_, group)| is_wanted(group)).map(|(id, group)| group.conversation(id, now)));
    }
    let has_more = rest.len() > 0 || may_be_cut;
    let answer = ConversationsAnswer { items, has_more, scope: scope.map(EventScope::from), as_of };
    json(&headers, &answer, &answer.as_of, Caching::until_day(day_of(question.to)))
}

/// Conversations by agent and id.
type Groups = HashMap<(String, String), Group>;

fn take(groups: &mut Groups, event: &AgentEvent) {
    let Some(id) = event.conversation_id.as_ref().or(event.trace_id.as_ref()) else { return };
    let one = Group::of(event);
    match groups.entry((event.agent_id.clone(), id.clone())) {
        Entry::Occupied(mut known) => known.get_mut().add(one),
        Entry::Vacant(room) => {
            room.insert(one);
        }
    }
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
            Ok::<(usize, Vec<StoredEvent>, bool), ApiError>((i, page.events, page.next.is_none()))
        });
    }
    // Each is added as it comes, so that no more than a few are in memory at once.
    let mut rests = stream::iter(asked).buffer_unordered(WIDTH);
    while let Some((i, events, is_complete)) = rests.try_next().await? {
        let (id, known) = &mut found[i];
        events.iter().filter(|e| e.event.conversation_id.as_ref() == Some(id)).for_each(|stored| known.add(Group::of(&stored.event)));
        known.is_complete = is_complete;
    }
    Ok(())
}
