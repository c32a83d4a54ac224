//! Frames from their parts; etherparse writes the headers and their checksums.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{
    EtherType, Ethernet2Header, IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader, Ipv6Header,
    PacketBuilder, PacketBuilderStep, TcpHeader, UdpHeader, VlanId, ip_number,
};

use crate::traffic::spec::Spec;

/// The shortest Ethernet frame, without its check sequence.
pub(crate) const FRAME_MIN: usize = 60;

/// Who speaks to whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    pub mac: [u8; 6],
    pub router_mac: [u8; 6],
    pub from: IpAddr,
    pub to: IpAddr,
    pub vlan: Option<u16>,
    pub ttl: u8,
}

impl Ends {
    /// The way from host `client` to host `server`, or back.
    pub(crate) fn new(
        spec: &Spec,
        client: u32,
        server: u32,
        six: bool,
        vlan: Option<u16>,
        back: bool,
    ) -> Ends {
        let address = |base: (Ipv4Addr, Ipv6Addr), host: u32| -> IpAddr {
            if six {
                Ipv6Addr::from_bits(base.1.to_bits().wrapping_add(u128::from(host))).into()
            } else {
                Ipv4Addr::from_bits(base.0.to_bits().wrapping_add(host)).into()
            }
        };
        let (client_ip, server_ip) = (address(spec.client_base, client), address(spec.server_base, server));
        let [_, a, b, c] = (if back { server } else { client }).to_be_bytes();
        let mac = [2, 0, if back { 0x5e } else { 0xc1 }, a, b, c];
        let (from, to) = if back { (server_ip, client_ip) } else { (client_ip, server_ip) };
        Ends { mac, router_mac: spec.router_mac, from, to, vlan, ttl: if back { 57 } else { 64 } }
    }

    pub(crate) fn six(&self) -> bool {
        self.from.is_ipv6()
    }

    /// Bytes before the transport header.
    pub(crate) fn header_len(&self) -> usize {
        14 + if self.vlan.is_some() { 4 } else { 0 } + if self.six() { 40 } else { 20 }
    }

    fn begin(&self) -> PacketBuilderStep<etherparse::IpHeaders> {
        let link = PacketBuilder::ethernet2(self.mac, self.router_mac);
        let vlan = self.vlan.and_then(|id| VlanId::try_new(id).ok());
        match (self.from, self.to, vlan) {
            (IpAddr::V4(from), IpAddr::V4(to), None) => link.ipv4(from.octets(), to.octets(), self.ttl),
            (IpAddr::V4(from), IpAddr::V4(to), Some(id)) => {
                link.single_vlan(id).ipv4(from.octets(), to.octets(), self.ttl)
            }
            (IpAddr::V6(from), IpAddr::V6(to), None) => link.ipv6(from.octets(), to.octets(), self.ttl),
            (IpAddr::V6(from), IpAddr::V6(to), Some(id)) => {
                link.single_vlan(id).ipv6(from.octets(), to.octets(), self.ttl)
            }
            (IpAddr::V4(_), IpAddr::V6(_), _) | (IpAddr::V6(_), IpAddr::V4(_), _) => {
                unreachable!("both ends of a flow are of one family, see `new`")
            }
        }
    }
}

/// Writing to a vector fails only for packets too long for their length fields, and none here is.
const SHORT: &str = "a generated packet fits its length fields";

/// A TCP segment.
pub(crate) fn tcp(ends: &Ends, header: TcpHeader, payload: &[u8], out: &mut Vec<u8>) {
    out.clear();
    ends.begin().tcp_header(header).write(out, payload).expect(SHORT);
    pad(out);
}

/// A UDP datagram.
pub(crate) fn udp(ends: &Ends, ports: [u16; 2], payload: &[u8], out: &mut Vec<u8>) {
    out.clear();
    ends.begin().udp(ports[0], ports[1]).write(out, payload).expect(SHORT);
    pad(out);
}

