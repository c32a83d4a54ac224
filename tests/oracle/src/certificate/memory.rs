//! Accesses: that they lie inside, and what they find and leave.

use weir_ebpf::Program;
use weir_ebpf::abi::context::FieldKind;
use weir_ebpf::abi::map_kind::create_flags;
use weir_ebpf::abi::{ContextField, MAX_STACK, MapKind};
use weir_ebpf::isa::{AluOp, Size, Width};
use weir_ebpf::program::{Initial, MapSpec, ValueField};
use weir_verifier::scalar::Scalar;
use weir_verifier::states::{Abstract, RecordedState, StackByte, StackSlot, Target};

use super::cover::is_zero;
use super::{Step, Stop, number, pointer, refuse};

/// Goes over every register and spilled value.
pub(super) fn each(state: &mut RecordedState, mut change: impl FnMut(&mut Abstract)) {
    for frame in &mut state.frames {
        frame.regs.iter_mut().for_each(&mut change);
        frame.stack.iter_mut().for_each(|slot| change(&mut slot.spilled));
    }
}

/// What a map is made of.
pub(super) fn spec(program: &Program, map: u32, inner: bool) -> Option<&MapSpec> {
    let spec = program.maps.get(map as usize)?;
    if inner { spec.inner.as_deref() } else { Some(spec) }
}

/// Bytes that an access may touch, as offsets from the start of its target.
#[derive(Clone, Copy)]
pub(super) struct Reach {
    pub(super) target: Target,
    /// First byte, at the least.
    pub(super) from: i64,
    /// One past the last byte, at the most.
    pub(super) to: i64,
    /// Whether the place is known.
    pub(super) exact: bool,
}

/// That an access through this value stays inside.
pub(super) fn reach(program: &Program, base: &Abstract, off: i64, size: u32, write: bool) -> Step<Reach> {
    let Abstract::Pointer { target, maybe_null: false, off: fixed, var, .. } = *base else {
        return refuse(format!("accesses memory through {base:?}"));
    };
    let known = var.as_constant().map(|var| var as i64);
    let (least, most) = known.map_or((var.smin(), var.smax()), |var| (var, var));
    let at = |unknown: i64| i128::from(fixed) + i128::from(off) + i128::from(unknown);
    let (from, to) = (at(least), at(most) + i128::from(size));
    let inside = |bytes: u32| from >= 0 && to <= i128::from(bytes);
    let good = match target {
        Target::Stack { .. } => from >= -(MAX_STACK as i128) && to <= 0,
        // `range` bytes from the unknown part on are there.
        Target::Packet { range } | Target::PacketMeta { range } => {
            let start = i128::from(fixed) + i128::from(off);
            least >= 0 && start >= 0 && start + i128::from(size) <= i128::from(range)
        }
        Target::MapValue { map, inner } => match spec(program, map, inner) {
            Some(spec) => inside(spec.value_size) && may(spec, from, to, write),
            None => false,
        },
        Target::MapKey { map } => {
            !write && spec(program, map, false).is_some_and(|spec| inside(spec.key_size))
        }
        Target::Record { bytes } => inside(bytes),
        Target::Memory { .. } => return Err(Stop::Outside("memory that a call handed out")),
        Target::Context
        | Target::PacketEnd
        | Target::Map { .. }
        | Target::Function(_)
        | Target::Socket
        | Target::ConstDynptr => false,
    };
    if !good {
        return refuse(format!("{size} bytes at {from}..{to} of {target:?}"));
    }
    Ok(Reach { target, from: from as i64, to: to as i64, exact: known.is_some() })
}

/// What a map lets programs do with these bytes of its value.
fn may(spec: &MapSpec, from: i128, to: i128, write: bool) -> bool {
    let devices = matches!(spec.kind, MapKind::Devmap | MapKind::DevmapHash);
    let closed = match write {
        true => spec.frozen || devices || spec.flags & create_flags::RDONLY_PROG != 0,
        false => spec.flags & create_flags::WRONLY_PROG != 0,
    };
    let special = spec.fields.iter().any(|field| {
        let (at, bytes) = match *field {
            ValueField::SpinLock { offset } => (i128::from(offset), 4),
            ValueField::Timer { offset } => (i128::from(offset), 16),
        };
        from < at + bytes && at < to
    });
    !closed && !special
}

/// What a field of the context holds.
pub(super) fn context(
    program: &Program,
    base: &Abstract,
    off: i16,
    size: Size,
    write: bool,
) -> Step<FieldKind> {
    let Abstract::Pointer { maybe_null: false, off: 0, var, .. } = base else {
        return refuse("a moved context");
    };
    let field = u32::try_from(off).ok().and_then(|off| ContextField::at(program.kind, off));
    let Some(field) = field.filter(|_| var.as_constant() == Some(0)) else { return refuse("no such field") };
    let allowed = match write {
        true => field.may_write(program.kind, program.attach, off as u32, size),
        false => field.may_read(program.kind, program.attach, off as u32, size),
    };
    let bytes = size.bytes() as i16;
    if !allowed || off % bytes != 0 || i32::from(off) + i32::from(bytes) > field.end() as i32 {
        return refuse(format!("byte {off} of the context, {size:?}"));
    }
    Ok(field.kind())
}

