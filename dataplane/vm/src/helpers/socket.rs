//! Questions about the packet's sender and about sockets. No packet has a sender here, and there are no
//! sockets to be found: each answers what the kernel answers for a packet that came from the wire to
//! a host on which nothing listens.

use weir_ebpf::abi::Errno;

use super::call::Call;

/// `bpf_get_cgroup_classid`: no task sent it.
pub(super) fn cgroup_classid(_call: &mut Call<'_>) -> u32 {
    0
}

/// Lookups of sockets and questions about the task or cgroup: null, or 0.
pub(super) fn nobody(_call: &mut Call<'_>) -> u64 {
    0
}

/// What takes a socket, which no program comes to have.
pub(super) fn none_given(_call: &mut Call<'_>) -> Errno {
    Errno::EINVAL
}

/// `bpf_skb_get_xfrm_state`: the packet took no IPsec path.
pub(super) fn xfrm_state(call: &mut Call<'_>) -> Errno {
    call.memory(2).clear();
    Errno::EINVAL
}

/// `bpf_get_route_realm`: it has no route yet.
pub(super) fn route_realm(_call: &mut Call<'_>) -> u32 {
    0
}

/// `bpf_get_socket_cookie`: no socket.
pub(super) fn cookie(_call: &mut Call<'_>) -> u64 {
    0
}

/// `bpf_get_netns_cookie` of no socket: the first namespace.
pub(super) fn first_netns(_call: &mut Call<'_>) -> u64 {
    1
}

/// `bpf_get_socket_uid`: the overflow uid stands for "no socket".
pub(super) fn uid(_call: &mut Call<'_>) -> u32 {
    const OVERFLOW_UID: u32 = 65534;
    OVERFLOW_UID
}

/// `bpf_skb_under_cgroup`: no socket, no cgroup.
pub(super) fn under_cgroup(_call: &mut Call<'_>) -> Errno {
    Errno::ENOENT
}
