//! Machine code in memory: written, then sealed, then run, and each is a different type.
//!
//! The bytes go into a memory file with `write(2)`, so no writable mapping of them ever exists. The
//! seals then make sure that none can be made later, by us or by anyone who is given the file; only
//! after that are the pages mapped, readable and executable, at an address reserved beforehand (so
//! that the code could be assembled for it). It works under `PR_SET_MDWE`, where no mapping may
//! become executable after it was made.

use std::ffi::c_void;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};

use thiserror::Error;

/// `int3`: what stands between and behind functions, so that a stray jump stops at once.
pub const PADDING: u8 = 0xcc;

/// `MFD_EXEC` (Linux 6.3), which libc does not name everywhere.
const MFD_EXEC: libc::c_uint = 0x0010;
/// How far apart the tries for a place near a target are, and how many there are: up to 1 GiB away.
const STEP: usize = 16 << 20;
const TRIES: usize = 64;

/// Which step on the way to running code failed.
#[derive(Debug, Error)]
#[error("{step} of {bytes} bytes for machine code: {source}")]
pub struct CodeError {
    step: &'static str,
    bytes: usize,
    #[source]
    source: io::Error,
}

impl CodeError {
    fn last(step: &'static str, bytes: usize) -> Self {
        Self { step, bytes, source: io::Error::last_os_error() }
    }
}

/// Addresses set aside for code, not accessible yet. Given back when dropped.
#[derive(Debug)]
pub struct Reserved {
    start: NonNull<c_void>,
    bytes: usize,
}

// SAFETY: the range belongs to this value alone, and nothing can be reached through it.
unsafe impl Send for Reserved {}

impl Reserved {
    /// Sets aside at least `bytes`, within 2 GiB of `target` if there is room, so that calls there can be
    /// relative; the caller must ask [`Reserved::address`] whether it was.
    pub fn near(target: usize, bytes: usize) -> Result<Self, CodeError> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let bytes = whole_pages(bytes.max(1));
        for attempt in 1..=TRIES {
            // Start below where the last one was put; the first, below the target.
            let below = match NEXT.load(Ordering::Relaxed) {
                last if last != 0 && last.abs_diff(target) < STEP * TRIES => last,
                _ => target,
            };
            let skip = if attempt == 1 { bytes } else { bytes + STEP * (attempt - 1) };
            let Some(hint) = below.checked_sub(skip).map(|at| at & !(page_size() - 1)) else { break };
            if let Ok(reserved) = Self::map(hint, bytes, libc::MAP_FIXED_NOREPLACE) {
                NEXT.store(hint, Ordering::Relaxed);
                return Ok(reserved);
            }
        }
        Self::map(0, bytes, 0)
    }

    fn map(hint: usize, bytes: usize, extra: libc::c_int) -> Result<Self, CodeError> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | extra;
        // SAFETY: without MAP_FIXED the kernel only hands out addresses that nothing uses.
        let at = unsafe { libc::mmap(hint as *mut c_void, bytes, libc::PROT_NONE, flags, -1, 0) };
        match NonNull::new(at) {
            Some(start) if at != libc::MAP_FAILED => Ok(Self { start, bytes }),
            _ => Err(CodeError::last("reserving addresses", bytes)),
        }
    }

    /// Where the code will run.
    pub fn address(&self) -> usize {
        self.start.as_ptr() as usize
    }

    /// Bytes set aside: what was asked for, rounded up to whole pages.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        // SAFETY: `start` and `bytes` are of a mapping that `map` made and that nobody else unmaps.
        unsafe { libc::munmap(self.start.as_ptr(), self.bytes) };
    }
}

/// Code in a memory file that could still be changed.
#[derive(Debug)]
pub struct Written {
    file: File,
    bytes: usize,
}

impl Written {
    /// Writes the code into a new memory file, and [`PADDING`] up to a whole page behind it.
    pub fn new(code: &[u8]) -> Result<Self, CodeError> {
        let bytes = whole_pages(code.len().max(1));
        let mut file =
            memory_file().map_err(|source| CodeError { step: "making a memory file", bytes, source })?;
        let padding = vec![PADDING; bytes - code.len()];
        file.write_all(code).and_then(|()| file.write_all(&padding)).map_err(|source| CodeError {
            step: "writing",
            bytes,
            source,
        })?;
        Ok(Self { file, bytes })
    }

    /// Forbids every later change, for good.
    pub fn seal(self) -> Result<Sealed, CodeError> {
        let seals = libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
        // SAFETY: fcntl reads only its arguments; the descriptor is open, `file` owns it.
        if unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_ADD_SEALS, seals) } != 0 {
            return Err(CodeError::last("sealing", self.bytes));
        }
        Ok(Sealed { file: self.file, bytes: self.bytes })
    }
}

/// Code that nobody can change any more.
#[derive(Debug)]
pub struct Sealed {
    file: File,
    bytes: usize,
}

impl Sealed {
    /// Maps the code, readable and executable, at the reserved addresses.
    ///
    /// # Panics
    /// When fewer bytes were reserved than the code has.
    pub fn map(self, reserved: Reserved) -> Result<Executable, CodeError> {
        assert!(self.bytes <= reserved.bytes, "{} bytes of code for {} reserved", self.bytes, reserved.bytes);
        let protection = libc::PROT_READ | libc::PROT_EXEC;
        // SAFETY: MAP_FIXED replaces only [start, start + bytes), which is inside `reserved`, which we own
        // (the assertion above) and through which nothing can have been reached.
        let at = unsafe {
            let flags = libc::MAP_SHARED | libc::MAP_FIXED;
            libc::mmap(reserved.start.as_ptr(), self.bytes, protection, flags, self.file.as_raw_fd(), 0)
        };
        if at == libc::MAP_FAILED {
            return Err(CodeError::last("mapping", self.bytes));
        }
        Ok(Executable { place: reserved, bytes: self.bytes })
    }

