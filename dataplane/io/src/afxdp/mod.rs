//! AF_XDP: packets straight from a device's queue into frames of the umem, and back.

pub mod kernel;
pub mod punt;

pub use kernel::{Attached, Kernel, KernelError, Mode};
pub use punt::{Punt, PuntRule};
