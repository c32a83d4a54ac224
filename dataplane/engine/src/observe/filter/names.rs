//! Names that stand for numbers: protocols, well-known ports, fields and flags of headers.

use super::eval::Relation;

/// What a primitive is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proto {
    Ether,
    Ip,
    Ip6,
    Arp,
    Rarp,
    Tcp,
    Udp,
    Sctp,
    Icmp,
    Icmp6,
    Igmp,
    Pim,
    Vrrp,
    Ah,
    Esp,
}

/// Keywords that name a protocol.
pub(super) const PROTOS: [(&str, Proto); 16] = [
    ("ether", Proto::Ether),
    ("link", Proto::Ether),
    ("ip", Proto::Ip),
    ("ip6", Proto::Ip6),
    ("arp", Proto::Arp),
    ("rarp", Proto::Rarp),
    ("tcp", Proto::Tcp),
    ("udp", Proto::Udp),
    ("sctp", Proto::Sctp),
    ("icmp", Proto::Icmp),
    ("icmp6", Proto::Icmp6),
    ("igmp", Proto::Igmp),
    ("pim", Proto::Pim),
    ("vrrp", Proto::Vrrp),
    ("ah", Proto::Ah),
    ("esp", Proto::Esp),
];

/// Which families a protocol above IP is looked for in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
    Both,
}

impl Proto {
    /// The keyword.
    pub(super) fn name(self) -> &'static str {
        PROTOS.iter().find(|(_, proto)| *proto == self).map_or("", |(name, _)| name)
    }

    /// The number in an Ethernet header, of what stands directly above it.
    pub(super) fn ethertype(self) -> Option<u16> {
        match self {
            Proto::Ip => Some(0x0800),
            Proto::Ip6 => Some(0x86dd),
            Proto::Arp => Some(0x0806),
            Proto::Rarp => Some(0x8035),
            Proto::Ether
            | Proto::Tcp
            | Proto::Udp
            | Proto::Sctp
            | Proto::Icmp
            | Proto::Icmp6
            | Proto::Igmp
            | Proto::Pim
            | Proto::Vrrp
            | Proto::Ah
            | Proto::Esp => None,
        }
    }

    /// The number in an IP header, of what stands above it, and above which.
    pub(super) fn above_ip(self) -> Option<(u8, Family)> {
        match self {
            Proto::Tcp => Some((6, Family::Both)),
            Proto::Udp => Some((17, Family::Both)),
            Proto::Sctp => Some((132, Family::Both)),
            Proto::Icmp => Some((1, Family::V4)),
            Proto::Icmp6 => Some((58, Family::V6)),
            Proto::Igmp => Some((2, Family::V4)),
            Proto::Pim => Some((103, Family::Both)),
            Proto::Vrrp => Some((112, Family::V4)),
            Proto::Ah => Some((51, Family::Both)),
            Proto::Esp => Some((50, Family::Both)),
            Proto::Ether | Proto::Ip | Proto::Ip6 | Proto::Arp | Proto::Rarp => None,
        }
    }
}

/// Names that `proto` takes, with a backslash before them where they are keywords.
pub(super) fn protocol(name: &str) -> Option<u32> {
    let (_, proto) = PROTOS.iter().find(|(other, _)| *other == name)?;
    proto.above_ip().map(|(number, _)| number.into())
}

/// Well-known ports, and of which protocol when of one only.
const PORTS: [(&str, u16, Option<Proto>); 20] = [
    ("ftp-data", 20, Some(Proto::Tcp)),
    ("ftp", 21, Some(Proto::Tcp)),
    ("ssh", 22, Some(Proto::Tcp)),
    ("telnet", 23, Some(Proto::Tcp)),
    ("smtp", 25, Some(Proto::Tcp)),
    ("domain", 53, None),
    ("bootps", 67, Some(Proto::Udp)),
    ("bootpc", 68, Some(Proto::Udp)),
    ("tftp", 69, Some(Proto::Udp)),
    ("http", 80, Some(Proto::Tcp)),
    ("kerberos", 88, None),
    ("pop3", 110, Some(Proto::Tcp)),
    ("ntp", 123, Some(Proto::Udp)),
    ("snmp", 161, None),
    ("bgp", 179, Some(Proto::Tcp)),
    ("ldap", 389, None),
    ("https", 443, None),
    ("syslog", 514, Some(Proto::Udp)),
    ("ldaps", 636, None),
    ("imaps", 993, Some(Proto::Tcp)),
];

/// The port of this name.
pub(super) fn port(name: &str) -> Option<(u16, Option<Proto>)> {
    PORTS.iter().find(|(other, ..)| *other == name).map(|(_, port, proto)| (*port, *proto))
}

/// Names of ports, to say what there is.
pub(super) fn ports() -> impl Iterator<Item = &'static str> {
    PORTS.iter().map(|(name, ..)| *name)
}

/// Names of fields, flags and types within brackets and beside them.
const FIELDS: [(&str, u32); 36] = [
    ("icmptype", 0),
    ("icmpcode", 1),
    ("icmp-echoreply", 0),
    ("icmp-unreach", 3),
    ("icmp-sourcequench", 4),
    ("icmp-redirect", 5),
    ("icmp-echo", 8),
    ("icmp-routeradvert", 9),
    ("icmp-routersolicit", 10),
    ("icmp-timxceed", 11),
    ("icmp-paramprob", 12),
    ("icmp-tstamp", 13),
    ("icmp-tstampreply", 14),
    ("icmp-ireq", 15),
    ("icmp-ireqreply", 16),
    ("icmp-maskreq", 17),
    ("icmp-maskreply", 18),
    ("icmp6type", 0),
    ("icmp6code", 1),
    ("icmp6-destinationunreach", 1),
    ("icmp6-packettoobig", 2),
    ("icmp6-timeexceeded", 3),
    ("icmp6-parameterproblem", 4),
    ("icmp6-echo", 128),
    ("icmp6-echoreply", 129),
    ("icmp6-neighborsolicit", 135),
    ("icmp6-neighboradvert", 136),
    ("tcpflags", 13),
    ("tcp-fin", 0x01),
    ("tcp-syn", 0x02),
    ("tcp-rst", 0x04),
    ("tcp-push", 0x08),
    ("tcp-ack", 0x10),
    ("tcp-urg", 0x20),
    ("tcp-ece", 0x40),
    ("tcp-cwr", 0x80),
];

/// The number that such a name stands for.
pub(super) fn field(name: &str) -> Option<u32> {
    FIELDS.iter().find(|(other, _)| *other == name).map(|(_, number)| *number)
}

/// A sign between two numbers that are compared: the relation, and whether its opposite is meant.
pub(super) fn relation(sign: &str) -> Option<(Relation, bool)> {
    Some(match sign {
        "=" | "==" => (Relation::Equal, false),
        "!=" => (Relation::Equal, true),
        ">" => (Relation::Greater, false),
        "<=" => (Relation::Greater, true),
        ">=" => (Relation::AtLeast, false),
        "<" => (Relation::AtLeast, true),
        _ => return None,
    })
}