    /// The memory file itself, to look at.
    pub fn file(&self) -> &File {
        &self.file
    }
}

/// Code that can run. Unmapped when dropped: whoever jumps into it must keep it alive.
#[derive(Debug)]
pub struct Executable {
    place: Reserved,
    bytes: usize,
}

// SAFETY: the pages are read-only for everyone and stay mapped as long as the value lives.
unsafe impl Sync for Executable {}

impl Executable {
    /// Where it starts.
    pub fn address(&self) -> usize {
        self.place.address()
    }

    /// The code and the padding behind it, as it lies in memory.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: [address, address + bytes) was mapped readable in `Sealed::map`, lives as long as `self`,
        // and the seals forbid any change.
        unsafe { std::slice::from_raw_parts(self.place.start.as_ptr().cast::<u8>(), self.bytes) }
    }

    /// The address at this offset, to make a function pointer of.
    ///
    /// # Panics
    /// When the offset is behind the code.
    pub fn at(&self, offset: usize) -> *const u8 {
        ptr::from_ref(&self.bytes()[offset])
    }
}

/// A memory file that may be sealed and, where the kernel asks for it to be said (6.3), executed.
fn memory_file() -> io::Result<File> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    let name = c"weir-code";
    for flags in [flags | MFD_EXEC, flags] {
        // SAFETY: `name` is a C string; memfd_create reads nothing else.
        let fd = unsafe { libc::memfd_create(name.as_ptr(), flags) };
        if fd >= 0 {
            // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
            return Ok(unsafe { File::from_raw_fd(fd) });
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EINVAL) {
            return Err(error);
        }
    }
    Err(io::Error::from_raw_os_error(libc::EINVAL))
}

fn page_size() -> usize {
    // SAFETY: sysconf has no memory preconditions.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).unwrap_or(4096)
}

fn whole_pages(bytes: usize) -> usize {
    bytes.next_multiple_of(page_size())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `mov eax, 42; ret`.
    const ANSWER: [u8; 6] = [0xb8, 42, 0, 0, 0, 0xc3];

    fn executable(code: &[u8]) -> Executable {
        let place = Reserved::near(executable as *const () as usize, code.len()).unwrap();
        Written::new(code).unwrap().seal().unwrap().map(place).unwrap()
    }

    fn run(code: &Executable) -> u32 {
        // SAFETY: the bytes are ANSWER, which is a whole C function without arguments.
        let function: extern "C" fn() -> u32 = unsafe { std::mem::transmute(code.at(0)) };
        function()
    }

    #[test]
    fn runs_and_is_padded_with_traps() {
        let code = executable(&ANSWER);
        assert_eq!(run(&code), 42);
        assert_eq!(code.bytes()[..6], ANSWER);
        assert!(code.bytes()[6..].iter().all(|byte| *byte == PADDING));
    }

    #[test]
    fn comes_to_lie_near_its_target() {
        let target = executable as *const () as usize;
        let places: Vec<_> = (0..100).map(|_| Reserved::near(target, 10_000).unwrap()).collect();
        assert!(places.iter().all(|place| place.address().abs_diff(target) < 1 << 31));
    }

    #[test]
    fn sealed_code_takes_no_write() {
        let sealed = Written::new(&ANSWER).unwrap().seal().unwrap();
        let refused = (&mut sealed.file()).write_all(&[0x90]).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
        // SAFETY: a fresh shared mapping of the file; it must fail, and is not used.
        let view = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(ptr::null_mut(), 4096, protection, libc::MAP_SHARED, sealed.file().as_raw_fd(), 0)
        };
        assert_eq!(view, libc::MAP_FAILED);
        assert_eq!(sealed.file().set_len(0).unwrap_err().raw_os_error(), Some(libc::EPERM));
    }

    #[test]
    fn no_page_is_both_writable_and_executable() {
        let code = executable(&ANSWER);
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let ours: Vec<_> = maps.lines().filter(|line| line.contains("weir-code")).collect();
        assert!(ours.iter().any(|line| line.starts_with(&format!("{:x}-", code.address()))), "{maps}");
        assert!(ours.iter().all(|line| line.split(' ').nth(1) == Some("r-xs")), "{ours:?}");
        assert!(!maps.lines().any(|line| line.split(' ').nth(1).is_some_and(|p| p.contains("wx"))), "{maps}");
    }

    /// Compiles and runs in a child that may not gain executable memory in any other way
    /// (`PR_SET_MDWE`, what systemd's MemoryDenyWriteExecute sets).
    #[test]
    fn works_where_memory_may_not_become_executable() {
        const MODE: &str = "WEIR_TEST_MDWE";
        if std::env::var_os(MODE).is_none() {
            let name = "code::tests::works_where_memory_may_not_become_executable";
            let child = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name])
                .env(MODE, "1")
                .output()
                .unwrap();
            assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
            return;
        }
        const PR_SET_MDWE: libc::c_int = 65;
        // SAFETY: prctl with plain numbers; it changes what later mmap calls of this child may do.
        if unsafe { libc::prctl(PR_SET_MDWE, 1, 0, 0, 0) } != 0 {
            eprintln!("skipped: this kernel has no PR_SET_MDWE (Linux 6.3)");
            return;
        }
        // SAFETY: a fresh private mapping; it must fail, and is not used.
        let both = unsafe {
            let protection = libc::PROT_WRITE | libc::PROT_EXEC;
            libc::mmap(ptr::null_mut(), 4096, protection, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
        };
        assert_eq!(both, libc::MAP_FAILED, "PR_SET_MDWE is in force");
        assert_eq!(run(&executable(&ANSWER)), 42);
    }
}
