//! Text to instructions and back, in the syntax of clang, llvm-objdump and the kernel's `pseudo-C`.
//!
//! ```text
//! entry:  r2 = *(u32 *)(r1 + 4)        // a label, a load, a comment
//!         if r2 s> 5 goto done         # or `goto +3`
//!         w0 += w2; goto entry         // two statements on a line
//! done:   r1 = map[flows] ll           // a map by name or by number
//!         call bpf_map_lookup_elem     // a helper by name or by number
//!         exit
//! ```
//!
//! [`disassemble`] writes what [`assemble`] reads, for every instruction there is.
//! Listings of other tools can be pasted: slot numbers (`12:`), opcodes (`(b7)`) and targets in angle
//! brackets are understood. What text cannot say, such as which of two equal encodings was meant,
//! is not kept.

mod cursor;
mod error;
mod memory;
mod parse;
mod print;
mod statement;
#[cfg(test)]
mod tests;
mod token;

pub use error::AsmError;
pub use parse::{assemble, assemble_with};
pub use print::{Listing, disassemble};
