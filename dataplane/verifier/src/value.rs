//! What a register can hold: nothing, a number, or a pointer of a kind.

use weir_ebpf::MapSpec;
use weir_ebpf::Program;
use weir_ebpf::abi::KernelStruct;

use crate::precision::Roots;
use crate::scalar::Scalar;

/// Names things that are known to be the same: linked numbers, packet positions, lookups, references.
/// 0 is no name.
pub(crate) type Id = u32;

/// A map as a pointer knows it: one of the program's, or the inner map of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MapRef {
    /// Index into `Program::maps`.
    pub(crate) map: u32,
    /// An inner map that was looked up in it.
    pub(crate) inner: bool,
}

impl MapRef {
    /// What the map is made of. An inner map has the shape that the outer one prescribes.
    pub(crate) fn spec(self, program: &Program) -> Option<&MapSpec> {
        let spec = program.maps.get(self.map as usize)?;
        if self.inner { spec.inner.as_deref() } else { Some(spec) }
    }
}

/// How a linked number came away from those it is linked to (`BPF_ADD_CONST64`, `BPF_ADD_CONST32`). That happens
/// once; what is moved again, or copied when it was moved, has no part in the old link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Moved {
    /// It is what they are.
    #[default]
    Not,
    /// A constant was added to all of it.
    Whole,
    /// A constant was added to its low half, when it and they had no more.
    Half {
        /// Whether the sum may have gone round.
        wraps: bool,
    },
}

/// A number, and what it is linked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number {
    /// The values it can have.
    pub(crate) range: Scalar,
    /// Numbers of one id differ by the difference of their deltas: modulo 2^64, or modulo 2^32 if a half was
    /// moved.
    pub(crate) id: Id,
    /// See `id`.
    pub(crate) delta: i32,
    /// See `id`.
    pub(crate) moved: Moved,
    /// The numbers of the kept state before that had a part in it.
    pub(crate) roots: Roots,
}

impl Number {
    /// A number that is linked to no other.
    pub(crate) const fn new(range: Scalar) -> Self {
        Self { range, id: 0, delta: 0, moved: Moved::Not, roots: Roots::NONE }
    }

    /// The number, linked to no other.
    pub(crate) const fn unlinked(self) -> Self {
        Self { id: 0, delta: 0, moved: Moved::Not, ..self }
    }

    /// Whether it is, in a kept state, among the numbers that matter. What is unknown was never asked to be more.
    pub(crate) const fn matters(&self, wanted: Roots) -> bool {
        self.roots.meets(wanted)
    }

    /// A number that was made of this one, and is linked to none.
    pub(crate) const fn made_into(&self, range: Scalar) -> Self {
        Self { range, id: 0, delta: 0, moved: Moved::Not, roots: self.roots }
    }
}

/// Which structure a pointer to a socket shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketView {
    /// `struct bpf_sock`, of a socket in any state: addresses and ports only.
    Common,
    /// `struct bpf_sock`.
    Full,
    /// `struct bpf_tcp_sock`.
    Tcp,
    /// `struct bpf_xdp_sock`.
    Xdp,
}

impl SocketView {
    /// The kernel's word for it.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            SocketView::Common => "sock_common",
            SocketView::Full => "sock",
            SocketView::Tcp => "tcp_sock",
            SocketView::Xdp => "xdp_sock",
        }
    }

    /// Whether this much may be read there (`bpf_sock_is_valid_access` and its siblings, net/core/filter.c).
    pub(crate) const fn may_read(self, off: i64, size: i64) -> bool {
        if off < 0 || off % size != 0 {
            return false;
        }
        match self {
            SocketView::Common => !matches!(off, 8..20) && SocketView::Full.may_read(off, size),
            SocketView::Full => match off {
                // The destination port has two bytes, and two of padding that only a read of all four sees.
                48..50 => size <= 2 || off == 48 && size == 4,
                50..52 => false,
                // Addresses in parts too; of others their start.
                24..44 | 52..72 => size <= 4,
                4 | 8 | 12 | 44 | 72 | 76 => size <= 4,
                0..80 => size == 4,
                _ => false,
            },
            SocketView::Tcp => match off {
                80 | 88 => size == 8,
                0..80 | 96..112 => size == 4,
                _ => false,
            },
            SocketView::Xdp => off == 0 && size == 4,
        }
    }
}

/// What a pointer points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The program's context.
    Context,
    /// The top of a frame's stack.
    Stack {
        /// Index of the frame in the call chain.
        frame: u8,
    },
    /// The start of the packet; `range` bytes from the pointer's variable part on are proven.
    Packet {
        /// Bytes proven.
        range: u16,
    },
    /// The start of the metadata, likewise.
    PacketMeta {
        /// Bytes proven.
        range: u16,
    },
    /// The end of the packet.
    PacketEnd,
    /// A map itself.
    Map(MapRef),
    /// A value of a map.
    MapValue(MapRef),
    /// A key of a map, as a callback gets it.
    MapKey(MapRef),
    /// A reserved record of a ring buffer.
    Record {
        /// Its size.
        bytes: u32,
    },
    /// Memory that a call handed out.
    Memory {
        /// Its size.
        bytes: u32,
        /// Whether it may be written.
        writable: bool,
        /// Whether it is of the packet, so that it goes stale when that moves.
        packet: bool,
        /// The dynptr that it is a part of; 0 for none.
        dynptr: Id,
    },
    /// A dynptr of a calling function, as a global function gets it.
    ConstDynptr,
    /// A function of the program, by index.
    Function(u32),
    /// The keys of the flow dissector.
    FlowKeys,
    /// A socket, as much of it as is known to be there.
    Socket(SocketView),
    /// A structure of the kernel.
    Kernel(KernelStruct),
}

