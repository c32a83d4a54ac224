//! What the operations do to words of `bits` bits, written apart from the instruction table, which
//! only knows 32 and 64. A test below holds the two together.

use weir_ebpf::isa::{AluOp, Cond};

pub(in crate::scalar) fn mask(bits: u32) -> u64 {
    u64::MAX >> (64 - bits)
}

fn signed(bits: u32, word: u64) -> i128 {
    let sign = 1i128 << (bits - 1);
    (i128::from(word) ^ sign) - sign
}

pub(in crate::scalar) fn alu(op: AluOp, bits: u32, a: u64, b: u64) -> u64 {
    let (ua, ub) = (u128::from(a), u128::from(b));
    let (sa, sb) = (signed(bits, a), signed(bits, b));
    let amount = (b % u64::from(bits)) as u32;
    let result = match op {
        AluOp::Add => ua.wrapping_add(ub),
        AluOp::Sub => ua.wrapping_sub(ub),
        AluOp::Mul => ua.wrapping_mul(ub),
        AluOp::Div if b == 0 => 0,
        AluOp::Div => ua / ub,
        AluOp::SDiv if b == 0 => 0,
        AluOp::SDiv => (sa / sb) as u128,
        AluOp::Or => ua | ub,
        AluOp::And => ua & ub,
        AluOp::Lsh => ua << amount,
        AluOp::Rsh => ua >> amount,
        AluOp::Mod if b == 0 => ua,
        AluOp::Mod => ua % ub,
        AluOp::SMod if b == 0 => ua,
        AluOp::SMod => (sa % sb) as u128,
        AluOp::Xor => ua ^ ub,
        AluOp::Arsh => (sa >> amount) as u128,
    };
    result as u64 & mask(bits)
}

pub(in crate::scalar) fn holds(cond: Cond, bits: u32, a: u64, b: u64) -> bool {
    let (sa, sb) = (signed(bits, a), signed(bits, b));
    match cond {
        Cond::Eq => a == b,
        Cond::Gt => a > b,
        Cond::Ge => a >= b,
        Cond::Set => a & b != 0,
        Cond::Ne => a != b,
        Cond::SGt => sa > sb,
        Cond::SGe => sa >= sb,
        Cond::Lt => a < b,
        Cond::Le => a <= b,
        Cond::SLt => sa < sb,
        Cond::SLe => sa <= sb,
    }
}
