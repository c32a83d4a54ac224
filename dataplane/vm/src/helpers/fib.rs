//! Routes and MTUs (`bpf_fib_lookup`, `bpf_check_mtu`; net/core/filter.c, 6.18).

use weir_ebpf::ProgramType;
use weir_ebpf::abi::Errno;

use super::call::{Call, Memory};
use crate::context::ETHERNET_BYTES;
use crate::env::{FibAddresses, FibAnswer, FibFlags, FibGateway, FibHop, FibQuery};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// `struct bpf_fib_lookup`.
const PARAMS_BYTES: usize = 64;

/// Where the parts of `struct bpf_fib_lookup` are.
mod at {
    pub(super) const FAMILY: usize = 0;
    pub(super) const L4_PROTOCOL: usize = 1;
    pub(super) const SPORT: usize = 2;
    pub(super) const DPORT: usize = 4;
    /// `tot_len` in, `mtu_result` out.
    pub(super) const TOT_LEN: usize = 6;
    pub(super) const IFINDEX: usize = 8;
    /// `tos` or `flowinfo` in, `rt_metric` out.
    pub(super) const TOS: usize = 12;
    pub(super) const SRC: usize = 16;
    pub(super) const DST: usize = 32;
    /// `tbid` in, the VLAN fields out.
    pub(super) const TBID: usize = 48;
    /// `mark` in, `smac` out.
    pub(super) const MARK: usize = 52;
    pub(super) const DMAC: usize = 58;
}

/// `BPF_FIB_LKUP_RET_*`.
mod ret {
    pub(super) const SUCCESS: u32 = 0;
    pub(super) const BLACKHOLE: u32 = 1;
    pub(super) const UNREACHABLE: u32 = 2;
    pub(super) const PROHIBIT: u32 = 3;
    pub(super) const NOT_FWDED: u32 = 4;
    pub(super) const FWD_DISABLED: u32 = 5;
    pub(super) const UNSUPP_LWT: u32 = 6;
    pub(super) const NO_NEIGH: u32 = 7;
    pub(super) const FRAG_NEEDED: u32 = 8;
    pub(super) const NO_SRC_ADDR: u32 = 9;
}

pub(super) fn lookup(call: &mut Call<'_>) -> Result<u32, Errno> {
    let (params, flags) = (call.memory(1), call.u32(3));
    if params.len() < PARAMS_BYTES || flags & !FibFlags::ALL != 0 {
        return Err(Errno::EINVAL);
    }
    let query = query(&params, flags)?;
    let hop = match call.env().fib_lookup(&query) {
        FibAnswer::Forward(hop) => hop,
        FibAnswer::Blackhole => return Ok(ret::BLACKHOLE),
        FibAnswer::Unreachable => return Ok(ret::UNREACHABLE),
        FibAnswer::Prohibit => return Ok(ret::PROHIBIT),
        FibAnswer::NotForwarded => return Ok(ret::NOT_FWDED),
        FibAnswer::ForwardingDisabled => return Ok(ret::FWD_DISABLED),
        FibAnswer::Encapsulated => return Ok(ret::UNSUPP_LWT),
        FibAnswer::NoSourceAddress => return Ok(ret::NO_SRC_ADDR),
        FibAnswer::NoPort => return Err(Errno::ENODEV),
    };
    Ok(forward(call, &params, &query, &hop))
}

fn query(params: &Memory, flags: u32) -> Result<FibQuery, Errno> {
    let word = |offset| u32::from_ne_bytes(params.array(offset));
    let [family] = params.array(at::FAMILY);
    let [tos] = params.array(at::TOS);
    let (addresses, tos) = match family {
        AF_INET => {
            let (source, destination) = (params.array(at::SRC), params.array(at::DST));
            (FibAddresses::V4 { source, destination }, u32::from(tos))
        }
        AF_INET6 => {
            let (source, destination) = (params.array(at::SRC), params.array(at::DST));
            (FibAddresses::V6 { source, destination }, u32::from_be(word(at::TOS)))
        }
        _ => return Err(Errno::EAFNOSUPPORT),
    };
    Ok(FibQuery {
        addresses,
        l4_protocol: params.array::<1>(at::L4_PROTOCOL)[0],
        source_port: u16::from_be_bytes(params.array(at::SPORT)),
        destination_port: u16::from_be_bytes(params.array(at::DPORT)),
        total_len: u16::from_ne_bytes(params.array(at::TOT_LEN)),
        tos,
        ifindex: word(at::IFINDEX),
        flags,
        mark: if flags & FibFlags::MARK != 0 { word(at::MARK) } else { 0 },
        table: if flags & FibFlags::TBID != 0 { word(at::TBID) } else { 0 },
    })
}

