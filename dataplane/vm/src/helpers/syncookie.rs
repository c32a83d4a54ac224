//! SYN cookies without a socket (net/core/filter.c, net/ipv4/syncookies.c, net/ipv6/syncookies.c, 6.18): the
//! kernel's cookies in form and in what they carry, with secrets of this process.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use weir_ebpf::abi::Errno;

use super::call::Call;
use crate::env::Clock;

/// Bits of a cookie below the minutes it was made in.
const DATA_BITS: u32 = 24;
const DATA_MASK: u32 = (1 << DATA_BITS) - 1;
/// Minutes that a cookie is good for (`MAX_SYNCOOKIE_AGE`).
const AGE_MAX: u32 = 2;
/// Bytes of a TCP header without options.
const TCP_HEADER: usize = 20;

/// The segment sizes that a cookie can tell, and the one of a SYN that tells none.
struct Sizes {
    table: [u16; 4],
    default: u16,
}

const V4: Sizes = Sizes { table: [536, 1300, 1440, 1460], default: 536 };
const V6: Sizes = Sizes { table: [1280 - 60, 1480 - 60, 1500 - 60, 9000 - 60], default: 1280 - 60 };

/// A connection as the packet's headers name it: addresses and ports as they stand there.
struct Flow {
    addresses: Vec<u8>,
    ports: [u8; 4],
    sequence: u32,
}

impl Flow {
    fn hash(&self, count: u32, secret: usize) -> u32 {
        static SECRETS: LazyLock<[RandomState; 2]> =
            LazyLock::new(|| [RandomState::new(), RandomState::new()]);
        SECRETS[secret].hash_one((&self.addresses, self.ports, count)) as u32
    }

    /// `secure_tcp_syn_cookie`.
    fn cookie(&self, minutes: u32, data: u32) -> u32 {
        let carried = self.hash(minutes, 1).wrapping_add(data) & DATA_MASK;
        let first = self.hash(0, 0).wrapping_add(self.sequence);
        first.wrapping_add(minutes << DATA_BITS).wrapping_add(carried)
    }

    /// What a cookie carries; `None` for one that is too old, or none at all (`check_tcp_syn_cookie`).
    fn carried(&self, cookie: u32, minutes: u32) -> Option<u32> {
        let rest = cookie.wrapping_sub(self.hash(0, 0).wrapping_add(self.sequence));
        let age = minutes.wrapping_sub(rest >> DATA_BITS) & (u32::MAX >> DATA_BITS);
        let made = minutes.wrapping_sub(age);
        (age < AGE_MAX).then(|| rest.wrapping_sub(self.hash(made, 1)) & DATA_MASK)
    }
}

fn minutes(call: &mut Call<'_>) -> u32 {
    const MINUTE_NS: u64 = 60_000_000_000;
    (call.env().now_ns(Clock::Coarse) / MINUTE_NS) as u32
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]))
}

/// The connection of an IP header whose addresses are at `from`, and a TCP header.
fn flow(ip: &[u8], from: usize, tcp: &[u8], sequence: u32) -> Flow {
    Flow { addresses: ip[from..].to_vec(), ports: [tcp[0], tcp[1], tcp[2], tcp[3]], sequence }
}

/// `tcp_parse_mss_option`: the segment size that a SYN's options tell, or 0.
fn told_size(tcp: &[u8]) -> u16 {
    let mut options = tcp.get(TCP_HEADER..).unwrap_or_default();
    loop {
        match *options {
            [] | [0, ..] => return 0,
            [1, ref rest @ ..] => options = rest,
            [2, 4, high, low, ..] if u16::from_be_bytes([high, low]) != 0 => {
                return u16::from_be_bytes([high, low]);
            }
            [_, length, ..] if length >= 2 && usize::from(length) <= options.len() => {
                options = &options[usize::from(length)..];
            }
            _ => return 0,
        }
    }
}

fn generate(call: &mut Call<'_>, sizes: &Sizes, addresses: usize) -> Result<u64, Errno> {
    let (ip, tcp) = (call.fixed(0).to_vec(), call.memory(1).to_vec());
    let length = tcp.get(12).map_or(0, |offset| usize::from(offset >> 4) * 4);
    if tcp.len() < TCP_HEADER || tcp.len() != length {
        return Err(Errno::EINVAL);
    }
    let size = Some(told_size(&tcp)).filter(|size| *size != 0).unwrap_or(sizes.default);
    let index = sizes.table.iter().rposition(|known| size >= *known).unwrap_or(0);
    let minutes = minutes(call);
    let cookie = flow(&ip, addresses, &tcp, word(&tcp, 4)).cookie(minutes, index as u32);
    Ok(u64::from(cookie) | u64::from(sizes.table[index]) << 32)
}

fn check(call: &mut Call<'_>, sizes: &Sizes, addresses: usize) -> Result<(), Errno> {
    let (ip, tcp) = (call.fixed(0).to_vec(), call.fixed(1).to_vec());
    let cookie = word(&tcp, 8).wrapping_sub(1);
    let flow = flow(&ip, addresses, &tcp, word(&tcp, 4).wrapping_sub(1));
    let carried = flow.carried(cookie, minutes(call));
    let known = carried.is_some_and(|index| (index as usize) < sizes.table.len());
    if known { Ok(()) } else { Err(Errno::EACCES) }
}

pub(super) fn generate_v4(call: &mut Call<'_>) -> Result<u64, Errno> {
    generate(call, &V4, 12)
}

pub(super) fn generate_v6(call: &mut Call<'_>) -> Result<u64, Errno> {
    generate(call, &V6, 8)
}

pub(super) fn check_v4(call: &mut Call<'_>) -> Result<(), Errno> {
    check(call, &V4, 12)
}

pub(super) fn check_v6(call: &mut Call<'_>) -> Result<(), Errno> {
    check(call, &V6, 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_known_for_two_minutes_and_by_its_own_flow_alone() {
        let flow = |port: u8| Flow {
            addresses: vec![10, 0, 0, 1, 10, 0, 0, 2],
            ports: [1, 2, 0, port],
            sequence: 77,
        };
        let cookie = flow(80).cookie(9, 3);
        assert_eq!(flow(80).carried(cookie, 9), Some(3));
        assert_eq!(flow(80).carried(cookie, 10), Some(3));
        assert_eq!(flow(80).carried(cookie, 11), None);
        let other = flow(81).carried(cookie, 9);
        assert!(other.is_none_or(|data| data > 3), "one in four million: {other:?}");
    }

    #[test]
    fn the_size_is_found_among_options() {
        let syn = |options: &[u8]| told_size(&[&[0; TCP_HEADER], options].concat());
        assert_eq!(syn(&[2, 4, 5, 0xb4]), 1460);
        assert_eq!(syn(&[1, 1, 3, 3, 7, 2, 4, 4, 0]), 1024);
        assert_eq!(syn(&[]), 0);
        assert_eq!(syn(&[0, 2, 4, 5, 0xb4]), 0);
        assert_eq!(syn(&[8, 10, 1]), 0);
        assert_eq!(syn(&[8, 1, 2, 4, 5, 0xb4]), 0);
    }
}
