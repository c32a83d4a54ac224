//! Bytes: the few shapes of x86-64 instruction that programs are made of, and labels.
//!
//! `dynasmrt`'s assembler keeps the bytes, the labels and their relocations. The regular shapes (an
//! operation on a register and a register or memory) are encoded here by one function, because
//! dynasm's templates always spend an idle REX and SIB byte on registers that are not known when we
//! are compiled; sequences on fixed registers are dynasm templates, at their places.
//!
//! ```text
//!  | prefix 66/f0 | REX 0100WRXB | opcode 1..3 | ModRM mod:2 reg:3 rm:3 | SIB | disp 0/8/32 | imm |
//! ```

use dynasmrt::relocations::{Relocation, RelocationKind, RelocationSize};
use dynasmrt::x64::X64Relocation;
use dynasmrt::{DynamicLabel, DynasmApi, DynasmError, DynasmLabelApi, VecAssembler};
use weir_ebpf::isa::{Size, Width};

/// A general register, by its number in instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Gpr {
    Rax,
    Rcx,
    Rdx,
    Rbx,
    Rsp,
    Rbp,
    Rsi,
    Rdi,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
}

impl Gpr {
    const fn low(self) -> u8 {
        self as u8 & 7
    }

    const fn high(self) -> u8 {
        self as u8 >> 3
    }
}

impl From<Gpr> for u8 {
    fn from(reg: Gpr) -> u8 {
        reg as u8
    }
}

/// The operand that may be in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rm {
    Reg(Gpr),
    /// `[base + displacement]`.
    Mem(Gpr, i32),
}

/// Two-operand arithmetic, in the order of its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Arith {
    Add = 0,
    Or = 1,
    And = 4,
    Sub = 5,
    Xor = 6,
    Cmp = 7,
}

/// Shifts and rotations, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Shift {
    Ror = 1,
    Shl = 4,
    Shr = 5,
    Sar = 7,
}

/// Operations on one operand (opcode `f7`), by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Unary {
    Neg = 3,
    Div = 6,
    Idiv = 7,
}

/// A condition of the flags, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Flag {
    Below = 0x2,
    AboveEqual = 0x3,
    Equal = 0x4,
    NotEqual = 0x5,
    BelowEqual = 0x6,
    Above = 0x7,
    Less = 0xc,
    GreaterEqual = 0xd,
    LessEqual = 0xe,
    Greater = 0xf,
}

/// A place in the code that jumps go to.
pub(crate) type Label = DynamicLabel;

/// A jump that was emitted: where it ends and where it goes.
struct Jump {
    end: usize,
    target: Label,
}

/// Which jumps, in order of emission, fit eight bits.
///
/// Code is emitted twice: first with every jump long, which shows the distances; then for good. Every
/// instruction of the second time is at most as long as it was the first time, so distances only
/// shrink and what fitted still fits; the assembler would refuse, not wrap, if that were ever wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shorts(Vec<bool>);

/// An assembler at work on one program.
pub(crate) struct Asm {
    pub(crate) ops: VecAssembler<X64Relocation>,
    base: usize,
    jumps: Vec<Jump>,
    shorts: Shorts,
}

impl Asm {
    /// Code that will lie at `base`, or nobody knows where yet (0).
    pub(crate) fn new(base: usize, shorts: Shorts) -> Self {
        Self { ops: VecAssembler::new(base), base, jumps: Vec::new(), shorts }
    }

    /// Bytes so far.
    pub(crate) fn position(&self) -> usize {
        self.ops.offset().0
    }

    /// The code.
    pub(crate) fn finish(self) -> Result<Vec<u8>, DynasmError> {
        self.ops.finalize()
    }

    /// Which of the jumps so far could have been short.
    pub(crate) fn shorts(&self) -> Result<Shorts, DynasmError> {
        let fits = |jump: &Jump| {
            let target = self.ops.labels().resolve_dynamic(jump.target)?.0;
            Ok(i8::try_from(target as i64 - jump.end as i64).is_ok())
        };
        self.jumps.iter().map(fits).collect::<Result<_, _>>().map(Shorts)
    }

