//! Helpers on maps: each hands its arguments to the map (kernel/bpf/helpers.c).

use weir_ebpf::abi::Errno;

use super::call::Call;

pub(super) fn lookup(call: &mut Call<'_>) -> u64 {
    let (map, key, cpu) = (call.map(0), call.pointer(1), call.run().cpu as usize);
    // SAFETY: the signature promises `key_size` readable bytes behind the key.
    unsafe { map.lookup(cpu, key) }.expose_provenance() as u64
}

pub(super) fn lookup_percpu(call: &mut Call<'_>) -> u64 {
    let (map, key, cpu) = (call.map(0), call.pointer(1), call.u32(2) as usize);
    if cpu >= map.cpus() {
        return 0;
    }
    // SAFETY: the signature promises `key_size` readable bytes behind the key.
    unsafe { map.lookup_percpu(key, cpu) }.expose_provenance() as u64
}

pub(super) fn update(call: &mut Call<'_>) -> Result<(), Errno> {
    let (map, key, value, flags) = (call.map(0), call.pointer(1), call.pointer(2), call.u64(3));
    let cpu = call.run().cpu as usize;
    // SAFETY: the signature promises `key_size` and `value_size` readable bytes.
    unsafe { map.update(cpu, key, value, flags) }
}

pub(super) fn delete(call: &mut Call<'_>) -> Result<(), Errno> {
    // SAFETY: the signature promises `key_size` readable bytes behind the key.
    unsafe { call.map(0).delete(call.pointer(1)) }
}

pub(super) fn push(call: &mut Call<'_>) -> Result<(), Errno> {
    // SAFETY: the signature promises `value_size` readable bytes.
    unsafe { call.map(0).push(call.pointer(1), call.u64(2)) }
}

pub(super) fn pop(call: &mut Call<'_>) -> Result<(), Errno> {
    // SAFETY: the signature promises `value_size` writable bytes.
    unsafe { call.map(0).pop(call.pointer(1)) }
}

pub(super) fn peek(call: &mut Call<'_>) -> Result<(), Errno> {
    // SAFETY: the signature promises `value_size` writable bytes (a bloom filter reads them: initialised).
    unsafe { call.map(0).peek(call.pointer(1)) }
}

pub(super) fn spin_lock(call: &mut Call<'_>) {
    // SAFETY: the signature promises the lock of a map value; the verifier that it is given back.
    unsafe { weir_maps::spin::lock(call.pointer(0)) }
}

pub(super) fn spin_unlock(call: &mut Call<'_>) {
    // SAFETY: the signature promises the lock of a map value, and the verifier that the program has it.
    unsafe { weir_maps::spin::unlock(call.pointer(0)) }
}
