//! Capabilities (capabilities(7)): dropped from every set of the calling thread.

use std::io;

use caps::{CapSet, Capability, CapsHashSet};

use super::State;

/// What a thread keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// None.
    Nothing,
    /// `CAP_IPC_LOCK`: to register frames beyond `RLIMIT_MEMLOCK` again, after every port was lost at once.
    LockedMemory,
    /// What ports and neighbours need: `CAP_NET_ADMIN`, `CAP_NET_RAW`, `CAP_BPF`.
    Network,
}

impl Keep {
    fn set(self) -> CapsHashSet {
        let kept: &[Capability] = match self {
            Keep::Nothing => &[],
            Keep::LockedMemory => &[Capability::CAP_IPC_LOCK],
            Keep::Network => &[Capability::CAP_NET_ADMIN, Capability::CAP_NET_RAW, Capability::CAP_BPF],
        };
        kept.iter().copied().collect()
    }
}

/// The calling thread's capabilities in force, as bits; `None` when the kernel does not tell.
pub fn effective() -> Option<u64> {
    let set = caps::read(None, CapSet::Effective).ok()?;
    Some(set.iter().fold(0, |bits, capability| bits | capability.bitmask()))
}

/// Whether the calling thread has what a broker needs to open devices.
pub fn may_network() -> bool {
    let needed = [Capability::CAP_NET_ADMIN, Capability::CAP_NET_RAW];
    needed.into_iter().all(|capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false))
}

/// Drops all but `keep` from the calling thread: bounding set first (that itself takes a capability), then the
/// others. What the thread does not have it cannot keep.
pub(super) fn drop_all_but(keep: Keep) -> State {
    let wanted = keep.set();
    let bounding = drop_bounding(&wanted);
    match drop_own(&wanted) {
        Err(error) => State::Off(error.to_string()),
        Ok(()) => match bounding {
            Ok(()) => State::On(format!("{} kept", wanted.len())),
            // Without privileges nothing can be gained through it either, once no file gives any.
            Err(error) => State::Partly(format!("the bounding set stays: {error}")),
        },
    }
}

fn drop_own(wanted: &CapsHashSet) -> Result<(), caps::errors::CapsError> {
    let permitted = caps::read(None, CapSet::Permitted)?;
    let kept: CapsHashSet = wanted.intersection(&permitted).copied().collect();
    // Kernels before 4.3 know no ambient set.
    let _ = caps::clear(None, CapSet::Ambient);
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)
}

fn drop_bounding(wanted: &CapsHashSet) -> Result<(), caps::errors::CapsError> {
    // A process that has become another user has it permitted still, but no longer in force.
    let _ = caps::raise(None, CapSet::Effective, Capability::CAP_SETPCAP);
    // Those this kernel does not know are in no set.
    for capability in caps::read(None, CapSet::Bounding)?.difference(wanted) {
        caps::drop(None, CapSet::Bounding, *capability)?;
    }
    Ok(())
}

/// From now on executing a file gives no privilege.
pub(super) fn no_new_privileges() -> State {
    // SAFETY: prctl(2) with PR_SET_NO_NEW_PRIVS takes numbers, and touches no memory of ours.
    match unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } {
        0 => State::On(String::new()),
        _ => State::Off(io::Error::last_os_error().to_string()),
    }
}
