//! What a map counts: updates that failed, by reason, and evictions.

use std::sync::atomic::{AtomicU64, Ordering};

use weir_ebpf::abi::Errno;

macro_rules! failures {
    ($( $name:ident, $word:literal, [$($errno:ident),+], $text:literal; )+) => {
        /// Why an update failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Failure { $( #[doc = $text] $name, )+ }

        impl Failure {
            /// Every reason.
            pub const ALL: &[Failure] = &[$( Failure::$name, )+];
            /// The word used as a metric's label.
            pub const fn name(self) -> &'static str { match self { $( Failure::$name => $word, )+ } }
            /// A sentence for people.
            pub const fn text(self) -> &'static str { match self { $( Failure::$name => $text, )+ } }
            /// The reason behind an errno.
            pub const fn of(errno: Errno) -> Failure {
                match errno { $( $( Errno::$errno )|+ => Failure::$name, )+ _ => Failure::Refused }
            }
        }
    };
}

failures! {
    Full, "full", [E2BIG, ENOSPC, EAGAIN], "the map, or the index asked for, is beyond its last entry";
    Exists, "exists", [EEXIST], "the key is there and BPF_NOEXIST was asked for";
    Missing, "missing", [ENOENT], "the key is not there and BPF_EXIST was asked for";
    Memory, "memory", [ENOMEM], "no slot could be had";
    Refused, "refused", [EINVAL], "the operation or its flags are not for this map";
}

/// A map's counters. Successful operations are not counted: that would cost a shared line per packet.
#[derive(Debug, Default)]
pub struct Counters {
    failures: [AtomicU64; Failure::ALL.len()],
}

impl Counters {
    /// Updates that failed for this reason.
    pub fn failures(&self, reason: Failure) -> u64 {
        self.failures[reason as usize].load(Ordering::Relaxed)
    }

    #[cold]
    pub(crate) fn failed(&self, errno: Errno) {
        self.failures[Failure::of(errno) as usize].fetch_add(1, Ordering::Relaxed);
    }
}
