//! What a section is for, by its name: libbpf's table, and the older spellings that name the same.

use weir_ebpf::ProgramType;
use weir_ebpf::abi::AttachType;

/// How a program's section wants it loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionKind {
    /// Type of its programs.
    pub kind: ProgramType,
    /// Whether they are made for packets in several buffers.
    pub frags: bool,
    /// Where they are attached.
    pub attach: Attach,
    /// The same in the kernel's words, as far as what they may do depends on it.
    pub expected: AttachType,
}

/// The place a program's section names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attach {
    /// Wherever the configuration says.
    Any,
    /// On the way in.
    Ingress,
    /// On the way out.
    Egress,
    /// An entry of a device map.
    Devmap,
    /// An entry of a CPU map.
    Cpumap,
}

impl SectionKind {
    const fn new(kind: ProgramType, frags: bool, attach: Attach) -> Self {
        Self { kind, frags, attach, expected: kind.usual_attach() }
    }

    /// A section whose programs are attached there, which is more than their type says.
    const fn at(kind: ProgramType, expected: AttachType) -> Self {
        Self { expected, ..Self::new(kind, false, Attach::Any) }
    }

    const fn devmap(frags: bool) -> Self {
        Self { expected: AttachType::XdpDevmap, ..Self::new(ProgramType::Xdp, frags, Attach::Devmap) }
    }

    const fn cpumap(frags: bool) -> Self {
        Self { expected: AttachType::XdpCpumap, ..Self::new(ProgramType::Xdp, frags, Attach::Cpumap) }
    }
}

/// Exact names first (libbpf's `section_defs`); then prefixes, longest first: what follows is for
/// people to tell programs apart.
const EXACT: &[(&str, SectionKind)] = &[
    ("xdp.frags/devmap", SectionKind::devmap(true)),
    ("xdp/devmap", SectionKind::devmap(false)),
    ("xdp.frags/cpumap", SectionKind::cpumap(true)),
    ("xdp/cpumap", SectionKind::cpumap(false)),
    ("tc/ingress", SectionKind::new(ProgramType::SchedCls, false, Attach::Ingress)),
    ("tc/egress", SectionKind::new(ProgramType::SchedCls, false, Attach::Egress)),
    ("tcx/ingress", SectionKind::new(ProgramType::SchedCls, false, Attach::Ingress)),
    ("tcx/egress", SectionKind::new(ProgramType::SchedCls, false, Attach::Egress)),
    ("netkit/primary", SectionKind::new(ProgramType::SchedCls, false, Attach::Any)),
    ("netkit/peer", SectionKind::new(ProgramType::SchedCls, false, Attach::Any)),
    ("cgroup/skb", SectionKind::new(ProgramType::CgroupSkb, false, Attach::Any)),
    ("cgroup_skb/ingress", SectionKind::new(ProgramType::CgroupSkb, false, Attach::Ingress)),
    ("cgroup_skb/egress", EGRESS_OF_CGROUP),
    ("cgroup/sock", SectionKind::new(ProgramType::CgroupSock, false, Attach::Any)),
    ("cgroup/sock_create", SectionKind::new(ProgramType::CgroupSock, false, Attach::Any)),
    ("cgroup/sock_release", SectionKind::at(ProgramType::CgroupSock, AttachType::CgroupInetSockRelease)),
    ("cgroup/post_bind4", SectionKind::at(ProgramType::CgroupSock, AttachType::CgroupInet4PostBind)),
    ("cgroup/post_bind6", SectionKind::at(ProgramType::CgroupSock, AttachType::CgroupInet6PostBind)),
    ("cgroup/bind4", SectionKind::at(ADDRESS, AttachType::CgroupInet4Bind)),
    ("cgroup/bind6", SectionKind::at(ADDRESS, AttachType::CgroupInet6Bind)),
    ("cgroup/connect4", SectionKind::at(ADDRESS, AttachType::CgroupInet4Connect)),
    ("cgroup/connect6", SectionKind::at(ADDRESS, AttachType::CgroupInet6Connect)),
    ("cgroup/connect_unix", SectionKind::at(ADDRESS, AttachType::CgroupUnixConnect)),
    ("cgroup/sendmsg4", SectionKind::at(ADDRESS, AttachType::CgroupUdp4Sendmsg)),
    ("cgroup/sendmsg6", SectionKind::at(ADDRESS, AttachType::CgroupUdp6Sendmsg)),
    ("cgroup/sendmsg_unix", SectionKind::at(ADDRESS, AttachType::CgroupUnixSendmsg)),
    ("cgroup/recvmsg4", SectionKind::at(ADDRESS, AttachType::CgroupUdp4Recvmsg)),
    ("cgroup/recvmsg6", SectionKind::at(ADDRESS, AttachType::CgroupUdp6Recvmsg)),
    ("cgroup/recvmsg_unix", SectionKind::at(ADDRESS, AttachType::CgroupUnixRecvmsg)),
    ("cgroup/getpeername4", SectionKind::at(ADDRESS, AttachType::CgroupInet4Getpeername)),
    ("cgroup/getpeername6", SectionKind::at(ADDRESS, AttachType::CgroupInet6Getpeername)),
    ("cgroup/getpeername_unix", SectionKind::at(ADDRESS, AttachType::CgroupUnixGetpeername)),
    ("cgroup/getsockname4", SectionKind::at(ADDRESS, AttachType::CgroupInet4Getsockname)),
    ("cgroup/getsockname6", SectionKind::at(ADDRESS, AttachType::CgroupInet6Getsockname)),
    ("cgroup/getsockname_unix", SectionKind::at(ADDRESS, AttachType::CgroupUnixGetsockname)),
    (
        "sk_reuseport/migrate",
        SectionKind::at(ProgramType::SkReuseport, AttachType::SkReuseportSelectOrMigrate),
    ),
];