impl Kind {
    /// Whether it is the packet or its metadata.
    pub(crate) const fn is_packet(self) -> bool {
        matches!(self, Kind::Packet { .. } | Kind::PacketMeta { .. })
    }

    /// The kernel's word for it (`reg_type_str`, kernel/bpf/log.c).
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Kind::Context => "ctx",
            Kind::Stack { .. } => "fp",
            Kind::Packet { .. } => "pkt",
            Kind::PacketMeta { .. } => "pkt_meta",
            Kind::PacketEnd => "pkt_end",
            Kind::Map(_) => "map_ptr",
            Kind::MapValue(_) => "map_value",
            Kind::MapKey(_) => "map_key",
            Kind::Record { .. } => "ringbuf_mem",
            Kind::Memory { writable: true, .. } => "mem",
            Kind::Memory { writable: false, .. } => "rdonly_mem",
            Kind::ConstDynptr => "dynptr_ptr",
            Kind::Function(_) => "func",
            Kind::FlowKeys => "flow_keys",
            Kind::Socket(view) => view.text(),
            Kind::Kernel(_) => "ptr_",
        }
    }
}

/// A pointer: base, fixed offset, variable offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pointer {
    /// What it points to.
    pub(crate) kind: Kind,
    /// Whether it may be null instead (then with all offsets 0).
    pub(crate) maybe_null: bool,
    /// Bytes from the base, known.
    pub(crate) off: i32,
    /// Bytes from there, not known.
    pub(crate) var: Scalar,
    /// Packet pointers of one id have the same variable part; null checks of one id answer alike.
    pub(crate) id: Id,
    /// The reference that must be released.
    pub(crate) reference: Id,
    /// Whether it is known to stand at the end of the packet or behind it; only words depend on it.
    pub(crate) past_end: bool,
}

impl Pointer {
    /// A pointer to the start of what it points to.
    pub(crate) const fn new(kind: Kind) -> Self {
        Self {
            kind,
            maybe_null: false,
            off: 0,
            var: Scalar::constant(0),
            id: 0,
            reference: 0,
            past_end: false,
        }
    }

    /// The kernel's word for its type.
    pub(crate) fn text(&self) -> String {
        match self.kind {
            // The kernel learns that it is a map when it is compared with null.
            Kind::Map(_) if self.maybe_null => "map_value_or_null".to_owned(),
            // Messages leave the name out there (`reg_type_str`).
            Kind::Kernel(_) if self.maybe_null => "ptr_or_null_".to_owned(),
            Kind::Kernel(_) => "ptr_".to_owned(),
            kind => format!("{}{}", kind.text(), if self.maybe_null { "_or_null" } else { "" }),
        }
    }

    /// The whole offset, when it is known.
    pub(crate) fn constant_offset(&self) -> Option<i64> {
        Some(i64::from(self.off).wrapping_add(self.var.as_constant()? as i64))
    }

    /// Whether comparing with null is known to fail (`reg_not_null`).
    pub(crate) fn never_null(&self) -> bool {
        let solid = match self.kind {
            Kind::MapValue(_)
            | Kind::MapKey(_)
            | Kind::Socket(_)
            | Kind::Map(_)
            | Kind::Record { .. }
            | Kind::Memory { .. } => true,
            Kind::Kernel(of) => of.bytes() > 0,
            Kind::Context
            | Kind::Stack { .. }
            | Kind::Packet { .. }
            | Kind::PacketMeta { .. }
            | Kind::PacketEnd
            | Kind::ConstDynptr
            | Kind::FlowKeys
            | Kind::Function(_) => false,
        };
        solid && !self.maybe_null
    }
}

/// What a register or a spilled slot can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Nothing that may be read.
    NotInit,
    /// A number.
    Number(Number),
    /// A pointer.
    Pointer(Pointer),
}

impl Value {
    /// Any number.
    pub(crate) const fn unknown() -> Self {
        Value::Number(Number::new(Scalar::unknown()))
    }

    /// One number.
    pub(crate) const fn constant(value: u64) -> Self {
        Value::Number(Number::new(Scalar::constant(value)))
    }

    /// A number of this range.
    pub(crate) const fn ranged(range: Scalar) -> Self {
        Value::Number(Number::new(range))
    }

    /// The kernel's word for its type.
    pub(crate) fn text(&self) -> String {
        match self {
            Value::NotInit => "?".to_owned(),
            Value::Number(_) => "scalar".to_owned(),
            Value::Pointer(pointer) => pointer.text(),
        }
    }

    /// Whether it is the number 0.
    pub(crate) fn is_null(&self) -> bool {
        self.as_constant() == Some(0)
    }

    /// The number, when there is but one.
    pub(crate) fn as_constant(&self) -> Option<u64> {
        match self {
            Value::Number(number) => number.range.as_constant(),
            Value::NotInit | Value::Pointer(_) => None,
        }
    }

    /// The numbers of the kept state that had a part in it. Pointers have none: they are compared whole, and
    /// what moved them was demanded.
    pub(crate) fn roots(&self) -> Roots {
        match self {
            Value::Number(number) => number.roots,
            Value::NotInit | Value::Pointer(_) => Roots::NONE,
        }
    }

    /// The pointer in it.
    pub(crate) fn as_pointer(&self) -> Option<&Pointer> {
        match self {
            Value::Pointer(pointer) => Some(pointer),
            Value::NotInit | Value::Number(_) => None,
        }
    }
}
