//! Packets in words, as a network engineer would say them:
//!
//! ```text
//! eth src=02:00:00:00:00:aa dst=02:00:00:00:00:01 / vlan id=20 /
//!     ipv4 src=192.0.2.1 dst=198.51.100.7 ttl=64 tos=46 / tcp sport=40000 dport=443 syn / bytes=16
//! ```
//!
//! Layers in order: `eth`, `vlan` (up to two), `ipv4` or `ipv6` or `arp`, `tcp` or `udp` or `icmp`. `bytes=N`
//! is a payload of N bytes counting up; `hex=…` is a payload. An IP layer may stand inside another.
//! Lengths and checksums are filled in.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};

/// One layer: its name, and what was said of it; a word alone stands for itself.
struct Layer<'t> {
    name: &'t str,
    fields: BTreeMap<&'t str, &'t str>,
}

impl<'t> Layer<'t> {
    fn parse(text: &'t str) -> Result<Self> {
        let mut words = text.split_whitespace();
        let first = words.next().context("a layer is empty")?;
        // A payload is its own field.
        let (name, own) =
            first.split_once('=').map_or((first, None), |(name, value)| (name, Some((name, value))));
        let fields = own.into_iter().chain(words.map(|word| word.split_once('=').unwrap_or((word, ""))));
        Ok(Self { name, fields: fields.collect() })
    }

    fn get<T: FromStr>(&self, field: &str, usual: T) -> Result<T> {
        let Some(text) = self.fields.get(field) else { return Ok(usual) };
        text.parse().ok().with_context(|| format!("{} {field}={text} is not understood", self.name))
    }

    fn has(&self, word: &str) -> bool {
        self.fields.contains_key(word)
    }
}

/// The bytes of a packet in words.
pub fn packet(text: &str) -> Result<Vec<u8>> {
    let layers: Vec<Layer<'_>> =
        text.split('/').map(|layer| Layer::parse(layer.trim())).collect::<Result<_>>()?;
    let mut rest = layers.as_slice();
    let mut link = Vec::new();
    while let [layer @ Layer { name: "eth" | "vlan", .. }, after @ ..] = rest {
        link_layer(layer, &mut link)?;
        rest = after;
    }
    let payload = match rest {
        [before @ .., last @ Layer { name: "bytes" | "hex", .. }] => {
            rest = before;
            payload(last)?
        }
        _ => Vec::new(),
    };
    let (ethertype, body) = network(rest, payload)?;
    if !link.is_empty() {
        link.extend(ethertype.to_be_bytes());
    }
    link.extend(body);
    Ok(link)
}

fn payload(layer: &Layer<'_>) -> Result<Vec<u8>> {
    if layer.name == "bytes" {
        return Ok((0..layer.get("bytes", 0usize)?).map(|at| at as u8).collect());
    }
    let digits = layer.fields.get("hex").copied().unwrap_or_default();
    weir_engine::values::hex(digits).with_context(|| format!("hex={digits}: wanted pairs of digits"))
}

/// Adds a link layer without the EtherType that follows from the next one.
fn link_layer(layer: &Layer<'_>, link: &mut Vec<u8>) -> Result<()> {
    if layer.name == "vlan" {
        let id: u16 = layer.get("id", 1)?;
        let priority: u16 = layer.get("prio", 0)?;
        link.extend(0x8100u16.to_be_bytes());
        link.extend((priority << 13 | id).to_be_bytes());
        return Ok(());
    }
    for (field, usual) in [("dst", "02:00:00:00:00:01"), ("src", "02:00:00:00:00:aa")] {
        let text = layer.fields.get(field).copied().unwrap_or(usual);
        let bytes: Option<Vec<u8>> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
        link.extend(bytes.filter(|bytes| bytes.len() == 6).with_context(|| format!("eth {field}={text}"))?);
    }
    Ok(())
}

