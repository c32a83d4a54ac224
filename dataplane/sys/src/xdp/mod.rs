//! AF_XDP sockets: the calls that make one, its rings' memory, and the calls that wake the kernel.
//!
//! What an entry of a ring means, who owns which frame and what to do about an error is not decided here.

mod ring;

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};

use ring::Offsets;
pub use ring::{Entry, RingArea, SharedDescriptor};

/// In a descriptor's options: the packet goes on in the next descriptor.
pub const PKT_CONTD: u32 = libc::XDP_PKT_CONTD;
/// In a ring's flags: the kernel waits to be woken.
pub const RING_NEED_WAKEUP: u32 = libc::XDP_RING_NEED_WAKEUP;

/// `XDP_MAX_TX_SKB_BUDGET` (Linux 6.17, include/uapi/linux/if_xdp.h).
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;
/// `SO_PREFER_BUSY_POLL`, `SO_BUSY_POLL_BUDGET` (include/uapi/asm-generic/socket.h).
const SO_PREFER_BUSY_POLL: libc::c_int = 69;
const SO_BUSY_POLL_BUDGET: libc::c_int = 70;

/// The four rings of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ring {
    /// Empty chunks, to the kernel.
    Fill,
    /// Packets, from the kernel.
    Rx,
    /// Packets, to the kernel.
    Tx,
    /// Sent chunks, from the kernel.
    Completion,
}

impl Ring {
    const fn option(self) -> libc::c_int {
        match self {
            Ring::Fill => libc::XDP_UMEM_FILL_RING,
            Ring::Rx => libc::XDP_RX_RING,
            Ring::Tx => libc::XDP_TX_RING,
            Ring::Completion => libc::XDP_UMEM_COMPLETION_RING,
        }
    }

    const fn page_offset(self) -> i64 {
        match self {
            Ring::Fill => libc::XDP_UMEM_PGOFF_FILL_RING as i64,
            Ring::Rx => libc::XDP_PGOFF_RX_RING,
            Ring::Tx => libc::XDP_PGOFF_TX_RING,
            Ring::Completion => libc::XDP_UMEM_PGOFF_COMPLETION_RING as i64,
        }
    }

    const fn entry(self) -> Entry {
        match self {
            Ring::Fill | Ring::Completion => Entry::Address,
            Ring::Rx | Ring::Tx => Entry::Descriptor,
        }
    }
}

/// What a socket is bound with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BindFlags {
    /// Copy, zero-copy, or what the driver has.
    pub copying: Copying,
    /// The kernel says when it waits to be woken.
    pub need_wakeup: bool,
    /// Packets may come in several descriptors.
    pub scattered: bool,
}

/// Who moves a packet's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Copying {
    /// The device if its driver can, else the kernel.
    #[default]
    Best,
    /// The kernel.
    Copy,
    /// The device.
    ZeroCopy,
}

/// `struct xdp_statistics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Statistics {
    /// Dropped for other reasons than those below.
    pub rx_dropped: u64,
    /// Bad descriptors in the fill ring.
    pub rx_invalid: u64,
    /// Bad descriptors in the transmit ring.
    pub tx_invalid: u64,
    /// Dropped because the receive ring was full.
    pub rx_ring_full: u64,
    /// Times the fill ring was empty.
    pub fill_empty: u64,
    /// Times the transmit ring was empty.
    pub tx_empty: u64,
}

/// An AF_XDP socket; what it is bound to is free when the last descriptor of it is closed.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
}

