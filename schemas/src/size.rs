//! What DynamoDB bills: item sizes and write units.
//!
//! Sizes follow the Amazon DynamoDB developer guide, "DynamoDB item sizes and formats": names and strings
//! in UTF-8 bytes, numbers about one byte per two significant digits plus one, binary its length, null and
//! booleans one byte, lists and maps 3 bytes plus 1 per element. Prices: on-demand standard tables in
//! us-east-1, $0.625 per million write request units (since November 2024).

use aws_sdk_dynamodb::types::AttributeValue;

/// Bytes per write unit.
pub const WRITE_UNIT_BYTES: usize = 1024;
/// US dollars per million write request units, on demand, us-east-1.
pub const DOLLARS_PER_MILLION_WRITE_UNITS: f64 = 0.625;

/// Bytes of one item.
pub fn item_size<'a>(attributes: impl IntoIterator<Item = (&'a str, &'a AttributeValue)>) -> usize {
    attributes.into_iter().map(|(name, value)| name.len() + value_size(value)).sum()
}

/// Write units of an item of that size; at least one.
pub fn write_units(bytes: usize) -> u64 {
    bytes.div_ceil(WRITE_UNIT_BYTES).max(1) as u64
}

/// Bytes of one value.
pub fn value_size(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(s) => s.len(),
        AttributeValue::N(n) => number_size(n),
        AttributeValue::B(b) => b.as_ref().len(),
        AttributeValue::Bool(_) | AttributeValue::Null(_) => 1,
        AttributeValue::L(l) => 3 + l.iter().map(|v| 1 + value_size(v)).sum::<usize>(),
        AttributeValue::M(m) => 3 + m.iter().map(|(k, v)| 1 + k.len() + value_size(v)).sum::<usize>(),
        AttributeValue::Ss(s) => s.iter().map(String::len).sum(),
        AttributeValue::Ns(n) => n.iter().map(|n| number_size(n)).sum(),
        AttributeValue::Bs(b) => b.iter().map(|b| b.as_ref().len()).sum(),
        _ => 0,
    }
}

fn number_size(text: &str) -> usize {
    let digits: String = text.split(['e', 'E']).next().unwrap_or_default().chars().filter(char::is_ascii_digit).collect();
    let significant = digits.trim_start_matches('0').trim_end_matches('0').len();
    significant.div_ceil(2) + 1 + usize::from(text.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_the_published_rules() {
        let n = |s: &str| value_size(&AttributeValue::N(s.into()));
        assert_eq!((n("0"), n("7"), n("12"), n("1200"), n("123456"), n("-123456"), n("0.005")), (1, 2, 2, 2, 4, 5, 2));
        assert_eq!(item_size([("agent_id", &AttributeValue::S("a".into()))]), 9);
        assert_eq!((write_units(0), write_units(1024), write_units(1025)), (1, 1, 2));
    }
}
