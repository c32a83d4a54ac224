//! Who is at the other end of a Unix socket: what the standard library does not ask.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Most groups that are asked for; the kernel's own limit (NGROUPS_MAX).
const GROUPS_MAX: usize = 65536;

/// The supplementary groups of the process that connected, as they were then (`SO_PEERGROUPS`, Linux 4.13).
pub fn groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups = vec![0u32; 64];
    loop {
        let mut length = size_of_val(groups.as_slice()) as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes, which is the size of `groups`, and sets `length`.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &mut length,
            )
        };
        let count = length as usize / size_of::<u32>();
        if result == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // Too small: the kernel says how many there are.
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() || count > GROUPS_MAX {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn our_own_groups_are_seen_by_the_other_end() {
        let (here, _there) = UnixStream::pair().unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap();
        let mut wanted: Vec<u32> = line.split_whitespace().map(|group| group.parse().unwrap()).collect();
        let mut found = groups(here.as_fd()).unwrap();
        wanted.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, wanted);
    }
}
