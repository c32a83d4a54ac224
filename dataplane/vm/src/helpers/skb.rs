//! Helpers that read, write, lengthen and shorten an skb (net/core/filter.c, 6.18).
//!
//! A packet here is one piece, so what pulls or makes writable only measures. There is no `skb->csum`
//! (`CHECKSUM_COMPLETE`): flags that ask to mend it are accepted and have nothing to do.

use weir_ebpf::abi::Errno;

use super::call::Call;
use crate::context::{Context, ether};

/// `BPF_SKB_MAX_LEN` with 4 KiB pages: four of them without `skb_shared_info`.
pub(super) const LEN_MAX: usize = 4 * 4096 - 320;

const RECOMPUTE_CSUM: u64 = 1 << 0;
const INVALIDATE_HASH: u64 = 1 << 1;

pub(super) fn store_bytes(call: &mut Call<'_>) -> Result<(), Errno> {
    let (offset, memory, flags) = (call.u32(1), call.memory(2), call.u64(4));
    if flags & !(RECOMPUTE_CSUM | INVALIDATE_HASH) != 0 {
        return Err(Errno::EINVAL);
    }
    let context = call.context();
    if offset > i32::MAX as u32 || !memory.store_to(context, offset as usize) {
        return Err(Errno::EFAULT);
    }
    if flags & INVALIDATE_HASH != 0 {
        context.hash = 0;
    }
    Ok(())
}

pub(super) fn load_bytes(call: &mut Call<'_>) -> Result<(), Errno> {
    let (offset, memory) = (call.u32(1), call.memory(2));
    if offset <= i32::MAX as u32 && memory.fill_from(call.context(), offset as usize) {
        return Ok(());
    }
    memory.clear();
    Err(Errno::EFAULT)
}

pub(super) fn load_bytes_relative(call: &mut Call<'_>) -> Result<(), Errno> {
    const FROM_MAC: u32 = 0;
    const FROM_NETWORK: u32 = 1;
    let (offset, memory, from) = (call.u32(1) as usize, call.memory(2), call.u32(4));
    let context = call.context();
    let start = match from {
        FROM_MAC => Some(-(context.skb.link_bytes as i64)),
        FROM_NETWORK => Some(context.skb.network_offset as i64),
        _ => None,
    };
    let start = start.filter(|_| offset <= 0xffff).map(|start| start + offset as i64);
    if let Some(bytes) = start.and_then(|start| context.behind_link(start, memory.len())) {
        memory.write(0, bytes);
        return Ok(());
    }
    memory.clear();
    Err(Errno::EFAULT)
}

pub(super) fn pull_data(call: &mut Call<'_>) -> Result<(), Errno> {
    let len = call.u32(1) as usize;
    if len <= call.context().len() { Ok(()) } else { Err(Errno::ENOMEM) }
}

pub(super) fn change_tail(call: &mut Call<'_>) -> Result<(), Errno> {
    let (new_len, flags) = (call.u32(1) as usize, call.u64(2));
    let context = call.context();
    if flags != 0 || new_len > LEN_MAX || new_len < context.skb.network_offset {
        return Err(Errno::EINVAL);
    }
    if context.skb.encapsulated {
        return Err(Errno::ENOTSUPP);
    }
    let len = context.len();
    if new_len > len { context.insert(len, new_len - len) } else { context.remove(new_len, len - new_len) }
}

pub(super) fn change_head(call: &mut Call<'_>) -> Result<(), Errno> {
    let (room, flags) = (call.u32(1), call.u64(2));
    let context = call.context();
    if flags != 0 || (room as i32) < 0 || context.len() + room as usize > LEN_MAX {
        return Err(Errno::EINVAL);
    }
    context.insert(0, room as usize)?;
    context.skb.network_offset += room as usize;
    Ok(())
}

pub(super) fn change_type(call: &mut Call<'_>) -> Result<(), Errno> {
    const PACKET_OTHERHOST: u32 = 3;
    let new = call.u32(1);
    let context = call.context();
    if context.pkt_type > PACKET_OTHERHOST || new > PACKET_OTHERHOST {
        return Err(Errno::EINVAL);
    }
    context.pkt_type = new;
    Ok(())
}

/// The hash is weir's own, by [`crate::Env::flow_hash`]; the kernel's is keyed by a secret anyway.
pub(super) fn get_hash_recalc(call: &mut Call<'_>) -> u32 {
    let context = call.context();
    if context.hash == 0 {
        let range = context.data_range();
        let packet = &context.room()[range];
        // SAFETY: the bytes stay where they are while the world looks at them; it has no other way to them.
        let packet = unsafe { std::slice::from_raw_parts(packet.as_ptr(), packet.len()) };
        let hash = call.env().flow_hash(packet).max(1);
        call.context().hash = hash;
    }
    call.context().hash
}

pub(super) fn set_hash(call: &mut Call<'_>) {
    call.context().hash = call.u32(1);
}

pub(super) fn set_hash_invalid(call: &mut Call<'_>) {
    call.context().hash = 0;
}

pub(super) fn set_tstamp(call: &mut Call<'_>) -> Result<(), Errno> {
    const REALTIME: u32 = 0;
    const MONOTONIC: u32 = 1;
    const TAI: u32 = 2;
    let (tstamp, clock) = (call.u64(1), call.u32(2));
    let context = call.context();
    if !matches!(context.ether_type(), ether::IPV4 | ether::IPV6) {
        return Err(Errno::EOPNOTSUPP);
    }
    let right = match clock {
        REALTIME => true,
        MONOTONIC | TAI => tstamp != 0,
        _ => false,
    };
    if !right {
        return Err(Errno::EINVAL);
    }
    context.tstamp = tstamp;
    context.tstamp_type = clock;
    Ok(())
}

/// Answers 1 when the packet carries a congestion mark afterwards. A packet with a VLAN tag inside is left
/// alone; the kernel looks behind the tag for the protocol and then writes into the tag.
pub(super) fn ecn_set_ce(call: &mut Call<'_>) -> u32 {
    let context = call.context();
    let at = context.skb.network_offset;
    match context.ether_type() {
        ether::IPV4 => set_ce_v4(context, at),
        ether::IPV6 => set_ce_v6(context, at),
        _ => 0,
    }
}

fn set_ce_v4(context: &mut Context<'_>, at: usize) -> u32 {
    let Some(header) = context.packet_mut().get_mut(at..at + 20) else { return 0 };
    let (tos, ecn) = (header[1], (header[1] + 1) & 3);
    if ecn & 2 == 0 {
        return u32::from(ecn == 0);
    }
    let check = u16::from_be_bytes([header[10], header[11]]);
    let add = 0xfffb + u16::from(ecn);
    let (sum, carry) = check.overflowing_add(add);
    header[10..12].copy_from_slice(&(sum + u16::from(carry)).to_be_bytes());
    header[1] = tos | 3;
    1
}

fn set_ce_v6(context: &mut Context<'_>, at: usize) -> u32 {
    let Some(header) = context.packet_mut().get_mut(at..at + 40) else { return 0 };
    if header[1] & 0x30 == 0 {
        return 0;
    }
    header[1] |= 0x30;
    1
}
