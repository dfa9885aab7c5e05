//! Deletions of an agent's or a user's events: what the control table says of them. `aggregator delete` makes them; nobody may
//! recount while one is under way.

use crate::store::patient;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::DisplayErrorContext;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;
use event_log::{Before, Position};
use schemas::AgentEvent;
use schemas::item::{ID, Item, KIND, TableNames, kind, n, s};
use schemas::time::{format_micros, now_micros};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

/// Whose events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whose {
    /// An agent's, by its id.
    Agent(String),
    /// A user's, of whatever agent: by the SHA-256 of the id as hexadecimal digits, since the id itself is to be forgotten. Empty
    /// once it is done.
    User(String),
}

impl Whose {
    /// This user's.
    pub fn user(user_id: &str) -> Self {
        Self::User(hex::encode(Sha256::digest(user_id.as_bytes())))
    }

    /// Whether an event is one of these.
    pub fn holds(&self, event: &AgentEvent) -> bool {
        match self {
            Self::Agent(agent) => event.agent_id == *agent,
            Self::User(_) => event.user_id.as_deref().is_some_and(|user| Self::user(user) == *self),
        }
    }

    /// `agent` or `user`, and its name.
    fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Agent(agent) => ("agent", agent),
            Self::User(digest) => ("user", digest),
        }
    }
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(agent) => write!(f, "agent {agent}"),
            Self::User(digest) => write!(f, "the user with SHA-256 {}…", digest.get(..12).unwrap_or(digest)),
        }
    }
}

/// Longest time between the note of a deletion and its beginning, µs; the store is asked twice meanwhile.
const BEGINS_WITHIN_US: i64 = 150_000_000;

/// How far a deletion is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is noted, and looks whether it is the only one: nothing is done yet, and nobody goes on with it.
    Beginning,
    /// The events are being subtracted from the rollups.
    Correcting,
    /// They are subtracted; now they themselves go.
    Erasing,
    /// They are gone; what cannot be subtracted (maxima, users) is brought up to date.
    Settling,
    /// All is done.
    Done,
}

impl Stage {
    const NAMES: [(Self, &'static str); 5] = [
        (Self::Beginning, "beginning"),
        (Self::Correcting, "correcting"),
        (Self::Erasing, "erasing"),
        (Self::Settling, "settling"),
        (Self::Done, "done"),
    ];

    fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(stage, _)| *stage == self).map_or("", |(_, name)| name)
    }
}

/// A deletion, under way or done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// Names it among all.
    pub id: String,
    /// Whose events.
    pub whose: Whose,
    /// Only what was logged before.
    pub before: Before,
    /// How far it is.
    pub stage: Stage,
    /// When it was begun, µs since the epoch.
    pub began_at: i64,
    /// Events subtracted from the fleet's rollups; known when it is done.
    pub events: u64,
}

/// Why it is not known what was deleted, or must not go on.
#[derive(Debug, thiserror::Error)]
pub enum DeletionsError {
    /// The control table did not answer.
    #[error("the control table did not say what was deleted: {0}")]
    Store(String),
    /// An item is not one of ours.
    #[error("the control table's item {kind}/{id} cannot be read", kind = kind::DELETION)]
    Unreadable {
        /// The item's id.
        id: String,
    },
    /// The tables are half corrected.
    #[error("the events of {whose} are being deleted (since {since}); let it finish, or run `delete --resume`")]
    UnderWay {
        /// Whose.
        whose: Whose,
        /// Since when.
        since: String,
    },
    /// Somebody else works at the same deletion.
    #[error("the deletion was carried on by someone else meanwhile")]
    Changed,
}

/// All deletions that there ever were.
///
/// # Errors
/// Where the control table does not answer or holds something else.
pub async fn read(store: &Client, tables: &TableNames) -> Result<Vec<Deletion>, DeletionsError> {
    let mut items = query(&patient(store), tables).into_paginator().items().send();
    let mut deletions = Vec::new();
    while let Some(item) = items.next().await {
        let item = item.map_err(|e| DeletionsError::Store(DisplayErrorContext(e).to_string()))?;
        let id = item.get(ID).and_then(|v| v.as_s().ok()).cloned().unwrap_or_default();
        deletions.push(Deletion::of_item(&item).ok_or(DeletionsError::Unreadable { id })?);
    }
    Ok(deletions)
}

