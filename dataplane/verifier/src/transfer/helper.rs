//! Calls of helpers and kernel functions (`check_helper_call`, `check_kfunc_call`, kernel/bpf/verifier.c).

use weir_ebpf::abi::helper::{Helper, Returns};
use weir_ebpf::abi::kfunc::{Callee, Kfunc};
use weir_ebpf::abi::map_kind::create_flags;
use weir_ebpf::abi::names::helper_name;
use weir_ebpf::abi::{MapKind, PacketUse};
use weir_ebpf::isa::Reg;
use weir_ebpf::{MapSpec, ProgramType};

use crate::bugs::{Bug, seeded};
use crate::compat;
use crate::explore::{Check, Explorer, Step};
use crate::reject::Reject;
use crate::rule::Rule;
use crate::stack::{Thing, View};
use crate::transfer::argument::Call;
use crate::value::{Kind, MapRef, Pointer, SocketView, Value};

impl Explorer<'_> {
    pub(crate) fn call_helper(&mut self, number: u32) -> Check<Step> {
        self.check_lock_allows(number == Helper::SpinUnlock as u32)?;
        let helper = self.known_helper(number)?;
        self.call_outside(Callee::Helper(helper))
    }

    pub(crate) fn call_kfunc(&mut self, number: i32) -> Check<Step> {
        self.check_lock_allows(false)?;
        let kfunc = self.known_kfunc(number)?;
        self.call_outside(Callee::Kfunc(kfunc))
    }

    fn check_lock_allows(&self, unlocks: bool) -> Check {
        if self.state.lock.is_some() && !unlocks {
            let message = "function calls are not allowed while holding a lock";
            return self.refuse(Rule::SpinLock, message);
        }
        Ok(())
    }

    fn call_outside(&mut self, callee: Callee) -> Check<Step> {
        let mut call = Call::default();
        for at in 0..callee.args(self.program.kind).len() {
            self.check_argument(callee, at, &mut call)?;
        }
        for (frame, from, to) in call.filled.into_iter().flatten().filter(|_| !seeded(Bug::HelperKeepsStack))
        {
            let frame = &mut self.state.frames[usize::from(frame)];
            std::rc::Rc::make_mut(frame).stack.smear(from, to, false);
        }
        if callee.is(Helper::Snprintf) {
            self.check_format(&call)?;
        }
        if let Callee::Helper(helper) = callee {
            self.check_map_kind(helper, &call)?;
            self.note_call(helper, &call);
        }
        if let Some(id) = call.releases {
            self.release(id)?;
        }
        match callee {
            Callee::Helper(Helper::TailCall) => self.tail_call()?,
            Callee::Helper(Helper::TimerSetCallback) => self.set_timer_callback(&call),
            Callee::Helper(helper @ (Helper::Loop | Helper::ForEachMapElem)) => {
                self.push_callback(helper, &call)?;
            }
            Callee::Kfunc(Kfunc::DynptrSliceRdwr) if self.program.kind.packet() != PacketUse::ReadWrite => {
                return self.refuse(Rule::PacketWrite, "the prog does not allow writes to packet data");
            }
            _ => {}
        }
        self.finish_call(callee, &call)?;
        Ok(Step::To(self.slot + 1))
    }

    /// The map argument is of a kind that the helper takes.
    fn check_map_kind(&self, helper: Helper, call: &Call) -> Check {
        if let Some(spec) = call.map.and_then(|map| map.spec(self.program))
            && read_only(spec)
            && matches!(
                helper,
                Helper::MapUpdateElem | Helper::MapDeleteElem | Helper::MapPushElem | Helper::MapPopElem
            )
        {
            // `record_func_map`
            return self.refuse(Rule::MapReadOnly, "write into map forbidden");
        }
        if let Some(map) = call.map
            && let Some(spec) = map.spec(self.program)
            && !compat::fits(spec.kind, helper, self.program.kind)
            && !seeded(Bug::MapKind)
        {
            let (kind, name, number) = (spec.kind as u32, helper.name(), helper as u32);
            let message = match helper {
                Helper::TailCall => "expected prog array map for tail call".to_owned(),
                Helper::ForEachMapElem => "callback function not allowed for map".to_owned(),
                _ => format!("cannot pass map_type {kind} into func {name}#{number}"),
            };
            return self.refuse(Rule::MapHelper, message);
        }
        Ok(())
    }

    fn known_kfunc(&self, number: i32) -> Check<Kfunc> {
        let Some(kfunc) = Kfunc::new(number) else {
            let message = format!("calling kernel function btf_id#{number} is not allowed");
            return self.refuse(Rule::KernelFunction, message);
        };
        if !self.program.gpl_compatible() {
            let message = "cannot call kernel function from non-GPL compatible program";
            return self.refuse(Rule::HelperLicense, message);
        }
        if !kfunc.offered_to(self.program.kind) {
            let message = format!("calling kernel function {} is not allowed", kfunc.name());
            let mut reject = Reject::new(self.slot, Rule::KernelFunction, message);
            let offered = ProgramType::ALL.iter().filter(|kind| kfunc.offered_to(**kind));
            let offered: Vec<&str> = offered.map(|kind| kind.name()).collect();
            reject.help = Some(format!("{} is for programs of type {}", kfunc.name(), offered.join(", ")));
            return Err(Box::new(reject));
        }
        Ok(kfunc)
    }

    fn known_helper(&self, number: u32) -> Check<Helper> {
        let Some(helper) = Helper::new(number) else {
            let message = match helper_name(number) {
                Some(name) => format!("weir has no helper bpf_{name}#{number}"),
                None => format!("invalid func unknown#{number}"),
            };
            return self.refuse(Rule::HelperUnknown, message);
        };
        let name = helper.name();
        let (kind, attach) = (self.program.kind, self.program.attach);
        if !helper.offered_to(kind, attach) && !seeded(Bug::HelperOfOthers) {
            let message = format!("program of this type cannot use helper {name}#{number}");
            let offered =
                ProgramType::ALL.iter().filter(|kind| helper.offered_to(**kind, kind.usual_attach()));
            let offered: Vec<&str> = offered.map(|kind| kind.name()).collect();
            let mut reject = Reject::new(self.slot, Rule::HelperNotOffered, message);
            reject.help = Some(format!("{name} is for programs of type {}", offered.join(", ")));
            return Err(Box::new(reject));
        }
        if helper.gpl_only() && !self.program.gpl_compatible() {
            let message = "cannot call GPL-restricted function from non-GPL compatible program";
            return self.refuse(Rule::HelperLicense, message);
        }
        Ok(helper)
    }

    /// Notes what the call is given, as far as all paths agree.
    fn note_call(&mut self, helper: Helper, call: &Call) {
        let map = call.map.filter(|map| !map.inner).map(|map| map.map);
        let first = self.seen_calls.insert(self.slot);
        let noted = &mut self.facts.insns[self.slot].call;
        if first {
            (noted.map, noted.index) = (map, call.index);
        } else if !seeded(Bug::FactsOfFirstCall) {
            noted.map = noted.map.filter(|&noted| Some(noted) == map);
            noted.index = noted.index.filter(|&noted| Some(noted) == call.index);
        }
        if helper == Helper::TailCall {
            let function = self.shape.function_of[self.slot];
            self.facts.functions[function].tail_calls = true;
        }
    }

    /// The state after the call: r1 to r5 lost, the answer in r0.
    fn finish_call(&mut self, callee: Callee, call: &Call) -> Check {
        self.put_made(call);
        let writes_skb = callee.is(Helper::DynptrWrite)
            && call.object.is_some_and(|object| matches!(object.thing, Thing::Dynptr(View::Skb | View::Any)));
        let answer = match callee.returns() {
            Returns::Integer => Value::unknown(),
            Returns::Void => Value::NotInit,
            Returns::MapValueOrNull => self.looked_up(callee, call)?,
            Returns::MapValue => match call.map {
                Some(map) => {
                    Value::Pointer(Pointer { id: self.new_id(), ..Pointer::new(Kind::MapValue(map)) })
                }
                None => Value::unknown(),
            },
            Returns::NumberOrNull => self.next_number(call)?,
            Returns::DynptrDataOrNull => self.part(call, true, true),
            Returns::MutableSliceOrNull => self.part(call, true, false),
            Returns::SliceOrNull => self.part(call, false, false),
            Returns::SocketOrNull => self.socket(callee, call, SocketView::Full),
            Returns::SockCommonOrNull => self.socket(callee, call, SocketView::Common),
            Returns::TcpSockOrNull => self.socket(callee, call, SocketView::Tcp),
            Returns::KernelOrNull(of) => {
                let (id, reference) = (self.new_id(), call.socket);
                let pointer = Pointer::new(Kind::Kernel(of));
                Value::Pointer(Pointer { maybe_null: true, id, reference, ..pointer })
            }
            Returns::KernelAcquiredOrNull(of) => {
                let id = self.acquire();
                let pointer = Pointer::new(Kind::Kernel(of));
                Value::Pointer(Pointer { maybe_null: true, id, reference: id, ..pointer })
            }
            Returns::RecordOrNull => {
                let id = self.acquire_or_null();
                let bytes = call.constant.and_then(|bytes| u32::try_from(bytes).ok()).unwrap_or(0);
                Value::Pointer(Pointer {
                    maybe_null: true,
                    id,
                    reference: id,
                    ..Pointer::new(Kind::Record { bytes })
                })
            }
        };
        for reg in Reg::ARGS.into_iter().filter(|_| !seeded(Bug::CallKeepsArguments)) {
            self.state.set(reg, Value::NotInit);
        }
        self.state.set(Reg::R0, answer);
        if callee.changes_packet() || writes_skb {
            self.forget_packet();
        }
        Ok(())
    }

    /// Packet pointers become numbers; the packet may have moved (`clear_all_pkt_pointers`).
    pub(crate) fn forget_packet(&mut self) {
        if seeded(Bug::StalePacket) {
            return;
        }
        let kept = seeded(Bug::StaleSpilledPacket).then(|| self.state.clone());
        self.state.for_each(|value| {
            let stale = value.as_pointer().is_some_and(|pointer| match pointer.kind {
                Kind::PacketEnd | Kind::Memory { packet: true, .. } => true,
                kind => kind.is_packet(),
            });
            if stale {
                *value = Value::unknown();
            }
        });
        for (frame, kept) in self.state.frames.iter_mut().zip(kept.into_iter().flat_map(|kept| kept.frames)) {
            std::rc::Rc::make_mut(frame).stack = kept.stack.clone();
        }
    }

    /// A socket that was looked up, which is a reference; or another view of one, which ends with it.
    fn socket(&mut self, callee: Callee, call: &Call, view: SocketView) -> Value {
        let (id, reference) = match callee {
            Callee::Helper(Helper::SkLookupTcp | Helper::SkLookupUdp | Helper::SkcLookupTcp) => {
                let id = self.acquire_or_null();
                (id, id)
            }
            Callee::Helper(Helper::SkFullsock | Helper::TcpSock) => (self.new_id(), call.socket),
            _ => (self.new_id(), 0),
        };
        Value::Pointer(Pointer { maybe_null: true, id, reference, ..Pointer::new(Kind::Socket(view)) })
    }

    fn looked_up(&mut self, callee: Callee, call: &Call) -> Check<Value> {
        let Some(map) = call.map else { return Ok(Value::unknown()) };
        let of_maps = map
            .spec(self.program)
            .is_some_and(|spec| matches!(spec.kind, MapKind::ArrayOfMaps | MapKind::HashOfMaps));
        let of_kind = map.spec(self.program).map(|spec| spec.kind);
        let kind = if of_maps {
            Kind::Map(MapRef { inner: true, ..map })
        } else if of_kind == Some(MapKind::Xskmap) {
            Kind::Socket(SocketView::Xdp)
        } else if of_kind.is_some_and(MapKind::holds_sockets) {
            // It was taken out of the map and must be given back (`is_acquire_function`).
            let id = self.acquire_or_null();
            let socket = Pointer::new(Kind::Socket(SocketView::Full));
            return Ok(Value::Pointer(Pointer { maybe_null: true, id, reference: id, ..socket }));
        } else {
            Kind::MapValue(map)
        };
        // An array has every index below its size (`can_elide_value_nullness`).
        let present = callee.is(Helper::MapLookupElem)
            && map.spec(self.program).is_some_and(|spec| {
                as_long_as_declared(spec, map.inner)
                    && call.index.is_some_and(|index| {
                        index < spec.max_entries + u32::from(seeded(Bug::ElidedNullOffByOne))
                    })
            });
        Ok(Value::Pointer(Pointer { maybe_null: !present, id: self.new_id(), ..Pointer::new(kind) }))
    }
}

/// Whether programs may not change it; the kernel makes maps of devices so.
fn read_only(spec: &MapSpec) -> bool {
    spec.flags & create_flags::RDONLY_PROG != 0 || matches!(spec.kind, MapKind::Devmap | MapKind::DevmapHash)
}

/// Whether it is an array of as many entries as are declared. An inner one may be shorter than the one that
/// declares its shape, unless it is a plain array without `BPF_F_INNER_MAP`.
fn as_long_as_declared(spec: &MapSpec, inner: bool) -> bool {
    let inner = inner && !seeded(Bug::ElidedNullOfInner);
    match spec.kind {
        MapKind::Array => !inner || spec.flags & create_flags::INNER_MAP == 0,
        MapKind::PercpuArray => !inner,
        _ => false,
    }
}
