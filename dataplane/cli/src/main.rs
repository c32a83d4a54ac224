//! The `weir` binary: one file per command.
#![forbid(unsafe_code)]

fn main() {}
