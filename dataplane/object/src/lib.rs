//! Untrusted bytes to objects: ELF, BTF, CO-RE, line information.
//!
//! [`Object::parse`] takes what clang makes of a C file with `-target bpf` and answers with the
//! programs and maps in it, meaning by it what libbpf means: functions are found by symbol, functions
//! of `.text` are appended to the programs that call them, relocations name maps, variables and
//! functions, `.maps` describes maps by BTF, and data sections are maps of one value.
//!
//! Whatever the bytes are, the answer is an object or an [`ObjectError`] that says where it is at
//! fault: no panic, and time and memory in proportion to the file. Nothing here proves that a program
//! is safe; that is the verifier's.
#![forbid(unsafe_code)]

pub mod btf;
mod config;
mod core;
mod cursor;
mod elf;
mod error;
mod externs;
mod functions;
mod globals;
mod lines;
mod link;
mod maps;
mod object;
mod parts;
mod relocate;
mod section;
mod signature;

pub use btf::Btf;
pub use config::KernelConfig;
pub use error::{Fault, ObjectError};
pub use globals::Global;
pub use maps::MapBtf;
pub use object::{Object, Options, ProgramEntry, UnsupportedMap};
pub use section::{Attach, SectionKind, section_kind};

/// The bytes of a section of an ELF file; `None` when there is no such section.
pub fn section_bytes<'f>(file: &'f [u8], name: &str) -> Result<Option<&'f [u8]>, ObjectError> {
    let elf = elf::Elf::parse(file)?;
    Ok(elf.section(name).map(|(_, section)| section.data))
}
