//! Program types: number, name, context and what each may do with the packet (`enum bpf_prog_type`,
//! include/uapi/linux/bpf.h; `may_access_direct_pkt_data`, kernel/bpf/verifier.c), and where they are attached
//! (`enum bpf_attach_type`).

use std::fmt;

/// The structure that a program sees through its first argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum View {
    /// `struct xdp_md`.
    Xdp,
    /// `struct __sk_buff`.
    Skb,
    /// `struct sk_msg_md`.
    SkMsg,
    /// `struct bpf_sk_lookup`.
    SkLookup,
    /// `struct sk_reuseport_md`.
    SkReuseport,
    /// `struct bpf_sock_ops`.
    SockOps,
    /// `struct bpf_sock`.
    Sock,
    /// `struct bpf_sock_addr`.
    SockAddr,
}

impl View {
    /// The structure's names: the program's, then the kernel's.
    pub const fn structs(self) -> [&'static str; 2] {
        match self {
            View::Xdp => ["xdp_md", "xdp_buff"],
            View::Skb => ["__sk_buff", "sk_buff"],
            View::SkMsg => ["sk_msg_md", "sk_msg"],
            View::SkLookup => ["bpf_sk_lookup", "bpf_sk_lookup_kern"],
            View::SkReuseport => ["sk_reuseport_md", "sk_reuseport_kern"],
            View::SockOps => ["bpf_sock_ops", "bpf_sock_ops_kern"],
            View::Sock => ["bpf_sock", "sock"],
            View::SockAddr => ["bpf_sock_addr", "bpf_sock_addr_kern"],
        }
    }
}

/// What programs may do with packet memory through pointers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PacketUse {
    /// It is not given to helpers, and not written.
    None,
    /// It is read.
    Read,
    /// It is read and written.
    ReadWrite,
}

/// How far weir goes with programs of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Support {
    /// They are proven; nothing here would give them what they work on.
    Proven,
    /// They are proven, and tried on packets one at a time; nothing attaches them.
    Tried,
    /// They are proven and run.
    Run,
}

