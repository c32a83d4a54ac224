//! Loads, stores and atomics (`check_mem_access`, `check_atomic`, kernel/bpf/verifier.c).

use std::rc::Rc;

use weir_ebpf::abi::context::FieldKind;
use weir_ebpf::abi::{
    ContextField, KernelStruct, MAP_HEAD_BYTES, MapField, MapFieldKind, MapKind, PacketUse,
};
use weir_ebpf::isa::{AtomicOp, Reg, Size, Source};
use weir_ebpf::program::Initial;

use crate::bugs::{Bug, seeded};
use crate::explore::{Check, Explorer};
use crate::facts::Access;
use crate::rule::Rule;
use crate::scalar::Scalar;
use crate::stack::BadFill;
use crate::transfer::alu::is_positive;
use crate::transfer::region::Direction;
use crate::value::{Kind, MapRef, Pointer, SocketView, Value};

/// The kernel's structure of a map (`map_btf_id`).
fn struct_of(kind: Option<MapKind>) -> &'static str {
    use MapKind::*;
    match kind {
        Some(Hash | PercpuHash | LruHash | LruPercpuHash | HashOfMaps) => "bpf_htab",
        Some(Array | PercpuArray | ProgArray | PerfEventArray | CgroupArray | ArrayOfMaps) => "bpf_array",
        Some(LpmTrie) => "lpm_trie",
        Some(Queue | Stack) => "bpf_queue_stack",
        Some(Ringbuf) => "bpf_ringbuf_map",
        Some(StackTrace) => "bpf_stack_map",
        Some(Devmap | DevmapHash) => "bpf_dtab",
        Some(Cpumap) => "bpf_cpu_map",
        Some(Xskmap) => "xsk_map",
        Some(BloomFilter) => "bpf_bloom_filter",
        Some(Sockmap) => "bpf_stab",
        Some(Sockhash) => "bpf_shtab",
        Some(SkStorage) => "bpf_local_storage_map",
        Some(ReuseportSockarray) => "reuseport_array",
        Some(CgroupStorage | PercpuCgroupStorage) => "bpf_cgroup_storage_map",
        None => "bpf_map",
    }
}

/// Bytes of `struct bpf_flow_keys`.
const FLOW_KEYS_BYTES: i64 = 56;

/// An access of an instruction: through this register, there, this much.
#[derive(Clone, Copy)]
pub(crate) struct Touch {
    pub(crate) base: Reg,
    pub(crate) off: i32,
    pub(crate) size: Size,
    /// Alignment is asked for everywhere (atomics).
    pub(crate) aligned: bool,
}

