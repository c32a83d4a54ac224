//! Formats of `bpf_trace_printk` and `bpf_snprintf` (`bpf_bprintf_prepare`, kernel/bpf/helpers.c, 6.18): what they
//! are made of. The verifier counts their conversions, the helpers print them.

/// A piece of a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'f> {
    /// A byte that stands for itself.
    Byte(u8),
    /// A conversion, which takes an argument.
    Conversion(Conversion<'f>),
}

/// One conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conversion<'f> {
    /// `0`, `+`, `-` and spaces.
    pub flags: &'f [u8],
    /// Bytes to fill up to.
    pub width: usize,
    /// What it prints.
    pub what: What,
}

/// What a conversion prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A number of so many bits.
    Number {
        /// 32 or 64.
        bits: u32,
        /// One of `d`, `i`, `u`, `x`, `X`.
        letter: u8,
    },
    /// A byte.
    Char,
    /// An address.
    Pointer,
    /// The text at an address.
    Text,
    /// An IP address at an address.
    Address {
        /// Of version 6.
        v6: bool,
        /// With marks between its parts.
        dots: bool,
    },
}

/// A format that is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadFormat;

/// The pieces of a format up to its terminator, which it need not have.
pub fn pieces(format: &[u8]) -> impl Iterator<Item = Result<Piece<'_>, BadFormat>> {
    let end = format.iter().position(|byte| *byte == 0).unwrap_or(format.len());
    let mut rest = &format[..end];
    std::iter::from_fn(move || {
        let (&byte, after) = rest.split_first()?;
        let piece = piece(byte, after);
        rest = piece.map_or(&[], |(_, rest)| rest);
        Some(piece.map(|(piece, _)| piece).ok_or(BadFormat))
    })
}

/// How many arguments a format takes.
pub fn conversions(format: &[u8]) -> Result<usize, BadFormat> {
    let counted = pieces(format).map(|piece| Ok(usize::from(matches!(piece?, Piece::Conversion(_)))));
    counted.sum()
}

fn piece(byte: u8, after: &[u8]) -> Option<(Piece<'_>, &[u8])> {
    if !byte.is_ascii_graphic() && !matches!(byte, b' ' | b'\t'..=b'\r') {
        return None;
    }
    if byte != b'%' {
        return Some((Piece::Byte(byte), after));
    }
    if let Some(after) = after.strip_prefix(b"%") {
        return Some((Piece::Byte(b'%'), after));
    }
    let flags = after.iter().take_while(|byte| matches!(byte, b'0' | b'+' | b'-' | b' ')).count();
    let (flags, after) = after.split_at(flags);
    let digits = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (width, after) = after.split_at(digits);
    let digit = |width: usize, digit: &u8| width.saturating_mul(10).saturating_add(usize::from(digit - b'0'));
    let width = width.iter().fold(0, digit);
    let (what, after) = what(after)?;
    Some((Piece::Conversion(Conversion { flags, width, what }), after))
}

fn what(text: &[u8]) -> Option<(What, &[u8])> {
    let number = |bits, letter: u8| {
        matches!(letter, b'd' | b'i' | b'u' | b'x' | b'X').then_some(What::Number { bits, letter })
    };
    match text {
        [b'p', b'i' | b'I', b'4', rest @ ..] => {
            Some((What::Address { v6: false, dots: text[1] == b'I' }, rest))
        }
        [b'p', b'i' | b'I', b'6', rest @ ..] => {
            Some((What::Address { v6: true, dots: text[1] == b'I' }, rest))
        }
        [b'p', b'k' | b'u', b's', rest @ ..] | [b's', rest @ ..] => Some((What::Text, rest)),
        [b'p', b'K' | b'x' | b's' | b'S' | b'B', rest @ ..] => Some((What::Pointer, rest)),
        [b'p', rest @ ..] if rest.first().is_none_or(|next| !next.is_ascii_alphanumeric()) => {
            Some((What::Pointer, rest))
        }
        [b'c', rest @ ..] => Some((What::Char, rest)),
        [b'l', b'l', letter, rest @ ..] | [b'l', letter, rest @ ..] => Some((number(64, *letter)?, rest)),
        [letter, rest @ ..] => Some((number(32, *letter)?, rest)),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_are_counted_and_others_refused() {
        assert_eq!(conversions(b"100%% of %d and %-5llu: %pI4\0%d"), Ok(3));
        assert_eq!(conversions(b""), Ok(0));
        for bad in ["%", "%q", "%lc", "%5", "\x01", "\u{e9}", "%pQ", "%f"] {
            assert_eq!(conversions(bad.as_bytes()), Err(BadFormat), "{bad}");
        }
    }
}