/// Asks for the items of all deletions.
pub fn query(store: &Client, tables: &TableNames) -> QueryFluentBuilder {
    store
        .query()
        .table_name(&tables.control)
        .key_condition_expression("#k = :k")
        .expression_attribute_names("#k", KIND)
        .expression_attribute_values(":k", s(kind::DELETION))
        .consistent_read(true)
}

/// All deletions, none of which is under way.
///
/// # Errors
/// Where one is, or the control table does not answer.
pub async fn read_done(store: &Client, tables: &TableNames) -> Result<Vec<Deletion>, DeletionsError> {
    let deletions = read(store, tables).await?;
    match deletions.iter().find(|deletion| deletion.stage != Stage::Done) {
        Some(deletion) => Err(deletion.under_way()),
        None => Ok(deletions),
    }
}

impl Deletion {
    /// A new one.
    pub fn new(whose: Whose, before: Before) -> Self {
        let mut id = uuid::Uuid::new_v4().simple().to_string();
        id.truncate(12);
        Self { id, whose, before, stage: Stage::Beginning, began_at: now_micros(), events: 0 }
    }

    /// That it is under way.
    pub fn under_way(&self) -> DeletionsError {
        DeletionsError::UnderWay { whose: self.whose.clone(), since: format_micros(self.began_at) }
    }

    /// Whether an event that was logged there belongs to it.
    pub fn holds(&self, event: &AgentEvent, at: Position) -> bool {
        self.before.holds(at) && self.whose.holds(event)
    }

    /// Notes that it begins, unless another one is under way: two that know nothing of each other would subtract an event twice
    /// that belongs to both.
    ///
    /// # Errors
    /// Where another is under way, or the control table does not answer.
    pub async fn begin(&mut self, store: &Client, tables: &TableNames) -> Result<(), DeletionsError> {
        match self.put(store, tables, None).await {
            // An earlier try whose answer was lost: nobody else has this id.
            Ok(()) | Err(DeletionsError::Changed) => {}
            Err(error) => return Err(error),
        }
        // Looked at after it was noted: of two that begin at once at least one sees the other.
        let others = read(store, tables).await?;
        match others.iter().find(|other| other.stage != Stage::Done && other.id != self.id) {
            Some(other) => {
                self.withdraw(store, tables).await?;
                Err(other.under_way())
            }
            None => self.advance(store, tables, Stage::Correcting).await,
        }
    }

    /// Whether whoever noted it must have gone away before it began.
    pub fn is_abandoned(&self) -> bool {
        self.stage == Stage::Beginning && now_micros() - self.began_at > BEGINS_WITHIN_US
    }

    /// How far it is by now, whoever works at it; `None` where it was withdrawn.
    ///
    /// # Errors
    /// Where the control table does not answer.
    pub async fn current_stage(&self, store: &Client, tables: &TableNames) -> Result<Option<Stage>, DeletionsError> {
        let get = store.get_item().table_name(&tables.control).key(KIND, s(kind::DELETION)).key(ID, s(&self.id)).consistent_read(true);
        let item = get.send().await.map_err(|e| DeletionsError::Store(DisplayErrorContext(e).to_string()))?.item;
        Ok(item.as_ref().and_then(Self::of_item).map(|deletion| deletion.stage))
    }

    /// Goes on to another stage.
    ///
    /// # Errors
    /// Where someone else did, or the control table does not answer.
    pub async fn advance(&mut self, store: &Client, tables: &TableNames, to: Stage) -> Result<(), DeletionsError> {
        let from = std::mem::replace(&mut self.stage, to);
        self.put(store, tables, Some(from)).await
    }

    /// Forgets one of which nothing has been done.
    ///
    /// # Errors
    /// Where the control table does not answer.
    pub async fn withdraw(&self, store: &Client, tables: &TableNames) -> Result<(), DeletionsError> {
        let gone = store
            .delete_item()
            .table_name(&tables.control)
            .key(KIND, s(kind::DELETION))
            .key(ID, s(&self.id))
            .condition_expression("attribute_not_exists(#k) OR #s = :s")
            .expression_attribute_names("#k", KIND)
            .expression_attribute_names("#s", "stage")
            .expression_attribute_values(":s", s(self.stage.name()));
        match gone.send().await {
            Ok(_) => Ok(()),
            Err(e) if e.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => Err(DeletionsError::Changed),
            Err(e) => Err(DeletionsError::Store(DisplayErrorContext(e).to_string())),
        }
    }

