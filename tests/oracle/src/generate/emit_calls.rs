//! Steps that call helpers.

use weir_ebpf::ProgramType;
use weir_ebpf::abi::Helper;
use weir_ebpf::isa::{AluOp, Cond, Imm64, Insn, Reg, Source, Width};

use super::emit::{Emitter, KEY, SLOTS, SPILL, slot};
use super::{KEYS, PACKET_BYTES, Step, maps};

impl Emitter {
    fn call(&mut self, helper: Helper) {
        self.push(Insn::Call { helper: helper as u32 });
    }

    /// The helper of this program's type.
    fn call_of(&mut self, xdp: Helper, tc: Helper) {
        self.call(if self.kind == ProgramType::Xdp { xdp } else { tc });
    }

    fn stack_pointer(&mut self, dst: Reg, off: i16) {
        self.mov(dst, Reg::R10);
        self.alu(AluOp::Add, dst, Source::Imm(i32::from(off)));
    }

    fn map(&mut self, dst: Reg, map: u32) {
        self.push(Insn::LoadImm64 { dst, value: Imm64::Map(map) });
    }

    /// Puts the key on the stack, the map into r1 and the key's address into r2.
    fn key(&mut self, map: u32, key: Source) {
        let size = maps::key_size(map);
        match key {
            Source::Reg(reg) => {
                self.mov(Reg::R2, reg);
                self.alu(AluOp::And, Reg::R2, Source::Imm(KEYS as i32 - 1));
                self.push(Insn::Store { size, base: Reg::R10, off: KEY, src: Source::Reg(Reg::R2) });
            }
            imm => self.push(Insn::Store { size, base: Reg::R10, off: KEY, src: imm }),
        }
        self.map(Reg::R1, map);
        self.stack_pointer(Reg::R2, KEY);
    }

    /// A register from a number: itself, or another one below a power of two.
    fn small(&mut self, dst: Reg, from: Source, mask: i32) {
        match from {
            Source::Imm(imm) => self.set(dst, imm),
            Source::Reg(reg) => {
                self.mov(dst, reg);
                self.alu(AluOp::And, dst, Source::Imm(mask));
            }
        }
    }

    pub(super) fn map_step(&mut self, step: &Step) {
        match step {
            Step::Lookup { map, key, index, accesses } => {
                if let Some((index, _)) = index {
                    self.store(Reg::R10, SPILL, *index);
                }
                self.key(*map, *key);
                self.call(Helper::MapLookupElem);
                let mut out = vec![self.branch(Width::W64, Cond::Eq, Reg::R0, Source::Imm(0))];
                if let Some((_, guard)) = index {
                    self.load(Reg::R5, Reg::R10, SPILL);
                    out.extend(self.guard(Reg::R5, *guard));
                    self.alu(AluOp::Add, Reg::R0, Source::Reg(Reg::R5));
                }
                for (off, access) in accesses {
                    self.push(access.at(Reg::R0, *off));
                }
                out.into_iter().for_each(|branch| self.land(branch));
                self.restore(&[Reg::R0]);
            }
            Step::Update { map, key, flags } => {
                self.key(*map, *key);
                self.stack_pointer(Reg::R3, slot(SLOTS - 1));
                self.set(Reg::R4, *flags);
                self.call(Helper::MapUpdateElem);
            }
            Step::Delete { map, key } => {
                self.key(*map, *key);
                self.call(Helper::MapDeleteElem);
            }
            other => unreachable!("{other:?} does not touch a map"),
        }
        self.restore(&Reg::ARGS);
    }

