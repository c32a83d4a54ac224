//! What other threads read of a port while its worker runs it: where frames are, what the rings lost, whether
//! the device is there. Reading takes nothing that the worker waits for.

use std::fmt;

/// What is known of a port from outside. All of it may be a moment old.
pub trait Gauges: Send + Sync + fmt::Debug {
    /// Frames that the port holds, by the place they are in.
    fn held(&self) -> Held;

    /// What the rings and the kernel lost or could not do, since the port was opened. May make a system call.
    fn losses(&self) -> Losses;

    /// How packets come and go, as the kernel confirms it.
    fn way(&self) -> Way;

    /// Whether packets can come and go at all. May make a system call.
    fn state(&self) -> State;
}

/// Frames of the umem that a port holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// In the fill ring: empty, for the kernel to take.
    pub fill: usize,
    /// In the receive ring: packets not looked at yet.
    pub rx: usize,
    /// In the transmit ring: packets the kernel has not taken yet.
    pub tx: usize,
    /// In the completion ring: sent, not brought back yet.
    pub completion: usize,
    /// In none of the rings: between them, in the kernel's or the device's hands.
    pub device: usize,
}

impl Held {
    /// All of them.
    pub fn total(&self) -> usize {
        self.fill + self.rx + self.tx + self.completion + self.device
    }
}

/// What was lost between the wire and the rings (`struct xdp_statistics`, linux/if_xdp.h), and what the port
/// itself could not use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Losses {
    /// Packets dropped for other reasons, such as being longer than a frame (`rx_dropped`).
    pub rx_dropped: u64,
    /// Packets dropped because the receive ring was full (`rx_ring_full`).
    pub rx_ring_full: u64,
    /// Times that the kernel found no frame in the fill ring (`rx_fill_ring_empty_descs`).
    pub fill_empty: u64,
    /// Descriptors in the fill ring that the kernel did not take (`rx_invalid_descs`).
    pub rx_invalid: u64,
    /// Descriptors in the transmit ring that the kernel did not take (`tx_invalid_descs`).
    pub tx_invalid: u64,
    /// Times that the kernel found nothing in the transmit ring (`tx_ring_empty_descs`).
    pub tx_empty: u64,
    /// Packets dropped because they came in several frames (`XDP_PKT_CONTD`), which this port does not join.
    pub scattered: u64,
    /// Descriptors from the kernel that name no frame which it had: ignored.
    pub strange: u64,
    /// Wake-ups that failed for a reason that may pass (`EAGAIN`, `EBUSY`, `ENOBUFS`).
    pub wakeups_put_off: u64,
}

/// How packets come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Way {
    /// The driver's own receive path (native) rather than the generic one; `None` when there is no such choice.
    pub native: Option<bool>,
    /// The device reads and writes frames itself; otherwise the kernel copies. As read back (`XDP_OPTIONS`).
    pub zero_copy: bool,
    /// The kernel says when it must be woken, so that it need not be told each time (`XDP_USE_NEED_WAKEUP`).
    pub need_wakeup: bool,
    /// The worker's calls drive the device (`SO_PREFER_BUSY_POLL`).
    pub busy_poll: bool,
}

impl fmt::Display for Way {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self.native {
            Some(true) => "native, ",
            Some(false) => "generic, ",
            None => "",
        })?;
        out.write_str(if self.zero_copy { "zero-copy" } else { "copy" })?;
        out.write_str(if self.need_wakeup { ", need-wakeup" } else { "" })?;
        out.write_str(if self.busy_poll { ", busy-poll" } else { "" })
    }
}

/// Whether a port works.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum State {
    /// Packets come and go.
    #[default]
    Up,
    /// They do not for now, and this is why; they will by themselves, with the same port, once it passes.
    Down(String),
    /// They never will again: this port is to be closed and another opened in its place.
    Lost(String),
}

impl fmt::Display for State {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Up => out.write_str("up"),
            State::Down(reason) => write!(out, "down: {reason}"),
            State::Lost(reason) => write!(out, "lost: {reason}"),
        }
    }
}
