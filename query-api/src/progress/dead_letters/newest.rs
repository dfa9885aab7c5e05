//! The newest dead letters with what a list shows of them, newest first. Bounded: the oldest are forgotten first, and
//! from when on the list is complete is known. Bodies stay in the log.

use event_log::{Bounds, LogRecord, Position};
use rustc_hash::FxHashMap;
use schemas::agent_id;
use schemas::codec::decode_event;
use schemas::dead_letter::{DeadLetter, header};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// Dead letters that can be listed.
pub(super) const MOST_LISTED: usize = 10_000;
/// Longest text kept of a letter's own words, characters.
const LONGEST_TEXT: usize = 300;

/// A dead letter, without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// The original's position.
    pub(crate) position: Position,
    /// Partition and offset of the dead letter itself.
    pub(super) place: (u32, u64),
    /// When it died, µs since the epoch.
    pub(crate) died_at: i64,
    /// Why.
    pub(crate) reason: String,
    /// At which step.
    pub(crate) stage: Option<String>,
    /// More about it.
    pub(crate) detail: Option<String>,
    /// Whose event it is, where it could be decoded.
    pub(crate) agent_id: Option<String>,
    /// The event's id, where it could be decoded.
    pub(crate) event_id: Option<String>,
    /// Bytes of the original's value.
    pub(crate) bytes: u64,
    /// Whether only the beginning of the value is kept.
    pub(crate) is_cut: bool,
    /// When and where to it was redriven.
    pub(crate) redriven: Option<(String, String)>,
}

/// A place in the list: when a letter died, then its position.
pub(crate) type Place = (i64, Position);

/// What is looked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// Only of this reason.
    pub(crate) reason: Option<String>,
    /// Only of this agent.
    pub(crate) agent_id: Option<String>,
    /// At most so many.
    pub(crate) limit: usize,
    /// Only below this place.
    pub(crate) before: Option<Place>,
}

/// A page of the list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    /// Newest first.
    pub(crate) letters: Vec<Arc<Listed>>,
    /// Where the next page begins (exclusive); `None` at the end.
    pub(crate) next: Option<Place>,
    /// Since when the list is complete, µs; `None` where no letter was forgotten.
    pub(crate) complete_from: Option<i64>,
}

/// The newest dead letters.
#[derive(Debug, Default)]
pub(super) struct Newest {
    letters: BTreeMap<Place, Arc<Listed>>,
    died: FxHashMap<Position, i64>,
    complete_from: Option<i64>,
}

impl Newest {
    /// The letter of that position, in place of a former one.
    pub(super) fn take(&mut self, listed: Listed) {
        let (position, died_at) = (listed.position, listed.died_at);
        if let Some(former) = self.died.insert(position, died_at) {
            self.letters.remove(&(former, position));
        }
        self.letters.insert((died_at, position), Arc::new(listed));
        if self.letters.len() > MOST_LISTED
            && let Some(((_, forgotten), _)) = self.letters.pop_first()
        {
            self.died.remove(&forgotten);
            self.complete_from = self.complete_from.max(self.letters.first_key_value().map(|((died_at, _), _)| *died_at));
        }
    }

    /// The first letters that are wanted and that the topic, with these bounds, still has.
    pub(super) fn page(&self, wanted: &Wanted, bounds: &[Bounds]) -> Page {
        let end = wanted.before.map_or(Bound::Unbounded, Bound::Excluded);
        let start_of = |partition: u32| bounds.get(partition as usize).map_or(0, |bounds| bounds.start);
        let is_wanted = |listed: &&Arc<Listed>| {
            listed.place.1 >= start_of(listed.place.0)
                && wanted.reason.as_ref().is_none_or(|reason| *reason == listed.reason)
                && wanted.agent_id.as_ref().is_none_or(|agent| Some(agent) == listed.agent_id.as_ref())
        };
        let mut letters: Vec<_> = self
            .letters
            .range((Bound::Unbounded, end))
            .rev()
            .map(|(_, listed)| listed)
            .filter(is_wanted)
            .take(wanted.limit + 1)
            .cloned()
            .collect();
        let has_more = letters.len() > wanted.limit;
        letters.truncate(wanted.limit);
        let next = letters.last().filter(|_| has_more).map(|last| (last.died_at, last.position));
        Page { letters, next, complete_from: self.complete_from }
    }
}

