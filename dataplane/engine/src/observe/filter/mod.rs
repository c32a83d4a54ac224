//! Which packets: expressions in tcpdump's words (pcap-filter(7)), for captures and traces.
//!
//! ```text
//!  text ── lex ── tokens ── parse ── Expr ── matches(packet)
//!                             └ lower: what each word means, in loads and comparisons
//! ```
//!
//! An expression means what libpcap compiles it to, for Ethernet frames: a load beyond the end of a packet refuses the
//! packet (libpcap's optimiser leaves some loads out, so that it may take a packet that was cut where weir does not), `and` and `or` bind alike, `vlan` moves what comes after it by a tag, `host` also looks into ARP. A test asks
//! tcpdump the same about the same packets. What is not understood is refused with its place and what was wanted.
//!
//! Of pcap-filter(7) there is not: names of hosts and networks (nothing is looked up), link types other than Ethernet,
//! `gateway`, `protochain`, `mpls`, `pppoes`, `geneve`, `vxlan`, `ifindex`, `inbound` and their like, and
//! `ip broadcast`, which needs the network's mask.
//!
//! Libraries were looked at. libpcap itself is C, and its only bindings want it at build time; the two crates that compile
//! such expressions in Rust are a few months old, and one of them reads `and` before `or`.

mod eval;
mod lex;
mod lower;
mod names;
mod parse;
mod value;

use std::fmt;

use eval::Expr;

/// Most characters of an expression.
const LENGTH_MAX: usize = 4096;

/// An expression that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    expr: Expr,
}

/// Why an expression is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("filter, column {column}: {what}")]
pub struct FilterError {
    /// Where: the first character has number 1.
    pub column: usize,
    /// What was found there and what was wanted.
    pub what: String,
}

impl Filter {
    /// Understands an expression.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        parse::parse(text).map(|expr| Self { expr })
    }

    /// Whether it holds for an Ethernet frame.
    pub fn matches(&self, frame: &[u8]) -> bool {
        self.expr.holds(frame) == Some(true)
    }
}

impl FilterError {
    fn new(column: usize, what: impl fmt::Display) -> Self {
        Self { column, what: what.to_string() }
    }
}

#[cfg(test)]
mod tests;
