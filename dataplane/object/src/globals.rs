//! Values for global variables, fitted to the variable's size.

use crate::error::Fault;

/// A first value for a global variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Global<'v> {
    /// A number, for a variable of 1, 2, 4 or 8 bytes that can hold it, signed or not.
    Number(i128),
    /// Bytes: as many as the variable has, or fewer and then zeros.
    Bytes(&'v [u8]),
}

impl From<u64> for Global<'_> {
    fn from(value: u64) -> Self {
        Global::Number(i128::from(value))
    }
}

impl From<i64> for Global<'_> {
    fn from(value: i64) -> Self {
        Global::Number(i128::from(value))
    }
}

impl From<u32> for Global<'_> {
    fn from(value: u32) -> Self {
        Global::Number(i128::from(value))
    }
}

impl From<bool> for Global<'_> {
    fn from(value: bool) -> Self {
        Global::Number(i128::from(value))
    }
}

impl<'v> From<&'v [u8]> for Global<'v> {
    fn from(value: &'v [u8]) -> Self {
        Global::Bytes(value)
    }
}

/// What a name that takes a value stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// A variable.
    Variable(Variable),
    /// A constant of inline assembly, by index.
    Constant(usize),
}

impl Place {
    /// Its bytes.
    pub(crate) fn size(self) -> u32 {
        match self {
            Place::Variable(variable) => variable.size,
            Place::Constant(_) => CONSTANT_BYTES,
        }
    }
}

/// Bytes of a constant of inline assembly: what a 64-bit load holds.
pub(crate) const CONSTANT_BYTES: u32 = 8;

/// Where a global variable is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variable {
    /// The map of its section, by declaration.
    pub(crate) map: usize,
    /// Bytes from the section's start.
    pub(crate) offset: u32,
    /// Its bytes.
    pub(crate) size: u32,
    /// Whether it is an extern of `.kconfig`.
    pub(crate) external: bool,
}

impl Global<'_> {
    /// The variable's first bytes with this value; zeros follow.
    pub(crate) fn fit(self, name: &str, size: u32) -> Result<Vec<u8>, Fault> {
        let wrong =
            |found: String, wanted: String| Fault::GlobalValue { name: name.to_owned(), found, wanted };
        match self {
            Global::Number(number) => {
                if !matches!(size, 1 | 2 | 4 | 8) {
                    return Err(wrong(format!("the number {number}"), format!("{size} bytes")));
                }
                let bits = size * 8;
                let (least, most) = (-(1i128 << (bits - 1)), (1i128 << bits) - 1);
                if !(least..=most).contains(&number) {
                    return Err(wrong(format!("{number}"), format!("a number from {least} to {most}")));
                }
                Ok(number.to_le_bytes()[..size as usize].to_vec())
            }
            Global::Bytes(bytes) if bytes.len() <= size as usize => Ok(bytes.to_vec()),
            Global::Bytes(bytes) => Err(wrong(format!("{} bytes", bytes.len()), format!("{size} bytes"))),
        }
    }
}
