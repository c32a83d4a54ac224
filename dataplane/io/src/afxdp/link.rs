//! What a port asks of the kernel besides its rings: to be woken, and what it lost. A trait, so that a test can
//! play the kernel.

use std::fmt;
use std::io;
use std::os::fd::RawFd;

use weir_sys::errno;
use weir_sys::xdp::{Socket, Statistics};

use crate::gauges::State;

/// The other side of a port's rings.
pub trait Link: Send + Sync + fmt::Debug {
    /// Has it send what is in the transmit ring.
    fn wake_tx(&self) -> io::Result<()>;

    /// Has it look at the fill ring; an error tells that the device is down or gone.
    fn wake_rx(&self) -> io::Result<()>;

    /// What it lost so far.
    fn statistics(&self) -> io::Result<Statistics>;

    /// What becomes readable when a packet is there.
    fn readable(&self) -> Option<RawFd>;
}

impl Link for Socket {
    fn wake_tx(&self) -> io::Result<()> {
        Socket::wake_tx(self)
    }

    fn wake_rx(&self) -> io::Result<()> {
        Socket::wake_rx(self)
    }

    fn statistics(&self) -> io::Result<Statistics> {
        Socket::statistics(self)
    }

    fn readable(&self) -> Option<RawFd> {
        Some(self.raw())
    }
}

/// What the answer to a wake-up means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Woken {
    /// It is done.
    Done,
    /// Not all was done; asking again at once goes on with it (`EAGAIN`).
    Again,
    /// Not now, for a reason that passes by itself: the device's queue is full, or memory is short.
    Later,
    /// The device is down, and may come up again.
    Down(&'static str),
    /// The socket is bound to nothing any more, or the kernel answers what we do not know.
    Lost(Lost),
}

impl From<Woken> for State {
    fn from(woken: Woken) -> State {
        match woken {
            Woken::Done | Woken::Again | Woken::Later => State::Up,
            Woken::Down(reason) => State::Down(reason.to_owned()),
            Woken::Lost(lost) => State::Lost(lost.to_string()),
        }
    }
}

/// Why a socket will not work again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// Its device has gone.
    Gone,
    /// An error number that has no name here.
    Errno(i32),
}

impl fmt::Display for Lost {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lost::Gone => out.write_str("the device has gone"),
            Lost::Errno(errno) => write!(out, "{}", io::Error::from_raw_os_error(*errno)),
        }
    }
}

/// Reads an answer (net/xdp/xsk.c: `xsk_sendmsg`, `xsk_recvmsg`, `__xsk_generic_xmit`).
pub(super) fn woken(answer: io::Result<()>) -> Woken {
    let Err(error) = answer else { return Woken::Done };
    match error.raw_os_error().unwrap_or(0) {
        errno::EAGAIN => Woken::Again,
        // A packet was dropped by the device's queue, or no memory for its buffer: others may fare better.
        errno::EBUSY | errno::ENOBUFS | errno::ENOMEM | errno::EINTR => Woken::Later,
        errno::ENETDOWN => Woken::Down("the device is down"),
        // Bound no more (`xsk_is_bound`), or never to a device.
        errno::ENXIO | errno::ENODEV | errno::EBADF => Woken::Lost(Lost::Gone),
        other => Woken::Lost(Lost::Errno(other)),
    }
}
