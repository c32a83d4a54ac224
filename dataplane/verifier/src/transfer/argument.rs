//! Arguments of helpers (`check_func_arg`, `check_mem_size_reg`, kernel/bpf/verifier.c).

use weir_ebpf::abi::helper::{Arg, Helper};
use weir_ebpf::abi::kfunc::Callee;
use weir_ebpf::abi::{KernelStruct, PacketUse};
use weir_ebpf::format::conversions;
use weir_ebpf::isa::Reg;
use weir_ebpf::program::Initial;

use crate::bugs::{Bug, seeded};
use crate::explore::{Check, Explorer};
use crate::lint::{LINTS_MAX, Lint};
use crate::rule::Rule;
use crate::scalar::Scalar;
use crate::stack::{Object, View};
use crate::transfer::alu::OFFSET_MAX;
use crate::transfer::object::Made;
use crate::transfer::region::Direction;
use crate::value::{Id, Kind, MapRef, Pointer, SocketView, Value};

/// What the arguments of a call turned out to be.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Call {
    /// The map argument.
    pub(crate) map: Option<MapRef>,
    /// The map whose value the timer argument is in.
    pub(crate) timed: Option<MapRef>,
    /// The text argument: in which map, and where in its data.
    pub(crate) text: Option<(u32, usize)>,
    /// The constant size argument.
    pub(crate) constant: Option<u64>,
    /// The reference that the socket argument is, or 0.
    pub(crate) socket: Id,
    /// The reference that the call releases.
    pub(crate) releases: Option<Id>,
    /// The function argument, by index.
    pub(crate) callback: Option<u32>,
    /// The index of a tail call or array lookup, when it is a constant.
    pub(crate) index: Option<u32>,
    /// Stack bytes that the helper fills, of each of its arguments: frame, from, to.
    pub(crate) filled: [Option<(u8, i64, i64)>; 5],
    /// The dynptr or iterator that the call is given.
    pub(crate) object: Option<Object>,
    /// The one that it makes.
    pub(crate) made: Option<Made>,
}

impl Call {
    fn fill(&mut self, frame: u8, from: i64, to: i64) {
        let free = self.filled.iter_mut().find(|filled| filled.is_none());
        *free.expect("a call has five arguments at most") = Some((frame, from, to));
    }
}

/// Memory that a helper reads or writes.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) zero_allowed: bool,
}

const READ: Wanted = Wanted { read: true, write: false, zero_allowed: false };
const WRITE: Wanted = Wanted { read: false, write: true, zero_allowed: false };
pub(crate) const BOTH: Wanted = Wanted { read: true, write: true, zero_allowed: false };

/// The kinds that memory arguments take, as the kernel lists them.
const MEMORY_KINDS: &str = "fp, pkt, pkt_meta, map_key, map_value, mem, ringbuf_mem, buf, trusted_ptr_";
const KEY_KINDS: &str = "fp, pkt, pkt_meta, map_key, map_value";

