//! The shape of an error's message: what is left of it when everything that differs from one occurrence to the next is
//! replaced by a placeholder, so that a thousand time-outs with a thousand ids are one error. Pure; knows no events.
//!
//! | in a message | in its shape |
//! |---|---|
//! | `https://api.example.com/v1?k=3` | `<url>` |
//! | `"gpt-4o"`, `'x'`, `` `x` `` | `<text>` |
//! | `2026-11-23T07:15:03.123Z`, `07:15:03` | `<time>` |
//! | `0b3c7f0e-8a51-4d0c-9d5e-2f1b6a7c8d90` | `<uuid>` |
//! | `0x7f3a`, `9f86d081` (8 or more, letters and digits) | `<hex>` |
//! | `req_9KdT3xPq7LmZ2vBn` (16 or more, letters and digits) | `req_<id>` |
//! | `429`, `-3.5`, `1,024`, `30s`, `10.0.0.1:5432` | `<n>`, `<n>`, `<n>`, `<n>s`, `<n>` |
//!
//! Digits that belong to a name (`gpt4`, `s3`, `utf8`) stay.

/// Longest shape, bytes; what goes beyond is cut.
const LONGEST: usize = 200;
/// Longest part of a message that is looked at, bytes.
const LONGEST_READ: usize = 4_096;
/// Longest text between quotes that counts as quoted.
const LONGEST_QUOTED: usize = 400;
/// Hexadecimal words from this length on are values, not words.
const HEX: usize = 8;
/// Words of letters and digits from this length on are ids.
const ID: usize = 16;
/// Units that stay behind a number.
const UNITS: [&str; 24] = [
    "ms", "s", "m", "h", "d", "us", "ns", "sec", "secs", "min", "mins", "b", "B", "kb", "KB", "mb", "MB", "gb", "GB", "KiB", "MiB", "GiB",
    "k", "px",
];
/// The shape of no message at all.
pub(crate) const NO_MESSAGE: &str = "(no message)";

/// The shape of a message.
pub(crate) fn shape_of(message: &str) -> String {
    let line = telling_line(up_to(message, LONGEST_READ));
    let mut shape = String::with_capacity(line.len().min(LONGEST + 16));
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        if shape.len() > LONGEST {
            break;
        }
        let before = line[..line.len() - rest.len()].chars().next_back();
        let taken = if first.is_whitespace() {
            if !shape.ends_with(' ') && !shape.is_empty() {
                shape.push(' ');
            }
            first.len_utf8()
        } else if let Some(length) = quoted(rest, before) {
            shape.push_str("<text>");
            length
        } else if is_of_word(first) && !before.is_some_and(is_of_word) {
            let word = word_of(rest);
            take_word(&mut shape, word, rest, before)
        } else {
            shape.push(first);
            first.len_utf8()
        };
        rest = &rest[taken..];
    }
    let shape = up_to(shape.trim_end(), LONGEST);
    if shape.is_empty() { NO_MESSAGE.to_owned() } else { shape.to_owned() }
}

/// The line that says what happened: the first, or of a Python traceback the last.
fn telling_line(message: &str) -> &str {
    let mut lines = message.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    if first.starts_with("Traceback (most recent call last)") { lines.next_back().unwrap_or(first) } else { first }
}

/// Length of a quoted text at the beginning of `rest`, quotes included.
fn quoted(rest: &str, before: Option<char>) -> Option<usize> {
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'))?;
    // An apostrophe within or behind a word is no quote.
    if quote == '\'' && before.is_some_and(char::is_alphanumeric) {
        return None;
    }
    let mut closing = rest[1..].match_indices(quote).map(|(at, _)| at + 1);
    let end = closing.find(|at| {
        let is_escaped = rest[..*at].ends_with('\\');
        let is_apostrophe = quote == '\'' && rest[at + 1..].chars().next().is_some_and(char::is_alphanumeric);
        !is_escaped && !is_apostrophe
    })?;
    (end <= LONGEST_QUOTED).then_some(end + 1)
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric()
}

/// The word at the beginning of `rest`, with what may stand within one value: `2026-11-23T07:15:03`, `10.0.0.1:80`, `1e-5`.
fn word_of(rest: &str) -> &str {
    let is_inner = |c: char| is_of_word(c) || matches!(c, '-' | ':' | '.' | ',' | '+' | '/');
    let end = rest.find(|c| !is_inner(c)).unwrap_or(rest.len());
    rest[..end].trim_end_matches(|c| !is_of_word(c))
}

