//! A case as build.sh prints it, and the program in it.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use weir_ebpf::abi::map_kind::create_flags;
use weir_ebpf::abi::{AttachType, MapKind};
use weir_ebpf::decode::{decode, raw_insns};
use weir_ebpf::isa::code::LD_IMM64;
use weir_ebpf::program::ValueField;
use weir_ebpf::{MapSpec, Program, ProgramType, RawInsn};
use weir_object::Object;

/// A case of a table, or a program of an object, with this kernel's answer.
#[derive(Clone, Debug, Deserialize)]
pub struct Case {
    /// The file that it is from.
    pub family: String,
    /// What it is called there.
    pub name: String,
    /// `BPF_PROG_TYPE_*`.
    pub kind: u32,
    /// `BPF_*` of where it is attached.
    #[serde(default)]
    pub attach: u32,
    /// Loaded with `BPF_F_STRICT_ALIGNMENT`.
    pub strict: bool,
    /// What the file expects of its own kernel: `accept` or `reject`.
    pub expected: String,
    /// Whether this kernel accepts it.
    pub accepted: bool,
    /// What bpf(2) said when it did not.
    pub errno: i32,
    /// The end of the kernel's log.
    pub log: String,
    /// Whether the kernel's verifier was asked at all (a program may want a module's types).
    #[serde(default = "asked")]
    pub asked: bool,
    /// The program's bytes, in hexadecimal; cases of tables.
    #[serde(default)]
    insns: String,
    /// Which slots name which of the tables' maps.
    #[serde(default)]
    maps: Vec<(usize, String)>,
    /// The object's file; programs of objects.
    #[serde(default)]
    object: String,
    /// What the object says of it.
    #[serde(default)]
    tags: Vec<String>,
    /// The packet that the kernel ran it on, in hexadecimal.
    #[serde(default)]
    data: String,
    /// What it answered.
    pub retval: Option<u32>,
}

fn asked() -> bool {
    true
}

/// The line of a kernel's log that says why: the last one that is no statistics.
pub fn reason(log: &str) -> &str {
    let noise = |line: &str| {
        line.trim().is_empty()
            || ["processed ", "verification time", "stack depth", "libbpf: ", "cur state: ", "old state: "]
                .iter()
                .any(|start| line.starts_with(start))
    };
    log.lines().rfind(|line| !noise(line)).unwrap_or_default().trim()
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    ensure!(text.is_ascii() && text.len().is_multiple_of(2), "an odd number of digits");
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).context("a byte in hexadecimal");
    (0..text.len()).step_by(2).map(byte).collect()
}

impl Case {
    /// The program as we load it.
    pub fn program(&self) -> Result<Program> {
        let kind = ProgramType::ALL.iter().copied().find(|kind| kind.number() == self.kind);
        let kind = kind.context("a program type without packets")?;
        let mut program = if self.object.is_empty() { self.of_table(kind)? } else { self.of_object(kind)? };
        program.strict_alignment = self.strict;
        if self.attach != 0 {
            program.attach = AttachType::new(self.attach);
        }
        Ok(program)
    }

    /// Another program of the same object.
    pub fn program_named(&self, name: &str) -> Result<Program> {
        ensure!(!self.object.is_empty(), "a table's case has no other program");
        let mut other = Self { name: name.to_owned(), ..self.clone() }.program()?;
        other.strict_alignment = false;
        Ok(other)
    }

    /// Whether it is a case of a table, whose maps the test fills.
    pub fn is_of_table(&self) -> bool {
        self.object.is_empty()
    }

    /// Whether it answers with an address.
    pub fn says_pointer(&self) -> bool {
        self.tags.iter().any(|tag| tag.starts_with("comment:test_retval=") && tag.contains("POINTER_VALUE"))
    }

    /// The packet that the kernel ran it on.
    pub fn packet(&self) -> Result<Vec<u8>> {
        unhex(&self.data)
    }

    fn of_object(&self, kind: ProgramType) -> Result<Program> {
        let bytes = std::fs::read(&self.object).context(self.object.clone())?;
        let object = Object::parse(&bytes)?;
        let program = object.program_as(&self.name, kind)?;
        Ok(Arc::unwrap_or_clone(program))
    }