/// Fills the answer in; the order of the checks is the kernel's.
fn forward(call: &mut Call<'_>, params: &Memory, query: &FibQuery, hop: &FibHop) -> u32 {
    let port = call.env().port(hop.ifindex).unwrap_or_default();
    let route_mtu = if hop.mtu != 0 { hop.mtu } else { port.mtu };
    let by_route = call.run().kind == ProgramType::Xdp || query.total_len != 0;
    if by_route && u32::from(query.total_len) > route_mtu {
        params.write(at::TOT_LEN, &(route_mtu as u16).to_ne_bytes());
        return ret::FRAG_NEEDED;
    }
    params.write(at::TOS, &hop.metric.to_ne_bytes());
    params.write(at::IFINDEX, &hop.ifindex.to_ne_bytes());
    if query.flags & FibFlags::SRC != 0 {
        match hop.source {
            Some(source) => write_address(params, at::SRC, source),
            None => return ret::NO_SRC_ADDR,
        }
    }
    if let Some(gateway) = hop.gateway {
        write_address(params, at::DST, gateway);
        if matches!(gateway, FibGateway::V6(_)) {
            params.write(at::FAMILY, &[AF_INET6]);
        }
    }
    if query.flags & FibFlags::SKIP_NEIGH == 0 {
        let Some(neighbour) = hop.neighbour else { return ret::NO_NEIGH };
        params.write(at::DMAC, &neighbour);
        params.write(at::MARK, &hop.mac);
    }
    params.write(at::TBID, &[0; 4]);
    let mtu = if by_route { route_mtu } else { port.mtu };
    params.write(at::TOT_LEN, &(mtu as u16).to_ne_bytes());
    // is_skb_forwardable: what fits the port, with room for one VLAN tag.
    let len_max = port.mtu as usize + ETHERNET_BYTES + crate::context::VLAN_BYTES;
    if !by_route && (!port.up || call.context().len() > len_max) { ret::FRAG_NEEDED } else { ret::SUCCESS }
}

fn write_address(params: &Memory, offset: usize, address: FibGateway) {
    match address {
        FibGateway::V4(bytes) => params.write(offset, &bytes),
        FibGateway::V6(bytes) => params.write(offset, &bytes),
    }
}

pub(super) fn check_mtu(call: &mut Call<'_>) -> Result<u32, Errno> {
    const SEGMENTS: u64 = 1 << 0;
    const SUCCESS: u32 = 0;
    const FRAG_NEEDED: u32 = 1;
    let (ifindex, in_out, diff, flags) = (call.u32(1), call.fixed(2), call.i32(3), call.u64(4));
    let given = u32::from_ne_bytes(in_out.array(0));
    let allowed = if call.run().kind == ProgramType::Xdp { 0 } else { SEGMENTS };
    if flags & !allowed != 0 || (flags & SEGMENTS != 0 && (diff != 0 || given != 0)) {
        return Err(Errno::EINVAL);
    }
    let context = call.context();
    let here = if context.ifindex != 0 { context.ifindex } else { context.ingress_ifindex };
    let (ifindex, len) = (if ifindex == 0 { here } else { ifindex }, context.len());
    let port = call.env().port(ifindex).ok_or(Errno::ENODEV)?;
    // C's int arithmetic: the lengths are far from its limits, the difference is the program's.
    let header = ETHERNET_BYTES as i32;
    let len = if given != 0 { (given as i32).wrapping_add(header) } else { len as i32 };
    let fits = len.wrapping_add(diff) <= (port.mtu as i32).wrapping_add(header);
    in_out.write(0, &port.mtu.to_ne_bytes());
    Ok(if fits { SUCCESS } else { FRAG_NEEDED })
}
