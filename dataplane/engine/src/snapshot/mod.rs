//! Maps that outlive the process: written to disk now and then, read back at the next start.
//!
//! Two files take turns, so that there is a whole one whatever happens while the other is written; a new
//! one is written beside, synced, renamed into its place, and the folder synced. Each says how long it is
//! and carries checksums of all its bytes ([`format`]); one that is not whole is refused with its name, the
//! byte and the reason, and the one before is used.
//!
//! What a snapshot holds: of every entry one value that it had between the beginning and the end of the
//! reading, as [`MapView::page`](crate::mapview::MapView::page) promises; different entries may be of
//! different moments, because no worker waits. The entries' types are written beside them, so a program
//! whose types grew meanwhile gets its entries migrated by names ([`crate::migrate`]).
//!
//! Not kept: what belongs to a generation (data sections, prog arrays, maps listed as scratch), what names
//! things of this run (device, CPU and socket maps), and what cannot be read without taking it out (queues,
//! stacks, bloom filters, ring buffers). Of an LRU map the entries are kept and not who was used last.

pub mod export;
mod format;
mod keeper;
mod restore;
mod store;

use weir_ebpf::abi::MapKind;

pub use format::{SavedMap, Snapshot, Torn};
pub use keeper::{Keeper, Kept, Outcome};
pub use restore::{Restored, restore};
pub use store::{Disk, Files, Newest, Store, StoreError, Written};

use crate::mapview::MapView;
use crate::migrate::Layout;

/// A map to keep, and whose it is: the first program of the configuration that uses it.
#[derive(Clone, Debug)]
pub struct Source {
    /// The program's name in the configuration.
    pub program: String,
    /// The map.
    pub view: MapView,
}

impl Source {
    /// Whether maps like this one are written to disk.
    pub fn is_kept(&self) -> bool {
        let layout = Layout::of(self.view.map().spec(), self.view.types());
        let walked = match self.view.map().spec().kind {
            MapKind::Hash
            | MapKind::Array
            | MapKind::PercpuHash
            | MapKind::PercpuArray
            | MapKind::LruHash
            | MapKind::LruPercpuHash
            | MapKind::LpmTrie => true,
            MapKind::ProgArray
            | MapKind::PerfEventArray
            | MapKind::StackTrace
            | MapKind::CgroupArray
            | MapKind::Sockmap
            | MapKind::Sockhash
            | MapKind::CgroupStorage
            | MapKind::ReuseportSockarray
            | MapKind::PercpuCgroupStorage
            | MapKind::SkStorage
            | MapKind::ArrayOfMaps
            | MapKind::HashOfMaps
            | MapKind::Devmap
            | MapKind::Cpumap
            | MapKind::Xskmap
            | MapKind::Queue
            | MapKind::Stack
            | MapKind::DevmapHash
            | MapKind::Ringbuf
            | MapKind::BloomFilter => false,
        };
        walked && !layout.own
    }
}

#[cfg(test)]
mod tests;