    pub(super) fn helper_step(&mut self, step: &Step) {
        match step {
            Step::Adjust { tail, delta } => self.adjust(*tail, *delta),
            Step::Bytes { store, at, bytes } => self.bytes(*store, *at, *bytes),
            Step::Checksum { bytes } => {
                self.stack_pointer(Reg::R1, slot(7));
                self.stack_pointer(Reg::R3, slot(SLOTS - 1));
                self.set(Reg::R2, *bytes);
                self.set(Reg::R4, *bytes);
                self.call(Helper::CsumDiff);
            }
            Step::Length => {
                self.mov(Reg::R1, Reg::R6);
                // tc has no such helper; the hash is as good a number, and 0 in a test run.
                self.call_of(Helper::XdpGetBuffLen, Helper::GetRouteRealm);
            }
            Step::Ring { bytes, accesses, discard } => {
                self.map(Reg::R1, maps::RING);
                self.set(Reg::R2, *bytes);
                self.set(Reg::R3, 0);
                self.call(Helper::RingbufReserve);
                let null = self.branch(Width::W64, Cond::Eq, Reg::R0, Source::Imm(0));
                for (off, access) in accesses {
                    self.push(access.whole().at(Reg::R0, *off));
                }
                self.mov(Reg::R1, Reg::R0);
                self.set(Reg::R2, 0);
                self.call(if *discard { Helper::RingbufDiscard } else { Helper::RingbufSubmit });
                self.land(null);
                self.restore(&[Reg::R0]);
            }
            Step::Visit { callback, times, map } => {
                match map {
                    Some(map) => self.map(Reg::R1, *map),
                    None => self.small(Reg::R1, *times, 7),
                }
                self.visits.push((self.next(), *callback));
                self.push(Insn::LoadImm64 { dst: Reg::R2, value: Imm64::Function(0) });
                self.stack_pointer(Reg::R3, slot(7));
                self.set(Reg::R4, 0);
                self.call(if map.is_some() { Helper::ForEachMapElem } else { Helper::Loop });
            }
            Step::Tail { index } => {
                self.small(Reg::R3, *index, 7);
                self.mov(Reg::R1, Reg::R6);
                self.map(Reg::R2, maps::PROGRAMS);
                self.call(Helper::TailCall);
                self.restore(&[Reg::R0]);
            }
            Step::Sized { size, at } => {
                self.mov(Reg::R4, *size);
                self.alu(AluOp::And, Reg::R4, Source::Imm(63));
                let none = self.branch(Width::W64, Cond::Eq, Reg::R4, Source::Imm(0));
                self.mov(Reg::R1, Reg::R6);
                self.set(Reg::R2, *at);
                self.stack_pointer(Reg::R3, slot(7));
                self.call_of(Helper::XdpLoadBytes, Helper::SkbLoadBytes);
                self.land(none);
                self.restore(&[Reg::R0]);
            }
            other => unreachable!("{other:?} calls no helper"),
        }
        self.restore(&Reg::ARGS);
    }

    fn adjust(&mut self, tail: bool, delta: i32) {
        self.mov(Reg::R1, Reg::R6);
        if self.kind == ProgramType::Xdp {
            self.set(Reg::R2, delta);
            self.call(if tail { Helper::XdpAdjustTail } else { Helper::XdpAdjustHead });
        } else if tail {
            self.set(Reg::R2, PACKET_BYTES as i32 + delta);
            self.set(Reg::R3, 0);
            self.call(Helper::SkbChangeTail);
        } else {
            self.set(Reg::R2, delta.max(0));
            self.call(Helper::SkbPullData);
        }
        self.prove_packet();
    }

    fn bytes(&mut self, store: bool, at: i32, bytes: i32) {
        self.mov(Reg::R1, Reg::R6);
        self.set(Reg::R2, at);
        self.stack_pointer(Reg::R3, slot(7));
        self.set(Reg::R4, bytes);
        if !store {
            return self.call_of(Helper::XdpLoadBytes, Helper::SkbLoadBytes);
        }
        self.set(Reg::R5, 0);
        self.call_of(Helper::XdpStoreBytes, Helper::SkbStoreBytes);
        if self.kind != ProgramType::Xdp {
            self.prove_packet();
        }
    }
}
