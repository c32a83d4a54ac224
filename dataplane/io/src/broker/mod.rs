//! The broker: the one process that may change the kernel, and how the daemon asks it.
//!
//! ```text
//!   daemon (no capabilities)                       broker (CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF)
//!   Client: Kernel  ── Request, 4096 bytes ──▶     serve(&dyn Kernel)
//!                   ◀── Reply, 512 bytes, maybe a descriptor ──
//! ```
//!
//! It knows nine fixed requests and no other: whoever takes the daemon over can have weir's own programs put on a
//! device or taken off, ask for AF_XDP sockets, TAP devices and neighbours, and that is all; no program of their
//! own, no other setting, no file. Links and sockets live in the broker, and the broker lives as long as the
//! daemon's end of the channel, so that all goes back to how it was found, also after `kill -9`.

mod client;
mod message;
mod process;
mod server;
mod wire;

pub use client::{Client, SpawnError};
pub use message::{ADDRESSES_MAX, Answer, Malformed, PORTS_MAX, REPLY, REQUEST, Reply, Request};
pub use process::run;
pub use server::{Ended, serve};

use std::time::Duration;

/// How long the daemon waits for an answer. Putting a program on a network card may restart it, which takes seconds.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// How long the broker waits for the daemon to take an answer.
pub const TAKE_LIMIT: Duration = Duration::from_secs(5);
