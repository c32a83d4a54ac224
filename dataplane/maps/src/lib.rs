//! Storage that programs and people share; one file per map kind.
//!
//! Many workers use a map at once. They read without locks; writers lock one bucket for a few instructions.
//! The address of a value never changes as long as its map lives. Errors are the kernel's (Linux 6.18).
//!
//! What is absent on purpose: maps do not know programs (a prog array holds numbers), ports (a device map
//! holds numbers) or clocks (an LRU has no time; timers are told it). Nothing waits for readers: slots are reused at once, as in
//! the kernel's preallocated tables, and inner maps are kept until someone who knows lets go of them.

mod area;
mod array;
mod bloom_filter;
mod control;
mod copy;
mod counters;
mod create;
mod empty;
mod hash;
mod head;
mod keys;
mod lpm_trie;
mod map;
mod map_of_maps;
mod perf_event_array;
mod prog_array;
mod queue;
mod ringbuf;
mod slots;
pub mod spin;
mod storage;
mod target;
#[cfg(test)]
mod tests;
mod timer;
mod value;

pub use array::ArrayLayout;
pub use control::Control;
pub use counters::{Counters, Failure};
pub use create::MapError;
pub use map::Map;
pub use ringbuf::{Query, Ringbuf};
pub use target::Target;
pub use timer::{Due, NEVER, Owner, Running, TimerClock, TimerRef, Timers};
