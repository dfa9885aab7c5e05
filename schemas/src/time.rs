//! Timestamps: microseconds since the epoch inside, ISO 8601 outside.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::Offset;

/// Microseconds in a UTC day.
pub const DAY_US: i64 = 86_400_000_000;
/// Microseconds in an hour.
pub const HOUR_US: i64 = 3_600_000_000;
/// Microseconds in a five-minute slot.
pub const SLOT_US: i64 = 300_000_000;

/// A client's timestamp, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientTime {
    /// Microseconds since the epoch; finer digits are cut.
    pub micros: i64,
    /// Whether the text carries milliseconds or finer: equal events with such a time are repeats.
    pub is_fine: bool,
}

/// Reads ISO 8601 with `Z`, an offset, or none (then UTC). Takes a `T` or a space between date and time,
/// and a date and time to the minute at least. `None` where it is no such time.
pub fn parse_client_time(text: &str) -> Option<ClientTime> {
    if !text.is_ascii() || text.len() > 64 || text.len() < 16 || !matches!(text.as_bytes()[10], b'T' | b't' | b' ') {
        return None;
    }
    let (civil, offset) = split_offset(text)?;
    if civil.len() < 16 {
        return None;
    }
    let (whole, digits) = civil.split_once(['.', ',']).map_or((civil, ""), |(w, f)| (w, f));
    if civil.len() > whole.len() && (digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit())) {
        return None;
    }
    let at: DateTime = whole.parse().ok()?;
    let seconds = offset.to_timestamp(at).ok()?.as_second();
    let mut fraction = 0i64;
    for i in 0..6 {
        fraction = fraction * 10 + digits.as_bytes().get(i).map_or(0, |b| i64::from(b - b'0'));
    }
    Some(ClientTime { micros: seconds.checked_mul(1_000_000)?.checked_add(fraction)?, is_fine: digits.len() >= 3 })
}

fn split_offset(text: &str) -> Option<(&str, Offset)> {
    if let Some(civil) = text.strip_suffix(['Z', 'z']) {
        return Some((civil, Offset::UTC));
    }
    let Some(at) = text[10..].rfind(['+', '-']).map(|i| i + 10) else {
        return Some((text, Offset::UTC));
    };
    let sign = if text.as_bytes()[at] == b'-' { -1 } else { 1 };
    let digits = text[at + 1..].replacen(':', "", 1);
    if !matches!(digits.len(), 2 | 4) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let hours: i32 = digits[..2].parse().ok()?;
    let minutes: i32 = if digits.len() == 4 { digits[2..].parse().ok()? } else { 0 };
    if hours > 23 || minutes > 59 {
        return None;
    }
    Some((&text[..at], Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()?))
}

/// The contract's form: `2026-11-23T07:15:03.123456Z`.
pub fn format_micros(micros: i64) -> String {
    match Timestamp::from_microsecond(micros) {
        Ok(t) => format!("{t:.6}"),
        Err(_) => String::from("invalid"),
    }
}

/// Reads what [`format_micros`] writes.
pub fn parse_micros(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(|t| t.as_microsecond())
}

/// Now, in microseconds since the epoch.
pub fn now_micros() -> i64 {
    Timestamp::now().as_microsecond()
}

/// Days since 1970-01-01 of a time.
pub fn day_of(micros: i64) -> i32 {
    micros.div_euclid(DAY_US) as i32
}

/// Hours since the epoch of a time.
pub fn hour_of(micros: i64) -> i32 {
    micros.div_euclid(HOUR_US) as i32
}

/// Which of its hour's twelve five-minute slots a time is in.
pub fn slot_of(micros: i64) -> u8 {
    (micros.rem_euclid(HOUR_US) / SLOT_US) as u8
}

/// `2026-11-23` of a day number.
pub fn format_day(day: i32) -> String {
    date_of(day).to_string()
}

/// The day number of `2026-11-23`; `None` for anything else.
pub fn parse_day(text: &str) -> Option<i32> {
    if text.len() != 10 {
        return None;
    }
    let date: Date = text.parse().ok()?;
    let at = Offset::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok()?;
    Some(day_of(at.as_microsecond()))
}

/// `2026-11-23T07` of an hour number.
pub fn format_hour(hour: i32) -> String {
    format!("{}T{:02}", format_day(hour.div_euclid(24)), hour.rem_euclid(24))
}

fn date_of(day: i32) -> Date {
    Timestamp::from_second(i64::from(day) * 86_400).map_or(Date::MIN, |t| Offset::UTC.to_datetime(t).date())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_times_are_read_in_all_their_forms() {
        let want = 1_767_781_800_123_456;
        for text in [
            "2026-01-07T10:30:00.123456",
            "2026-01-07T10:30:00.123456Z",
            "2026-01-07 10:30:00.123456Z",
            "2026-01-07T12:00:00.123456+01:30",
            "2026-01-07T09:30:00.123456789-0100",
            "2026-01-07T05:30:00,123456-05",
        ] {
            assert_eq!(parse_client_time(text), Some(ClientTime { micros: want, is_fine: true }), "{text}");
        }
        assert_eq!(parse_client_time("2026-01-07T10:30:00.12Z").map(|t| t.is_fine), Some(false));
        assert_eq!(parse_client_time("2026-01-07T10:30Z").map(|t| t.is_fine), Some(false));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2026-01-07",
            "2026-13-07T10:30:00Z",
            "2026-01-07T25:30:00Z",
            "2026-01-07T10:30:00.Z",
            "2026-01-07T10:30:00+99:00",
            "1767781800",
            "now",
            "2026-01-07T10:30:00.12a456Z",
            "2026-02-30T10:30:00Z",
        ] {
            assert_eq!(parse_client_time(text), None, "{text}");
        }
    }

    #[test]
    fn days_hours_and_text_agree() {
        let t = parse_client_time("2026-11-23T07:15:03.000001Z").expect("a time").micros;
        assert_eq!(format_micros(t), "2026-11-23T07:15:03.000001Z");
        assert_eq!(parse_micros("2026-11-23T07:15:03.000001Z"), Some(t));
        assert_eq!(format_day(day_of(t)), "2026-11-23");
        assert_eq!(parse_day("2026-11-23"), Some(day_of(t)));
        assert_eq!(format_hour(hour_of(t)), "2026-11-23T07");
        assert_eq!(slot_of(t), 3);
    }
}
