//! Helper functions: number, name, arguments and result of each (`enum bpf_func_id`).
//!
//! The verifier checks calls by these signatures, the checked interpreter tests every call by them
//! again, and the virtual machine has a body for each row. Signatures follow the kernel's
//! `struct bpf_func_proto` rows in net/core/filter.c and kernel/bpf/helpers.c.

use super::kernel_struct::KernelStruct;
use super::offer;
use super::program_type::{AttachType, ProgramType};

/// What an argument must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arg {
    /// Any number, or any initialised value (`ARG_ANYTHING`).
    Anything,
    /// Whatever is there, written or not: the verifier does not look (`ARG_DONTCARE`), though the
    /// helper may.
    DontCare,
    /// The program's context (`ARG_PTR_TO_CTX`).
    Context,
    /// The same, or null (`ARG_PTR_TO_CTX_OR_NULL`).
    ContextOrNull,
    /// A map of the program, known at verification (`ARG_CONST_MAP_PTR`).
    Map,
    /// Readable memory of the map's key size (`ARG_PTR_TO_MAP_KEY`).
    MapKey,
    /// Readable memory of the map's value size (`ARG_PTR_TO_MAP_VALUE`).
    MapValue,
    /// The same, or null (`ARG_PTR_TO_MAP_VALUE_OR_NULL`).
    MapValueOrNull,
    /// Writable memory of the map's value size, which the helper fills.
    UninitMapValue,
    /// Readable memory; the next argument is its size (`ARG_PTR_TO_MEM | MEM_RDONLY`).
    Mem,
    /// The same, or null (then the size must be 0 where zero is allowed).
    MemOrNull,
    /// Writable memory which the helper fills; the next argument is its size (`ARG_PTR_TO_UNINIT_MEM`).
    UninitMem,
    /// The same, or null.
    UninitMemOrNull,
    /// Readable and writable memory; the next argument is its size.
    MemReadWrite,
    /// Bytes of the memory before it, at least 1 (`ARG_CONST_SIZE`).
    Size,
    /// Bytes of the memory before it, 0 allowed (`ARG_CONST_SIZE_OR_ZERO`).
    SizeOrZero,
    /// Bytes to allocate, a known constant (`ARG_CONST_ALLOC_SIZE_OR_ZERO`).
    ConstSize,
    /// A reserved ring-buffer record, which the call consumes.
    Record,
    /// The spin lock inside a map value.
    SpinLock,
    /// The timer inside a map value (`ARG_PTR_TO_TIMER`).
    Timer,
    /// A socket of any kind (`ARG_PTR_TO_BTF_ID_SOCK_COMMON`).
    Socket,
    /// The same, or null.
    SocketOrNull,
    /// A full socket, or null (`ARG_PTR_TO_SOCKET_OR_NULL`).
    FullSocketOrNull,
    /// A socket of any kind which was looked up and is given back (`OBJ_RELEASE`).
    SocketReleased,
    /// A function of the program (`ARG_PTR_TO_FUNC`).
    Callback,
    /// Stack memory, or null (`ARG_PTR_TO_STACK_OR_NULL`).
    StackOrNull,
    /// Text in a frozen map, with its terminator (`ARG_PTR_TO_CONST_STR`).
    ConstStr,
    /// Eight writable, aligned bytes which the helper fills (`ARG_PTR_TO_LONG`).
    Long,
    /// Four bytes, aligned, read and written (`ARG_PTR_TO_INT`).
    LongU32,
    /// Twenty readable bytes: an IPv4 or TCP header (`ARG_PTR_TO_FIXED_SIZE_MEM`).
    Read20,
    /// Forty readable bytes: an IPv6 header.
    Read40,
    /// A structure of the kernel that was handed out before.
    Kernel(KernelStruct),
    /// The same, which the call consumes (`KF_RELEASE`).
    KernelReleased(KernelStruct),
    /// A number, and no pointer (scalar arguments of kernel functions).
    Number,
    /// Two bytes that may be read and written, anywhere.
    Place2,
    /// Four bytes that may be read and written, anywhere.
    Place4,
    /// Eight bytes that may be read and written, anywhere.
    Place8,
    /// Sixteen bytes that may be read and written, anywhere.
    Place16,
    /// Memory that may be read and written, or nothing; the next argument is its size.
    Buffer,
    /// Bytes of the buffer before it (`__sz`).
    BufferSize,
    /// Memory that may be read and written, or null; the next argument is its size.
    BufferOrNull,
    /// Bytes of the buffer before it, a known constant (`__szk`).
    ConstBufferSize,
    /// Eight bytes of stack that become an iterator.
    NewIterator,
    /// An iterator on the stack.
    Iterator,
    /// An iterator on the stack, which the call ends.
    EndedIterator,
    /// Sixteen bytes of stack that become a dynptr of the kind that the other dynptr is.
    NewDynptr,
    /// The same of plain memory.
    NewMemDynptr,
    /// The same of a ring-buffer record, which must be released.
    NewRecordDynptr,
    /// The same of an skb.
    NewSkbDynptr,
    /// The same of an XDP packet.
    NewXdpDynptr,
    /// A dynptr on the stack.
    Dynptr,
    /// A dynptr of a ring-buffer record, which the call consumes.
    RecordDynptr,
}

