//! The kernel as oracle: our programs and maps, loaded through bpf(2).
//!
//! A [`KernelSet`] is what an object becomes in the kernel: its maps created and filled, its programs
//! loaded with map references turned into descriptors, its prog arrays filled.

use std::collections::HashMap;
use std::os::fd::AsRawFd;
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, Result, bail};
use weir_ebpf::abi::map_kind::create_flags;
use weir_ebpf::abi::{Helper, Kfunc, MapKind};
use weir_ebpf::isa::{Imm64, Insn};
use weir_ebpf::program::{Function, Initial, Param};
use weir_ebpf::{MapSpec, Program, ProgramType, encode};
use weir_object::btf::{Btf, Kind};
use weir_sys::bpf::{KernelBtf, KernelMap, KernelProgram, LoadAttr, MapAttr};

/// Why the kernel cannot be asked here; prints the sentence that a skipped test owes its reader.
pub fn skip(test: &str) -> bool {
    match weir_sys::bpf::available() {
        Ok(()) => false,
        Err(why) => {
            println!("{test}: skipped: needs CAP_BPF ({why})");
            true
        }
    }
}

/// Maps and programs of one object, in the kernel.
#[derive(Debug)]
pub struct KernelSet {
    /// In the order of the specs given.
    pub maps: Vec<KernelMap>,
    /// In the order of the programs given.
    pub programs: Vec<KernelProgram>,
}

impl KernelSet {
    /// Creates the maps, loads the programs, fills the prog arrays.
    pub fn load(specs: &[Arc<MapSpec>], programs: &[Arc<Program>]) -> Result<Self> {
        let maps = create_maps(specs)?;
        let loaded =
            programs.iter().map(|program| load_program(program, &maps, 0)).collect::<Result<Vec<_>>>()?;
        for (map, spec) in maps.iter().zip(specs) {
            let Initial::Programs(slots) = &spec.initial else { continue };
            for (index, name) in slots {
                let Some(at) = programs.iter().position(|program| program.name == *name) else {
                    bail!("prog array {} names program {name}, which was not given", spec.name)
                };
                let fd = loaded[at].fd().to_ne_bytes();
                map.update(&index.to_ne_bytes(), &fd, 0).with_context(|| format!("filling {}", spec.name))?;
            }
        }
        Ok(Self { maps, programs: loaded })
    }

    /// Loads one program with maps of its own.
    pub fn load_one(program: &Program) -> Result<Self> {
        let maps = create_maps(&program.maps)?;
        let loaded = load_program(program, &maps, 0)?;
        Ok(Self { maps, programs: vec![loaded] })
    }
}

/// What the kernel's verifier says of a program: its log, and whether it took it.
pub fn verdict(program: &Program) -> Result<(bool, String)> {
    let maps = create_maps(&program.maps)?;
    match load_program(program, &maps, 1) {
        Ok(_) => Ok((true, String::new())),
        Err(error) => match error.downcast_ref::<weir_sys::bpf::LoadError>() {
            Some(refusal) => Ok((false, refusal.log.clone())),
            None => Err(error),
        },
    }
}

/// Creates and fills maps, those that others name first.
pub fn create_maps(specs: &[Arc<MapSpec>]) -> Result<Vec<KernelMap>> {
    let maps = specs.iter().map(|spec| create_map(spec)).collect::<Result<Vec<_>>>()?;
    for (map, spec) in maps.iter().zip(specs) {
        match &spec.initial {
            Initial::Data(bytes) => {
                map.update(&0u32.to_ne_bytes(), bytes, 0)
                    .with_context(|| format!("filling {}", spec.name))?;
            }
            Initial::Maps(slots) => {
                for (index, name) in slots {
                    let at = specs.iter().position(|inner| inner.name == *name);
                    let inner = at.with_context(|| format!("{} names unknown map {name}", spec.name))?;
                    map.update(&index.to_ne_bytes(), &maps[inner].fd().to_ne_bytes(), 0)?;
                }
            }
            Initial::None | Initial::Programs(_) => {}
        }
        if spec.frozen {
            map.freeze().with_context(|| format!("freezing {}", spec.name))?;
        }
    }
    Ok(maps)
}

fn create_map(spec: &MapSpec) -> Result<KernelMap> {
    let inner = spec.inner.as_deref().map(create_map).transpose()?;
    let types = (!spec.fields.is_empty()).then(|| value_btf(spec));
    let types = types.map(|(btf, key, value)| Ok::<_, anyhow::Error>((KernelBtf::load(&btf)?, key, value)));
    let types = types.transpose().context("loading BTF")?;
    let attr = MapAttr {
        kind: spec.kind as u32,
        key_size: spec.key_size,
        value_size: spec.value_size,
        max_entries: spec.max_entries,
        flags: spec.flags & !create_flags::MMAPABLE,
        inner: inner.as_ref().map(|map| map.fd().as_raw_fd()),
        extra: spec.extra,
        btf: types.as_ref().map(|(btf, key, value)| (btf.fd(), *key, *value)),
    };
    KernelMap::create(&attr).with_context(|| format!("creating map {} ({})", spec.name, spec.kind.name()))
}

