//! VLAN tags of an skb (net/core/skbuff.c, `skb_vlan_push` and `skb_vlan_pop`, 6.18).
//!
//! The outermost tag stands beside the packet, as after hardware offload; the next ones are inside it.

use weir_ebpf::abi::Errno;

use super::call::Call;
use crate::context::{Context, ETHERNET_BYTES, VLAN_BYTES, ether};

pub(super) fn push(call: &mut Call<'_>) -> Result<(), Errno> {
    let (proto, tci) = (u16::from_be(call.u16(1)), call.u16(2));
    let context = call.context();
    if let Some((outer, tag)) = context.vlan_tag() {
        context.insert_tag(outer, tag)?;
        context.set_ether_type(outer);
    }
    let proto = if ether::is_vlan(proto) { proto } else { ether::VLAN };
    context.set_vlan_tag(Some((proto, tci)));
    Ok(())
}

pub(super) fn pop(call: &mut Call<'_>) -> Result<(), Errno> {
    let context = call.context();
    if context.vlan_tag().is_some() {
        context.set_vlan_tag(None);
    } else if ether::is_vlan(context.ether_type()) {
        take_out(context)?;
    } else {
        return Ok(());
    }
    let proto = context.ether_type();
    if ether::is_vlan(proto) {
        let tci = take_out(context)?;
        context.set_vlan_tag(Some((proto, tci)));
    }
    Ok(())
}

/// Takes the outermost tag out of the packet's bytes and answers its control information.
fn take_out(context: &mut Context<'_>) -> Result<u16, Errno> {
    let Some(&[high, low]) = context.packet().get(ETHERNET_BYTES..ETHERNET_BYTES + 2) else {
        return Err(Errno::ENOMEM);
    };
    if context.len() < ETHERNET_BYTES + VLAN_BYTES {
        return Err(Errno::ENOMEM);
    }
    context.remove(ETHERNET_BYTES - 2, VLAN_BYTES)?;
    context.read_ether_type();
    let network = context.skb.network_offset.saturating_sub(VLAN_BYTES);
    context.skb.network_offset = network.max(ETHERNET_BYTES);
    Ok(u16::from_be_bytes([high, low]))
}
