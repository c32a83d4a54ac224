//! Text to numbers, and comparing text (kernel/bpf/helpers.c, lib/kstrtox.c, 6.18).

use weir_ebpf::abi::Errno;

use super::call::Call;

/// Digits that are looked at, as in the kernel.
const DIGITS_MAX: usize = 63;

/// A number found in text: whether a minus stood before it, its size, and how many bytes were read.
struct Found {
    negative: bool,
    number: u64,
    consumed: u64,
}

pub(super) fn strtol(call: &mut Call<'_>) -> Result<u64, Errno> {
    let result = call.fixed(3);
    result.clear();
    let found = parse(&call.memory(0).to_vec(), call.u64(2))?;
    let value = if found.negative { found.number.wrapping_neg() } else { found.number } as i64;
    let fits = if found.negative { value <= 0 } else { value >= 0 };
    if !fits {
        return Err(Errno::ERANGE);
    }
    result.write(0, &value.to_ne_bytes());
    Ok(found.consumed)
}

pub(super) fn strtoul(call: &mut Call<'_>) -> Result<u64, Errno> {
    let result = call.fixed(3);
    result.clear();
    let found = parse(&call.memory(0).to_vec(), call.u64(2))?;
    if found.negative {
        return Err(Errno::EINVAL);
    }
    result.write(0, &found.number.to_ne_bytes());
    Ok(found.consumed)
}

/// `__bpf_strtoull`.
fn parse(text: &[u8], flags: u64) -> Result<Found, Errno> {
    if !matches!(flags, 0 | 8 | 10 | 16) {
        return Err(Errno::EINVAL);
    }
    let spaces = text.iter().take_while(|byte| is_space(**byte)).count();
    let negative = text.get(spaces) == Some(&b'-');
    let start = spaces + usize::from(negative);
    let digits = &text[start..text.len().min(start + DIGITS_MAX)];
    if digits.is_empty() {
        return Err(Errno::EINVAL);
    }
    let (prefix, base) = radix(digits, flags as u32);
    let mut number: u64 = 0;
    let mut count = 0;
    for digit in digits[prefix..].iter().map_while(|byte| char::from(*byte).to_digit(base)) {
        let next = number.checked_mul(u64::from(base)).and_then(|n| n.checked_add(u64::from(digit)));
        number = next.ok_or(Errno::ERANGE)?;
        count += 1;
    }
    if count == 0 {
        return Err(Errno::EINVAL);
    }
    Ok(Found { negative, number, consumed: (start + prefix + count) as u64 })
}

/// How long the prefix is and which base the digits after it have (`_parse_integer_fixup_radix`).
fn radix(digits: &[u8], wanted: u32) -> (usize, u32) {
    let hex = matches!(digits, [b'0', b'x' | b'X', ..]);
    let base = match (wanted, digits) {
        (0, [b'0', b'x' | b'X', digit, ..]) if digit.is_ascii_hexdigit() => 16,
        (0, [b'0', ..]) => 8,
        (0, _) => 10,
        (base, _) => base,
    };
    (if base == 16 && hex { 2 } else { 0 }, base)
}

/// The kernel's `isspace`: ASCII, with the vertical tab and Latin-1's no-break space.
fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ' | 0xa0)
}

/// `bpf_strncmp`: the second text lies in a read-only map and ends with a zero.
pub(super) fn strncmp(call: &mut Call<'_>) -> i64 {
    let first = call.memory(0).to_vec();
    let second = call.pointer(2);
    for (index, &one) in first.iter().enumerate() {
        // SAFETY: the signature promises text with a terminator; no byte after a zero is read, because a
        // zero either differs or ends the comparison.
        let other = unsafe { second.add(index).read() };
        if one != other {
            return if one < other { -1 } else { 1 };
        }
        if one == 0 {
            return 0;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_the_kernel_reads_them() {
        let read =
            |text: &str, base| parse(text.as_bytes(), base).map(|f| (f.negative, f.number, f.consumed));
        assert_eq!(read("  42x", 0), Ok((false, 42, 4)));
        assert_eq!(read("-0x1F", 0), Ok((true, 31, 5)));
        assert_eq!(read("0x1F", 16), Ok((false, 31, 4)));
        assert_eq!(read("017", 0), Ok((false, 15, 3)));
        assert_eq!(read("0x", 0), Ok((false, 0, 1)));
        assert_eq!(read("18446744073709551616", 10), Err(Errno::ERANGE));
        assert_eq!(read("", 0), Err(Errno::EINVAL));
        assert_eq!(read("-", 10), Err(Errno::EINVAL));
        assert_eq!(read("9", 8), Err(Errno::EINVAL));
        assert_eq!(read("1", 2), Err(Errno::EINVAL));
    }
}