impl Explorer<'_> {
    pub(crate) fn load(&mut self, size: Size, signed: bool, dst: Reg, base: Reg, off: i16) -> Check {
        let touch = Touch { base, off: off.into(), size, aligned: false };
        self.load_into(touch, signed, dst)
    }

    fn load_into(&mut self, touch: Touch, signed: bool, dst: Reg) -> Check {
        let loaded = self.load_value(touch)?;
        let value = match loaded {
            Value::Number(number)
                if signed && !is_positive(&number, touch.size) && !seeded(Bug::SignedLoad) =>
            {
                Value::Number(number.made_into(number.range.movsx(weir_ebpf::isa::Width::W64, touch.size)))
            }
            Value::Pointer(_) if signed => {
                let message =
                    format!("invalid bpf_context access off={} size={}", touch.off, touch.size.bytes());
                return self.refuse(Rule::ContextAccess, message);
            }
            other => other,
        };
        self.state.set(dst, value);
        Ok(())
    }

    pub(crate) fn load_acquire(&mut self, size: Size, dst: Reg, base: Reg, off: i16) -> Check {
        let through = self.read(base)?;
        self.load_into(Touch { base, off: off.into(), size, aligned: true }, false, dst)?;
        self.check_atomic_target(base, through, "loads from")
    }

    pub(crate) fn store(&mut self, size: Size, base: Reg, off: i16, src: Source) -> Check {
        let value = self.stored(size, base, src)?;
        self.store_value(Touch { base, off: off.into(), size, aligned: false }, value)
    }

    /// The value of a store. A number that is spilled whole is linked to its copy.
    fn stored(&mut self, size: Size, base: Reg, src: Source) -> Check<Value> {
        let value = self.source(src)?;
        let spilled =
            matches!(self.state.reg(base), Value::Pointer(Pointer { kind: Kind::Stack { .. }, .. }));
        let whole = match value {
            Value::Number(number) => size == Size::DW || number.range.umax() >> (8 * size.bytes()) == 0,
            Value::Pointer(_) | Value::NotInit => false,
        };
        Ok(match src {
            Source::Reg(reg) if spilled && whole => self.link(reg, value),
            Source::Reg(_) | Source::Imm(_) => value,
        })
    }

    pub(crate) fn store_release(&mut self, size: Size, base: Reg, off: i16, src: Reg) -> Check {
        let value = self.stored(size, base, Source::Reg(src))?;
        let through = self.read(base)?;
        self.store_value(Touch { base, off: off.into(), size, aligned: true }, value)?;
        self.check_atomic_target(base, through, "stores into")
    }

    pub(crate) fn atomic(&mut self, size: Size, op: AtomicOp, base: Reg, off: i16, src: Reg) -> Check {
        if !matches!(size, Size::W | Size::DW) {
            return self.refuse(Rule::BadInstruction, "invalid atomic operand size");
        }
        self.read(src)?;
        if op == AtomicOp::CmpXchg {
            self.read(Reg::R0)?;
        }
        self.check_atomic_target(base, self.read(base)?, "stores into")?;
        let touch = Touch { base, off: off.into(), size, aligned: true };
        let old = match self.load_value(touch)? {
            Value::Number(old) if seeded(Bug::RootsOfFetch) => Value::ranged(old.range),
            old => old,
        };
        // As in the kernel, the old value arrives first: the base must not be its register.
        match op {
            AtomicOp::CmpXchg if seeded(Bug::CmpxchgKeepsR0) => {}
            AtomicOp::CmpXchg => self.state.set(Reg::R0, old),
            _ if seeded(Bug::FetchKeepsSource) => {}
            AtomicOp::FetchAdd
            | AtomicOp::FetchOr
            | AtomicOp::FetchAnd
            | AtomicOp::FetchXor
            | AtomicOp::Xchg => self.state.set(src, old),
            AtomicOp::Add | AtomicOp::Or | AtomicOp::And | AtomicOp::Xor => {}
        }
        if seeded(Bug::AtomicKeepsMemory) {
            return Ok(());
        }
        self.store_value(touch, Value::NotInit)
    }

    /// Whether atomics may go through a pointer (`atomic_ptr_type_ok`). Loads and stores that order others are asked
    /// last, as in the kernel.
    fn check_atomic_target(&self, base: Reg, through: Value, verb: &str) -> Check {
        if let Value::Pointer(pointer) = through {
            let refused = match pointer.kind {
                Kind::Context
                | Kind::Packet { .. }
                | Kind::PacketMeta { .. }
                | Kind::FlowKeys
                | Kind::Socket(_)
                | Kind::Kernel(_)
                | Kind::ConstDynptr => true,
                Kind::Stack { .. }
                | Kind::PacketEnd
                | Kind::Map(_)
                | Kind::MapValue(_)
                | Kind::MapKey(_)
                | Kind::Record { .. }
                | Kind::Memory { .. }
                | Kind::Function(_) => false,
            };
            if refused {
                let (regno, text) = (base.index(), pointer.text());
                let message = format!("BPF_ATOMIC {verb} R{regno} {text} is not allowed");
                return self.refuse(Rule::AtomicTarget, message);
            }
        }
        Ok(())
    }

    /// The pointer in a base register, if memory may be accessed through it at all.
    fn base(&self, reg: Reg) -> Check<Pointer> {
        let value = self.read(reg)?;
        let regno = reg.index();
        match value {
            Value::Pointer(pointer) if !pointer.maybe_null || seeded(Bug::NullUnchecked) => Ok(pointer),
            Value::Pointer(pointer) => {
                let message = format!("R{regno} invalid mem access '{}'", pointer.text());
                self.refuse(Rule::MaybeNull, message)
            }
            Value::Number(_) | Value::NotInit => {
                let message = format!("R{regno} invalid mem access '{}'", value.text());
                self.refuse(Rule::NotAPointer, message)
            }
        }
    }

    /// Alignment comes first, where it is asked for, also of what is no address at all.
    fn check_touch_aligned(&self, touch: Touch) -> Check {
        let pointer = match self.read(touch.base)? {
            Value::Pointer(pointer) => pointer,
            Value::Number(number) => Pointer { var: number.range, ..Pointer::new(Kind::ConstDynptr) },
            Value::NotInit => return Ok(()),
        };
        self.check_alignment(&pointer, i64::from(touch.off), touch.size.bytes(), touch.aligned)
    }

    /// What a load gives, and that it may be done.
    fn load_value(&mut self, touch: Touch) -> Check<Value> {
        self.check_touch_aligned(touch)?;
        let pointer = self.base(touch.base)?;
        let bytes = touch.size.bytes();
        let any = Value::ranged(Scalar::from_load(touch.size, false));
        match pointer.kind {
            Kind::Context => self.load_context(touch, &pointer),
            Kind::Stack { frame } => {
                self.note_access(Access::Stack)?;
                self.load_stack(touch, &pointer, frame)
            }
            Kind::Packet { .. } | Kind::PacketMeta { .. } => {
                self.note_access(Access::Packet)?;
                self.check_packet(touch.base, &pointer, touch.off, bytes, false)?;
                Ok(any)
            }
            Kind::MapValue(map) => {
                self.note_map_access(map)?;
                self.check_map_value(touch.base, &pointer, map, touch.off, bytes, Direction::Read)?;
                Ok(self.constant_of(touch, &pointer, map).unwrap_or(any))
            }
            Kind::MapKey(map) => {
                self.note_access(Access::Memory)?;
                let size = map.spec(self.program).map_or(0, |spec| spec.key_size);
                self.check_region(touch.base, &pointer, touch.off, bytes, size, false)?;
                Ok(any)
            }
            Kind::Record { bytes: size } | Kind::Memory { bytes: size, .. } => {
                self.note_access(Access::Memory)?;
                self.check_region(touch.base, &pointer, touch.off, bytes, size, false)?;
                Ok(any)
            }
            Kind::FlowKeys => {
                self.note_access(Access::Memory)?;
                self.check_flow_keys(&pointer, touch)?;
                Ok(any)
            }
            Kind::Socket(view) => {
                self.note_access(Access::Memory)?;
                let off = i64::from(pointer.off) + i64::from(touch.off);
                if !view.may_read(off, i64::from(bytes)) {
                    let (regno, text) = (touch.base.index(), view.text());
                    let message = format!("R{regno} invalid {text} access off={off} size={bytes}");
                    return self.refuse(Rule::MemoryBounds, message);
                }
                Ok(any)
            }
            Kind::Kernel(of) => {
                self.note_access(Access::Memory)?;
                self.check_kernel_access(touch, &pointer, of)?;
                Ok(any)
            }
            Kind::Map(map) => {
                self.note_access(Access::Memory)?;
                self.look_into_map(touch, &pointer, map)
            }
            Kind::PacketEnd | Kind::ConstDynptr | Kind::Function(_) => {
                let message = format!("R{} invalid mem access '{}'", touch.base.index(), pointer.text());
                self.refuse(Rule::NotAPointer, message)
            }
        }
    }

    /// Stores a value; `NotInit` stands for bytes of which nothing is known.
    fn store_value(&mut self, touch: Touch, value: Value) -> Check {
        self.check_touch_aligned(touch)?;
        let pointer = self.base(touch.base)?;
        let bytes = touch.size.bytes();
        let regno = touch.base.index();
        match pointer.kind {
            Kind::Context => self.store_context(touch, &pointer),
            Kind::Stack { frame } => {
                self.note_access(Access::Stack)?;
                self.store_stack(touch, &pointer, frame, value)
            }
            Kind::Packet { .. } | Kind::PacketMeta { .. } => {
                self.note_access(Access::Packet)?;
                if self.program.kind.packet() != PacketUse::ReadWrite {
                    return self.refuse(Rule::PacketWrite, "cannot write into packet");
                }
                self.check_packet(touch.base, &pointer, touch.off, bytes, false)
            }
            Kind::MapValue(map) => {
                self.note_map_access(map)?;
                self.check_map_value(touch.base, &pointer, map, touch.off, bytes, Direction::Write)
            }
            Kind::MapKey(_) => {
                self.refuse(Rule::ReadOnlyMemory, format!("write to change key R{regno} not allowed"))
            }
            Kind::Memory { writable: false, .. } => {
                self.refuse(Rule::ReadOnlyMemory, format!("R{regno} cannot write into rdonly_mem"))
            }
            Kind::Record { bytes: size } | Kind::Memory { bytes: size, .. } => {
                self.note_access(Access::Memory)?;
                self.check_region(touch.base, &pointer, touch.off, bytes, size, false)
            }
            Kind::FlowKeys => {
                self.note_access(Access::Memory)?;
                self.check_flow_keys(&pointer, touch)
            }
            Kind::Socket(view) => {
                self.refuse(Rule::ReadOnlyMemory, format!("R{regno} cannot write into {}", view.text()))
            }
            // A connection's mark (`nf_conntrack_btf_struct_access`), wherever the object has it.
            Kind::Kernel(of @ (KernelStruct::NfConn | KernelStruct::NfConnInit)) if bytes == 4 => {
                self.note_access(Access::Memory)?;
                self.check_kernel_access(touch, &pointer, of)
            }
            Kind::Kernel(_) => self.refuse(Rule::ReadOnlyMemory, "only read is supported"),
            Kind::Map(map) => {
                let found = struct_of(map.spec(self.program).map(|spec| spec.kind));
                self.refuse(Rule::ReadOnlyMemory, format!("only read from {found} is supported"))
            }
            Kind::PacketEnd | Kind::ConstDynptr | Kind::Function(_) => {
                let message = format!("R{regno} invalid mem access '{}'", pointer.text());
                self.refuse(Rule::NotAPointer, message)
            }
        }
    }

    /// An access of a structure of the kernel, inside it (`check_ptr_to_btf_access`).
    fn check_kernel_access(&self, touch: Touch, pointer: &Pointer, of: KernelStruct) -> Check {
        let regno = touch.base.index();
        if of.bytes() == 0 {
            let message = format!("weir has no struct {} of the kernel to look into", of.name());
            return self.refuse(Rule::Unsupported, message);
        }
        let Some(offset) = pointer.constant_offset() else {
            let message = format!("R{regno} is ptr_{} invalid variable offset", of.name());
            return self.refuse(Rule::MemoryBounds, message);
        };
        let offset = offset + i64::from(touch.off);
        let inside = offset >= 0 && offset + i64::from(touch.size.bytes()) <= i64::from(of.bytes());
        if !inside {
            let message =
                format!("access beyond struct {} at off {offset} size {}", of.name(), touch.size.bytes());
            return self.refuse(Rule::MemoryBounds, message);
        }
        Ok(())
    }

    /// The field of the context that an access touches, which must be through `r1` as it was given.
    fn context_field(&self, touch: Touch, pointer: &Pointer) -> Check<ContextField> {
        self.check_unmoved(touch.base, pointer)?;
        let refused = || {
            let message = format!("invalid bpf_context access off={} size={}", touch.off, touch.size.bytes());
            self.refuse(Rule::ContextAccess, message)
        };
        let bytes = touch.size.bytes() as i32;
        let field = u32::try_from(touch.off).ok().and_then(|off| ContextField::at(self.program.kind, off));
        match field {
            Some(field) if touch.off % bytes == 0 && touch.off + bytes <= field.end() as i32 => Ok(field),
            _ => refused(),
        }
    }

    fn load_context(&mut self, touch: Touch, pointer: &Pointer) -> Check<Value> {
        let field = self.context_field(touch, pointer)?;
        let (kind, attach) = (self.program.kind, self.program.attach);
        if !field.may_read(kind, attach, touch.off as u32, touch.size) {
            let message = format!("invalid bpf_context access off={} size={}", touch.off, touch.size.bytes());
            return self.refuse(Rule::ContextAccess, message);
        }
        self.note_access(Access::Context { field, offset: touch.off as u32 })?;
        Ok(match field.kind() {
            FieldKind::Number => Value::ranged(Scalar::from_load(touch.size, false)),
            FieldKind::PacketStart => Value::Pointer(Pointer::new(Kind::Packet { range: 0 })),
            FieldKind::PacketMeta => Value::Pointer(Pointer::new(Kind::PacketMeta { range: 0 })),
            FieldKind::PacketEnd => Value::Pointer(Pointer::new(Kind::PacketEnd)),
            FieldKind::Socket => self.socket_of_context(SocketView::Common, true),
            FieldKind::FullSocket => self.socket_of_context(SocketView::Full, false),
            FieldKind::FullSocketOrNull => self.socket_of_context(SocketView::Full, true),
            FieldKind::FlowKeys => Value::Pointer(Pointer::new(Kind::FlowKeys)),
        })
    }

    /// A load through a map itself (`check_ptr_to_map_access`, `btf_struct_walk`): of the structure that it begins
    /// with, as much as weir's maps have.
    fn look_into_map(&self, touch: Touch, pointer: &Pointer, map: MapRef) -> Check<Value> {
        let (off, size) = (i64::from(pointer.off) + i64::from(touch.off), touch.size.bytes());
        let found = struct_of(map.spec(self.program).map(|spec| spec.kind));
        let Ok(start) = u32::try_from(off) else {
            let regno = touch.base.index();
            let message = format!("R{regno} is {found} invalid negative access: off={off}");
            return self.refuse(Rule::NotAPointer, message);
        };
        if start >= MAP_HEAD_BYTES {
            let message = format!("weir has no more of struct {found} than its first {MAP_HEAD_BYTES} bytes");
            return self.refuse(Rule::Unsupported, message);
        }
        let Some(field) = MapField::touched(start, start + size) else {
            let message = format!("struct bpf_map doesn't have field at offset {start}");
            return self.refuse(Rule::MemoryBounds, message);
        };
        let (name, from, end) = (field.name(), field.offset(), field.offset() + field.bytes());
        let whole = (start, size) == (from, field.bytes());
        match field.kind() {
            MapFieldKind::Pointer(_) if start >= from && !whole => {
                let message = format!(
                    "cannot access ptr member {name} with moff {from} in struct bpf_map with off {start} size {size}"
                );
                self.refuse(Rule::MemoryBounds, message)
            }
            _ if start < from => {
                let message = format!("struct bpf_map doesn't have field at offset {start}");
                self.refuse(Rule::MemoryBounds, message)
            }
            MapFieldKind::Pointer(of) => Ok(Value::Pointer(Pointer::new(Kind::Kernel(of)))),
            MapFieldKind::Number if start + size > end => {
                let message = format!(
                    "access beyond the end of member {name} (mend:{end}) in struct bpf_map with off {start} size {size}"
                );
                self.refuse(Rule::MemoryBounds, message)
            }
            MapFieldKind::Number => Ok(Value::ranged(Scalar::from_load(touch.size, false))),
        }
    }

    fn socket_of_context(&mut self, view: SocketView, maybe_null: bool) -> Value {
        let id = if maybe_null { self.new_id() } else { 0 };
        Value::Pointer(Pointer { maybe_null, id, ..Pointer::new(Kind::Socket(view)) })
    }

    /// An access to the keys of the flow dissector (`check_flow_keys_access`).
    fn check_flow_keys(&self, pointer: &Pointer, touch: Touch) -> Check {
        let (off, size) = (i64::from(pointer.off) + i64::from(touch.off), i64::from(touch.size.bytes()));
        if off >= 0 && off + size <= FLOW_KEYS_BYTES {
            return Ok(());
        }
        self.refuse(Rule::MemoryBounds, format!("invalid access to flow keys off={off} size={size}"))
    }

    fn store_context(&mut self, touch: Touch, pointer: &Pointer) -> Check {
        let field = self.context_field(touch, pointer)?;
        let (kind, attach) = (self.program.kind, self.program.attach);
        let allowed = field.may_write(kind, attach, touch.off as u32, touch.size);
        if !allowed && !seeded(Bug::ContextReadOnly) {
            let message = format!("invalid bpf_context access off={} size={}", touch.off, touch.size.bytes());
            return self.refuse(Rule::ContextAccess, message);
        }
        self.note_access(Access::Context { field, offset: touch.off as u32 })
    }

    fn load_stack(&mut self, touch: Touch, pointer: &Pointer, frame: u8) -> Check<Value> {
        let bytes = touch.size.bytes();
        let (from, to) = self.check_stack(touch.base, pointer, touch.off, bytes, Direction::Read)?;
        self.check_no_object(None, frame, from, to)?;
        self.note_stack_read(frame, from, to);
        let known = pointer.var.as_constant().is_some();
        if known {
            self.link_fill(frame, from, bytes);
        }
        let stack = &self.state.frames[usize::from(frame)].stack;
        if known {
            return match stack.read(from, bytes) {
                Ok(Value::Number(number)) if number.range.is_unknown() && bytes < 8 => {
                    Ok(Value::ranged(Scalar::from_load(touch.size, false)))
                }
                Ok(value) => Ok(value),
                Err(BadFill::PointerPart) => self.refuse(Rule::StackBounds, "invalid size of register fill"),
            };
        }
        let any = Value::ranged(Scalar::from_load(touch.size, false));
        Ok(stack.all_zero(from, to).unwrap_or(any))
    }

    /// Names a number that is about to be filled whole from the stack, so that what is learned of the register
    /// holds for the slot (`check_stack_read_fixed_off`).
    fn link_fill(&mut self, frame: u8, off: i64, bytes: u32) {
        let frame = usize::from(frame);
        let Some(number) = self.state.frames[frame].stack.spilled_whole(off, bytes) else { return };
        if number.id == 0 && number.range.as_constant().is_none() {
            let id = self.new_id();
            let stack = &mut Rc::make_mut(&mut self.state.frames[frame]).stack;
            stack.name_spilled(off, id);
        }
    }

    /// Notes it when some byte of `from..to` that is read was not written on this path.
    pub(crate) fn note_stack_read(&mut self, frame: u8, from: i64, to: i64) {
        let frame = &self.state.frames[usize::from(frame)];
        if frame.stack.is_unwritten(from, to) {
            self.facts.functions[frame.function].reads_unwritten = true;
        }
    }

    fn store_stack(&mut self, touch: Touch, pointer: &Pointer, frame: u8, value: Value) -> Check {
        let bytes = touch.size.bytes();
        let (from, to) = self.check_stack(touch.base, pointer, touch.off, bytes, Direction::Write)?;
        self.overwrite(frame, from, to)?;
        let current = self.state.frames.len() - 1;
        let known = pointer.var.as_constant().is_some();
        if let Value::Pointer(stored) = value
            && known
        {
            if bytes != 8 {
                return self.refuse(Rule::StackBounds, "invalid size of register spill");
            }
            if usize::from(frame) != current && matches!(stored.kind, Kind::Stack { .. }) {
                let message = "cannot spill pointers to stack into stack frame of the caller";
                return self.refuse(Rule::ReturnsStack, message);
            }
        }
        if value.is_null() && !seeded(Bug::ZerosForgotten) {
            // It is kept as zero bytes, which are compared for what they are; and so are those it leaves.
            self.demand(&value);
            if !known {
                let roots = self.state.frames[usize::from(frame)].stack.roots(from, to);
                self.seen.demand(roots);
            }
        }
        let stack = &mut Rc::make_mut(&mut self.state.frames[usize::from(frame)]).stack;
        if known {
            stack.write(from, bytes, value);
        } else {
            stack.smear(from, to, value.is_null());
        }
        Ok(())
    }

    /// The value of a load from a frozen map at a known place.
    fn constant_of(&self, touch: Touch, pointer: &Pointer, map: MapRef) -> Option<Value> {
        let spec = map.spec(self.program)?;
        if !spec.frozen && !seeded(Bug::ConstantOfUnfrozen) || map.inner {
            return None;
        }
        let Initial::Data(data) = &spec.initial else { return None };
        let at = usize::try_from(pointer.constant_offset()? + i64::from(touch.off)).ok()?;
        let bytes = data.get(at..at + touch.size.bytes() as usize)?;
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        Some(Value::constant(u64::from_le_bytes(wide)))
    }

    /// Legacy packet access: the context in r6, r1 to r5 lost, a number in r0 (`check_ld_abs`).
    pub(crate) fn load_packet(&mut self, index: Option<Reg>) -> Check {
        if !self.program.kind.reads_legacy() {
            let message = "BPF_LD_[ABS|IND] instructions not allowed for this program type";
            return self.refuse(Rule::LegacyPacket, message);
        }
        self.check_nothing_held("BPF_LD_[ABS|IND]")?;
        match self.read(Reg::R6)? {
            Value::Pointer(pointer) if pointer.kind == Kind::Context => {
                self.check_unmoved(Reg::R6, &pointer)?;
            }
            _ => {
                let message = "at the time of BPF_LD_ABS|IND R6 != pointer to skb";
                return self.refuse(Rule::LegacyPacket, message);
            }
        }
        if let Some(reg) = index {
            self.read(reg)?;
        }
        self.leave_with_zero()?;
        for reg in Reg::ARGS {
            self.state.set(reg, Value::NotInit);
        }
        self.state.set(Reg::R0, Value::unknown());
        Ok(())
    }
}