/// What a helper answers in r0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Returns {
    /// A number; errors are negative errno values.
    Integer,
    /// Nothing: r0 is not readable afterwards.
    Void,
    /// A pointer to a value of the map argument (for a map of maps: to the inner map), or null.
    MapValueOrNull,
    /// A pointer to a value of the map argument.
    MapValue,
    /// A full socket, or null; it must be released when it was looked up.
    SocketOrNull,
    /// A socket of any state (a request's, one in time-wait), or null; likewise.
    SockCommonOrNull,
    /// A TCP socket, or null.
    TcpSockOrNull,
    /// A structure of the kernel, or null.
    KernelOrNull(KernelStruct),
    /// The same; it must be released.
    KernelAcquiredOrNull(KernelStruct),
    /// A pointer to a reserved record of the size asked for, or null; it must be released.
    RecordOrNull,
    /// A pointer to a number of an iterator, four bytes to read, or null when it is at its end.
    NumberOrNull,
    /// A pointer to bytes of a dynptr, as many as the constant argument says, or null.
    DynptrDataOrNull,
    /// A pointer to bytes of a dynptr, or to the buffer, only to be read; or null.
    SliceOrNull,
    /// The same, to be read and written.
    MutableSliceOrNull,
}

/// Sets of program types that a helper is offered to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offered(u8);

impl Offered {
    const NONE: Offered = Offered(0);
    pub(super) const XDP: Offered = Offered(1);
    pub(super) const TC: Offered = Offered(2);
    pub(super) const XDP_TC: Offered = Offered(3);
    pub(super) const TC_FILTER: Offered = Offered(6);
    pub(super) const ALL: Offered = Offered(7);

    /// Whether programs of this type are among them; of the types that weir does not attach, whether all are.
    pub(super) const fn to(self, program: ProgramType) -> bool {
        let bit = match program {
            ProgramType::Xdp => 1,
            ProgramType::SchedCls | ProgramType::SchedAct => 2,
            ProgramType::SocketFilter => 4,
            ProgramType::CgroupSkb
            | ProgramType::LwtIn
            | ProgramType::LwtOut
            | ProgramType::LwtXmit
            | ProgramType::LwtSeg6Local
            | ProgramType::SkSkb
            | ProgramType::FlowDissector
            | ProgramType::SkMsg
            | ProgramType::SkLookup
            | ProgramType::SkReuseport
            | ProgramType::SockOps
            | ProgramType::CgroupSock
            | ProgramType::CgroupSockAddr => return self.0 == Offered::ALL.0,
        };
        self.0 & bit != 0
    }
}

macro_rules! helpers {
    (@flag packet packet) => { true };
    (@flag gpl gpl) => { true };
    (@flag takes takes) => { true };
    (@flag proven proven) => { true };
    (@flag $wanted:ident $other:ident) => { false };
    ($( $(#[$doc:meta])* $name:ident = $number:literal, $text:literal,
        [$($arg:ident),*] -> $returns:ident $(($what:ident))?, $offered:ident $(, $flag:ident)*; )+) => {
        /// A helper function that weir knows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Helper { $( $(#[$doc])* $name = $number, )+ }

        impl Helper {
            /// Every helper, by number.
            pub const ALL: &[Helper] = &[$( Helper::$name, )+];
            /// The helper with the kernel's number; `None` for those that weir does not have.
            pub const fn new(number: u32) -> Option<Helper> {
                match number { $( $number => Some(Helper::$name), )+ _ => None }
            }
            /// The name in C, such as `bpf_map_lookup_elem`.
            pub const fn name(self) -> &'static str { match self { $( Helper::$name => $text, )+ } }
            /// What its arguments must be, of most programs; those after the last are not looked at.
            pub const fn args(self) -> &'static [Arg] { match self { $( Helper::$name => &[$(Arg::$arg),*], )+ } }
            /// What it answers.
            pub const fn returns(self) -> Returns { match self { $( Helper::$name => Returns::$returns $((KernelStruct::$what))?, )+ } }
            const fn offered(self) -> Offered { match self { $( Helper::$name => Offered::$offered, )+ } }
            /// Whether calls of it are proven and cannot be run here.
            pub const fn proven_only(self) -> bool {
                match self { $( Helper::$name => false $(|| helpers!(@flag proven $flag))*, )+ }
            }
            /// Whether it may move the packet, so that pointers into it are stale afterwards.
            pub const fn changes_packet(self) -> bool {
                match self { $( Helper::$name => false $(|| helpers!(@flag packet $flag))*, )+ }
            }
            /// Whether its memory arguments may lie in the packet (`pkt_access`).
            pub const fn takes_packet(self) -> bool {
                match self { $( Helper::$name => false $(|| helpers!(@flag takes $flag))*, )+ }
            }
            /// Whether only programs with a GPL-compatible licence may call it.
            pub const fn gpl_only(self) -> bool {
                match self { $( Helper::$name => false $(|| helpers!(@flag gpl $flag))*, )+ }
            }
        }
    };
}

impl Helper {
    /// Whether programs of this type, attached there, may call it.
    pub fn offered_to(self, program: ProgramType, attach: AttachType) -> bool {
        offer::offered(self, program, attach, self.offered().to(program))
    }

    /// What its arguments must be when a program of this type calls it: a few take something else then.
    pub const fn args_of(self, program: ProgramType) -> &'static [Arg] {
        match (self, program) {
            (Helper::GetSocketCookie, ProgramType::SkReuseport) => &[Arg::SocketOrNull],
            (Helper::SkAssign, ProgramType::SkLookup) => {
                &[Arg::Context, Arg::FullSocketOrNull, Arg::Anything]
            }
            (Helper::SkStorageGet, ProgramType::CgroupSock) => {
                &[Arg::Map, Arg::Context, Arg::MapValueOrNull, Arg::Anything]
            }
            // The packet's class where there is one, else that of the running task.
            (
                Helper::GetCgroupClassid,
                ProgramType::SchedCls
                | ProgramType::SchedAct
                | ProgramType::LwtIn
                | ProgramType::LwtOut
                | ProgramType::LwtXmit
                | ProgramType::LwtSeg6Local,
            ) => &[Arg::Context],
            (Helper::GetCgroupClassid, _) => &[],
            _ => self.args(),
        }
    }
}

