//! What compiled code calls that is not a helper.

use weir_ebpf::abi::MAX_TAIL_CALLS;
use weir_maps::Map;

use crate::run::{HelperFn, Run};

/// Legacy packet access: the bytes at `offset` in network order, or `u64::MAX` when they are not all
/// inside the packet.
pub(super) unsafe extern "C" fn load_packet(run: *mut Run<'_>, offset: u64, bytes: u64) -> u64 {
    // SAFETY: compiled code hands on the run it was given, which has a context while a program runs.
    let context = unsafe { &*(*run).context };
    context.legacy_load(offset as u32, bytes as usize).unwrap_or(u64::MAX)
}

/// Where to go on after a tail call through a prog array that is not known before the run, counted; 0 when
/// nowhere. What `Emitter::find_program` does without a call.
pub(super) unsafe extern "C" fn tail_call(run: *mut Run<'_>, map: u64, index: u64) -> u64 {
    // SAFETY: compiled code hands on the run it was given; the verifier has proven `map` to be a map.
    let (run, map) = unsafe { (&mut *run, &*std::ptr::with_exposed_provenance::<Map>(map as usize)) };
    // SAFETY: the table lives as long as the run (`Run::with_table`).
    let Some(table) = (unsafe { run.table.as_ref() }) else { return 0 };
    let Some(number) = map.slot(index as u32).checked_sub(1) else { return 0 };
    if run.tail_calls >= MAX_TAIL_CALLS {
        return 0;
    }
    let Some(entry) = table.entry(number) else { return 0 };
    run.tail_calls += 1;
    entry.expose_provenance() as u64
}

/// How helpers call a function of a compiled program back: `function` is its address.
pub(super) unsafe extern "C" fn call_function(
    run: *mut Run<'_>,
    function: u64,
    r1: u64,
    r2: u64,
    r3: u64,
    r4: u64,
) -> u64 {
    // SAFETY: the verifier has proven that the callback argument is a function of the running program, whose
    // address compiled code took; callbacks are compiled to be entered like this (`Frame::door`).
    unsafe {
        let enter: HelperFn = std::mem::transmute(function as usize);
        enter(run, r1, r2, r3, r4, 0)
    }
}
