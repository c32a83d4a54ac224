//! AF_XDP: packets straight from a device's queue into frames of the umem, and back.
//!
//! ```text
//!   Kernel::attach    a small program on the device sends packets to the socket of their queue  program, direct
//!   open              a socket with four rings, bound to a queue, on the one umem               open
//!   XdpPort           frames through the rings: a Port                                          port, ring, link
//!   Gauges            what others read of it                                                    shared
//! ```
//!
//! All sockets of a [`Sharing`] have one umem, so that a frame goes from port to port by its address alone.

pub mod direct;
pub mod kernel;
pub mod link;
pub mod open;
pub mod port;
mod program;
pub mod punt;
pub mod ring;
pub mod shared;

pub use direct::{Direct, Facts};
pub use kernel::{Attached, Kernel, KernelError, Mode};
pub use open::{BusyPoll, OpenError, Rings, Sharing, Wanted, open};
pub use port::XdpPort;
pub use punt::{Punt, PuntRule};
pub use weir_sys::xdp::Copying;
