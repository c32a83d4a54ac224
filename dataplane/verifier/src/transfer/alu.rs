//! Arithmetic on numbers and pointers (`adjust_reg_min_max_vals`, kernel/bpf/verifier.c).

use weir_ebpf::isa::{AluOp, Imm64, Reg, Size, Source, SwapKind, Width};

use crate::bugs::{Bug, seeded};
use crate::explore::{Check, Explorer};
use crate::rule::Rule;
use crate::scalar::Scalar;
use crate::shape::call_target;
use crate::value::{Kind, MapRef, Moved, Number, Pointer, Value};

/// Offsets of pointers stay below this (`BPF_MAX_VAR_OFF`).
pub(crate) const OFFSET_MAX: i64 = 1 << 29;

/// The operator as the kernel's messages spell it (`bpf_alu_string`).
fn symbol(op: AluOp) -> &'static str {
    match op {
        AluOp::SDiv => AluOp::Div.symbol(),
        AluOp::SMod => AluOp::Mod.symbol(),
        op => op.symbol(),
    }
}

impl Explorer<'_> {
    pub(crate) fn source(&self, src: Source) -> Check<Value> {
        match src {
            Source::Reg(reg) => self.read(reg),
            Source::Imm(imm) if seeded(Bug::ImmediateUnsigned) => Ok(Value::constant(u64::from(imm as u32))),
            Source::Imm(imm) => Ok(Value::constant(imm as i64 as u64)),
        }
    }

    pub(crate) fn alu(&mut self, width: Width, op: AluOp, dst: Reg, src: Source) -> Check {
        if let Source::Imm(imm) = src {
            self.check_immediate(width, op, imm)?;
        }
        let right = self.source(src)?;
        let left = self.read(dst)?;
        let value = match (left, right) {
            (Value::Number(left), Value::Number(right)) => Value::Number(number(op, width, left, right)),
            (Value::Pointer(_), Value::Pointer(_)) if op == AluOp::Sub => Value::unknown(),
            (Value::Pointer(_), Value::Pointer(_)) => {
                let message = format!("R{} pointer {} pointer prohibited", dst.index(), symbol(op));
                return self.refuse(Rule::PointerArithmetic, message);
            }
            (Value::Pointer(pointer), Value::Number(by)) => {
                self.move_pointer(width, op, dst, pointer, by, false)?
            }
            (Value::Number(by), Value::Pointer(pointer)) => {
                self.move_pointer(width, op, dst, pointer, by, true)?
            }
            (Value::NotInit, _) | (_, Value::NotInit) => Value::unknown(),
        };
        self.state.set(dst, value);
        Ok(())
    }

    fn check_immediate(&self, width: Width, op: AluOp, imm: i32) -> Check {
        match op {
            AluOp::Div | AluOp::SDiv | AluOp::Mod | AluOp::SMod if imm == 0 => {
                self.refuse(Rule::DivisionByZero, "div by zero")
            }
            AluOp::Lsh | AluOp::Rsh | AluOp::Arsh if !(0..width.bits() as i32).contains(&imm) => {
                self.refuse(Rule::ShiftTooFar, format!("invalid shift {imm}"))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn mov(&mut self, width: Width, dst: Reg, src: Source) -> Check {
        let mut value = match src {
            Source::Imm(imm) if width == Width::W32 => Value::constant(u64::from(imm as u32)),
            Source::Imm(imm) => Value::constant(imm as i64 as u64),
            Source::Reg(reg) => self.read(reg)?,
        };
        let whole = match &value {
            Value::Number(number) => width == Width::W64 || number.range.umax() <= u64::from(u32::MAX),
            Value::Pointer(_) | Value::NotInit => width == Width::W64,
        };
        if let Source::Reg(reg) = src
            && (whole || seeded(Bug::LinkOfHalf))
        {
            value = self.link(reg, value);
        }
        if !whole {
            value = match value {
                Value::Number(number) if seeded(Bug::LinkOfHalf) => {
                    Value::Number(Number { range: number.range.mov32(), ..number })
                }
                Value::Number(number) => Value::Number(number.made_into(number.range.mov32())),
                Value::Pointer(_) | Value::NotInit => Value::ranged(Scalar::unknown().mov32()),
            };
        }
        self.state.set(dst, value);
        Ok(())
    }

    /// Gives a number that is about to be copied a name, so that what is learned of one copy holds
    /// for the other.
    pub(crate) fn link(&mut self, reg: Reg, value: Value) -> Value {
        let Value::Number(mut number) = value else { return value };
        if number.moved != Moved::Not {
            // A copy of what was moved begins a link of its own (`assign_scalar_id_before_mov`).
            number = number.unlinked();
            self.state.set(reg, Value::Number(number));
        }
        if number.id == 0 && number.range.as_constant().is_none() {
            number.id = self.new_id();
            self.state.set(reg, Value::Number(number));
        }
        Value::Number(number)
    }

    pub(crate) fn movsx(&mut self, width: Width, from: Size, dst: Reg, src: Reg) -> Check {
        let value = self.read(src)?;
        let value = match value {
            // Its sign says nothing: the copy is the same number.
            Value::Number(number) if is_positive(&number, from) => self.link(src, value),
            Value::Number(number) => Value::Number(number.made_into(number.range.movsx(width, from))),
            Value::Pointer(_) | Value::NotInit => Value::ranged(Scalar::unknown().movsx(width, from)),
        };
        self.state.set(dst, value);
        Ok(())
    }

    pub(crate) fn neg(&mut self, width: Width, dst: Reg) -> Check {
        let value = match self.read(dst)? {
            Value::Number(number) => made_into(number, number.range.neg(width)),
            Value::Pointer(_) | Value::NotInit => Number::new(Scalar::unknown().neg(width)),
        };
        self.state.set(dst, Value::Number(value));
        Ok(())
    }

    pub(crate) fn swap(&mut self, kind: SwapKind, size: Size, dst: Reg) -> Check {
        let value = match self.read(dst)? {
            Value::Number(number) => made_into(number, number.range.swap(kind, size)),
            Value::Pointer(_) | Value::NotInit => Number::new(Scalar::unknown().swap(kind, size)),
        };
        self.state.set(dst, Value::Number(value));
        Ok(())
    }

    pub(crate) fn load_immediate(&mut self, dst: Reg, value: Imm64) {
        let value = match value {
            Imm64::Value(value) => Value::constant(value),
            Imm64::Map(map) => Value::Pointer(Pointer::new(Kind::Map(MapRef { map, inner: false }))),
            Imm64::MapValue { map, offset } => Value::Pointer(Pointer {
                off: offset as i32,
                // It is the same value wherever it is named: no lookup told it apart.
                ..Pointer::new(Kind::MapValue(MapRef { map, inner: false }))
            }),
            Imm64::Function(off) => {
                let target = call_target(self.slot, off);
                let function = self.shape.function_starting(target as usize).unwrap_or_default();
                Value::Pointer(Pointer::new(Kind::Function(function as u32)))
            }
            Imm64::Variable { .. } => Value::NotInit,
        };
        self.state.set(dst, value);
    }

    /// Adds a number to a pointer or takes it away (`adjust_ptr_min_max_vals`).
    fn move_pointer(
        &mut self,
        width: Width,
        op: AluOp,
        dst: Reg,
        pointer: Pointer,
        by: Number,
        pointer_is_source: bool,
    ) -> Check<Value> {
        let regno = dst.index();
        if !seeded(Bug::OffsetForgotten) {
            self.demand(&Value::Number(by));
        }
        if width == Width::W32 {
            if op == AluOp::Sub {
                return Ok(Value::ranged(Scalar::unknown().mov32()));
            }
            let message = format!("R{regno} 32-bit pointer arithmetic prohibited");
            return self.refuse(Rule::PointerArithmetic, message);
        }
        self.check_movable(op, regno, &pointer, &by)?;
        self.check_step(&pointer, &by.range)?;
        let moved = match op {
            AluOp::Add => self.pointer_plus(pointer, &by.range),
            AluOp::Sub if pointer_is_source => {
                let message = format!("R{regno} tried to subtract pointer from scalar");
                return self.refuse(Rule::PointerArithmetic, message);
            }
            AluOp::Sub if matches!(pointer.kind, Kind::Stack { .. }) => {
                let message = format!("R{regno} subtraction from stack pointer prohibited");
                return self.refuse(Rule::PointerArithmetic, message);
            }
            AluOp::Sub => self.pointer_minus(pointer, &by.range),
            AluOp::And | AluOp::Or | AluOp::Xor => {
                let message = format!("R{regno} bitwise operator {} on pointer prohibited", symbol(op));
                return self.refuse(Rule::PointerArithmetic, message);
            }
            AluOp::Mul
            | AluOp::Div
            | AluOp::SDiv
            | AluOp::Lsh
            | AluOp::Rsh
            | AluOp::Mod
            | AluOp::SMod
            | AluOp::Arsh => {
                let message = format!("R{regno} pointer arithmetic with {} operator prohibited", symbol(op));
                return self.refuse(Rule::PointerArithmetic, message);
            }
        };
        self.check_step(&moved, &moved.var)?;
        Ok(Value::Pointer(moved))
    }

    /// Whether this kind of pointer may be moved at all.
    fn check_movable(&self, op: AluOp, regno: usize, pointer: &Pointer, by: &Number) -> Check {
        if pointer.maybe_null && !seeded(Bug::NullArithmetic) {
            let text = pointer.text();
            let message = format!("R{regno} pointer arithmetic on {text} prohibited, null-check it first");
            return self.refuse(Rule::MaybeNull, message);
        }
        let movable = match pointer.kind {
            Kind::Context
            | Kind::Stack { .. }
            | Kind::Packet { .. }
            | Kind::PacketMeta { .. }
            | Kind::MapValue(_)
            | Kind::MapKey(_)
            | Kind::Record { .. }
            | Kind::Memory { .. }
            // It is called only where it was taken.
            | Kind::Function(_) => true,
            Kind::FlowKeys => by.range.as_constant().is_some(),
            Kind::Map(_) => op == AluOp::Add && by.range.as_constant() == Some(0),
            Kind::Kernel(_) => by.range.as_constant().is_some(),
            Kind::PacketEnd | Kind::ConstDynptr | Kind::Socket(_) => false,
        };
        if movable {
            return Ok(());
        }
        let message = format!("R{regno} pointer arithmetic on {} prohibited", pointer.text());
        self.refuse(Rule::PointerArithmetic, message)
    }

    /// Keeps offsets small enough that no sum of them overflows (`check_reg_sane_offset`).
    fn check_step(&self, pointer: &Pointer, by: &Scalar) -> Check {
        if seeded(Bug::OffsetUnbounded) {
            return Ok(());
        }
        let text = pointer.kind.text();
        let smin = by.smin();
        let far = |value: i64| value >= OFFSET_MAX || value <= -OFFSET_MAX;
        if by.as_constant().is_some() && far(smin) {
            let message = format!("math between {text} pointer and {smin} is not allowed");
            return self.refuse(Rule::PointerOffset, message);
        }
        if far(i64::from(pointer.off)) {
            let message = format!("{text} pointer offset {} is not allowed", pointer.off);
            return self.refuse(Rule::PointerOffset, message);
        }
        if smin == i64::MIN {
            let message =
                format!("math between {text} pointer and register with unbounded min value is not allowed");
            return self.refuse(Rule::PointerOffset, message);
        }
        if far(smin) {
            let message = format!("value {smin} makes {text} pointer be out of bounds");
            return self.refuse(Rule::PointerOffset, message);
        }
        Ok(())
    }

    fn pointer_plus(&mut self, pointer: Pointer, by: &Scalar) -> Pointer {
        if let Some(step) = by.as_constant()
            && let Ok(off) = i32::try_from(i64::from(pointer.off) + step as i64)
        {
            return Pointer { off, ..pointer };
        }
        let var = Scalar::alu(AluOp::Add, Width::W64, &pointer.var, by);
        self.moved_by_variable(Pointer { var, ..pointer })
    }

    fn pointer_minus(&mut self, pointer: Pointer, by: &Scalar) -> Pointer {
        if let Some(step) = by.as_constant()
            && let Ok(off) = i32::try_from(i64::from(pointer.off) - step as i64)
        {
            return Pointer { off, ..pointer };
        }
        let var = Scalar::alu(AluOp::Sub, Width::W64, &pointer.var, by);
        self.moved_by_variable(Pointer { var, ..pointer })
    }

    /// A packet pointer whose variable part changed has nothing proven about it.
    fn moved_by_variable(&mut self, pointer: Pointer) -> Pointer {
        if seeded(Bug::PacketRangeKept) {
            return pointer;
        }
        let kind = match pointer.kind {
            Kind::Packet { .. } => Kind::Packet { range: 0 },
            Kind::PacketMeta { .. } => Kind::PacketMeta { range: 0 },
            other => return Pointer { kind: other, ..pointer },
        };
        Pointer { kind, id: self.new_id(), past_end: false, ..pointer }
    }
}

/// A number made of another one, to which it is not linked.
fn made_into(number: Number, range: Scalar) -> Number {
    if seeded(Bug::LinkKeptBySwap) { Number { range, ..number } } else { number.made_into(range) }
}

/// Whether the sign bit of so many bytes of a number is clear, and all above it.
pub(crate) fn is_positive(number: &Number, of: Size) -> bool {
    number.range.umax() >> (of.bytes() * 8 - 1) == 0
}

/// Arithmetic on two numbers. Adding a constant or taking it away keeps the link; everything else breaks it.
fn number(op: AluOp, width: Width, left: Number, right: Number) -> Number {
    let range = Scalar::alu(op, width, &left.range, &right.range);
    let roots = if seeded(Bug::RootsOfLeft) { left.roots } else { left.roots.with(right.roots) };
    if seeded(Bug::LinkKept) {
        return Number { range, ..left };
    }
    match moved(op, width, &left, &right.range) {
        Some((delta, moved)) => Number { range, id: left.id, delta, moved, roots },
        None => Number { roots, ..Number::new(range) },
    }
}

/// How far a linked number comes away from those it is linked to, if that can be kept.
fn moved(op: AluOp, width: Width, left: &Number, by: &Scalar) -> Option<(i32, Moved)> {
    let (low, high) = (i64::try_from(left.range.umin()), i64::try_from(left.range.umax()));
    let half = u32::MAX.into();
    let by = match width {
        Width::W64 => i32::try_from(by.as_constant()? as i64).ok()?,
        Width::W32 => by.as_constant32()? as i32,
    };
    let delta = match op {
        AluOp::Add => by,
        AluOp::Sub => by.checked_neg()?,
        _ => return None,
    };
    if left.id == 0 || left.moved != Moved::Not {
        return None;
    }
    if width == Width::W64 {
        return Some((delta, Moved::Whole));
    }
    let (low, high) = (low.ok()?, high.ok().filter(|high| *high <= half)?);
    let delta_wide = i64::from(delta);
    let wraps = low + delta_wide < 0 || high + delta_wide > half;
    Some((delta, Moved::Half { wraps }))
}
