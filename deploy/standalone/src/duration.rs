//! Spans of time as people write them on a command line: `30s`, `5m`, `2h`, `30d`, `1h 30m`.

use jiff::{Span, SpanRelativeTo};
use std::time::Duration;

/// Reads a span; a bare number is seconds, a day has 24 hours.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let refused = || format!("{text:?} is no span of time; write it like 30s, 5m, 2h or 30d");
    let span: Span = text.parse().map_err(|_| refused())?;
    let signed = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| refused())?;
    Duration::try_from(signed).map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_people_write_them() {
        for (text, seconds) in [("90", 90), ("30s", 30), ("5m", 300), ("2h", 7_200), ("30d", 2_592_000), ("1h 30m", 5_400), ("0s", 0)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "soon", "-5m", "5 parsecs"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
