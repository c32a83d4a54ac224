//! Network devices by name: what they are (index, address, MTU, flags), and setting what may be set.
//!
//! The old ioctls (netdevice(7)) do, since one device is asked for one thing; mirroring tables is netlink's work.
//! All of it happens in the network namespace of the calling thread.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The longest name a device may have, in bytes (`IFNAMSIZ` without its terminator).
pub const NAME_MAX: usize = libc::IFNAMSIZ - 1;

/// A device name that the kernel would take (`dev_valid_name`), and that names one device: no pattern.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceName([u8; libc::IFNAMSIZ]);

/// Why a text is no device's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} cannot be a device's name: 1 to 15 bytes, without '/', ':', '%' or white space")]
pub struct BadName {
    /// The text, shortened.
    pub name: String,
}

impl DeviceName {
    /// Checks `name`.
    pub fn new(name: &str) -> Result<DeviceName, BadName> {
        let bytes = name.as_bytes();
        let strange = |byte: &u8| matches!(byte, 0 | b'/' | b':' | b'%') || byte.is_ascii_whitespace();
        let bad = bytes.is_empty() || bytes.len() > NAME_MAX || name == "." || name == "..";
        if bad || bytes.iter().any(strange) {
            return Err(BadName { name: name.chars().take(32).collect() });
        }
        let mut padded = [0; libc::IFNAMSIZ];
        padded[..bytes.len()].copy_from_slice(bytes);
        Ok(DeviceName(padded))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(NAME_MAX);
        // `new` took the bytes from a str, whole.
        std::str::from_utf8(&self.0[..end]).unwrap_or_default()
    }

    /// A request about this device, its other fields zero.
    pub(crate) fn request(&self) -> libc::ifreq {
        // SAFETY: ifreq is plain numbers and a union of plain numbers and a pointer; zero is a value of each.
        let mut request: libc::ifreq = unsafe { mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(self.0) {
            *to = from as libc::c_char;
        }
        request
    }
}

impl std::fmt::Debug for DeviceName {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:?}", self.as_str())
    }
}

/// The door to the devices of one network namespace: that of the thread which opened it.
#[derive(Debug)]
pub struct Devices {
    socket: OwnedFd,
}

