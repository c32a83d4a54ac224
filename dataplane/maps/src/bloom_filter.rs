//! `BPF_MAP_TYPE_BLOOM_FILTER`: whether a value was perhaps pushed.
//!
//! Follows kernel/bpf/bloom_filter.c: `map_extra` hash functions (5 unless told), `max_entries * hashes * 7/5`
//! bits rounded up to a power of two, so that a full filter errs about once in a hundred (with 5 functions).

use std::sync::atomic::{AtomicU64, Ordering};

use weir_ebpf::abi::Errno;
use weir_ebpf::abi::map_kind::create_flags;
use weir_ebpf::program::MapSpec;
use weir_sys::mapping::Commit;

use crate::MapError;
use crate::area::Area;
use crate::keys::{Key, Seed, with_key};
use crate::storage::{Done, Kind};

const HASHES: u32 = 5;

#[derive(Debug)]
pub(crate) struct Bloom {
    words: Area,
    mask: u64,
    hashes: u32,
    value_size: usize,
    seed: Seed,
    pushed: AtomicU64,
}

impl Bloom {
    pub(crate) fn new(spec: &MapSpec) -> Result<Bloom, MapError> {
        let hashes = if spec.extra == 0 { HASHES } else { spec.extra as u32 };
        let wanted = u64::from(spec.max_entries) * u64::from(hashes) * 7 / 5;
        // The kernel keeps the mask in 32 bits.
        let bits = if wanted > 1 << 31 { 1 << 32 } else { wanted.next_power_of_two().max(64) };
        Ok(Bloom {
            words: Area::new((bits / 64) as usize, 8, Commit::Now)?,
            mask: bits - 1,
            hashes,
            value_size: spec.value_size as usize,
            seed: Seed::new(spec.flags & create_flags::ZERO_SEED != 0)?,
            pushed: AtomicU64::new(0),
        })
    }

    /// The word and bit of each hash function: double hashing over two halves of one good hash.
    unsafe fn places(&self, value: *const u8) -> impl Iterator<Item = (&AtomicU64, u64)> {
        let hash = with_key!(value, self.value_size, key => key.hash(self.seed));
        let step = hash.rotate_left(32) | 1;
        (0..u64::from(self.hashes)).map(move |n| {
            let bit = hash.wrapping_add(n.wrapping_mul(step)) & self.mask;
            (self.words.u64_at((bit / 64) as usize), 1 << (bit % 64))
        })
    }
}

impl Kind for Bloom {
    unsafe fn push(&self, value: *const u8, flags: u64) -> Done {
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        // SAFETY: the caller owes `value_size` readable bytes.
        for (word, bit) in unsafe { self.places(value) } {
            word.fetch_or(bit, Ordering::Relaxed);
        }
        self.pushed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Answers by the errno alone; the value is what is asked about.
    unsafe fn peek(&self, value: *mut u8) -> Done {
        // SAFETY: the caller owes `value_size` readable bytes.
        let all = unsafe { self.places(value) }.all(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0);
        if all { Ok(()) } else { Err(Errno::ENOENT) }
    }

    /// bpf(2) passes the value in; here it stands in the key's place.
    fn read(&self, value: &[u8], _locked: bool) -> Result<Vec<u8>, Errno> {
        // SAFETY: Control measured `value` as a value of this map; `peek` only reads it.
        unsafe { self.peek(value.as_ptr().cast_mut()) }.map(|()| value.to_vec())
    }

    fn write(&self, _key: &[u8], value: &[u8], flags: u64) -> Done {
        // SAFETY: Control measured `value`.
        unsafe { self.push(value.as_ptr(), flags) }
    }

    fn remove(&self, _key: &[u8]) -> Done {
        Err(Errno::EOPNOTSUPP)
    }

    fn next_key(&self, _after: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// How often something was pushed; equal values count each time.
    fn entries(&self) -> usize {
        self.pushed.load(Ordering::Relaxed) as usize
    }

    fn bytes(&self) -> usize {
        self.words.bytes()
    }
}
