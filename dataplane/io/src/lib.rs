//! Ports: capture files in and out, memory, and what packets enter and leave by.
//!
//! A [`Port`] receives packets into frames of a pool and sends frames. It knows nothing of programs or verdicts.

pub mod afxdp;
pub mod broker;
pub mod gauges;
pub mod multi;
pub mod null;
pub mod pair;
pub mod pcap;
pub mod port;
pub mod tap;
pub mod traffic;

pub use gauges::Gauges;
pub use port::{Port, Received, Refusal, Refused, Sent, Wait};
