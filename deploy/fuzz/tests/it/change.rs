//! Small changes of an input, the same each time.

/// Bytes that often matter.
const TELLING: [&[u8]; 12] = [b"\"", b"}", b"]", b"\\u0000", b"-", b"9e999", b"\0", b"\xFF", b"\xFF\xFF\xFF\xFF", b"\x7F", b"\n", b"#"];

#[derive(Debug)]
pub(crate) struct Changes<'a> {
    original: &'a [u8],
    other: &'a [u8],
    state: u64,
}

impl<'a> Changes<'a> {
    /// Changes of an input; `other` is what parts are taken from.
    pub(crate) fn of(original: &'a [u8], other: &'a [u8]) -> Self {
        let state = original.iter().fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3));
        Self { original, other, state: state | 1 }
    }

    /// The next one.
    pub(crate) fn next(&mut self) -> Vec<u8> {
        let mut bytes = self.original.to_vec();
        for _ in 0..=self.below(3) {
            self.change(&mut bytes);
        }
        bytes
    }

    /// Marsaglia's xorshift64.
    fn below(&mut self, bound: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from(self.state >> 33).unwrap_or(0) % bound.max(1)
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len() + 1);
        let to = (at + self.below(16)).min(bytes.len());
        match self.below(6) {
            0 => {
                let bit = 1 << self.below(8);
                bytes[at..].iter_mut().take(1).for_each(|byte| *byte ^= bit);
            }
            1 => drop(bytes.drain(at..to)),
            2 => {
                let again = bytes[at..to].to_vec();
                drop(bytes.splice(at..at, again));
            }
            3 => {
                let telling = TELLING[self.below(TELLING.len())];
                drop(bytes.splice(at..to, telling.iter().copied()));
            }
            4 => bytes.truncate(at),
            _ => {
                let from = self.below(self.other.len());
                let part = self.other[from..].iter().take(32).copied();
                drop(bytes.splice(at..to, part));
            }
        }
    }
}
