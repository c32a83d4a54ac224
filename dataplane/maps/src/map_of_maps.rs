//! `BPF_MAP_TYPE_ARRAY_OF_MAPS` and `BPF_MAP_TYPE_HASH_OF_MAPS`: maps found by a key at run time.
//!
//! A program that looked an inner map up may use it until its run ends. Replaced or removed inner maps are
//! therefore kept aside until someone who knows that all runs have ended says so
//! ([`Map::release_retired`](crate::Map::release_retired)); the kernel waits for a grace period there
//! (CVE-2023-52447).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use weir_ebpf::abi::map_kind::update_flags as flag;
use weir_ebpf::abi::{Errno, MapKind};
use weir_ebpf::program::MapSpec;
use weir_sys::mapping::Commit;

use crate::area::Area;
use crate::array::{index, index_of, next_index};
use crate::create::same_shape;
use crate::hash::Hash;
use crate::storage::{Done, Kind};
use crate::{Map, MapError};

/// The inner maps of one outer map, kept alive.
#[derive(Debug)]
pub(crate) struct Held {
    shape: Arc<MapSpec>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    current: HashMap<Vec<u8>, Arc<Map>>,
    retired: Vec<Arc<Map>>,
}

impl Held {
    fn new(spec: &MapSpec) -> Held {
        let shape = spec.inner.clone().unwrap_or_else(|| Arc::new(spec.clone()));
        Held { shape, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn fits(&self, map: &Map) -> Done {
        if same_shape(&self.shape, map.spec()) { Ok(()) } else { Err(Errno::EINVAL) }
    }

    fn id(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        self.state().current.get(key).map(|map| map.id().to_ne_bytes().to_vec()).ok_or(Errno::ENOENT)
    }

    fn release(&self) -> usize {
        let retired = std::mem::take(&mut self.state().retired);
        retired.len()
    }
}

impl State {
    fn put(&mut self, key: &[u8], map: Arc<Map>) {
        let old = self.current.insert(key.to_vec(), map);
        self.retired.extend(old);
    }

    fn remove(&mut self, key: &[u8]) -> bool {
        let old = self.current.remove(key);
        let found = old.is_some();
        self.retired.extend(old);
        found
    }
}

fn address(map: &Arc<Map>) -> u64 {
    Arc::as_ptr(map) as u64
}

/// What both kinds do for the control side, beside [`Kind`].
pub(crate) trait Outer: Kind {
    fn set_inner(&self, key: &[u8], map: &Arc<Map>, flags: u64) -> Done;
    fn inner_map(&self, key: &[u8]) -> Option<Arc<Map>>;
    fn release(&self) -> usize;
}

/// Inner maps by index.
#[derive(Debug)]
pub(crate) struct ArrayOfMaps {
    slots: Area,
    len: usize,
    held: Held,
}

impl ArrayOfMaps {
    pub(crate) fn new(spec: &MapSpec) -> Result<ArrayOfMaps, MapError> {
        let len = spec.max_entries as usize;
        Ok(ArrayOfMaps { slots: Area::new(len, 8, Commit::Lazily)?, len, held: Held::new(spec) })
    }

    fn slot(&self, index: usize) -> Option<&AtomicU64> {
        (index < self.len).then(|| self.slots.u64_at(index))
    }
}

impl Outer for ArrayOfMaps {
    fn set_inner(&self, key: &[u8], map: &Arc<Map>, flags: u64) -> Done {
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        let slot = self.slot(index_of(key)).ok_or(Errno::E2BIG)?;
        self.held.fits(map)?;
        let mut state = self.held.state();
        state.put(key, map.clone());
        slot.store(address(map), Ordering::Release);
        Ok(())
    }

    fn inner_map(&self, key: &[u8]) -> Option<Arc<Map>> {
        self.held.state().current.get(key).cloned()
    }

    fn release(&self) -> usize {
        self.held.release()
    }
}

impl Kind for ArrayOfMaps {
    unsafe fn lookup(&self, _cpu: usize, key: *const u8) -> *mut u8 {
        // SAFETY: the caller owes 4 readable bytes.
        let slot = self.slot(unsafe { index(key) });
        slot.map_or(std::ptr::null_mut(), |slot| slot.load(Ordering::Acquire) as *mut u8)
    }

    fn read(&self, key: &[u8], _locked: bool) -> Result<Vec<u8>, Errno> {
        self.held.id(key)
    }

    fn write(&self, key: &[u8], _value: &[u8], flags: u64) -> Done {
        match self.slot(index_of(key)) {
            _ if flags != 0 => Err(Errno::EINVAL),
            None => Err(Errno::E2BIG),
            Some(_) => Err(Errno::EBADF),
        }
    }

    fn remove(&self, key: &[u8]) -> Done {
        let slot = self.slot(index_of(key)).ok_or(Errno::E2BIG)?;
        let mut state = self.held.state();
        slot.store(0, Ordering::Release);
        if state.remove(key) { Ok(()) } else { Err(Errno::ENOENT) }
    }

    fn next_key(&self, after: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        next_index(after, self.len)
    }

    fn entries(&self) -> usize {
        self.held.state().current.len()
    }

    fn bytes(&self) -> usize {
        self.slots.bytes()
    }
}

/// Inner maps by key: a hash table whose values are their addresses.
#[derive(Debug)]
pub(crate) struct HashOfMaps {
    table: Hash,
    held: Held,
}

impl HashOfMaps {
    pub(crate) fn new(spec: &MapSpec, cpus: usize) -> Result<HashOfMaps, MapError> {
        let mut shape = MapSpec::new(&spec.name, MapKind::Hash, spec.key_size, 8, spec.max_entries);
        shape.flags = spec.flags;
        Ok(HashOfMaps { table: Hash::new(&shape, cpus)?, held: Held::new(spec) })
    }
}

impl Outer for HashOfMaps {
    fn set_inner(&self, key: &[u8], map: &Arc<Map>, flags: u64) -> Done {
        if flags > flag::EXIST {
            return Err(Errno::EINVAL);
        }
        self.held.fits(map)?;
        let mut state = self.held.state();
        self.table.write(key, &address(map).to_ne_bytes(), flags)?;
        state.put(key, map.clone());
        Ok(())
    }

    fn inner_map(&self, key: &[u8]) -> Option<Arc<Map>> {
        self.held.state().current.get(key).cloned()
    }

    fn release(&self) -> usize {
        self.held.release()
    }
}

impl Kind for HashOfMaps {
    unsafe fn lookup(&self, cpu: usize, key: *const u8) -> *mut u8 {
        // SAFETY: the caller owes `key_size` readable bytes.
        let place = unsafe { self.table.lookup(cpu, key) };
        if place.is_null() {
            return std::ptr::null_mut();
        }
        // SAFETY: a value of this table is 8 bytes, aligned to 8, written only through atomics. A slot that
        // is reused meanwhile holds another inner map's address, which is alive just as well.
        unsafe { &*place.cast::<AtomicU64>() }.load(Ordering::Acquire) as *mut u8
    }

    fn read(&self, key: &[u8], _locked: bool) -> Result<Vec<u8>, Errno> {
        self.held.id(key)
    }

    fn write(&self, _key: &[u8], _value: &[u8], _flags: u64) -> Done {
        Err(Errno::EBADF)
    }

    fn remove(&self, key: &[u8]) -> Done {
        let mut state = self.held.state();
        self.table.remove(key)?;
        state.remove(key);
        Ok(())
    }

    fn next_key(&self, after: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        self.table.next_key(after)
    }

    fn keys(&self) -> Vec<Vec<u8>> {
        self.table.keys()
    }

    fn keys_after(&self, after: Option<&[u8]>, limit: usize) -> Vec<Vec<u8>> {
        self.table.keys_after(after, limit)
    }

    fn entries(&self) -> usize {
        self.table.entries()
    }

    fn bytes(&self) -> usize {
        self.table.bytes()
    }
}
