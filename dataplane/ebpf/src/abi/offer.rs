//! Which helpers and kernel functions programs of the types may call that weir proves and does not attach:
//! one list for each `…_func_proto` of net/core/filter.c (Linux 6.18), each on top of what all programs are
//! offered. Those of XDP, tc and socket filters stand in the helpers' own table.

use super::helper::Helper::{self, *};
use super::program_type::{AttachType, ProgramType};

/// A list, and the one that it goes on in.
struct Offer {
    own: &'static [Helper],
    more: Option<&'static Offer>,
}

impl Offer {
    fn has(&self, helper: Helper) -> bool {
        self.own.contains(&helper) || self.more.is_some_and(|more| more.has(helper))
    }
}

const FILTER: Offer = Offer {
    own: &[
        SkbLoadBytes,
        SkbLoadBytesRelative,
        GetSocketCookie,
        GetNetnsCookie,
        GetSocketUid,
        PerfEventOutput,
        KtimeGetCoarseNs,
    ],
    more: None,
};
const CGROUP_SKB: Offer = Offer {
    own: &[
        GetLocalStorage,
        SkFullsock,
        SkStorageGet,
        SkStorageDelete,
        SkbCgroupId,
        SkbAncestorCgroupId,
        SkCgroupId,
        SkAncestorCgroupId,
        SkLookupTcp,
        SkLookupUdp,
        SkRelease,
        SkcLookupTcp,
        TcpSock,
        GetListenerSock,
        SkbEcnSetCe,
    ],
    more: Some(&FILTER),
};
const LWT_OUT: Offer = Offer {
    own: &[
        SkbLoadBytes,
        SkbPullData,
        CsumDiff,
        GetRouteRealm,
        GetHashRecalc,
        PerfEventOutput,
        SkbUnderCgroup,
        KtimeGetCoarseNs,
    ],
    more: None,
};
const LWT_IN: Offer = Offer { own: &[LwtPushEncap], more: Some(&LWT_OUT) };
const LWT_XMIT: Offer = Offer {
    own: &[
        SkbGetTunnelKey,
        SkbSetTunnelKey,
        SkbGetTunnelOpt,
        SkbSetTunnelOpt,
        Redirect,
        CloneRedirect,
        SkbChangeTail,
        SkbChangeHead,
        SkbStoreBytes,
        CsumUpdate,
        CsumLevel,
        L3CsumReplace,
        L4CsumReplace,
        SetHashInvalid,
        LwtPushEncap,
    ],
    more: Some(&LWT_OUT),
};
const LWT_SEG6LOCAL: Offer =
    Offer { own: &[LwtSeg6StoreBytes, LwtSeg6Action, LwtSeg6AdjustSrh], more: Some(&LWT_OUT) };
