//! Program types with the places they are attached to, as far as what they may do differs there.

use weir_ebpf::ProgramType;
use weir_ebpf::abi::AttachType::{self, *};

/// Every type at every such place.
pub fn kinds_and_places() -> Vec<(ProgramType, AttachType)> {
    let places = |kind: ProgramType| -> Vec<AttachType> {
        match kind {
            ProgramType::Xdp => vec![Unsaid, XdpDevmap, XdpCpumap],
            ProgramType::CgroupSkb => vec![Unsaid, CgroupInetEgress],
            ProgramType::CgroupSock => {
                vec![CgroupInetSockCreate, CgroupInetSockRelease, CgroupInet4PostBind, CgroupInet6PostBind]
            }
            ProgramType::CgroupSockAddr => vec![
                CgroupInet4Bind,
                CgroupInet6Bind,
                CgroupInet4Connect,
                CgroupInet6Connect,
                CgroupUnixConnect,
                CgroupUdp4Sendmsg,
                CgroupUdp6Sendmsg,
                CgroupUnixSendmsg,
                CgroupUdp4Recvmsg,
                CgroupUdp6Recvmsg,
                CgroupUnixRecvmsg,
                CgroupInet4Getpeername,
                CgroupInet6Getpeername,
                CgroupUnixGetpeername,
                CgroupInet4Getsockname,
                CgroupInet6Getsockname,
                CgroupUnixGetsockname,
            ],
            ProgramType::SkReuseport => vec![SkReuseportSelect, SkReuseportSelectOrMigrate],
            other => vec![other.usual_attach()],
        }
    };
    ProgramType::ALL.iter().flat_map(|kind| places(*kind).into_iter().map(|at| (*kind, at))).collect()
}