/// The least BTF that says where locks and timers lie in a map's values, and the types of key and value in it.
fn value_btf(spec: &MapSpec) -> (Vec<u8>, u32, u32) {
    let mut btf = FunctionBtf { strings: vec![0], ..FunctionBtf::default() };
    let name = btf.name("key");
    // Arrays want their index to be a number.
    let key = match spec.kind {
        MapKind::Array => btf.add(&[name, KIND_INT, 4, 32]),
        _ => btf.add(&[name, KIND_STRUCT, spec.key_size]),
    };
    let mut members = Vec::new();
    for field in &spec.fields {
        let (kind, size, offset) = (field.name(), field.size(), field.offset());
        let name = btf.name(kind);
        let id = btf.add(&[name, KIND_STRUCT, size]);
        let name = btf.name(&format!("at_{offset}"));
        members.extend([name, id, offset * 8]);
    }
    let name = btf.name("value");
    let mut words = vec![name, KIND_STRUCT | spec.fields.len() as u32, spec.value_size];
    words.extend(members);
    let value = btf.add(&words);
    (btf.bytes(), key, value)
}

/// Loads a program whose map indices are turned into descriptors.
pub fn load_program(program: &Program, maps: &[KernelMap], log_level: u32) -> Result<KernelProgram> {
    const STRICT_ALIGNMENT: u32 = 1;
    const XDP_HAS_FRAGS: u32 = 1 << 5;
    let descriptor = |map: u32| -> Result<u32> {
        Ok(maps.get(map as usize).context("the program names a map it does not have")?.fd() as u32)
    };
    let mut insns = program.insns.clone();
    let mut callbacks = false;
    for insn in &mut insns {
        if let Insn::CallKfunc { btf_id, .. } = insn {
            *btf_id = kernel_function(*btf_id)?;
        }
        let Insn::LoadImm64 { value, .. } = insn else { continue };
        match value {
            Imm64::Map(map) | Imm64::MapValue { map, .. } => *map = descriptor(*map)?,
            Imm64::Function(_) => callbacks = true,
            Imm64::Value(_) | Imm64::Variable { .. } => {}
        }
    }
    let bytes = encode::to_bytes(&encode::encode(&insns));
    let tail_call = Insn::Call { helper: Helper::TailCall as u32 };
    let from_function = program.functions.len() > 1 && insns.contains(&tail_call);
    let alone = program.functions.iter().any(|function| function.signature.is_some());
    let btf = (callbacks || from_function || alone).then(|| function_btf(program.kind, &program.functions));
    let kernel_btf = btf.as_ref().map(|(btf, _)| KernelBtf::load(btf)).transpose().context("loading BTF")?;
    let strict = if program.strict_alignment { STRICT_ALIGNMENT } else { 0 };
    let frags = if program.frags { XDP_HAS_FRAGS } else { 0 };
    let attr = LoadAttr {
        kind: program.kind.number(),
        insns: &bytes,
        license: &program.license,
        log_level,
        flags: strict | frags,
        expected_attach_type: program.attach.number(),
        func_info: kernel_btf.as_ref().zip(btf.as_ref()).map(|(fd, (_, info))| (fd.fd(), info.as_slice())),
    };
    Ok(KernelProgram::load(&attr)?)
}

/// The BTF id of a kernel function in this kernel; what weir has no name for stays.
fn kernel_function(number: i32) -> Result<i32> {
    static IDS: OnceLock<HashMap<String, u32>> = OnceLock::new();
    let Some(kfunc) = Kfunc::new(number) else { return Ok(number) };
    if IDS.get().is_none() {
        let bytes = std::fs::read("/sys/kernel/btf/vmlinux").context("the kernel's BTF")?;
        let btf = Btf::parse(&bytes)?;
        let functions = btf.iter().filter(|(_, found)| matches!(found.kind, Kind::Function { .. }));
        let ids = functions.map(|(id, found)| (btf.text(found.name).to_owned(), id)).collect();
        let _ = IDS.set(ids);
    }
    let id = IDS.get().and_then(|ids| ids.get(kfunc.name()));
    let id = id.with_context(|| format!("this kernel has no {}", kfunc.name()))?;
    Ok(i32::try_from(*id)?)
}

