//! The kernel's configuration, which externs of `.kconfig` ask for.
//!
//! What describes weir itself is answered the same everywhere ([`OWN`]); the rest is the caller's to give,
//! as text in the form of `/proc/config.gz` (libbpf: `bpf_object__read_kconfig_file`). Nothing is read here.

use std::collections::HashMap;

use crate::btf::{Btf, Kind, TypeId};

/// Answers to `CONFIG_…` by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelConfig(HashMap<String, String>);

/// What is true of weir, on whatever kernel it runs. `HZ` is the rate of `bpf_jiffies64`.
const OWN: &[(&str, &str)] = &[
    ("CONFIG_64BIT", "y"),
    ("CONFIG_BPF", "y"),
    ("CONFIG_BPF_JIT", "y"),
    ("CONFIG_BPF_SYSCALL", "y"),
    ("CONFIG_HZ", "250"),
    ("CONFIG_INET", "y"),
    ("CONFIG_IPV6", "y"),
    ("CONFIG_NET", "y"),
    ("CONFIG_NET_CLS_ACT", "y"),
    ("CONFIG_NET_CLS_BPF", "y"),
    ("CONFIG_X86_64", "y"),
    ("CONFIG_XDP_SOCKETS", "y"),
];

/// Longest name or value that is kept.
const LINE_MAX: usize = 4096;

impl KernelConfig {
    /// Reads lines `CONFIG_NAME=value`; others are comments.
    pub fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let (name, value) = line.trim_end().split_once('=')?;
            let kept = name.starts_with("CONFIG_") && line.len() <= LINE_MAX;
            kept.then(|| (name.to_owned(), value.to_owned()))
        };
        Self(text.lines().filter_map(line).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        let own = OWN.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        own.or_else(|| self.0.get(name).map(String::as_str))
    }
}

/// What a variable of `.kconfig` takes, by its type (libbpf: `find_kcfg_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// `y` or `n`, as 1 or 0.
    Bool,
    /// `y`, `n` or `m` as the letter, or a number.
    Char,
    /// `y`, `n` or `m` as 1, 0 or 2.
    Tristate,
    /// A number.
    Integer {
        /// Whether it may be negative.
        signed: bool,
    },
    /// Text between quotes.
    Text,
    /// Nothing that a configuration holds.
    Other,
}

impl Taken {
    /// By the variable's type.
    pub(crate) fn of(btf: &Btf, of: TypeId) -> Self {
        let of = btf.strip(of);
        match btf.kind(of) {
            Kind::Int(int) if int.bool && int.size == 1 => Taken::Bool,
            Kind::Int(int) if int.size == 1 => Taken::Char,
            Kind::Int(int) => Taken::Integer { signed: int.signed },
            Kind::Enum(_) if btf.name(of) == "libbpf_tristate" => Taken::Tristate,
            Kind::Array { element, .. } => match btf.kind(btf.strip(*element)) {
                Kind::Int(int) if int.size == 1 => Taken::Text,
                _ => Taken::Other,
            },
            _ => Taken::Other,
        }
    }

    /// The variable's bytes for this answer; `None` when it is of another type or does not fit.
    fn bytes(self, value: &str, size: usize) -> Option<Vec<u8>> {
        let number = |number: i128, signed: bool| {
            let bits = 8 * size.min(8) as u32;
            let (least, most) = match signed {
                true => (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1),
                false => (0, (1i128 << bits) - 1),
            };
            (least..=most).contains(&number).then(|| number.to_le_bytes()[..size.min(8)].to_vec())
        };
        match (self, value) {
            (Taken::Bool | Taken::Tristate, "n") => number(0, false),
            (Taken::Bool | Taken::Tristate, "y") => number(1, false),
            (Taken::Tristate, "m") => number(2, false),
            (Taken::Char, "y" | "n" | "m") => Some(value.as_bytes().to_vec()),
            (Taken::Char, value) => number(integer(value)?, false),
            (Taken::Integer { signed }, value) => number(integer(value)?, signed),
            (Taken::Text, value) => {
                let text = value.strip_prefix('"')?.strip_suffix('"')?;
                // The last byte stays the terminator.
                Some(text.bytes().take(size.saturating_sub(1)).collect())
            }
            (Taken::Bool | Taken::Tristate | Taken::Other, _) => None,
        }
    }
}

/// A number as configurations write them: decimal, octal after a 0, hexadecimal after `0x`.
fn integer(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let number = match (digits.strip_prefix("0x"), digits.strip_prefix('0')) {
        (Some(hex), _) => i128::from(u64::from_str_radix(hex, 16).ok()?),
        (None, Some(octal)) if !octal.is_empty() => i128::from(u64::from_str_radix(octal, 8).ok()?),
        _ => i128::from(digits.parse::<u64>().ok()?),
    };
    Some(sign * number)
}

/// The bytes of the variable with this name, when the configuration answers for it.
pub(crate) fn answer(config: &KernelConfig, name: &str, taken: Taken, size: usize) -> Option<Vec<u8>> {
    taken.bytes(config.get(name)?, size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_those_of_libbpf() {
        let text = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_M=m\nCONFIG_N=0x10\nCONFIG_S=\"six\"\nCONFIG_HZ=1000\n";
        let config = KernelConfig::parse(text);
        let unsigned = Taken::Integer { signed: false };
        let cases = [
            ("CONFIG_A", Taken::Bool, 1, Some(&b"\x01"[..])),
            ("CONFIG_A", Taken::Char, 1, Some(b"y")),
            ("CONFIG_A", unsigned, 4, None),
            ("CONFIG_B", Taken::Bool, 1, None),
            ("CONFIG_M", Taken::Bool, 1, None),
            ("CONFIG_M", Taken::Tristate, 4, Some(b"\x02\0\0\0")),
            ("CONFIG_N", unsigned, 2, Some(b"\x10\0")),
            ("CONFIG_S", Taken::Text, 3, Some(b"si")),
            ("CONFIG_S", Taken::Text, 8, Some(b"six")),
            // weir's own, whatever the machine has; and it does not fit a byte's sign.
            ("CONFIG_HZ", unsigned, 1, Some(b"\xfa")),
            ("CONFIG_HZ", Taken::Integer { signed: true }, 1, None),
        ];
        for (name, taken, size, wanted) in cases {
            let found = answer(&config, name, taken, size);
            assert_eq!(found.as_deref(), wanted, "{name} as {taken:?} of {size}");
        }
    }
}
