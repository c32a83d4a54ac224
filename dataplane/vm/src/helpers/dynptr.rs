//! Views of memory that programs hold on their stack (`struct bpf_dynptr`; kernel/bpf/helpers.c, 6.18).
//!
//! A packet here is one piece, so a slice is always a pointer into it, and the buffer that a program offers
//! for the other case is never used. (Where an XDP packet became shorter than its view, the kernel answers
//! the buffer as it is; here the answer is null.)

use weir_ebpf::abi::{Errno, PacketUse};
use weir_maps::Ringbuf;

use super::call::{Call, Memory};
use super::output::wake;
use crate::context::Context;

/// `DYNPTR_MAX_SIZE`.
const SIZE_MAX: u32 = (1 << 24) - 1;
/// Where the kind stands in the size's word (`DYNPTR_TYPE_SHIFT`).
const KIND_SHIFT: u32 = 28;
/// `DYNPTR_RDONLY_BIT`.
const READ_ONLY: u32 = 1 << 31;
/// What `bpf_skb_store_bytes` takes: `BPF_F_RECOMPUTE_CSUM | BPF_F_INVALIDATE_HASH`.
const STORE_FLAGS: u64 = 3;
const INVALIDATE_HASH: u64 = 1 << 1;

/// What a view is of (`enum bpf_dynptr_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Memory = 1,
    Record = 2,
    Skb = 3,
    Xdp = 4,
}

/// A view, as it stands in the program's stack (`struct bpf_dynptr_kern`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Dynptr {
    /// Address of what is viewed: memory, or the context whose packet it is; 0 when it is a view of nothing.
    data: u64,
    /// Bytes of the view, its kind, and whether it is read-only.
    size: u32,
    /// Where the view starts.
    offset: u32,
}

/// Bytes of a view, where they are.
enum Part {
    Memory(*mut u8),
    Packet(usize),
}

impl Dynptr {
    fn new(data: u64, kind: Kind, size: u32) -> Self {
        Self { data, size: size | (kind as u32) << KIND_SHIFT, offset: 0 }
    }

    fn kind(self) -> Kind {
        match (self.size & !READ_ONLY) >> KIND_SHIFT {
            2 => Kind::Record,
            3 => Kind::Skb,
            4 => Kind::Xdp,
            _ => Kind::Memory,
        }
    }

    fn read_only(self) -> bool {
        self.size & READ_ONLY != 0
    }

    fn len(self) -> u32 {
        self.size & SIZE_MAX
    }

    /// The record that it is a view of, and its bytes.
    pub(crate) fn record(self) -> Option<(u64, u64)> {
        (self.data != 0 && self.kind() == Kind::Record).then_some((self.data, u64::from(self.len())))
    }

    /// `bpf_dynptr_check_off_len`, and where that part is.
    fn part(self, offset: u32, len: u32) -> Result<Part, Errno> {
        let size = self.len();
        if len > size || offset > size - len {
            return Err(Errno::E2BIG);
        }
        let from = self.offset as usize + offset as usize;
        Ok(match self.kind() {
            Kind::Memory | Kind::Record => {
                let start: *mut u8 = std::ptr::with_exposed_provenance_mut(self.data as usize);
                Part::Memory(start.wrapping_add(from))
            }
            Kind::Skb | Kind::Xdp => Part::Packet(from),
        })
    }
}

pub(super) fn from_mem(call: &mut Call<'_>) -> Result<(), Errno> {
    let (memory, flags) = (call.memory(0), call.u64(2));
    call.set_dynptr(3, Dynptr::default());
    if memory.len() as u64 > u64::from(SIZE_MAX) {
        return Err(Errno::E2BIG);
    }
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let data = call.pointer(0).expose_provenance() as u64;
    call.set_dynptr(3, Dynptr::new(data, Kind::Memory, memory.len() as u32));
    Ok(())
}

pub(super) fn ringbuf_reserve(call: &mut Call<'_>) -> Result<(), Errno> {
    let (ring, size, flags) = (call.map(0).ringbuf().ok_or(Errno::EINVAL), call.u32(1), call.u64(2));
    call.set_dynptr(3, Dynptr::default());
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    if size > SIZE_MAX {
        return Err(Errno::E2BIG);
    }
    let record = ring?.reserve(u64::from(size), 0);
    if record.is_null() {
        return Err(Errno::EINVAL);
    }
    call.set_dynptr(3, Dynptr::new(record.expose_provenance() as u64, Kind::Record, size));
    Ok(())
}

pub(super) fn ringbuf_submit(call: &mut Call<'_>) {
    finish(call, false);
}

pub(super) fn ringbuf_discard(call: &mut Call<'_>) {
    finish(call, true);
}

fn finish(call: &mut Call<'_>, discard: bool) {
    let view = call.dynptr(0);
    let Some((record, _)) = view.record() else { return };
    // SAFETY: the signature promises a view of a reserved record, which the call consumes.
    unsafe { Ringbuf::finish(std::ptr::with_exposed_provenance_mut(record as usize), discard) };
    call.set_dynptr(0, Dynptr::default());
    wake(call, call.u64(1));
}

