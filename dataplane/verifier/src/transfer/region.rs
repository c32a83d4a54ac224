//! Whether an access lies inside the memory it goes to, kind by kind.

use weir_ebpf::abi::map_kind::create_flags;
use weir_ebpf::abi::{MAX_STACK, MapKind};
use weir_ebpf::isa::{Insn, Reg, Source};
use weir_ebpf::program::{Foreign, ValueField};

use crate::bugs::{Bug, seeded};
use crate::explore::{Check, Explorer};
use crate::facts::Access;
use crate::reject::{Reject, drop_code};
use crate::rule::Rule;
use crate::transfer::alu::OFFSET_MAX;
use crate::value::{Kind, MapRef, Pointer, SocketView, Value};

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Out of memory.
    Read,
    /// Into memory.
    Write,
}

impl Explorer<'_> {
    /// Refuses an access that is not aligned, where that is asked for (`check_ptr_alignment`).
    pub(crate) fn check_alignment(&self, pointer: &Pointer, off: i64, size: u32, always: bool) -> Check {
        let strict = always || self.program.strict_alignment;
        let (strict, what) = match pointer.kind {
            _ if pointer.maybe_null => (strict, ""),
            Kind::Packet { .. } | Kind::PacketMeta { .. } => (strict, "packet "),
            Kind::Stack { .. } => (!seeded(Bug::StackMisaligned), "stack "),
            Kind::Context => (strict, "context "),
            Kind::MapValue(_) => (strict, "value "),
            Kind::MapKey(_) => (strict, "key "),
            Kind::FlowKeys => (strict, "flow keys "),
            Kind::Socket(SocketView::Common) => (strict, "sock_common "),
            Kind::Socket(SocketView::Full) => (strict, "sock "),
            Kind::Socket(SocketView::Tcp) => (strict, "tcp_sock "),
            Kind::Socket(SocketView::Xdp) => (strict, "xdp_sock "),
            Kind::PacketEnd
            | Kind::Map(_)
            | Kind::Record { .. }
            | Kind::Memory { .. }
            | Kind::ConstDynptr
            | Kind::Kernel(_)
            | Kind::Function(_) => (strict, ""),
        };
        if !strict || size == 1 {
            return Ok(());
        }
        let tnum = pointer.var.tnum();
        // Strict alignment means what machines that need it have: headers start at 2 (NET_IP_ALIGN).
        let start = if pointer.kind.is_packet() { 2 } else { 0 };
        let known = (start + i64::from(pointer.off) + off).wrapping_add(tnum.value() as i64);
        let low = u64::from(size) - 1;
        if tnum.mask() & low == 0 && known as u64 & low == 0 {
            return Ok(());
        }
        let var = number_text(pointer);
        let start = if start == 0 { String::new() } else { format!("{start}+") };
        let message = format!("misaligned {what}access off {start}{var}+{}+{off} size {size}", pointer.off);
        self.refuse(Rule::Misaligned, message)
    }

    /// The pointer has no offset at all (`check_ptr_off_reg`).
    pub(crate) fn check_unmoved(&self, reg: Reg, pointer: &Pointer) -> Check {
        let (regno, text) = (reg.index(), pointer.kind.text());
        if seeded(Bug::ContextMoved) {
            return Ok(());
        }
        if pointer.off < 0 {
            let message = format!("negative offset {text} ptr R{regno} off={} disallowed", pointer.off);
            return self.refuse(Rule::ContextModified, message);
        }
        if pointer.off != 0 {
            let message =
                format!("dereference of modified {text} ptr R{regno} off={} disallowed", pointer.off);
            return self.refuse(Rule::ContextModified, message);
        }
        if pointer.var.as_constant() != Some(0) {
            let message = format!("variable {text} access var_off={} disallowed", number_text(pointer));
            return self.refuse(Rule::ContextModified, message);
        }
        Ok(())
    }

    /// An access to the packet lies in the proven part (`check_packet_access`).
    pub(crate) fn check_packet(
        &self,
        reg: Reg,
        pointer: &Pointer,
        off: i32,
        size: u32,
        zero_allowed: bool,
    ) -> Check {
        let regno = reg.index();
        if pointer.var.smin() < 0 && !seeded(Bug::PacketNegative) {
            return self.negative(regno);
        }
        let range = match pointer.kind {
            Kind::Packet { range } | Kind::PacketMeta { range } => range,
            _ => 0,
        };
        let from = i64::from(pointer.off) + i64::from(off);
        let sized = size > 0 || zero_allowed;
        let reach = if seeded(Bug::PacketSizeIgnored) { 1 } else { size };
        if from >= 0 && sized && from + i64::from(reach) <= i64::from(range) {
            return Ok(());
        }
        let message = match pointer.past_end {
            true => format!("R{regno} offset is outside of the packet"),
            false => format!(
                "invalid access to packet, off={from} size={size}, R{regno}(id={},off={from},r={range})",
                pointer.id
            ),
        };
        let start = if pointer.id == 0 { "data" } else { "pointer" };
        let (reach, code) = (from + i64::from(size), drop_code(self.program.kind));
        let mut reject = Reject::new(self.slot, Rule::PacketPastEnd, message);
        reject.help = Some(format!("if ({start} + {reach} > data_end) return {code};"));
        Err(Box::new(reject))
    }

    fn negative<T>(&self, regno: usize) -> Check<T> {
        let message = format!(
            "R{regno} min value is negative, either use unsigned index or do a if (index >=0) check."
        );
        self.refuse(Rule::NegativeOffset, message)
    }

    /// An access lies inside a region of known size (`check_mem_region_access`).
    pub(crate) fn check_region(
        &self,
        reg: Reg,
        pointer: &Pointer,
        off: i32,
        size: u32,
        region: u32,
        zero_allowed: bool,
    ) -> Check {
        let regno = reg.index();
        let off = i64::from(pointer.off) + i64::from(off);
        let (smin, mut umax) = (pointer.var.smin(), pointer.var.umax());
        if seeded(Bug::RegionNegative) {
            umax = pointer.var.smax().max(0) as u64;
        }
        if smin < 0
            && !seeded(Bug::RegionNegative)
            && (smin == i64::MIN || i32::try_from(off + smin).is_err() || off + smin < 0)
        {
            return self.negative(regno);
        }
        let inside = |from: i64| {
            from >= 0
                && (size > 0 || zero_allowed)
                && from + i64::from(size) <= i64::from(region) + i64::from(seeded(Bug::RegionOffByOne))
        };
        if !inside(smin.saturating_add(off)) && !seeded(Bug::RegionNegative) {
            return self.outside(regno, pointer, smin.saturating_add(off), size, region);
        }
        if seeded(Bug::RegionUnbounded) {
            return Ok(());
        }
        if umax >= OFFSET_MAX as u64 {
            let message =
                format!("R{regno} unbounded memory access, make sure to bounds check any such access");
            return self.refuse(Rule::UnboundedOffset, message);
        }
        if !inside(umax as i64 + off) {
            return self.outside(regno, pointer, umax as i64 + off, size, region);
        }
        Ok(())
    }

    fn outside(&self, regno: usize, pointer: &Pointer, off: i64, size: u32, region: u32) -> Check {
        let (rule, message) = match pointer.kind {
            Kind::MapValue(_) => (
                Rule::MapValueBounds,
                format!("invalid access to map value, value_size={region} off={off} size={size}"),
            ),
            Kind::MapKey(_) => (
                Rule::MapValueBounds,
                format!("invalid access to map key, key_size={region} off={off} size={size}"),
            ),
            _ => (
                Rule::MemoryBounds,
                format!("invalid access to memory, mem_size={region} off={off} size={size}"),
            ),
        };
        debug_assert!(regno < Reg::COUNT);
        self.refuse(rule, message)
    }

    /// An access to a map's value (`check_map_access_type`, `check_map_access`).
    pub(crate) fn check_map_value(
        &self,
        reg: Reg,
        pointer: &Pointer,
        map: MapRef,
        off: i32,
        size: u32,
        direction: Direction,
    ) -> Check {
        self.check_map_value_sized(reg, pointer, map, off, size, direction, false)
    }

    #[allow(clippy::too_many_arguments, reason = "an access is that many facts")]
    pub(crate) fn check_map_value_sized(
        &self,
        reg: Reg,
        pointer: &Pointer,
        map: MapRef,
        off: i32,
        size: u32,
        direction: Direction,
        zero_allowed: bool,
    ) -> Check {
        let Some(spec) = map.spec(self.program) else {
            return self.refuse(Rule::Unsupported, "the inner map's shape is not declared");
        };
        let whole = i64::from(pointer.off) + i64::from(off);
        let value_size = spec.value_size;
        let devices = matches!(spec.kind, MapKind::Devmap | MapKind::DevmapHash);
        let read_only = spec.flags & create_flags::RDONLY_PROG != 0 || spec.frozen || devices;
        if direction == Direction::Write && read_only && !seeded(Bug::WriteReadOnly) {
            let message =
                format!("write into map forbidden, value_size={value_size} off={whole} size={size}");
            return self.refuse(Rule::MapReadOnly, message);
        }
        if direction == Direction::Read && spec.flags & create_flags::WRONLY_PROG != 0 {
            let message = format!("read from map forbidden, value_size={value_size} off={whole} size={size}");
            return self.refuse(Rule::MapWriteOnly, message);
        }
        self.check_region(reg, pointer, off, size, value_size, zero_allowed)?;
        let from = whole + pointer.var.smin();
        let to = whole + pointer.var.umax() as i64 + i64::from(size);
        for field in &spec.fields {
            let (at, bytes, name) = (i64::from(field.offset()), i64::from(field.size()), field.name());
            if from < at + bytes && at < to && !seeded(Bug::SpecialField) {
                if let ValueField::Foreign { what, .. } = field
                    && what.tag().is_some()
                {
                    return self.refuse_pointer_field(*what, pointer, (whole, at), size);
                }
                let message = format!("{name} cannot be accessed directly by load/store");
                return self.refuse(Rule::MapField, message);
            }
        }
        Ok(())
    }

    /// Refuses to touch a pointer of the kernel's in a map's value, in its words as far as it would refuse, too
    /// (`check_map_access`, `check_map_kptr_access`): nothing here ever puts one there.
    fn refuse_pointer_field<T>(
        &self,
        what: Foreign,
        pointer: &Pointer,
        (off, wanted): (i64, i64),
        size: u32,
    ) -> Check<T> {
        let name = what.name();
        let stored = match self.program.insns[self.slot] {
            Insn::Load { .. } => None,
            Insn::Store { src, .. } => Some(self.source(src)?),
            Insn::Call { .. } | Insn::CallKfunc { .. } => {
                let message = format!("{name} cannot be accessed indirectly by helper");
                return self.refuse(Rule::MapField, message);
            }
            _ => Some(Value::unknown()),
        };
        let Some(var) = pointer.var.as_constant() else {
            return self.refuse(Rule::MapField, format!("{name} access cannot have variable offset"));
        };
        let found = off.wrapping_add(var as i64);
        let message = match stored {
            _ if found != wanted => format!("{name} access misaligned expected={wanted} off={found}"),
            _ if size != 8 => format!("{name} access size must be BPF_DW"),
            _ if matches!(self.program.insns[self.slot], Insn::Atomic { .. }) => {
                "kptr in map can only be accessed using BPF_MEM instruction mode".to_owned()
            }
            Some(_) if matches!(what, Foreign::CountedPointer | Foreign::PercpuPointer) => {
                "store to referenced kptr disallowed".to_owned()
            }
            Some(_) if what == Foreign::UserPointer => "store to uptr disallowed".to_owned(),
            Some(Value::Number(_)) if matches!(self.program.insns[self.slot], Insn::Store { src: Source::Imm(imm), .. } if imm != 0) =>
            {
                format!("BPF_ST imm must be 0 when storing to kptr at off={wanted}")
            }
            _ => {
                let message = format!("weir has no pointers of the kernel ({name}) in maps");
                return self.refuse(Rule::Unsupported, message);
            }
        };
        self.refuse(Rule::MapField, message)
    }

    /// An access to a stack; answers the bytes it may touch, as offsets from the frame's r10
    /// (`check_stack_access_within_bounds`).
    pub(crate) fn check_stack(
        &mut self,
        reg: Reg,
        pointer: &Pointer,
        off: i32,
        size: u32,
        direction: Direction,
    ) -> Check<(i64, i64)> {
        let regno = reg.index();
        let off = i64::from(pointer.off) + i64::from(off);
        let way = if direction == Direction::Read { " read from" } else { " write to" };
        let (from, last) = match pointer.var.as_constant() {
            Some(var) => (off.saturating_add(var as i64), off.saturating_add(var as i64)),
            None => {
                let (smin, smax) = (pointer.var.smin(), pointer.var.smax());
                if smax >= OFFSET_MAX || smin <= -OFFSET_MAX {
                    let message = format!("invalid unbounded variable-offset{way} stack R{regno}");
                    return self.refuse(Rule::StackBounds, message);
                }
                (off + smin, off + smax)
            }
        };
        let to = last.saturating_add(i64::from(size));
        let lowest = MAX_STACK as i64 + if seeded(Bug::LooseStackBounds) { 8 } else { 0 };
        if from < -lowest || from > -1 || to > 0 {
            let message = if pointer.var.as_constant().is_some() {
                format!("invalid{way} stack R{regno} off={from} size={size}")
            } else {
                let var = number_text(pointer);
                format!("invalid variable-offset{way} stack R{regno} var_off={var} off={off} size={size}")
            };
            return self.refuse(Rule::StackBounds, message);
        }
        if let Kind::Stack { frame } = pointer.kind {
            let function = self.state.frames[usize::from(frame)].function;
            let used = &mut self.stack_used[function];
            *used = (*used).max((-from) as u32);
        }
        Ok((from, to))
    }

    /// Notes where an instruction goes, and refuses one that goes to the context on some paths only
    /// (`save_aux_ptr_type`).
    pub(crate) fn note_access(&mut self, access: Access) -> Check {
        let noted = &mut self.facts.insns[self.slot].access;
        let special = |access: &Access| matches!(access, Access::Context { .. });
        let merged = match (*noted, access) {
            (_, new) if seeded(Bug::AccessOfLast) => new,
            (Access::None, new) => new,
            (old, new) if old == new => old,
            (old, new) if special(&old) || special(&new) => {
                return self.refuse(Rule::PointerMix, "same insn cannot be used with different pointers");
            }
            (Access::MapValue { .. }, Access::MapValue { .. }) => Access::MapValue { map: None },
            (_, _) => Access::Memory,
        };
        *noted = merged;
        Ok(())
    }

    pub(crate) fn note_map_access(&mut self, map: MapRef) -> Check {
        self.note_access(Access::MapValue { map: (!map.inner).then_some(map.map) })
    }
}

/// A pointer's variable part as the kernel prints known bits (`tnum_strn`).
pub(crate) fn number_text(pointer: &Pointer) -> String {
    match pointer.var.as_constant() {
        Some(value) if value <= u64::from(u16::MAX) => value.to_string(),
        Some(value) => format!("{value:#x}"),
        None => format!("({:#x}; {:#x})", pointer.var.tnum().value(), pointer.var.tnum().mask()),
    }
}
