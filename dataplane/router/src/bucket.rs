//! A token bucket: so many a second, and as many at once after a rest. It has no clock.

/// How many tokens there are a second, and how many wait at most.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    per_second: u32,
    burst: u32,
    /// In billionths of a token.
    level: u64,
    filled_ns: u64,
}

const TOKEN: u64 = 1_000_000_000;

impl Bucket {
    /// A full one.
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst, level: burst as u64 * TOKEN, filled_ns: 0 }
    }

    /// Takes a token, if there is one at this time; times do not go back.
    pub fn take(&mut self, now_ns: u64) -> bool {
        let passed = now_ns.saturating_sub(self.filled_ns);
        self.filled_ns = self.filled_ns.max(now_ns);
        // A nanosecond brings `per_second` billionths.
        let more = passed.saturating_mul(u64::from(self.per_second));
        self.level = self.level.saturating_add(more).min(u64::from(self.burst) * TOKEN);
        let Some(rest) = self.level.checked_sub(TOKEN) else { return false };
        self.level = rest;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::Bucket;

    #[test]
    fn it_gives_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::new(100, 10);
        let second = 1_000_000_000;
        let taken = |bucket: &mut Bucket, from: u64, to: u64| {
            (from..to).step_by(100_000).filter(|at| bucket.take(*at)).count()
        };
        assert_eq!(taken(&mut bucket, second, second + 1), 1);
        assert_eq!((0..20).filter(|_| bucket.take(second + 1)).count(), 9);
        assert!((99..=101).contains(&taken(&mut bucket, second, 2 * second)));
        assert!(!Bucket::new(0, 0).take(u64::MAX));
    }
}