pub(super) fn read(call: &mut Call<'_>) -> Result<(), Errno> {
    let (to, from, offset, flags) = (call.memory(0), call.dynptr(2), call.u32(3), call.u64(4));
    if from.data == 0 || flags != 0 {
        return Err(Errno::EINVAL);
    }
    match from.part(offset, to.len() as u32)? {
        Part::Memory(part) => to.copy_from(part),
        Part::Packet(at) if to.fill_from(call.context(), at) => {}
        Part::Packet(_) if from.kind() == Kind::Xdp => return Err(Errno::EINVAL),
        Part::Packet(_) => {
            to.clear();
            return Err(Errno::EFAULT);
        }
    }
    Ok(())
}

pub(super) fn write(call: &mut Call<'_>) -> Result<(), Errno> {
    let (to, offset, from, flags) = (call.dynptr(0), call.u32(1), call.memory(2), call.u64(4));
    if to.data == 0 || to.read_only() {
        return Err(Errno::EINVAL);
    }
    let part = to.part(offset, from.len() as u32)?;
    let allowed = if to.kind() == Kind::Skb { STORE_FLAGS } else { 0 };
    if flags & !allowed != 0 {
        return Err(Errno::EINVAL);
    }
    match part {
        Part::Memory(part) => from.copy_to(part),
        Part::Packet(at) if from.store_to(call.context(), at) => {
            if flags & INVALIDATE_HASH != 0 {
                call.context().hash = 0;
            }
        }
        Part::Packet(_) if to.kind() == Kind::Xdp => return Err(Errno::EINVAL),
        Part::Packet(_) => return Err(Errno::EFAULT),
    }
    Ok(())
}

pub(super) fn data(call: &mut Call<'_>) -> u64 {
    let (view, offset, len) = (call.dynptr(0), call.u32(1), call.u32(2));
    if view.data == 0 || view.read_only() {
        return 0;
    }
    match view.part(offset, len) {
        Ok(Part::Memory(part)) => part.expose_provenance() as u64,
        // Packets are sliced.
        Ok(Part::Packet(_)) | Err(_) => 0,
    }
}

pub(super) fn from_skb(call: &mut Call<'_>) -> Result<(), Errno> {
    let read_only = call.run().kind.packet() != PacketUse::ReadWrite;
    of_packet(call, Kind::Skb)?;
    if read_only {
        let view = call.dynptr(2);
        call.set_dynptr(2, Dynptr { size: view.size | READ_ONLY, ..view });
    }
    Ok(())
}

pub(super) fn from_xdp(call: &mut Call<'_>) -> Result<(), Errno> {
    of_packet(call, Kind::Xdp)
}

fn of_packet(call: &mut Call<'_>, kind: Kind) -> Result<(), Errno> {
    if call.u64(1) != 0 {
        call.set_dynptr(2, Dynptr::default());
        return Err(Errno::EINVAL);
    }
    let len = u32::try_from(call.context().len()).unwrap_or(SIZE_MAX).min(SIZE_MAX);
    let context = std::ptr::from_mut::<Context<'_>>(call.context()).addr() as u64;
    call.set_dynptr(2, Dynptr::new(context, kind, len));
    Ok(())
}

pub(super) fn slice(call: &mut Call<'_>) -> u64 {
    let (view, offset, len) = (call.dynptr(0), call.u32(1), call.u32(3));
    if view.data == 0 {
        return 0;
    }
    match view.part(offset, len) {
        Ok(Part::Memory(part)) => part.expose_provenance() as u64,
        Ok(Part::Packet(at)) => {
            call.context().within(at, len as usize).map_or(0, |part| part.expose_provenance() as u64)
        }
        Err(_) => 0,
    }
}

pub(super) fn slice_rdwr(call: &mut Call<'_>) -> u64 {
    if call.dynptr(0).read_only() { 0 } else { slice(call) }
}

pub(super) fn adjust(call: &mut Call<'_>) -> Result<(), Errno> {
    let (view, start, end) = (call.dynptr(0), call.u32(1), call.u32(2));
    if view.data == 0 || start > end {
        return Err(Errno::EINVAL);
    }
    let size = view.len();
    if start > size || end > size {
        return Err(Errno::ERANGE);
    }
    let flags = view.size & !SIZE_MAX;
    call.set_dynptr(0, Dynptr { size: (end - start) | flags, offset: view.offset + start, ..view });
    Ok(())
}

pub(super) fn is_null(call: &mut Call<'_>) -> u64 {
    u64::from(call.dynptr(0).data == 0)
}

pub(super) fn is_rdonly(call: &mut Call<'_>) -> u64 {
    let view = call.dynptr(0);
    u64::from(view.data != 0 && view.read_only())
}

pub(super) fn size(call: &mut Call<'_>) -> u32 {
    let view = call.dynptr(0);
    if view.data == 0 { Errno::EINVAL.as_return() as u32 } else { view.len() }
}

pub(super) fn clone(call: &mut Call<'_>) -> Result<(), Errno> {
    let view = call.dynptr(0);
    call.set_dynptr(1, view);
    if view.data == 0 { Err(Errno::EINVAL) } else { Ok(()) }
}

impl Memory {
    /// Fills it from other memory of the program, as many bytes as it has.
    fn copy_from(&self, from: *const u8) {
        // SAFETY: `Dynptr::part` measured as many bytes there, which live as long as the view; this memory
        // is writable by the signature; overlap is allowed.
        unsafe { from.copy_to(self.start(), self.len()) };
    }

    /// Copies it to other memory of the program, as many bytes as it has.
    fn copy_to(&self, to: *mut u8) {
        // SAFETY: as above, the other way round.
        unsafe { self.start().copy_to(to, self.len()) };
    }
}
