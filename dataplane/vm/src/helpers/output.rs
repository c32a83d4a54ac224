//! Records to user space: perf events and ring buffers.

use weir_ebpf::abi::Errno;
use weir_maps::{Query, Ringbuf};

use super::call::Call;

/// `BPF_RB_NO_WAKEUP`.
const NO_WAKEUP: u64 = 1 << 0;
/// `BPF_F_CTXLEN_MASK`: how many bytes of the packet follow the record.
const CTXLEN_SHIFT: u32 = 32;
const CTXLEN_MASK: u64 = 0xf_ffff << CTXLEN_SHIFT;
const INDEX_MASK: u64 = 0xffff_ffff;

pub(super) fn perf_event(call: &mut Call<'_>) -> Result<(), Errno> {
    let (map, flags, memory) = (call.map(1), call.u64(2), call.memory(3));
    if flags & !(CTXLEN_MASK | INDEX_MASK) != 0 {
        return Err(Errno::EINVAL);
    }
    let from_packet = ((flags & CTXLEN_MASK) >> CTXLEN_SHIFT) as usize;
    let mut record = memory.to_vec();
    let packet = call.context().packet().get(..from_packet).ok_or(Errno::EFAULT)?;
    record.extend_from_slice(packet);
    let cpu = call.run().cpu as usize;
    let slot = map.perf_slot(flags, cpu)?;
    call.env().perf_event(map, slot, &record)
}

pub(super) fn ringbuf_output(call: &mut Call<'_>) -> Result<(), Errno> {
    let (ring, flags) = (call.map(0).ringbuf().ok_or(Errno::EINVAL)?, call.u64(3));
    ring.output(&call.memory(1).to_vec(), flags)?;
    wake(call, flags);
    Ok(())
}

pub(super) fn ringbuf_reserve(call: &mut Call<'_>) -> u64 {
    let Some(ring) = call.map(0).ringbuf() else { return 0 };
    ring.reserve(call.u64(1), call.u64(2)).expose_provenance() as u64
}

pub(super) fn ringbuf_submit(call: &mut Call<'_>) {
    // SAFETY: the signature promises a reserved record, which the call consumes.
    unsafe { Ringbuf::finish(call.pointer(0), false) };
    wake(call, call.u64(1));
}

pub(super) fn ringbuf_discard(call: &mut Call<'_>) {
    // SAFETY: the signature promises a reserved record, which the call consumes.
    unsafe { Ringbuf::finish(call.pointer(0), true) };
    wake(call, call.u64(1));
}

pub(super) fn ringbuf_query(call: &mut Call<'_>) -> u64 {
    let ring = call.map(0).ringbuf();
    ring.zip(Query::new(call.u64(1))).map_or(0, |(ring, what)| ring.query(what))
}

/// The reader hears of every record unless the program says it need not. The kernel also spares a reader
/// that is behind; weir's readers poll between batches, so a spurious word costs nothing.
pub(super) fn wake(call: &mut Call<'_>, flags: u64) {
    if flags & NO_WAKEUP == 0 {
        call.env().wake();
    }
}
