//! Map entries and constants as people write them, turned into bytes by their BTF types.
//!
//! Numbers are little endian, but big endian where the C type says so (`__be16`, `__be32`, `__be64`).
//! Texts stand for what network people write: addresses, prefixes (keys of LPM tries), link addresses,
//! protocols, verdicts, classids, and `hex:` for bytes. Tables name members of a structure; members
//! that are left out are zero.

use std::net::IpAddr;

use ipnet::IpNet;
use toml::Value;
use weir_ebpf::abi::{MapKind, XdpAction};
use weir_object::Btf;
use weir_object::btf::{Composite, Kind, TypeId};

use crate::config::{ClassId, parse_mac};

/// How deep types may lie in each other; a hostile BTF may be endless.
const DEPTH_MAX: usize = 16;

/// A type and its size: what a value is to become.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'b> {
    /// The object's types, when it has any.
    pub types: Option<(&'b Btf, TypeId)>,
    /// Bytes of the whole.
    pub size: usize,
}

/// The key of a map of this kind.
pub fn encode_key(kind: MapKind, wanted: Wanted<'_>, value: &Value) -> Result<Vec<u8>, String> {
    match value {
        Value::String(text) if kind == MapKind::LpmTrie => {
            let prefix: IpNet = text.parse().map_err(|_| {
                format!("`{text}` is no prefix: wanted ADDRESS/LENGTH, such as \"192.0.2.0/24\"")
            })?;
            lpm_key(prefix, wanted.size)
        }
        _ => encode(wanted, value),
    }
}

/// `struct bpf_lpm_trie_key`: the length in 32 bits, then the address.
fn lpm_key(prefix: IpNet, size: usize) -> Result<Vec<u8>, String> {
    let mut key = u32::from(prefix.prefix_len()).to_le_bytes().to_vec();
    match prefix.network() {
        IpAddr::V4(address) => key.extend(address.octets()),
        IpAddr::V6(address) => key.extend(address.octets()),
    }
    if key.len() == size {
        return Ok(key);
    }
    Err(format!("{prefix} makes a key of {} bytes, and the map's keys have {size}", key.len()))
}

/// Any other value.
pub fn encode(wanted: Wanted<'_>, value: &Value) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; wanted.size];
    match wanted.types {
        Some((btf, id)) => fill(btf, id, value, &mut bytes, 0)?,
        None => fill_plain(value, false, &mut bytes)?,
    }
    Ok(bytes)
}

fn fill(btf: &Btf, id: TypeId, value: &Value, into: &mut [u8], depth: usize) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err("the type is nested too deeply".to_owned());
    }
    let big_endian = is_big_endian(btf, id);
    match (btf.kind(btf.strip(id)), value) {
        (Kind::Struct(composite) | Kind::Union(composite), Value::Table(table)) => {
            for (name, value) in table {
                fill_member(btf, composite, name, value, into, depth)?;
            }
            Ok(())
        }
        (Kind::Array { element, length, .. }, Value::Array(values)) => {
            if values.len() > *length as usize {
                return Err(format!("{} values for an array of {length}", values.len()));
            }
            let each = into.len().checked_div(*length as usize).unwrap_or(0);
            for (slot, value) in into.chunks_exact_mut(each.max(1)).zip(values) {
                fill(btf, *element, value, slot, depth + 1)?;
            }
            Ok(())
        }
        (Kind::Enum(names), Value::String(text)) => {
            let found = names.values.iter().find(|name| btf.text(name.name) == text);
            let found = found.ok_or_else(|| format!("`{text}` is no name of enum {}", btf.name(id)))?;
            put_number(found.value.into(), false, into)
        }
        _ => fill_plain(value, big_endian, into),
    }
}

fn fill_member(
    btf: &Btf,
    composite: &Composite,
    name: &str,
    value: &Value,
    into: &mut [u8],
    depth: usize,
) -> Result<(), String> {
    let names = || composite.members.iter().map(|member| btf.text(member.name)).collect::<Vec<_>>();
    let member = composite.members.iter().find(|member| btf.text(member.name) == name).ok_or_else(|| {
        format!("there is no member `{name}`; there is {}", crate::config::listed(&names()))
    })?;
    if member.bits != 0 {
        return Err(format!("member `{name}` is a bit field: write the whole as \"hex:…\""));
    }
    let start = (member.bit_offset / 8) as usize;
    let size = btf.size_of(member.of).unwrap_or(0) as usize;
    let place = into
        .get_mut(start..start.saturating_add(size))
        .ok_or_else(|| format!("member `{name}` lies outside its structure"))?;
    fill(btf, member.of, value, place, depth + 1).map_err(|why| format!("{name}: {why}"))
}

/// Whether a typedef on the way says that the number is in network byte order.
fn is_big_endian(btf: &Btf, id: TypeId) -> bool {
    let mut id = id;
    for _ in 0..DEPTH_MAX {
        if matches!(btf.name(id), "__be16" | "__be32" | "__be64") {
            return true;
        }
        match btf.kind(id) {
            Kind::Typedef(of) | Kind::Const(of) | Kind::Volatile(of) | Kind::Restrict(of) => id = *of,
            Kind::Array { element, .. } => id = *element,
            _ => return false,
        }
    }
    false
}