    async fn put(&self, store: &Client, tables: &TableNames, from: Option<Stage>) -> Result<(), DeletionsError> {
        let request = store.put_item().table_name(&tables.control).set_item(Some(self.item()));
        let request = match from {
            None => request.condition_expression("attribute_not_exists(#k)").expression_attribute_names("#k", KIND),
            // A repeat after a lost answer is the same write.
            Some(from) => request
                .condition_expression("#s IN (:from, :to)")
                .expression_attribute_names("#s", "stage")
                .expression_attribute_values(":from", s(from.name()))
                .expression_attribute_values(":to", s(self.stage.name())),
        };
        match request.send().await {
            Ok(_) => Ok(()),
            Err(e) if e.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => Err(DeletionsError::Changed),
            Err(e) => Err(DeletionsError::Store(DisplayErrorContext(e).to_string())),
        }
    }

    fn item(&self) -> Item {
        let (whose, mut name) = self.whose.parts();
        if self.stage == Stage::Done && matches!(self.whose, Whose::User(_)) {
            // Whoever guesses an id could tell by its digest that it was deleted.
            name = "";
        }
        let mut item = Item::from([
            (KIND.to_owned(), s(kind::DELETION)),
            (ID.to_owned(), s(&self.id)),
            ("whose".to_owned(), s(whose)),
            ("name".to_owned(), s(name)),
            ("before".to_owned(), AttributeValue::L(self.before.positions().map(|position| s(position.src())).collect())),
            ("stage".to_owned(), s(self.stage.name())),
            ("began_at".to_owned(), n(self.began_at)),
            ("events".to_owned(), n(self.events)),
        ]);
        if self.stage == Stage::Done {
            item.insert("ended_at".to_owned(), s(format_micros(now_micros())));
        }
        item
    }

    /// Reads its item; `None` where that is none.
    pub fn of_item(item: &Item) -> Option<Self> {
        let text = |name: &str| item.get(name)?.as_s().ok();
        let name = text("name")?.clone();
        let whose = match text("whose")?.as_str() {
            "agent" => Whose::Agent(name),
            "user" => Whose::User(name),
            _ => return None,
        };
        let before = item.get("before")?.as_l().ok()?.iter().map(|at| Position::parse_src(at.as_s().ok()?)).collect::<Option<Vec<_>>>()?;
        let stage = text("stage")?;
        Some(Self {
            id: text(ID)?.clone(),
            whose,
            before: Before::new(before, 0),
            stage: Stage::NAMES.iter().find(|(_, name)| name == stage)?.0,
            began_at: item.get("began_at")?.as_n().ok()?.parse().ok()?,
            events: item.get("events")?.as_n().ok()?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::MessageType;

    #[test]
    fn what_is_written_is_what_is_read() {
        let before = Before::new([Position { epoch: 1, partition: 0, offset: 7 }, Position { epoch: 1, partition: 3, offset: 0 }], 0);
        for (whose, stage) in [(Whose::Agent("a:b/c".into()), Stage::Correcting), (Whose::user("u-1"), Stage::Settling)] {
            let deletion = Deletion { stage, events: 9, ..Deletion::new(whose, before.clone()) };
            assert_eq!(Deletion::of_item(&deletion.item()), Some(deletion));
        }
        let done = Deletion { stage: Stage::Done, ..Deletion::new(Whose::user("u-1"), before) };
        assert_eq!(Deletion::of_item(&done.item()).map(|of| of.whose), Some(Whose::User(String::new())), "forgotten");
        assert_eq!(Deletion::of_item(&Item::new()), None);
    }

    #[test]
    fn only_one_that_never_began_is_abandoned() {
        let mut deletion = Deletion::new(Whose::Agent("a".into()), Before::default());
        assert!(!deletion.is_abandoned());
        deletion.began_at -= BEGINS_WITHIN_US + 1;
        assert!(deletion.is_abandoned());
        deletion.stage = Stage::Correcting;
        assert!(!deletion.is_abandoned());
    }

    #[test]
    fn a_users_events_are_told_by_the_digest_of_the_id() {
        let mut event = AgentEvent::new("a", 1, "e", MessageType::Error);
        assert!(Whose::Agent("a".into()).holds(&event) && !Whose::Agent("b".into()).holds(&event));
        assert!(!Whose::user("u").holds(&event));
        event.user_id = Some("u".into());
        assert!(Whose::user("u").holds(&event) && !Whose::user("v").holds(&event));
        assert_eq!(Whose::user("u").to_string(), "the user with SHA-256 0bfe935e70c3…");
    }
}
