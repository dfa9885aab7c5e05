//! One text for all ways to write the same JSON: the RFC 8785 form, except that whole numbers which are written without
//! fraction and exponent and fit 64 bits keep all their digits. The RFC rounds them to doubles, so two events that differ
//! in the last digit of a long id would become one, and one of them would not be counted. Part of the frozen identity
//! ([`crate::identity`]), so nothing here may ever change what it writes.

use serde_json::{Map, Number, Value};
use std::io::Write as _;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// A value that is not, or not only, a tree in memory.
#[derive(Clone, Copy, Debug)]
pub enum Member<'a> {
    /// `true` or `false`.
    Bool(bool),
    /// A number as parsed.
    Number(&'a Number),
    /// A string's text, its escapes resolved.
    Text(&'a str),
    /// Anything.
    Tree(&'a Value),
}

/// Appends an object's canonical form.
pub fn write_object(out: &mut Vec<u8>, object: &Map<String, Value>) {
    write_members(out, &mut object.iter().map(|(name, value)| (name.as_str(), Member::Tree(value))).collect::<Vec<_>>());
}

/// Appends the canonical form of an object with these members; it sorts them.
pub fn write_members(out: &mut Vec<u8>, members: &mut [(&str, Member<'_>)]) {
    // By UTF-16 code units; for names in ASCII that is the order of the bytes.
    if members.iter().all(|(name, _)| name.is_ascii()) {
        if !members.is_sorted_by_key(|(name, _)| *name) {
            members.sort_unstable_by_key(|(name, _)| *name);
        }
    } else {
        members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
    }
    out.push(b'{');
    for (i, (name, value)) in members.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_string(out, name);
        out.push(b':');
        match value {
            Member::Bool(true) => out.extend_from_slice(b"true"),
            Member::Bool(false) => out.extend_from_slice(b"false"),
            Member::Number(number) => write_number(out, number),
            Member::Text(text) => write_string(out, text),
            Member::Tree(value) => write_value(out, value),
        }
    }
    out.push(b'}');
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => write_number(out, number),
        Value::String(text) => write_string(out, text),
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_value(out, item);
            }
            out.push(b']');
        }
        Value::Object(object) => write_object(out, object),
    }
}

fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    // Nearly every text is written as it is. Without a way out in the loop the compiler looks at many bytes at once.
    let is_plain = bytes.chunks(64).all(|some| some.iter().fold(true, |plain, b| plain & (*b >= 0x20) & (*b != b'"') & (*b != b'\\')));
    if is_plain {
        out.extend_from_slice(bytes);
        out.push(b'"');
        return;
    }
    let mut written = 0;
    for (i, byte) in bytes.iter().enumerate() {
        let short = match byte {
            b'"' | b'\\' => *byte,
            0x08 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            0x0C => b'f',
            b'\r' => b'r',
            0x00..0x20 => 0,
            _ => continue,
        };
        out.extend_from_slice(&bytes[written..i]);
        written = i + 1;
        match short {
            0 => out.extend_from_slice(&[b'\\', b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
            _ => out.extend_from_slice(&[b'\\', short]),
        }
    }
    out.extend_from_slice(&bytes[written..]);
    out.push(b'"');
}

/// Integers exactly (`serde_json` keeps those that fit 64 bits), all else as ECMAScript's `Number::toString`
/// (ECMA-262, 6.1.6.1.20) writes the nearest double. Up to 2^53 the two are the same.
fn write_number(out: &mut Vec<u8>, number: &Number) {
    if number.is_f64() {
        let double = number.as_f64().unwrap_or_default();
        out.extend_from_slice(ryu_js::Buffer::new().format_finite(double).as_bytes());
        return;
    }
    write!(out, "{number}").expect("writing to memory cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(value: &Value) -> String {
        let mut out = Vec::new();
        write_value(&mut out, value);
        String::from_utf8(out).expect("JSON is text")
    }

    fn canonical_text(text: &str) -> String {
        canonical(&serde_json::from_str(text).expect("JSON"))
    }

    /// Appendix B of RFC 8785, and the borders between the layouts.
    #[test]
    fn numbers_are_written_as_in_the_rfc() {
        for (bits, text) in [
            (0x0000_0000_0000_0000, "0"),
            (0x8000_0000_0000_0000, "0"),
            (0x0000_0000_0000_0001, "5e-324"),
            (0x8000_0000_0000_0001, "-5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0xc340_0000_0000_0000, "-9007199254740992"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x44b5_2d02_c7e1_4af6, "1e+23"),
            (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
            (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
            (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0x41b3_de43_5555_5554, "333333333.33333325"),
            (0x41b3_de43_5555_5555, "333333333.3333333"),
            (0x41b3_de43_5555_5556, "333333333.3333334"),
            (0x41b3_de43_5555_5557, "333333333.33333343"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
            (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
        ] {
            assert_eq!(canonical(&Value::from(f64::from_bits(bits))), text);
        }
        assert_eq!(canonical_text("[1.0, -0, 1e2, 9007199254740993.0]"), "[1,0,100,9007199254740992]");
    }

    #[test]
    fn long_integers_keep_their_digits() {
        let longest = "[9007199254740993,-9007199254740993,9223372036854775807,-9223372036854775808,18446744073709551615]";
        assert_eq!(canonical_text(longest), longest);
        // What does not fit 64 bits is a double.
        assert_eq!(canonical_text("[18446744073709551616,-9223372036854775809]"), "[18446744073709552000,-9223372036854776000]");
    }

    #[test]
    fn members_are_sorted_by_utf_16() {
        let text = r#"{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}"#;
        assert_eq!(canonical_text(text), "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"\u{f6}\":7,\"\u{20ac}\":1,\"\u{1f600}\":5,\"\u{fb33}\":3}");
    }

    /// Up to here every whole number is a double.
    const EXACT: i64 = 1 << 53;

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-EXACT..=EXACT).prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            (-1000..1000i32, -30..30i32).prop_map(|(m, e)| Value::from(f64::from(m) * 10f64.powi(e))),
            any::<String>().prop_map(Value::from),
            "[\\x00-\\x7f\u{e000}-\u{ffff}\u{1f600}]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::vec((prop_oneof![any::<String>(), "[a-c\u{e000}\u{1f600}]{0,3}"], inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn another_implementation_writes_the_same(value in json()) {
            prop_assert_eq!(canonical(&value), serde_json_canonicalizer::to_string(&value).expect("a canonical form"));
        }

        #[test]
        fn integers_are_told_apart(positive in any::<u64>(), negative in i64::MIN..0) {
            prop_assert_eq!(canonical_text(&positive.to_string()), positive.to_string());
            prop_assert_eq!(canonical_text(&negative.to_string()), negative.to_string());
        }
    }
}
