//! Capture files: read into one piece of memory, played by a port, written by another.
//!
//! ```text
//!   file ── bytes (mapped, or unpacked) ── records (legacy | ng) ── link (to Ethernet) ── Capture ── Shard ── Play
//!   Recorder, NgWriter, PcapWriter ── file
//! ```
//!
//! The formats are draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng. They are read here rather than with
//! pcap-parser, which the tests use as oracle: we want the byte offset of what is wrong, no allocation per packet,
//! and the options in both byte orders.

mod bytes;
pub mod capture;
pub mod error;
pub mod info;
mod legacy;
mod link;
mod ng;
pub mod pace;
pub mod play;
mod record;
pub mod recorder;
pub mod write;

pub use capture::{Capture, Limits, Shard, Slot};
pub use error::{CaptureError, Fault};
pub use info::Info;
pub use pace::Pace;
pub use play::{Play, Script};
pub use record::{RecordRefusal, Tally};
pub use recorder::Recorder;
pub use write::{Direction, NgWriter, Packet, PcapWriter, Verdict};