/// An ICMP echo request, or the reply.
pub(crate) fn echo(ends: &Ends, reply: bool, id: u16, sequence: u16, payload: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let begin = ends.begin();
    match (ends.six(), reply) {
        (false, false) => begin.icmpv4_echo_request(id, sequence).write(out, payload),
        (false, true) => begin.icmpv4_echo_reply(id, sequence).write(out, payload),
        (true, false) => begin.icmpv6_echo_request(id, sequence).write(out, payload),
        (true, true) => begin.icmpv6_echo_reply(id, sequence).write(out, payload),
    }
    .expect(SHORT);
    pad(out);
}

fn pad(frame: &mut Vec<u8>) {
    if frame.len() < FRAME_MIN {
        frame.resize(FRAME_MIN, 0);
    }
}

/// A UDP datagram cut into fragments of at most `cut` bytes (a multiple of 8) behind the IP headers.
pub(crate) fn fragments(ends: &Ends, ports: [u16; 2], payload: &[u8], id: u32, cut: usize) -> Vec<Vec<u8>> {
    let header = match (ends.from, ends.to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            UdpHeader::with_ipv4_checksum(ports[0], ports[1], &plain4(from, to, ends.ttl, 0), payload)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            UdpHeader::with_ipv6_checksum(ports[0], ports[1], &plain6(from, to, ends.ttl), payload)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return Vec::new(),
    };
    let Ok(header) = header else { return Vec::new() };
    let datagram = [&header.to_bytes()[..], payload].concat();
    let last = datagram.len().div_ceil(cut) - 1;
    let pieces = datagram.chunks(cut).enumerate();
    pieces.map(|(at, piece)| fragment(ends, id, (at * cut / 8) as u16, at < last, piece)).collect()
}

fn plain4(from: Ipv4Addr, to: Ipv4Addr, ttl: u8, len: u16) -> Ipv4Header {
    Ipv4Header::new(len, ttl, ip_number::UDP, from.octets(), to.octets()).expect(SHORT)
}

fn plain6(from: Ipv6Addr, to: Ipv6Addr, ttl: u8) -> Ipv6Header {
    let (source, destination) = (from.octets(), to.octets());
    Ipv6Header {
        hop_limit: ttl,
        next_header: IpNumber::IPV6_FRAGMENTATION_HEADER,
        source,
        destination,
        ..Ipv6Header::default()
    }
}

/// One fragment; `offset` counts units of 8 bytes.
fn fragment(ends: &Ends, id: u32, offset: u16, more: bool, piece: &[u8]) -> Vec<u8> {
    let place = IpFragOffset::try_new(offset).expect(SHORT);
    let mut frame = Vec::with_capacity(1514);
    let ether_type = if ends.six() { EtherType::IPV6 } else { EtherType::IPV4 };
    let link = Ethernet2Header { source: ends.mac, destination: ends.router_mac, ether_type };
    match ends.vlan {
        None => frame.extend(link.to_bytes()),
        Some(vlan) => {
            frame.extend(Ethernet2Header { ether_type: EtherType::VLAN_TAGGED_FRAME, ..link }.to_bytes());
            frame.extend(vlan.to_be_bytes());
            frame.extend(ether_type.0.to_be_bytes());
        }
    }
    match (ends.from, ends.to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut header = plain4(from, to, ends.ttl, piece.len() as u16);
            (header.dont_fragment, header.more_fragments) = (false, more);
            (header.fragment_offset, header.identification) = (place, id as u16);
            header.header_checksum = header.calc_header_checksum();
            frame.extend(header.to_bytes());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let header = plain6(from, to, ends.ttl);
            frame.extend(Ipv6Header { payload_length: piece.len() as u16 + 8, ..header }.to_bytes());
            frame.extend(Ipv6FragmentHeader::new(ip_number::UDP, place, more, id).to_bytes());
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {}
    }
    frame.extend(piece);
    pad(&mut frame);
    frame
}