impl Explorer<'_> {
    /// Checks argument number `at` (from 0) of a helper.
    pub(crate) fn check_argument(&mut self, callee: Callee, at: usize, call: &mut Call) -> Check {
        let args = callee.args(self.program.kind);
        let reg = Reg::ARGS[at];
        if args[at] == Arg::DontCare {
            return Ok(());
        }
        let value = self.read(reg)?;
        if let (Callee::Helper(helper), Value::Pointer(pointer)) = (callee, value)
            && args[at] != Arg::Anything
            && pointer.kind.is_packet()
            && !self.gives_packet_to(Callee::Helper(helper))
        {
            return self.refuse(Rule::HelperPacket, "helper access to the packet is not allowed");
        }
        // Only what is passed on unseen may be any number.
        let index = callee.is(Helper::TailCall) && at == 2 || callee.is(Helper::GetLocalStorage);
        if !matches!(args[at], Arg::Anything | Arg::Number) || index {
            self.demand(&value);
        }
        match args[at] {
            Arg::DontCare => Ok(()),
            Arg::Anything => {
                if callee.is(Helper::GetLocalStorage) && !value.is_null() {
                    let message = "get_local_storage() doesn't support non-zero flags";
                    return self.refuse(Rule::ArgumentConstant, message);
                }
                if callee.is(Helper::TailCall) && at == 2 {
                    call.index = value.as_constant().map(|index| index as u32);
                }
                Ok(())
            }
            Arg::Context => {
                let pointer = self.pointer_of(reg, "ctx", |kind| kind == Kind::Context)?;
                self.check_unmoved(reg, &pointer)
            }
            Arg::ContextOrNull if value.is_null() => Ok(()),
            Arg::ContextOrNull => {
                let pointer = self.pointer_of(reg, "ctx", |kind| kind == Kind::Context)?;
                self.check_unmoved(reg, &pointer)
            }
            Arg::Map => {
                let pointer = self.pointer_of(reg, "map_ptr", |kind| matches!(kind, Kind::Map(_)))?;
                if let Kind::Map(map) = pointer.kind {
                    self.check_timed_map(map, call)?;
                    call.map = Some(map);
                }
                Ok(())
            }
            Arg::MapKey => self.check_key(callee, reg, call),
            Arg::MapValue | Arg::MapValueOrNull | Arg::UninitMapValue if self.holds_sockets(call) => {
                if args[at] == Arg::MapValue {
                    return self.check_socket(callee, Arg::Socket, reg, call);
                }
                self.refuse(Rule::MapHelper, "invalid arg_type for sockmap/sockhash")
            }
            Arg::MapValue => self.check_sized(callee, reg, self.value_size(call)?, READ, KEY_KINDS, call),
            Arg::MapValueOrNull if value.is_null() => Ok(()),
            Arg::MapValueOrNull => {
                self.check_sized(callee, reg, self.value_size(call)?, READ, KEY_KINDS, call)
            }
            Arg::UninitMapValue => {
                self.check_sized(callee, reg, self.value_size(call)?, WRITE, KEY_KINDS, call)
            }
            // Memory is checked with the size that follows it.
            Arg::Mem | Arg::UninitMem | Arg::MemReadWrite => {
                self.memory_of(callee, reg, MEMORY_KINDS).map(|_| ())
            }
            Arg::MemOrNull | Arg::UninitMemOrNull | Arg::Buffer if value.is_null() => Ok(()),
            Arg::MemOrNull | Arg::UninitMemOrNull | Arg::Buffer => {
                self.memory_of(callee, reg, MEMORY_KINDS).map(|_| ())
            }
            Arg::Size => self.check_size(callee, at, false, call),
            Arg::SizeOrZero | Arg::BufferSize => self.check_size(callee, at, true, call),
            Arg::ConstSize => match value.as_constant() {
                Some(constant) if matches!(value, Value::Number(_)) => {
                    call.constant = Some(constant);
                    Ok(())
                }
                None if let Value::Pointer(pointer) = value => {
                    let message = format!("R{} type={} expected=scalar", reg.index(), pointer.text());
                    self.refuse(Rule::ArgumentConstant, message)
                }
                _ => {
                    self.refuse(Rule::ArgumentConstant, format!("R{} is not a known constant'", reg.index()))
                }
            },
            Arg::Record => self.check_record(reg, call),
            Arg::SocketOrNull | Arg::FullSocketOrNull if value.is_null() => Ok(()),
            Arg::Socket | Arg::SocketOrNull | Arg::FullSocketOrNull | Arg::SocketReleased => {
                self.check_socket(callee, args[at], reg, call)
            }
            Arg::Kernel(of) => self.check_kernel(of, reg, false, call),
            Arg::KernelReleased(of) => self.check_kernel(of, reg, true, call),
            Arg::SpinLock => self.check_lock(callee, reg),
            Arg::Timer => self.check_timer(reg, call),
            Arg::Callback => {
                let pointer = self.pointer_of(reg, "func", |kind| matches!(kind, Kind::Function(_)))?;
                self.check_unmoved(reg, &pointer)?;
                if let Kind::Function(function) = pointer.kind {
                    call.callback = Some(function);
                }
                Ok(())
            }
            Arg::StackOrNull if value.is_null() => Ok(()),
            Arg::StackOrNull => {
                self.pointer_of(reg, "fp", |kind| matches!(kind, Kind::Stack { .. })).map(|_| ())
            }
            Arg::ConstStr => self.check_text(reg, call),
            Arg::Long => self.check_number_place(callee, reg, 8, WRITE, call),
            Arg::LongU32 => self.check_number_place(callee, reg, 4, BOTH, call),
            Arg::Number => match value {
                Value::Number(_) => Ok(()),
                _ => self.refuse(Rule::ArgumentType, format!("R{} is not a scalar", reg.index())),
            },
            Arg::Place2 => self.check_sized(callee, reg, 2, BOTH, MEMORY_KINDS, call),
            Arg::Place4 => self.check_sized(callee, reg, 4, BOTH, MEMORY_KINDS, call),
            Arg::Place8 => self.check_sized(callee, reg, 8, BOTH, MEMORY_KINDS, call),
            Arg::Place16 => self.check_sized(callee, reg, 16, BOTH, MEMORY_KINDS, call),
            Arg::Read20 => self.check_sized(callee, reg, 20, READ, MEMORY_KINDS, call),
            Arg::Read40 => self.check_sized(callee, reg, 40, READ, MEMORY_KINDS, call),
            Arg::BufferOrNull if value.is_null() => Ok(()),
            Arg::BufferOrNull => self.memory_of(callee, reg, MEMORY_KINDS).map(|_| ()),
            Arg::ConstBufferSize => self.check_buffer_size(callee, at, call),
            Arg::NewIterator => self.check_new_iterator(at, call),
            Arg::Iterator => self.check_iterator(at, call),
            Arg::EndedIterator => {
                self.check_iterator(at, call)?;
                call.releases = call.object.map(|object| object.reference);
                Ok(())
            }
            Arg::NewDynptr => self.check_new_dynptr(at, None, call),
            Arg::NewMemDynptr => self.check_new_mem_dynptr(at, call),
            Arg::NewRecordDynptr => self.check_new_dynptr(at, Some(View::Record), call),
            Arg::NewSkbDynptr => self.check_new_dynptr(at, Some(View::Skb), call),
            Arg::NewXdpDynptr => self.check_new_dynptr(at, Some(View::Xdp), call),
            Arg::Dynptr => self.check_dynptr(at, None, call),
            Arg::RecordDynptr => self.check_record_dynptr(at, call),
        }
    }

    /// The pointer in an argument, if it is of a wanted kind and not null.
    fn pointer_of(&self, reg: Reg, expected: &str, fits: impl Fn(Kind) -> bool) -> Check<Pointer> {
        let value = self.read(reg)?;
        match value {
            Value::Pointer(pointer) if !pointer.maybe_null && fits(pointer.kind) => Ok(pointer),
            _ => {
                let (regno, found) = (reg.index(), value.text());
                let rule = match value {
                    Value::Pointer(pointer) if pointer.maybe_null && fits(pointer.kind) => Rule::MaybeNull,
                    _ => Rule::ArgumentType,
                };
                self.refuse(rule, format!("R{regno} type={found} expected={expected}"))
            }
        }
    }

    /// The pointer in a memory argument.
    fn memory_of(&self, callee: Callee, reg: Reg, expected: &str) -> Check<Pointer> {
        let pointer = self.pointer_of(reg, expected, |kind| match kind {
            Kind::Stack { .. }
            | Kind::Packet { .. }
            | Kind::PacketMeta { .. }
            | Kind::MapValue(_)
            | Kind::MapKey(_)
            | Kind::Record { .. }
            | Kind::Memory { .. } => true,
            Kind::Context
            | Kind::PacketEnd
            | Kind::Map(_)
            | Kind::ConstDynptr
            | Kind::Function(_)
            | Kind::FlowKeys
            | Kind::Socket(_)
            | Kind::Kernel(_) => false,
        })?;
        if pointer.kind.is_packet() && !self.gives_packet_to(callee) {
            return self.refuse(Rule::HelperPacket, "helper access to the packet is not allowed");
        }
        Ok(pointer)
    }

    /// Whether packet memory may be given to a helper (`may_access_direct_pkt_data`).
    fn gives_packet_to(&self, callee: Callee) -> bool {
        callee.takes_packet() && self.program.kind.packet() >= PacketUse::Read
    }

    fn value_size(&self, call: &Call) -> Check<u32> {
        match call.map.and_then(|map| map.spec(self.program)) {
            Some(_) if seeded(Bug::ValueSize) => Ok(1),
            Some(spec) => Ok(spec.value_size),
            None => self.refuse(Rule::ArgumentType, "invalid map_ptr to access map->value"),
        }
    }

    fn holds_sockets(&self, call: &Call) -> bool {
        let spec = call.map.and_then(|map| map.spec(self.program));
        spec.is_some_and(|spec| spec.kind.holds_sockets())
    }

    fn check_key(&mut self, callee: Callee, reg: Reg, call: &mut Call) -> Check {
        let Some(spec) = call.map.and_then(|map| map.spec(self.program)) else {
            return self.refuse(Rule::ArgumentType, "invalid map_ptr to access map->key");
        };
        let size = if seeded(Bug::KeySize) { 1 } else { spec.key_size };
        let name = spec.name.clone();
        self.check_sized(callee, reg, size, READ, KEY_KINDS, call).map_err(|mut reject| {
            if matches!(reject.rule, Rule::StackBounds | Rule::MemoryBounds | Rule::MapValueBounds) {
                let text = format!("pass the address of a key of map `{name}`, which has {size} bytes");
                reject.help = Some(text);
            }
            reject
        })?;
        if let Value::Pointer(pointer) = self.read(reg)?
            && let Kind::Stack { frame } = pointer.kind
            && let Some(off) = pointer.constant_offset()
            && size == 4
            && off % 4 == 0
        {
            let stack = &self.state.frames[usize::from(frame)].stack;
            let key = stack.word_of_its_own(off).unwrap_or(Value::NotInit);
            call.index = key.as_constant().map(|key| key as u32);
            if call.index.is_some() {
                self.demand(&key);
            }
        }
        Ok(())
    }

    /// Says a word when a helper reads bytes of the stack that nobody wrote: allowed, and hardly meant.
    fn lint_unwritten(&mut self, callee: Callee, frame: u8, from: i64, to: i64) {
        let unwritten = self.state.frames[usize::from(frame)].stack.unwritten(from, to);
        let told = self.lints.len() >= LINTS_MAX || self.lints.iter().any(|lint| lint.slot == self.slot);
        if !unwritten.is_empty() && !told {
            let size = (to - from) as usize;
            self.lints.push(Lint::unwritten_stack(self.slot, callee.name(), size, &unwritten));
        }
    }

    fn check_sized(
        &mut self,
        callee: Callee,
        reg: Reg,
        size: u32,
        wanted: Wanted,
        kinds: &str,
        call: &mut Call,
    ) -> Check {
        let pointer = self.memory_of(callee, reg, kinds)?;
        self.check_memory(Some(callee), reg, &pointer, size, wanted, call)
    }

    fn check_number_place(
        &mut self,
        callee: Callee,
        reg: Reg,
        size: u32,
        wanted: Wanted,
        call: &mut Call,
    ) -> Check {
        let pointer = self.memory_of(callee, reg, MEMORY_KINDS)?;
        self.check_memory(Some(callee), reg, &pointer, size, wanted, call)?;
        self.check_alignment(&pointer, 0, size, true)
    }

    /// Memory of `size` bytes that a helper reads or writes (`check_helper_mem_access`).
    pub(crate) fn check_memory(
        &mut self,
        callee: Option<Callee>,
        reg: Reg,
        pointer: &Pointer,
        size: u32,
        wanted: Wanted,
        call: &mut Call,
    ) -> Check {
        let regno = reg.index();
        let zero = wanted.zero_allowed;
        match pointer.kind {
            Kind::Packet { .. } | Kind::PacketMeta { .. } => self.check_packet(reg, pointer, 0, size, zero),
            Kind::MapValue(map) => {
                for (asked, direction) in [(wanted.read, Direction::Read), (wanted.write, Direction::Write)] {
                    if asked {
                        self.check_map_value_sized(reg, pointer, map, 0, size, direction, zero)?;
                    }
                }
                Ok(())
            }
            Kind::MapKey(_) if wanted.write => {
                self.refuse(Rule::ReadOnlyMemory, format!("R{regno} cannot write into map_key"))
            }
            Kind::MapKey(map) => {
                let bytes = map.spec(self.program).map_or(0, |spec| spec.key_size);
                self.check_region(reg, pointer, 0, size, bytes, zero)
            }
            Kind::Record { bytes } => self.check_region(reg, pointer, 0, size, bytes, zero),
            Kind::Memory { writable: false, .. } if wanted.write => {
                self.refuse(Rule::ReadOnlyMemory, format!("R{regno} cannot write into rdonly_mem"))
            }
            Kind::Memory { bytes, .. } => self.check_region(reg, pointer, 0, size, bytes, zero),
            Kind::Stack { frame } => {
                // Where nothing is read it must still be a place of the stack.
                if size == 0 && !zero {
                    return self.refuse(Rule::ArgumentSize, "invalid zero-sized read");
                }
                // Where both are asked for by types, the kernel looks at reading first.
                let typed = !matches!(callee, Some(Callee::Helper(_)));
                let written = wanted.write && !(typed && wanted.read);
                let direction = if written { Direction::Write } else { Direction::Read };
                let (from, to) = self.check_stack(reg, pointer, 0, size, direction)?;
                self.check_no_object(Some(reg), frame, from, to)?;
                // What a helper is to fill counts too: one that fails may leave it as it was.
                self.note_stack_read(frame, from, to);
                if wanted.write {
                    call.fill(frame, from, to);
                } else if let Some(callee) = callee.filter(|_| pointer.constant_offset().is_some()) {
                    self.lint_unwritten(callee, frame, from, to);
                }
                Ok(())
            }
            Kind::Context
            | Kind::PacketEnd
            | Kind::Map(_)
            | Kind::ConstDynptr
            | Kind::Function(_)
            | Kind::FlowKeys
            | Kind::Socket(_)
            | Kind::Kernel(_) => {
                let message = format!("R{regno} type={} expected=fp", pointer.text());
                self.refuse(Rule::ArgumentType, message)
            }
        }
    }

    /// A size, with the memory before it (`check_mem_size_reg`).
    fn check_size(&mut self, callee: Callee, at: usize, zero_allowed: bool, call: &mut Call) -> Check {
        let reg = Reg::ARGS[at];
        let regno = reg.index();
        let value = self.read(reg)?;
        let Value::Number(size) = value else {
            let message = format!("R{regno} type={} expected=scalar", value.text());
            return self.refuse(Rule::ArgumentType, message);
        };
        let range = size.range;
        let signed = seeded(Bug::SizeNegative);
        let largest = if signed { range.smax().max(0) as u64 } else { range.umax() };
        if range.smin() < 0 && !signed {
            let message = format!("R{regno} min value is negative, either use unsigned or 'var &= const'");
            return self.refuse(Rule::ArgumentSize, message);
        }
        if range.umin() == 0 && !zero_allowed && !seeded(Bug::SizeZero) {
            let message =
                format!("R{regno} invalid zero-sized read: u64=[{},{}]", range.umin(), range.umax());
            return self.refuse(Rule::ArgumentSize, message);
        }
        if largest >= OFFSET_MAX as u64 {
            let message =
                format!("R{regno} unbounded memory access, use 'var &= const' or 'if (var < const)'");
            return self.refuse(Rule::ArgumentSize, message);
        }
        let Some(before) = at.checked_sub(1) else { return Ok(()) };
        let memory = Reg::ARGS[before];
        let wanted = match callee.args(self.program.kind)[before] {
            Arg::UninitMem | Arg::UninitMemOrNull => WRITE,
            Arg::MemReadWrite | Arg::Buffer => BOTH,
            _ => READ,
        };
        let wanted = Wanted { zero_allowed, ..wanted };
        match self.read(memory)? {
            Value::Pointer(pointer) => {
                let most = if seeded(Bug::SizeLeast) { range.umin().max(1) } else { largest };
                self.check_memory(Some(callee), memory, &pointer, most as u32, wanted, call)
            }
            null if null.is_null() && zero_allowed && range.umax() == 0 => Ok(()),
            other => {
                let message = format!("R{} type={} expected=fp", memory.index(), other.text());
                self.refuse(Rule::ArgumentType, message)
            }
        }
    }

    /// A constant size, with the buffer before it, if there is one.
    fn check_buffer_size(&mut self, callee: Callee, at: usize, call: &mut Call) -> Check {
        let reg = Reg::ARGS[at];
        let Value::Number(size) = self.read(reg)? else {
            return self.refuse(Rule::ArgumentType, format!("R{} is not a scalar", reg.index()));
        };
        let (regno, range) = (reg.index(), size.range);
        let umax = range.umax();
        if let Some(buffer) = at.checked_sub(1).map(|before| Reg::ARGS[before])
            && let Value::Pointer(pointer) = self.read(buffer)?
        {
            if range.smin() < 0 {
                let message =
                    format!("R{regno} min value is negative, either use unsigned or 'var &= const'");
                return self.refuse(Rule::ArgumentSize, message);
            }
            if umax >= OFFSET_MAX as u64 {
                let message =
                    format!("R{regno} unbounded memory access, use 'var &= const' or 'if (var < const)'");
                return self.refuse(Rule::ArgumentSize, message);
            }
            let wanted = Wanted { zero_allowed: true, ..BOTH };
            self.check_memory(Some(callee), buffer, &pointer, umax as u32, wanted, call)?;
        }
        let Some(constant) = range.as_constant() else {
            let message = format!("R{regno} must be a known constant");
            return self.refuse(Rule::ArgumentConstant, message);
        };
        call.constant = Some(constant);
        Ok(())
    }

    /// A dynptr of plain memory is of a map's value only.
    fn check_new_mem_dynptr(&mut self, at: usize, call: &mut Call) -> Check {
        let value = self.read(Reg::R1)?;
        if !value.as_pointer().is_some_and(|pointer| matches!(pointer.kind, Kind::MapValue(_))) {
            let message = format!("Unsupported reg type {} for bpf_dynptr_from_mem data", value.text());
            return self.refuse(Rule::Dynptr, message);
        }
        self.check_new_dynptr(at, Some(View::Memory), call)
    }

    fn check_record(&mut self, reg: Reg, call: &mut Call) -> Check {
        let fits = |kind| matches!(kind, Kind::Record { .. });
        let pointer = self.pointer_of(reg, "ringbuf_mem", fits)?;
        let regno = reg.index();
        let moved = pointer.off != 0 || pointer.var.as_constant() != Some(0);
        if moved && !seeded(Bug::RecordMoved) {
            let message = format!("R{regno} must have zero offset when passed to release func");
            return self.refuse(Rule::NotAcquired, message);
        }
        if pointer.reference == 0 {
            let message = format!("R{regno} must be referenced when passed to release function");
            return self.refuse(Rule::NotAcquired, message);
        }
        call.releases = Some(pointer.reference);
        Ok(())
    }

    fn check_socket(&mut self, callee: Callee, arg: Arg, reg: Reg, call: &mut Call) -> Check {
        const KINDS: &str = "sock_common, sock, tcp_sock, xdp_sock, ptr_, trusted_ptr_";
        // `ARG_PTR_TO_SOCK_COMMON`, which takes nothing by its type.
        const PLAIN_KINDS: &str = "sock_common, sock, tcp_sock, xdp_sock";
        let full = arg == Arg::FullSocketOrNull;
        let plain = [Helper::SkFullsock, Helper::TcpSock, Helper::GetListenerSock, Helper::SkcToMptcpSock];
        let plain = plain.iter().any(|one| callee.is(*one));
        let (kinds, fits): (&str, fn(Kind) -> bool) = match (full, plain) {
            (true, _) => ("sock", |kind| kind == Kind::Socket(SocketView::Full)),
            (false, true) => (PLAIN_KINDS, |kind| matches!(kind, Kind::Socket(_))),
            (false, false) => (KINDS, |kind| match kind {
                Kind::Socket(_) => true,
                Kind::Kernel(of) => of.is_socket(),
                _ => false,
            }),
        };
        let nullable = matches!(arg, Arg::SocketOrNull | Arg::FullSocketOrNull);
        let pointer = match self.read(reg)? {
            Value::Pointer(pointer) if nullable && fits(pointer.kind) => pointer,
            _ => self.pointer_of(reg, kinds, fits)?,
        };
        call.socket = pointer.reference;
        if arg == Arg::SocketReleased {
            if pointer.reference == 0 {
                let message = format!("R{} must be referenced when passed to release function", reg.index());
                return self.refuse(Rule::NotAcquired, message);
            }
            call.releases = Some(pointer.reference);
        }
        Ok(())
    }

    /// A structure of the kernel, as it was handed out (`process_kf_arg_ptr_to_btf_id`).
    fn check_kernel(&mut self, of: KernelStruct, reg: Reg, released: bool, call: &mut Call) -> Check {
        let expected = format!("ptr_{}", of.name());
        let pointer = self.pointer_of(reg, &expected, |kind| kind == Kind::Kernel(of))?;
        if pointer.constant_offset() != Some(0) {
            let message = format!("R{} must have zero offset", reg.index());
            return self.refuse(Rule::ArgumentType, message);
        }
        if released {
            if pointer.reference == 0 {
                let message = format!("R{} must be referenced when passed to release function", reg.index());
                return self.refuse(Rule::NotAcquired, message);
            }
            call.releases = Some(pointer.reference);
        }
        Ok(())
    }

    /// Text in a frozen map, up to and with a zero byte (`check_reg_const_str`).
    fn check_text(&mut self, reg: Reg, call: &mut Call) -> Check {
        let regno = reg.index();
        let pointer = self.pointer_of(reg, "map_value", |kind| matches!(kind, Kind::MapValue(_)))?;
        let Kind::MapValue(map) = pointer.kind else { return Ok(()) };
        let data = match map.spec(self.program) {
            Some(spec) if spec.frozen && !map.inner => match &spec.initial {
                Initial::Data(data) => data,
                _ => {
                    return self
                        .refuse(Rule::ArgumentText, format!("R{regno} does not point to a readonly map'"));
                }
            },
            _ => {
                return self
                    .refuse(Rule::ArgumentText, format!("R{regno} does not point to a readonly map'"));
            }
        };
        let Some(off) = pointer.constant_offset() else {
            let message = format!("R{regno} is not a constant address'");
            return self.refuse(Rule::ArgumentText, message);
        };
        let rest = usize::try_from(off).ok().and_then(|off| data.get(off..));
        if rest.is_some_and(|rest| rest.contains(&0)) {
            call.text = Some((map.map, off as usize));
            return Ok(());
        }
        self.refuse(Rule::ArgumentText, "string is not zero-terminated")
    }

    /// The format of `bpf_snprintf` is allowed, and takes no more arguments than there are
    /// (`check_bpf_snprintf_call`).
    pub(crate) fn check_format(&self, call: &Call) -> Check {
        let spec = call.text.and_then(|(map, _)| self.program.maps.get(map as usize));
        let data = match spec.map(|spec| &spec.initial) {
            Some(Initial::Data(data)) => data.as_slice(),
            _ => &[],
        };
        let format = data.get(call.text.map_or(0, |(_, off)| off)..).unwrap_or_default();
        // How many there are is known only when their size is.
        let Some(size) = self.state.reg(Reg::R5).as_constant() else { return Ok(()) };
        let allowed = conversions(format).is_ok_and(|count| count as u64 <= size / 8);
        if size % 8 == 0 && allowed {
            return Ok(());
        }
        self.refuse(Rule::ArgumentText, "Invalid format string")
    }

    /// The range of a number in a register.
    pub(crate) fn range_of(&self, reg: Reg) -> Scalar {
        match self.state.reg(reg) {
            Value::Number(number) => number.range,
            Value::NotInit | Value::Pointer(_) => Scalar::unknown(),
        }
    }
}
