//! The bytes of a set of users, as they lie in a table.
//!
//! An input is the bytes of one set, a length (u16, big endian) in front, and those of another.
//!
//! What must hold: a set that is read is written so that it is read as the same again; a union holds both, in any order and
//! however often it is repeated; counts stay within what a set can hold.

use schemas::users::{UserSet, intersection_count, user_hash};

/// See the module.
pub fn check(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk() else { return };
    let (one, other) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
    let one = UserSet::from_bytes(one);
    check_set(one.as_ref());
    let other = UserSet::from_bytes(other);
    check_set(other.as_ref());
    if let (Some(one), Some(other)) = (one, other) {
        check_union(&one, &other);
    }
}

fn check_set(set: Option<&UserSet>) {
    let Some(set) = set else { return };
    let bytes = set.to_bytes();
    assert_eq!(UserSet::from_bytes(&bytes).as_ref(), Some(set));
    assert!(bytes.len() <= 1 + 3_072, "{}", bytes.len());
    assert!(set.is_within(set));
    let mut more = set.clone();
    let hash = user_hash("somebody");
    assert_eq!(more.insert(hash), !set.contains(hash) || more.is_exact() != set.is_exact());
    assert!(more.contains(hash) && !more.insert(hash) && more.count() >= set.count() || !more.is_exact());
    assert_eq!(UserSet::from_bytes(&more.to_bytes()).as_ref(), Some(&more));
}

fn check_union(one: &UserSet, other: &UserSet) {
    let (mut ours, mut theirs) = (one.clone(), other.clone());
    ours.unite(other);
    theirs.unite(one);
    assert!(one.is_within(&ours) && other.is_within(&ours));
    assert_eq!(ours.count(), theirs.count());
    assert!(!ours.clone().unite(other) && !ours.clone().unite(one), "a union may be repeated");
    if ours.is_exact() {
        assert_eq!(intersection_count(one, other) + ours.count(), one.count() + other.count());
    }
    assert_eq!(UserSet::from_bytes(&ours.to_bytes()), Some(ours));
}
