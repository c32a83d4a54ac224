//! Helpers that make or take room between two layers of an skb (`bpf_skb_adjust_room`,
//! `bpf_skb_change_proto`; net/core/filter.c, 6.18).

use weir_ebpf::abi::Errno;

use super::call::Call;
use super::skb::LEN_MAX;
use crate::context::{Context, ETHERNET_BYTES, ether};

const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
/// Most bytes one call may make or take.
const DIFF_MAX: u32 = 0xfff;

/// `BPF_F_ADJ_ROOM_*`.
mod flag {
    pub(super) const FIXED_GSO: u64 = 1 << 0;
    pub(super) const ENCAP_L3_IPV4: u64 = 1 << 1;
    pub(super) const ENCAP_L3_IPV6: u64 = 1 << 2;
    pub(super) const ENCAP_L4_GRE: u64 = 1 << 3;
    pub(super) const ENCAP_L4_UDP: u64 = 1 << 4;
    pub(super) const NO_CSUM_RESET: u64 = 1 << 5;
    pub(super) const ENCAP_L2_ETH: u64 = 1 << 6;
    pub(super) const DECAP_L3_IPV4: u64 = 1 << 7;
    pub(super) const DECAP_L3_IPV6: u64 = 1 << 8;
    pub(super) const ENCAP_L2_SHIFT: u32 = 56;
    pub(super) const ENCAP_L3: u64 = ENCAP_L3_IPV4 | ENCAP_L3_IPV6;
    pub(super) const DECAP_L3: u64 = DECAP_L3_IPV4 | DECAP_L3_IPV6;
    pub(super) const SHRINK: u64 = FIXED_GSO | DECAP_L3 | NO_CSUM_RESET;
    pub(super) const ALL: u64 =
        SHRINK | ENCAP_L3 | ENCAP_L4_GRE | ENCAP_L4_UDP | ENCAP_L2_ETH | 0xff << ENCAP_L2_SHIFT;
}

pub(super) fn adjust_room(call: &mut Call<'_>) -> Result<(), Errno> {
    const AT_NETWORK: u32 = 0;
    const AT_MAC: u32 = 1;
    let (diff, mode, flags) = (call.i32(1), call.u32(2), call.u64(3));
    let context = call.context();
    if flags & !flag::ALL != 0 {
        return Err(Errno::EINVAL);
    }
    if diff.unsigned_abs() > DIFF_MAX {
        return Err(Errno::EFAULT);
    }
    let base = base_len(context).ok_or(Errno::ENOTSUPP)?;
    let at = match mode {
        AT_NETWORK => context.skb.network_offset + base,
        AT_MAC => context.skb.network_offset,
        _ => return Err(Errno::ENOTSUPP),
    };
    let len_min = match flags & flag::DECAP_L3 {
        0 => base,
        _ if diff >= 0 => return Err(Errno::EINVAL),
        flag::DECAP_L3_IPV4 => IPV4_BYTES,
        flag::DECAP_L3_IPV6 => IPV6_BYTES,
        _ => return Err(Errno::EINVAL),
    };
    let amount = diff.unsigned_abs() as usize;
    if diff < 0 {
        let current = context.len().saturating_sub(context.skb.network_offset);
        if amount >= current || current - amount < len_min {
            return Err(Errno::ENOTSUPP);
        }
        shrink(context, at, amount, flags)?;
    } else {
        if context.len() + amount > LEN_MAX {
            return Err(Errno::ENOTSUPP);
        }
        grow(context, at, amount, flags)?;
    }
    if flags & flag::NO_CSUM_RESET == 0 {
        context.skb.checked_levels = None;
    }
    Ok(())
}

/// Bytes of the network header by `skb->protocol`.
fn base_len(context: &Context<'_>) -> Option<usize> {
    match context.ether_type() {
        ether::IPV4 => Some(IPV4_BYTES),
        ether::IPV6 => Some(IPV6_BYTES),
        _ => None,
    }
}

fn shrink(context: &mut Context<'_>, at: usize, amount: usize, flags: u64) -> Result<(), Errno> {
    if flags & !flag::SHRINK != 0 {
        return Err(Errno::EINVAL);
    }
    context.remove(at, amount)?;
    match (context.ether_type(), flags & flag::DECAP_L3) {
        (ether::IPV4, flag::DECAP_L3_IPV6) => context.set_ether_type(ether::IPV6),
        (ether::IPV6, flag::DECAP_L3_IPV4) => context.set_ether_type(ether::IPV4),
        _ => {}
    }
    Ok(())
}

fn grow(context: &mut Context<'_>, at: usize, amount: usize, flags: u64) -> Result<(), Errno> {
    let encapsulates = flags & flag::ENCAP_L3 != 0;
    if encapsulates {
        check_encapsulation(context, amount, flags)?;
    }
    context.insert(at, amount)?;
    if encapsulates {
        context.skb.encapsulated = true;
        let outer = if flags & flag::ENCAP_L3_IPV6 != 0 { ether::IPV6 } else { ether::IPV4 };
        context.set_ether_type(outer);
    }
    Ok(())
}

fn check_encapsulation(context: &Context<'_>, amount: usize, flags: u64) -> Result<(), Errno> {
    let both = |one: u64, other: u64| flags & one != 0 && flags & other != 0;
    let inner_mac = (flags >> flag::ENCAP_L2_SHIFT) as usize;
    let short_mac = flags & flag::ENCAP_L2_ETH != 0 && inner_mac < ETHERNET_BYTES;
    if both(flag::ENCAP_L3_IPV4, flag::ENCAP_L3_IPV6)
        || both(flag::ENCAP_L4_GRE, flag::ENCAP_L4_UDP)
        || short_mac
    {
        return Err(Errno::EINVAL);
    }
    if context.skb.encapsulated {
        return Err(Errno::EALREADY);
    }
    if inner_mac > amount { Err(Errno::EINVAL) } else { Ok(()) }
}

pub(super) fn change_proto(call: &mut Call<'_>) -> Result<(), Errno> {
    const DIFF: usize = IPV6_BYTES - IPV4_BYTES;
    let (wanted, flags) = (u16::from_be(call.u16(1)), call.u64(2));
    let context = call.context();
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let at = context.skb.network_offset;
    match (context.ether_type(), wanted) {
        (ether::IPV4, ether::IPV6) => context.insert(at, DIFF)?,
        (ether::IPV6, ether::IPV4) => context.remove(at, DIFF)?,
        _ => return Err(Errno::ENOTSUPP),
    }
    context.set_ether_type(wanted);
    context.hash = 0;
    Ok(())
}
