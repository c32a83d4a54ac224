//! Limits that a process may raise for itself. Locked memory: a umem is pinned, and counts against `RLIMIT_MEMLOCK` unless `CAP_IPC_LOCK` makes it moot.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use caps::{CapSet, Capability};

/// How much memory this process may lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locked {
    /// As much as it likes.
    Unlimited,
    /// So many bytes.
    Limited(u64),
}

/// Raises the limit as far as it goes, and says how far that is. A refusal does not matter to a process with
/// `CAP_IPC_LOCK`, and matters to another only if the umem does not fit: so neither is an error.
pub fn raise_locked_memory() -> Locked {
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_IPC_LOCK).unwrap_or(false) {
        return Locked::Unlimited;
    }
    let Ok(now) = locked_memory() else { return Locked::Limited(0) };
    for wanted in [libc::RLIM_INFINITY, now.rlim_max] {
        let hard = wanted.max(now.rlim_max);
        let limit = libc::rlimit { rlim_cur: wanted, rlim_max: hard };
        // SAFETY: the kernel reads `limit`, which lives here.
        if unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) } == 0 {
            break;
        }
    }
    match locked_memory() {
        Ok(limit) if limit.rlim_cur == libc::RLIM_INFINITY => Locked::Unlimited,
        Ok(limit) => Locked::Limited(limit.rlim_cur),
        Err(_) => Locked::Limited(now.rlim_cur),
    }
}

/// Raises the number of descriptors that may be open to what this process may ask for, and says how many that is;
/// `None` when the kernel does not say.
pub fn raise_descriptors() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes `limit`, which lives here.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return None;
    }
    let wanted = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
    // SAFETY: the kernel reads `wanted`, which lives here.
    let raised = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &wanted) } == 0;
    Some(if raised { wanted.rlim_cur } else { limit.rlim_cur })
}

/// Has the allocator keep up to so many bytes that are free, and ask for more in large pieces: what is given back to the
/// kernel and taken again is cleared page by page each time, which took a third of the time of who answers a crowd.
pub fn keep_heap(bytes: i32) {
    #[cfg(target_env = "gnu")]
    for (what, value) in [
        (libc::M_TRIM_THRESHOLD, bytes),
        (libc::M_TOP_PAD, bytes / 8),
        // Beyond 32 MiB glibc refuses (HEAP_MAX_SIZE / 2, malloc/malloc.c).
        (libc::M_MMAP_THRESHOLD, bytes.min(32 << 20)),
    ] {
        // SAFETY: the call takes no pointer; the allocator locks itself.
        unsafe { libc::mallopt(what, value) };
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = bytes;
}

/// Makes the table of descriptors large enough for numbers below this, once and now.
///
/// The kernel doubles the table when it is full, and has whoever opens the next one wait until no other thread of the
/// process can be looking at the old one (`expand_fdtable`, fs/file.c): 10 to 30 ms in which nothing is answered. A
/// process of one thread waits for nobody.
pub fn reserve_descriptors(count: u32) -> io::Result<()> {
    let event = crate::wait::Event::new()?;
    let last = libc::c_int::try_from(count.saturating_sub(1)).unwrap_or(libc::c_int::MAX);
    // SAFETY: the call takes no pointer; its answer is checked on the next lines.
    let high = unsafe { libc::fcntl(event.raw(), libc::F_DUPFD_CLOEXEC, last) };
    if high < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel made `high` for this call and nobody else has seen it.
    drop(unsafe { OwnedFd::from_raw_fd(high) });
    Ok(())
}

fn locked_memory() -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes `limit`, which lives here.
    match unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) } {
        0 => Ok(limit),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_for_more_never_fails() {
        match raise_locked_memory() {
            Locked::Unlimited => {}
            Locked::Limited(bytes) => assert!(bytes > 0),
        }
        assert_eq!(raise_locked_memory(), raise_locked_memory());
    }
}