    fn of_table(&self, kind: ProgramType) -> Result<Program> {
        let mut raw = raw_insns(&unhex(&self.insns)?).context("whole instructions")?;
        let mut maps: Vec<Arc<MapSpec>> = Vec::new();
        // Descriptors of the loader that made the case; those that name a map are set below.
        let given = |insn: &&mut RawInsn| insn.code == LD_IMM64 && matches!(insn.src, 1 | 2);
        let known: Vec<usize> = self.maps.iter().map(|(slot, _)| *slot).collect();
        for insn in raw.iter_mut().filter(given).filter(|insn| insn.imm > 2 || !known.is_empty()) {
            insn.imm = -1;
        }
        for (slot, name) in &self.maps {
            let index = match maps.iter().position(|map| map.name == *name) {
                Some(index) => index,
                None => {
                    maps.push(Arc::new(map(name)?));
                    maps.len() - 1
                }
            };
            raw.get_mut(*slot).context("a map's slot")?.imm = index as i32;
        }
        let mut program = Program::from_insns(&self.name, kind, decode(&raw)?);
        program.maps = maps;
        Ok(program)
    }
}

/// The maps that the tables name, as the kernel's own test makes them.
fn map(name: &str) -> Result<MapSpec> {
    let plain = |kind, key, value, entries| MapSpec::new(name, kind, key, value, entries);
    let flagged = |flags| {
        let mut spec = plain(MapKind::Array, 4, 48, 1);
        spec.flags = flags;
        spec
    };
    Ok(match name {
        "map_hash_8b" => plain(MapKind::Hash, 8, 8, 1),
        "map_hash_48b" => plain(MapKind::Hash, 8, 48, 1),
        "map_hash_16b" => plain(MapKind::Hash, 8, 16, 1),
        "map_array_48b" => plain(MapKind::Array, 4, 48, 1),
        "map_array_small" => plain(MapKind::Array, 4, 1, 1),
        "map_array_ro" => flagged(create_flags::RDONLY_PROG),
        "map_array_wo" => flagged(create_flags::WRONLY_PROG),
        "map_xskmap" => plain(MapKind::Xskmap, 4, 4, 1),
        "map_sockmap" => plain(MapKind::Sockmap, 4, 4, 1),
        "map_sockhash" => plain(MapKind::Sockhash, 4, 4, 1),
        "map_reuseport_array" => plain(MapKind::ReuseportSockarray, 4, 8, 1),
        "cgroup_storage" => plain(MapKind::CgroupStorage, 16, 64, 0),
        "percpu_cgroup_storage" => plain(MapKind::PercpuCgroupStorage, 16, 64, 0),
        "sk_storage_map" => {
            // `struct val { int cnt; struct bpf_spin_lock l; }`
            let mut spec = plain(MapKind::SkStorage, 4, 8, 0);
            spec.flags = create_flags::NO_PREALLOC;
            spec.fields.push(ValueField::SpinLock { offset: 4 });
            spec
        }
        "map_stacktrace" => plain(MapKind::StackTrace, 4, 8, 1),
        "prog1" => plain(MapKind::ProgArray, 4, 4, 4),
        "prog2" => plain(MapKind::ProgArray, 4, 4, 8),
        "map_event_output" => plain(MapKind::PerfEventArray, 4, 4, 1),
        "map_ringbuf" => plain(MapKind::Ringbuf, 0, 0, 4096),
        "map_in_map" => {
            let mut spec = plain(MapKind::ArrayOfMaps, 4, 4, 1);
            spec.inner = Some(Arc::new(MapSpec::new("inner", MapKind::Array, 4, 4, 1)));
            spec
        }
        "map_spin_lock" => {
            let mut spec = plain(MapKind::Array, 4, 8, 1);
            spec.fields.push(ValueField::SpinLock { offset: 4 });
            spec
        }
        "map_timer" => {
            let mut spec = plain(MapKind::Array, 4, 16, 1);
            spec.fields.push(ValueField::Timer { offset: 0 });
            spec
        }
        other => bail!("weir has no map of the kind that `{other}` is"),
    })
}
