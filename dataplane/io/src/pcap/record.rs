//! One record of a capture, whichever format it stood in, and the tally of what became of them.

use crate::pcap::error::Fault;

/// One captured packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    /// When, in nanoseconds since 1970.
    pub stamp_ns: u64,
    /// Bytes the packet had on the wire; at least as many as were captured.
    pub wire_len: u32,
    /// What the bytes begin with (LINKTYPE_ value).
    pub link: u16,
    /// Where the record begins in the file.
    pub at: usize,
    /// What was captured.
    pub bytes: &'a [u8],
}

/// The records of a file, one after the other; after a fault there are no more.
pub(crate) trait Records<'a> {
    /// The next record, `None` at the end.
    fn next(&mut self) -> Result<Option<Record<'a>>, Fault>;
}

/// Why a record did not become a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum RecordRefusal {
    /// It has no byte.
    Empty,
    /// It is shorter than an Ethernet header.
    Runt,
    /// Fewer bytes were captured than the packet had (snap length).
    Truncated,
    /// It is longer than a frame may be.
    Oversized,
    /// Its link layer is not Ethernet and what it carries has no EtherType.
    NoEthernet,
}

impl RecordRefusal {
    /// Every refusal there is, in the order of their numbers.
    pub const ALL: [RecordRefusal; 5] = [
        RecordRefusal::Empty,
        RecordRefusal::Runt,
        RecordRefusal::Truncated,
        RecordRefusal::Oversized,
        RecordRefusal::NoEthernet,
    ];

    /// The name counters and tables use.
    pub const fn name(self) -> &'static str {
        match self {
            RecordRefusal::Empty => "record-empty",
            RecordRefusal::Runt => "record-runt",
            RecordRefusal::Truncated => "record-truncated",
            RecordRefusal::Oversized => "record-oversized",
            RecordRefusal::NoEthernet => "record-no-ethernet",
        }
    }
}

/// What became of the records: `records = frames + refused.total()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Records in the files.
    pub records: u64,
    /// Those that became frames.
    pub frames: u64,
    /// Frames that hold less than the packet had on the wire, kept because that was asked for.
    pub frames_cut: u64,
    /// Frames that were given an Ethernet header in place of another link header.
    pub frames_relinked: u64,
    refused: [u64; RecordRefusal::ALL.len()],
}

impl Tally {
    pub(crate) fn refuse(&mut self, reason: RecordRefusal) {
        self.refused[reason as usize] += 1;
    }

    /// Records refused for this reason.
    pub fn refused(&self, reason: RecordRefusal) -> u64 {
        self.refused[reason as usize]
    }

    /// The reasons that occurred, with their counts.
    pub fn each_refused(&self) -> impl Iterator<Item = (RecordRefusal, u64)> + '_ {
        RecordRefusal::ALL.into_iter().map(|reason| (reason, self.refused(reason))).filter(|(_, n)| *n > 0)
    }

    /// Whether nothing is unaccounted for.
    pub fn balances(&self) -> bool {
        self.records == self.frames + self.refused.iter().sum::<u64>()
    }
}
