//! Which helpers take which kinds of map (`check_map_func_compatibility`, kernel/bpf/verifier.c).

use weir_ebpf::ProgramType;
use weir_ebpf::abi::MapKind;
use weir_ebpf::abi::helper::Helper;

/// Whether the helper takes a map of this kind when a program of this type calls it.
pub(crate) fn fits(kind: MapKind, helper: Helper, program: ProgramType) -> bool {
    let updated = kind.holds_sockets() && may_update_sockets(program, helper);
    (updated || kind_allows(kind, helper)) && helper_allows(helper, kind)
}

/// Whether a map of sockets may be changed there, where no socket is locked (`may_update_sockmap`).
fn may_update_sockets(program: ProgramType, helper: Helper) -> bool {
    match helper {
        Helper::MapUpdateElem | Helper::MapDeleteElem => match program {
            // It changes them by helpers of its own.
            ProgramType::SockOps => helper == Helper::MapDeleteElem,
            ProgramType::SocketFilter
            | ProgramType::SchedCls
            | ProgramType::SchedAct
            | ProgramType::Xdp
            | ProgramType::SkReuseport
            | ProgramType::FlowDissector
            | ProgramType::SkLookup => true,
            ProgramType::CgroupSkb
            | ProgramType::LwtIn
            | ProgramType::LwtOut
            | ProgramType::LwtXmit
            | ProgramType::LwtSeg6Local
            | ProgramType::SkSkb
            | ProgramType::SkMsg
            | ProgramType::CgroupSock
            | ProgramType::CgroupSockAddr => false,
        },
        _ => false,
    }
}

/// What the map's kind says.
fn kind_allows(kind: MapKind, helper: Helper) -> bool {
    use Helper::*;
    match kind {
        MapKind::ProgArray => helper == TailCall,
        MapKind::PerfEventArray => matches!(helper, PerfEventOutput | PerfEventReadValue),
        MapKind::Ringbuf => {
            matches!(helper, RingbufOutput | RingbufReserve | RingbufReserveDynptr | RingbufQuery)
        }
        MapKind::StackTrace => helper == GetStackid,
        MapKind::CgroupArray => helper == SkbUnderCgroup,
        MapKind::Devmap | MapKind::DevmapHash => matches!(helper, RedirectMap | MapLookupElem),
        MapKind::Cpumap => helper == RedirectMap,
        MapKind::Sockmap => {
            matches!(
                helper,
                SkRedirectMap | SockMapUpdate | MsgRedirectMap | SkSelectReuseport | MapLookupElem
            )
        }
        MapKind::Sockhash => {
            matches!(
                helper,
                SkRedirectHash | SockHashUpdate | MsgRedirectHash | SkSelectReuseport | MapLookupElem
            )
        }
        MapKind::ReuseportSockarray => helper == SkSelectReuseport,
        MapKind::CgroupStorage | MapKind::PercpuCgroupStorage => helper == GetLocalStorage,
        MapKind::SkStorage => matches!(helper, SkStorageGet | SkStorageDelete),
        MapKind::Xskmap => matches!(helper, RedirectMap | MapLookupElem),
        MapKind::ArrayOfMaps | MapKind::HashOfMaps => helper == MapLookupElem,
        MapKind::Queue | MapKind::Stack => matches!(helper, MapPeekElem | MapPopElem | MapPushElem),
        MapKind::BloomFilter => matches!(helper, MapPeekElem | MapPushElem),
        MapKind::Hash
        | MapKind::Array
        | MapKind::PercpuHash
        | MapKind::PercpuArray
        | MapKind::LruHash
        | MapKind::LruPercpuHash
        | MapKind::LpmTrie => true,
    }
}

/// What the helper says.
fn helper_allows(helper: Helper, kind: MapKind) -> bool {
    use Helper::*;
    match helper {
        TailCall => kind == MapKind::ProgArray,
        PerfEventOutput | PerfEventReadValue => kind == MapKind::PerfEventArray,
        RingbufOutput | RingbufReserve | RingbufReserveDynptr | RingbufQuery => kind == MapKind::Ringbuf,
        GetStackid => kind == MapKind::StackTrace,
        SkbUnderCgroup => kind == MapKind::CgroupArray,
        RedirectMap => {
            matches!(kind, MapKind::Devmap | MapKind::DevmapHash | MapKind::Cpumap | MapKind::Xskmap)
        }
        MapPeekElem | MapPushElem => matches!(kind, MapKind::Queue | MapKind::Stack | MapKind::BloomFilter),
        MapPopElem => matches!(kind, MapKind::Queue | MapKind::Stack),
        SkRedirectMap | MsgRedirectMap | SockMapUpdate => kind == MapKind::Sockmap,
        SkRedirectHash | MsgRedirectHash | SockHashUpdate => kind == MapKind::Sockhash,
        SkSelectReuseport => {
            matches!(kind, MapKind::ReuseportSockarray | MapKind::Sockmap | MapKind::Sockhash)
        }
        GetLocalStorage => matches!(kind, MapKind::CgroupStorage | MapKind::PercpuCgroupStorage),
        SkStorageGet | SkStorageDelete => kind == MapKind::SkStorage,
        MapLookupPercpuElem => kind.is_percpu(),
        // The kernel refuses kinds without an iterator when it sets the callback up.
        ForEachMapElem => matches!(
            kind,
            MapKind::Hash
                | MapKind::Array
                | MapKind::PercpuHash
                | MapKind::PercpuArray
                | MapKind::LruHash
                | MapKind::LruPercpuHash
        ),
        _ => true,
    }
}