const ADDRESS: ProgramType = ProgramType::CgroupSockAddr;
const EGRESS_OF_CGROUP: SectionKind = SectionKind {
    expected: AttachType::CgroupInetEgress,
    ..SectionKind::new(ProgramType::CgroupSkb, false, Attach::Egress)
};

/// Prefixes, followed by the end, `/`, `_`, `-`, `.` or a digit. libbpf before 1.0 took anything.
const PREFIXES: &[(&str, SectionKind)] = &[
    ("xdp.frags", SectionKind::new(ProgramType::Xdp, true, Attach::Any)),
    ("xdp_devmap", SectionKind::devmap(false)),
    ("xdp_cpumap", SectionKind::cpumap(false)),
    ("xdp", SectionKind::new(ProgramType::Xdp, false, Attach::Any)),
    ("tc", SectionKind::new(ProgramType::SchedCls, false, Attach::Any)),
    ("classifier", SectionKind::new(ProgramType::SchedCls, false, Attach::Any)),
    ("action", SectionKind::new(ProgramType::SchedAct, false, Attach::Any)),
    ("socket", SectionKind::new(ProgramType::SocketFilter, false, Attach::Any)),
    ("cgroup/skb", SectionKind::new(ProgramType::CgroupSkb, false, Attach::Any)),
    ("cgroup_skb/ingress", SectionKind::new(ProgramType::CgroupSkb, false, Attach::Ingress)),
    ("cgroup_skb/egress", EGRESS_OF_CGROUP),
    ("cgroup/sock", SectionKind::new(ProgramType::CgroupSock, false, Attach::Any)),
    ("lwt_in", SectionKind::new(ProgramType::LwtIn, false, Attach::Any)),
    ("lwt_out", SectionKind::new(ProgramType::LwtOut, false, Attach::Any)),
    ("lwt_xmit", SectionKind::new(ProgramType::LwtXmit, false, Attach::Any)),
    ("lwt_seg6local", SectionKind::new(ProgramType::LwtSeg6Local, false, Attach::Any)),
    ("sockops", SectionKind::at(ProgramType::SockOps, AttachType::CgroupSockOps)),
    ("sk_skb", SectionKind::new(ProgramType::SkSkb, false, Attach::Any)),
    ("sk_msg", SectionKind::new(ProgramType::SkMsg, false, Attach::Any)),
    ("sk_lookup", SectionKind::new(ProgramType::SkLookup, false, Attach::Any)),
    ("sk_reuseport", SectionKind::new(ProgramType::SkReuseport, false, Attach::Any)),
    ("flow_dissector", SectionKind::new(ProgramType::FlowDissector, false, Attach::Any)),
];

