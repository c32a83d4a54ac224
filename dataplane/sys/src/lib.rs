//! The only door to the kernel: memory, affinity, clocks, bpf(2).

pub mod bpf;
pub mod code;
