//! Checksum helpers (net/core/filter.c, include/net/checksum.h, 6.18).

use weir_ebpf::abi::Errno;

use super::call::{Call, Memory};

/// `BPF_F_*` of the replacing helpers.
mod flag {
    pub(super) const FIELD_MASK: u64 = 0xf;
    pub(super) const PSEUDO_HEADER: u64 = 1 << 4;
    pub(super) const MARK_MANGLED_0: u64 = 1 << 5;
    pub(super) const MARK_ENFORCE: u64 = 1 << 6;
    pub(super) const IPV6: u64 = 1 << 7;
}

pub(super) fn l3_replace(call: &mut Call<'_>) -> Result<(), Errno> {
    let (offset, from, to, flags) = (call.u32(1), call.u64(2), call.u64(3), call.u64(4));
    if flags & !flag::FIELD_MASK != 0 {
        return Err(Errno::EINVAL);
    }
    let sum = read(call, offset)?;
    let sum = replaced(sum, from, to, flags, false)?;
    write(call, offset, sum);
    Ok(())
}

pub(super) fn l4_replace(call: &mut Call<'_>) -> Result<(), Errno> {
    const ALLOWED: u64 =
        flag::FIELD_MASK | flag::PSEUDO_HEADER | flag::MARK_MANGLED_0 | flag::MARK_ENFORCE | flag::IPV6;
    let (offset, from, to, flags) = (call.u32(1), call.u64(2), call.u64(3), call.u64(4));
    if flags & !ALLOWED != 0 {
        return Err(Errno::EINVAL);
    }
    let sum = read(call, offset)?;
    let mangles = flags & flag::MARK_MANGLED_0 != 0;
    if mangles && flags & flag::MARK_ENFORCE == 0 && sum == 0 {
        return Ok(());
    }
    let sum = replaced(sum, from, to, flags, true)?;
    write(call, offset, if mangles && sum == 0 { 0xffff } else { sum });
    Ok(())
}

/// The checksum field at an offset, as it lies in memory.
fn read(call: &mut Call<'_>, offset: u32) -> Result<u16, Errno> {
    if offset > 0xffff || offset & 1 != 0 {
        return Err(Errno::EFAULT);
    }
    let at = offset as usize;
    let field = call.context().packet().get(at..at + 2).ok_or(Errno::EFAULT)?;
    Ok(u16::from_ne_bytes([field[0], field[1]]))
}

fn write(call: &mut Call<'_>, offset: u32, sum: u16) {
    let at = offset as usize;
    call.context().packet_mut()[at..at + 2].copy_from_slice(&sum.to_ne_bytes());
}

/// The checksum after a field of 2 or 4 bytes went `from` one value `to` another, or (0) after a
/// difference `to` was made. At layer 4 two bytes are replaced as four.
fn replaced(sum: u16, from: u64, to: u64, flags: u64, layer4: bool) -> Result<u16, Errno> {
    match flags & flag::FIELD_MASK {
        0 if from != 0 => Err(Errno::EINVAL),
        0 => Ok(fold(add(to as u32, !u32::from(sum)))),
        2 if layer4 => Ok(replace4(sum, u32::from(from as u16), u32::from(to as u16))),
        2 => Ok(replace2(sum, from as u16, to as u16)),
        4 => Ok(replace4(sum, from as u32, to as u32)),
        _ => Err(Errno::EINVAL),
    }
}

fn replace4(sum: u16, from: u32, to: u32) -> u16 {
    let without = add(!u32::from(sum), !from);
    fold(add(without, to))
}

fn replace2(sum: u16, from: u16, to: u16) -> u16 {
    !add16(add16(!sum, !from), to)
}

/// One's complement addition: the carry comes back in at the bottom.
fn add(a: u32, b: u32) -> u32 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u32::from(carry)
}

fn add16(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u16::from(carry)
}

/// A 32-bit sum as the checksum field holds it (`csum_fold`).
fn fold(sum: u32) -> u16 {
    !from32to16(sum)
}

fn from32to16(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}

/// The sum of a memory's 32-bit words, the last one filled up with zeros, and a seed
/// (`csum_partial`).
fn partial(memory: &Memory, seed: u32) -> u32 {
    let mut sum = u64::from(seed);
    for offset in (0..memory.len()).step_by(4) {
        sum += u64::from(u32::from_ne_bytes(memory.array(offset)));
    }
    while sum >> 32 != 0 {
        sum = (sum & 0xffff_ffff) + (sum >> 32);
    }
    sum as u32
}

pub(super) fn diff(call: &mut Call<'_>) -> u32 {
    let (from, to, seed) = (call.memory(0), call.memory(2), call.u32(4));
    let sum = match (from.len(), to.len()) {
        (0, 0) => seed,
        (0, _) => partial(&to, seed),
        (_, 0) => !partial(&from, !seed),
        _ => add(partial(&to, seed), !partial(&from, 0)),
    };
    u32::from(from32to16(sum))
}

/// Only a packet with `CHECKSUM_COMPLETE` has a sum to add to; none has here.
pub(super) fn update(_call: &mut Call<'_>) -> Errno {
    Errno::ENOTSUPP
}

pub(super) fn level(call: &mut Call<'_>) -> Result<u32, Errno> {
    const QUERY: u64 = 0;
    const INC: u64 = 1;
    const DEC: u64 = 2;
    const RESET: u64 = 3;
    const LEVEL_MAX: u8 = 3;
    let wanted = call.u64(1);
    let levels = &mut call.context().skb.checked_levels;
    *levels = match (wanted, *levels) {
        (QUERY, Some(level)) => return Ok(u32::from(level)),
        (QUERY, None) => return Err(Errno::EACCES),
        (INC, Some(level)) => Some((level + 1).min(LEVEL_MAX)),
        (INC, None) => Some(0),
        (DEC, Some(level)) => level.checked_sub(1),
        (DEC | RESET, _) => None,
        _ => return Err(Errno::EINVAL),
    };
    Ok(0)
}
