//! Helpers that call a function of the program (`bpf_loop`, `bpf_for_each_map_elem`; kernel/bpf/bpf_iter.c,
//! arraymap.c, hashtab.c). They go through `Run::call_function`, which the engine that runs has set.

use weir_ebpf::abi::Errno;

use super::call::Call;

/// `BPF_MAX_LOOPS`.
pub(super) const LOOPS_MAX: u32 = 8 * 1024 * 1024;

pub(super) fn bpf_loop(call: &mut Call<'_>) -> Result<u32, Errno> {
    let (count, callback, state, flags) = (call.u32(0), call.u64(1), call.u64(2), call.u64(3));
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    if count > LOOPS_MAX {
        return Err(Errno::E2BIG);
    }
    for index in 0..count {
        if call.call_back(callback, [u64::from(index), state, 0, 0]) != 0 {
            return Ok(index + 1);
        }
    }
    Ok(count)
}

pub(super) fn for_each_map_elem(call: &mut Call<'_>) -> Result<u64, Errno> {
    let (map, callback, state, flags) = (call.map(0), call.u64(1), call.u64(2), call.u64(3));
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let (map_pointer, cpu) = (call.u64(0), call.run().cpu as usize);
    map.for_each(cpu, |key, value| {
        let (key, value) = (key.expose_provenance() as u64, value.expose_provenance() as u64);
        call.call_back(callback, [map_pointer, key, value, state]) == 0
    })
}
