//! Helpers that move and copy an XDP packet (net/core/filter.c, 6.18).

use weir_ebpf::abi::Errno;

use super::call::Call;
use crate::context::{ETHERNET_BYTES, META_BYTES_MAX};

/// What the kernel keeps at the start of the headroom (`sizeof(struct xdp_frame)`). weir has no use for
/// it, but a program that asks how far it may go gets the kernel's answer.
const FRAME_BYTES: usize = 40;

pub(super) fn adjust_head(call: &mut Call<'_>) -> Result<(), Errno> {
    let offset = call.i32(1) as isize;
    let context = call.context();
    let (meta, data) = (context.meta_range(), context.data_range());
    let start = data.start.checked_add_signed(offset).ok_or(Errno::EINVAL)?;
    if start < FRAME_BYTES + meta.len() || start + ETHERNET_BYTES > data.end {
        return Err(Errno::EINVAL);
    }
    let moved = start - meta.len();
    context.room_mut().copy_within(meta, moved);
    context.place(moved, start..data.end);
    Ok(())
}

pub(super) fn adjust_meta(call: &mut Call<'_>) -> Result<(), Errno> {
    let offset = call.i32(1) as isize;
    let context = call.context();
    let (meta, data) = (context.meta_range(), context.data_range());
    let start = meta.start.checked_add_signed(offset).ok_or(Errno::EINVAL)?;
    if start < FRAME_BYTES || start > data.start {
        return Err(Errno::EINVAL);
    }
    let len = data.start - start;
    if !len.is_multiple_of(4) || len > META_BYTES_MAX {
        return Err(Errno::EACCES);
    }
    context.place(start, data);
    Ok(())
}

pub(super) fn adjust_tail(call: &mut Call<'_>) -> Result<(), Errno> {
    let offset = call.i32(1) as isize;
    let context = call.context();
    let (meta, data) = (context.meta_range(), context.data_range());
    let end = data.end.checked_add_signed(offset).ok_or(Errno::EINVAL)?;
    if end > context.room_len() || end < data.start + ETHERNET_BYTES {
        return Err(Errno::EINVAL);
    }
    if end > data.end {
        context.room_mut()[data.end..end].fill(0);
    }
    context.place(meta.start, data.start..end);
    Ok(())
}

pub(super) fn get_buff_len(call: &mut Call<'_>) -> u64 {
    call.context().len() as u64
}

pub(super) fn load_bytes(call: &mut Call<'_>) -> Result<(), Errno> {
    let (offset, memory) = (reach(call)?, call.memory(2));
    if memory.fill_from(call.context(), offset) { Ok(()) } else { Err(Errno::EINVAL) }
}

pub(super) fn store_bytes(call: &mut Call<'_>) -> Result<(), Errno> {
    let (offset, memory) = (reach(call)?, call.memory(2));
    if memory.store_to(call.context(), offset) { Ok(()) } else { Err(Errno::EINVAL) }
}

/// `bpf_xdp_pointer`: neither offset nor length beyond 16 bits.
fn reach(call: &Call<'_>) -> Result<usize, Errno> {
    let (offset, len) = (call.u32(1), call.u32(3));
    if offset > 0xffff || len > 0xffff { Err(Errno::EFAULT) } else { Ok(offset as usize) }
}
