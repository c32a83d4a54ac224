//! A program as it was loaded from an object and not yet proven, and the maps it names.

use std::sync::Arc;

pub use crate::abi::ProgramType;
use crate::abi::{AttachType, MapKind};
use crate::isa::Insn;

/// A function of a program: its first slot and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// First slot.
    pub start: usize,
    /// Symbol, or `main` and `sub_N` when there is none.
    pub name: String,
    /// Whether other objects see it.
    pub global: bool,
    /// What it takes by its types, or in what way they do not do: a global function that has types is
    /// proven once, by them, and not anew for each call. `None` for all other functions.
    pub signature: Option<Result<Vec<Param>, String>>,
}

/// What a global function takes for an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Param {
    /// A number.
    Number,
    /// The program's context.
    Context,
    /// So many bytes of memory, to read and to write.
    Memory {
        /// How many.
        bytes: u32,
        /// Whether it may be null instead (without `__arg_nonnull`).
        nullable: bool,
    },
    /// A dynptr.
    Dynptr,
}

/// A source position of the instructions from `slot` on (`struct bpf_line_info`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// First slot it speaks of.
    pub slot: usize,
    /// Source file as the compiler was given it.
    pub file: Arc<str>,
    /// The line's text; empty when the compiler did not keep it.
    pub text: Arc<str>,
    /// Line number, from 1.
    pub line: u32,
    /// Column, from 1; 0 when unknown.
    pub column: u32,
}

/// A special field inside a map's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueField {
    /// `struct bpf_spin_lock` at this offset, 4 bytes.
    SpinLock {
        /// Bytes from the start of the value.
        offset: u32,
    },
    /// `struct bpf_timer` at this offset, 16 bytes.
    Timer {
        /// Bytes from the start of the value.
        offset: u32,
    },
    /// Something of the kernel's that weir does not have: no program may use it, and none may touch its bytes.
    Foreign {
        /// Bytes from the start of the value.
        offset: u32,
        /// What it is.
        what: Foreign,
    },
}

/// What the kernel keeps in maps' values and weir does not (`enum btf_field_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// A pointer to a structure of the kernel that is not counted (`__kptr_untrusted`).
    Pointer,
    /// A counted one (`__kptr`).
    CountedPointer,
    /// One to memory of each CPU (`__percpu_kptr`).
    PercpuPointer,
    /// One to memory of a process (`__uptr`).
    UserPointer,
    /// `struct bpf_wq`.
    Workqueue,
    /// `struct bpf_list_head`.
    ListHead,
    /// `struct bpf_rb_root`.
    RbRoot,
    /// `struct bpf_refcount`.
    Refcount,
    /// `struct bpf_res_spin_lock`.
    ResilientLock,
}

impl Foreign {
    /// Everything.
    pub const ALL: [Foreign; 9] = [
        Foreign::Pointer,
        Foreign::CountedPointer,
        Foreign::PercpuPointer,
        Foreign::UserPointer,
        Foreign::Workqueue,
        Foreign::ListHead,
        Foreign::RbRoot,
        Foreign::Refcount,
        Foreign::ResilientLock,
    ];

    /// The kernel's word for it (`btf_field_type_name`), which is the structure's name if it is one.
    pub const fn name(self) -> &'static str {
        match self {
            Foreign::Pointer | Foreign::CountedPointer => "kptr",
            Foreign::PercpuPointer => "percpu_kptr",
            Foreign::UserPointer => "uptr",
            Foreign::Workqueue => "bpf_wq",
            Foreign::ListHead => "bpf_list_head",
            Foreign::RbRoot => "bpf_rb_root",
            Foreign::Refcount => "bpf_refcount",
            Foreign::ResilientLock => "bpf_res_spin_lock",
        }
    }

    /// Its tag in the type of a pointer, if it is one.
    pub const fn tag(self) -> Option<&'static str> {
        match self {
            Foreign::Pointer => Some("kptr_untrusted"),
            Foreign::CountedPointer => Some("kptr"),
            Foreign::PercpuPointer => Some("percpu_kptr"),
            Foreign::UserPointer => Some("uptr"),
            Foreign::Workqueue
            | Foreign::ListHead
            | Foreign::RbRoot
            | Foreign::Refcount
            | Foreign::ResilientLock => None,
        }
    }

    /// Its bytes.
    pub const fn bytes(self) -> u32 {
        match self {
            Foreign::Refcount => 4,
            Foreign::Workqueue | Foreign::ListHead | Foreign::RbRoot => 16,
            Foreign::Pointer
            | Foreign::CountedPointer
            | Foreign::PercpuPointer
            | Foreign::UserPointer
            | Foreign::ResilientLock => 8,
        }
    }
}

impl ValueField {
    /// Bytes from the start of the value.
    pub const fn offset(&self) -> u32 {
        match *self {
            ValueField::SpinLock { offset }
            | ValueField::Timer { offset }
            | ValueField::Foreign { offset, .. } => offset,
        }
    }

    /// How many bytes it has.
    pub const fn size(&self) -> u32 {
        match self {
            ValueField::SpinLock { .. } => 4,
            ValueField::Timer { .. } => 16,
            ValueField::Foreign { what, .. } => what.bytes(),
        }
    }

    /// The kernel's word for it.
    pub const fn name(&self) -> &'static str {
        match self {
            ValueField::SpinLock { .. } => "bpf_spin_lock",
            ValueField::Timer { .. } => "bpf_timer",
            ValueField::Foreign { what, .. } => what.name(),
        }
    }

    /// The bytes of the value that it takes.
    pub const fn bytes(self) -> std::ops::Range<u32> {
        self.offset()..self.offset().saturating_add(self.size())
    }
}

