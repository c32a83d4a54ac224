//! Arithmetic: the table of operations with their bits, text and meaning (RFC 9669, section 4.1).

/// Declares [`AluOp`] from rows of `Name = bits, off, "symbol", 64-bit meaning, 32-bit meaning`.
macro_rules! alu_ops {
    ($( $(#[$doc:meta])* $name:ident = $bits:literal, off $off:literal, $symbol:literal,
        $on64:expr, $on32:expr; )+) => {
        /// A binary arithmetic operation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum AluOp { $( $(#[$doc])* $name, )+ }

        impl AluOp {
            /// Every operation, in table order.
            pub const ALL: &[AluOp] = &[$( AluOp::$name, )+];

            /// The operation bits of the opcode (upper four).
            pub const fn bits(self) -> u8 {
                match self { $( AluOp::$name => $bits, )+ }
            }

            /// What the offset field must hold; it tells signed from unsigned division.
            pub const fn off(self) -> i16 {
                match self { $( AluOp::$name => $off, )+ }
            }

            /// The assignment operator that the assembler writes, such as `+=` or `s/=`.
            pub const fn symbol(self) -> &'static str {
                match self { $( AluOp::$name => $symbol, )+ }
            }

            /// The operation with these opcode bits and offset.
            pub const fn from_bits(bits: u8, off: i16) -> Option<AluOp> {
                match (bits, off) { $( ($bits, $off) => Some(AluOp::$name), )+ _ => None }
            }

            /// The 64-bit result.
            pub fn eval64(self, dst: u64, src: u64) -> u64 {
                match self { $( AluOp::$name => { let f: fn(u64, u64) -> u64 = $on64; f(dst, src) } )+ }
            }

            /// The 32-bit result, which zero-extends into the register.
            pub fn eval32(self, dst: u32, src: u32) -> u32 {
                match self { $( AluOp::$name => { let f: fn(u32, u32) -> u32 = $on32; f(dst, src) } )+ }
            }
        }
    };
}

alu_ops! {
    /// Wrapping addition.
    Add = 0x00, off 0, "+=", |d, s| d.wrapping_add(s), |d, s| d.wrapping_add(s);
    /// Wrapping subtraction.
    Sub = 0x10, off 0, "-=", |d, s| d.wrapping_sub(s), |d, s| d.wrapping_sub(s);
    /// Wrapping multiplication.
    Mul = 0x20, off 0, "*=", |d, s| d.wrapping_mul(s), |d, s| d.wrapping_mul(s);
    /// Unsigned division. Dividing by zero gives zero; it does not fault.
    Div = 0x30, off 0, "/=", |d, s| d.checked_div(s).unwrap_or(0), |d, s| d.checked_div(s).unwrap_or(0);
    /// Signed division (cpu v4). By zero it gives zero; the smallest number by -1 gives itself.
    SDiv = 0x30, off 1, "s/=",
        |d, s| if s == 0 { 0 } else { (d as i64).wrapping_div(s as i64) as u64 },
        |d, s| if s == 0 { 0 } else { (d as i32).wrapping_div(s as i32) as u32 };
    /// Bitwise or.
    Or = 0x40, off 0, "|=", |d, s| d | s, |d, s| d | s;
    /// Bitwise and.
    And = 0x50, off 0, "&=", |d, s| d & s, |d, s| d & s;
    /// Left shift; the amount is taken modulo the width.
    Lsh = 0x60, off 0, "<<=", |d, s| d.wrapping_shl(s as u32), |d, s| d.wrapping_shl(s);
    /// Logical right shift; the amount is taken modulo the width.
    Rsh = 0x70, off 0, ">>=", |d, s| d.wrapping_shr(s as u32), |d, s| d.wrapping_shr(s);
    /// Unsigned remainder. The remainder by zero is the dividend itself.
    Mod = 0x90, off 0, "%=", |d, s| d.checked_rem(s).unwrap_or(d), |d, s| d.checked_rem(s).unwrap_or(d);
    /// Signed remainder (cpu v4), with the sign of the dividend. By zero it is the dividend.
    SMod = 0x90, off 1, "s%=",
        |d, s| if s == 0 { d } else { (d as i64).wrapping_rem(s as i64) as u64 },
        |d, s| if s == 0 { d } else { (d as i32).wrapping_rem(s as i32) as u32 };
    /// Bitwise exclusive or.
    Xor = 0xa0, off 0, "^=", |d, s| d ^ s, |d, s| d ^ s;
    /// Arithmetic right shift; the amount is taken modulo the width.
    Arsh = 0xc0, off 0, "s>>=",
        |d, s| (d as i64).wrapping_shr(s as u32) as u64,
        |d, s| (d as i32).wrapping_shr(s) as u32;
}

#[cfg(test)]
mod tests {
    use super::AluOp;

    #[test]
    fn division_never_faults() {
        assert_eq!(AluOp::Div.eval64(7, 0), 0);
        assert_eq!(AluOp::Mod.eval64(7, 0), 7);
        assert_eq!(AluOp::SDiv.eval32(i32::MIN as u32, -1i32 as u32), i32::MIN as u32);
        assert_eq!(AluOp::SMod.eval64(i64::MIN as u64, -1i64 as u64), 0);
    }

    #[test]
    fn shifts_take_the_amount_modulo_the_width() {
        assert_eq!(AluOp::Lsh.eval32(1, 33), 2);
        assert_eq!(AluOp::Rsh.eval64(4, 65), 2);
        assert_eq!(AluOp::Arsh.eval64(u64::MAX << 4, 66), u64::MAX << 2);
    }
}
