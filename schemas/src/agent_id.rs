//! The grammar of agent ids. `#`, `~` and `*` stay outside it, so that keys can use them.

use std::fmt;

/// A checked agent id: `[A-Za-z0-9][A-Za-z0-9._:@/-]{0,127}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentId(String);

impl AgentId {
    /// Checks `id` against the grammar; `None` where it does not fit.
    pub fn parse(id: impl Into<String>) -> Option<Self> {
        let id = id.into();
        is_valid(&id).then_some(Self(id))
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id's text, owned.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What to tell a client whose agent id does not fit.
pub const RULE: &str = "must be 1 to 128 characters, start with a letter or digit and continue with letters, digits or . _ : @ / -";

/// Whether `id` fits `[A-Za-z0-9][A-Za-z0-9._:@/-]{0,127}`.
pub fn is_valid(id: &str) -> bool {
    let bytes = id.as_bytes();
    let Some(first) = bytes.first() else { return false };
    bytes.len() <= 128 && first.is_ascii_alphanumeric() && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"._:@/-".contains(b))
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn key_separators_are_never_part_of_an_id() {
        for id in ["", "#a", "a#b", "a~b", "*", "a*", ".a", "a b", "a\u{e9}", &"a".repeat(129)] {
            assert!(!is_valid(id), "{id:?}");
        }
        for id in ["a", "7", "team/support-bot", "a.b_c:d@e/f-g", &"a".repeat(128)] {
            assert!(is_valid(id), "{id:?}");
        }
    }
}
