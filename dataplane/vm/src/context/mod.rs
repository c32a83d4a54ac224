//! The context of a run: one structure behind both `struct xdp_md` and `struct __sk_buff`.
//!
//! A program never sees this layout. Each field of its view is an entry of [`slot`], the one table
//! by which the interpreter and the JIT translate accesses. The packet lies in a caller's buffer:
//!
//! ```text
//!  head          data_meta   data                    data_end            end
//!   +--------------+-----------+------------------------+-----------------+
//!   |   headroom   | metadata  |         packet         |    tailroom     |
//!   +--------------+-----------+------------------------+-----------------+
//! ```
//!
//! `head <= data_meta <= data <= data_end <= end` holds at all times; only the methods here, and the
//! helper bodies through them, move the pointers. One `Context` follows a packet through its XDP
//! chain and then, after [`Context::enter_tc`], through its tc chains.

mod room;
mod skb;
mod slot;

use std::marker::PhantomData;
use std::ops::Range;

pub(crate) use skb::{SkbState, Tunnel, ether};
pub use slot::{Slot, slot};

/// Most bytes of metadata that can stand before a packet (include/net/xdp.h, `xdp_metalen_invalid`).
pub const META_BYTES_MAX: usize = 255;
/// Bytes of an Ethernet header; no XDP program may leave less of a packet.
pub const ETHERNET_BYTES: usize = 14;
/// Bytes of a VLAN tag inside a packet.
pub const VLAN_BYTES: usize = 4;

/// What a run knows of its packet. Pointers first, then what a program sees, then what only
/// helpers see.
#[repr(C)]
#[derive(Debug)]
pub struct Context<'room> {
    head: *mut u8,
    data_meta: *mut u8,
    data: *mut u8,
    data_end: *mut u8,
    end: *mut u8,
    /// Delivery or receive time, ns.
    pub tstamp: u64,
    /// What fields read that have no meaning in user space (sockets, NAPI, hardware time).
    zero: [u64; 2],
    pub(crate) len: u32,
    /// Port the packet came in by, as `xdp_md` and `__sk_buff` both show it.
    pub ingress_ifindex: u32,
    /// Receive queue of that port.
    pub rx_queue_index: u32,
    /// Port the packet leaves by, in a device-map program.
    pub egress_ifindex: u32,
    /// Port the packet is at (`skb->dev->ifindex`).
    pub ifindex: u32,
    /// `PACKET_HOST` and the like.
    pub pkt_type: u32,
    /// The mark that programs share.
    pub mark: u32,
    /// Queue of the device, plus one.
    pub queue_mapping: u32,
    /// EtherType as it lies in memory: network byte order in the low half.
    pub protocol: u32,
    /// 1 when a VLAN tag stands beside the packet.
    pub vlan_present: u32,
    /// That tag's control information.
    pub vlan_tci: u32,
    /// That tag's EtherType, in network byte order.
    pub vlan_proto: u32,
    /// Class priority.
    pub priority: u32,
    /// Traffic control index, 16 bits.
    pub tc_index: u32,
    /// Five words that programs of one chain share.
    pub cb: [u32; 5],
    /// Flow hash; 0 when there is none yet.
    pub hash: u32,
    /// Class that the classifier chose, 16 bits (`qdisc_skb_cb`).
    pub tc_classid: u32,
    /// Bytes on the wire, when they are not `len`.
    pub wire_len: u32,
    /// Segments of a GSO packet.
    pub gso_segs: u32,
    /// Segment size of a GSO packet.
    pub gso_size: u32,
    /// Which clock `tstamp` is of.
    pub tstamp_type: u32,
    /// What only helpers know.
    pub(crate) skb: SkbState,
    _room: PhantomData<&'room mut [u8]>,
}

