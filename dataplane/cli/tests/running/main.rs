//! `weir run` as people have it: a process that plays made-up traffic, asked by the command line, by the socket, by
//! signals. It needs no privilege, for its ports are captures and wires in memory.
//!
//! What each verb answers stands in `verbs/*.trycmd`; `live.rs` beside this tests forms that only a scripted daemon
//! can be made to give.

mod abuse;
mod daemon;
mod ending;
mod fuzz;
mod page;
mod streams;
mod table;
mod verbs;
