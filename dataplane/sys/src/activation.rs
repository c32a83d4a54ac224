//! Sockets that a service manager opened before it started us (sd_listen_fds(3)).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The first descriptor that is handed over.
const FIRST: i32 = 3;
/// More than anyone hands over.
const MOST: i32 = 64;

/// Takes the descriptors meant for this process, in order; closed on exec from now on. Empty when there are none,
/// when they are another process's (`LISTEN_PID`), and at every call but the first.
///
/// To be called before anything else opens or starts anything.
pub fn take() -> io::Result<Vec<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<i32>().ok());
    let (ours, count) = (number("LISTEN_PID"), number("LISTEN_FDS").unwrap_or(0));
    if ours != i32::try_from(std::process::id()).ok() || count <= 0 || TAKEN.swap(true, Ordering::AcqRel) {
        return Ok(Vec::new());
    }
    (FIRST..FIRST + count.min(MOST)).map(adopt).collect()
}

fn adopt(fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: fcntl(2) takes numbers; a descriptor that is not open is an error.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open (asked above), the service manager opened it for this process (LISTEN_PID), and `take`
    // gives each out once.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_is_taken_that_is_not_ours() {
        assert!(super::take().unwrap().is_empty());
    }
}
