//! Context fields: what a program reads and writes through its first argument.
//!
//! `struct xdp_md` and `struct __sk_buff` are not memory: each field stands for something the
//! kernel, or weir, keeps elsewhere. The tables say where a field lies in the program's view, what
//! it yields, and who may touch it (net/core/filter.c: `xdp_is_valid_access`,
//! `tc_cls_act_is_valid_access`, `sk_filter_is_valid_access`, `cg_skb_is_valid_access`, `lwt_is_valid_access`,
//! `sk_skb_is_valid_access`, `flow_dissector_is_valid_access`, `bpf_skb_is_valid_access`). The contexts of types
//! that are proven only are in [`plain`](super::plain).

use super::plain::PlainField;
use super::program_type::{AttachType, ProgramType, View};
use crate::isa::Size;

/// What a read of the field gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldKind {
    /// A number of the field's size.
    Number,
    /// A pointer to the first byte of the packet; read with 4 bytes, yields a 64-bit pointer.
    PacketStart,
    /// A pointer behind the last byte of the packet.
    PacketEnd,
    /// A pointer to the first byte of the metadata before the packet.
    PacketMeta,
    /// A pointer to a socket of any state, which may be null.
    Socket,
    /// A pointer to a full socket.
    FullSocket,
    /// A pointer to a full socket, which may be null.
    FullSocketOrNull,
    /// A pointer to flow dissector keys.
    FlowKeys,
}

/// What a program type may do with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FieldAccess {
    /// Neither read nor write.
    None,
    /// Read only.
    Read,
    /// Read and write.
    ReadWrite,
}

/// A field of the context that belongs to the program type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContextField {
    /// Of `struct xdp_md`.
    Xdp(XdpField),
    /// Of `struct __sk_buff`.
    Skb(SkbField),
    /// Of the context of a type that is proven only.
    Plain(&'static PlainField),
}

