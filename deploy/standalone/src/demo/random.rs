//! Random numbers whose sequence never changes: the demo's events are recognised as repeats from one release
//! to the next, which no library's default generator promises. SplitMix64 (Steele, Lea, Flood 2014).

/// A generator.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// The generator of a seed and of what it is for.
    pub(super) fn of(seed: u64, purpose: &str, number: i64) -> Self {
        // FNV-1a over the purpose, mixed with seed and number by the generator itself.
        let hash = purpose.bytes().fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        let mut random = Self(seed);
        random.0 = random.bits() ^ hash;
        random.0 = random.bits() ^ number.cast_unsigned();
        random
    }

    /// 64 random bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to, not including, 1.
    pub(super) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// From `low` up to `high`.
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Below `n`; 0 for 0.
    pub(super) fn below(&mut self, n: usize) -> usize {
        ((self.unit() * n as f64) as usize).min(n.saturating_sub(1))
    }

    /// True that often.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// One of them.
    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// One of them, by weight.
    pub(super) fn pick_weighted<'a, T>(&mut self, from: &'a [(T, f64)]) -> &'a T {
        let mut at = self.unit() * from.iter().map(|(_, w)| w).sum::<f64>();
        let found = from.iter().find(|(_, weight)| {
            at -= weight;
            at < 0.0
        });
        &found.unwrap_or(&from[from.len() - 1]).0
    }

    /// Log-normal around `median`; about two thirds lie within a factor of e^`spread`.
    pub(super) fn around(&mut self, median: f64, spread: f64) -> f64 {
        median * (spread * self.normal()).exp()
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}