/// Writes the shape of what stands at the beginning of `rest`; answers how much of it that was.
fn take_word(shape: &mut String, word: &str, rest: &str, before: Option<char>) -> usize {
    if let Some(length) = url(rest) {
        shape.push_str("<url>");
        return length;
    }
    if let Some(length) = time(word, rest) {
        shape.push_str("<time>");
        return length;
    }
    if word.len() >= 36 && word.is_char_boundary(36) && is_uuid(&word[..36]) && !word[36..].chars().next().is_some_and(is_of_word) {
        shape.push_str("<uuid>");
        return 36;
    }
    if let Some(length) = number(word) {
        // A sign belongs to the number, a dash between two words does not.
        let is_sign = before == Some('-') && !shape[..shape.len() - 1].ends_with(|c: char| is_of_word(c) || c == '>' || c == '_');
        if is_sign {
            shape.pop();
        }
        shape.push_str("<n>");
        return length;
    }
    let plain = &word[..word.find(|c| !is_of_word(c)).unwrap_or(word.len())];
    let placeholder = match plain {
        hex if is_hex(hex) => "<hex>",
        id if is_id(id) => "<id>",
        name => name,
    };
    shape.push_str(placeholder);
    plain.len()
}

/// Length of a URL at the beginning of `rest`.
fn url(rest: &str) -> Option<usize> {
    let scheme = rest.find("://").filter(|at| (1..=12).contains(at))?;
    if !rest[..scheme].bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+') {
        return None;
    }
    let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>' | ')' | '}')).unwrap_or(rest.len());
    let url = rest[..end].trim_end_matches(['.', ',', ':', ';', '!', '?']);
    // A bracket that the URL did not open closes what stands around it.
    let url = if url.contains('[') { url } else { url.trim_end_matches(']') };
    Some(url.len())
}

/// Length of a time at the beginning of `rest`, whose first word is given: `2026-11-23`, with a time of day behind `T` or
/// a blank, or a time of day alone.
fn time(word: &str, rest: &str) -> Option<usize> {
    let is_like = |text: &str, pattern: &str| {
        text.len() >= pattern.len() && text.bytes().zip(pattern.bytes()).all(|(c, p)| if p == b'0' { c.is_ascii_digit() } else { c == p })
    };
    let clock = |text: &str| {
        is_like(text, "00:00").then(|| {
            let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, ':' | '.' | ',' | '+' | '-' | 'Z'))).unwrap_or(text.len());
            text[..end].trim_end_matches(['.', ',', ':', '-', '+']).len()
        })
    };
    if !is_like(word, "0000-00-00") {
        // An address with a port is a number.
        return clock(word).filter(|length| is_like(word, "00:00:00") || *length == 5);
    }
    let behind = &rest[10..];
    let of_clock = behind.strip_prefix(['T', ' ']).and_then(clock);
    if of_clock.is_none() && behind.starts_with(|c: char| is_of_word(c) || c == '-') {
        return None;
    }
    Some(10 + of_clock.map_or(0, |length| length + 1))
}

fn is_uuid(text: &str) -> bool {
    text.bytes().enumerate().all(|(i, b)| if matches!(i, 8 | 13 | 18 | 23) { b == b'-' } else { b.is_ascii_hexdigit() })
}

/// Length of a number at the beginning of `word`, thousands, fractions, dots and a port included; its unit stays.
fn number(word: &str) -> Option<usize> {
    if !word.starts_with(|c: char| c.is_ascii_digit()) || word.starts_with("0x") || word.starts_with("0X") {
        return None;
    }
    let mut end = 0;
    for (at, c) in word.char_indices() {
        let is_digit_next = word[at + c.len_utf8()..].starts_with(|c: char| c.is_ascii_digit());
        if !(c.is_ascii_digit() || matches!(c, '.' | ',' | ':') && is_digit_next) {
            break;
        }
        end = at + 1;
    }
    let behind = &word[end..];
    let letters = &behind[..behind.find(|c| !is_of_word(c)).unwrap_or(behind.len())];
    (letters.is_empty() || UNITS.contains(&letters)).then_some(end)
}