helpers! {
    /// Looks a key up; answers a pointer to the value, or null.
    MapLookupElem = 1, "bpf_map_lookup_elem", [Map, MapKey] -> MapValueOrNull, ALL, takes;
    /// Puts a value under a key.
    MapUpdateElem = 2, "bpf_map_update_elem", [Map, MapKey, MapValue, Anything] -> Integer, ALL, takes;
    /// Takes a key out.
    MapDeleteElem = 3, "bpf_map_delete_elem", [Map, MapKey] -> Integer, ALL, takes;
    /// Nanoseconds since boot, without time asleep.
    KtimeGetNs = 5, "bpf_ktime_get_ns", [] -> Integer, ALL;
    /// Formats a line into the trace.
    TracePrintk = 6, "bpf_trace_printk", [Mem, Size, DontCare, DontCare, DontCare] -> Integer, ALL, gpl;
    /// A random number of 32 bits.
    GetPrandomU32 = 7, "bpf_get_prandom_u32", [] -> Integer, ALL;
    /// The worker's number.
    GetSmpProcessorId = 8, "bpf_get_smp_processor_id", [] -> Integer, ALL;
    /// Writes bytes into the packet, mending its checksum if asked.
    SkbStoreBytes = 9, "bpf_skb_store_bytes", [Context, Anything, Mem, Size, Anything] -> Integer, TC, packet;
    /// Mends the IP checksum for a changed field.
    L3CsumReplace = 10, "bpf_l3_csum_replace", [Context, Anything, Anything, Anything, Anything] -> Integer, TC, packet;
    /// Mends the TCP, UDP or ICMP checksum for a changed field.
    L4CsumReplace = 11, "bpf_l4_csum_replace", [Context, Anything, Anything, Anything, Anything] -> Integer, TC, packet;
    /// Goes on in another program; returns only when it cannot, and then nothing (`RET_VOID`).
    TailCall = 12, "bpf_tail_call", [Context, Map, Anything] -> Void, ALL;
    /// Sends a copy of the packet out of a port.
    CloneRedirect = 13, "bpf_clone_redirect", [Context, Anything, Anything] -> Integer, TC, packet;
    /// The running task's ids; always 0 here.
    GetCurrentPidTgid = 14, "bpf_get_current_pid_tgid", [] -> Integer, ALL;
    /// The running task's user and group; always 0 here.
    GetCurrentUidGid = 15, "bpf_get_current_uid_gid", [] -> Integer, ALL;
    /// The running task's name; the worker's here.
    GetCurrentComm = 16, "bpf_get_current_comm", [UninitMem, Size] -> Integer, ALL;
    /// The sender's cgroup class; always 0 here.
    GetCgroupClassid = 17, "bpf_get_cgroup_classid", [Context] -> Integer, ALL;
    /// Puts a VLAN tag on.
    SkbVlanPush = 18, "bpf_skb_vlan_push", [Context, Anything, Anything] -> Integer, TC, packet;
    /// Takes a VLAN tag off.
    SkbVlanPop = 19, "bpf_skb_vlan_pop", [Context] -> Integer, TC, packet;
    /// Reads the tunnel's metadata.
    SkbGetTunnelKey = 20, "bpf_skb_get_tunnel_key", [Context, UninitMem, Size, Anything] -> Integer, TC;
    /// Sets the tunnel's metadata.
    SkbSetTunnelKey = 21, "bpf_skb_set_tunnel_key", [Context, Mem, Size, Anything] -> Integer, TC;
    /// Names the port that the verdict redirects to.
    Redirect = 23, "bpf_redirect", [Anything, Anything] -> Integer, XDP_TC;
    /// The route's realm; always 0 here.
    GetRouteRealm = 24, "bpf_get_route_realm", [Context] -> Integer, TC;
    /// Sends a record to user space.
    PerfEventOutput = 25, "bpf_perf_event_output", [Context, Map, Anything, Mem, SizeOrZero] -> Integer, ALL, gpl;
    /// Copies bytes out of the packet.
    SkbLoadBytes = 26, "bpf_skb_load_bytes", [Context, Anything, UninitMem, Size] -> Integer, TC_FILTER;
    /// Not offered to packet programs.
    GetStackid = 27, "bpf_get_stackid", [Context, Map, Anything] -> Integer, NONE, gpl;
    /// The difference two buffers make to a checksum.
    CsumDiff = 28, "bpf_csum_diff", [MemOrNull, SizeOrZero, MemOrNull, SizeOrZero, Anything] -> Integer, XDP_TC, takes;
    /// Reads the tunnel's options.
    SkbGetTunnelOpt = 29, "bpf_skb_get_tunnel_opt", [Context, UninitMem, Size] -> Integer, TC;
    /// Sets the tunnel's options.
    SkbSetTunnelOpt = 30, "bpf_skb_set_tunnel_opt", [Context, Mem, Size] -> Integer, TC;
    /// Turns IPv4 into IPv6 or back, making room.
    SkbChangeProto = 31, "bpf_skb_change_proto", [Context, Anything, Anything] -> Integer, TC, packet;
    /// Sets the packet's type.
    SkbChangeType = 32, "bpf_skb_change_type", [Context, Anything] -> Integer, TC;
    /// Whether the sender is under a cgroup; it never is here.
    SkbUnderCgroup = 33, "bpf_skb_under_cgroup", [Context, Map, Anything] -> Integer, TC;
    /// The flow hash, computed if there is none.
    GetHashRecalc = 34, "bpf_get_hash_recalc", [Context] -> Integer, TC;
    /// The running task; always 0 here.
    GetCurrentTask = 35, "bpf_get_current_task", [] -> Integer, ALL, gpl;
    /// Shortens or lengthens the packet at its end.
    SkbChangeTail = 38, "bpf_skb_change_tail", [Context, Anything, Anything] -> Integer, TC, packet;
    /// Makes bytes directly accessible.
    SkbPullData = 39, "bpf_skb_pull_data", [Context, Anything] -> Integer, TC, packet;
    /// Adds to the packet's checksum.
    CsumUpdate = 40, "bpf_csum_update", [Context, Anything] -> Integer, TC;
    /// Forgets the flow hash.
    SetHashInvalid = 41, "bpf_set_hash_invalid", [Context] -> Void, TC;
    /// The NUMA node; always 0 here.
    GetNumaNodeId = 42, "bpf_get_numa_node_id", [] -> Integer, ALL;
    /// Makes room before the packet.
    SkbChangeHead = 43, "bpf_skb_change_head", [Context, Anything, Anything] -> Integer, TC, packet;
    /// Moves the start of the packet.
    XdpAdjustHead = 44, "bpf_xdp_adjust_head", [Context, Anything] -> Integer, XDP, packet;
    /// The socket's cookie; always 0 here.
    GetSocketCookie = 46, "bpf_get_socket_cookie", [Context] -> Integer, TC_FILTER;
    /// The socket's owner; the overflow uid here.
    GetSocketUid = 47, "bpf_get_socket_uid", [Context] -> Integer, TC_FILTER;
    /// Sets the flow hash.
    SetHash = 48, "bpf_set_hash", [Context, Anything] -> Integer, TC;
    /// Sets an option of the socket.
    Setsockopt = 49, "bpf_setsockopt", [Context, Anything, Anything, Mem, Size] -> Integer, NONE, proven;
    /// Makes or takes room between two layers.
    SkbAdjustRoom = 50, "bpf_skb_adjust_room", [Context, Anything, Anything, Anything] -> Integer, TC, packet;
    /// Names the map entry that the verdict redirects to.
    RedirectMap = 51, "bpf_redirect_map", [Map, Anything, Anything] -> Integer, XDP;
    /// Names the socket of a map that the stream's data goes to.
    SkRedirectMap = 52, "bpf_sk_redirect_map", [Context, Map, Anything, Anything] -> Integer, NONE, proven;
    /// Puts the socket into a map.
    SockMapUpdate = 53, "bpf_sock_map_update", [Context, Map, MapKey, Anything] -> Integer, NONE, takes, proven;
    /// Moves the start of the metadata.
    XdpAdjustMeta = 54, "bpf_xdp_adjust_meta", [Context, Anything] -> Integer, XDP, packet;
    /// Reads a performance counter; there are none here.
    PerfEventReadValue = 55, "bpf_perf_event_read_value", [Map, Anything, UninitMem, Size] -> Integer, ALL, gpl;
    /// Reads an option of the socket.
    Getsockopt = 57, "bpf_getsockopt", [Context, Anything, Anything, UninitMem, Size] -> Integer, NONE, proven;
    /// Chooses what the socket tells of itself.
    SockOpsCbFlagsSet = 59, "bpf_sock_ops_cb_flags_set", [Context, Anything] -> Integer, NONE, proven;
    /// Names the socket of a map that the message goes to.
    MsgRedirectMap = 60, "bpf_msg_redirect_map", [Context, Map, Anything, Anything] -> Integer, NONE, proven;
    /// Says how many bytes the verdict is for.
    MsgApplyBytes = 61, "bpf_msg_apply_bytes", [Context, Anything] -> Integer, NONE, proven;
    /// Waits until there are so many bytes.
    MsgCorkBytes = 62, "bpf_msg_cork_bytes", [Context, Anything] -> Integer, NONE, proven;
    /// Makes bytes of the message directly accessible.
    MsgPullData = 63, "bpf_msg_pull_data", [Context, Anything, Anything, Anything] -> Integer, NONE, packet, proven;
    /// Binds the socket to an address.
    Bind = 64, "bpf_bind", [Context, Mem, Size] -> Integer, NONE, proven;
    /// Moves the end of the packet.
    XdpAdjustTail = 65, "bpf_xdp_adjust_tail", [Context, Anything] -> Integer, XDP, packet;
    /// A state of the packet's IPsec path; there is none here.
    SkbGetXfrmState = 66, "bpf_skb_get_xfrm_state", [Context, Anything, UninitMem, Size, Anything] -> Integer, TC;
    /// Copies bytes out of the packet, from a layer on.
    SkbLoadBytesRelative = 68, "bpf_skb_load_bytes_relative", [Context, Anything, UninitMem, Size, Anything] -> Integer, TC_FILTER;
    /// Looks the route and the neighbour up.
    FibLookup = 69, "bpf_fib_lookup", [Context, MemReadWrite, Size, Anything] -> Integer, XDP_TC, gpl;
    /// Puts the socket into a map.
    SockHashUpdate = 70, "bpf_sock_hash_update", [Context, Map, MapKey, Anything] -> Integer, NONE, takes, proven;
    /// Names the socket of a map that the message goes to.
    MsgRedirectHash = 71, "bpf_msg_redirect_hash", [Context, Map, MapKey, Anything] -> Integer, NONE, proven;
    /// Names the socket of a map that the stream's data goes to.
    SkRedirectHash = 72, "bpf_sk_redirect_hash", [Context, Map, MapKey, Anything] -> Integer, NONE, proven;
    /// Puts a header before the packet.
    LwtPushEncap = 73, "bpf_lwt_push_encap", [Context, Anything, Mem, Size] -> Integer, NONE, packet, proven;
    /// Writes into the segment routing header.
    LwtSeg6StoreBytes = 74, "bpf_lwt_seg6_store_bytes", [Context, Anything, Mem, Size] -> Integer, NONE, packet, proven;
    /// Makes or takes room in the segment routing header.
    LwtSeg6AdjustSrh = 75, "bpf_lwt_seg6_adjust_srh", [Context, Anything, Anything] -> Integer, NONE, packet, proven;
    /// Does a segment routing action.
    LwtSeg6Action = 76, "bpf_lwt_seg6_action", [Context, Anything, Mem, Size] -> Integer, NONE, packet, proven;
    /// The sender's cgroup; always 0 here.
    SkbCgroupId = 79, "bpf_skb_cgroup_id", [Context] -> Integer, TC;
    /// The running task's cgroup; always 0 here.
    GetCurrentCgroupId = 80, "bpf_get_current_cgroup_id", [] -> Integer, ALL;
    /// The storage that a cgroup has for the program.
    GetLocalStorage = 81, "bpf_get_local_storage", [Map, Anything] -> MapValue, NONE, proven;
    /// Names the socket of a map that the packet goes to.
    SkSelectReuseport = 82, "bpf_sk_select_reuseport", [Context, Map, MapKey, Anything] -> Integer, NONE, proven;
    /// A cgroup above the sender's; always 0 here.
    SkbAncestorCgroupId = 83, "bpf_skb_ancestor_cgroup_id", [Context, Anything] -> Integer, TC;
    /// Looks a TCP socket up; none is ever found here.
    SkLookupTcp = 84, "bpf_sk_lookup_tcp", [Context, Mem, SizeOrZero, Anything, Anything] -> SocketOrNull, XDP_TC, takes;
    /// Looks a UDP socket up; none is ever found here.
    SkLookupUdp = 85, "bpf_sk_lookup_udp", [Context, Mem, SizeOrZero, Anything, Anything] -> SocketOrNull, XDP_TC, takes;
    /// Gives a socket back that was looked up.
    SkRelease = 86, "bpf_sk_release", [SocketReleased] -> Integer, XDP_TC;
    /// Puts a value into a queue, stack or bloom filter.
    MapPushElem = 87, "bpf_map_push_elem", [Map, MapValue, Anything] -> Integer, ALL, takes;
    /// Takes a value out of a queue or stack.
    MapPopElem = 88, "bpf_map_pop_elem", [Map, UninitMapValue] -> Integer, ALL;
    /// Reads the next value of a queue or stack, or asks a bloom filter.
    MapPeekElem = 89, "bpf_map_peek_elem", [Map, UninitMapValue] -> Integer, ALL;
    /// Makes room in the message.
    MsgPushData = 90, "bpf_msg_push_data", [Context, Anything, Anything, Anything] -> Integer, NONE, packet, proven;
    /// Takes bytes out of the message.
    MsgPopData = 91, "bpf_msg_pop_data", [Context, Anything, Anything, Anything] -> Integer, NONE, packet, proven;
    /// Takes the lock inside a map value.
    SpinLock = 93, "bpf_spin_lock", [SpinLock] -> Void, ALL;
    /// Lets the lock go.
    SpinUnlock = 94, "bpf_spin_unlock", [SpinLock] -> Void, ALL;
    /// The full socket of one of any state.
    SkFullsock = 95, "bpf_sk_fullsock", [Socket] -> SocketOrNull, TC;
    /// The TCP socket of one of any state.
    TcpSock = 96, "bpf_tcp_sock", [Socket] -> TcpSockOrNull, TC;
    /// Marks congestion in the IP header.
    SkbEcnSetCe = 97, "bpf_skb_ecn_set_ce", [Context] -> Integer, TC;
    /// The listening socket of one of any state.
    GetListenerSock = 98, "bpf_get_listener_sock", [Socket] -> SocketOrNull, TC;
    /// Looks a TCP socket of any state up; none is ever found here.
    SkcLookupTcp = 99, "bpf_skc_lookup_tcp", [Context, Mem, SizeOrZero, Anything, Anything] -> SockCommonOrNull, XDP_TC, takes;
    /// Whether an ACK answers a SYN cookie of a listening socket.
    TcpCheckSyncookie = 100, "bpf_tcp_check_syncookie", [Socket, Mem, Size, Mem, Size] -> Integer, XDP_TC, takes, gpl;
    /// Reads a signed number from text.
    Strtol = 105, "bpf_strtol", [Mem, Size, Anything, Long] -> Integer, ALL;
    /// Reads a number from text.
    Strtoul = 106, "bpf_strtoul", [Mem, Size, Anything, Long] -> Integer, ALL;
    /// What a socket has of a map's storage; no socket is ever found here.
    SkStorageGet = 107, "bpf_sk_storage_get", [Map, Socket, MapValueOrNull, Anything] -> MapValueOrNull, TC;
    /// Takes it away.
    SkStorageDelete = 108, "bpf_sk_storage_delete", [Map, Socket] -> Integer, TC;
    /// Makes a SYN cookie for a listening socket.
    TcpGenSyncookie = 110, "bpf_tcp_gen_syncookie", [Socket, Mem, Size, Mem, Size] -> Integer, XDP_TC, takes, gpl;
    /// Reads memory of the running task; there is none here.
    ProbeReadUser = 112, "bpf_probe_read_user", [UninitMem, SizeOrZero, Anything] -> Integer, ALL, gpl;
    /// Reads memory at any address, if it can be read.
    ProbeReadKernel = 113, "bpf_probe_read_kernel", [UninitMem, SizeOrZero, Anything] -> Integer, ALL, gpl;
    /// Reads text of the running task; there is none here.
    ProbeReadUserStr = 114, "bpf_probe_read_user_str", [UninitMem, SizeOrZero, Anything] -> Integer, ALL, gpl;
    /// Reads text at any address, if it can be read.
    ProbeReadKernelStr = 115, "bpf_probe_read_kernel_str", [UninitMem, SizeOrZero, Anything] -> Integer, ALL, gpl;
    /// Kernel ticks since boot.
    Jiffies64 = 118, "bpf_jiffies64", [] -> Integer, ALL;
    /// The running task's ids as a namespace sees them; no namespace has it here.
    GetNsCurrentPidTgid = 120, "bpf_get_ns_current_pid_tgid", [Anything, Anything, UninitMem, Size] -> Integer, ALL;
    /// The network namespace's cookie; that of the first one here.
    GetNetnsCookie = 122, "bpf_get_netns_cookie", [ContextOrNull] -> Integer, TC_FILTER;
    /// A cgroup above the running task's; always 0 here.
    GetCurrentAncestorCgroupId = 123, "bpf_get_current_ancestor_cgroup_id", [Anything] -> Integer, ALL;
    /// Gives the packet to a socket.
    SkAssign = 124, "bpf_sk_assign", [Context, Socket, Anything] -> Integer, TC;
    /// Nanoseconds since boot, time asleep included.
    KtimeGetBootNs = 125, "bpf_ktime_get_boot_ns", [] -> Integer, ALL;
    /// A socket's cgroup; no socket is ever found here.
    SkCgroupId = 128, "bpf_sk_cgroup_id", [Socket] -> Integer, NONE;
    /// A cgroup above a socket's; no socket is ever found here.
    SkAncestorCgroupId = 129, "bpf_sk_ancestor_cgroup_id", [Socket, Anything] -> Integer, NONE;
    /// Copies a record into a ring buffer.
    RingbufOutput = 130, "bpf_ringbuf_output", [Map, Mem, SizeOrZero, Anything] -> Integer, ALL;
    /// Reserves a record in a ring buffer.
    RingbufReserve = 131, "bpf_ringbuf_reserve", [Map, ConstSize, Anything] -> RecordOrNull, ALL;
    /// Hands a reserved record over.
    RingbufSubmit = 132, "bpf_ringbuf_submit", [Record, Anything] -> Void, ALL;
    /// Gives a reserved record back.
    RingbufDiscard = 133, "bpf_ringbuf_discard", [Record, Anything] -> Void, ALL;
    /// Asks a ring buffer for a figure.
    RingbufQuery = 134, "bpf_ringbuf_query", [Map, Anything] -> Integer, ALL;
    /// Changes how many checksums were verified.
    CsumLevel = 135, "bpf_csum_level", [Context, Anything] -> Integer, TC;
    /// The TCP socket of IPv6 that a socket is; no socket is ever found here.
    SkcToTcp6Sock = 136, "bpf_skc_to_tcp6_sock", [Socket] -> KernelOrNull(Tcp6Sock), ALL;
    /// The TCP socket that a socket is; likewise.
    SkcToTcpSock = 137, "bpf_skc_to_tcp_sock", [Socket] -> KernelOrNull(TcpSock), ALL;
    /// The time-wait socket that a socket is; likewise.
    SkcToTcpTimewaitSock = 138, "bpf_skc_to_tcp_timewait_sock", [Socket] -> KernelOrNull(TcpTimewaitSock), ALL;
    /// The request that a socket is; likewise.
    SkcToTcpRequestSock = 139, "bpf_skc_to_tcp_request_sock", [Socket] -> KernelOrNull(TcpRequestSock), ALL;
    /// The UDP socket of IPv6 that a socket is; likewise.
    SkcToUdp6Sock = 140, "bpf_skc_to_udp6_sock", [Socket] -> KernelOrNull(Udp6Sock), ALL;
    /// Reads an option of the TCP header.
    LoadHdrOpt = 142, "bpf_load_hdr_opt", [Context, MemReadWrite, Size, Anything] -> Integer, NONE, proven;
    /// Writes an option of the TCP header.
    StoreHdrOpt = 143, "bpf_store_hdr_opt", [Context, Mem, Size, Anything] -> Integer, NONE, packet, proven;
    /// Makes room for an option of the TCP header.
    ReserveHdrOpt = 144, "bpf_reserve_hdr_opt", [Context, Anything, Anything] -> Integer, NONE, proven;
    /// The sender's cgroup class; always 0 here.
    SkbCgroupClassid = 151, "bpf_skb_cgroup_classid", [Context] -> Integer, TC;
    /// Redirects to a port, the neighbour filled in.
    RedirectNeigh = 152, "bpf_redirect_neigh", [Anything, MemOrNull, SizeOrZero, Anything] -> Integer, TC;
    /// Redirects to the peer of a port.
    RedirectPeer = 155, "bpf_redirect_peer", [Anything, Anything] -> Integer, TC;
    /// Nanoseconds since boot, as of the last tick.
    KtimeGetCoarseNs = 160, "bpf_ktime_get_coarse_ns", [] -> Integer, ALL;
    /// Whether a packet fits a port.
    CheckMtu = 163, "bpf_check_mtu", [Context, Anything, LongU32, Anything, Anything] -> Integer, XDP_TC, gpl;
    /// Calls a function for each entry of a map.
    ForEachMapElem = 164, "bpf_for_each_map_elem", [Map, Callback, StackOrNull, Anything] -> Integer, ALL;
    /// Formats text into memory.
    Snprintf = 165, "bpf_snprintf", [UninitMemOrNull, SizeOrZero, ConstStr, MemOrNull, SizeOrZero] -> Integer, ALL, gpl;
    /// Begins the timer in a value of a map, by a clock.
    TimerInit = 169, "bpf_timer_init", [Timer, Map, Anything] -> Integer, ALL, gpl;
    /// Sets the function that a timer calls.
    TimerSetCallback = 170, "bpf_timer_set_callback", [Timer, Callback] -> Integer, ALL, gpl;
    /// Arms a timer.
    TimerStart = 171, "bpf_timer_start", [Timer, Anything, Anything] -> Integer, ALL, gpl;
    /// Disarms a timer, and takes its function away.
    TimerCancel = 172, "bpf_timer_cancel", [Timer] -> Integer, ALL, gpl;
    /// Formats a line into the trace, of numbers in memory.
    TraceVprintk = 177, "bpf_trace_vprintk", [Mem, Size, MemOrNull, SizeOrZero] -> Integer, ALL, gpl;
    /// The Unix socket that a socket is; no socket is ever found here.
    SkcToUnixSock = 178, "bpf_skc_to_unix_sock", [Socket] -> KernelOrNull(UnixSock), ALL;
    /// Calls a function a number of times.
    Loop = 181, "bpf_loop", [Anything, Callback, StackOrNull, Anything] -> Integer, ALL;
    /// Compares text with a constant.
    Strncmp = 182, "bpf_strncmp", [Mem, Size, ConstStr] -> Integer, ALL;
    /// What the system call will answer.
    GetRetval = 186, "bpf_get_retval", [] -> Integer, NONE, proven;
    /// Changes what the system call will answer.
    SetRetval = 187, "bpf_set_retval", [Anything] -> Integer, NONE, proven;
    /// Bytes of the packet, all its buffers together.
    XdpGetBuffLen = 188, "bpf_xdp_get_buff_len", [Context] -> Integer, XDP;
    /// Copies bytes out of the packet.
    XdpLoadBytes = 189, "bpf_xdp_load_bytes", [Context, Anything, UninitMem, Size] -> Integer, XDP;
    /// Copies bytes into the packet.
    XdpStoreBytes = 190, "bpf_xdp_store_bytes", [Context, Anything, Mem, Size] -> Integer, XDP;
    /// Sets the packet's time and its clock.
    SkbSetTstamp = 192, "bpf_skb_set_tstamp", [Context, Anything, Anything] -> Integer, TC;
    /// Looks a key up in another worker's part.
    MapLookupPercpuElem = 195, "bpf_map_lookup_percpu_elem", [Map, MapKey, Anything] -> MapValueOrNull, ALL, takes;
    /// The multipath TCP socket that a socket is; no socket is ever found here.
    SkcToMptcpSock = 196, "bpf_skc_to_mptcp_sock", [Socket] -> KernelOrNull(MptcpSock), ALL;
    /// A view of memory.
    DynptrFromMem = 197, "bpf_dynptr_from_mem", [UninitMem, SizeOrZero, Anything, NewMemDynptr] -> Integer, ALL;
    /// Reserves a record in a ring buffer and views it.
    RingbufReserveDynptr = 198, "bpf_ringbuf_reserve_dynptr", [Map, Anything, Anything, NewRecordDynptr] -> Integer, ALL;
    /// Hands the record of a view over.
    RingbufSubmitDynptr = 199, "bpf_ringbuf_submit_dynptr", [RecordDynptr, Anything] -> Void, ALL;
    /// Gives the record of a view back.
    RingbufDiscardDynptr = 200, "bpf_ringbuf_discard_dynptr", [RecordDynptr, Anything] -> Void, ALL;
    /// Copies bytes out of a view.
    DynptrRead = 201, "bpf_dynptr_read", [UninitMem, SizeOrZero, Dynptr, Anything, Anything] -> Integer, ALL;
    /// Copies bytes into a view.
    DynptrWrite = 202, "bpf_dynptr_write", [Dynptr, Anything, Mem, SizeOrZero, Anything] -> Integer, ALL;
    /// A pointer to bytes of a view.
    DynptrData = 203, "bpf_dynptr_data", [Dynptr, Anything, ConstSize] -> DynptrDataOrNull, ALL;
    /// Makes a SYN cookie for an IPv4 packet, without a socket.
    TcpRawGenSyncookieIpv4 = 204, "bpf_tcp_raw_gen_syncookie_ipv4", [Read20, Mem, SizeOrZero] -> Integer, XDP_TC, takes, gpl;
    /// Makes a SYN cookie for an IPv6 packet, without a socket.
    TcpRawGenSyncookieIpv6 = 205, "bpf_tcp_raw_gen_syncookie_ipv6", [Read40, Mem, SizeOrZero] -> Integer, XDP_TC, takes, gpl;
    /// Whether an IPv4 ACK answers a SYN cookie that was made here.
    TcpRawCheckSyncookieIpv4 = 206, "bpf_tcp_raw_check_syncookie_ipv4", [Read20, Read20] -> Integer, XDP_TC, takes, gpl;
    /// Whether an IPv6 ACK answers a SYN cookie that was made here.
    TcpRawCheckSyncookieIpv6 = 207, "bpf_tcp_raw_check_syncookie_ipv6", [Read40, Read20] -> Integer, XDP_TC, takes, gpl;
    /// Nanoseconds of international atomic time.
    KtimeGetTaiNs = 208, "bpf_ktime_get_tai_ns", [] -> Integer, ALL;
}
