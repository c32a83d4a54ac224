//! When the next frame is due. Time is an argument here: nanoseconds since the playing began.

/// How fast a capture is played.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Pace {
    /// As fast as frames are asked for.
    #[default]
    Top,
    /// By the capture's own times, `speed` times as fast.
    Stamps {
        /// 1.0 is as captured.
        speed: f64,
    },
    /// So many packets a second, evenly.
    Packets {
        /// Packets a second.
        per_second: f64,
    },
    /// So many bits a second, frames counted with the 20 bytes that Ethernet adds around each (preamble and gap)
    /// and 4 of check sequence.
    Bits {
        /// Bits a second.
        per_second: f64,
    },
}

/// Bytes a frame takes on the wire beside those captured: preamble 8, check sequence 4, gap 12 (IEEE 802.3).
pub const WIRE_OVERHEAD: u64 = 24;

impl Pace {
    /// This pace's part for a shard that has `share` (0 to 1) of the packets.
    pub fn part(self, share: f64) -> Pace {
        match self {
            Pace::Top | Pace::Stamps { .. } => self,
            Pace::Packets { per_second } => Pace::Packets { per_second: per_second * share },
            Pace::Bits { per_second } => Pace::Bits { per_second: per_second * share },
        }
    }

    /// When a frame is due, in nanoseconds since the beginning: the one after `frames` frames of `bits` bits in
    /// all, with a time of its own of `stamp_ns` since the first.
    pub(crate) fn due_ns(self, frames: u64, bits: u64, stamp_ns: u64) -> u64 {
        match self {
            Pace::Top => 0,
            // Conversion to u64 saturates: a speed of nothing is never due.
            Pace::Stamps { speed } => (stamp_ns as f64 / speed) as u64,
            Pace::Packets { per_second } => (frames as f64 / per_second * 1e9) as u64,
            Pace::Bits { per_second } => (bits as f64 / per_second * 1e9) as u64,
        }
    }
}