    pub(crate) fn label(&mut self) -> Label {
        self.ops.new_dynamic_label()
    }

    /// Puts a label here.
    pub(crate) fn bind(&mut self, label: Label) {
        self.ops.dynamic_label(label);
    }

    /// `op reg, rm` or `op rm, reg`, as the opcode says. `size` of 2 sets the operand-size prefix, of 8
    /// the wide bit; `byte` says that an operand is a byte register, which REX makes uniform.
    fn encode(&mut self, size: Size, opcode: &[u8], reg: u8, rm: Rm, byte: bool) {
        let (Rm::Reg(base) | Rm::Mem(base, _)) = rm;
        let wide = u8::from(size == Size::DW);
        let rex = 0x40 | wide << 3 | (reg >> 3) << 2 | base.high();
        if size == Size::H {
            self.ops.push(0x66);
        }
        if rex != 0x40 || byte {
            self.ops.push(rex);
        }
        self.ops.extend(opcode);
        let reg = (reg & 7) << 3;
        match rm {
            Rm::Reg(base) => self.ops.push(0xc0 | reg | base.low()),
            Rm::Mem(base, displacement) => self.memory(reg, base, displacement),
        }
    }

    /// ModRM, SIB and displacement. rsp and r12 as a base need a SIB byte; rbp and r13 a displacement.
    fn memory(&mut self, reg: u8, base: Gpr, displacement: i32) {
        let small = i8::try_from(displacement);
        let mode = match small {
            Ok(0) if base.low() != Gpr::Rbp.low() => 0x00,
            Ok(_) => 0x40,
            Err(_) => 0x80,
        };
        self.ops.push(mode | reg | base.low());
        if base.low() == Gpr::Rsp.low() {
            self.ops.push(0x24);
        }
        match (mode, small) {
            (0x00, _) => {}
            (_, Ok(small)) => self.ops.push_i8(small),
            (_, Err(_)) => self.ops.push_i32(displacement),
        }
    }

    /// `op rm, reg`.
    pub(crate) fn arith(&mut self, width: Width, op: Arith, rm: Rm, reg: Gpr) {
        self.encode(whole(width), &[(op as u8) << 3 | 1], reg as u8, rm, false);
    }

    /// `op dst, src` between registers.
    pub(crate) fn arith_rr(&mut self, width: Width, op: Arith, dst: Gpr, src: Gpr) {
        self.arith(width, op, Rm::Reg(dst), src);
    }

    /// `op rm, imm`; a 64-bit operation sign-extends it.
    pub(crate) fn arith_imm(&mut self, width: Width, op: Arith, rm: Rm, imm: i32) {
        match i8::try_from(imm) {
            Ok(small) => {
                self.encode(whole(width), &[0x83], op as u8, rm, false);
                self.ops.push_i8(small);
            }
            Err(_) => {
                self.encode(whole(width), &[0x81], op as u8, rm, false);
                self.ops.push_i32(imm);
            }
        }
    }

    /// `lock op [base + displacement], reg`.
    pub(crate) fn lock_arith(&mut self, width: Width, op: Arith, to: Rm, reg: Gpr) {
        self.ops.push(0xf0);
        self.arith(width, op, to, reg);
    }

    /// `lock xadd [..], reg`: adds, and leaves the old value in `reg`.
    pub(crate) fn lock_xadd(&mut self, width: Width, to: Rm, reg: Gpr) {
        self.ops.push(0xf0);
        self.encode(whole(width), &[0x0f, 0xc1], reg as u8, to, false);
    }

    /// `lock cmpxchg [..], reg`: stores `reg` if memory holds rax, else loads rax.
    pub(crate) fn lock_cmpxchg(&mut self, width: Width, to: Rm, reg: Gpr) {
        self.ops.push(0xf0);
        self.encode(whole(width), &[0x0f, 0xb1], reg as u8, to, false);
    }

    /// `xchg [..], reg`, which locks by itself.
    pub(crate) fn xchg(&mut self, width: Width, to: Rm, reg: Gpr) {
        self.encode(whole(width), &[0x87], reg as u8, to, false);
    }

