//! What each instruction does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use weir_ebpf::Reg;
use weir_ebpf::isa::{AluOp, AtomicOp, Imm64, Insn, Size, Source, SwapKind, Width};

use super::Machine;
use super::fault::{Access, FaultKind};
use super::memory::function_value;

/// The outcome of an instruction that does not say where control goes: to the next one.
type Done = Result<(), FaultKind>;

impl Machine<'_> {
    /// Runs one instruction, `pc` included.
    pub(super) fn step(&mut self, insn: Insn) -> Done {
        let slot = self.pc;
        self.pc += insn.slots();
        match insn {
            Insn::Alu { width, op, dst, src } => self.alu(width, op, dst, src),
            Insn::Mov { width: Width::W64, dst, src } => self.set(dst, self.wide(src)),
            Insn::Mov { width: Width::W32, dst, src } => self.set(dst, u64::from(self.narrow(src))),
            Insn::MovSx { width, from, dst, src } => {
                let value = extend(self.get(src), from);
                self.set(dst, fit(value, width));
            }
            Insn::Neg { width, dst } => self.set(dst, fit(self.get(dst).wrapping_neg(), width)),
            Insn::Swap { kind, size, dst } => self.set(dst, swap(self.get(dst), kind, size)),
            Insn::LoadImm64 { dst, value } => {
                let value = self.immediate(slot, value)?;
                self.set(dst, value);
            }
            Insn::SecondHalf => return Err(FaultKind::Jump { target: slot as i64 }),
            Insn::Load { size, signed, dst, base, off } => {
                let value = self.load(self.address(base, off), size)?;
                self.set(dst, if signed { extend(value, size) } else { value });
            }
            Insn::Store { size, base, off, src } => {
                let negative = matches!(src, Source::Imm(..0));
                self.store(self.address(base, off), size, self.wide(src), negative)?;
            }
            Insn::Atomic { size, op, base, off, src } => {
                self.atomic(size, op, self.address(base, off), src)?
            }
            Insn::LoadAcquire { size, dst, base, off } => {
                let value = self.load_acquire(self.address(base, off), size)?;
                self.set(dst, value);
            }
            Insn::StoreRelease { size, base, off, src } => {
                self.store_release(self.address(base, off), size, self.get(src))?;
            }
            Insn::LoadPacket { size, index, offset } => self.load_packet(size, index, offset)?,
            Insn::Goto { off } => self.jump(i64::from(off)),
            Insn::GotoLong { off } => self.jump(i64::from(off)),
            Insn::Branch { width, cond, dst, src, off } => {
                let holds = match width {
                    Width::W64 => cond.eval64(self.get(dst), self.wide(src)),
                    Width::W32 => cond.eval32(self.get(dst) as u32, self.narrow(src)),
                };
                if holds {
                    self.jump(i64::from(off));
                }
            }
            Insn::MayGoto { off } => {
                // SAFETY: the run is valid for the machine's life, and nothing else uses it now.
                let left = unsafe { &mut (*self.run).may_goto };
                match left.checked_sub(1) {
                    Some(fewer) => *left = fewer,
                    None => self.jump(i64::from(off)),
                }
            }
            Insn::Call { helper } => self.call_helper(u64::from(helper))?,
            Insn::CallReg { reg } => self.call_helper(self.get(reg))?,
            Insn::CallLocal { off } => self.call_local(self.pc as i64 + i64::from(off))?,
            Insn::CallKfunc { btf_id, off } => self.call_kfunc(btf_id, off)?,
            Insn::Exit => {
                self.leave();
            }
        }
        Ok(())
    }

    fn get(&self, reg: Reg) -> u64 {
        self.regs[reg.index()]
    }

    fn set(&mut self, reg: Reg, value: u64) {
        self.regs[reg.index()] = value;
    }

    /// The 64-bit value of an operand; immediates are sign-extended.
    fn wide(&self, source: Source) -> u64 {
        match source {
            Source::Reg(reg) => self.get(reg),
            Source::Imm(imm) => i64::from(imm) as u64,
        }
    }

    fn narrow(&self, source: Source) -> u32 {
        self.wide(source) as u32
    }

    fn address(&self, base: Reg, off: i16) -> u64 {
        self.get(base).wrapping_add_signed(i64::from(off))
    }

    /// Moves control relative to the next instruction; `fetch` judges where it leads.
    fn jump(&mut self, off: i64) {
        self.pc = (self.pc as i64).checked_add(off).map_or(usize::MAX, |target| target as usize);
    }

    fn alu(&mut self, width: Width, op: AluOp, dst: Reg, src: Source) {
        let value = match width {
            Width::W64 => op.eval64(self.get(dst), self.wide(src)),
            Width::W32 => u64::from(op.eval32(self.get(dst) as u32, self.narrow(src))),
        };
        self.set(dst, value);
    }

    fn immediate(&self, slot: usize, value: Imm64) -> Result<u64, FaultKind> {
        let map = |index: u32| self.code().maps.get(index as usize).ok_or(FaultKind::Map { map: index });
        match value {
            Imm64::Value(value) => Ok(value),
            Imm64::Map(index) => Ok(Arc::as_ptr(map(index)?).expose_provenance() as u64),
            Imm64::MapValue { map: index, offset } => {
                let value = map(index)?.direct_value(offset).ok_or(FaultKind::Map { map: index })?;
                Ok(value.expose_provenance() as u64)
            }
            Imm64::Variable { .. } => Err(FaultKind::Unsupported { what: "a kernel variable" }),
            Imm64::Function(off) => {
                let target = slot as i64 + 1 + i64::from(off);
                usize::try_from(target).map(function_value).map_err(|_| FaultKind::Jump { target })
            }
        }
    }

    fn check(&self, address: u64, size: Size, access: Access) -> Done {
        let maps = &self.code().maps;
        self.memory.check(address, u64::from(size.bytes()), access, self.frames.len(), maps)
    }

    fn load(&self, address: u64, size: Size) -> Result<u64, FaultKind> {
        if let Some(offset) = self.memory.context_offset(address) {
            return self.memory.load_context(offset, u64::from(size.bytes()));
        }
        self.check(address, size, Access::Read)?;
        let mut bytes = [0; 8];
        let from: *const u8 = std::ptr::with_exposed_provenance(address as usize);
        // SAFETY: `check` found `size` bytes there that the program may read.
        unsafe { from.copy_to(bytes.as_mut_ptr(), size.bytes() as usize) };
        Ok(u64::from_le_bytes(bytes))
    }

    fn store(&mut self, address: u64, size: Size, value: u64, negative: bool) -> Done {
        if let Some(offset) = self.memory.context_offset(address) {
            return self.memory.store_context(offset, u64::from(size.bytes()), value, negative);
        }
        self.check(address, size, Access::Write)?;
        let to: *mut u8 = std::ptr::with_exposed_provenance_mut(address as usize);
        let value = value.to_le_bytes();
        // SAFETY: `check` found `size` bytes there that the program may write.
        unsafe { value.as_ptr().copy_to(to, size.bytes() as usize) };
        Ok(())
    }

    /// Checks an atomic access and answers the place.
    fn atomic_place(&self, address: u64, size: Size, access: Access) -> Result<*mut u8, FaultKind> {
        self.check(address, size, access)?;
        let size = u64::from(size.bytes());
        if !address.is_multiple_of(size) {
            return Err(FaultKind::Misaligned { size, address });
        }
        Ok(std::ptr::with_exposed_provenance_mut(address as usize))
    }

    fn atomic(&mut self, size: Size, op: AtomicOp, address: u64, src: Reg) -> Done {
        self.check(address, size, Access::Read)?;
        let place = self.atomic_place(address, size, Access::Write)?;
        let (operand, r0) = (self.get(src), self.regs[0]);
        let old = if size == Size::DW {
            // SAFETY: `atomic_place` found 8 aligned bytes there that the program may read and write.
            let word = unsafe { AtomicU64::from_ptr(place.cast()) };
            update(word.load(Ordering::SeqCst), |old| {
                word.compare_exchange(old, op.eval(old, operand, r0), Ordering::SeqCst, Ordering::SeqCst)
            })
        } else {
            // SAFETY: as above, 4 bytes.
            let word = unsafe { AtomicU32::from_ptr(place.cast()) };
            let (operand, r0) = (u64::from(operand as u32), u64::from(r0 as u32));
            u64::from(update(word.load(Ordering::SeqCst), |old| {
                let new = op.eval(u64::from(old), operand, r0) as u32;
                word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst)
            }))
        };
        if op.fetches() {
            self.set(if op == AtomicOp::CmpXchg { Reg::R0 } else { src }, old);
        }
        Ok(())
    }

    fn load_acquire(&self, address: u64, size: Size) -> Result<u64, FaultKind> {
        let place = self.atomic_place(address, size, Access::Read)?;
        // SAFETY: `atomic_place` found `size` aligned bytes there that the program may read.
        Ok(unsafe {
            match size {
                Size::B => u64::from(AtomicU8::from_ptr(place).load(Ordering::Acquire)),
                Size::H => u64::from(AtomicU16::from_ptr(place.cast()).load(Ordering::Acquire)),
                Size::W => u64::from(AtomicU32::from_ptr(place.cast()).load(Ordering::Acquire)),
                Size::DW => AtomicU64::from_ptr(place.cast()).load(Ordering::Acquire),
            }
        })
    }

    fn store_release(&mut self, address: u64, size: Size, value: u64) -> Done {
        let place = self.atomic_place(address, size, Access::Write)?;
        // SAFETY: `atomic_place` found `size` aligned bytes there that the program may write.
        unsafe {
            match size {
                Size::B => AtomicU8::from_ptr(place).store(value as u8, Ordering::Release),
                Size::H => AtomicU16::from_ptr(place.cast()).store(value as u16, Ordering::Release),
                Size::W => AtomicU32::from_ptr(place.cast()).store(value as u32, Ordering::Release),
                Size::DW => AtomicU64::from_ptr(place.cast()).store(value, Ordering::Release),
            }
        }
        Ok(())
    }

    /// Legacy packet access: network order, and the function ends with 0 when the packet is too short.
    fn load_packet(&mut self, size: Size, index: Option<Reg>, offset: i32) -> Done {
        let index = index.map_or(0, |index| self.get(index) as u32);
        // SAFETY: the context is valid for the machine's life, and nobody changes it now.
        let context = unsafe { &*self.memory.context };
        match context.legacy_load(index.wrapping_add(offset as u32), size.bytes() as usize) {
            Some(value) => self.regs[0] = value,
            None => {
                self.regs[0] = 0;
                self.leave();
            }
        }
        Ok(())
    }
}

/// Tries until the exchange goes through; answers what was there.
fn update<T: Copy>(mut old: T, exchange: impl Fn(T) -> Result<T, T>) -> T {
    loop {
        match exchange(old) {
            Ok(old) => return old,
            Err(found) => old = found,
        }
    }
}

/// Sign-extends the low bytes.
fn extend(value: u64, from: Size) -> u64 {
    let unused = 64 - from.bits();
    ((value << unused) as i64 >> unused) as u64
}

/// A result as a register holds it after an operation of this width.
fn fit(value: u64, width: Width) -> u64 {
    match width {
        Width::W64 => value,
        Width::W32 => u64::from(value as u32),
    }
}

fn swap(value: u64, kind: SwapKind, size: Size) -> u64 {
    let low = value << (64 - size.bits()) >> (64 - size.bits());
    match kind {
        SwapKind::ToLe => low,
        SwapKind::ToBe | SwapKind::Bswap => low.swap_bytes() >> (64 - size.bits()),
    }
}
