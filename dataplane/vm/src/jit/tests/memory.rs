//! Loads, stores and atomics with every register pair.

use weir_ebpf::isa::{AtomicOp, Insn, Reg, Size, Source};

use super::{Probe, Registers, distinct};

const SIZES: [Size; 4] = [Size::B, Size::H, Size::W, Size::DW];
const GENERAL: [Reg; 10] =
    [Reg::R0, Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5, Reg::R6, Reg::R7, Reg::R8, Reg::R9];

/// Memory around an address that a base register may hold.
struct Memory(Vec<u64>);

const MIDDLE: usize = 0x8000 / 8 + 8;

impl Memory {
    fn new() -> Self {
        Self((0..2 * MIDDLE as u64 + 16).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 0x80).collect())
    }

    /// The middle, from where every offset is inside.
    fn address(&mut self) -> u64 {
        // SAFETY: MIDDLE is less than the length.
        unsafe { self.0.as_mut_ptr().add(MIDDLE) as u64 }
    }

    fn bytes(&self, off: i16) -> u64 {
        let at = (MIDDLE * 8) as i64 + i64::from(off);
        let byte = |index: i64| (self.0[(index / 8) as usize] >> (8 * (index % 8))) as u8;
        u64::from_le_bytes(std::array::from_fn(|n| byte(at + n as i64)))
    }
}

fn low(size: Size, value: u64) -> u64 {
    value & (u64::MAX >> (64 - size.bits()))
}

fn signed(size: Size, value: u64) -> u64 {
    let unused = 64 - size.bits();
    ((value << unused) as i64 >> unused) as u64
}

const OFFSETS: [i16; 9] = [0, 8, 127, 128, -128, -129, 1000, i16::MIN, i16::MAX];

#[test]
fn loads() {
    let mut memory = Memory::new();
    for size in SIZES {
        for dst in GENERAL {
            for base in GENERAL {
                for (n, off) in OFFSETS.into_iter().enumerate() {
                    // All offsets for some pairs, one for the others.
                    if dst != base && n != (dst.index() + base.index()) % OFFSETS.len() {
                        continue;
                    }
                    let mut before = distinct();
                    before[base.index()] = memory.address();
                    for sign in [false, true] {
                        if sign && size == Size::DW {
                            continue;
                        }
                        let probe = Probe::new(&[Insn::Load { size, signed: sign, dst, base, off }]);
                        let after = probe.run(before);
                        let read = memory.bytes(off);
                        let value = if sign { signed(size, read) } else { low(size, read) };
                        check(before, after, &[(dst, value)], &format!("{size:?} {dst} = [{base} + {off}]"));
                    }
                }
            }
        }
    }
}

fn check(before: Registers, after: Registers, changed: &[(Reg, u64)], what: &str) {
    let mut wanted = before;
    wanted[10] = after[10];
    for (reg, value) in changed {
        wanted[reg.index()] = *value;
    }
    assert_eq!(after, wanted, "{what}");
}

#[test]
fn stores() {
    for size in SIZES {
        for base in GENERAL {
            let sources = GENERAL.map(Source::Reg).into_iter().chain([0, -1, 0x1234_5678].map(Source::Imm));
            for src in sources {
                for off in [0, 128, -3] {
                    let mut memory = Memory::new();
                    let mut before = distinct();
                    before[base.index()] = memory.address();
                    let value = match src {
                        Source::Reg(reg) => before[reg.index()],
                        Source::Imm(imm) => i64::from(imm) as u64,
                    };
                    let old = memory.bytes(off);
                    let probe = Probe::new(&[Insn::Store { size, base, off, src }]);
                    let after = probe.run(before);
                    check(before, after, &[], "a store changes no register");
                    let kept = !low(size, u64::MAX);
                    let wanted = old & kept | low(size, value);
                    assert_eq!(memory.bytes(off), wanted, "{size:?} [{base} + {off}] = {src:?}");
                    assert_eq!(memory.bytes(off - 8), Memory::new().bytes(off - 8));
                    assert_eq!(memory.bytes(off + 8), Memory::new().bytes(off + 8));
                }
            }
        }
    }
}

#[test]
fn atomics() {
    for size in [Size::W, Size::DW] {
        for &op in AtomicOp::ALL {
            for base in GENERAL {
                for src in GENERAL {
                    for equal in [false, true] {
                        check_atomic(size, op, base, src, equal);
                    }
                }
            }
        }
    }
}

fn check_atomic(size: Size, op: AtomicOp, base: Reg, src: Reg, equal: bool) {
    let mut memory = Memory::new();
    let mut before = distinct();
    let old = memory.bytes(16);
    if equal {
        // The upper half must not matter to a 32-bit comparison.
        before[0] = low(size, old) | low(Size::DW, !low(size, u64::MAX));
    }
    before[base.index()] = memory.address();
    let probe = Probe::new(&[Insn::Atomic { size, op, base, off: 16, src }]);
    let after = probe.run(before);
    let narrow = |reg: Reg| low(size, before[reg.index()]);
    let new = low(size, op.eval(low(size, old), narrow(src), narrow(Reg::R0)));
    let what = format!("{size:?} {op:?} [{base}] {src} equal {equal}");
    assert_eq!(memory.bytes(16), old & !low(size, u64::MAX) | new, "{what}");
    let fetched = match op {
        AtomicOp::CmpXchg => vec![(Reg::R0, low(size, old))],
        _ if op.fetches() => vec![(src, low(size, old))],
        _ => vec![],
    };
    check(before, after, &fetched, &what);
}

#[test]
fn acquire_and_release() {
    let mut memory = Memory::new();
    for size in SIZES {
        let (dst, base, src) = (Reg::R3, Reg::R7, Reg::R1);
        let mut before = distinct();
        before[base.index()] = memory.address();
        let probe = Probe::new(&[
            Insn::StoreRelease { size, base, off: -8, src },
            Insn::LoadAcquire { size, dst, base, off: -8 },
        ]);
        let after = probe.run(before);
        check(before, after, &[(dst, low(size, before[src.index()]))], "what was released is acquired");
    }
}
