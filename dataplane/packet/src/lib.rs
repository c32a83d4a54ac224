//! Frames and who owns them.
//!
//! A [`Umem`] is one piece of memory cut into equal chunks, shaped as AF_XDP wants it. A [`Pool`] holds the
//! chunks a worker may fill; taking one gives a [`Frame`], an owned handle that is neither `Copy` nor `Clone`, so
//! a frame is in exactly one place. Frames travel in a [`Batch`] and end in a pool of the same umem. [`flow`]
//! says which packets belong together. What the bytes mean beyond that is not known here.
//!
//! ```text
//!  Umem   | chunk 0       | chunk 1       | chunk 2       | …          address of a frame = offset in the umem
//!         /               \
//!        | headroom 256 | data … | tailroom |                         start, len: inside the frame's handle
//! ```

pub mod batch;
pub mod flow;
pub mod frame;
pub mod loan;
pub mod pool;
pub mod prefetch;
pub mod umem;

pub use batch::{BATCH, Batch};
pub use flow::{FlowHash, FlowKey};
pub use frame::{Frame, HEADROOM, TooLong};
pub use loan::{Loans, Unsettled};
pub use pool::Pool;
pub use umem::{ChunkSize, Umem, UmemError};
