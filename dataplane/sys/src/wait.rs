//! Sleeping until a descriptor is readable, and a descriptor with which another thread ends the sleep.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// The most descriptors one sleep watches.
pub const WATCHED_MAX: usize = u64::BITS as usize;

/// An event counter (eventfd(2)): readable from [`Event::notify`] until [`Event::clear`].
#[derive(Debug)]
pub struct Event {
    fd: OwnedFd,
}

impl Event {
    /// An event that has not happened.
    pub fn new() -> io::Result<Event> {
        // SAFETY: the call takes no pointer; its answer is checked on the next line.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel opened `fd` for this call and nobody else has seen it.
        Ok(Event { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Makes it readable. May be called by anyone, any number of times.
    pub fn notify(&self) {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: the kernel reads the 8 bytes of `one`. It can only refuse when the counter is full: readable.
        unsafe { libc::write(self.fd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Makes it unreadable, and says whether it was readable.
    pub fn clear(&self) -> bool {
        let mut count = [0_u8; 8];
        // SAFETY: the kernel writes at most the 8 bytes of `count`.
        unsafe { libc::read(self.fd.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) == 8 }
    }

    /// The descriptor, to wait for.
    pub fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Several descriptors as one (epoll(7)): readable while one of them is.
#[derive(Debug)]
pub struct Group {
    fd: OwnedFd,
}

impl Group {
    /// A group of these. One that is closed leaves the group by itself.
    pub fn of(members: impl IntoIterator<Item = RawFd>) -> io::Result<Group> {
        // SAFETY: the call takes no pointer; its answer is checked on the next line.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel opened `fd` for this call and nobody else has seen it.
        let group = Group { fd: unsafe { OwnedFd::from_raw_fd(fd) } };
        for member in members {
            let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
            // SAFETY: the kernel reads `event`, which lives here; a number that is no descriptor is refused.
            let added =
                unsafe { libc::epoll_ctl(group.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, member, &mut event) };
            if added != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(group)
    }

    /// The descriptor, to wait for.
    pub fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Sleeps until one of these descriptors is readable (or broken), at most `limit`; says which are, as a bit for each
/// place in the list. An interrupted sleep ends early. Descriptors beyond [`WATCHED_MAX`] are not watched. Allocates
/// nothing.
pub fn readable(fds: &[RawFd], limit: Duration) -> io::Result<u64> {
    let mut watched = [libc::pollfd { fd: -1, events: libc::POLLIN, revents: 0 }; WATCHED_MAX];
    let count = fds.len().min(WATCHED_MAX);
    for (slot, fd) in watched.iter_mut().zip(fds) {
        slot.fd = *fd;
    }
    let limit = libc::timespec {
        tv_sec: limit.as_secs().min(i64::MAX as u64) as libc::time_t,
        tv_nsec: libc::c_long::from(limit.subsec_nanos() as i32),
    };
    // SAFETY: `watched` has at least `count` entries, and the kernel keeps the signal mask as it is for null.
    let ready = unsafe { libc::ppoll(watched.as_mut_ptr(), count as _, &limit, std::ptr::null()) };
    match ready {
        0.. => {
            let is_ready = watched.iter().take(count).enumerate().filter(|(_, slot)| slot.revents != 0);
            Ok(is_ready.fold(0, |bits, (at, _)| bits | 1 << at))
        }
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            error => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_group_is_readable_while_a_member_is() {
        let events = [Event::new().unwrap(), Event::new().unwrap()];
        let group = Group::of(events.iter().map(Event::raw)).unwrap();
        let ready = || readable(&[group.raw()], Duration::ZERO).unwrap() != 0;
        assert!(!ready());
        events[1].notify();
        assert!(ready() && events[1].clear() && !ready());
        assert!(Group::of([-1]).is_err());
    }

    #[test]
    fn a_sleep_ends_when_somebody_notifies() {
        let event = Event::new().unwrap();
        assert_eq!(readable(&[event.raw()], Duration::from_millis(1)).unwrap(), 0);
        let start = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(5));
                event.notify();
            });
            assert_eq!(readable(&[-1, event.raw()], Duration::from_secs(20)).unwrap(), 0b10);
        });
        assert!(start.elapsed() < Duration::from_secs(10));
        assert!(event.clear() && !event.clear());
    }
}
