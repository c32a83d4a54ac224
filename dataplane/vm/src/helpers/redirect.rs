//! Where a packet shall go (net/core/filter.c, `__bpf_xdp_redirect_map` in include/linux/filter.h, 6.18).
//!
//! A helper only notes the place; it counts when the program then answers `XDP_REDIRECT` or
//! `TC_ACT_REDIRECT`, and the engine does it.

use weir_ebpf::ProgramType;
use weir_ebpf::abi::{Errno, MapKind, TcAction, XdpAction};

use super::call::Call;
use crate::env::FibGateway;
use crate::run::Redirect;

const INGRESS: u64 = 1 << 0;
const BROADCAST: u64 = 1 << 3;
const EXCLUDE_INGRESS: u64 = 1 << 4;

pub(super) fn redirect(call: &mut Call<'_>) -> u32 {
    let (ifindex, flags) = (call.u32(0), call.u64(1));
    let run = call.run();
    let xdp = run.kind == ProgramType::Xdp;
    let allowed = if xdp { 0 } else { INGRESS };
    if flags & !allowed != 0 {
        return if xdp { XdpAction::Aborted as u32 } else { TcAction::Shot as u32 };
    }
    run.redirect = Some(Redirect::Port { ifindex, ingress: flags & INGRESS != 0 });
    if xdp { XdpAction::Redirect as u32 } else { TcAction::Redirect as u32 }
}

pub(super) fn peer(call: &mut Call<'_>) -> u32 {
    if call.u64(1) != 0 {
        return TcAction::Shot as u32;
    }
    call.run().redirect = Some(Redirect::Peer { ifindex: call.u32(0) });
    TcAction::Redirect as u32
}

/// `struct bpf_redir_neigh`: family of the next hop, 4 bytes, and its address, 16.
pub(super) fn neighbour(call: &mut Call<'_>) -> u32 {
    const PARAMS_BYTES: usize = 20;
    const AF_INET: u32 = 2;
    const AF_INET6: u32 = 10;
    let (ifindex, params, flags) = (call.u32(0), call.memory(1), call.u64(3));
    if flags != 0 || (params.len() != 0 && params.len() < PARAMS_BYTES) {
        return TcAction::Shot as u32;
    }
    let hop = match u32::from_ne_bytes(params.array(0)) {
        AF_INET => Some(FibGateway::V4(params.array(4))),
        AF_INET6 => Some(FibGateway::V6(params.array(4))),
        _ => None,
    };
    call.run().redirect = Some(Redirect::Neighbour { ifindex, hop });
    TcAction::Redirect as u32
}

pub(super) fn map(call: &mut Call<'_>) -> u64 {
    const ACTION_MASK: u64 = 3;
    let (map, key, flags) = (call.map(0), call.u64(1), call.u64(2));
    let multicast = matches!(map.spec().kind, MapKind::Devmap | MapKind::DevmapHash);
    let allowed = ACTION_MASK | if multicast { BROADCAST | EXCLUDE_INGRESS } else { 0 };
    if flags & !allowed != 0 {
        return XdpAction::Aborted as u64;
    }
    let map_id = map.id();
    let target = map.target(u64::from(key as u32));
    let redirect = match target {
        _ if flags & BROADCAST != 0 => {
            Some(Redirect::Broadcast { map: map_id, exclude_ingress: flags & EXCLUDE_INGRESS != 0 })
        }
        Some(target) => Some(Redirect::Map { map: map_id, key: key as u32, target }),
        None => None,
    };
    call.run().redirect = redirect;
    if redirect.is_some() { XdpAction::Redirect as u64 } else { flags & ACTION_MASK }
}

pub(super) fn clone(call: &mut Call<'_>) -> Result<(), Errno> {
    let (ifindex, flags) = (call.u32(1), call.u64(2));
    if flags & !INGRESS != 0 {
        return Err(Errno::EINVAL);
    }
    call.env().port(ifindex).ok_or(Errno::EINVAL)?;
    let context = call.context();
    let mut copy = context.packet().to_vec();
    if let Some((proto, tci)) = context.vlan_tag().filter(|_| copy.len() >= 12) {
        let tag = [proto.to_be_bytes(), tci.to_be_bytes()].concat();
        copy.splice(12..12, tag);
    }
    call.env().clone_redirect(ifindex, flags & INGRESS != 0, &copy)
}