    /// `test a, b`.
    pub(crate) fn test(&mut self, width: Width, a: Gpr, b: Gpr) {
        self.encode(whole(width), &[0x85], b as u8, Rm::Reg(a), false);
    }

    /// `test a, imm`; a 64-bit one sign-extends it.
    pub(crate) fn test_imm(&mut self, width: Width, a: Gpr, imm: i32) {
        self.encode(whole(width), &[0xf7], 0, Rm::Reg(a), false);
        self.ops.push_i32(imm);
    }

    /// `imul dst, src`.
    pub(crate) fn imul(&mut self, width: Width, dst: Gpr, src: Gpr) {
        self.encode(whole(width), &[0x0f, 0xaf], dst as u8, Rm::Reg(src), false);
    }

    /// `imul dst, src, imm`; a 64-bit one sign-extends it.
    pub(crate) fn imul_imm(&mut self, width: Width, dst: Gpr, src: Gpr, imm: i32) {
        self.encode(whole(width), &[0x69], dst as u8, Rm::Reg(src), false);
        self.ops.push_i32(imm);
    }

    /// `neg`, `div` or `idiv` of a register.
    pub(crate) fn unary(&mut self, width: Width, op: Unary, reg: Gpr) {
        self.encode(whole(width), &[0xf7], op as u8, Rm::Reg(reg), false);
    }

    /// Shifts by a constant below the width.
    pub(crate) fn shift_imm(&mut self, size: Size, op: Shift, reg: Gpr, amount: u8) {
        self.encode(size, &[0xc1], op as u8, Rm::Reg(reg), false);
        self.ops.push(amount);
    }

    /// Shifts by cl.
    pub(crate) fn shift_cl(&mut self, width: Width, op: Shift, reg: Gpr) {
        self.encode(whole(width), &[0xd3], op as u8, Rm::Reg(reg), false);
    }

    /// `bswap reg`.
    pub(crate) fn bswap(&mut self, width: Width, reg: Gpr) {
        let rex = 0x40 | u8::from(width == Width::W64) << 3 | reg.high();
        if rex != 0x40 {
            self.ops.push(rex);
        }
        self.ops.extend(&[0x0f, 0xc8 | reg.low()]);
    }

    /// `mov dst, src`; a 32-bit one clears the upper half.
    pub(crate) fn mov(&mut self, width: Width, dst: Gpr, src: Gpr) {
        self.encode(whole(width), &[0x89], src as u8, Rm::Reg(dst), false);
    }

    /// The shortest way to put 64 bits into a register. Flags are not kept.
    pub(crate) fn constant(&mut self, dst: Gpr, value: u64) {
        if value == 0 {
            self.arith_rr(Width::W32, Arith::Xor, dst, dst);
        } else if let Ok(short) = u32::try_from(value) {
            self.opcode_plus(false, 0xb8, dst);
            self.ops.push_u32(short);
        } else if let Ok(short) = i32::try_from(value as i64) {
            self.encode(Size::DW, &[0xc7], 0, Rm::Reg(dst), false);
            self.ops.push_i32(short);
        } else {
            self.opcode_plus(true, 0xb8, dst);
            self.ops.push_u64(value);
        }
    }

    fn opcode_plus(&mut self, wide: bool, opcode: u8, reg: Gpr) {
        let rex = 0x40 | u8::from(wide) << 3 | reg.high();
        if rex != 0x40 {
            self.ops.push(rex);
        }
        self.ops.push(opcode | reg.low());
    }

    /// Puts `size` bytes of `rm` into the 64-bit register, zero-extended.
    pub(crate) fn load(&mut self, size: Size, dst: Gpr, rm: Rm) {
        match size {
            Size::B => {
                let byte = matches!(rm, Rm::Reg(reg) if (4..8).contains(&(reg as u8)));
                self.encode(Size::W, &[0x0f, 0xb6], dst as u8, rm, byte);
            }
            Size::H => self.encode(Size::W, &[0x0f, 0xb7], dst as u8, rm, false),
            Size::W | Size::DW => self.encode(size, &[0x8b], dst as u8, rm, false),
        }
    }

