//! The only door to the kernel: memory, affinity, clocks, bpf(2).

pub mod affinity;
pub mod bpf;
pub mod clock;
pub mod code;
pub mod mapping;
pub mod memory;
pub mod netlink;
pub mod probe;