/// The least BTF that names each function, with the types of global ones, and its `func_info`: the kernel
/// asks for both before it lets a program take the address of a function, make tail calls from one, or have
/// functions that are proven alone.
fn function_btf(kind: ProgramType, functions: &[Function]) -> (Vec<u8>, Vec<u8>) {
    let mut btf = FunctionBtf { strings: vec![0], ..FunctionBtf::default() };
    let name = btf.name("int");
    let int = btf.add(&[name, KIND_INT, 4, 1 << 24 | 32]);
    let plain = btf.add(&[0, KIND_FUNC_PROTO, int]);
    let mut info = Vec::new();
    for (index, function) in functions.iter().enumerate() {
        let safe = |byte: char| if byte.is_ascii_alphanumeric() { byte } else { '_' };
        let name = format!("{}_{index}", function.name.chars().map(safe).collect::<String>());
        let name = btf.name(&name);
        let id = match &function.signature {
            Some(Ok(params)) => btf.global(kind, name, int, params),
            Some(Err(_)) | None => btf.add(&[name, KIND_FUNC, plain]),
        };
        info.extend((function.start as u32).to_le_bytes());
        info.extend(id.to_le_bytes());
    }
    (btf.bytes(), info)
}

const KIND_INT: u32 = 1 << 24;
const KIND_PTR: u32 = 2 << 24;
const KIND_STRUCT: u32 = 4 << 24;
const KIND_FUNC: u32 = 12 << 24;
const KIND_FUNC_PROTO: u32 = 13 << 24;
const KIND_DECL_TAG: u32 = 17 << 24;
const LINKAGE_GLOBAL: u32 = 1;

/// BTF in the making.
#[derive(Default)]
struct FunctionBtf {
    strings: Vec<u8>,
    types: Vec<u32>,
    count: u32,
}

impl FunctionBtf {
    fn name(&mut self, name: &str) -> u32 {
        let place = self.strings.len() as u32;
        self.strings.extend(name.bytes());
        self.strings.push(0);
        place
    }

    fn add(&mut self, words: &[u32]) -> u32 {
        self.types.extend(words);
        self.count += 1;
        self.count
    }

    fn pointer_to(&mut self, name: &str, bytes: u32) -> u32 {
        let name = self.name(name);
        let structure = self.add(&[name, KIND_STRUCT, bytes]);
        self.add(&[0, KIND_PTR, structure])
    }

    /// A global function of these parameters.
    fn global(&mut self, kind: ProgramType, name: u32, int: u32, params: &[Param]) -> u32 {
        let mut words = vec![0, KIND_FUNC_PROTO | params.len() as u32, int];
        let mut nonnull = Vec::new();
        for (at, param) in params.iter().enumerate() {
            let of = match *param {
                Param::Number => int,
                Param::Context => self.pointer_to(kind.view().structs()[0], 24),
                Param::Dynptr => self.pointer_to("bpf_dynptr", 16),
                Param::Memory { bytes, nullable } => {
                    nonnull.extend((!nullable).then_some(at as u32));
                    self.pointer_to(&format!("memory_{at}"), bytes)
                }
            };
            words.extend([self.name(&format!("p{at}")), of]);
        }
        let prototype = self.add(&words);
        let function = self.add(&[name, KIND_FUNC | LINKAGE_GLOBAL, prototype]);
        for at in nonnull {
            let tag = self.name("arg:nonnull");
            self.add(&[tag, KIND_DECL_TAG, function, at]);
        }
        function
    }

    fn bytes(self) -> Vec<u8> {
        let type_bytes = (self.types.len() * 4) as u32;
        let mut btf = 0xeb9f_u16.to_le_bytes().to_vec();
        btf.extend([1, 0]);
        for word in [24, 0, type_bytes, type_bytes, self.strings.len() as u32] {
            btf.extend(word.to_le_bytes());
        }
        btf.extend(self.types.iter().flat_map(|word| word.to_le_bytes()));
        btf.extend(self.strings);
        btf
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_ebpf::ProgramType;
    use weir_ebpf::isa::{Reg, Source, Width};
    use weir_sys::bpf::TestRun;

    /// `bpf_loop(3, callback that adds its index to a counter on the stack)`.
    #[test]
    fn callbacks_and_maps_load() {
        if skip("callbacks_and_maps_load") {
            return;
        }
        let mov = |dst, imm| Insn::Mov { width: Width::W64, dst, src: Source::Imm(imm) };
        let insns = vec![
            mov(Reg::R1, 3),
            Insn::LoadImm64 { dst: Reg::R2, value: Imm64::Function(5) },
            Insn::SecondHalf,
            mov(Reg::R3, 0),
            mov(Reg::R4, 0),
            Insn::Call { helper: Helper::Loop as u32 },
            Insn::Exit,
            mov(Reg::R0, 0),
            Insn::Exit,
        ];
        let mut program = Program::from_insns("main", ProgramType::Xdp, insns);
        program.maps.push(Arc::new(MapSpec::new("counts", MapKind::Hash, 4, 8, 16)));
        let set = KernelSet::load_one(&program).unwrap();
        let output = set.programs[0].test_run(&TestRun { data: &[0; 64], ..TestRun::default() }).unwrap();
        assert_eq!(output.retval, 3);
    }
}