const SK_SKB: Offer = Offer {
    own: &[
        SkbStoreBytes,
        SkbLoadBytes,
        SkbPullData,
        SkbChangeTail,
        SkbChangeHead,
        SkbAdjustRoom,
        GetSocketCookie,
        GetSocketUid,
        SkRedirectMap,
        SkRedirectHash,
        PerfEventOutput,
        SkLookupTcp,
        SkLookupUdp,
        SkRelease,
        SkcLookupTcp,
        KtimeGetCoarseNs,
    ],
    more: None,
};
const FLOW_DISSECTOR: Offer = Offer { own: &[SkbLoadBytes, KtimeGetCoarseNs], more: None };
const SK_MSG: Offer = Offer {
    own: &[
        MsgRedirectMap,
        MsgRedirectHash,
        MsgApplyBytes,
        MsgCorkBytes,
        MsgPullData,
        MsgPushData,
        MsgPopData,
        PerfEventOutput,
        SkStorageGet,
        SkStorageDelete,
        GetNetnsCookie,
        KtimeGetCoarseNs,
    ],
    more: None,
};
const SK_LOOKUP: Offer = Offer { own: &[PerfEventOutput, SkAssign, SkRelease, KtimeGetCoarseNs], more: None };
const SK_REUSEPORT: Offer = Offer {
    own: &[SkSelectReuseport, SkbLoadBytes, SkbLoadBytesRelative, GetSocketCookie, KtimeGetCoarseNs],
    more: None,
};
const SOCK_OPS: Offer = Offer {
    own: &[
        GetLocalStorage,
        Setsockopt,
        Getsockopt,
        SockOpsCbFlagsSet,
        SockMapUpdate,
        SockHashUpdate,
        GetSocketCookie,
        PerfEventOutput,
        SkStorageGet,
        SkStorageDelete,
        GetNetnsCookie,
        LoadHdrOpt,
        StoreHdrOpt,
        ReserveHdrOpt,
        TcpSock,
        KtimeGetCoarseNs,
    ],
    more: None,
};
const CGROUP_SOCK: Offer = Offer {
    own: &[
        GetLocalStorage,
        GetRetval,
        SetRetval,
        GetSocketCookie,
        GetNetnsCookie,
        PerfEventOutput,
        SkStorageGet,
        KtimeGetCoarseNs,
    ],
    more: None,
};
const CGROUP_SOCK_ADDR: Offer = Offer {
    own: &[
        GetLocalStorage,
        GetRetval,
        SetRetval,
        Bind,
        GetSocketCookie,
        GetNetnsCookie,
        PerfEventOutput,
        SkLookupTcp,
        SkLookupUdp,
        SkRelease,
        SkcLookupTcp,
        SkStorageGet,
        SkStorageDelete,
        Setsockopt,
        Getsockopt,
        KtimeGetCoarseNs,
    ],
    more: None,
};

/// Whether programs of this type, attached there, may call the helper; `base` when all may.
pub(super) fn offered(helper: Helper, program: ProgramType, attach: AttachType, base: bool) -> bool {
    let offer = match program {
        ProgramType::Xdp | ProgramType::SchedCls | ProgramType::SchedAct | ProgramType::SocketFilter => {
            return base;
        }
        ProgramType::CgroupSkb => &CGROUP_SKB,
        ProgramType::LwtIn => &LWT_IN,
        ProgramType::LwtOut => &LWT_OUT,
        ProgramType::LwtXmit => &LWT_XMIT,
        ProgramType::LwtSeg6Local => &LWT_SEG6LOCAL,
        ProgramType::SkSkb => &SK_SKB,
        ProgramType::FlowDissector => &FLOW_DISSECTOR,
        ProgramType::SkMsg => &SK_MSG,
        ProgramType::SkLookup => &SK_LOOKUP,
        ProgramType::SkReuseport => &SK_REUSEPORT,
        ProgramType::SockOps => &SOCK_OPS,
        ProgramType::CgroupSock => &CGROUP_SOCK,
        ProgramType::CgroupSockAddr => &CGROUP_SOCK_ADDR,
    };
    let here = match helper {
        Bind => matches!(attach, AttachType::CgroupInet4Connect | AttachType::CgroupInet6Connect),
        // Who may only look has no answer to change (`cgroup_common_func_proto`).
        GetRetval | SetRetval => program.answers(attach) != Some((1, 1)),
        // In the helpers' table as offered to all, and for some a matter of their own list.
        PerfEventOutput | KtimeGetCoarseNs => return offer.has(helper),
        // The kernel's views of sockets come with `bpf_sk_base_func_proto`, which two lists go without.
        SkcToTcp6Sock | SkcToTcpSock | SkcToTcpTimewaitSock | SkcToTcpRequestSock | SkcToUdp6Sock
        | SkcToUnixSock | SkcToMptcpSock => {
            !matches!(program, ProgramType::SkReuseport | ProgramType::CgroupSock)
        }
        _ => true,
    };
    here && (base || offer.has(helper))
}
