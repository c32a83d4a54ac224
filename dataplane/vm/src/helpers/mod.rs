//! The bodies of helpers and kernel functions: one row for each row of `weir_ebpf::abi::Helper` and
//! `weir_ebpf::abi::Kfunc`, none left out.
//!
//! A body is a safe function of a [`call::Call`]; the entry that engines call is made from it here.
//! Semantics are Linux 6.18's, to the error number; where user space differs, the body says so.

mod call;
mod conntrack;
mod csum;
mod dynptr;
mod fib;
mod iterator;
mod loops;
mod map;
mod metadata;
mod output;
mod redirect;
mod room;
mod skb;
mod socket;
mod syncookie;
mod task;
mod text;
mod time;
mod timer;
mod trace;
mod tunnel;
mod vlan;
mod xdp;

#[cfg(test)]
mod tests;

use weir_ebpf::abi::{Callee, Errno, Helper, Kfunc};

use crate::run::{HelperFn, Run};
pub(crate) use call::is_new_dynptr;
use call::{Answer, Call};
pub(crate) use dynptr::Dynptr;

macro_rules! bodies {
    ($(#[$doc:meta])* $table:ident as $name:ident: $( $callee:ident => $body:path, )+) => {
        $(#[$doc])*
        pub fn $name(callee: $table) -> HelperFn {
            match callee {
                $( $table::$callee => {
                    unsafe extern "C" fn enter(
                        run: *mut Run<'_>, r1: u64, r2: u64, r3: u64, r4: u64, r5: u64,
                    ) -> u64 {
                        // SAFETY: handed on from the caller, who owes it by `HelperFn`.
                        let mut call = unsafe {
                            Call::new(run, [r1, r2, r3, r4, r5], Callee::$table($table::$callee))
                        };
                        $body(&mut call).register()
                    }
                    enter
                } )+
            }
        }
    };
}

bodies! {
    /// The body of a kernel function, for engines to call.
    Kfunc as kfunc_body:
    IterNumNew => iterator::new,
    IterNumNext => iterator::next,
    IterNumDestroy => iterator::destroy,
    DynptrFromSkb => dynptr::from_skb,
    DynptrFromXdp => dynptr::from_xdp,
    DynptrSlice => dynptr::slice,
    DynptrSliceRdwr => dynptr::slice_rdwr,
    DynptrAdjust => dynptr::adjust,
    DynptrIsNull => dynptr::is_null,
    DynptrIsRdonly => dynptr::is_rdonly,
    DynptrSize => dynptr::size,
    DynptrClone => dynptr::clone,
    XdpMetadataRxTimestamp => metadata::rx_timestamp,
    XdpMetadataRxHash => metadata::rx_hash,
    XdpMetadataRxVlanTag => metadata::rx_vlan_tag,
    XdpCtLookup => conntrack::lookup,
    XdpCtAlloc => conntrack::alloc,
    SkbCtLookup => conntrack::lookup,
    SkbCtAlloc => conntrack::alloc,
    CtInsertEntry => socket::nobody,
    CtRelease => socket::nobody,
    CtSetTimeout => socket::nobody,
    CtChangeTimeout => socket::none_given,
    CtSetStatus => socket::none_given,
    CtChangeStatus => socket::none_given,
    CtSetNatInfo => socket::none_given,
}

bodies! {
    /// The body of a helper, for engines to call.
    Helper as body:
    MapLookupElem => map::lookup,
    MapUpdateElem => map::update,
    MapDeleteElem => map::delete,
    KtimeGetNs => time::ktime_get_ns,
    TracePrintk => trace::printk,
    GetPrandomU32 => time::get_prandom_u32,
    GetSmpProcessorId => time::get_smp_processor_id,
    SkbStoreBytes => skb::store_bytes,
    L3CsumReplace => csum::l3_replace,
    L4CsumReplace => csum::l4_replace,
    TailCall => tail_call,
    CloneRedirect => redirect::clone,
    GetCurrentPidTgid => socket::nobody,
    GetCurrentUidGid => socket::nobody,
    GetCurrentComm => task::name,
    GetCgroupClassid => socket::cgroup_classid,
    SkbVlanPush => vlan::push,
    SkbVlanPop => vlan::pop,
    SkbGetTunnelKey => tunnel::get_key,
    SkbSetTunnelKey => tunnel::set_key,
    Redirect => redirect::redirect,
    GetRouteRealm => socket::route_realm,
    PerfEventOutput => output::perf_event,
    SkbLoadBytes => skb::load_bytes,
    GetStackid => no_stack,
    CsumDiff => csum::diff,
    SkbGetTunnelOpt => tunnel::get_opt,
    SkbSetTunnelOpt => tunnel::set_opt,
    SkbChangeProto => room::change_proto,
    SkbChangeType => skb::change_type,
    SkbUnderCgroup => socket::under_cgroup,
    GetHashRecalc => skb::get_hash_recalc,
    GetCurrentTask => socket::nobody,
    SkbChangeTail => skb::change_tail,
    SkbPullData => skb::pull_data,
    CsumUpdate => csum::update,
    SetHashInvalid => skb::set_hash_invalid,
    GetNumaNodeId => time::get_numa_node_id,
    SkbChangeHead => skb::change_head,
    XdpAdjustHead => xdp::adjust_head,
    GetSocketCookie => socket::cookie,
    GetSocketUid => socket::uid,
    SetHash => skb::set_hash,
    Setsockopt => not_run,
    SkbAdjustRoom => room::adjust_room,
    RedirectMap => redirect::map,
    SkRedirectMap => not_run,
    SockMapUpdate => not_run,
    XdpAdjustMeta => xdp::adjust_meta,
    PerfEventReadValue => task::counter,
    Getsockopt => not_run,
    SockOpsCbFlagsSet => not_run,
    MsgRedirectMap => not_run,
    MsgApplyBytes => not_run,
    MsgCorkBytes => not_run,
    MsgPullData => not_run,
    Bind => not_run,
    XdpAdjustTail => xdp::adjust_tail,
    SkbGetXfrmState => socket::xfrm_state,
    SkbLoadBytesRelative => skb::load_bytes_relative,
    FibLookup => fib::lookup,
    SockHashUpdate => not_run,
    MsgRedirectHash => not_run,
    SkRedirectHash => not_run,
    LwtPushEncap => not_run,
    LwtSeg6StoreBytes => not_run,
    LwtSeg6AdjustSrh => not_run,
    LwtSeg6Action => not_run,
    SkbCgroupId => socket::nobody,
    GetCurrentCgroupId => socket::nobody,
    GetLocalStorage => not_run,
    SkSelectReuseport => not_run,
    SkbAncestorCgroupId => socket::nobody,
    SkLookupTcp => socket::nobody,
    SkLookupUdp => socket::nobody,
    SkRelease => socket::none_given,
    MapPushElem => map::push,
    MapPopElem => map::pop,
    MapPeekElem => map::peek,
    MsgPushData => not_run,
    MsgPopData => not_run,
    SpinLock => map::spin_lock,
    SpinUnlock => map::spin_unlock,
    SkFullsock => socket::nobody,
    TcpSock => socket::nobody,
    SkbEcnSetCe => skb::ecn_set_ce,
    GetListenerSock => socket::nobody,
    SkcLookupTcp => socket::nobody,
    TcpCheckSyncookie => socket::none_given,
    Strtol => text::strtol,
    Strtoul => text::strtoul,
    SkStorageGet => socket::nobody,
    SkStorageDelete => socket::none_given,
    TcpGenSyncookie => socket::none_given,
    ProbeReadUser => task::user,
    ProbeReadKernel => task::read,
    ProbeReadUserStr => task::user,
    ProbeReadKernelStr => task::text,
    Jiffies64 => time::jiffies64,
    GetNsCurrentPidTgid => task::ids,
    GetNetnsCookie => socket::first_netns,
    GetCurrentAncestorCgroupId => socket::nobody,
    SkAssign => socket::none_given,
    KtimeGetBootNs => time::ktime_get_boot_ns,
    SkCgroupId => socket::nobody,
    SkAncestorCgroupId => socket::nobody,
    RingbufOutput => output::ringbuf_output,
    RingbufReserve => output::ringbuf_reserve,
    RingbufSubmit => output::ringbuf_submit,
    RingbufDiscard => output::ringbuf_discard,
    RingbufQuery => output::ringbuf_query,
    CsumLevel => csum::level,
    SkcToTcp6Sock => socket::nobody,
    SkcToTcpSock => socket::nobody,
    SkcToTcpTimewaitSock => socket::nobody,
    SkcToTcpRequestSock => socket::nobody,
    SkcToUdp6Sock => socket::nobody,
    LoadHdrOpt => not_run,
    StoreHdrOpt => not_run,
    ReserveHdrOpt => not_run,
    SkbCgroupClassid => socket::cgroup_classid,
    RedirectNeigh => redirect::neighbour,
    RedirectPeer => redirect::peer,
    KtimeGetCoarseNs => time::ktime_get_coarse_ns,
    CheckMtu => fib::check_mtu,
    ForEachMapElem => loops::for_each_map_elem,
    Snprintf => trace::snprintf,
    TimerInit => timer::init,
    TimerSetCallback => timer::set_callback,
    TimerStart => timer::start,
    TimerCancel => timer::cancel,
    TraceVprintk => trace::vprintk,
    SkcToUnixSock => socket::nobody,
    Loop => loops::bpf_loop,
    Strncmp => text::strncmp,
    GetRetval => not_run,
    SetRetval => not_run,
    XdpGetBuffLen => xdp::get_buff_len,
    XdpLoadBytes => xdp::load_bytes,
    XdpStoreBytes => xdp::store_bytes,
    SkbSetTstamp => skb::set_tstamp,
    MapLookupPercpuElem => map::lookup_percpu,
    SkcToMptcpSock => socket::nobody,
    DynptrFromMem => dynptr::from_mem,
    RingbufReserveDynptr => dynptr::ringbuf_reserve,
    RingbufSubmitDynptr => dynptr::ringbuf_submit,
    RingbufDiscardDynptr => dynptr::ringbuf_discard,
    DynptrRead => dynptr::read,
    DynptrWrite => dynptr::write,
    DynptrData => dynptr::data,
    TcpRawGenSyncookieIpv4 => syncookie::generate_v4,
    TcpRawGenSyncookieIpv6 => syncookie::generate_v6,
    TcpRawCheckSyncookieIpv4 => syncookie::check_v4,
    TcpRawCheckSyncookieIpv6 => syncookie::check_v6,
    KtimeGetTaiNs => time::ktime_get_tai_ns,
}

/// Engines take tail calls themselves; who comes here has no table to go on in.
fn tail_call(_call: &mut Call<'_>) -> Errno {
    Errno::ENOENT
}

/// Helpers that are proven only: who calls them is not made ready to run (`LoadError::NotRun`).
fn not_run(_call: &mut Call<'_>) -> Errno {
    Errno::EOPNOTSUPP
}

/// `bpf_get_stackid`, which no packet program is offered: there is no stack of the kernel to walk.
fn no_stack(_call: &mut Call<'_>) -> Errno {
    Errno::EFAULT
}
