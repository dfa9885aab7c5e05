//! Where a follower of a stream is: the id of every message, and what `Last-Event-ID` brings back.

use std::fmt;
use std::str::FromStr;

/// Most partitions that an id may name.
const MOST_PARTITIONS: usize = 1_024;
/// Longest id that is read.
const LONGEST: usize = 16 * 1_024;

/// A place in the change notices and, where events are followed, in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which live table numbers the changes.
    pub(crate) generation: u64,
    /// The last change told.
    pub(crate) seq: u64,
    /// Epoch of the log and the next offset of each partition.
    pub(crate) events: Option<(u32, Vec<u64>)>,
}

/// The text is no id of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoPlace;

/// `<generation>-<change>`, and with events `-<epoch>-<offset>.<offset>…` by partition; numbers to the base 36.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(64);
        push(&mut text, self.generation);
        text.push('-');
        push(&mut text, self.seq);
        if let Some((epoch, offsets)) = &self.events {
            text.push('-');
            push(&mut text, u64::from(*epoch));
            let mut separator = '-';
            for offset in offsets {
                text.push(separator);
                push(&mut text, *offset);
                separator = '.';
            }
        }
        f.write_str(&text)
    }
}

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let number = |text: &str| u64::from_str_radix(text, 36).ok().filter(|_| !text.starts_with('+')).ok_or(NoPlace);
        if text.len() > LONGEST {
            return Err(NoPlace);
        }
        let parts: Vec<&str> = text.split('-').take(5).collect();
        let (generation, seq, events) = match parts.as_slice() {
            [generation, seq] => (generation, seq, None),
            [generation, seq, epoch, offsets] => {
                let epoch = number(epoch)?.try_into().map_err(|_| NoPlace)?;
                let offsets: Vec<u64> = offsets.split('.').take(MOST_PARTITIONS + 1).map(number).collect::<Result<_, _>>()?;
                if offsets.len() > MOST_PARTITIONS {
                    return Err(NoPlace);
                }
                (generation, seq, Some((epoch, offsets)))
            }
            _ => return Err(NoPlace),
        };
        Ok(Self { generation: number(generation)?, seq: number(seq)?, events })
    }
}

fn push(text: &mut String, mut number: u64) {
    let mut digits = [0u8; 13];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdefghijklmnopqrstuvwxyz"[(number % 36) as usize];
        number /= 36;
        if number == 0 {
            break;
        }
    }
    text.extend(digits[at..].iter().map(|d| char::from(*d)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back_from_their_ids() {
        for place in [
            Place { generation: u64::MAX, seq: 0, events: None },
            Place { generation: 7, seq: u64::MAX, events: Some((3, vec![0, 35, 36, u64::MAX])) },
        ] {
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        assert_eq!(Place { generation: 35, seq: 36, events: Some((0, vec![1, 2])) }.to_string(), "z-10-0-1.2");
    }

    #[test]
    fn what_is_no_id_is_refused() {
        let long = format!("1-1-0-{}", "1.".repeat(1_100));
        for text in ["", "1", "1-", "1-1-1", "1-1-1-", "1-1-1-1-1", "+1-1", "é-1", "1-1-zzzzzzzz-1", "zzzzzzzzzzzzzzzz-1", &long] {
            assert_eq!(text.parse::<Place>(), Err(NoPlace), "{text:?}");
        }
    }
}
