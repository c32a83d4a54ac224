//! The programs of one generation by number: what the slots of prog arrays name.

use std::ptr;
use std::sync::Arc;

use crate::interpreter::{Checked, Code};
use crate::loaded::Loaded;

/// Programs that tail calls may reach. A prog array's slot holds a program's number plus one; 0 is
/// an empty slot.
///
/// The head is `#[repr(C)]` for compiled code: `code[n]` is where program `n` goes on after a tail
/// call, null for programs that are not compiled.
#[repr(C)]
#[derive(Debug)]
pub struct ProgramTable {
    code: *const *const u8,
    count: u64,
    entries: Box<[*const u8]>,
    interpreted: Vec<Arc<Code>>,
    /// Keeps the machine code alive.
    programs: Vec<Arc<Loaded>>,
}

/// Where the parts of [`ProgramTable`] that compiled code reads lie.
pub mod offset {
    use super::ProgramTable;
    use std::mem::offset_of;

    /// `*const *const u8`: an array of `COUNT` code addresses.
    pub const CODE: usize = offset_of!(ProgramTable, code);
    /// `u64`.
    pub const COUNT: usize = offset_of!(ProgramTable, count);
}

// SAFETY: the raw pointers point into `entries` (owned, never changed after `new`) and into the
// sealed code of `programs`, which the table keeps alive; `Loaded` is `Send + Sync` itself.
unsafe impl Send for ProgramTable {}
// SAFETY: as above; there is no interior mutability.
unsafe impl Sync for ProgramTable {}

impl ProgramTable {
    /// A table of these programs, numbered in order. They should run in one engine: compiled code goes on
    /// in compiled code only, so to it an interpreted program is an empty slot. The interpreter goes on in
    /// any.
    pub fn new(programs: Vec<Arc<Loaded>>) -> Self {
        let entries = programs.iter().map(|program| program.tail_entry().unwrap_or(ptr::null()));
        let entries: Box<[*const u8]> = entries.collect();
        let interpreted = programs.iter().map(|program| program.code().clone()).collect();
        Self { code: entries.as_ptr(), count: entries.len() as u64, entries, interpreted, programs }
    }

    /// A table of unproven programs, which only the interpreter goes on in.
    pub fn checked<'c>(programs: impl IntoIterator<Item = &'c Checked>) -> Self {
        let interpreted: Vec<_> = programs.into_iter().map(|program| program.code().clone()).collect();
        let entries: Box<[*const u8]> = vec![ptr::null(); interpreted.len()].into();
        Self {
            code: entries.as_ptr(),
            count: entries.len() as u64,
            entries,
            interpreted,
            programs: Vec::new(),
        }
    }

    /// The program with this number, if it is a proven one.
    pub fn get(&self, number: u32) -> Option<&Arc<Loaded>> {
        self.programs.get(number as usize)
    }

    /// What the interpreter goes on in.
    pub(crate) fn interpreted(&self, number: u32) -> Option<&Arc<Code>> {
        self.interpreted.get(number as usize)
    }

    /// How many programs there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
