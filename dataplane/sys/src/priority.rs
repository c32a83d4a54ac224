//! How soon a thread runs that has something to do: its nice value and its time slice (sched_setattr(2); slices since
//! Linux 6.12).

use std::io;
use std::time::Duration;

/// `struct sched_attr` as it was first (include/uapi/linux/sched/types.h).
#[repr(C)]
#[derive(Debug, Default)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// How a thread shares a core with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preference {
    /// From -20, which has the largest share, to 19.
    pub nice: i32,
    /// How long it runs at a time, 0.1 to 100 ms: the shorter, the sooner it runs when it wakes up. Zero is the
    /// kernel's own choice. Kernels without slices take it and change nothing.
    pub slice: Duration,
}

impl Preference {
    /// What a thread has when nobody asks for anything.
    pub const USUAL: Preference = Preference { nice: 0, slice: Duration::ZERO };

    /// Has this thread, and those that it starts from now on, share so. Where the nice value is not allowed, the slice
    /// alone: a lower one takes `CAP_SYS_NICE`, or a limit (`RLIMIT_NICE`) that reaches so far.
    pub fn take(self) -> io::Result<()> {
        self.set().or_else(|refused| match refused.raw_os_error() {
            Some(libc::EPERM) => Preference { nice: 0, ..self }.set(),
            _ => Err(refused),
        })
    }

    fn set(self) -> io::Result<()> {
        let runtime = self.slice.as_nanos().min(u128::from(u64::MAX)) as u64;
        let attributes = Attributes {
            size: size_of::<Attributes>() as u32,
            nice: self.nice,
            runtime,
            ..Attributes::default()
        };
        // SAFETY: the kernel reads `size` bytes of `attributes`, which lives here; thread 0 is the calling one.
        match unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &attributes, 0) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// What this thread has.
    pub fn now() -> io::Result<Preference> {
        let mut attributes = Attributes::default();
        let size = size_of::<Attributes>();
        // SAFETY: the kernel writes at most `size` bytes of `attributes`, which lives here; thread 0 is this one.
        match unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &mut attributes, size, 0) } {
            0 => Ok(Preference { nice: attributes.nice, slice: Duration::from_nanos(attributes.runtime) }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_and_its_children_have_what_it_took() {
        let before = Preference::now().unwrap();
        let wanted = Preference { nice: 3, slice: Duration::from_micros(500) };
        let (own, child, after) = std::thread::spawn(move || {
            wanted.take().unwrap();
            let own = Preference::now().unwrap();
            let child = std::thread::spawn(Preference::now).join().unwrap().unwrap();
            // Back again needs the right to: otherwise only the slice goes back.
            Preference { nice: 3, ..Preference::USUAL }.take().unwrap();
            (own, child, Preference::now().unwrap())
        })
        .join()
        .unwrap();
        // A kernel without slices of one's own tells of its own choice.
        assert!(own.nice == 3 && (own.slice == wanted.slice || own.slice == before.slice), "{own:?}");
        assert_eq!(own, child);
        assert_eq!((after.nice, after.slice), (3, before.slice));
        assert_eq!(Preference::now().unwrap(), before, "nobody else's");
    }
}
