//! What an input tells to do.
//!
//! A byte of settings, steps up to a byte 0xFF, damages up to the end:
//!
//! | step | bytes |
//! |---|---|
//! | append to the events | `00`–`9F` (its low bits choose the key), size / 4 |
//! | append to the compacted topic | `A0`–`BF`, size / 4 |
//! | append something large | `C0`–`CF`, KiB |
//! | commit a group's offsets | `D0`–`DF` (how much of what is there, in 15ths) |
//! | close and open | `E0`–`FE` |

use super::input::Input;

/// Steps and damages that one input has at most.
const MOST_STEPS: usize = 48;
const MOST_DAMAGES: usize = 12;

#[derive(Debug)]
pub(super) struct Script {
    /// Partitions of the events.
    pub(super) partitions: u32,
    /// Whether the process is killed in the end, or closes the log.
    pub(super) is_killed: bool,
    pub(super) steps: Vec<Step>,
    pub(super) damages: Vec<Damage>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Append { topic: usize, key: u8, bytes: usize },
    Commit { fifteenths: u64 },
    Reopen,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Damage {
    /// To the write-ahead log, where there is one.
    pub(super) is_to_wal: bool,
    pub(super) kind: Kind,
    /// Where: page and byte in it, both taken modulo what there is.
    pub(super) page: u8,
    pub(super) byte: u16,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Bits of one byte are turned.
    Flip(u8),
    /// Some bytes are overwritten.
    Overwrite { length: u8, with: u8 },
    /// A number is written there, big endian, as SQLite writes its own.
    Number(u16),
    /// All from there on is gone.
    Cut,
    /// The page is zeros.
    Zero,
    /// The page is where another should be.
    Misplace { to: u8 },
    /// Bytes behind the end.
    Extend { length: u8, with: u8 },
    /// The file is gone.
    Remove,
}

impl Script {
    pub(super) fn read(input: &mut Input<'_>) -> Self {
        let settings = input.byte();
        let mut steps = Vec::new();
        while steps.len() < MOST_STEPS && !input.is_empty() {
            steps.push(match input.byte() {
                key @ 0x00..=0x9F => Step::Append { topic: super::EVENTS, key: key & 15, bytes: usize::from(input.byte()) * 4 },
                key @ 0xA0..=0xBF => Step::Append { topic: super::written::TOTALS, key: key & 3, bytes: usize::from(input.byte()) * 4 },
                key @ 0xC0..=0xCF => Step::Append { topic: super::EVENTS, key: key & 15, bytes: usize::from(input.byte() & 63) << 10 },
                part @ 0xD0..=0xDF => Step::Commit { fifteenths: u64::from(part & 15) },
                0xE0..=0xFE => Step::Reopen,
                0xFF => break,
            });
        }
        let mut damages = Vec::new();
        while damages.len() < MOST_DAMAGES && !input.is_empty() {
            damages.push(Damage::read(input));
        }
        Self { partitions: 1 + u32::from(settings & 3), is_killed: settings & 4 != 0, steps, damages }
    }
}

impl Damage {
    fn read(input: &mut Input<'_>) -> Self {
        let code = input.byte();
        let (page, byte) = (input.byte(), input.word());
        let kind = match (code >> 1) & 7 {
            0 => Kind::Flip(input.byte()),
            1 => Kind::Overwrite { length: input.byte(), with: input.byte() },
            2 => Kind::Number(input.word()),
            3 => Kind::Cut,
            4 => Kind::Zero,
            5 => Kind::Misplace { to: input.byte() },
            6 => Kind::Extend { length: input.byte(), with: input.byte() },
            _ => Kind::Remove,
        };
        Self { is_to_wal: code & 1 == 1, kind, page, byte }
    }
}
