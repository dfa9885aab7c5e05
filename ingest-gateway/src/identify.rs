//! Gives the events of one request their ids where those follow from the content, and finds two events of one
//! request that claim one identity.

use crate::validate::{IdSource, Valid};
use schemas::identity::derived_event_id;
use schemas::problem::FieldError;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Sets derived ids by the ordinal among equal events. Answers every event whose identity an earlier event of
/// the request has with other content; its own kind of repeat is let through and counted once downstream.
pub(crate) fn identify(events: &mut [(usize, Valid)]) -> Vec<FieldError> {
    derive_ids(events);
    let mut holders: HashMap<(&str, i64, &str), (usize, [u8; 16])> = HashMap::with_capacity(events.len());
    let mut conflicts = Vec::new();
    for (index, Valid { event, .. }) in events.iter() {
        match holders.entry((&event.agent_id, event.timestamp, &event.event_id)) {
            Entry::Vacant(free) => {
                free.insert((*index, event.content_hash));
            }
            Entry::Occupied(held) if held.get().1 == event.content_hash => {}
            Entry::Occupied(held) => conflicts.push(FieldError {
                index: *index,
                field: "event_id".to_owned(),
                detail: format!("is the id of the event at index {} too, which has other content", held.get().0),
            }),
        }
    }
    conflicts
}

fn derive_ids(events: &mut [(usize, Valid)]) {
    let mut ordinals: HashMap<(String, [u8; 16]), u32> = HashMap::new();
    for (_, Valid { event, id_source }) in events.iter_mut().filter(|(_, v)| v.id_source == IdSource::Content) {
        let ordinal = ordinals.entry((event.agent_id.clone(), event.content_hash)).or_insert(0);
        event.event_id = derived_event_id(&event.content_hash, *ordinal);
        *ordinal += 1;
        // Set once: from here on the id is like a client's.
        *id_source = IdSource::Client;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::{AgentEvent, MessageType};

    fn derived(agent: &str, hash: u8) -> Valid {
        let mut event = AgentEvent::new(agent, 1, "", MessageType::Error);
        event.content_hash = [hash; 16];
        Valid { event, id_source: IdSource::Content }
    }

    fn given(id: &str, hash: u8) -> Valid {
        let mut valid = derived("a", hash);
        valid.event.event_id = id.to_owned();
        valid.id_source = IdSource::Client;
        valid
    }

    #[test]
    fn equal_events_of_a_request_get_ids_by_their_ordinal() {
        let mut events: Vec<_> = [derived("a", 1), derived("b", 1), derived("a", 1), derived("a", 2)].into_iter().enumerate().collect();
        assert!(identify(&mut events).is_empty());
        let ids: Vec<_> = events.iter().map(|(_, v)| v.event.event_id.as_str()).collect();
        assert_eq!(ids[0], derived_event_id(&[1; 16], 0));
        assert_eq!(ids[1], ids[0], "another agent counts for itself");
        assert_eq!(ids[2], derived_event_id(&[1; 16], 1));
        assert_eq!(ids[3], derived_event_id(&[2; 16], 0));
    }

    #[test]
    fn one_identity_with_two_contents_is_a_conflict() {
        let mut events: Vec<_> = [given("x", 1), given("x", 1), given("x", 2), given("y", 2)].into_iter().enumerate().collect();
        let conflicts = identify(&mut events);
        assert_eq!(conflicts.len(), 1);
        assert_eq!((conflicts[0].index, conflicts[0].field.as_str()), (2, "event_id"));
    }
}
