//! What the kernel says of a network device: driver, queues, rings, offloads, XDP. Asks only, changes
//! nothing; none of it needs a privilege.

mod ethtool;
mod route;

use std::io;

pub use ethtool::{Channels, Rings, channels, driver, features, rings};
pub use route::{Link, XdpFeatures, XdpMode, link, link_named, xdp_features};

/// Whether this kernel has AF_XDP sockets for this process; the error says which of the two it is:
/// `EAFNOSUPPORT` when it has none at all, `EPERM` when it needs CAP_NET_RAW.
pub fn af_xdp() -> io::Result<()> {
    open(libc::AF_XDP, libc::SOCK_RAW, 0).map(drop)
}

/// A socket that closes itself.
fn open(family: i32, kind: i32, protocol: i32) -> io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd as _;
    // SAFETY: socket(2) takes three integers.
    let fd = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel opened `fd` for this call and nobody else has seen it.
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_loopback_device_is_described_and_a_missing_one_is_an_error() {
        let link = super::link(1).unwrap();
        assert_eq!((link.name.as_str(), link.xdp), ("lo", None));
        assert!(link.up);
        assert_eq!(super::link_named("lo").unwrap(), link);
        assert!(super::link_named("no-such-device").is_err());
        assert!(super::features("lo").unwrap().iter().any(|(name, _)| name == "rx-gro"));
        assert!(super::link(0x7fff_fff0).is_err());
        assert!(super::driver("no-such-device").is_err());
        assert!(super::rings("a name that is longer than the kernel takes").is_err());
    }
}
