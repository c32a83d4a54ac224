//! Kernel functions: name, arguments and result of each that packet programs use and weir has
//! (`__bpf_kfunc` in kernel/bpf/helpers.c, kernel/bpf/bpf_iter.c, net/core/filter.c, net/core/xdp.c).
//!
//! A kernel knows them by BTF id; weir has numbers of its own, which the loader puts in by name. Those that
//! are not here are refused by name.

use super::helper::{Arg, Helper, Offered, Returns};
use super::kernel_struct::KernelStruct;
use super::program_type::{AttachType, ProgramType};

macro_rules! kfuncs {
    ($( $(#[$doc:meta])* $name:ident = $number:literal, $text:literal,
        [$($arg:ident $(($of:ident))?),*] -> $returns:ident $(($what:ident))?, $offered:ident; )+) => {
        /// A kernel function that weir knows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum Kfunc { $( $(#[$doc])* $name = $number, )+ }

        impl Kfunc {
            /// Every kernel function, by number.
            pub const ALL: &[Kfunc] = &[$( Kfunc::$name, )+];
            /// The one with weir's number.
            pub const fn new(number: i32) -> Option<Kfunc> {
                match number { $( $number => Some(Kfunc::$name), )+ _ => None }
            }
            /// The name in C, such as `bpf_dynptr_from_xdp`.
            pub const fn name(self) -> &'static str { match self { $( Kfunc::$name => $text, )+ } }
            /// What its arguments must be; those after the last are not looked at.
            pub const fn args(self) -> &'static [Arg] { match self { $( Kfunc::$name => &[$(Arg::$arg $((KernelStruct::$of))?),*], )+ } }
            /// What it answers.
            pub const fn returns(self) -> Returns { match self { $( Kfunc::$name => Returns::$returns $((KernelStruct::$what))?, )+ } }
            const fn offered(self) -> Offered { match self { $( Kfunc::$name => Offered::$offered, )+ } }
        }
    };
}

kfuncs! {
    /// Begins to count from a number up to another (`bpf_for`).
    IterNumNew = 1, "bpf_iter_num_new", [NewIterator, Number, Number] -> Integer, ALL;
    /// The next number, or null when there are no more.
    IterNumNext = 2, "bpf_iter_num_next", [Iterator] -> NumberOrNull, ALL;
    /// Ends a count.
    IterNumDestroy = 3, "bpf_iter_num_destroy", [EndedIterator] -> Void, ALL;
    /// A view of an skb's bytes.
    DynptrFromSkb = 4, "bpf_dynptr_from_skb", [Context, Number, NewSkbDynptr] -> Integer, TC_FILTER;
    /// A view of an XDP packet's bytes.
    DynptrFromXdp = 5, "bpf_dynptr_from_xdp", [Context, Number, NewXdpDynptr] -> Integer, XDP;
    /// Bytes of a view to read, in place or copied into a buffer.
    DynptrSlice = 6, "bpf_dynptr_slice", [Dynptr, Number, BufferOrNull, ConstBufferSize] -> SliceOrNull, ALL;
    /// Bytes of a view to read and write, in place or copied into a buffer.
    DynptrSliceRdwr = 7, "bpf_dynptr_slice_rdwr", [Dynptr, Number, BufferOrNull, ConstBufferSize] -> MutableSliceOrNull, ALL;
    /// Narrows a view.
    DynptrAdjust = 8, "bpf_dynptr_adjust", [Dynptr, Number, Number] -> Integer, ALL;
    /// Whether a view is of nothing.
    DynptrIsNull = 9, "bpf_dynptr_is_null", [Dynptr] -> Integer, ALL;
    /// Whether a view is for reading only.
    DynptrIsRdonly = 10, "bpf_dynptr_is_rdonly", [Dynptr] -> Integer, ALL;
    /// Bytes of a view.
    DynptrSize = 11, "bpf_dynptr_size", [Dynptr] -> Integer, ALL;
    /// A second view of the same.
    DynptrClone = 12, "bpf_dynptr_clone", [Dynptr, NewDynptr] -> Integer, ALL;
    /// When the packet came in, as the port tells.
    XdpMetadataRxTimestamp = 13, "bpf_xdp_metadata_rx_timestamp", [Context, Place8] -> Integer, XDP;
    /// The packet's receive hash and of what it is, as the port tells.
    XdpMetadataRxHash = 14, "bpf_xdp_metadata_rx_hash", [Context, Place4, Place4] -> Integer, XDP;
    /// The VLAN tag that the port took off the packet.
    XdpMetadataRxVlanTag = 15, "bpf_xdp_metadata_rx_vlan_tag", [Context, Place2, Place2] -> Integer, XDP;
    /// Looks a tracked connection up; none is ever found here.
    XdpCtLookup = 16, "bpf_xdp_ct_lookup", [Context, Buffer, BufferSize, Buffer, BufferSize] -> KernelAcquiredOrNull(NfConn), XDP;
    /// Makes a tracked connection; there is no table here.
    XdpCtAlloc = 17, "bpf_xdp_ct_alloc", [Context, Buffer, BufferSize, Buffer, BufferSize] -> KernelAcquiredOrNull(NfConnInit), XDP;
    /// Looks a tracked connection up; none is ever found here.
    SkbCtLookup = 18, "bpf_skb_ct_lookup", [Context, Buffer, BufferSize, Buffer, BufferSize] -> KernelAcquiredOrNull(NfConn), TC;
    /// Makes a tracked connection; there is no table here.
    SkbCtAlloc = 19, "bpf_skb_ct_alloc", [Context, Buffer, BufferSize, Buffer, BufferSize] -> KernelAcquiredOrNull(NfConnInit), TC;
    /// Puts a connection that was made into the table.
    CtInsertEntry = 20, "bpf_ct_insert_entry", [KernelReleased(NfConnInit)] -> KernelAcquiredOrNull(NfConn), XDP_TC;
    /// Gives a connection back.
    CtRelease = 21, "bpf_ct_release", [KernelReleased(NfConn)] -> Void, XDP_TC;
    /// Says how long a connection that was made lives.
    CtSetTimeout = 22, "bpf_ct_set_timeout", [Kernel(NfConnInit), Number] -> Void, XDP_TC;
    /// Says how long a connection lives from now on.
    CtChangeTimeout = 23, "bpf_ct_change_timeout", [Kernel(NfConn), Number] -> Integer, XDP_TC;
    /// Sets the state of a connection that was made.
    CtSetStatus = 24, "bpf_ct_set_status", [Kernel(NfConnInit), Number] -> Integer, XDP_TC;
    /// Changes the state of a connection.
    CtChangeStatus = 25, "bpf_ct_change_status", [Kernel(NfConn), Number] -> Integer, XDP_TC;
    /// Says how the addresses of a connection that was made are translated.
    CtSetNatInfo = 26, "bpf_ct_set_nat_info", [Kernel(NfConnInit), Place16, Number, Number] -> Integer, XDP_TC;
}

impl Kfunc {
    /// The one with this name in C.
    pub fn named(name: &str) -> Option<Kfunc> {
        Kfunc::ALL.iter().copied().find(|kfunc| kfunc.name() == name)
    }

    /// Whether programs of this type may call it.
    pub const fn offered_to(self, program: ProgramType) -> bool {
        match (self, program) {
            // `bpf_kfunc_set_skb` is for all types whose packets are skbs.
            (
                Kfunc::DynptrFromSkb,
                ProgramType::CgroupSkb
                | ProgramType::LwtIn
                | ProgramType::LwtOut
                | ProgramType::LwtXmit
                | ProgramType::LwtSeg6Local
                | ProgramType::SkSkb,
            ) => true,
            // Connections are looked up from XDP and classifiers (`nf_conntrack_bpf.c`), not from actions.
            (
                Kfunc::XdpCtLookup
                | Kfunc::XdpCtAlloc
                | Kfunc::SkbCtLookup
                | Kfunc::SkbCtAlloc
                | Kfunc::CtInsertEntry
                | Kfunc::CtRelease
                | Kfunc::CtSetTimeout
                | Kfunc::CtChangeTimeout
                | Kfunc::CtSetStatus
                | Kfunc::CtChangeStatus
                | Kfunc::CtSetNatInfo,
                ProgramType::SchedAct,
            ) => false,
            _ => self.offered().to(program),
        }
    }
}

/// What a call instruction calls outside of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Callee {
    /// A helper.
    Helper(Helper),
    /// A kernel function.
    Kfunc(Kfunc),
}

