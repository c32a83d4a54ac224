//! Values of primitives: addresses, networks, ports, protocols.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::FilterError;
use super::eval::Expr;
use super::lex::number;
use super::lower::{self, Direction};
use super::names::{self, Family, Proto};
use super::parse::Parser;
use crate::config::{nearest, parse_mac};

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Host,
    Net,
    Port,
    PortRange,
    Proto,
}

/// What a value is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Qualifiers {
    pub(super) proto: Option<Proto>,
    pub(super) direction: Direction,
    pub(super) kind: Kind,
}

impl Kind {
    pub(super) fn named(word: &str) -> Option<Kind> {
        Some(match word {
            "host" => Kind::Host,
            "net" => Kind::Net,
            "port" => Kind::Port,
            "portrange" => Kind::PortRange,
            "proto" => Kind::Proto,
            _ => return None,
        })
    }

    fn wanted(self) -> &'static str {
        match self {
            Kind::Host => "an address",
            Kind::Net => "a network, such as `192.0.2.0/24`",
            Kind::Port => "a port",
            Kind::PortRange => "two ports, such as `8000-8080`",
            Kind::Proto => "a protocol's number, or its name after a backslash",
        }
    }
}

impl Parser<'_> {
    /// One value, and the expression that it makes.
    pub(super) fn value(&mut self, about: Qualifiers) -> Result<Expr, FilterError> {
        let word = self.word(about.kind.wanted())?;
        let expr = match about.kind {
            Kind::Host => self.host(word, about)?,
            Kind::Net => self.net(word, about)?,
            Kind::Port => {
                let (port, only) = self.port(word)?;
                self.ports(port..=port, only, about)?
            }
            Kind::PortRange => self.range(word, about)?,
            Kind::Proto => self.protocol(word, about)?,
        };
        expr.ok_or_else(|| {
            let (kind, proto) = (about.kind.wanted(), about.proto.map_or("", Proto::name));
            self.refused(format_args!("`{proto}` packets have no such thing as {kind}: say `{proto} and …`"))
        })
    }

    fn host(&self, word: &str, about: Qualifiers) -> Result<Option<Expr>, FilterError> {
        let Qualifiers { proto, direction, .. } = about;
        if proto == Some(Proto::Ether) {
            let mac = parse_mac(&word.replace('-', ":"));
            return mac.map(|mac| Some(lower::ether(direction, mac))).ok_or_else(|| {
                self.refused(format_args!("`{word}` is no link address, such as `02:00:00:00:00:01`"))
            });
        }
        if self.peek() == Some("/") {
            return Err(self.refused(format_args!("this is a network: say `net {word}/…`")));
        }
        if let Ok(address) = word.parse::<Ipv4Addr>() {
            return Ok(lower::net4(self.link, proto, direction, address, u32::MAX));
        }
        match word.parse::<Ipv6Addr>() {
            Ok(address) => Ok(lower::net6(self.link, proto, direction, address, 128)),
            Err(_) => Err(self.refused(match parse_mac(word) {
                Some(_) => format!("`{word}` is a link address: say `ether host {word}`"),
                None => format!("`{}` is no address; names are not looked up", word.escape_debug()),
            })),
        }
    }

    fn net(&mut self, word: &str, about: Qualifiers) -> Result<Option<Expr>, FilterError> {
        let Qualifiers { proto, direction, .. } = about;
        if let Ok(address) = word.parse::<Ipv6Addr>() {
            let length = if self.accept("/") { self.length(128)? } else { 128 };
            let host = u128::MAX.checked_shr(length).unwrap_or(0);
            if address.to_bits() & host != 0 {
                return Err(self.refused(format_args!("{address} has bits behind the first {length}")));
            }
            return Ok(lower::net6(self.link, proto, direction, address, length));
        }
        let Some((address, parts)) = short_address(word) else {
            let what = format!("`{}` is no network; names are not looked up", word.escape_debug());
            return Err(self.refused(what));
        };
        let mask = if self.accept("/") {
            u32::MAX.checked_shl(32 - self.length(32)?).unwrap_or(0)
        } else if self.accept("mask") {
            let mask = self.word("a mask, such as `255.255.255.0`")?;
            let mask = mask
                .parse::<Ipv4Addr>()
                .map_err(|_| self.refused("wanted a mask, such as `255.255.255.0`"))?;
            mask.to_bits()
        } else {
            u32::MAX << (32 - 8 * parts)
        };
        if address & !mask != 0 {
            let address = Ipv4Addr::from_bits(address);
            return Err(self.refused(format_args!(
                "{address} has bits outside its mask, {}",
                Ipv4Addr::from_bits(mask)
            )));
        }
        Ok(lower::net4(self.link, proto, direction, Ipv4Addr::from_bits(address), mask))
    }

    fn length(&mut self, most: u32) -> Result<u32, FilterError> {
        let length = self.number("a prefix length")?;
        if length > most {
            return Err(self.refused(format_args!("a prefix has at most {most} bits here")));
        }
        Ok(length)
    }

    fn port(&self, word: &str) -> Result<(u16, Option<Proto>), FilterError> {
        if let Some(port) = number(word) {
            let port = u16::try_from(port).map_err(|_| self.refused("ports are numbered from 0 to 65535"))?;
            return Ok((port, None));
        }
        names::port(word).ok_or_else(|| {
            let near = nearest(word, names::ports()).map(|near| format!("; did you mean `{near}`?"));
            let word = word.escape_debug();
            self.refused(format_args!(
                "`{word}` is no port that weir knows by name{}",
                near.unwrap_or_default()
            ))
        })
    }

    fn ports(
        &self,
        ports: std::ops::RangeInclusive<u16>,
        only: Option<Proto>,
        about: Qualifiers,
    ) -> Result<Option<Expr>, FilterError> {
        if let (Some(only), Some(proto)) = (only, about.proto)
            && only != proto
        {
            return Err(self.refused(format_args!(
                "this is a port of {}, not of {}",
                only.name(),
                proto.name()
            )));
        }
        Ok(lower::ports(self.link, about.proto.or(only), about.direction, &ports))
    }

    fn range(&self, word: &str, about: Qualifiers) -> Result<Option<Expr>, FilterError> {
        // Names may have a dash themselves.
        let dashes =
            word.match_indices('-').filter_map(|(at, _)| Some((word.get(..at)?, word.get(at + 1..)?)));
        let found =
            dashes.into_iter().find_map(|(low, high)| Some((self.port(low).ok()?, self.port(high).ok()?)));
        let ((low, one), (high, other)) = match found {
            Some(found) => found,
            None if word.contains('-') => {
                return Err(self.refused(format_args!("wanted {}", Kind::PortRange.wanted())));
            }
            None => (self.port(word)?, self.port(word)?),
        };
        let only = if one == other { one } else { None };
        self.ports(low.min(high)..=low.max(high), only, about)
    }

    fn protocol(&self, word: &str, about: Qualifiers) -> Result<Option<Expr>, FilterError> {
        let name = word.strip_prefix('\\').unwrap_or(word);
        if about.proto == Some(Proto::Ether) {
            let named = names::PROTOS.iter().find(|(other, _)| *other == name);
            let ethertype = named.and_then(|(_, proto)| proto.ethertype());
            let numbered =
                number(word).and_then(|number| u16::try_from(number).ok()).filter(|number| *number >= 0x600);
            let ethertype = ethertype.or(numbered).ok_or_else(|| {
                self.refused(
                    "wanted a type of Ethernet: from 0x600 to 0xffff, `\\ip`, `\\ip6`, `\\arp` or `\\rarp`",
                )
            })?;
            return Ok(Some(lower::link_type(self.link, ethertype)));
        }
        let family = match about.proto {
            None => Family::Both,
            Some(Proto::Ip) => Family::V4,
            Some(Proto::Ip6) => Family::V6,
            Some(_) => return Ok(None),
        };
        let found = number(word).or_else(|| names::protocol(name)).filter(|number| *number < 256);
        let found = found.ok_or_else(|| {
            let word = word.escape_debug();
            self.refused(format_args!(
                "`{word}` is no protocol of IP: a number up to 255, or a name such as `\\tcp`"
            ))
        })?;
        Ok(Some(lower::above_ip(self.link, found, family)))
    }
}

/// An IPv4 address of which the last parts may be missing, and how many are there.
fn short_address(word: &str) -> Option<(u32, u32)> {
    let parts: Vec<u8> = word.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let count = parts.len() as u32;
    // `net 0` is libpcap's address 0.0.0.0, whole.
    let whole = if parts == [0] { 4 } else { count };
    let bits = parts.iter().fold(0u32, |bits, part| bits << 8 | u32::from(*part));
    (1..=4).contains(&count).then(|| (bits << (32 - 8 * count), whole))
}
