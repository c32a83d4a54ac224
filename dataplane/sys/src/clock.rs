//! Clocks: those of Linux in nanoseconds, and the processor's own in ticks.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The clocks that are read (clock_gettime(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Since boot, without time asleep.
    Monotonic,
    /// The same as of the last tick of the kernel, cheaper.
    MonotonicCoarse,
    /// Since boot, time asleep included.
    Boot,
    /// International atomic time.
    Tai,
    /// Time of day, since 1970.
    Real,
    /// Processor time of the calling thread, the kernel's work for it included.
    Thread,
    /// The same of all threads of this process, ended ones included.
    Process,
}

/// Nanoseconds of a clock. 0 if the kernel does not have it.
pub fn now_ns(clock: Clock) -> u64 {
    let id = match clock {
        Clock::Monotonic => libc::CLOCK_MONOTONIC,
        Clock::MonotonicCoarse => libc::CLOCK_MONOTONIC_COARSE,
        Clock::Boot => libc::CLOCK_BOOTTIME,
        Clock::Tai => libc::CLOCK_TAI,
        Clock::Real => libc::CLOCK_REALTIME,
        Clock::Thread => libc::CLOCK_THREAD_CPUTIME_ID,
        Clock::Process => libc::CLOCK_PROCESS_CPUTIME_ID,
    };
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec that lives here; the kernel (or the vDSO) writes only it.
    let answer = unsafe { libc::clock_gettime(id, &mut time) };
    if answer != 0 {
        return 0;
    }
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The processor's time stamp counter: cheap, constant in rate on any processor of this century's
/// second half, and comparable within a core.
#[inline]
pub fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: RDTSC is in every x86-64 processor, and Linux does not forbid it to user space.
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    now_ns(Clock::Monotonic)
}

/// What ticks are worth.
#[derive(Clone, Copy, Debug)]
pub struct TickRate {
    /// Ticks in a nanosecond.
    pub per_ns: f64,
    /// What reading the counter twice in a row shows: to be taken off each measurement.
    pub overhead: f64,
}

/// Measures the tick rate, once, in 10 ms.
pub fn tick_rate() -> TickRate {
    static RATE: OnceLock<TickRate> = OnceLock::new();
    *RATE.get_or_init(|| {
        let (start, first) = (Instant::now(), ticks());
        while start.elapsed() < Duration::from_millis(10) {
            std::hint::spin_loop();
        }
        let per_ns = ticks().wrapping_sub(first) as f64 / start.elapsed().as_nanos() as f64;
        let mut pairs: Vec<u64> = (0..1001).map(|_| ticks().wrapping_sub(ticks()).wrapping_neg()).collect();
        pairs.sort_unstable();
        TickRate { per_ns, overhead: pairs[pairs.len() / 2] as f64 }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_go_forward() {
        for clock in [
            Clock::Monotonic,
            Clock::MonotonicCoarse,
            Clock::Boot,
            Clock::Tai,
            Clock::Real,
            Clock::Thread,
            Clock::Process,
        ] {
            let first = now_ns(clock);
            assert!(first > 0 && now_ns(clock) >= first, "{clock:?}");
        }
    }

    #[test]
    fn ticks_have_a_rate() {
        let rate = tick_rate();
        assert!(rate.per_ns > 0.01 && rate.per_ns < 100.0 && rate.overhead < 10_000.0, "{rate:?}");
    }
}
