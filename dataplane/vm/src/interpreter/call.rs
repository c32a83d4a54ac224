//! Calls of helpers: every argument is tested against the helper's signature before the body runs.

use std::sync::Arc;

use weir_ebpf::abi::helper::{Arg, Returns};
use weir_ebpf::abi::{Callee, Helper, Kfunc, MAX_TAIL_CALLS, MapKind};
use weir_maps::{Map, Ringbuf};

use super::Machine;
use super::fault::{Access, FaultKind};
use super::memory::function_slot;
use crate::helpers::{self, Dynptr};
use crate::run::{HelperFn, Run};

/// What r1 to r5 hold after a call: no program may read them.
pub(crate) const CLOBBERED: u64 = 0xdead_beef_dead_beef;

impl Machine<'_> {
    pub(super) fn call_helper(&mut self, number: u64) -> Result<(), FaultKind> {
        let unknown = FaultKind::Helper { number, program_type: self.memory.kind.name() };
        let helper = u32::try_from(number).ok().and_then(Helper::new);
        let granted = self.unprivileged;
        let (kind, attach) = (self.memory.kind, self.code().program.attach);
        let offered = |helper: &Helper| granted || helper.offered_to(kind, attach);
        let Some(helper) = helper.filter(|helper| offered(helper) && !helper.proven_only()) else {
            return Err(unknown);
        };
        self.check_arguments(Callee::Helper(helper))?;
        if helper == Helper::TailCall && self.tail_call() {
            return Ok(());
        }
        self.call_outside(Callee::Helper(helper), helpers::body(helper))
    }

    pub(super) fn call_kfunc(&mut self, number: i32, off: i16) -> Result<(), FaultKind> {
        let unknown = FaultKind::Kfunc { number, program_type: self.memory.kind.name() };
        let granted = self.unprivileged;
        let kfunc = Kfunc::new(number).filter(|kfunc| granted || kfunc.offered_to(self.memory.kind));
        let Some(kfunc) = kfunc.filter(|_| off == 0) else { return Err(unknown) };
        self.check_arguments(Callee::Kfunc(kfunc))?;
        self.call_outside(Callee::Kfunc(kfunc), helpers::kfunc_body(kfunc))
    }

    /// Calls a body whose arguments were checked.
    fn call_outside(&mut self, callee: Callee, body: HelperFn) -> Result<(), FaultKind> {
        let key_size = |map: &Map| u64::from(map.spec().key_size);
        let walks = callee.is(Helper::ForEachMapElem);
        let outer = self.walked_key.take();
        self.walked_key = if walks { self.map_argument(callee).map(key_size) } else { None };
        let [_, r1, r2, mut r3, r4, r5, ..] = self.regs;
        if callee.is(Helper::TimerSetCallback) {
            r3 = Arc::as_ptr(self.code()).expose_provenance() as u64;
        }
        let machine: *mut Machine<'_> = self;
        // SAFETY: the arguments fulfil the signature (checked above), the run is inside this program; a
        // callback re-enters through `engine`, which is derived from `self`, while `self` is not used.
        let r0 = unsafe {
            (*self.run).engine = machine.cast();
            body(self.run, r1, r2, r3, r4, r5)
        };
        self.walked_key = outer;
        if let Some(fault) = self.pending.take() {
            return Err(fault);
        }
        self.note_effects(callee, r0);
        self.regs[0] = r0;
        self.regs[1..=5].fill(CLOBBERED);
        Ok(())
    }

    fn check_arguments(&self, callee: Callee) -> Result<(), FaultKind> {
        for (index, wanted) in callee.args(self.memory.kind).iter().enumerate() {
            if !self.fulfils(callee, index, *wanted) {
                let found = self.regs[index + 1];
                let near = self.memory.near(found, self.frames.len());
                return Err(FaultKind::Argument { callee, index: index + 1, wanted: *wanted, found, near });
            }
        }
        Ok(())
    }

    fn fulfils(&self, callee: Callee, index: usize, wanted: Arg) -> bool {
        let value = self.regs[index + 1];
        let next = self.regs.get(index + 2).map_or(0, |size| u64::from(*size as u32));
        let readable = |size: u64| self.allowed(value, size, Access::Read);
        let writable = |size: u64| self.allowed(value, size, Access::Write);
        let map = || self.map_argument(callee);
        match wanted {
            Arg::Anything | Arg::DontCare | Arg::ConstSize => true,
            Arg::Context => value == self.memory.context_value(),
            Arg::ContextOrNull => value == 0 || value == self.memory.context_value(),
            Arg::Map => self.memory.map_at(value, &self.code().maps).is_some_and(|map| suits(callee, map)),
            Arg::MapKey => map().is_some_and(|map| readable(u64::from(map.spec().key_size))),
            Arg::MapValue if map().is_some_and(|map| map.spec().kind.holds_sockets()) => false,
            Arg::MapValue => map().is_some_and(|map| readable(u64::from(map.spec().value_size))),
            Arg::MapValueOrNull => {
                value == 0 || map().is_some_and(|map| readable(u64::from(map.spec().value_size)))
            }
            Arg::UninitMapValue => map().is_some_and(|map| writable(u64::from(map.spec().value_size))),
            Arg::Mem => readable(next),
            Arg::UninitMemOrNull => value == 0 && next == 0 || value != 0 && writable(next),
            Arg::Buffer => value == 0 && next == 0 || value != 0 && readable(next) && writable(next),
            Arg::Read20 => readable(20),
            Arg::Read40 => readable(40),
            Arg::Place16 => readable(16) && writable(16),
            Arg::MemOrNull => {
                if value == 0 {
                    next == 0
                } else {
                    readable(next)
                }
            }
            Arg::UninitMem => writable(next),
            Arg::MemReadWrite => readable(next) && writable(next),
            Arg::Size => value as u32 != 0 && value as u32 <= i32::MAX as u32,
            Arg::SizeOrZero | Arg::BufferSize => value as u32 <= i32::MAX as u32,
            Arg::Record => self.memory.records.iter().any(|(start, _)| *start == value),
            // There are none: whatever is given is not one.
            Arg::Socket | Arg::SocketReleased | Arg::Kernel(_) | Arg::KernelReleased(_) => false,
            Arg::SocketOrNull | Arg::FullSocketOrNull => value == 0,
            Arg::SpinLock => self.lock_allowed(callee, value),
            Arg::Timer => self
                .memory
                .owner(value, 16, &self.code().maps)
                .is_some_and(|map| map.is_timer(value as usize)),
            Arg::Callback => function_slot(value).is_some_and(|slot| slot < self.code().program.insns.len()),
            // The helper only hands it on, and a pointer may well stand past the end of a frame, as r10 does: what
            // the callback touches by it is checked there.
            Arg::StackOrNull => true,
            Arg::ConstStr => self.is_text(value),
            Arg::Long => value.is_multiple_of(8) && writable(8),
            Arg::LongU32 => value.is_multiple_of(4) && writable(4),
            Arg::Place2 => readable(2) && writable(2),
            Arg::Place4 => readable(4) && writable(4),
            Arg::Place8 => readable(8) && writable(8),
            Arg::Number => true,
            Arg::BufferOrNull => value == 0 || readable(next) && writable(next),
            Arg::ConstBufferSize => value as u32 <= i32::MAX as u32,
            Arg::NewIterator | Arg::Iterator | Arg::EndedIterator => self.object_fits(value, 8),
            Arg::NewDynptr
            | Arg::NewMemDynptr
            | Arg::NewRecordDynptr
            | Arg::NewSkbDynptr
            | Arg::NewXdpDynptr => self.object_fits(value, 16),
            Arg::Dynptr => self.known_view(value).is_some(),
            Arg::RecordDynptr => self
                .known_view(value)
                .is_some_and(|view| view == Dynptr::default() || view.record().is_some()),
        }
    }

    /// Whether an object of the stack may stand there.
    fn object_fits(&self, value: u64, bytes: u64) -> bool {
        value.is_multiple_of(8) && self.memory.in_stack(value, bytes, self.frames.len())
    }

    /// The view that stands there, if a call made it and nobody wrote over it since.
    fn known_view(&self, value: u64) -> Option<Dynptr> {
        let (_, made) = self.memory.views.iter().find(|(at, _)| *at == value)?;
        (self.object_fits(value, 16) && self.view_at(value) == *made).then_some(*made)
    }

    /// The 16 bytes there, which are in the stack, as a view.
    fn view_at(&self, value: u64) -> Dynptr {
        // SAFETY: `object_fits` found 16 aligned bytes of stack there; all of `Dynptr` is numbers.
        unsafe { std::ptr::with_exposed_provenance::<Dynptr>(value as usize).read() }
    }

    /// Keeps what views a call has made or changed, and which records they are of.
    fn note_views(&mut self, callee: Callee) {
        for (index, arg) in callee.args(self.memory.kind).iter().enumerate() {
            let at = self.regs[index + 1];
            if !helpers::is_new_dynptr(*arg) && !matches!(arg, Arg::Dynptr | Arg::RecordDynptr) {
                continue;
            }
            let old = self.memory.views.iter().find(|(known, _)| *known == at).map(|(_, view)| *view);
            let view = self.view_at(at);
            self.memory.views.retain(|(known, _)| known.abs_diff(at) >= 16);
            match arg {
                Arg::RecordDynptr => {
                    // Clones of it are views of nothing now, too.
                    let gone = old.and_then(|old| old.record());
                    let same = |view: &Dynptr| view.record().map(|(at, _)| at) == gone.map(|(at, _)| at);
                    self.memory.views.retain(|(_, view)| gone.is_none() || !same(view));
                    self.memory.records.retain(|(start, _)| gone.is_none_or(|(at, _)| at != *start));
                }
                Arg::NewRecordDynptr => self.memory.records.extend(view.record()),
                _ => {}
            }
            if *arg != Arg::RecordDynptr {
                self.memory.views.push((at, view));
            }
        }
    }

    /// The map that the call's keys and values belong to: its first map argument.
    fn map_argument(&self, callee: Callee) -> Option<&Map> {
        let index = callee.args(self.memory.kind).iter().position(|arg| *arg == Arg::Map)?;
        self.memory.map_at(self.regs[index + 1], &self.code().maps)
    }

    /// A lock is inside a map's value; it is taken while none is held and given back while it is.
    fn lock_allowed(&self, callee: Callee, value: u64) -> bool {
        let held = if callee.is(Helper::SpinUnlock) { Some(value) } else { None };
        let owned = self.memory.owner(value, 4, &self.code().maps).is_some();
        value.is_multiple_of(4) && owned && self.lock == held
    }

    fn is_text(&self, value: u64) -> bool {
        let mut at = value;
        while self.memory.owner(at, 1, &self.code().maps).is_some() {
            // SAFETY: the byte belongs to a value of a live map.
            if unsafe { std::ptr::with_exposed_provenance::<u8>(at as usize).read() } == 0 {
                return true;
            }
            at += 1;
        }
        false
    }

    /// What a call changes in what the program may touch.
    fn note_effects(&mut self, callee: Callee, r0: u64) {
        let record = self.regs[1];
        self.note_views(callee);
        match callee {
            Callee::Helper(Helper::SpinLock) => self.lock = Some(record),
            Callee::Helper(Helper::SpinUnlock) => self.lock = None,
            Callee::Helper(Helper::RingbufSubmit | Helper::RingbufDiscard) => {
                self.memory.records.retain(|(start, _)| *start != record);
            }
            _ => {}
        }
        match callee.returns() {
            Returns::RecordOrNull if r0 != 0 => self.memory.records.push((r0, self.regs[2])),
            Returns::MapValueOrNull if r0 != 0 => {
                let outer = self.map_argument(callee).map(|map| map.spec().kind);
                if matches!(outer, Some(MapKind::ArrayOfMaps | MapKind::HashOfMaps)) {
                    self.memory.met.push(std::ptr::with_exposed_provenance(r0 as usize));
                }
            }
            Returns::Integer
            | Returns::Void
            | Returns::MapValue
            | Returns::MapValueOrNull
            | Returns::SocketOrNull
            | Returns::SockCommonOrNull
            | Returns::TcpSockOrNull
            | Returns::KernelOrNull(_)
            | Returns::KernelAcquiredOrNull(_)
            | Returns::RecordOrNull
            | Returns::NumberOrNull
            | Returns::DynptrDataOrNull
            | Returns::SliceOrNull
            | Returns::MutableSliceOrNull => {}
        }
    }

    /// Goes on in another program; false when there is none there, or too many tail calls were taken.
    /// Only the frame that makes the call is replaced.
    fn tail_call(&mut self) -> bool {
        let (map, index) = (self.regs[2], self.regs[3] as u32);
        let Some(map) = self.memory.map_at(map, &self.code().maps) else { return false };
        let Some(number) = map.slot(index).checked_sub(1) else { return false };
        // SAFETY: the run is valid for the machine's life; the table for the run's (`Run::with_table`).
        let (run, table) = unsafe { (&mut *self.run, (*self.run).table.as_ref()) };
        let Some(target) = table.and_then(|table| table.interpreted(number)) else { return false };
        if run.tail_calls >= MAX_TAIL_CALLS {
            return false;
        }
        run.tail_calls += 1;
        let code = target.clone();
        if let Some(frame) = self.frames.last_mut() {
            frame.code = code;
            frame.depth = 1;
        }
        self.memory.clear_frame(self.frames.len() - 1);
        self.regs[1] = self.memory.context_value();
        self.pc = 0;
        true
    }

    /// Gives back what the program should have given back, and says what it was.
    pub(super) fn release(&mut self) -> Option<FaultKind> {
        let lock = self.lock.take();
        if let Some(lock) = lock {
            // SAFETY: `lock_allowed` found the lock inside a live value, and the program has it.
            unsafe { weir_maps::spin::unlock(std::ptr::with_exposed_provenance_mut(lock as usize)) };
        }
        let records = std::mem::take(&mut self.memory.records);
        for (record, _) in &records {
            // SAFETY: reserved in this run and neither submitted nor discarded, or it were not in the list.
            unsafe { Ringbuf::finish(std::ptr::with_exposed_provenance_mut(*record as usize), true) };
        }
        match (lock.is_some(), records.is_empty()) {
            (true, _) => Some(FaultKind::Unreleased { what: "a spin lock held" }),
            (_, false) => Some(FaultKind::Unreleased { what: "a ring record reserved" }),
            (false, true) => None,
        }
    }
}

/// Whether a map is of a kind that the helper works on (`check_map_func_compatibility`): where another
/// kind would be more than a wrong answer.
fn suits(callee: Callee, map: &Map) -> bool {
    let kind = map.spec().kind;
    let Callee::Helper(helper) = callee else { return true };
    let ring = matches!(
        helper,
        Helper::RingbufOutput | Helper::RingbufReserve | Helper::RingbufReserveDynptr | Helper::RingbufQuery
    );
    match helper {
        Helper::TailCall => kind == MapKind::ProgArray,
        _ if ring => kind == MapKind::Ringbuf,
        _ => true,
    }
}

/// How helpers call a function of an interpreted program back.
pub(super) unsafe extern "C" fn call_function(
    run: *mut Run<'_>,
    function: u64,
    r1: u64,
    r2: u64,
    r3: u64,
    r4: u64,
) -> u64 {
    // SAFETY: `engine` is the machine whose helper call is under way; it does not touch itself meanwhile.
    unsafe {
        let engine = (*run).engine;
        let answer = (*engine.cast::<Machine<'_>>()).call_back(function, [r1, r2, r3, r4]);
        // Helper calls inside the callback left their own view of the machine there.
        (*run).engine = engine;
        answer
    }
}