/// A value without structure.
fn fill_plain(value: &Value, big_endian: bool, into: &mut [u8]) -> Result<(), String> {
    match value {
        Value::Integer(number) => put_number((*number).into(), big_endian, into),
        Value::Boolean(truth) => put_number(i128::from(*truth), big_endian, into),
        Value::String(text) => put_text(text, big_endian, into),
        Value::Array(_) | Value::Table(_) | Value::Float(_) | Value::Datetime(_) => Err(format!(
            "found {}, wanted a number or a text for {} bytes (structures need an object with BTF)",
            value.type_str(),
            into.len()
        )),
    }
}

fn put_number(number: i128, big_endian: bool, into: &mut [u8]) -> Result<(), String> {
    let size = into.len();
    let bits = (size * 8) as u32;
    let fits = bits >= 64 || (number < 1 << bits && number >= -(1 << (bits.max(1) - 1)));
    if !fits {
        return Err(format!("{number} does not fit in {size} bytes"));
    }
    let bytes = number.to_le_bytes();
    let padding = if number < 0 { 0xff } else { 0 };
    for (at, byte) in into.iter_mut().enumerate() {
        *byte = bytes.get(at).copied().unwrap_or(padding);
    }
    if big_endian {
        into.reverse();
    }
    Ok(())
}

fn put_text(text: &str, big_endian: bool, into: &mut [u8]) -> Result<(), String> {
    if let Some(digits) = text.strip_prefix("hex:") {
        let bytes =
            hex(digits).ok_or_else(|| format!("`{text}` is not hexadecimal: wanted pairs of digits"))?;
        return put_bytes(&bytes, text, into, false);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return match address {
            IpAddr::V4(address) => put_bytes(&address.octets(), text, into, true),
            IpAddr::V6(address) => put_bytes(&address.octets(), text, into, false),
        };
    }
    if let Some(mac) = parse_mac(text) {
        return put_bytes(&mac, text, into, false);
    }
    let protocol = match text {
        "icmp" => Some(1),
        "tcp" => Some(6),
        "udp" => Some(17),
        "icmpv6" => Some(58),
        "sctp" => Some(132),
        _ => None,
    };
    let verdict = XdpAction::ALL.iter().find(|action| action.name() == text).map(|action| *action as i128);
    let classid = ClassId::try_from(text.to_owned()).ok().map(|id| i128::from(id.0));
    let number = protocol.or(verdict).or(classid).or_else(|| {
        let digits = text.strip_prefix("0x")?;
        i128::from_str_radix(digits, 16).ok()
    });
    match number {
        Some(number) => put_number(number, big_endian, into),
        None => Err(format!(
            "`{text}` is not understood: wanted a number, an address, a protocol (tcp, udp, icmp, icmpv6, sctp), \
             a verdict (XDP_PASS …), a classid (1:10) or hex:BYTES"
        )),
    }
}

/// Bytes as they are; an IPv4 address may stand at the front of a wider place.
fn put_bytes(bytes: &[u8], text: &str, into: &mut [u8], may_pad: bool) -> Result<(), String> {
    let size = into.len();
    if bytes.len() == size || (may_pad && bytes.len() < size) {
        into[..bytes.len()].copy_from_slice(bytes);
        return Ok(());
    }
    Err(format!("`{text}` makes {} bytes, and {size} are wanted", bytes.len()))
}

/// Pairs of hexadecimal digits, spaces between them allowed.
pub fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let (pairs, rest) = digits.as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(size: usize, value: impl Into<Value>) -> Result<Vec<u8>, String> {
        encode(Wanted { types: None, size }, &value.into())
    }

    #[test]
    fn plain_values_are_little_endian_and_must_fit() {
        assert_eq!(plain(4, 258), Ok(vec![2, 1, 0, 0]));
        assert_eq!(plain(2, -2), Ok(vec![0xfe, 0xff]));
        assert_eq!(plain(8, "XDP_PASS"), Ok(vec![2, 0, 0, 0, 0, 0, 0, 0]));
        assert_eq!(plain(4, "1:10"), Ok(vec![0x10, 0, 1, 0]));
        assert_eq!(plain(1, 256).unwrap_err(), "256 does not fit in 1 bytes");
    }

    #[test]
    fn texts_are_what_network_people_write() {
        assert_eq!(plain(4, "192.0.2.1"), Ok(vec![192, 0, 2, 1]));
        assert_eq!(plain(6, "02:00:00:00:00:ff"), Ok(vec![2, 0, 0, 0, 0, 0xff]));
        assert_eq!(plain(3, "hex:01 02 03"), Ok(vec![1, 2, 3]));
        assert!(plain(4, "blue").unwrap_err().contains("not understood"));
    }

    #[test]
    fn prefixes_are_keys_of_tries() {
        let wanted = Wanted { types: None, size: 8 };
        let key = encode_key(MapKind::LpmTrie, wanted, &Value::from("198.51.100.7/24"));
        assert_eq!(key, Ok(vec![24, 0, 0, 0, 198, 51, 100, 0]));
        let error = encode_key(MapKind::LpmTrie, wanted, &Value::from("2001:db8::/32")).unwrap_err();
        assert_eq!(error, "2001:db8::/32 makes a key of 20 bytes, and the map's keys have 8");
    }
}
