//! Capture files: whatever the bytes, every record is accounted for, and what became a frame has a flow.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_io::pcap::{Capture, Info, Limits};
use weir_packet::FlowKey;

fuzz_target!(|bytes: &[u8]| {
    // Not a packet file: a packet.
    let _ = FlowKey::of(bytes);
    let limits = Limits { memory_bytes: 64 << 20, keep_truncated: true, ..Limits::default() };
    match Capture::parse("fuzz", bytes, &limits) {
        Ok(capture) => {
            assert!(capture.tally().balances());
            assert_eq!(Info::of(&capture).all.packets, capture.tally().frames);
        }
        Err(error) => assert!(error.to_string().starts_with("fuzz: byte ")),
    }
});