impl Callee {
    /// The name in C.
    pub const fn name(self) -> &'static str {
        match self {
            Callee::Helper(helper) => helper.name(),
            Callee::Kfunc(kfunc) => kfunc.name(),
        }
    }

    /// What its arguments must be when a program of this type calls it.
    pub const fn args(self, program: ProgramType) -> &'static [Arg] {
        match self {
            Callee::Helper(helper) => helper.args_of(program),
            Callee::Kfunc(kfunc) => kfunc.args(),
        }
    }

    /// What it answers.
    pub const fn returns(self) -> Returns {
        match self {
            Callee::Helper(helper) => helper.returns(),
            Callee::Kfunc(kfunc) => kfunc.returns(),
        }
    }

    /// Whether programs of this type, attached there, may call it.
    pub fn offered_to(self, program: ProgramType, attach: AttachType) -> bool {
        match self {
            Callee::Helper(helper) => helper.offered_to(program, attach),
            Callee::Kfunc(kfunc) => kfunc.offered_to(program),
        }
    }

    /// Whether its memory arguments may lie in the packet.
    pub const fn takes_packet(self) -> bool {
        match self {
            Callee::Helper(helper) => helper.takes_packet(),
            // A kernel function's buffer may be any memory (`check_mem_size_reg`).
            Callee::Kfunc(_) => true,
        }
    }

    /// Whether it may move the packet.
    pub const fn changes_packet(self) -> bool {
        match self {
            Callee::Helper(helper) => helper.changes_packet(),
            Callee::Kfunc(_) => false,
        }
    }

    /// Whether it is this helper.
    pub fn is(self, helper: Helper) -> bool {
        self == Callee::Helper(helper)
    }
}