impl Listed {
    /// What a list shows of a dead letter.
    pub(crate) fn of(record: &LogRecord, position: Position) -> Self {
        let letter = DeadLetter::of(&record.headers);
        let text = |name| letter.text(name).map(|text| text.chars().take(LONGEST_TEXT).collect::<String>());
        let event = decode_event(&record.value).ok();
        let whole_bytes = letter.whole_bytes();
        Self {
            position,
            place: (record.partition, record.offset),
            died_at: letter.died_at().unwrap_or(record.appended_at_ms.saturating_mul(1_000)),
            reason: text(header::REASON).unwrap_or_else(|| "unknown".to_owned()),
            stage: text(header::STAGE),
            detail: text(header::DETAIL),
            agent_id: event.as_ref().map(|event| &event.agent_id).filter(|id| agent_id::is_valid(id)).cloned(),
            event_id: event.map(|event| event.event_id).filter(|id| schemas::identity::is_valid_event_id(id)),
            bytes: whole_bytes.unwrap_or(record.value.len() as u64),
            is_cut: whole_bytes.is_some(),
            redriven: letter.redriven().and_then(|redriven| {
                // Written anew, since other producers' may be of any length.
                let to: Position = redriven.to.parse().ok()?;
                Some((redriven.at.chars().take(LONGEST_TEXT).collect(), to.to_string()))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(offset: u64, died_at: i64, reason: &str, agent: &str) -> Listed {
        Listed {
            position: Position { epoch: 0, partition: 0, offset },
            place: (0, offset),
            died_at,
            reason: reason.into(),
            stage: None,
            detail: None,
            agent_id: Some(agent.into()),
            event_id: None,
            bytes: 0,
            is_cut: false,
            redriven: None,
        }
    }

    fn offsets(page: &Page) -> Vec<u64> {
        page.letters.iter().map(|l| l.position.offset).collect()
    }

    #[test]
    fn pages_go_from_the_newest_to_the_oldest_and_a_repeat_takes_the_place_of_the_former() {
        let mut newest = Newest::default();
        for (offset, died_at) in [(1, 10), (2, 30), (3, 20), (4, 30)] {
            newest.take(listed(offset, died_at, "id_conflict", "a"));
        }
        newest.take(listed(3, 40, "id_conflict", "a"));
        newest.take(Listed { redriven: Some(("then".into(), "0-0-9".into())), ..listed(2, 30, "id_conflict", "a") });
        let first = newest.page(&Wanted { limit: 2, ..Wanted::default() }, &[]);
        assert_eq!((offsets(&first), first.complete_from), (vec![3, 4], None));
        let second = newest.page(&Wanted { limit: 2, before: first.next, ..Wanted::default() }, &[]);
        assert_eq!((offsets(&second), second.next), (vec![2, 1], None));
        assert!(second.letters[0].redriven.is_some());
    }

    #[test]
    fn what_retention_took_is_listed_no_more() {
        let mut newest = Newest::default();
        (1..=4).for_each(|offset| newest.take(listed(offset, offset as i64, "too_old", "a")));
        let page = newest.page(&Wanted { limit: 10, ..Wanted::default() }, &[Bounds { start: 3, end: 5 }]);
        assert_eq!(offsets(&page), [4, 3]);
    }

    #[test]
    fn letters_are_found_by_reason_and_agent() {
        let mut newest = Newest::default();
        for (offset, reason, agent) in [(1, "too_old", "a"), (2, "id_conflict", "a"), (3, "id_conflict", "b")] {
            newest.take(listed(offset, 0, reason, agent));
        }
        let found = |reason: Option<&str>, agent: Option<&str>| {
            let wanted = Wanted { reason: reason.map(str::to_owned), agent_id: agent.map(str::to_owned), limit: 10, before: None };
            offsets(&newest.page(&wanted, &[]))
        };
        assert_eq!(found(Some("id_conflict"), None), [3, 2]);
        assert_eq!(found(None, Some("a")), [2, 1]);
        assert_eq!(found(Some("id_conflict"), Some("a")), [2]);
    }

    #[test]
    fn the_oldest_are_forgotten_and_the_list_says_since_when_it_is_complete() {
        let mut newest = Newest::default();
        for offset in 0..MOST_LISTED as u64 + 3 {
            newest.take(listed(offset, offset as i64 * 10, "too_old", "a"));
        }
        assert_eq!((newest.letters.len(), newest.died.len()), (MOST_LISTED, MOST_LISTED));
        assert_eq!(newest.page(&Wanted { limit: 1, ..Wanted::default() }, &[]).complete_from, Some(30));
    }
}
