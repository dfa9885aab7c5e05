//! The form of a dead letter, which the aggregator writes, the gateway redrives and the query API shows: the original's
//! value under the original's position as key, the original's headers, and behind them ours.

use crate::time::parse_micros;

/// Headers that a dead letter carries behind the original's; `dead-reason` is always their first.
pub mod header {
    /// Why it could not be processed.
    pub const REASON: &str = "dead-reason";
    /// At which step.
    pub const STAGE: &str = "dead-stage";
    /// Where it was: `<epoch>-<partition>-<offset>`.
    pub const POSITION: &str = "dead-position";
    /// More about the reason.
    pub const DETAIL: &str = "dead-detail";
    /// When, ISO 8601.
    pub const AT: &str = "dead-at";
    /// The original's key.
    pub const KEY: &str = "dead-key";
    /// Bytes of the original's value, where only its beginning is there.
    pub const CUT: &str = "dead-cut";
    /// When it was redriven, ISO 8601.
    pub const REDRIVEN_AT: &str = "redriven-at";
    /// The position that the redriven event has: `<epoch>-<partition>-<offset>`.
    pub const REDRIVEN_TO: &str = "redriven-to";
    /// Of an event: the position of the dead letter that it was redriven from.
    pub const REDRIVEN_FROM: &str = "redriven-from";
}

/// Names and values of headers, in order.
pub type Headers<B> = [(String, B)];

/// A dead letter's headers, told apart. Headers of the original may have any name, ours too.
#[derive(Clone, Copy, Debug)]
pub struct DeadLetter<'a, B> {
    /// The original's.
    pub original: &'a Headers<B>,
    /// Ours.
    pub ours: &'a Headers<B>,
}

/// When and where to a dead letter was redriven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redriven<'a> {
    /// ISO 8601.
    pub at: &'a str,
    /// The position that the redriven event has.
    pub to: &'a str,
}

impl<'a, B: AsRef<[u8]>> DeadLetter<'a, B> {
    /// Reads the headers of a record of the dead-letter topic.
    pub fn of(headers: &'a Headers<B>) -> Self {
        let first = headers.iter().rposition(|(name, _)| name == header::REASON).unwrap_or(headers.len());
        let (original, ours) = headers.split_at(first);
        Self { original, ours }
    }

    /// The value of one of our headers.
    pub fn value(&self, name: &str) -> Option<&'a B> {
        self.ours.iter().find(|(n, _)| n == name).map(|(_, value)| value)
    }

    /// One of our headers as text.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.value(name)?.as_ref()).ok()
    }

    /// When it died, µs since the epoch; `None` where it does not say.
    pub fn died_at(&self) -> Option<i64> {
        parse_micros(self.text(header::AT)?)
    }

    /// Bytes of the original's value where only its beginning is there.
    pub fn whole_bytes(&self) -> Option<u64> {
        self.text(header::CUT)?.parse().ok()
    }

    /// What became of it since.
    pub fn redriven(&self) -> Option<Redriven<'a>> {
        Some(Redriven { at: self.text(header::REDRIVEN_AT)?, to: self.text(header::REDRIVEN_TO)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
    }

    #[test]
    fn an_original_that_calls_its_headers_as_we_do_misleads_nobody() {
        let all = headers(&[
            ("dead-reason", "forged"),
            ("redriven-to", "0-0-1"),
            ("redriven-at", "2026-01-01T00:00:00Z"),
            ("dead-reason", "id_conflict"),
            ("dead-key", "bot"),
        ]);
        let letter = DeadLetter::of(&all);
        assert_eq!((letter.text(header::REASON), letter.text(header::KEY)), (Some("id_conflict"), Some("bot")));
        assert_eq!((letter.original.len(), letter.redriven()), (3, None));
    }

    #[test]
    fn a_record_that_gives_no_reason_is_all_original() {
        let all = headers(&[("a", "b")]);
        let letter = DeadLetter::of(&all);
        assert_eq!((letter.original.len(), letter.ours.len(), letter.died_at()), (1, 0, None));
    }
}