/// The value of a field.
pub(super) fn field_value(kind: FieldKind, size: Size, name: u32) -> Step<Abstract> {
    Ok(match kind {
        FieldKind::Number => number(Scalar::from_load(size, false)),
        FieldKind::PacketStart => pointer(Target::Packet { range: 0 }),
        FieldKind::PacketMeta => pointer(Target::PacketMeta { range: 0 }),
        FieldKind::PacketEnd => pointer(Target::PacketEnd),
        FieldKind::Socket | FieldKind::FullSocket | FieldKind::FullSocketOrNull => {
            let (var, maybe_null) = (Scalar::constant(0), kind != FieldKind::FullSocket);
            Abstract::Pointer { target: Target::Socket, maybe_null, off: 0, var, id: name }
        }
        FieldKind::FlowKeys => return Err(Stop::Outside("flow dissectors")),
    })
}

/// The bytes of a frozen map at a known place.
pub(super) fn constant(program: &Program, reach: &Reach, size: Size) -> Option<Abstract> {
    let Target::MapValue { map, inner: false } = reach.target else { return None };
    let spec = spec(program, map, false).filter(|spec| spec.frozen && reach.exact)?;
    let Initial::Data(data) = &spec.initial else { return None };
    let at = usize::try_from(reach.from).ok()?;
    let bytes = data.get(at..at + size.bytes() as usize)?;
    let value = bytes.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    Some(number(Scalar::constant(value)))
}

const EMPTY: [StackByte; 8] = [StackByte::Any; 8];

/// The low `bytes` bytes of a number.
fn cut(value: Abstract, bytes: usize) -> Abstract {
    let Abstract::Number { range, .. } = value else { return value };
    let mask = if bytes >= 8 { u64::MAX } else { (1 << (8 * bytes)) - 1 };
    if range.umax() <= mask {
        return value;
    }
    number(Scalar::alu(AluOp::And, Width::W64, &range, &Scalar::constant(mask)))
}

/// A frame's stack as the states have it: the slots of which something is known.
pub(super) struct Stack<'a>(pub(super) &'a mut Vec<StackSlot>);

impl Stack<'_> {
    fn slot(&mut self, off: i32) -> &mut StackSlot {
        let at = self.0.iter().position(|slot| slot.off == off).unwrap_or_else(|| {
            self.0.push(StackSlot { off, bytes: EMPTY, spilled: Abstract::NotInit });
            self.0.len() - 1
        });
        &mut self.0[at]
    }

    fn split(from: i64) -> (i32, usize) {
        let slot = from.div_euclid(8) * 8;
        (slot as i32, (from - slot) as usize)
    }

    /// Reads bytes of one slot.
    pub(super) fn read(&mut self, from: i64, size: Size) -> Step<Abstract> {
        let ((off, at), bytes) = (Self::split(from), size.bytes() as usize);
        if at + bytes > 8 {
            return refuse("a read across slots of the stack");
        }
        let slot = self.slot(off).clone();
        let spilled = slot.bytes.iter().take_while(|byte| **byte == StackByte::Spilled).count();
        if spilled > 0 && matches!(slot.spilled, Abstract::Pointer { .. }) {
            return if bytes == 8 { Ok(slot.spilled) } else { refuse("a part of a pointer") };
        }
        if at == 0 && spilled >= bytes {
            return Ok(cut(slot.spilled, bytes));
        }
        let zero = |byte: &StackByte| match byte {
            StackByte::Zero => true,
            StackByte::Spilled => is_zero(&slot.spilled),
            StackByte::Any => false,
        };
        let zeros = slot.bytes[at..at + bytes].iter().all(zero);
        Ok(number(if zeros { Scalar::constant(0) } else { Scalar::from_load(size, false) }))
    }

    /// Writes bytes of one slot.
    pub(super) fn write(&mut self, from: i64, size: Size, value: Abstract) -> Step<()> {
        let ((off, at), bytes) = (Self::split(from), size.bytes() as usize);
        if at + bytes > 8 {
            return refuse("a write across slots of the stack");
        }
        self.forget(from, from + 1);
        let slot = self.slot(off);
        let kind = match value {
            Abstract::Number { .. } if at == 0 => {
                slot.spilled = cut(value, bytes);
                StackByte::Spilled
            }
            Abstract::Pointer { .. } if bytes == 8 => {
                slot.spilled = value;
                StackByte::Spilled
            }
            Abstract::Pointer { .. } => return refuse("a part of a pointer is written"),
            _ if is_zero(&value) => StackByte::Zero,
            Abstract::Number { .. } | Abstract::NotInit => StackByte::Any,
        };
        slot.bytes[at..at + bytes].fill(kind);
        Ok(())
    }

    /// Bytes may hold anything from now on; what was spilled over them is gone.
    pub(super) fn forget(&mut self, from: i64, to: i64) {
        for byte in from..to {
            let (off, at) = Self::split(byte);
            let slot = self.slot(off);
            for byte in slot.bytes.iter_mut().filter(|byte| **byte == StackByte::Spilled) {
                *byte = StackByte::Any;
            }
            (slot.spilled, slot.bytes[at]) = (Abstract::NotInit, StackByte::Any);
        }
    }

    /// Whether a range is all zeros.
    pub(super) fn zeros(&mut self, from: i64, to: i64) -> bool {
        (from..to).all(|byte| {
            let (off, at) = Self::split(byte);
            let slot = self.slot(off);
            match slot.bytes[at] {
                StackByte::Zero => true,
                StackByte::Spilled => is_zero(&slot.spilled),
                StackByte::Any => false,
            }
        })
    }

    /// A zero was written somewhere into a range: zeros stay.
    pub(super) fn smear(&mut self, from: i64, to: i64, zero: bool) {
        for byte in from..to {
            if !(zero && self.zeros(byte, byte + 1)) {
                self.forget(byte, byte + 1);
            }
        }
    }
}
