//! Tracked connections (net/netfilter/nf_conntrack_bpf.c, 6.18). weir has no table of them, so each is asked for
//! as on a machine that has seen none: the options are looked at as the kernel does, and the answer is null with
//! the reason beside it.

use weir_ebpf::abi::Errno;

use super::call::{Call, Memory};

/// `struct bpf_ct_opts`, and its older form.
const OPTIONS: [usize; 2] = [16, 12];
/// Where the reason is.
const ERROR_AT: usize = 4;

/// What is wrong with a question; `found` when nothing is (`__bpf_nf_ct_lookup`).
fn wrong(tuple: &Memory, options: &Memory, found: Errno) -> Errno {
    const TRACKED: [u8; 2] = [6, 17];
    let byte = |at| options.array::<1>(at)[0];
    let namespace = i32::from_ne_bytes(options.array(0));
    let reserved = match options.len() {
        16 => &[13, 14, 15][..],
        _ => &[10, 11][..],
    };
    match (tuple.len(), options.len()) {
        (0, _) => Errno::EINVAL,
        (_, length) if !OPTIONS.contains(&length) => Errno::EINVAL,
        _ if reserved.iter().any(|at| byte(*at) != 0) || namespace < -1 => Errno::EINVAL,
        _ if !TRACKED.contains(&byte(8)) => Errno::EPROTO,
        (12 | 36, _) if namespace >= 0 => Errno::ENONET,
        (12 | 36, _) => found,
        _ => Errno::EAFNOSUPPORT,
    }
}

fn ask(call: &mut Call<'_>, found: Errno) -> u64 {
    let (tuple, options) = (call.memory(1), call.memory(3));
    let reason = wrong(&tuple, &options, found);
    if options.len() >= ERROR_AT + 4 {
        options.write(ERROR_AT, &(-(reason as i32)).to_ne_bytes());
    }
    0
}

pub(super) fn lookup(call: &mut Call<'_>) -> u64 {
    ask(call, Errno::ENOENT)
}

pub(super) fn alloc(call: &mut Call<'_>) -> u64 {
    ask(call, Errno::ENOMEM)
}
