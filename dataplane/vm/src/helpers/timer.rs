//! `bpf_timer_*` (kernel/bpf/helpers.c, 6.18): what timers are is in `weir_maps`, when they run in
//! [`crate::timers`].
//!
//! A deadline by another clock than the monotonic one is turned into one by that when the timer is started: the
//! kernel would follow when someone sets the time of day meanwhile.

use weir_ebpf::abi::Errno;
use weir_maps::{NEVER, Owner, TimerClock};

use super::call::Call;
use crate::env::Clock;

/// `BPF_F_TIMER_ABS`.
const ABSOLUTE: u64 = 1;
/// `BPF_F_TIMER_CPU_PIN`; a callback runs on the worker that started it in any case.
const PINNED: u64 = 2;
/// `KTIME_MAX`.
const TIME_MAX: u64 = i64::MAX as u64;

pub(super) fn init(call: &mut Call<'_>) -> Result<(), Errno> {
    let clock = TimerClock::new(call.u64(2)).ok_or(Errno::EINVAL)?;
    call.map(1).begin_timer(call.pointer(0).addr(), clock)
}

pub(super) fn set_callback(call: &mut Call<'_>) -> Result<(), Errno> {
    let timer = call.timer(0).ok_or(Errno::EINVAL)?;
    let owner: Owner = call.program();
    timer.set_callback(&owner, call.u64(1))
}

pub(super) fn start(call: &mut Call<'_>) -> Result<(), Errno> {
    let (time, flags) = (call.u64(1), call.u64(2));
    if flags & !(ABSOLUTE | PINNED) != 0 {
        return Err(Errno::EINVAL);
    }
    let timer = call.timer(0).ok_or(Errno::EINVAL)?;
    let clock = timer.clock().ok_or(Errno::EINVAL)?;
    let deadline = deadline(call, clock, time, flags & ABSOLUTE != 0);
    let worker = call.run().cpu as usize;
    timer.start(worker, deadline)
}

/// When a timer is due on the monotonic clock. Times are signed, and negative ones never come (`ktime_add_safe`).
fn deadline(call: &mut Call<'_>, clock: TimerClock, time: u64, absolute: bool) -> u64 {
    if time > TIME_MAX {
        return NEVER;
    }
    if absolute && clock == TimerClock::Monotonic {
        return time;
    }
    let now = call.env().now_ns(Clock::Monotonic);
    let ahead = match (absolute, clock) {
        (false, _) => time,
        (true, TimerClock::Monotonic) => time.saturating_sub(now),
        (true, TimerClock::Real) => time.saturating_sub(call.env().now_ns(Clock::Real)),
        (true, TimerClock::Boot) => time.saturating_sub(call.env().now_ns(Clock::Boot)),
    };
    now.saturating_add(ahead)
}

pub(super) fn cancel(call: &mut Call<'_>) -> Result<u64, Errno> {
    let timer = call.timer(0).ok_or(Errno::EINVAL)?;
    let (worker, from) = (call.run().cpu as usize, call.run().timer);
    timer.cancel(worker, from).map(u64::from)
}
