//! Conditions of branches: the table of bits, text and meaning (RFC 9669, section 4.3).

/// Declares [`Cond`] from rows of `Name = bits, "symbol", 64-bit meaning, 32-bit meaning`.
macro_rules! conditions {
    ($( $(#[$doc:meta])* $name:ident = $bits:literal, $symbol:literal, $on64:expr, $on32:expr; )+) => {
        /// The condition of a branch.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Cond { $( $(#[$doc])* $name, )+ }

        impl Cond {
            /// Every condition, in table order.
            pub const ALL: &[Cond] = &[$( Cond::$name, )+];

            /// The operation bits of the opcode (upper four).
            pub const fn bits(self) -> u8 {
                match self { $( Cond::$name => $bits, )+ }
            }

            /// The comparison operator that the assembler writes, such as `==` or `s>`.
            pub const fn symbol(self) -> &'static str {
                match self { $( Cond::$name => $symbol, )+ }
            }

            /// The condition with these opcode bits.
            pub const fn from_bits(bits: u8) -> Option<Cond> {
                match bits { $( $bits => Some(Cond::$name), )+ _ => None }
            }

            /// Whether the condition holds for 64-bit operands.
            pub fn eval64(self, dst: u64, src: u64) -> bool {
                match self { $( Cond::$name => { let f: fn(u64, u64) -> bool = $on64; f(dst, src) } )+ }
            }

            /// Whether the condition holds for 32-bit operands.
            pub fn eval32(self, dst: u32, src: u32) -> bool {
                match self { $( Cond::$name => { let f: fn(u32, u32) -> bool = $on32; f(dst, src) } )+ }
            }
        }
    };
}

conditions! {
    /// Equal.
    Eq = 0x10, "==", |d, s| d == s, |d, s| d == s;
    /// Unsigned greater.
    Gt = 0x20, ">", |d, s| d > s, |d, s| d > s;
    /// Unsigned greater or equal.
    Ge = 0x30, ">=", |d, s| d >= s, |d, s| d >= s;
    /// Any common bit set.
    Set = 0x40, "&", |d, s| d & s != 0, |d, s| d & s != 0;
    /// Not equal.
    Ne = 0x50, "!=", |d, s| d != s, |d, s| d != s;
    /// Signed greater.
    SGt = 0x60, "s>", |d, s| (d as i64) > s as i64, |d, s| (d as i32) > s as i32;
    /// Signed greater or equal.
    SGe = 0x70, "s>=", |d, s| (d as i64) >= s as i64, |d, s| (d as i32) >= s as i32;
    /// Unsigned less.
    Lt = 0xa0, "<", |d, s| d < s, |d, s| d < s;
    /// Unsigned less or equal.
    Le = 0xb0, "<=", |d, s| d <= s, |d, s| d <= s;
    /// Signed less.
    SLt = 0xc0, "s<", |d, s| (d as i64) < s as i64, |d, s| (d as i32) < s as i32;
    /// Signed less or equal.
    SLe = 0xd0, "s<=", |d, s| (d as i64) <= s as i64, |d, s| (d as i32) <= s as i32;
}