fn is_hex(word: &str) -> bool {
    let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"));
    let is_long = digits.is_some() || word.len() >= HEX && word.bytes().any(|b| b.is_ascii_digit());
    let digits = digits.unwrap_or(word);
    is_long && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_id(word: &str) -> bool {
    word.len() >= ID && word.is_ascii() && word.bytes().filter(u8::is_ascii_digit).count() >= 2
}

/// The beginning of a text, at most so many bytes.
fn up_to(text: &str, most: usize) -> &str {
    if text.len() <= most {
        return text;
    }
    let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_one_occurrence_to_the_next_is_a_placeholder() {
        for (message, shape) in [
            ("Rate limit reached: 429", "Rate limit reached: <n>"),
            ("timed out after 30s (attempt 3/5)", "timed out after <n>s (attempt <n>/<n>)"),
            ("timed out after 1,024.5 ms", "timed out after <n> ms"),
            ("GET https://api.example.com/v1/x?y=1&z=[2] failed", "GET <url> failed"),
            ("[https://api.example.com/v1] failed", "[<url>] failed"),
            ("GET https://api.example.com/v1/x?y=1, gave up", "GET <url>, gave up"),
            ("see (http://x.y/1).", "see (<url>)."),
            ("no model \"gpt-4o\" for 'bob'", "no model <text> for <text>"),
            ("can't connect, it's down", "can't connect, it's down"),
            ("user 'o\\'neil' unknown", "user <text> unknown"),
            ("request 0b3c7f0e-8a51-4d0c-9d5e-2f1b6a7c8d90 failed", "request <uuid> failed"),
            ("request req_0b3c7f0e-8a51-4d0c-9d5e-2f1b6a7c8d90", "request req_<uuid>"),
            ("at 0x7f3a9c in 9f86d081884c", "at <hex> in <hex>"),
            ("call_9KdT3xPq7LmZ2vBn was not found", "call_<id> was not found"),
            ("2026-11-23T07:15:03.123456Z: boom", "<time>: boom"),
            ("2026-11-23 07:15:03,123 ERROR boom", "<time> ERROR boom"),
            ("since 2026-11-23 there is none", "since <time> there is none"),
            ("at 07:15:03 and 07:15", "at <time> and <time>"),
            ("connect 10.0.0.1:5432: refused", "connect <n>: refused"),
            ("offset -3 and x=-0.5, a-7", "offset <n> and x=<n>, a-<n>"),
            ("HTTP/1.1 500", "HTTP/<n> <n>"),
            ("utf8 of gpt-4o on s3, model claude3", "utf8 of gpt-4o on s3, model claude3"),
            ("used 95% of 16GiB, 12px", "used <n>% of <n>GiB, <n>px"),
            ("  many \t blanks\u{a0}here ", "many blanks here"),
            ("größe 12 überschritten", "größe <n> überschritten"),
            ("first line 1\nsecond line", "first line <n>"),
            ("Traceback (most recent call last):\n  File \"x.py\", line 3\nValueError: bad 7\n", "ValueError: bad <n>"),
            ("decade facade deadbeef", "decade facade deadbeef"),
            ("", NO_MESSAGE),
            (" \n ", NO_MESSAGE),
        ] {
            assert_eq!(shape_of(message), shape, "{message}");
        }
    }

    #[test]
    fn a_shape_is_bounded_whatever_the_message() {
        let long = "größer ".repeat(10_000);
        assert!(shape_of(&long).len() <= LONGEST);
        assert!(shape_of(&"x".repeat(1_000_000)).len() <= LONGEST);
        assert!(shape_of(&"'".repeat(100_000)).len() <= LONGEST);
        assert!(shape_of(&format!("\"{}\"", "y".repeat(LONGEST_QUOTED * 2))).len() <= LONGEST);
    }

    #[test]
    fn any_text_has_a_shape() {
        // Every pair and triple of what the rules look at.
        let parts = ["'", "\"", "`", "\\", "-", ".", ":", "://", "0x", "2026-11-23", "T07:15", "7", "a", "é", " ", "_", "\u{2028}", "1,"];
        for a in parts {
            for b in parts {
                for c in parts {
                    assert!(!shape_of(&format!("{a}{b}{c}")).is_empty());
                }
            }
        }
    }
}
