//! The only door to the kernel: memory, affinity, clocks, bpf(2).

pub mod activation;
pub mod affinity;
pub mod bpf;
pub mod channel;
pub mod clock;
pub mod code;
pub mod device;
pub mod errno;
pub mod limits;
pub mod mapping;
pub mod memory;
pub mod namespace;
pub mod netlink;
pub mod offload;
pub mod packet_socket;
pub mod peer;
pub mod priority;
pub mod probe;
pub mod sandbox;
pub mod signal;
pub mod survey;
pub mod tap;
pub mod wait;
pub mod xdp;
