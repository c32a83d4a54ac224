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

use std::marker::PhantomData;
use std::mem::offset_of;
use std::ops::Range;

use weir_ebpf::abi::{ContextField, Errno, SkbField, XdpField};

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
    len: u32,
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

/// The part of an skb that programs reach through helpers alone.
#[derive(Clone, Debug, Default)]
pub(crate) struct SkbState {
    /// Where the network header lies, from the start of the packet.
    pub(crate) network_offset: usize,
    /// Bytes of link header before the packet's start, for who sees the packet without it.
    pub(crate) link_bytes: usize,
    /// Whether the tc chain is an ingress chain.
    pub(crate) at_ingress: bool,
    /// How many more checksums than one are known to be right (`csum_level`), if any is.
    pub(crate) checked_levels: Option<u8>,
    /// Whether the program encapsulated the packet (`skb->encapsulation`).
    pub(crate) encapsulated: bool,
    /// Tunnel metadata that the program set.
    pub(crate) tunnel: Option<Box<Tunnel>>,
}

/// `struct ip_tunnel_info`, as far as programs can see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tunnel {
    /// `struct bpf_tunnel_key` as the program gave it.
    pub(crate) key: [u8; 44],
    /// Whether its addresses are IPv6.
    pub(crate) ipv6: bool,
    /// `TUNNEL_*` flags, host order.
    pub(crate) flags: u16,
    /// Options, when the program set some.
    pub(crate) options: Option<Vec<u8>>,
}

/// EtherTypes, in host order.
pub(crate) mod ether {
    pub(crate) const IPV4: u16 = 0x0800;
    pub(crate) const IPV6: u16 = 0x86dd;
    pub(crate) const VLAN: u16 = 0x8100;
    pub(crate) const VLAN_SERVICE: u16 = 0x88a8;

    /// `eth_type_vlan`.
    pub(crate) const fn is_vlan(ether_type: u16) -> bool {
        matches!(ether_type, VLAN | VLAN_SERVICE)
    }
}

/// Where a field of a program's view lies in [`Context`].
///
/// An access of `n` bytes at byte `k` of the field becomes an access of `n` bytes at
/// `offset + k`; a 4-byte load of a pointer field (`data`, `data_end`, `data_meta`) becomes an
/// 8-byte one. A full 4-byte store writes only `stored` bytes, for the fields that the kernel keeps
/// in 16 bits; their upper half is always zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Bytes from the start of [`Context`].
    pub offset: u32,
    /// Bytes that a full load reads.
    pub size: u32,
    /// Bytes that a full store writes: `size`, or 2.
    pub stored: u32,
}