macro_rules! context_fields {
    ($(#[$enum_doc:meta])* $table:ident, $bytes:literal;
     $( $(#[$doc:meta])* $name:ident = $text:literal, $offset:literal, $size:literal, $kind:ident,
        $tc:ident, $filter:ident, $cgroup:ident, $lwt:ident, $stream:ident, $dissector:ident; )+) => {
        $(#[$enum_doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $table { $( $(#[$doc])* $name, )+ }

        impl $table {
            /// Every field, by offset.
            pub const ALL: &[$table] = &[$( $table::$name, )+];
            /// Bytes of the whole structure.
            pub const BYTES: u32 = $bytes;
            /// The field's name in C.
            pub const fn name(self) -> &'static str { match self { $( $table::$name => $text, )+ } }
            /// Where the field starts in the program's view, in bytes.
            pub const fn offset(self) -> u32 { match self { $( $table::$name => $offset, )+ } }
            /// Bytes of the field in the program's view.
            pub const fn size(self) -> u32 { match self { $( $table::$name => $size, )+ } }
            /// What a read of it gives.
            pub const fn kind(self) -> FieldKind { match self { $( $table::$name => FieldKind::$kind, )+ } }
            /// What this program type may do with it.
            pub const fn access(self, program: ProgramType) -> FieldAccess {
                match program {
                    ProgramType::Xdp | ProgramType::SchedCls | ProgramType::SchedAct => {
                        match self { $( $table::$name => FieldAccess::$tc, )+ }
                    }
                    ProgramType::SocketFilter => match self { $( $table::$name => FieldAccess::$filter, )+ },
                    ProgramType::CgroupSkb => match self { $( $table::$name => FieldAccess::$cgroup, )+ },
                    ProgramType::LwtIn
                    | ProgramType::LwtOut
                    | ProgramType::LwtXmit
                    | ProgramType::LwtSeg6Local => match self { $( $table::$name => FieldAccess::$lwt, )+ },
                    ProgramType::SkSkb => match self { $( $table::$name => FieldAccess::$stream, )+ },
                    ProgramType::FlowDissector => match self { $( $table::$name => FieldAccess::$dissector, )+ },
                    ProgramType::SkMsg
                    | ProgramType::SkLookup
                    | ProgramType::SkReuseport
                    | ProgramType::SockOps
                    | ProgramType::CgroupSock
                    | ProgramType::CgroupSockAddr => FieldAccess::None,
                }
            }
            /// The field that holds the byte at this offset of the program's view.
            pub const fn at(offset: u32) -> Option<$table> {
                $( if offset.wrapping_sub($offset) < $size { return Some($table::$name); } )+
                None
            }
        }
    };
}

context_fields! {
    /// Fields of `struct xdp_md`. The first column is for XDP programs, who alone see it.
    XdpField, 24;
    /// Start of the packet.
    Data = "data", 0, 4, PacketStart, Read, None, None, None, None, None;
    /// End of the packet.
    DataEnd = "data_end", 4, 4, PacketEnd, Read, None, None, None, None, None;
    /// Start of the metadata before the packet.
    DataMeta = "data_meta", 8, 4, PacketMeta, Read, None, None, None, None, None;
    /// Port the packet came in by.
    IngressIfindex = "ingress_ifindex", 12, 4, Number, Read, None, None, None, None, None;
    /// Receive queue of that port.
    RxQueueIndex = "rx_queue_index", 16, 4, Number, Read, None, None, None, None, None;
    /// Port the packet leaves by; only programs attached to a device map may read it.
    EgressIfindex = "egress_ifindex", 20, 4, Number, None, None, None, None, None, None;
}

context_fields! {
    /// Fields of `struct __sk_buff`: what programs may do of tc, socket filters, cgroups, lightweight tunnels,
    /// socket streams, and the flow dissector.
    SkbField, 192;
    /// Bytes of the packet, from the link layer on.
    Len = "len", 0, 4, Number, Read, Read, Read, Read, Read, None;
    /// `PACKET_HOST` and the like.
    PktType = "pkt_type", 4, 4, Number, Read, Read, Read, Read, Read, None;
    /// A mark that programs share.
    Mark = "mark", 8, 4, Number, ReadWrite, Read, ReadWrite, ReadWrite, None, None;
    /// Queue of the device, plus one.
    QueueMapping = "queue_mapping", 12, 4, Number, ReadWrite, Read, Read, Read, Read, None;
    /// EtherType, in network byte order.
    Protocol = "protocol", 16, 4, Number, Read, Read, Read, Read, Read, None;
    /// 1 when a VLAN tag stands beside the packet.
    VlanPresent = "vlan_present", 20, 4, Number, Read, Read, Read, Read, Read, None;
    /// That tag's control information.
    VlanTci = "vlan_tci", 24, 4, Number, Read, Read, Read, Read, Read, None;
    /// That tag's EtherType, in network byte order.
    VlanProto = "vlan_proto", 28, 4, Number, Read, Read, Read, Read, Read, None;
    /// Class priority, as for qdiscs.
    Priority = "priority", 32, 4, Number, ReadWrite, Read, ReadWrite, ReadWrite, ReadWrite, None;
    /// Port the packet came in by.
    IngressIfindex = "ingress_ifindex", 36, 4, Number, Read, Read, Read, Read, Read, None;
    /// Port the packet is at.
    Ifindex = "ifindex", 40, 4, Number, Read, Read, Read, Read, Read, None;
    /// Traffic control index.
    TcIndex = "tc_index", 44, 4, Number, ReadWrite, Read, Read, Read, ReadWrite, None;
    /// Five words that programs of one chain share.
    Cb = "cb", 48, 20, Number, ReadWrite, ReadWrite, ReadWrite, ReadWrite, Read, None;
    /// Flow hash.
    Hash = "hash", 68, 4, Number, Read, Read, Read, Read, Read, None;
    /// Class that the classifier chose.
    TcClassid = "tc_classid", 72, 4, Number, ReadWrite, None, None, None, None, None;
    /// Start of the packet.
    Data = "data", 76, 4, PacketStart, Read, None, Read, Read, Read, Read;
    /// End of the packet.
    DataEnd = "data_end", 80, 4, PacketEnd, Read, None, Read, Read, Read, Read;
    /// NAPI id of the queue; 0 here.
    NapiId = "napi_id", 84, 4, Number, Read, Read, Read, Read, Read, None;
    /// Socket's address family.
    Family = "family", 88, 4, Number, None, None, Read, None, Read, None;
    /// Socket's remote address.
    RemoteIp4 = "remote_ip4", 92, 4, Number, None, None, Read, None, Read, None;
    /// Socket's local address.
    LocalIp4 = "local_ip4", 96, 4, Number, None, None, Read, None, Read, None;
    /// Socket's remote address.
    RemoteIp6 = "remote_ip6", 100, 16, Number, None, None, Read, None, Read, None;
    /// Socket's local address.
    LocalIp6 = "local_ip6", 116, 16, Number, None, None, Read, None, Read, None;
    /// Socket's remote port.
    RemotePort = "remote_port", 132, 4, Number, None, None, Read, None, Read, None;
    /// Socket's local port.
    LocalPort = "local_port", 136, 4, Number, None, None, Read, None, Read, None;
    /// Start of the metadata before the packet.
    DataMeta = "data_meta", 140, 4, PacketMeta, Read, None, None, None, None, None;
    /// Flow dissector keys.
    FlowKeys = "flow_keys", 144, 8, FlowKeys, None, None, None, None, None, Read;
    /// Delivery or receive time, ns.
    Tstamp = "tstamp", 152, 8, Number, ReadWrite, None, ReadWrite, None, None, None;
    /// Bytes on the wire.
    WireLen = "wire_len", 160, 4, Number, Read, None, None, None, None, None;
    /// Segments of a GSO packet; 0 here.
    GsoSegs = "gso_segs", 164, 4, Number, Read, Read, Read, Read, Read, None;
    /// The socket; null here.
    Sk = "sk", 168, 8, Socket, Read, Read, Read, Read, Read, None;
    /// Segment size of a GSO packet; 0 here.
    GsoSize = "gso_size", 176, 4, Number, Read, Read, Read, Read, Read, None;
    /// Which clock `tstamp` is of.
    TstampType = "tstamp_type", 180, 1, Number, Read, None, None, None, None, None;
    /// Hardware receive time, ns; 0 here.
    Hwtstamp = "hwtstamp", 184, 8, Number, Read, None, Read, None, None, None;
}

impl ContextField {
    /// The field of this program type's context that holds the byte at `offset`.
    pub fn at(program: ProgramType, offset: u32) -> Option<ContextField> {
        match program.view() {
            View::Xdp => XdpField::at(offset).map(ContextField::Xdp),
            View::Skb => SkbField::at(offset).map(ContextField::Skb),
            view => PlainField::at(view, offset).map(ContextField::Plain),
        }
    }

    /// Every field of this program type's context, by offset.
    pub fn all(program: ProgramType) -> Vec<ContextField> {
        match program.view() {
            View::Xdp => XdpField::ALL.iter().map(|field| ContextField::Xdp(*field)).collect(),
            View::Skb => SkbField::ALL.iter().map(|field| ContextField::Skb(*field)).collect(),
            view => PlainField::of(view).map(ContextField::Plain).collect(),
        }
    }

    /// Where the field starts in the program's view, in bytes.
    pub const fn offset(self) -> u32 {
        match self {
            ContextField::Xdp(field) => field.offset(),
            ContextField::Skb(field) => field.offset(),
            ContextField::Plain(field) => field.offset,
        }
    }

    /// Bytes of the field in the program's view.
    pub const fn size(self) -> u32 {
        match self {
            ContextField::Xdp(field) => field.size(),
            ContextField::Skb(field) => field.size(),
            ContextField::Plain(field) => field.size,
        }
    }

    /// The first byte behind it in the program's view.
    pub const fn end(self) -> u32 {
        self.offset() + self.size()
    }

    /// Whether a program of this type, attached there, may read `size` at `offset`, which lies inside the
    /// field and is a multiple of the size (`xdp_is_valid_access`, `bpf_skb_is_valid_access`).
    pub fn may_read(self, program: ProgramType, attach: AttachType, offset: u32, size: Size) -> bool {
        let whole = offset == self.offset() && size.bytes() == self.size();
        let sized = match self {
            // A program on a device map alone knows where the packet leaves.
            ContextField::Xdp(XdpField::EgressIfindex) => {
                return attach == AttachType::XdpDevmap && size == Size::W;
            }
            ContextField::Xdp(_) => size == Size::W,
            // Any size up to 8: the words of `cb` count as one piece of memory.
            ContextField::Skb(SkbField::Cb) => true,
            ContextField::Skb(
                SkbField::RemoteIp4 | SkbField::LocalIp4 | SkbField::RemoteIp6 | SkbField::LocalIp6,
            ) => size == Size::W,
            ContextField::Skb(_) => match self.kind() {
                FieldKind::Number => whole || self.size() == 4 && size.bytes() < 4,
                FieldKind::PacketStart
                | FieldKind::PacketEnd
                | FieldKind::PacketMeta
                | FieldKind::Socket
                | FieldKind::FullSocket
                | FieldKind::FullSocketOrNull
                | FieldKind::FlowKeys => whole,
            },
            ContextField::Plain(field) => return field.may_read(attach, offset, size.bytes()),
        };
        self.access(program) != FieldAccess::None && sized
    }

    /// Whether a program of this type, attached there, may write `size` at `offset`, likewise.
    pub fn may_write(self, program: ProgramType, attach: AttachType, offset: u32, size: Size) -> bool {
        let sized = match self {
            ContextField::Skb(SkbField::Cb) => true,
            ContextField::Xdp(_) | ContextField::Skb(_) => size.bytes() == self.size(),
            ContextField::Plain(field) => return field.may_write(attach, offset, size.bytes()),
        };
        self.access(program) == FieldAccess::ReadWrite && sized
    }

    /// What a read of it gives.
    pub const fn kind(self) -> FieldKind {
        match self {
            ContextField::Xdp(field) => field.kind(),
            ContextField::Skb(field) => field.kind(),
            ContextField::Plain(field) => field.kind,
        }
    }

    /// What this program type may do with it; of fields that are proven only [`ContextField::may_read`] and
    /// [`ContextField::may_write`] know more.
    pub const fn access(self, program: ProgramType) -> FieldAccess {
        match self {
            ContextField::Xdp(field) => field.access(program),
            ContextField::Skb(field) => field.access(program),
            ContextField::Plain(_) => FieldAccess::Read,
        }
    }

    /// The field's name in C.
    pub const fn name(self) -> &'static str {
        match self {
            ContextField::Xdp(field) => field.name(),
            ContextField::Skb(field) => field.name(),
            ContextField::Plain(field) => field.name,
        }
    }
}