fn network(layers: &[Layer<'_>], payload: Vec<u8>) -> Result<(u16, Vec<u8>)> {
    match layers {
        [] => Ok((0x88b5, payload)),
        [Layer { name: "arp", .. }] => Ok((0x0806, [vec![0, 1, 8, 0, 6, 4, 0, 1], vec![0; 20]].concat())),
        [ip @ Layer { name: "ipv4", .. }, rest @ ..] => {
            let (source, target) = addresses::<Ipv4Addr>(ip, "192.0.2.1", "198.51.100.7")?;
            let pseudo = [&source.octets()[..], &target.octets()[..]].concat();
            let (protocol, body) = transport(rest, payload, &pseudo, ip)?;
            Ok((0x0800, [ipv4_header(ip, protocol, body.len(), &pseudo)?, body].concat()))
        }
        [ip @ Layer { name: "ipv6", .. }, rest @ ..] => {
            let (source, target) = addresses::<Ipv6Addr>(ip, "2001:db8::1", "2001:db8:1::7")?;
            let pseudo = [&source.octets()[..], &target.octets()[..]].concat();
            let (protocol, body) = transport(rest, payload, &pseudo, ip)?;
            let mut header = (6u32 << 28 | ip.get("tos", 0u32)? << 20).to_be_bytes().to_vec();
            header.extend((body.len() as u16).to_be_bytes());
            header.extend([protocol, ip.get("ttl", 64)?]);
            Ok((0x86dd, [header, pseudo, body].concat()))
        }
        [other, ..] => bail!("`{}`: wanted ipv4, ipv6 or arp here", other.name),
    }
}

fn addresses<A: FromStr>(ip: &Layer<'_>, source: &str, target: &str) -> Result<(A, A)> {
    let of = |field: &str, usual: &str| {
        let text = ip.fields.get(field).copied().unwrap_or(usual).to_owned();
        text.parse::<A>().ok().with_context(|| format!("{} {field}={text} is no address", ip.name))
    };
    Ok((of("src", source)?, of("dst", target)?))
}

fn ipv4_header(ip: &Layer<'_>, protocol: u8, body: usize, addresses: &[u8]) -> Result<Vec<u8>> {
    let flags = if ip.has("mf") { 0x2000 } else { 0 } | if ip.has("df") { 0x4000 } else { 0 };
    let fragment = (ip.get("offset", 0u16)? / 8) | flags;
    let mut header = vec![0x45, ip.get("tos", 0)?];
    header.extend(((20 + body) as u16).to_be_bytes());
    header.extend(ip.get("id", 1u16)?.to_be_bytes());
    header.extend(fragment.to_be_bytes());
    header.extend([ip.get("ttl", 64)?, protocol, 0, 0]);
    header.extend(addresses);
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    Ok(header)
}

/// Protocol number and bytes of what IP carries.
fn transport(layers: &[Layer<'_>], payload: Vec<u8>, pseudo: &[u8], ip: &Layer<'_>) -> Result<(u8, Vec<u8>)> {
    if let [Layer { name: "ipv4" | "ipv6", .. }, ..] = layers {
        // IP in IP (RFC 2003, RFC 2473).
        let (ethertype, inner) = network(layers, payload)?;
        return Ok((if ethertype == 0x0800 { 4 } else { 41 }, inner));
    }
    let [layer] = layers else {
        return match layers {
            [] => Ok((ip.get("proto", 253)?, payload)),
            [_, extra, ..] => bail!("`{}`: nothing can follow the transport layer but a payload", extra.name),
            [_] => unreachable!("one layer is the other arm"),
        };
    };
    let ports =
        [layer.get("sport", 40000u16)?.to_be_bytes(), layer.get("dport", 443u16)?.to_be_bytes()].concat();
    let (protocol, mut body, sum_at) = match layer.name {
        "tcp" => {
            let flags = [("fin", 1u8), ("syn", 2), ("rst", 4), ("psh", 8), ("ack", 16), ("urg", 32)];
            let flags = flags.iter().filter(|(word, _)| layer.has(word)).fold(0, |all, (_, bit)| all | bit);
            let numbers =
                [layer.get("seq", 1u32)?.to_be_bytes(), layer.get("acknr", 0u32)?.to_be_bytes()].concat();
            (6, [ports, numbers, vec![0x50, flags, 0xff, 0xff, 0, 0, 0, 0]].concat(), 16)
        }
        "udp" => (17, [ports, ((8 + payload.len()) as u16).to_be_bytes().to_vec(), vec![0, 0]].concat(), 6),
        "icmp" => {
            let kind = layer.get("type", if ip.name == "ipv4" { 8 } else { 128 })?;
            let id = layer.get("id", 1u16)?.to_be_bytes();
            (
                if ip.name == "ipv4" { 1 } else { 58 },
                vec![kind, layer.get("code", 0)?, 0, 0, id[0], id[1], 0, 1],
                2,
            )
        }
        other => bail!("`{other}`: wanted tcp, udp or icmp here"),
    };
    body.extend(payload);
    // ICMP for IPv4 has no pseudo header (RFC 792).
    let mut covered = pseudo.to_vec();
    covered.extend((body.len() as u32).to_be_bytes());
    covered.extend([0, 0, 0, protocol]);
    let sum = if protocol == 1 { checksum(&[&body]) } else { checksum(&[&covered, &body]) };
    body[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
    Ok((protocol, body))
}

/// RFC 1071; every part but the last has an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for pair in parts.iter().flat_map(|part| part.chunks(2)) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::packet;

    #[test]
    fn a_packet_in_words_has_right_lengths_and_checksums() {
        let bytes = packet("eth / ipv4 src=10.0.0.1 dst=10.0.0.2 / udp sport=1 dport=53 / bytes=4").unwrap();
        assert_eq!(bytes.len(), 14 + 20 + 8 + 4);
        assert_eq!(bytes[12..16], [8, 0, 0x45, 0]);
        assert_eq!(super::checksum(&[&bytes[14..34]]), 0, "the header sums up to nothing");
        assert_eq!(bytes[38..40], [0, 12]);
    }

    #[test]
    fn a_wrong_word_is_named() {
        let error = packet("eth / ipv4 src=10.0.0 / tcp").unwrap_err().to_string();
        assert_eq!(error, "ipv4 src=10.0.0 is no address");
        assert!(packet("eth / ipv4 / sctp").unwrap_err().to_string().contains("wanted tcp, udp or icmp"));
    }
}