macro_rules! at {
    ($field:ident) => {
        (offset_of!(Context<'static>, $field), 4, 4)
    };
    ($field:ident as $size:literal) => {
        (offset_of!(Context<'static>, $field), $size, $size)
    };
    ($field:ident as $size:literal stored $stored:literal) => {
        (offset_of!(Context<'static>, $field), $size, $stored)
    };
}

/// Where each program-visible field lies: the one table of the translation.
pub const fn slot(field: ContextField) -> Slot {
    let (offset, size, stored) = match field {
        ContextField::Xdp(field) => xdp_slot(field),
        ContextField::Skb(field) => skb_slot(field),
    };
    Slot { offset: offset as u32, size, stored }
}

const fn xdp_slot(field: XdpField) -> (usize, u32, u32) {
    match field {
        XdpField::Data => at!(data as 8),
        XdpField::DataEnd => at!(data_end as 8),
        XdpField::DataMeta => at!(data_meta as 8),
        XdpField::IngressIfindex => at!(ingress_ifindex),
        XdpField::RxQueueIndex => at!(rx_queue_index),
        XdpField::EgressIfindex => at!(egress_ifindex),
    }
}

const fn skb_slot(field: SkbField) -> (usize, u32, u32) {
    match field {
        SkbField::Len => at!(len),
        SkbField::PktType => at!(pkt_type),
        SkbField::Mark => at!(mark),
        SkbField::QueueMapping => at!(queue_mapping as 4 stored 2),
        SkbField::Protocol => at!(protocol),
        SkbField::VlanPresent => at!(vlan_present),
        SkbField::VlanTci => at!(vlan_tci),
        SkbField::VlanProto => at!(vlan_proto),
        SkbField::Priority => at!(priority),
        SkbField::IngressIfindex => at!(ingress_ifindex),
        SkbField::Ifindex => at!(ifindex),
        SkbField::TcIndex => at!(tc_index as 4 stored 2),
        SkbField::Cb => at!(cb as 20),
        SkbField::Hash => at!(hash),
        SkbField::TcClassid => at!(tc_classid as 4 stored 2),
        SkbField::Data => at!(data as 8),
        SkbField::DataEnd => at!(data_end as 8),
        SkbField::DataMeta => at!(data_meta as 8),
        SkbField::Tstamp => at!(tstamp as 8),
        SkbField::WireLen => at!(wire_len),
        SkbField::GsoSegs => at!(gso_segs),
        SkbField::GsoSize => at!(gso_size),
        SkbField::TstampType => at!(tstamp_type as 1),
        SkbField::NapiId
        | SkbField::Family
        | SkbField::RemoteIp4
        | SkbField::LocalIp4
        | SkbField::RemotePort
        | SkbField::LocalPort => at!(zero),
        SkbField::RemoteIp6 | SkbField::LocalIp6 => at!(zero as 16),
        SkbField::FlowKeys | SkbField::Sk | SkbField::Hwtstamp => at!(zero as 8),
    }
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

    /// Makes `count` zero bytes at `at` of the packet. What is before them, metadata included, moves into
    /// the headroom as far as there is any (what is behind them into the tailroom, for bytes at the end);
    /// `-ENOMEM` when the buffer is too small.
    pub(crate) fn insert(&mut self, at: usize, count: usize) -> Result<(), Errno> {
        let (meta, data, room) = (self.meta_range(), self.data_range(), self.room_len());
        if at > data.len() {
            return Err(Errno::ENOMEM);
        }
        let (headroom, tailroom) = (meta.start, room - data.end);
        let down = if at == data.len() { count.saturating_sub(tailroom) } else { count.min(headroom) };
        let up = count - down;
        if down > headroom || up > tailroom {
            return Err(Errno::ENOMEM);
        }
        let gap = data.start + at;
        let bytes = self.room_mut();
        bytes.copy_within(gap..data.end, gap + up);
        bytes.copy_within(meta.start..gap, meta.start - down);
        bytes[gap - down..gap + up].fill(0);
        self.place(meta.start - down, data.start - down..data.end + up);
        Ok(())
    }

    /// Takes `count` bytes at `at` out of the packet; what is before them moves up to what is behind.
    pub(crate) fn remove(&mut self, at: usize, count: usize) -> Result<(), Errno> {
        let (meta, data) = (self.meta_range(), self.data_range());
        if at + count > data.len() {
            return Err(Errno::ENOMEM);
        }
        if at + count == data.len() {
            self.place(meta.start, data.start..data.end - count);
            return Ok(());
        }
        self.room_mut().copy_within(meta.start..data.start + at, meta.start + count);
        self.place(meta.start + count, data.start + count..data.end);
        Ok(())
    }

    /// Legacy packet access (`LD_ABS`, `LD_IND`): bytes in network order. Offsets from -0x100000 on count from
    /// the network header and those from -0x200000 on from the link layer (`SKF_NET_OFF`, `SKF_LL_OFF`).
    pub(crate) fn legacy_load(&self, offset: u32, len: usize) -> Option<u64> {
        const NET_OFF: i64 = -0x10_0000;
        const LL_OFF: i64 = -0x20_0000;
        let start = match i64::from(offset as i32) {
            start @ 0.. => start,
            start @ NET_OFF..0 => start - NET_OFF + self.skb.network_offset as i64,
            start @ LL_OFF..NET_OFF => start - LL_OFF - self.skb.link_bytes as i64,
            _ => return None,
        };
        let bytes = self.behind_link(start, len)?;
        Some(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
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

    /// Makes it what tc programs expect: `len`, `protocol` from the Ethernet header, the port; metadata that
    /// XDP left stays readable (`skb->data_meta`). A VLAN tag in the packet stays there: a receive path
    /// that does as the kernel's calls [`Context::untag`] next.
    pub fn enter_tc(&mut self, at_ingress: bool) {
        self.wire_len = self.len;
        self.read_ether_type();
        self.skb = SkbState { network_offset: ETHERNET_BYTES, at_ingress, ..SkbState::default() };
        if self.ifindex == 0 {
            self.ifindex = self.ingress_ifindex;
        }
    }

    /// Sets `pkt_type` from the destination address, for a port with this address (`eth_type_trans`).
    pub fn read_packet_type(&mut self, own: [u8; 6]) {
        const HOST: u32 = 0;
        const BROADCAST: u32 = 1;
        const MULTICAST: u32 = 2;
        const OTHERHOST: u32 = 3;
        self.pkt_type = match self.packet().first_chunk::<6>() {
            Some(to) if *to == own => HOST,
            Some([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]) => BROADCAST,
            Some([first, ..]) if first & 1 != 0 => MULTICAST,
            Some(_) | None => OTHERHOST,
        };
    }

    /// Makes it what a socket filter of an IP socket sees: the packet without its link header.
    pub(crate) fn enter_socket(&mut self) {
        let data = self.data_range();
        let start = data.start + ETHERNET_BYTES.min(data.len());
        self.place(start, start..data.end);
        self.skb.network_offset = 0;
        self.skb.link_bytes = start - data.start;
    }

    /// Whether it is in an ingress chain.
    pub fn at_ingress(&self) -> bool {
        self.skb.at_ingress
    }

    /// Moves the outermost VLAN tag from the packet to beside it, if it has one (`skb_vlan_untag`): what
    /// the kernel does between receiving and tc ingress. A packet too short for its tag stays as it is.
    pub fn untag(&mut self) {
        let proto = self.ether_type();
        let tagged = ether::is_vlan(proto) && self.vlan_present == 0;
        if !tagged || self.len() < ETHERNET_BYTES + VLAN_BYTES {
            return;
        }
        let tci = [self.packet()[14], self.packet()[15]];
        self.remove(ETHERNET_BYTES - 2, VLAN_BYTES).expect("the packet has the tag's bytes");
        self.set_vlan_tag(Some((proto, u16::from_be_bytes(tci))));
        self.read_ether_type();
    }

    /// Puts a VLAN tag that stands beside the packet into it, before it leaves; `-ENOMEM` when the buffer
    /// has no room for four bytes.
    pub fn retag(&mut self) -> Result<(), Errno> {
        let Some((proto, tci)) = self.vlan_tag() else { return Ok(()) };
        self.insert_tag(proto, tci)?;
        self.set_vlan_tag(None);
        self.set_ether_type(proto);
        Ok(())
    }

    /// Writes a tag into the packet, before its EtherType.
    pub(crate) fn insert_tag(&mut self, proto: u16, tci: u16) -> Result<(), Errno> {
        self.insert(ETHERNET_BYTES - 2, VLAN_BYTES)?;
        let packet = self.packet_mut();
        packet[12..14].copy_from_slice(&proto.to_be_bytes());
        packet[14..16].copy_from_slice(&tci.to_be_bytes());
        Ok(())
    }

    /// The tag beside the packet: its EtherType and control information.
    pub(crate) fn vlan_tag(&self) -> Option<(u16, u16)> {
        (self.vlan_present != 0).then(|| (u16::from_be(self.vlan_proto as u16), self.vlan_tci as u16))
    }

    pub(crate) fn set_vlan_tag(&mut self, tag: Option<(u16, u16)>) {
        let (proto, tci) = tag.unwrap_or_default();
        self.vlan_present = u32::from(tag.is_some());
        self.vlan_proto = u32::from(proto.to_be());
        self.vlan_tci = u32::from(tci);
    }

    /// `skb->protocol` in host order.
    pub(crate) fn ether_type(&self) -> u16 {
        u16::from_be(self.protocol as u16)
    }

    pub(crate) fn set_ether_type(&mut self, ether_type: u16) {
        self.protocol = u32::from(ether_type.to_be());
    }

    /// Sets `protocol` from the packet by `eth_type_trans`'s rule: a length field stands for 802.2
    /// (`ETH_P_802_2`), or 802.3 when the payload starts with 0xffff (`ETH_P_802_3`).
    pub(crate) fn read_ether_type(&mut self) {
        const ETH_P_802_3_MIN: u16 = 0x0600;
        const ETH_P_802_3: u16 = 0x0001;
        const ETH_P_802_2: u16 = 0x0004;
        let packet = self.packet();
        let number = match packet.get(12..14) {
            None => 0,
            Some(bytes) => match u16::from_be_bytes([bytes[0], bytes[1]]) {
                number if number >= ETH_P_802_3_MIN => number,
                _ if packet.get(14..16) == Some(&[0xff, 0xff]) => ETH_P_802_3,
                _ => ETH_P_802_2,
            },
        };
        self.set_ether_type(number);
    }

    fn position(&self, pointer: *mut u8) -> usize {
        pointer.addr() - self.head.addr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_ebpf::ProgramType;
    use weir_ebpf::abi::context::FieldAccess;

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

    #[test]
    fn every_visible_field_has_a_slot_inside_the_context_and_no_two_writable_ones_meet() {
        let fields = XdpField::ALL.iter().map(|&field| ContextField::Xdp(field));
        let fields = fields.chain(SkbField::ALL.iter().map(|&field| ContextField::Skb(field)));
        let mut written: Vec<Range<u32>> = Vec::new();
        for field in fields {
            let slot = slot(field);
            assert!((slot.offset + slot.size) as usize <= size_of::<Context<'static>>());
            if field.access(ProgramType::SchedCls) == FieldAccess::ReadWrite {
                let range = slot.offset..slot.offset + slot.size;
                assert!(written.iter().all(|other| range.end <= other.start || other.end <= range.start));
                written.push(range);
            }
        }
    }
}
