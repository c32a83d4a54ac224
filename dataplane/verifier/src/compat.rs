//! Which helpers take which kinds of map (`check_map_func_compatibility`, kernel/bpf/verifier.c).

use weir_ebpf::abi::MapKind;
use weir_ebpf::abi::helper::Helper;

/// Whether the helper takes a map of this kind.
pub(crate) fn fits(kind: MapKind, helper: Helper) -> bool {
    kind_allows(kind, helper) && helper_allows(helper, kind)
}

/// What the map's kind says.
fn kind_allows(kind: MapKind, helper: Helper) -> bool {
    use Helper::*;
    match kind {
        MapKind::ProgArray => helper == TailCall,
        MapKind::PerfEventArray => helper == PerfEventOutput,
        MapKind::Ringbuf => {
            matches!(helper, RingbufOutput | RingbufReserve | RingbufReserveDynptr | RingbufQuery)
        }
        MapKind::StackTrace => helper == GetStackid,
        MapKind::CgroupArray => helper == SkbUnderCgroup,
        MapKind::Devmap | MapKind::DevmapHash => matches!(helper, RedirectMap | MapLookupElem),
        MapKind::Cpumap => helper == RedirectMap,
        MapKind::Xskmap => matches!(helper, RedirectMap | MapLookupElem),
        MapKind::Sockmap | MapKind::Sockhash => {
            matches!(helper, MapLookupElem | MapUpdateElem | MapDeleteElem)
        }
        MapKind::SkStorage => false,
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
        PerfEventOutput => kind == MapKind::PerfEventArray,
        RingbufOutput | RingbufReserve | RingbufReserveDynptr | RingbufQuery => kind == MapKind::Ringbuf,
        GetStackid => kind == MapKind::StackTrace,
        SkbUnderCgroup => kind == MapKind::CgroupArray,
        RedirectMap => {
            matches!(kind, MapKind::Devmap | MapKind::DevmapHash | MapKind::Cpumap | MapKind::Xskmap)
        }
        MapPeekElem | MapPushElem => matches!(kind, MapKind::Queue | MapKind::Stack | MapKind::BloomFilter),
        MapPopElem => matches!(kind, MapKind::Queue | MapKind::Stack),
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