impl From<OwnedFd> for Socket {
    fn from(fd: OwnedFd) -> Socket {
        Socket { fd }
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> OwnedFd {
        socket.fd
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Socket {
    /// A socket bound to nothing. Needs `CAP_NET_RAW`.
    pub fn new() -> io::Result<Socket> {
        // SAFETY: the call takes no pointer; its answer is checked on the next line.
        let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel opened `fd` for this call and nobody else has seen it.
        Ok(Socket { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Registers memory as this socket's umem: `len` bytes from `base`, in chunks of `chunk` bytes.
    ///
    /// # Safety
    /// The memory stays mapped as long as any socket uses this umem, and whoever puts addresses into its rings
    /// leaves those chunks alone until the kernel gives them back: it writes to them.
    pub unsafe fn register(&self, base: NonNull<u8>, len: usize, chunk: usize) -> io::Result<()> {
        // SAFETY: the structure is made of integers, for which zero is a value.
        let mut umem: libc::xdp_umem_reg = unsafe { mem::zeroed() };
        umem.addr = base.as_ptr() as u64;
        umem.len = len as u64;
        umem.chunk_size = chunk as u32;
        self.set(libc::SOL_XDP, libc::XDP_UMEM_REG, &umem)
    }

    /// Sets a ring up with `entries` (a power of two), and maps it.
    pub fn ring(&self, ring: Ring, entries: u32) -> io::Result<RingArea> {
        self.set(libc::SOL_XDP, ring.option(), &entries)?;
        // SAFETY: the structure is made of integers, for which zero is a value.
        let zeroed: libc::xdp_mmap_offsets = unsafe { mem::zeroed() };
        let offsets = self.get(libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, zeroed)?;
        let at = match ring {
            Ring::Fill => offsets.fr,
            Ring::Rx => offsets.rx,
            Ring::Tx => offsets.tx,
            Ring::Completion => offsets.cr,
        };
        let offsets =
            Offsets { producer: at.producer, consumer: at.consumer, entries: at.desc, flags: at.flags };
        RingArea::of_socket(self.as_fd(), ring.page_offset(), offsets, ring.entry(), entries)
    }

    /// Binds to a queue of a device, with a umem of its own.
    pub fn bind(&self, ifindex: u32, queue: u32, flags: BindFlags) -> io::Result<()> {
        let copying = match flags.copying {
            Copying::Best => 0,
            Copying::Copy => libc::XDP_COPY,
            Copying::ZeroCopy => libc::XDP_ZEROCOPY,
        };
        let wake = if flags.need_wakeup { libc::XDP_USE_NEED_WAKEUP } else { 0 };
        let scattered = if flags.scattered { libc::XDP_USE_SG } else { 0 };
        self.bind_raw(ifindex, queue, copying | wake | scattered, 0)
    }

    /// Binds to a queue of a device, with the umem of `other`, which is bound; that one's flags hold for this too.
    pub fn bind_shared(&self, ifindex: u32, queue: u32, other: &Socket) -> io::Result<()> {
        self.bind_raw(ifindex, queue, libc::XDP_SHARED_UMEM, other.fd.as_raw_fd() as u32)
    }

    fn bind_raw(&self, ifindex: u32, queue: u32, flags: u16, shared: u32) -> io::Result<()> {
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: flags,
            sxdp_ifindex: ifindex,
            sxdp_queue_id: queue,
            sxdp_shared_umem_fd: shared,
        };
        let size = size_of_val(&address) as libc::socklen_t;
        // SAFETY: the kernel reads `size` bytes of `address`, which lives here.
        check(unsafe { libc::bind(self.fd.as_raw_fd(), ptr::from_ref(&address).cast(), size) })
    }

    /// Whether the device itself reads and writes the umem (`XDP_OPTIONS`).
    pub fn zero_copy(&self) -> io::Result<bool> {
        let options = self.get(libc::SOL_XDP, libc::XDP_OPTIONS, libc::xdp_options { flags: 0 })?;
        Ok(options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0)
    }

    /// What was lost so far.
    pub fn statistics(&self) -> io::Result<Statistics> {
        self.get(libc::SOL_XDP, libc::XDP_STATISTICS, Statistics::default())
    }

    /// Has one wake-up send up to `packets` (Linux 6.17; in copy mode it is 32 otherwise).
    pub fn tx_budget(&self, packets: u32) -> io::Result<()> {
        self.set(libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &packets)
    }

    /// Has the worker's calls drive the device, up to `budget` packets at a time, `micros` long.
    pub fn busy_poll(&self, micros: u32, budget: u32) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, SO_PREFER_BUSY_POLL, &1i32)?;
        self.set(libc::SOL_SOCKET, libc::SO_BUSY_POLL, &micros)?;
        self.set(libc::SOL_SOCKET, SO_BUSY_POLL_BUDGET, &budget)
    }

    /// Has the kernel send what is in the transmit ring; never waits.
    pub fn wake_tx(&self) -> io::Result<()> {
        // SAFETY: a message of no bytes and no address: no pointer is followed.
        let answer =
            unsafe { libc::sendto(self.fd.as_raw_fd(), ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0) };
        check(answer as i32)
    }

    /// Has the kernel look at the fill ring and receive; never waits. `ENETDOWN` and `ENXIO` tell that the device
    /// is down, or gone.
    pub fn wake_rx(&self) -> io::Result<()> {
        let (none, zero) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: a buffer of no bytes and no place for an address: no pointer is followed.
        let answer = unsafe {
            libc::recvfrom(self.fd.as_raw_fd(), none, 0, libc::MSG_DONTWAIT, zero, ptr::null_mut())
        };
        check(answer as i32)
    }

    /// The descriptor, to poll: readable when a packet is there.
    pub fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    fn set<T: Copy>(&self, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
        let size = size_of::<T>() as libc::socklen_t;
        // SAFETY: the kernel reads `size` bytes of `value`, which is borrowed for the call.
        check(unsafe {
            libc::setsockopt(self.fd.as_raw_fd(), level, option, ptr::from_ref(value).cast(), size)
        })
    }

    /// `T` is one of the integers-only structures above: whatever the kernel writes of it is a value of it.
    fn get<T: Copy>(&self, level: libc::c_int, option: libc::c_int, mut value: T) -> io::Result<T> {
        let mut size = size_of::<T>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `size` bytes to `value`, and `size` itself; both live here.
        check(unsafe {
            let to = ptr::from_mut(&mut value).cast();
            libc::getsockopt(self.fd.as_raw_fd(), level, option, to, &mut size)
        })?;
        Ok(value)
    }
}

fn check(answer: i32) -> io::Result<()> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
