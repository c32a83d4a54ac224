//! The verbs that every kind of map answers to. A kind says what it can do; the rest answers as the
//! kernel does for an operation that the kind does not have.

use weir_ebpf::abi::Errno;

/// Result of a map operation.
pub(crate) type Done = Result<(), Errno>;

/// Calls a method on whichever kind a map is of.
macro_rules! each {
    ($storage:expr, $kind:ident => $body:expr) => {
        match $storage {
            $crate::map::Storage::Array($kind) => $body,
            $crate::map::Storage::Hash($kind) => $body,
            $crate::map::Storage::LpmTrie($kind) => $body,
            $crate::map::Storage::ProgArray($kind) => $body,
            $crate::map::Storage::ArrayOfMaps($kind) => $body,
            $crate::map::Storage::HashOfMaps($kind) => $body,
            $crate::map::Storage::Queue($kind) => $body,
            $crate::map::Storage::Bloom($kind) => $body,
            $crate::map::Storage::Devmap($kind) => $body,
            $crate::map::Storage::DevmapHash($kind) => $body,
            $crate::map::Storage::Cpumap($kind) => $body,
            $crate::map::Storage::Xskmap($kind) => $body,
            $crate::map::Storage::PerfEventArray($kind) => $body,
            $crate::map::Storage::Ringbuf($kind) => $body,
            $crate::map::Storage::Empty($kind) => $body,
        }
    };
}
pub(crate) use each;

/// What one kind of map does. The first group is called by running programs, the second by people.
///
/// Keys and values of the first group are raw: the caller owes `key_size` readable bytes behind every key
/// and `value_size` behind every value (writable where the map answers into it). Slices of the second group
/// have been measured by [`Control`](crate::Control).
pub(crate) trait Kind {
    unsafe fn lookup(&self, _cpu: usize, _key: *const u8) -> *mut u8 {
        std::ptr::null_mut()
    }
    unsafe fn update(&self, _cpu: usize, _key: *const u8, _value: *const u8, _flags: u64) -> Done {
        Err(Errno::EINVAL)
    }
    unsafe fn delete(&self, _key: *const u8) -> Done {
        Err(Errno::EINVAL)
    }
    unsafe fn push(&self, _value: *const u8, _flags: u64) -> Done {
        Err(Errno::EOPNOTSUPP)
    }
    unsafe fn pop(&self, _value: *mut u8) -> Done {
        Err(Errno::EOPNOTSUPP)
    }
    unsafe fn peek(&self, _value: *mut u8) -> Done {
        Err(Errno::EOPNOTSUPP)
    }
    fn for_each(&self, _cpu: usize, _each: &mut dyn FnMut(*const u8, *mut u8) -> bool) -> Result<u64, Errno> {
        Err(Errno::EINVAL)
    }
    /// Whether `addr..addr + len` lies inside one value that a program may hold a pointer to.
    fn owns(&self, _addr: usize, _len: usize) -> bool {
        false
    }
    /// Whether some of `addr..addr + len`, which it owns, is a lock or a timer.
    fn has_special(&self, _addr: usize, _len: usize) -> bool {
        false
    }

    // By people.
    fn read(&self, key: &[u8], locked: bool) -> Result<Vec<u8>, Errno>;
    /// The value stored under exactly this key, where a lookup may answer with another's.
    fn read_exact(&self, key: &[u8], locked: bool) -> Result<Vec<u8>, Errno> {
        self.read(key, locked)
    }
    fn write(&self, _key: &[u8], _value: &[u8], _flags: u64) -> Done {
        Err(Errno::EINVAL)
    }
    fn remove(&self, _key: &[u8]) -> Done {
        Err(Errno::EINVAL)
    }
    fn take(&self, _key: &[u8], _locked: bool) -> Result<Vec<u8>, Errno> {
        Err(Errno::ENOTSUPP)
    }
    fn next_key(&self, _after: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        Err(Errno::EINVAL)
    }
    /// Every key, each at most once.
    fn keys(&self) -> Vec<Vec<u8>> {
        // Arrays never lose an index, so the walk cannot be sent back to its beginning.
        std::iter::successors(self.next_key(None).ok(), |last| self.next_key(Some(last)).ok()).collect()
    }
    /// About `limit` keys that follow this one in a fixed order of places, whether it is still there or not.
    fn keys_after(&self, after: Option<&[u8]>, limit: usize) -> Vec<Vec<u8>> {
        let first = self.next_key(after).ok();
        std::iter::successors(first, |last| self.next_key(Some(last)).ok()).take(limit).collect()
    }
    fn entries(&self) -> usize;
    fn bytes(&self) -> usize;
    fn populate(&self) {}
}
