//! Atomic read-modify-write operations: the table of immediates, text and meaning (RFC 9669, 5.3).

/// The bit of the immediate that asks for the old value.
pub const FETCH: i32 = 0x01;

/// Declares [`AtomicOp`] from rows of `Name = immediate, fetches, "text", 64-bit meaning`.
macro_rules! atomic_ops {
    ($( $(#[$doc:meta])* $name:ident = $imm:expr, $fetch:literal, $text:literal, $new:expr; )+) => {
        /// An atomic operation on memory.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum AtomicOp { $( $(#[$doc])* $name, )+ }

        impl AtomicOp {
            /// Every operation, in table order.
            pub const ALL: &[AtomicOp] = &[$( AtomicOp::$name, )+];

            /// The immediate that encodes it.
            pub const fn imm(self) -> i32 {
                match self { $( AtomicOp::$name => $imm, )+ }
            }

            /// Whether the old value comes back in a register.
            pub const fn fetches(self) -> bool {
                match self { $( AtomicOp::$name => $fetch, )+ }
            }

            /// The operator of the plain form (`+=`), or the name of the fetching one.
            pub const fn text(self) -> &'static str {
                match self { $( AtomicOp::$name => $text, )+ }
            }

            /// The operation with this immediate.
            pub const fn from_imm(imm: i32) -> Option<AtomicOp> {
                $( if imm == $imm { return Some(AtomicOp::$name); } )+
                None
            }

            /// What memory holds afterwards, of what it held, the source, and r0 (for `cmpxchg`).
            /// For a 32-bit operation pass zero-extended operands and keep the low half.
            pub fn eval(self, old: u64, src: u64, r0: u64) -> u64 {
                match self {
                    $( AtomicOp::$name => { let f: fn(u64, u64, u64) -> u64 = $new; f(old, src, r0) } )+
                }
            }
        }
    };
}

atomic_ops! {
    /// Adds.
    Add = 0x00, false, "+=", |old, src, _| old.wrapping_add(src);
    /// Ors.
    Or = 0x40, false, "|=", |old, src, _| old | src;
    /// Ands.
    And = 0x50, false, "&=", |old, src, _| old & src;
    /// Exclusive-ors.
    Xor = 0xa0, false, "^=", |old, src, _| old ^ src;
    /// Adds and returns the old value in the source register.
    FetchAdd = FETCH, true, "atomic_fetch_add", |old, src, _| old.wrapping_add(src);
    /// Ors and returns the old value in the source register.
    FetchOr = 0x40 | FETCH, true, "atomic_fetch_or", |old, src, _| old | src;
    /// Ands and returns the old value in the source register.
    FetchAnd = 0x50 | FETCH, true, "atomic_fetch_and", |old, src, _| old & src;
    /// Exclusive-ors and returns the old value in the source register.
    FetchXor = 0xa0 | FETCH, true, "atomic_fetch_xor", |old, src, _| old ^ src;
    /// Stores the source and returns the old value in the source register.
    Xchg = 0xe0 | FETCH, true, "xchg", |_, src, _| src;
    /// Stores the source if memory equals r0; returns the old value in r0 either way.
    CmpXchg = 0xf0 | FETCH, true, "cmpxchg", |old, src, r0| if old == r0 { src } else { old };
}

/// Immediate of a load-acquire, which shares the atomic opcode (kernel 6.15, `BPF_LOAD_ACQ`).
pub const LOAD_ACQUIRE: i32 = 0x100;
/// Immediate of a store-release (`BPF_STORE_REL`).
pub const STORE_RELEASE: i32 = 0x110;