    /// Puts `size` bytes of `rm` into the register, sign-extended to the width.
    pub(crate) fn load_signed(&mut self, width: Width, size: Size, dst: Gpr, rm: Rm) {
        match size {
            Size::B => {
                let byte = matches!(rm, Rm::Reg(reg) if (4..8).contains(&(reg as u8)));
                self.encode(whole(width), &[0x0f, 0xbe], dst as u8, rm, byte);
            }
            Size::H => self.encode(whole(width), &[0x0f, 0xbf], dst as u8, rm, false),
            Size::W if width == Width::W64 => self.encode(Size::DW, &[0x63], dst as u8, rm, false),
            Size::W | Size::DW => self.encode(whole(width), &[0x8b], dst as u8, rm, false),
        }
    }

    /// Stores the low `size` bytes of a register.
    pub(crate) fn store(&mut self, size: Size, to: Rm, src: Gpr) {
        match size {
            Size::B => self.encode(Size::W, &[0x88], src as u8, to, (4..8).contains(&(src as u8))),
            Size::H | Size::W | Size::DW => self.encode(size, &[0x89], src as u8, to, false),
        }
    }

    /// Stores a constant, sign-extended to `size` bytes.
    pub(crate) fn store_imm(&mut self, size: Size, to: Rm, imm: i32) {
        match size {
            Size::B => {
                self.encode(Size::W, &[0xc6], 0, to, false);
                self.ops.push_i8(imm as i8);
            }
            Size::H => {
                self.encode(size, &[0xc7], 0, to, false);
                self.ops.push_i16(imm as i16);
            }
            Size::W | Size::DW => {
                self.encode(size, &[0xc7], 0, to, false);
                self.ops.push_i32(imm);
            }
        }
    }

    /// The address of a label.
    pub(crate) fn address_of(&mut self, dst: Gpr, label: Label) {
        self.ops.extend(&[0x48 | dst.high() << 2, 0x8d, dst.low() << 3 | 5]);
        self.long_offset(label);
    }

    /// `jmp label`.
    pub(crate) fn jump(&mut self, to: Label) {
        self.any_jump(&[0xe9], 0xeb, to);
    }

    /// `jcc label`.
    pub(crate) fn jump_if(&mut self, flag: Flag, to: Label) {
        self.any_jump(&[0x0f, 0x80 | flag as u8], 0x70 | flag as u8, to);
    }

    fn any_jump(&mut self, long: &[u8], short: u8, to: Label) {
        if self.shorts.0.get(self.jumps.len()) == Some(&true) {
            self.ops.push(short);
            self.ops.push_i8(0);
            let kind = X64Relocation::from_size(RelocationKind::Relative, RelocationSize::Byte);
            self.ops.dynamic_relocation(to, 0, 1, 0, kind);
        } else {
            self.ops.extend(long);
            self.long_offset(to);
        }
        self.jumps.push(Jump { end: self.position(), target: to });
    }

    fn long_offset(&mut self, to: Label) {
        self.ops.push_i32(0);
        let kind = X64Relocation::from_size(RelocationKind::Relative, RelocationSize::DWord);
        self.ops.dynamic_relocation(to, 0, 4, 0, kind);
    }

    /// `call label`.
    pub(crate) fn call(&mut self, to: Label) {
        self.ops.push(0xe8);
        self.long_offset(to);
    }

    /// Calls a function of ours: relative if it is within reach, else through r11.
    pub(crate) fn call_address(&mut self, target: usize) {
        const BYTES: usize = 5;
        let next = self.base.wrapping_add(self.position()).wrapping_add(BYTES);
        let distance = target.wrapping_sub(next) as isize;
        match i32::try_from(distance) {
            Ok(distance) if self.base != 0 => {
                self.ops.push(0xe8);
                self.ops.push_i32(distance);
            }
            _ => {
                self.opcode_plus(true, 0xb8, Gpr::R11);
                self.ops.push_u64(target as u64);
                self.ops.extend(&[0x41, 0xff, 0xd3]);
            }
        }
    }
}

/// The operand size of a width.
const fn whole(width: Width) -> Size {
    match width {
        Width::W32 => Size::W,
        Width::W64 => Size::DW,
    }
}
