//! Context fields: what a program reads and writes through its first argument.
//!
//! `struct xdp_md` and `struct __sk_buff` are not memory: each field stands for something the
//! kernel, or weir, keeps elsewhere. The tables say where a field lies in the program's view, what
//! it yields, and who may touch it (net/core/filter.c: `xdp_is_valid_access`,
//! `tc_cls_act_is_valid_access`, `sk_filter_is_valid_access`, `bpf_skb_is_valid_access`).

use crate::isa::Size;
use crate::program::ProgramType;

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
    /// A socket pointer that may be null.
    Socket,
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
}

macro_rules! context_fields {
    ($(#[$enum_doc:meta])* $table:ident, $bytes:literal;
     $( $(#[$doc:meta])* $name:ident = $text:literal, $offset:literal, $size:literal, $kind:ident,
        $tc:ident, $filter:ident; )+) => {
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
    /// Fields of `struct xdp_md`. The last two columns are the same: only XDP programs see it.
    XdpField, 24;
    /// Start of the packet.
    Data = "data", 0, 4, PacketStart, Read, None;
    /// End of the packet.
    DataEnd = "data_end", 4, 4, PacketEnd, Read, None;
    /// Start of the metadata before the packet.
    DataMeta = "data_meta", 8, 4, PacketMeta, Read, None;
    /// Port the packet came in by.
    IngressIfindex = "ingress_ifindex", 12, 4, Number, Read, None;
    /// Receive queue of that port.
    RxQueueIndex = "rx_queue_index", 16, 4, Number, Read, None;
    /// Port the packet leaves by; only programs attached to a device map may read it.
    EgressIfindex = "egress_ifindex", 20, 4, Number, None, None;
}

context_fields! {
    /// Fields of `struct __sk_buff`: what tc programs may do, and what socket filters may.
    SkbField, 192;
    /// Bytes of the packet, from the link layer on.
    Len = "len", 0, 4, Number, Read, Read;
    /// `PACKET_HOST` and the like.
    PktType = "pkt_type", 4, 4, Number, Read, Read;
    /// A mark that programs share.
    Mark = "mark", 8, 4, Number, ReadWrite, Read;
    /// Queue of the device, plus one.
    QueueMapping = "queue_mapping", 12, 4, Number, ReadWrite, Read;
    /// EtherType, in network byte order.
    Protocol = "protocol", 16, 4, Number, Read, Read;
    /// 1 when a VLAN tag stands beside the packet.
    VlanPresent = "vlan_present", 20, 4, Number, Read, Read;
    /// That tag's control information.
    VlanTci = "vlan_tci", 24, 4, Number, Read, Read;
    /// That tag's EtherType, in network byte order.
    VlanProto = "vlan_proto", 28, 4, Number, Read, Read;
    /// Class priority, as for qdiscs.
    Priority = "priority", 32, 4, Number, ReadWrite, Read;
    /// Port the packet came in by.
    IngressIfindex = "ingress_ifindex", 36, 4, Number, Read, Read;
    /// Port the packet is at.
    Ifindex = "ifindex", 40, 4, Number, Read, Read;
    /// Traffic control index.
    TcIndex = "tc_index", 44, 4, Number, ReadWrite, Read;
    /// Five words that programs of one chain share.
    Cb = "cb", 48, 20, Number, ReadWrite, ReadWrite;
    /// Flow hash.
    Hash = "hash", 68, 4, Number, Read, Read;
    /// Class that the classifier chose.
    TcClassid = "tc_classid", 72, 4, Number, ReadWrite, None;
    /// Start of the packet.
    Data = "data", 76, 4, PacketStart, Read, None;
    /// End of the packet.
    DataEnd = "data_end", 80, 4, PacketEnd, Read, None;
    /// NAPI id of the queue; 0 here.
    NapiId = "napi_id", 84, 4, Number, Read, Read;
    /// Socket's address family.
    Family = "family", 88, 4, Number, None, None;
    /// Socket's remote address.
    RemoteIp4 = "remote_ip4", 92, 4, Number, None, None;
    /// Socket's local address.
    LocalIp4 = "local_ip4", 96, 4, Number, None, None;
    /// Socket's remote address.
    RemoteIp6 = "remote_ip6", 100, 16, Number, None, None;
    /// Socket's local address.
    LocalIp6 = "local_ip6", 116, 16, Number, None, None;
    /// Socket's remote port.
    RemotePort = "remote_port", 132, 4, Number, None, None;
    /// Socket's local port.
    LocalPort = "local_port", 136, 4, Number, None, None;
    /// Start of the metadata before the packet.
    DataMeta = "data_meta", 140, 4, PacketMeta, Read, None;
    /// Flow dissector keys.
    FlowKeys = "flow_keys", 144, 8, FlowKeys, None, None;
    /// Delivery or receive time, ns.
    Tstamp = "tstamp", 152, 8, Number, ReadWrite, None;
    /// Bytes on the wire.
    WireLen = "wire_len", 160, 4, Number, Read, None;
    /// Segments of a GSO packet; 0 here.
    GsoSegs = "gso_segs", 164, 4, Number, Read, Read;
    /// The socket; null here.
    Sk = "sk", 168, 8, Socket, Read, Read;
    /// Segment size of a GSO packet; 0 here.
    GsoSize = "gso_size", 176, 4, Number, Read, Read;
    /// Which clock `tstamp` is of.
    TstampType = "tstamp_type", 180, 1, Number, Read, None;
    /// Hardware receive time, ns; 0 here.
    Hwtstamp = "hwtstamp", 184, 8, Number, Read, None;
}

impl ContextField {
    /// The field of this program type's context that holds the byte at `offset`.
    pub fn at(program: ProgramType, offset: u32) -> Option<ContextField> {
        match program {
            ProgramType::Xdp => XdpField::at(offset).map(ContextField::Xdp),
            ProgramType::SchedCls | ProgramType::SchedAct | ProgramType::SocketFilter => {
                SkbField::at(offset).map(ContextField::Skb)
            }
        }
    }

    /// Where the field starts in the program's view, in bytes.
    pub const fn offset(self) -> u32 {
        match self {
            ContextField::Xdp(field) => field.offset(),
            ContextField::Skb(field) => field.offset(),
        }
    }

    /// Bytes of the field in the program's view.
    pub const fn size(self) -> u32 {
        match self {
            ContextField::Xdp(field) => field.size(),
            ContextField::Skb(field) => field.size(),
        }
    }

    /// The first byte behind it in the program's view.
    pub const fn end(self) -> u32 {
        self.offset() + self.size()
    }

    /// Whether a program of this type may read `size` at `offset`, which lies inside the field and
    /// is a multiple of the size (`xdp_is_valid_access`, `bpf_skb_is_valid_access`).
    pub fn may_read(self, program: ProgramType, offset: u32, size: Size) -> bool {
        let whole = offset == self.offset() && size.bytes() == self.size();
        let sized = match self {
            ContextField::Xdp(_) => size == Size::W,
            // Any size up to 8: the words of `cb` count as one piece of memory.
            ContextField::Skb(SkbField::Cb) => true,
            ContextField::Skb(SkbField::RemoteIp6 | SkbField::LocalIp6) => size == Size::W,
            ContextField::Skb(_) => match self.kind() {
                FieldKind::Number => whole || self.size() == 4 && size.bytes() < 4,
                FieldKind::PacketStart
                | FieldKind::PacketEnd
                | FieldKind::PacketMeta
                | FieldKind::Socket
                | FieldKind::FlowKeys => whole,
            },
        };
        self.access(program) != FieldAccess::None && sized
    }

    /// Whether a program of this type may write `size` in it, aligned to the size.
    pub fn may_write(self, program: ProgramType, size: Size) -> bool {
        let sized = match self {
            ContextField::Skb(SkbField::Cb) => true,
            ContextField::Xdp(_) | ContextField::Skb(_) => size.bytes() == self.size(),
        };
        self.access(program) == FieldAccess::ReadWrite && sized
    }

    /// What a read of it gives.
    pub const fn kind(self) -> FieldKind {
        match self {
            ContextField::Xdp(field) => field.kind(),
            ContextField::Skb(field) => field.kind(),
        }
    }

    /// What this program type may do with it.
    pub const fn access(self, program: ProgramType) -> FieldAccess {
        match self {
            ContextField::Xdp(field) => field.access(program),
            ContextField::Skb(field) => field.access(program),
        }
    }

    /// The field's name in C.
    pub const fn name(self) -> &'static str {
        match self {
            ContextField::Xdp(field) => field.name(),
            ContextField::Skb(field) => field.name(),
        }
    }
}