/// The name without its `?`, and whether it had none (libbpf's `SEC("?...")`: not loaded unless asked).
pub(crate) fn autoload(name: &str) -> (&str, bool) {
    match name.strip_prefix('?') {
        Some(rest) => (rest, false),
        None => (name, true),
    }
}

/// How programs of the section with this name are to be loaded, when weir can run them.
pub fn section_kind(name: &str) -> Option<SectionKind> {
    let (name, _) = autoload(name);
    let exact = EXACT.iter().find(|(exact, _)| *exact == name);
    let by_prefix = || {
        PREFIXES.iter().find(|(prefix, _)| match name.strip_prefix(prefix) {
            Some(rest) => {
                rest.is_empty() || rest.starts_with(['/', '_', '-', '.']) || starts_with_digit(rest)
            }
            None => false,
        })
    };
    exact.or_else(by_prefix).map(|(_, kind)| *kind)
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

/// What a data section becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataKind {
    /// `.rodata`: constants, frozen.
    Rodata,
    /// `.data`: variables with a first value.
    Data,
    /// `.bss`: variables that start as zeros.
    Bss,
}

/// Which data section a name and a kind of storage make.
pub(crate) fn data_kind(name: &str, nobits: bool) -> Option<DataKind> {
    let is =
        |base: &str| name.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    match nobits {
        true if is(".bss") => Some(DataKind::Bss),
        false if is(".rodata") => Some(DataKind::Rodata),
        false if is(".data") => Some(DataKind::Data),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_what_libbpf_says() {
        let kind = |name| section_kind(name).map(|found| (found.kind, found.frags, found.attach));
        for name in ["xdp", "?xdp", "xdp/main", "xdp_pass", "xdp1", "xdp-tail"] {
            assert_eq!(kind(name), Some((ProgramType::Xdp, false, Attach::Any)), "{name}");
        }
        for name in ["xdp.frags", "xdp.frags/main"] {
            assert_eq!(kind(name), Some((ProgramType::Xdp, true, Attach::Any)), "{name}");
        }
        assert_eq!(kind("xdp/devmap"), Some((ProgramType::Xdp, false, Attach::Devmap)));
        assert_eq!(kind("xdp.frags/cpumap"), Some((ProgramType::Xdp, true, Attach::Cpumap)));
        assert_eq!(kind("tcx/egress"), Some((ProgramType::SchedCls, false, Attach::Egress)));
        assert_eq!(kind("tc/x"), Some((ProgramType::SchedCls, false, Attach::Any)));
        assert_eq!(kind("classifier/x"), Some((ProgramType::SchedCls, false, Attach::Any)));
        assert_eq!(kind("action"), Some((ProgramType::SchedAct, false, Attach::Any)));
        assert_eq!(kind("socket/dns"), Some((ProgramType::SocketFilter, false, Attach::Any)));
        let expected = |name| section_kind(name).map(|found| (found.kind, found.expected));
        assert_eq!(expected("sk_skb/stream_verdict"), Some((ProgramType::SkSkb, AttachType::Unsaid)));
        assert_eq!(
            expected("cgroup_skb/egress"),
            Some((ProgramType::CgroupSkb, AttachType::CgroupInetEgress))
        );
        assert_eq!(expected("cgroup/bind6"), Some((ADDRESS, AttachType::CgroupInet6Bind)));
        assert_eq!(expected("xdp_devmap/out"), Some((ProgramType::Xdp, AttachType::XdpDevmap)));
        for name in ["kprobe/x", "cgroup/dev", "sk_other", "tcp_hook", "tracepoint/x", "xdpish", ""] {
            assert_eq!(kind(name), None, "{name}");
        }
    }
}
