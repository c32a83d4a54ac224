//! What a program is: the instruction set, the tables of helpers, map kinds, context fields and
//! verdicts, and the program itself.
//!
//! Each fact is said once here, as data, and every other room reads it. Nothing in this crate runs,
//! proves or loads anything; it has no I/O and no `unsafe`.
#![forbid(unsafe_code)]

pub mod abi;
pub mod asm;
pub mod decode;
pub mod encode;
pub mod format;
pub mod isa;
pub mod program;

pub use isa::{Insn, RawInsn, Reg};
pub use program::{MapSpec, Program, ProgramType};
