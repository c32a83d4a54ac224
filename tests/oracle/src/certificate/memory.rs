//! Accesses: that they lie inside what they may touch, and go where the facts say.

use weir_ebpf::MapSpec;
use weir_ebpf::abi::context::FieldKind;
use weir_ebpf::abi::map_kind::create_flags;
use weir_ebpf::abi::{ContextField, MAX_STACK, MapKind, PacketUse};
use weir_ebpf::isa::{AluOp, Reg, Size, Width};
use weir_ebpf::program::Initial;
use weir_verifier::Access;
use weir_verifier::scalar::Scalar;
use weir_verifier::states::{Abstract, Pointer, Target};

use super::machine::Machine;
use super::stack::Stack;
use super::{Step, Verdict, demand, refuse};

/// Whether numbers may be added to pointers to this. A function's is never followed here.
pub(super) const fn moves(target: Target) -> bool {
    use Target::{ConstDynptr, Map, PacketEnd, Socket};
    !matches!(target, ConstDynptr | Map { .. } | PacketEnd | Socket)
}

/// Whether it is never at address 0, so that comparing with null decides.
pub(super) const fn is_solid(target: Target) -> bool {
    use Target::{Map, MapKey, MapValue, Memory, Record, Socket};
    matches!(target, Map { .. } | MapValue { .. } | MapKey { .. } | Record { .. } | Memory { .. } | Socket)
}

/// Whether it is gone when the packet moves.
pub(super) const fn is_packet(target: Target) -> bool {
    matches!(target, Target::Packet { .. } | Target::PacketMeta { .. } | Target::PacketEnd)
}

/// Bytes that an access may touch, as offsets from the start of its target.
pub(super) struct Reach {
    pub(super) target: Target,
    pub(super) from: i64,
    pub(super) to: i64,
    /// Whether the place is known.
    pub(super) exact: bool,
}

