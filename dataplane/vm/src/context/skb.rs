//! What an skb has beside its bytes: protocol, VLAN tag, the place of its headers.

use weir_ebpf::abi::Errno;

use super::{Context, ETHERNET_BYTES, VLAN_BYTES};

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

impl Context<'_> {
    /// Makes it what tc programs expect: `len`, `protocol` from the Ethernet header, the port; metadata that
    /// XDP left stays readable (`skb->data_meta`). A VLAN tag in the packet stays there: a receive path
    /// that does as the kernel's calls [`Context::untag`] next. On the way out, what programs left on the way in
    /// (tunnel metadata, checksum levels, the fields) is still there.
    pub fn enter_tc(&mut self, at_ingress: bool) {
        self.wire_len = self.len;
        self.read_ether_type();
        self.skb.network_offset = ETHERNET_BYTES;
        self.skb.link_bytes = 0;
        self.skb.at_ingress = at_ingress;
        if self.ifindex == 0 {
            self.ifindex = self.ingress_ifindex;
        }
    }

    /// Sets `pkt_type` from the destination address, for a port with these addresses (`eth_type_trans`).
    pub fn read_packet_type(&mut self, own: [u8; 6], broadcast: [u8; 6]) {
        const HOST: u32 = 0;
        const BROADCAST: u32 = 1;
        const MULTICAST: u32 = 2;
        const OTHERHOST: u32 = 3;
        self.pkt_type = match self.packet().first_chunk::<6>() {
            Some(to) if *to == own => HOST,
            Some([first, ..]) if first & 1 == 0 => OTHERHOST,
            Some(to) if *to == broadcast => BROADCAST,
            Some(_) => MULTICAST,
            None => OTHERHOST,
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
}