impl Devices {
    /// Opens it. Asking needs no privilege, setting CAP_NET_ADMIN.
    pub fn open() -> io::Result<Devices> {
        // SAFETY: socket(2) touches no memory of ours.
        let fd = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel opened `fd` for this call and nobody else has seen it.
        Ok(Devices { socket: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Its number in this namespace.
    pub fn index(&self, name: &DeviceName) -> io::Result<u32> {
        let request = self.ask(libc::SIOCGIFINDEX, name)?;
        // SAFETY: SIOCGIFINDEX writes this field.
        Ok(unsafe { request.ifr_ifru.ifru_ifindex } as u32)
    }

    /// Its Ethernet address.
    pub fn mac(&self, name: &DeviceName) -> io::Result<[u8; 6]> {
        let request = self.ask(libc::SIOCGIFHWADDR, name)?;
        // SAFETY: SIOCGIFHWADDR writes this field.
        let address = unsafe { request.ifr_ifru.ifru_hwaddr };
        let mut mac = [0; 6];
        for (to, from) in mac.iter_mut().zip(address.sa_data) {
            *to = from as u8;
        }
        Ok(mac)
    }

    /// The longest packet it carries, without its Ethernet header.
    pub fn mtu(&self, name: &DeviceName) -> io::Result<u32> {
        let request = self.ask(libc::SIOCGIFMTU, name)?;
        // SAFETY: SIOCGIFMTU writes this field.
        Ok(unsafe { request.ifr_ifru.ifru_mtu } as u32)
    }

    /// Whether it is meant to be up (`IFF_UP`); whether a cable is in is another matter.
    pub fn is_up(&self, name: &DeviceName) -> io::Result<bool> {
        Ok(self.flags(name)? & libc::IFF_UP as libc::c_short != 0)
    }

    /// Gives it another Ethernet address.
    pub fn set_mac(&self, name: &DeviceName, mac: [u8; 6]) -> io::Result<()> {
        let mut request = name.request();
        // SAFETY: sockaddr is plain numbers, for which zero is a value.
        let mut address: libc::sockaddr = unsafe { mem::zeroed() };
        address.sa_family = libc::ARPHRD_ETHER;
        for (to, from) in address.sa_data.iter_mut().zip(mac) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_hwaddr = address;
        change(self.socket.as_raw_fd(), libc::SIOCSIFHWADDR, &mut request)
    }

    /// Sets the longest packet it carries.
    pub fn set_mtu(&self, name: &DeviceName, mtu: u32) -> io::Result<()> {
        let mut request = name.request();
        request.ifr_ifru.ifru_mtu = i32::try_from(mtu).map_err(io::Error::other)?;
        change(self.socket.as_raw_fd(), libc::SIOCSIFMTU, &mut request)
    }

    /// Takes it up or down.
    pub fn set_up(&self, name: &DeviceName, up: bool) -> io::Result<()> {
        let bit = libc::IFF_UP as libc::c_short;
        let flags = self.flags(name)?;
        let mut request = name.request();
        request.ifr_ifru.ifru_flags = if up { flags | bit } else { flags & !bit };
        change(self.socket.as_raw_fd(), libc::SIOCSIFFLAGS, &mut request)
    }

    fn flags(&self, name: &DeviceName) -> io::Result<libc::c_short> {
        let request = self.ask(libc::SIOCGIFFLAGS, name)?;
        // SAFETY: SIOCGIFFLAGS writes this field.
        Ok(unsafe { request.ifr_ifru.ifru_flags })
    }

    fn ask(&self, what: libc::c_ulong, name: &DeviceName) -> io::Result<libc::ifreq> {
        let mut request = name.request();
        change(self.socket.as_raw_fd(), what, &mut request)?;
        Ok(request)
    }
}

/// One ioctl that reads and writes an `ifreq`, and nothing beyond it.
pub(crate) fn change(fd: i32, what: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: every caller passes a request of netdevice(7) or tun that takes an ifreq without following a
    // pointer in it; `request` is borrowed exclusively for the call.
    match unsafe { libc::ioctl(fd, what, std::ptr::from_mut(request)) } {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The name a request carries, as far as it is text.
pub(crate) fn name_in(request: &libc::ifreq) -> String {
    let bytes: Vec<u8> =
        request.ifr_name.iter().map(|byte| *byte as u8).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sets one switch of a device below `/proc/sys/net`: `set(device, "ipv4", "rp_filter", "0")`.
pub fn set_switch(name: &DeviceName, family: &str, switch: &str, value: &str) -> io::Result<()> {
    std::fs::write(format!("/proc/sys/net/{family}/conf/{}/{switch}", name.as_str()), value)
}

/// Whether a descriptor may be read without waiting, within `timeout_ms`.
pub fn readable(fd: BorrowedFd<'_>, timeout_ms: i32) -> io::Result<bool> {
    let mut wanted = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd, borrowed exclusively for the call.
    match unsafe { libc::poll(&mut wanted, 1, timeout_ms) } {
        0 => Ok(false),
        1.. => Ok(true),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_kernel_would_not_take_are_refused() {
        for good in ["lo", "eth0", "weir-wan", "fifteen-bytes-x"] {
            assert_eq!(DeviceName::new(good).unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "a/b", "tap%d", "a b", "a:1", "sixteen-bytes-xx", "a\0b"] {
            assert!(DeviceName::new(bad).is_err(), "{bad:?}");
        }
        let words = DeviceName::new("a/b").unwrap_err().to_string();
        assert!(words.starts_with("\"a/b\" cannot be a device's name: 1 to 15 bytes"), "{words}");
    }

    #[test]
    fn the_loopback_is_known() {
        let devices = Devices::open().unwrap();
        let name = DeviceName::new("lo").unwrap();
        assert_eq!(devices.index(&name).unwrap(), 1);
        assert_eq!(devices.mac(&name).unwrap(), [0; 6]);
        assert!(devices.index(&DeviceName::new("weir-no-such").unwrap()).is_err());
    }
}
