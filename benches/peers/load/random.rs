//! A small generator of random numbers: the same seed gives the same load on every machine.

/// xorshift64*, seeded through SplitMix64 so that neighbouring seeds have nothing in common.
#[derive(Clone, Copy)]
pub(crate) struct Random(u64);

impl Random {
    /// A stream of its own for each pair.
    pub(crate) fn new(seed: u64, stream: u64) -> Random {
        let mut mixed = seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Random((mixed ^ (mixed >> 31)) | 1)
    }

    /// 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Uniform in [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in [0, `end`); `end` is not 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(end)) >> 64) as u64
    }

    /// About normal with mean 0 and deviation 1: four uniform numbers of 16 bits, added.
    pub(crate) fn normal(&mut self) -> f64 {
        let bits = self.bits();
        let sum = (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
        // A sum of four has mean 2 and variance 4/12.
        (sum as f64 / 65536.0 - 2.0) * 1.732_050_8
    }

    /// Whether a gauge stays as it was: two scrapes in five.
    pub(crate) fn holds(&mut self) -> bool {
        self.below(5) < 2
    }

    /// Log-uniform in [`low`, `high`).
    pub(crate) fn log_uniform(&mut self, low: f64, high: f64) -> f64 {
        low * (high / low).powf(self.unit())
    }

    /// How many events of the expected number `mean` happen: Poisson below 20, rounded normal with `spread` times the mean
    /// as deviation added above.
    pub(crate) fn events(&mut self, mean: f64, spread: f64) -> u64 {
        if mean < 20.0 {
            let (limit, mut product, mut events) = ((-mean).exp(), self.unit(), 0);
            while product > limit {
                product *= self.unit();
                events += 1;
            }
            return events;
        }
        let deviation = (mean + (spread * mean) * (spread * mean)).sqrt();
        (mean + deviation * self.normal()).round().max(0.0) as u64
    }
}