/// What a map is made of, as declared; not the map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapSpec {
    /// Name, as in the object (`.rodata` maps are called as libbpf calls them).
    pub name: String,
    /// Which kind.
    pub kind: MapKind,
    /// Bytes of a key; 0 for kinds without keys.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Most entries; bytes for a ring buffer.
    pub max_entries: u32,
    /// `BPF_F_*` creation flags (`abi::map_kind::create_flags`).
    pub flags: u32,
    /// `map_extra`: number of hash functions of a bloom filter.
    pub extra: u64,
    /// The shape of inner maps, for maps of maps.
    pub inner: Option<Arc<MapSpec>>,
    /// Special fields of the value, by offset.
    pub fields: Vec<ValueField>,
    /// What the map holds from the start.
    pub initial: Initial,
    /// Whether programs can no longer change it and the verifier may take its contents as constants
    /// (`.rodata`, frozen by the loader).
    pub frozen: bool,
    /// `LIBBPF_PIN_BY_NAME`: shared with other objects under its name.
    pub pinned: bool,
}

impl MapSpec {
    /// A map of this kind and shape with nothing special about it.
    pub fn new(name: &str, kind: MapKind, key_size: u32, value_size: u32, max_entries: u32) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            key_size,
            value_size,
            max_entries,
            flags: 0,
            extra: 0,
            inner: None,
            fields: Vec::new(),
            initial: Initial::None,
            frozen: false,
            pinned: false,
        }
    }
}

/// What a map holds from the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Initial {
    /// Nothing (or zeros, in an array).
    None,
    /// The bytes of the one value of a data section (`.data`, `.rodata`, `.bss`).
    Data(Vec<u8>),
    /// Programs by name, at these indices of a prog array.
    Programs(Vec<(u32, String)>),
    /// Maps by name, at these indices (keys) of an array (hash) of maps.
    Maps(Vec<(u32, String)>),
}

/// A program, not yet proven. [`Insn::LoadImm64`] names its maps by index into `maps`.
#[derive(Clone, Debug)]
pub struct Program {
    /// Name of the entry function.
    pub name: String,
    /// ELF section it came from; empty when it came from elsewhere.
    pub section: String,
    /// What it is attached to.
    pub kind: ProgramType,
    /// Where, as far as it says.
    pub attach: AttachType,
    /// One decoded instruction for each slot.
    pub insns: Vec<Insn>,
    /// Its functions by first slot; the first starts at 0 and is the entry.
    pub functions: Vec<Function>,
    /// The maps that its object declares.
    pub maps: Vec<Arc<MapSpec>>,
    /// Source positions by slot; may be empty.
    pub lines: Vec<Line>,
    /// Licence; GPL-only helpers ask for a compatible one.
    pub license: String,
    /// Whether it was made for packets in several buffers (`xdp.frags`, `BPF_F_XDP_HAS_FRAGS`).
    pub frags: bool,
    /// Whether it may only make aligned accesses (`BPF_F_STRICT_ALIGNMENT`).
    pub strict_alignment: bool,
}

impl Program {
    /// A program of bare instructions: one function (and whatever its local calls name), no maps,
    /// no lines, GPL.
    pub fn from_insns(name: &str, kind: ProgramType, insns: Vec<Insn>) -> Self {
        let functions = functions_of(name, &insns);
        Self {
            name: name.to_owned(),
            section: String::new(),
            kind,
            attach: kind.usual_attach(),
            insns,
            functions,
            maps: Vec::new(),
            lines: Vec::new(),
            license: "GPL".to_owned(),
            frags: false,
            strict_alignment: false,
        }
    }

    /// The source position of a slot: the last one at or before it.
    pub fn line_at(&self, slot: usize) -> Option<&Line> {
        let after = self.lines.partition_point(|line| line.slot <= slot);
        self.lines[..after].last()
    }

    /// One of the maps, or the shape of those that are looked up in it.
    pub fn map(&self, map: u32, inner: bool) -> Option<&MapSpec> {
        let spec = self.maps.get(map as usize)?;
        if inner { spec.inner.as_deref() } else { Some(spec) }
    }

    /// The function that a slot belongs to.
    pub fn function_at(&self, slot: usize) -> Option<&Function> {
        let after = self.functions.partition_point(|function| function.start <= slot);
        self.functions[..after].last()
    }

    /// Whether GPL-only helpers may be called (include/linux/license.h).
    pub fn gpl_compatible(&self) -> bool {
        const COMPATIBLE: [&str; 6] =
            ["GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"];
        COMPATIBLE.contains(&self.license.as_str())
    }
}

/// The functions that local calls and function pointers name, with made-up names.
fn functions_of(entry: &str, insns: &[Insn]) -> Vec<Function> {
    use crate::isa::Imm64;
    let mut starts = vec![0];
    for (slot, insn) in insns.iter().enumerate() {
        let off = match *insn {
            Insn::CallLocal { off } | Insn::LoadImm64 { value: Imm64::Function(off), .. } => off,
            _ => continue,
        };
        let target = slot as i64 + 1 + i64::from(off);
        if (0..insns.len() as i64).contains(&target) {
            starts.push(target as usize);
        }
    }
    starts.sort_unstable();
    starts.dedup();
    let name = |start: usize| if start == 0 { entry.to_owned() } else { format!("sub_{start}") };
    starts
        .into_iter()
        .map(|start| Function { start, name: name(start), global: false, signature: None })
        .collect()
}
