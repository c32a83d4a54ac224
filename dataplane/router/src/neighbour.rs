//! Neighbours: which link address an address on a port has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

/// A link address.
pub type Mac = [u8; 6];

/// How well a neighbour is known (`NUD_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NeighbourState {
    /// Asked for, no answer yet.
    Incomplete,
    /// Confirmed lately.
    Reachable,
    /// Not confirmed for a while, and used all the same.
    Stale,
    /// Used while stale; will be asked soon.
    Delay,
    /// Being asked again.
    Probe,
    /// Did not answer.
    Failed,
    /// Set by hand, never asked.
    Permanent,
    /// Needs no resolution.
    NoArp,
}

impl NeighbourState {
    /// Whether the link address may be used (`NUD_VALID`).
    pub const fn is_valid(self) -> bool {
        match self {
            Self::Reachable | Self::Stale | Self::Delay | Self::Probe | Self::Permanent | Self::NoArp => true,
            Self::Incomplete | Self::Failed => false,
        }
    }
}

/// A neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its link address; means something only in a valid state.
    pub mac: Mac,
    /// How well it is known.
    pub state: NeighbourState,
}

/// Whether a neighbour was asked for since somebody looked. The kernel does not see the packets that go to it, so
/// whoever keeps the kernel's neighbours fresh must know. Lookups share it and write it once.
#[derive(Debug, Default)]
struct Used(AtomicBool);

impl Clone for Used {
    fn clone(&self) -> Self {
        Self(AtomicBool::new(self.0.load(Ordering::Relaxed)))
    }
}

impl Used {
    #[inline]
    fn mark(&self) {
        // Read first: a line that nobody writes stays in every core's cache.
        if !self.0.load(Ordering::Relaxed) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// The neighbours of all ports.
///
/// Each pair of port and address that was ever named has a number of its own, so that a next hop
/// finds its gateway's neighbour without hashing.
#[derive(Clone, Debug, Default)]
pub struct Neighbours {
    known: Vec<Option<Neighbour>>,
    used: Vec<Used>,
    numbers: HashMap<(u32, IpAddr), u32, foldhash::fast::RandomState>,
}

impl Neighbours {
    /// The number of a neighbour, whether or not it is known.
    pub(crate) fn number(&mut self, port: u32, address: IpAddr) -> u32 {
        *self.numbers.entry((port, address)).or_insert_with(|| {
            self.known.push(None);
            self.used.push(Used::default());
            self.known.len() as u32 - 1
        })
    }

    /// The link address of a neighbour, if it may be used.
    #[inline]
    pub(crate) fn mac_of(&self, number: u32) -> Option<Mac> {
        let neighbour = self.known.get(number as usize).copied().flatten()?;
        if let Some(used) = self.used.get(number as usize) {
            used.mark();
        }
        neighbour.state.is_valid().then_some(neighbour.mac)
    }

    /// The link address of an address on a port, if it may be used.
    pub fn mac(&self, port: u32, address: IpAddr) -> Option<Mac> {
        self.mac_of(*self.numbers.get(&(port, address))?)
    }

    /// What is known of an address on a port.
    pub fn get(&self, port: u32, address: IpAddr) -> Option<Neighbour> {
        self.known.get(*self.numbers.get(&(port, address))? as usize).copied().flatten()
    }

    /// Sets what is known, and returns what was.
    pub fn set(&mut self, port: u32, address: IpAddr, neighbour: Neighbour) -> Option<Neighbour> {
        let number = self.number(port, address);
        self.known[number as usize].replace(neighbour)
    }

    /// Forgets a neighbour, and returns what was known.
    pub fn forget(&mut self, port: u32, address: IpAddr) -> Option<Neighbour> {
        let number = *self.numbers.get(&(port, address))?;
        self.known[number as usize].take()
    }

    /// Those that were asked for since this was called last.
    pub fn take_used(&self) -> impl Iterator<Item = (u32, IpAddr, Neighbour)> {
        let used = |number: u32| {
            self.used.get(number as usize).is_some_and(|used| used.0.swap(false, Ordering::Relaxed))
        };
        self.numbers.iter().filter_map(move |(&(port, address), &number)| {
            let neighbour = self.known.get(number as usize).copied().flatten()?;
            used(number).then_some((port, address, neighbour))
        })
    }

    /// All that are known, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, IpAddr, Neighbour)> {
        self.numbers
            .iter()
            .filter_map(|(&(port, address), &number)| Some((port, address, self.known[number as usize]?)))
    }
}
