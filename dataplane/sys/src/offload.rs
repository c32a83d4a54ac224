//! Offloads of a device by the ethtool ioctl (`linux/ethtool.h`): those that decide what XDP sees on a
//! veth pair.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

/// What a device may do on its own, and the command that switches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Offload {
    /// Checksums of what is sent, and with them segmentation (`tx`). A veth computes none at all, so that
    /// an XDP program at the peer sees TCP and UDP whose checksums are not filled in.
    TransmitChecksum = 0x17,
    /// Received segments made one (`gro`). A veth whose peer has it on (or an XDP program) has NAPI, and
    /// then takes what a native XDP program at this end sends it.
    ReceiveCoalescing = 0x2c,
}

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// `struct ifreq` with a pointer in it.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    value: *mut Value,
    rest: [u8; 16],
}

/// Switches an offload of a device in the calling thread's namespace. Needs CAP_NET_ADMIN.
pub fn set(device: &str, offload: Offload, on: bool) -> io::Result<()> {
    let mut name = [0u8; libc::IFNAMSIZ];
    if device.is_empty() || device.len() >= name.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no device has this name"));
    }
    name[..device.len()].copy_from_slice(device.as_bytes());
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    let mut value = Value { command: offload as u32, data: u32::from(on) };
    let mut request = Request { name, value: &raw mut value, rest: [0; 16] };
    // SAFETY: `request` is as large as `struct ifreq` (16 bytes of name, 24 of union), its name ends with a
    // zero (checked above), and its pointer leads to an `ethtool_value`; both live here.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

const _: () = assert!(size_of::<Request>() == 40, "struct ifreq has 40 bytes on 64-bit Linux");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_not_there_is_an_error() {
        let offload = Offload::ReceiveCoalescing;
        let error = set("nowhere0", offload, true).expect_err("no such device");
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
        assert!(set("a-name-that-is-too-long", offload, true).is_err());
    }
}
