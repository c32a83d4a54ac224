//! What is wrong with a capture file: where, what was found, what was wanted.

use std::fmt;
use std::io;
use std::path::PathBuf;

use weir_sys::memory::MemoryError;

/// Why a capture could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file could not be read.
    #[error("{}: {source}", .file.display())]
    Read {
        /// Which file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is compressed, and what is inside does not unpack.
    #[error("{}: {packing} data does not unpack: {source}", .file.display())]
    Unpack {
        /// Which file.
        file: PathBuf,
        /// `gzip` or `zstd`.
        packing: &'static str,
        /// What the unpacker said.
        source: io::Error,
    },
    /// The bytes are not what the format says.
    #[error("{}: {fault}", .file.display())]
    Malformed {
        /// Which file.
        file: PathBuf,
        /// What is wrong, and where.
        fault: Fault,
    },
    /// More than may be held.
    #[error(
        "{}: the capture takes more than {limit} bytes of memory, the limit: cut it (editcap -c), or raise the limit",
        .file.display()
    )]
    TooLarge {
        /// The file at which the limit was passed.
        file: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// The memory for the frames could not be had.
    #[error("memory for the frames: {0}")]
    Memory(#[from] MemoryError),
}

/// One thing wrong in the bytes of a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Offset of the byte at which it begins (after unpacking, when the file is compressed).
    pub at: u64,
    /// What stands there.
    pub found: String,
    /// What should.
    pub wanted: String,
}

impl Fault {
    pub(crate) fn new(at: usize, found: impl Into<String>, wanted: impl Into<String>) -> Fault {
        Fault { at: at as u64, found: found.into(), wanted: wanted.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "byte {}: found {}, wanted {}", self.at, self.found, self.wanted)
    }
}