impl Machine<'_> {
    /// What a map is made of.
    pub(super) fn spec(&self, map: u32, inner: bool) -> Step<&MapSpec> {
        self.program.map(map, inner).ok_or(Verdict::Refused("a map that is not declared".to_owned()))
    }

    /// That an access of so many bytes through this value stays inside.
    pub(super) fn reach(&self, base: &Abstract, off: i64, size: u32, write: bool) -> Step<Reach> {
        let Some(Pointer { target, maybe_null: false, off: fixed, var, .. }) = base.as_pointer() else {
            return refuse(format_args!("accesses memory through {base:?}"));
        };
        let place = |unknown: i64| i128::from(fixed) + i128::from(off) + i128::from(unknown);
        let (from, to) = (place(var.smin()), place(var.smax()) + i128::from(size));
        let inside = |bytes: u32| from >= 0 && to <= bytes.into();
        let good = match target {
            Target::Stack { frame } => from >= -i128::from(self.stack_bytes(frame)) && to <= 0,
            // `range` bytes from the unknown part on are there.
            Target::Packet { range } | Target::PacketMeta { range } => {
                let readable =
                    var.smin() >= 0 && place(0) >= 0 && place(0) + i128::from(size) <= range.into();
                readable && (!write || self.program.kind.packet() == PacketUse::ReadWrite)
            }
            Target::MapValue { map, inner } => {
                let spec = self.spec(map, inner)?;
                inside(spec.value_size) && may(spec, from, to, write)
            }
            Target::MapKey { map } => !write && inside(self.spec(map, false)?.key_size),
            Target::Record { bytes } => inside(bytes),
            Target::Memory { .. } => return Err(Verdict::Outside("memory that a call handed out")),
            Target::Map { .. } if !write => return Err(Verdict::Outside("what a map itself says")),
            Target::Context | Target::PacketEnd | Target::Map { .. } => false,
            Target::Function(_) | Target::Socket | Target::ConstDynptr => false,
        };
        demand(good, format_args!("{size} bytes at {from}..{to} of {target:?}"))?;
        Ok(Reach { target, from: from as i64, to: to as i64, exact: var.as_constant().is_some() })
    }

    /// An access of an instruction: aligned on the stack, and where it is said to be.
    fn access(&self, base: &Abstract, off: i16, size: Size, write: bool) -> Step<Reach> {
        let reach = self.reach(base, off.into(), size.bytes(), write)?;
        if let (Target::Stack { .. }, Some(Pointer { off: fixed, var, .. })) =
            (reach.target, base.as_pointer())
        {
            let known = Scalar::constant((i64::from(fixed) + i64::from(off)) as u64);
            let low =
                Scalar::alu(AluOp::Add, Width::W64, &var, &known).tnum().max() & u64::from(size.bytes() - 1);
            demand(low == 0, "a misaligned access to the stack")?;
        }
        let said = self.facts.insns[self.slot].access;
        let there = match (said, reach.target) {
            (Access::Stack, Target::Stack { .. }) => true,
            (Access::Packet, Target::Packet { .. } | Target::PacketMeta { .. }) => true,
            (Access::MapValue { map: None }, Target::MapValue { .. }) => true,
            (Access::MapValue { map: Some(said) }, Target::MapValue { map, inner: false }) => said == map,
            (Access::Memory, _) => true,
            (Access::None | Access::Context { .. } | Access::Stack | Access::Packet, _) => false,
            (Access::MapValue { .. }, _) => false,
        };
        demand(there, format_args!("is said to go to {said:?}, and goes to {:?}", reach.target))?;
        Ok(reach)
    }

    /// What a field of the context holds.
    fn context(&self, base: &Pointer, off: i16, size: Size, write: bool) -> Step<FieldKind> {
        demand(at_start(base), "a moved context")?;
        let (kind, attach, byte) = (self.program.kind, self.program.attach, off as u32);
        let field = u32::try_from(off).ok().and_then(|off| ContextField::at(kind, off));
        let Some(field) = field else { return refuse("no field of the context") };
        let may = if write { ContextField::may_write } else { ContextField::may_read };
        let whole = byte.is_multiple_of(size.bytes()) && byte + size.bytes() <= field.end();
        demand(
            whole && may(field, kind, attach, byte, size),
            format_args!("byte {off} of the context, {size:?}"),
        )?;
        let said = Access::Context { field, offset: byte };
        demand(self.facts.insns[self.slot].access == said, "is not said to go to this field of the context")?;
        Ok(field.kind())
    }

    /// The value of a field.
    fn field(&mut self, kind: FieldKind, size: Size) -> Step<Abstract> {
        Ok(match kind {
            FieldKind::Number => Abstract::number(Scalar::from_load(size, false)),
            FieldKind::PacketStart => Abstract::pointer(Target::Packet { range: 0 }),
            FieldKind::PacketMeta => Abstract::pointer(Target::PacketMeta { range: 0 }),
            FieldKind::PacketEnd => Abstract::pointer(Target::PacketEnd),
            FieldKind::FullSocket => Abstract::pointer(Target::Socket),
            FieldKind::Socket | FieldKind::FullSocketOrNull => self.found(Target::Socket, true),
            FieldKind::FlowKeys => return Err(Verdict::Outside("flow dissectors")),
        })
    }

    pub(super) fn load(&mut self, base: Reg, off: i16, size: Size) -> Step<Abstract> {
        let value = self.get(base)?;
        if let Some(pointer @ Pointer { target: Target::Context, .. }) = value.as_pointer() {
            let kind = self.context(&pointer, off, size, false)?;
            return self.field(kind, size);
        }
        let reach = self.access(&value, off, size, false)?;
        let any = Abstract::number(Scalar::from_load(size, false));
        let Target::Stack { frame } = reach.target else {
            return Ok(self.constant(&reach, size).unwrap_or(any));
        };
        let fresh = self.fresh();
        let mut stack = Stack(&mut self.state.frames[frame].stack);
        match reach.exact {
            true => {
                stack.name(reach.from, fresh);
                stack.read(reach.from, size)
            }
            false if stack.zeros(reach.from, reach.to) => Ok(Abstract::number(Scalar::constant(0))),
            false => Ok(any),
        }
    }

    pub(super) fn store(&mut self, base: Reg, off: i16, size: Size, value: Abstract) -> Step {
        let at = self.get(base)?;
        if let Some(pointer @ Pointer { target: Target::Context, .. }) = at.as_pointer() {
            return self.context(&pointer, off, size, true).map(|_| ());
        }
        let reach = self.access(&at, off, size, true)?;
        let Target::Stack { frame } = reach.target else { return Ok(()) };
        let escapes = value.as_pointer().is_some_and(|left| matches!(left.target, Target::Stack { .. }));
        let above = frame + 1 < self.state.frames.len();
        demand(!(escapes && above && reach.exact), "a pointer into a frame is left in a caller's")?;
        let mut stack = Stack(&mut self.state.frames[frame].stack);
        if reach.exact {
            return stack.write(reach.from, size, value);
        }
        stack.forget(reach.from, reach.to, value.as_constant() == Some(0));
        Ok(())
    }

    /// The bytes of a frozen map at a known place.
    fn constant(&self, reach: &Reach, size: Size) -> Option<Abstract> {
        let Target::MapValue { map, inner: false } = reach.target else { return None };
        let spec = self.program.maps.get(map as usize).filter(|spec| spec.frozen && reach.exact)?;
        let Initial::Data(data) = &spec.initial else { return None };
        let at = usize::try_from(reach.from).ok()?;
        let bytes = data.get(at..at + size.bytes() as usize)?;
        let value = bytes.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        Some(Abstract::number(Scalar::constant(value)))
    }

    /// Bytes of stack that a frame's function is said to use.
    pub(super) fn stack_bytes(&self, frame: usize) -> u32 {
        let function =
            self.state.frames.get(frame).and_then(|frame| self.facts.functions.get(frame.function));
        function.map_or(0, |function| function.stack_bytes.min(MAX_STACK as u32))
    }
}

/// Whether a pointer is to the very start of something that is there.
pub(super) fn at_start(pointer: &Pointer) -> bool {
    !pointer.maybe_null && pointer.off == 0 && pointer.var.as_constant() == Some(0)
}

/// What a map lets programs do with these bytes of its value.
fn may(spec: &MapSpec, from: i128, to: i128, write: bool) -> bool {
    let devices = matches!(spec.kind, MapKind::Devmap | MapKind::DevmapHash);
    let closed = match write {
        true => spec.frozen || devices || spec.flags & create_flags::RDONLY_PROG != 0,
        false => spec.flags & create_flags::WRONLY_PROG != 0,
    };
    let mut special = spec.fields.iter().map(|field| field.bytes());
    !closed && !special.any(|bytes| from < bytes.end.into() && to > bytes.start.into())
}
