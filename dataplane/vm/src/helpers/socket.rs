//! Questions about the packet's sender, which no packet has here: each answers what the kernel answers
//! for a packet that came from the wire.

use weir_ebpf::abi::Errno;

use super::call::Call;

/// `bpf_get_cgroup_classid`: no task sent it.
pub(super) fn cgroup_classid(_call: &mut Call<'_>) -> u32 {
    0
}

/// `bpf_get_route_realm`: it has no route yet.
pub(super) fn route_realm(_call: &mut Call<'_>) -> u32 {
    0
}

/// `bpf_get_socket_cookie`: no socket.
pub(super) fn cookie(_call: &mut Call<'_>) -> u64 {
    0
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
