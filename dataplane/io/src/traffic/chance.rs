//! Chance that repeats: a generator whose stream depends on the seed alone.

/// xoshiro256++ (Blackman and Vigna), seeded by splitmix64.
#[derive(Debug, Clone)]
pub(crate) struct Chance([u64; 4]);

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        let mut state = seed;
        Chance(std::array::from_fn(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }))
    }

    pub(crate) fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let out = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        out
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// From 0 to just below 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True in this share of cases.
    pub(crate) fn happens(&mut self, share: f64) -> bool {
        self.unit() < share
    }

    /// A gap of an event that comes by chance, `mean` on average.
    pub(crate) fn gap(&mut self, mean: f64) -> f64 {
        -(1.0 - self.unit()).ln() * mean
    }

    /// One of the weights' places.
    pub(crate) fn pick(&mut self, weights: &[f64]) -> usize {
        let mut left = self.unit() * weights.iter().sum::<f64>();
        let last = weights.len() - 1;
        weights[..last]
            .iter()
            .position(|weight| {
                left -= weight;
                left < 0.0
            })
            .unwrap_or(last)
    }
}

/// Zipf's law over `n` places: place k has a weight of 1/(k+1)^s.
#[derive(Debug)]
pub(crate) struct Zipf(Vec<u64>);

impl Zipf {
    pub(crate) fn new(n: u32, exponent: f64) -> Zipf {
        let mut sum = 0;
        // Rounded to whole numbers, so that the last bits of a platform's pow do not matter.
        let weight = |rank: u32| (1e12 / f64::from(rank).powf(exponent)).round().max(1.0) as u64;
        Zipf(
            (1..=n)
                .map(|rank| {
                    sum += weight(rank);
                    sum
                })
                .collect(),
        )
    }

    pub(crate) fn draw(&self, chance: &mut Chance) -> usize {
        let at = chance.below(self.0.last().copied().unwrap_or(1));
        self.0.partition_point(|end| *end <= at)
    }
}
