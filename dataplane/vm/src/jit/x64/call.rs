//! Calls: of helpers, of the program's own functions, and into other programs.

use dynasmrt::dynasm;
use weir_ebpf::Reg;
use weir_ebpf::abi::{Errno, Helper};
use weir_ebpf::isa::{Size, Width};

use super::asm::{Arith, Flag, Gpr, Rm};
use super::{Emitter, JitError, RUN, gpr};
use crate::interpreter;
use crate::jit::runtime;
use crate::run::offset;

impl Emitter<'_> {
    pub(super) fn call(&mut self, slot: usize, number: u32) -> Result<(), JitError> {
        if !self.link.exact && number == Helper::TailCall as u32 {
            self.tail_call(slot);
            return Ok(());
        }
        if self.inline(slot, number) {
            return Ok(());
        }
        let body = (self.link.helper)(number).ok_or(JitError::Helper { slot, number })?;
        if number == Helper::TimerSetCallback as u32 {
            // The helper's hidden argument.
            self.asm.constant(gpr(Reg::R3), self.link.owner as u64);
        }
        self.call_outside(body);
        self.clobber_exactly();
        Ok(())
    }

    pub(super) fn call_kfunc(&mut self, slot: usize, number: i32) -> Result<(), JitError> {
        let body = (self.link.kfunc)(number).ok_or(JitError::Kfunc { slot, number })?;
        self.call_outside(body);
        self.clobber_exactly();
        Ok(())
    }

    /// Leaves in the argument registers what the checked interpreter leaves there.
    fn clobber_exactly(&mut self) {
        if self.link.exact {
            for reg in Reg::ARGS {
                self.asm.constant(gpr(reg), interpreter::CLOBBERED);
            }
        }
    }

    /// Calls a C function that takes the run first. The frame has aligned the stack.
    pub(super) fn call_outside(&mut self, target: usize) {
        dynasm!(self.asm.ops ; .arch x64 ; mov rdi, r12);
        self.asm.call_address(target);
    }

    pub(super) fn call_local(&mut self, slot: usize, off: i32) -> Result<(), JitError> {
        let callee = self.callee(slot, off)?;
        let (entry, door) = (self.frames[callee].entry, self.frames[callee].door);
        if door && self.link.exact {
            return Err(JitError::Insn { slot, what: "a call of the program by itself" });
        }
        if door {
            dynasm!(self.asm.ops ; .arch x64 ; mov rdi, r12);
        }
        self.asm.call(entry);
        Ok(())
    }

    /// `callx`, for the instruction set's own tests: finds the helper by its number.
    pub(super) fn call_register(&mut self, reg: Reg) {
        let done = self.asm.label();
        let helpers: Vec<_> = self.link.helpers().collect();
        self.asm.mov(Width::W64, Gpr::R11, gpr(reg));
        for (number, body) in helpers {
            let next = self.asm.label();
            self.asm.arith_imm(Width::W64, Arith::Cmp, Rm::Reg(Gpr::R11), number as i32);
            self.asm.jump_if(Flag::NotEqual, next);
            self.call_outside(body);
            self.clobber_exactly();
            self.asm.jump(done);
            self.asm.bind(next);
        }
        dynasm!(self.asm.ops ; .arch x64 ; ud2);
        self.asm.bind(done);
    }

    /// Legacy packet access. Out of bounds it returns 0 from the function, as the kernel's rewriting of
    /// it does (`bpf_gen_ld_abs`, net/core/filter.c).
    pub(super) fn load_packet(&mut self, size: Size, index: Option<Reg>, at: i32) {
        let inside = self.asm.label();
        match index {
            Some(index) => {
                self.asm.mov(Width::W32, Gpr::Rsi, gpr(index));
                self.asm.arith_imm(Width::W32, Arith::Add, Rm::Reg(Gpr::Rsi), at);
            }
            None => self.asm.constant(Gpr::Rsi, u64::from(at as u32)),
        }
        self.asm.constant(Gpr::Rdx, u64::from(size.bytes()));
        self.call_outside(runtime::load_packet as *const () as usize);
        self.asm.arith_imm(Width::W64, Arith::Cmp, Rm::Reg(Gpr::Rax), -1);
        self.asm.jump_if(Flag::NotEqual, inside);
        self.asm.constant(Gpr::Rax, 0);
        self.exit();
        self.asm.bind(inside);
    }

    /// Goes on in another program, in place of this function; falls through when it cannot.
    fn tail_call(&mut self, slot: usize) {
        let out = self.asm.label();
        if !self.find_program(slot, out) {
            dynasm!(self.asm.ops ; .arch x64 ; mov rsi, rdx ; mov edx, ecx);
            self.call_outside(runtime::tail_call as *const () as usize);
            self.asm.test(Width::W64, Gpr::Rax, Gpr::Rax);
            self.asm.jump_if(Flag::Equal, out);
            self.asm.mov(Width::W64, Gpr::R10, Gpr::Rax);
        }
        self.asm.load(Size::DW, Gpr::Rsi, Rm::Mem(RUN, offset::CONTEXT as i32));
        dynasm!(self.asm.ops ; .arch x64 ; mov rdi, r12);
        self.epilogue();
        dynasm!(self.asm.ops ; .arch x64 ; jmp r10);
        self.asm.bind(out);
        // r0 is nothing a program may read now; it holds what the interpreter leaves there.
        self.asm.constant(Gpr::Rax, Errno::ENOENT.as_return());
    }
}
