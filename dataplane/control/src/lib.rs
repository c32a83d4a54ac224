//! The control socket of a running weir: what can be asked (one table of actions), who answers, who may ask.
//!
//! [`action`] is the table: each row says its method, path, role, limits and answer, and the server, the
//! client, the OpenAPI description and the audit log read it. [`reply`] holds what comes back, [`problem`]
//! what comes back instead.
#![forbid(unsafe_code)]
#![allow(clippy::result_large_err, reason = "a problem ends its request; no path with one is fast")]

pub mod action;
pub mod built;
pub mod client;
pub mod daemon;
pub mod devices;
pub mod live;
pub mod metrics;
pub mod notify;
pub mod openapi;
pub mod privileges;
pub mod problem;
pub mod reply;
pub mod server;
mod urgency;

pub use action::{Action, Kind};
pub use client::{Client, ClientError};
pub use problem::{Cause, Problem};

/// Where the socket is when nobody says otherwise.
pub const SOCKET: &str = "/run/weir/weir.sock";
