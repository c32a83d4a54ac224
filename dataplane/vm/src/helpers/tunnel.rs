//! Tunnel metadata of an skb (net/core/filter.c, 6.18). What a program sets, a later program of the packet
//! reads; weir's ports do not encapsulate by it.

use weir_ebpf::abi::Errno;

use super::call::{Call, Memory};
use crate::context::Tunnel;

/// `struct bpf_tunnel_key`.
const KEY_BYTES: usize = 44;
/// Lengths that older programs use: up to `remote_ipv6[1]`, `tunnel_ext`, `tunnel_label`, `local_ipv6`.
const OLD_LENGTHS: [usize; 4] = [8, 22, 24, 28];
const REMOTE: usize = 4;
const EXT: usize = 22;
const LABEL: usize = 24;
const LOCAL: usize = 28;
/// Most bytes of options (`IP_TUNNEL_OPTS_MAX`).
const OPTIONS_MAX: usize = 255;

/// `BPF_F_*` of the tunnel helpers.
mod flag {
    pub(super) const IPV6: u64 = 1 << 0;
    pub(super) const ZERO_CSUM_TX: u64 = 1 << 1;
    pub(super) const DONT_FRAGMENT: u64 = 1 << 2;
    pub(super) const SEQ_NUMBER: u64 = 1 << 3;
    pub(super) const TUNINFO_FLAGS: u64 = 1 << 4;
    /// Of the setting helper; the same bit as [`TUNINFO_FLAGS`] of the reading one.
    pub(super) const NO_TUNNEL_KEY: u64 = 1 << 4;
}

pub(super) fn set_key(call: &mut Call<'_>) -> Result<(), Errno> {
    const ALLOWED: u64 =
        flag::IPV6 | flag::ZERO_CSUM_TX | flag::DONT_FRAGMENT | flag::SEQ_NUMBER | flag::NO_TUNNEL_KEY;
    let (memory, flags) = (call.memory(1), call.u64(3));
    let sized = memory.len() == KEY_BYTES || OLD_LENGTHS.contains(&memory.len());
    if flags & !ALLOWED != 0 || !sized {
        return Err(Errno::EINVAL);
    }
    let mut key: [u8; KEY_BYTES] = memory.array(0);
    let ipv6 = flags & flag::IPV6 != 0;
    let labelled = key[LABEL..LOCAL] != [0; 4];
    if (labelled && !ipv6) || key[EXT..LABEL] != [0; 2] {
        return Err(Errno::EINVAL);
    }
    if !ipv6 {
        key[REMOTE + 4..REMOTE + 16].fill(0);
        key[LOCAL + 4..].fill(0);
    }
    let tunnel = Tunnel { key, ipv6, flags: tunnel_flags(flags), options: None };
    call.context().skb.tunnel = Some(Box::new(tunnel));
    Ok(())
}

/// `TUNNEL_*` (include/uapi/linux/if_tunnel.h), which `BPF_F_TUNINFO_FLAGS` reads in network order.
fn tunnel_flags(flags: u64) -> u16 {
    const CSUM: u16 = 0x01;
    const KEY: u16 = 0x04;
    const SEQ: u16 = 0x08;
    const DONT_FRAGMENT: u16 = 0x0100;
    const NOCACHE: u16 = 0x2000;
    let when = |condition: bool, bit: u16| if condition { bit } else { 0 };
    NOCACHE
        | when(flags & flag::ZERO_CSUM_TX == 0, CSUM)
        | when(flags & flag::NO_TUNNEL_KEY == 0, KEY)
        | when(flags & flag::SEQ_NUMBER != 0, SEQ)
        | when(flags & flag::DONT_FRAGMENT != 0, DONT_FRAGMENT)
}

pub(super) fn get_key(call: &mut Call<'_>) -> Result<(), Errno> {
    let (memory, flags) = (call.memory(1), call.u64(3));
    let answer = seen_key(call, &memory, flags);
    match &answer {
        Ok(key) => memory.write(0, &key[..memory.len()]),
        Err(_) => memory.clear(),
    }
    answer.map(|_| ())
}

fn seen_key(call: &mut Call<'_>, memory: &Memory, flags: u64) -> Result<[u8; KEY_BYTES], Errno> {
    let tunnel = call.context().skb.tunnel.as_deref().ok_or(Errno::EINVAL)?;
    if flags & !(flag::IPV6 | flag::TUNINFO_FLAGS) != 0 {
        return Err(Errno::EINVAL);
    }
    if tunnel.ipv6 != (flags & flag::IPV6 != 0) {
        return Err(Errno::EPROTO);
    }
    let sized = memory.len() == KEY_BYTES || OLD_LENGTHS.contains(&memory.len());
    if !sized || (memory.len() == OLD_LENGTHS[0] && tunnel.ipv6) {
        return Err(Errno::EINVAL);
    }
    // What was set for sending is read from the receiver's side: remote and local change places.
    let mut key = tunnel.key;
    key[REMOTE..REMOTE + 16].copy_from_slice(&tunnel.key[LOCAL..]);
    key[LOCAL..].copy_from_slice(&tunnel.key[REMOTE..REMOTE + 16]);
    let ext = if flags & flag::TUNINFO_FLAGS != 0 { tunnel.flags.to_be_bytes() } else { [0; 2] };
    key[EXT..LABEL].copy_from_slice(&ext);
    Ok(key)
}

pub(super) fn set_opt(call: &mut Call<'_>) -> Result<(), Errno> {
    let memory = call.memory(1);
    let tunnel = call.context().skb.tunnel.as_deref_mut().ok_or(Errno::EINVAL)?;
    if !memory.len().is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    if memory.len() > OPTIONS_MAX {
        return Err(Errno::ENOMEM);
    }
    tunnel.options = Some(memory.to_vec());
    Ok(())
}

pub(super) fn get_opt(call: &mut Call<'_>) -> Result<u64, Errno> {
    let memory = call.memory(1);
    let tunnel = call.context().skb.tunnel.as_deref();
    let options = tunnel.and_then(|tunnel| tunnel.options.clone()).ok_or(Errno::ENOENT);
    let options = options.and_then(|o| if memory.len() < o.len() { Err(Errno::ENOMEM) } else { Ok(o) });
    memory.clear();
    let options = options?;
    memory.write(0, &options);
    Ok(options.len() as u64)
}