macro_rules! program_types {
    ($( $(#[$doc:meta])* $name:ident = $number:literal, $text:literal, $view:ident, $packet:ident, $support:ident; )+) => {
        /// What a program is attached to; it decides the context, the helpers and the return value.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ProgramType { $( $(#[$doc])* $name, )+ }

        impl ProgramType {
            /// Every type.
            pub const ALL: &[ProgramType] = &[$( ProgramType::$name, )+];
            /// bpftool's word for it, such as `sched_cls`.
            pub const fn name(self) -> &'static str { match self { $( ProgramType::$name => $text, )+ } }
            /// The kernel's number (`enum bpf_prog_type`).
            pub const fn number(self) -> u32 { match self { $( ProgramType::$name => $number, )+ } }
            /// What its programs see through their first argument.
            pub const fn view(self) -> View { match self { $( ProgramType::$name => View::$view, )+ } }
            /// What its programs may do with packet memory.
            pub const fn packet(self) -> PacketUse { match self { $( ProgramType::$name => PacketUse::$packet, )+ } }
            /// How far weir goes with its programs.
            pub const fn support(self) -> Support { match self { $( ProgramType::$name => Support::$support, )+ } }
        }
    };
}

program_types! {
    /// `BPF_PROG_TYPE_XDP`.
    Xdp = 6, "xdp", Xdp, ReadWrite, Run;
    /// `BPF_PROG_TYPE_SCHED_CLS`.
    SchedCls = 3, "sched_cls", Skb, ReadWrite, Run;
    /// `BPF_PROG_TYPE_SCHED_ACT`.
    SchedAct = 4, "sched_act", Skb, ReadWrite, Run;
    /// `BPF_PROG_TYPE_SOCKET_FILTER`.
    SocketFilter = 1, "socket_filter", Skb, None, Run;
    /// `BPF_PROG_TYPE_CGROUP_SKB`.
    CgroupSkb = 8, "cgroup_skb", Skb, Read, Tried;
    /// `BPF_PROG_TYPE_LWT_IN`.
    LwtIn = 10, "lwt_in", Skb, Read, Tried;
    /// `BPF_PROG_TYPE_LWT_OUT`.
    LwtOut = 11, "lwt_out", Skb, Read, Tried;
    /// `BPF_PROG_TYPE_LWT_XMIT`.
    LwtXmit = 12, "lwt_xmit", Skb, ReadWrite, Tried;
    /// `BPF_PROG_TYPE_LWT_SEG6LOCAL`.
    LwtSeg6Local = 19, "lwt_seg6local", Skb, Read, Tried;
    /// `BPF_PROG_TYPE_SK_SKB`.
    SkSkb = 14, "sk_skb", Skb, ReadWrite, Proven;
    /// `BPF_PROG_TYPE_FLOW_DISSECTOR`.
    FlowDissector = 22, "flow_dissector", Skb, Read, Proven;
    /// `BPF_PROG_TYPE_SK_MSG`.
    SkMsg = 16, "sk_msg", SkMsg, ReadWrite, Proven;
    /// `BPF_PROG_TYPE_SK_LOOKUP`.
    SkLookup = 30, "sk_lookup", SkLookup, None, Proven;
    /// `BPF_PROG_TYPE_SK_REUSEPORT`.
    SkReuseport = 21, "sk_reuseport", SkReuseport, Read, Proven;
    /// `BPF_PROG_TYPE_SOCK_OPS`.
    SockOps = 13, "sock_ops", SockOps, None, Proven;
    /// `BPF_PROG_TYPE_CGROUP_SOCK`.
    CgroupSock = 9, "cgroup_sock", Sock, None, Proven;
    /// `BPF_PROG_TYPE_CGROUP_SOCK_ADDR`.
    CgroupSockAddr = 18, "cgroup_sock_addr", SockAddr, None, Proven;
}

impl ProgramType {
    /// Whether its programs may read packets the old way, with `LD_ABS` and `LD_IND` (`may_access_skb`).
    pub const fn reads_legacy(self) -> bool {
        matches!(self, ProgramType::SocketFilter | ProgramType::SchedCls | ProgramType::SchedAct)
    }

    /// Whether its programs see an skb's packet from the link layer on.
    pub const fn sees_link_layer(self) -> bool {
        matches!(self, ProgramType::Xdp | ProgramType::SchedCls | ProgramType::SchedAct)
    }

    /// Where its programs are attached when nothing says it (`bpf_prog_load_fixup_attach_type`).
    pub const fn usual_attach(self) -> AttachType {
        match self {
            ProgramType::CgroupSock => AttachType::CgroupInetSockCreate,
            ProgramType::CgroupSockAddr => AttachType::CgroupInet4Bind,
            ProgramType::SkLookup => AttachType::SkLookup,
            ProgramType::SkReuseport => AttachType::SkReuseportSelect,
            ProgramType::Xdp
            | ProgramType::SchedCls
            | ProgramType::SchedAct
            | ProgramType::SocketFilter
            | ProgramType::CgroupSkb
            | ProgramType::LwtIn
            | ProgramType::LwtOut
            | ProgramType::LwtXmit
            | ProgramType::LwtSeg6Local
            | ProgramType::SkSkb
            | ProgramType::FlowDissector
            | ProgramType::SkMsg
            | ProgramType::SockOps => AttachType::Unsaid,
        }
    }

    /// Programs of this type, attached there, may answer numbers from and to these; `None` is any
    /// (`check_return_code`).
    pub const fn answers(self, attach: AttachType) -> Option<(i32, i32)> {
        match self {
            ProgramType::CgroupSkb if matches!(attach, AttachType::CgroupInetEgress) => Some((0, 3)),
            ProgramType::CgroupSockAddr => Some(match attach {
                AttachType::CgroupUdp4Recvmsg
                | AttachType::CgroupUdp6Recvmsg
                | AttachType::CgroupUnixRecvmsg
                | AttachType::CgroupInet4Getpeername
                | AttachType::CgroupInet6Getpeername
                | AttachType::CgroupUnixGetpeername
                | AttachType::CgroupInet4Getsockname
                | AttachType::CgroupInet6Getsockname
                | AttachType::CgroupUnixGetsockname => (1, 1),
                AttachType::CgroupInet4Bind | AttachType::CgroupInet6Bind => (0, 3),
                _ => (0, 1),
            }),
            ProgramType::CgroupSkb
            | ProgramType::CgroupSock
            | ProgramType::SockOps
            | ProgramType::SkLookup => Some((0, 1)),
            ProgramType::Xdp
            | ProgramType::SchedCls
            | ProgramType::SchedAct
            | ProgramType::SocketFilter
            | ProgramType::LwtIn
            | ProgramType::LwtOut
            | ProgramType::LwtXmit
            | ProgramType::LwtSeg6Local
            | ProgramType::SkSkb
            | ProgramType::FlowDissector
            | ProgramType::SkMsg
            | ProgramType::SkReuseport => None,
        }
    }
}

impl fmt::Display for ProgramType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

macro_rules! attach_types {
    ($( $name:ident = $number:literal; )+) => {
        /// Where a program says that it will be attached (`expected_attach_type`), as far as what it may do
        /// depends on it; named as in the kernel.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
        #[allow(missing_docs, reason = "kernel names")]
        pub enum AttachType {
            /// It does not say. The kernel has the same number for the ingress of a cgroup.
            #[default]
            Unsaid,
            $( $name, )+
        }

        impl AttachType {
            /// The kernel's number (`enum bpf_attach_type`).
            pub const fn number(self) -> u32 {
                match self { AttachType::Unsaid => 0, $( AttachType::$name => $number, )+ }
            }

            /// The one with the kernel's number; [`AttachType::Unsaid`] for those that change nothing.
            pub const fn new(number: u32) -> AttachType {
                match number { $( $number => AttachType::$name, )+ _ => AttachType::Unsaid }
            }
        }
    };
}

attach_types! {
    CgroupInetEgress = 1;
    CgroupInetSockCreate = 2;
    CgroupSockOps = 3;
    CgroupInet4Bind = 8;
    CgroupInet6Bind = 9;
    CgroupInet4Connect = 10;
    CgroupInet6Connect = 11;
    CgroupInet4PostBind = 12;
    CgroupInet6PostBind = 13;
    CgroupUdp4Sendmsg = 14;
    CgroupUdp6Sendmsg = 15;
    CgroupUdp4Recvmsg = 19;
    CgroupUdp6Recvmsg = 20;
    CgroupInet4Getpeername = 29;
    CgroupInet6Getpeername = 30;
    CgroupInet4Getsockname = 31;
    CgroupInet6Getsockname = 32;
    XdpDevmap = 33;
    CgroupInetSockRelease = 34;
    XdpCpumap = 35;
    SkLookup = 36;
    SkReuseportSelect = 39;
    SkReuseportSelectOrMigrate = 40;
    CgroupUnixConnect = 49;
    CgroupUnixSendmsg = 50;
    CgroupUnixRecvmsg = 51;
    CgroupUnixGetpeername = 52;
    CgroupUnixGetsockname = 53;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_told_apart() {
        let mut numbers: Vec<u32> = ProgramType::ALL.iter().map(|kind| kind.number()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), ProgramType::ALL.len());
        assert_eq!(AttachType::new(36), AttachType::SkLookup);
        assert_eq!(AttachType::new(7), AttachType::Unsaid);
        assert_eq!(ProgramType::CgroupSkb.answers(AttachType::CgroupInetEgress), Some((0, 3)));
    }
}
