//! Clocks, randomness, and where the program runs.

use super::call::Call;
use crate::env::Clock;

pub(super) fn ktime_get_ns(call: &mut Call<'_>) -> u64 {
    call.env().now_ns(Clock::Monotonic)
}

pub(super) fn ktime_get_boot_ns(call: &mut Call<'_>) -> u64 {
    call.env().now_ns(Clock::Boot)
}

pub(super) fn ktime_get_coarse_ns(call: &mut Call<'_>) -> u64 {
    call.env().now_ns(Clock::Coarse)
}

pub(super) fn ktime_get_tai_ns(call: &mut Call<'_>) -> u64 {
    call.env().now_ns(Clock::Tai)
}

/// Ticks of 4 ms (`CONFIG_HZ=250`), counted from the kernel's start value, five minutes before a 32-bit
/// counter would wrap (include/linux/jiffies.h).
pub(super) fn jiffies64(call: &mut Call<'_>) -> u64 {
    const TICK_NS: u64 = 4_000_000;
    const INITIAL: u64 = (-300i32 * 250) as u32 as u64;
    INITIAL + call.env().now_ns(Clock::Coarse) / TICK_NS
}

pub(super) fn get_prandom_u32(call: &mut Call<'_>) -> u32 {
    call.env().random_u32()
}

pub(super) fn get_smp_processor_id(call: &mut Call<'_>) -> u32 {
    call.run().cpu
}

/// One node: weir pins a worker's memory beside its core, and programs have no use for the number.
pub(super) fn get_numa_node_id(_call: &mut Call<'_>) -> u32 {
    0
}