impl<'room> Context<'room> {
    /// The context of a packet that lies at `data` in `room`; the rest of `room` is head- and
    /// tailroom that helpers may grow into. There is no metadata and all other fields are zero.
    ///
    /// # Panics
    /// If `data` is not inside `room`: the caller put it there.
    pub fn new(room: &'room mut [u8], data: Range<usize>) -> Self {
        assert!(data.start <= data.end && data.end <= room.len(), "the packet lies inside its buffer");
        let Range { start: head, end } = room.as_mut_ptr_range();
        let (start, stop) = (head.wrapping_add(data.start), head.wrapping_add(data.end));
        Self {
            head,
            data_meta: start,
            data: start,
            data_end: stop,
            end,
            tstamp: 0,
            zero: [0; 2],
            len: data.len() as u32,
            ingress_ifindex: 0,
            rx_queue_index: 0,
            egress_ifindex: 0,
            ifindex: 0,
            pkt_type: 0,
            mark: 0,
            queue_mapping: 0,
            protocol: 0,
            vlan_present: 0,
            vlan_tci: 0,
            vlan_proto: 0,
            priority: 0,
            tc_index: 0,
            cb: [0; 5],
            hash: 0,
            tc_classid: 0,
            wire_len: data.len() as u32,
            gso_segs: 0,
            gso_size: 0,
            tstamp_type: 0,
            skb: SkbState::default(),
            _room: PhantomData,
        }
    }

    /// Where the packet lies in the buffer now.
    pub fn data_range(&self) -> Range<usize> {
        self.position(self.data)..self.position(self.data_end)
    }

    /// Where the metadata lies in the buffer now; it ends where the packet starts.
    pub fn meta_range(&self) -> Range<usize> {
        self.position(self.data_meta)..self.position(self.data)
    }

    /// Bytes of the buffer.
    pub fn room_len(&self) -> usize {
        self.position(self.end)
    }

    /// Bytes of the packet.
    #[allow(clippy::len_without_is_empty, reason = "the length of a packet, not of a collection")]
    pub fn len(&self) -> usize {
        self.data_range().len()
    }

    /// The packet's bytes.
    pub fn packet(&self) -> &[u8] {
        let range = self.data_range();
        &self.room()[range]
    }

    /// The packet's bytes, to change.
    pub fn packet_mut(&mut self) -> &mut [u8] {
        let range = self.data_range();
        &mut self.room_mut()[range]
    }

    /// The metadata's bytes.
    pub fn meta(&self) -> &[u8] {
        let range = self.meta_range();
        &self.room()[range]
    }

    /// The whole buffer.
    pub(crate) fn room(&self) -> &[u8] {
        // SAFETY: `head..end` is the slice that `new` borrowed for 'room, and `self` holds that borrow.
        unsafe { std::slice::from_raw_parts(self.head, self.room_len()) }
    }

    /// The whole buffer, to change.
    pub(crate) fn room_mut(&mut self) -> &mut [u8] {
        // SAFETY: `head..end` is the slice that `new` borrowed mutably for 'room; `&mut self` makes this
        // the only view of it that safe code has.
        unsafe { std::slice::from_raw_parts_mut(self.head, self.room_len()) }
    }

    /// Moves metadata and packet to these places of the buffer; the bytes stay where they are.
    ///
    /// # Panics
    /// If `meta <= data.start <= data.end <= room_len()` does not hold: helpers check before.
    pub(crate) fn place(&mut self, meta: usize, data: Range<usize>) {
        assert!(meta <= data.start && data.start <= data.end && data.end <= self.room_len());
        self.data_meta = self.head.wrapping_add(meta);
        self.data = self.head.wrapping_add(data.start);
        self.data_end = self.head.wrapping_add(data.end);
        self.len = data.len() as u32;
    }

    /// `len` bytes at an offset from the packet's start; before it there is the link header, for who sees the
    /// packet without it.
    pub(crate) fn behind_link(&self, offset: i64, len: usize) -> Option<&[u8]> {
        let data = self.data_range();
        let link = self.skb.link_bytes;
        let start = usize::try_from(link as i64 + offset).ok()?;
        self.room()[data.start - link..data.end].get(start..start.checked_add(len)?)
    }

    /// The address of `len` bytes of the packet at `offset`, if it has them.
    pub(crate) fn within(&self, offset: usize, len: usize) -> Option<*mut u8> {
        let end = offset.checked_add(len)?;
        (end <= self.len()).then(|| self.data.wrapping_add(offset))
    }

    fn position(&self, pointer: *mut u8) -> usize {
        pointer.addr() - self.head.addr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_found_where_it_was_put() {
        let mut room = vec![0u8; 600];
        room[256..270].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x86, 0xdd]);
        let mut context = Context::new(&mut room, 256..320);
        assert_eq!((context.data_range(), context.meta_range()), (256..320, 256..256));
        assert_eq!(context.packet()[..3], [1, 2, 3]);
        context.enter_tc(true);
        assert_eq!(context.protocol, u32::from(0x86ddu16.to_be()));
        assert_eq!(context.len(), 64);
    }
}
