//! The programs of one generation by number: what the slots of prog arrays name.

use std::ptr;
use std::sync::Arc;

use weir_ebpf::ProgramType;

use crate::interpreter::{Checked, Code};
use crate::loaded::Loaded;

/// Programs that tail calls may reach. A prog array's slot holds a program's number plus one; 0 is an
/// empty slot.
///
/// A program goes on in programs of its own type only: to others, whose context means something else, its
/// slot is empty. (The kernel refuses to put them into the array, `bpf_prog_map_compatible`; here the
/// array does not know programs.) Compiled code goes on in compiled code only, the interpreter in any.
#[derive(Debug)]
pub struct ProgramTable {
    views: Vec<View>,
    programs: Vec<Arc<Loaded>>,
    workers: usize,
}

/// A table as programs of one type see it.
///
/// The head is `#[repr(C)]` for compiled code: `code[n]` is where program `n` goes on after a tail call,
/// null for programs that it cannot go on in.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct View {
    code: *const *const u8,
    count: u64,
    entries: Box<[*const u8]>,
    programs: Box<[Option<Arc<Code>>]>,
}

/// Where the parts of [`View`] that compiled code reads lie.
pub mod offset {
    use super::View;
    use std::mem::offset_of;

    /// `*const *const u8`: an array of `COUNT` code addresses.
    pub const CODE: usize = offset_of!(View, code);
    /// `u64`.
    pub const COUNT: usize = offset_of!(View, count);
}

// SAFETY: the raw pointers point into `entries` (owned, never changed after `new`) and into the sealed code
// of `ProgramTable::programs`, which lives as long as the view; `Code` is `Send + Sync` itself.
unsafe impl Send for View {}
// SAFETY: as above; there is no interior mutability.
unsafe impl Sync for View {}

impl View {
    fn new<'c>(kind: ProgramType, programs: impl Iterator<Item = (&'c Arc<Code>, *const u8)>) -> Self {
        let (mut entries, mut codes) = (Vec::new(), Vec::new());
        for (code, entry) in programs {
            let same = code.program.kind == kind;
            entries.push(if same { entry } else { ptr::null() });
            codes.push(same.then(|| code.clone()));
        }
        let entries: Box<[*const u8]> = entries.into();
        Self { code: entries.as_ptr(), count: entries.len() as u64, entries, programs: codes.into() }
    }

    /// What the interpreter goes on in.
    pub(crate) fn interpreted(&self, number: u32) -> Option<&Arc<Code>> {
        self.programs.get(number as usize)?.as_ref()
    }

    /// What compiled code goes on in.
    pub(crate) fn entry(&self, number: u32) -> Option<*const u8> {
        self.entries.get(number as usize).copied().filter(|entry| !entry.is_null())
    }
}

impl ProgramTable {
    /// A table of these programs, numbered in order. They should run in one engine: to compiled code an
    /// interpreted program is an empty slot.
    pub fn new(programs: Vec<Arc<Loaded>>) -> Self {
        let view = |kind: &ProgramType| {
            let entry = |program: &Arc<Loaded>| program.tail_entry().unwrap_or(ptr::null());
            View::new(*kind, programs.iter().map(|program| (program.code(), entry(program))))
        };
        let workers = programs.iter().map(|program| program.workers()).min().unwrap_or(usize::MAX);
        Self { views: ProgramType::ALL.iter().map(view).collect(), programs, workers }
    }

    /// A table of unproven programs, which only the interpreter goes on in.
    pub fn checked<'c>(programs: impl IntoIterator<Item = &'c Checked>) -> Self {
        let codes: Vec<_> = programs.into_iter().map(Checked::code).collect();
        let view = |kind: &ProgramType| View::new(*kind, codes.iter().map(|code| (*code, ptr::null())));
        Self { views: ProgramType::ALL.iter().map(view).collect(), programs: Vec::new(), workers: usize::MAX }
    }

    /// The program with this number, if it is a proven one.
    pub fn get(&self, number: u32) -> Option<&Arc<Loaded>> {
        self.programs.get(number as usize)
    }

    /// How many workers the per-worker maps of all of them have values for.
    pub(crate) fn workers(&self) -> usize {
        self.workers
    }

    /// How many programs there are.
    pub fn len(&self) -> usize {
        self.views.first().map_or(0, |view| view.entries.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The table as programs of this type see it.
    pub(crate) fn view(&self, kind: ProgramType) -> &View {
        let index = ProgramType::ALL.iter().position(|other| *other == kind);
        &self.views[index.expect("every type is in the list of all")]
    }
}
