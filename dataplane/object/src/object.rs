//! [`Object`]: what is in the file, and programs on demand.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use weir_ebpf::abi::AttachType;
use weir_ebpf::decode::decode;
use weir_ebpf::program::Initial;
use weir_ebpf::{MapSpec, Program, ProgramType};

use crate::btf::Btf;
use crate::config::KernelConfig;
use crate::elf::Elf;
use crate::error::{Fault, ObjectError};
use crate::externs::{Extern, externs};
use crate::functions::{Code, Functions, functions};
use crate::globals::{CONSTANT_BYTES, Global, Place, Variable};
use crate::lines::{Lines, lines};
use crate::link::link;
use crate::maps::{Declared, MapBtf, data_maps, declared_maps, initial_values, legacy_maps, patched};
use crate::parts::{code, core_relocations, extension, license, programs, types, variables};
use crate::relocate::{Names, Target, Targets};
use crate::section::SectionKind;
use crate::signature::{Prototypes, Signatures};

/// A program of an object, as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramEntry {
    /// Name of its function.
    pub name: String,
    /// Section it stands in, without `?`.
    pub section: String,
    /// How it is to be loaded; `None` when the section's name names nothing that weir runs.
    pub kind: Option<SectionKind>,
    /// Whether it is meant to be loaded without being asked for (its section has no `?`).
    pub autoload: bool,
    /// Index of its function.
    pub(crate) function: usize,
}

impl ProgramEntry {
    /// Where its section says that it is attached, when it is taken as of this type.
    fn expected_of(&self, kind: ProgramType) -> AttachType {
        match self.kind {
            Some(section) if section.kind == kind => section.expected,
            Some(_) | None => kind.usual_attach(),
        }
    }
}

/// A map that the object declares and weir cannot create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsupportedMap {
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: ObjectError,
}

/// A parsed object.
///
/// What is wrong with the file as such, parsing says. What is wrong with one program (an unknown
/// extern, a map of a kind that weir lacks) is said when that program is asked for, so that its
/// neighbours can still be had.
#[derive(Debug)]
pub struct Object {
    pub(crate) sections: Vec<String>,
    pub(crate) code: Code,
    pub(crate) functions: Functions,
    pub(crate) targets: HashMap<usize, Targets>,
    pub(crate) lines: Lines,
    programs: Vec<ProgramEntry>,
    /// Index into `programs` of the first with a name.
    by_name: HashMap<String, usize>,
    declared: Vec<Declared>,
    /// Index into `maps`, by declaration.
    index: Vec<Option<u32>>,
    maps: Vec<Arc<MapSpec>>,
    unsupported: Vec<UnsupportedMap>,
    variables: HashMap<String, Place>,
    /// Values of the constants of inline assembly.
    pub(crate) constants: Vec<u64>,
    btf: Option<Arc<Btf>>,
    /// Made when the first program asks: most have no global functions.
    prototypes: OnceLock<Prototypes>,
    license: String,
}

/// How to read an object.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Name of the object, which the maps of its data sections begin with, as libbpf derives it from
    /// the file's name up to the first dot. Empty: those maps are called `.rodata` and so on.
    pub name: String,
    /// Types that CO-RE relocations are resolved against; by default those of the UAPI structures
    /// that weir implements.
    pub target: Option<Arc<Btf>>,
    /// Who knows the kernel's configuration, besides what weir says of itself; asked only when an object
    /// has externs of it.
    pub config: Option<fn() -> Arc<KernelConfig>>,
}

impl Object {
    /// Reads an object from the bytes of an ELF file.
    pub fn parse(bytes: &[u8]) -> Result<Self, ObjectError> {
        Self::parse_with(bytes, &Options::default())
    }

    /// Reads an object from the bytes of an ELF file.
    pub fn parse_with(bytes: &[u8], options: &Options) -> Result<Self, ObjectError> {
        let elf = Elf::parse(bytes)?;
        let btf = types(&elf)?;
        let ext = extension(&elf, btf.as_ref())?;
        let mut code = code(&elf)?;
        let core_faults = core_relocations(&mut code, &elf, btf.as_ref(), &ext, options.target.as_deref());
        let functions = functions(&elf, &code)?;
        let mut declared = declared_maps(&elf, btf.as_ref())?;
        declared.extend(legacy_maps(&elf, btf.as_ref())?);
        declared.extend(data_maps(&elf, btf.as_ref(), &options.name)?);
        initial_values(&elf, &mut declared)?;
        let externs = externs(&elf, btf.as_ref(), options.config, &mut declared);
        let mut targets = Names::new(&elf, &functions, &declared, &externs).resolve(&code);
        for (section, slot, fault) in core_faults {
            targets.entry(section).or_default().insert(slot, Err(fault));
        }
        let programs = programs(&elf, &functions);
        let by_name = programs.iter().enumerate().rev().map(|(index, entry)| (entry.name.clone(), index));
        let mut object = Self {
            by_name: by_name.collect(),
            programs,
            sections: elf.sections.iter().map(|section| section.name.to_owned()).collect(),
            lines: btf.as_ref().map(|btf| lines(btf, &ext.lines)).unwrap_or_default(),
            variables: variables(&elf, &declared, &externs),
            constants: vec![0; externs.values().filter(|found| matches!(found, Extern::Constant(_))).count()],
            license: license(&elf),
            index: Vec::new(),
            maps: Vec::new(),
            unsupported: Vec::new(),
            code,
            functions,
            targets,
            declared,
            btf: btf.map(Arc::new),
            prototypes: OnceLock::new(),
        };
        object.number_maps();
        Ok(object)
    }

    fn number_maps(&mut self) {
        for map in &self.declared {
            self.index.push(map.spec.is_ok().then_some(self.maps.len() as u32));
            match &map.spec {
                Ok(spec) => self.maps.push(spec.clone()),
                Err(reason) => {
                    self.unsupported.push(UnsupportedMap { name: map.name.clone(), reason: reason.clone() });
                }
            }
        }
    }

    /// The object's programs, in order of section and place, whether weir can run them or not.
    pub fn programs(&self) -> &[ProgramEntry] {
        &self.programs
    }

    /// The maps it declares, data sections included; programs name them by index.
    pub fn maps(&self) -> &[Arc<MapSpec>] {
        &self.maps
    }

    /// The maps it declares that weir cannot create.
    pub fn unsupported_maps(&self) -> &[UnsupportedMap] {
        &self.unsupported
    }

    /// Its type information.
    pub fn btf(&self) -> Option<&Btf> {
        self.btf.as_deref()
    }

    /// The same table, shared: it may outlive the object.
    pub fn shared_btf(&self) -> Option<Arc<Btf>> {
        self.btf.clone()
    }

    /// Its licence; empty when it states none.
    pub fn license(&self) -> &str {
        &self.license
    }

    /// The types of a map's keys and values; `None` when there is no such map, or no BTF.
    pub fn map_btf(&self, name: &str) -> Option<MapBtf> {
        self.btf.as_ref()?;
        self.declared.iter().find(|map| map.name == name).map(|map| map.btf)
    }

    /// The program with this name, of the type that its section names.
    pub fn program(&self, name: &str) -> Result<Arc<Program>, ObjectError> {
        let entry = self.entry(name)?;
        match entry.kind {
            Some(kind) => self.link(entry, kind.kind, kind.frags),
            None => Err(ObjectError::unsupported(
                &entry.section,
                format!("program `{name}` of section `{}`", entry.section),
                "weir runs `xdp`, `tc`, `tcx/…`, `classifier`, `action` and `socket` sections; say the type to load it as one",
            )),
        }
    }

    /// The program with this name, of a type that the caller chooses whatever its section is called
    /// (as `ip link set xdp object … section …` does).
    pub fn program_as(&self, name: &str, kind: ProgramType) -> Result<Arc<Program>, ObjectError> {
        let entry = self.entry(name)?;
        let frags = entry.kind.is_some_and(|found| found.kind == kind && found.frags);
        self.link(entry, kind, frags)
    }

    fn entry(&self, name: &str) -> Result<&ProgramEntry, ObjectError> {
        self.by_name.get(name).map(|&index| &self.programs[index]).ok_or_else(|| {
            let names: Vec<&str> = self.programs.iter().take(20).map(|entry| entry.name.as_str()).collect();
            let present = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            ObjectError::at("", None, Fault::NoProgram { name: name.to_owned(), present })
        })
    }

    fn link(
        &self,
        entry: &ProgramEntry,
        kind: ProgramType,
        frags: bool,
    ) -> Result<Arc<Program>, ObjectError> {
        let linked = link(self, entry.function)?;
        let insns = decode(&linked.raw).map_err(|error| {
            let (section, offset) = linked.origin(self, error.slot);
            ObjectError::at(section, offset, Fault::Instruction(error))
        })?;
        let mut functions = linked.functions;
        // The entry is proven by what it is attached to.
        let mut others = functions.iter_mut().skip(1).filter(|function| function.global).peekable();
        if let Some(btf) = self.btf.as_ref().filter(|_| others.peek().is_some()) {
            let declared = self.prototypes.get_or_init(|| Prototypes::of(btf));
            let types = Signatures { btf, kind, declared };
            for function in others {
                function.signature = types.get(&function.name);
            }
        }
        Ok(Arc::new(Program {
            name: entry.name.clone(),
            section: entry.section.clone(),
            kind,
            attach: entry.expected_of(kind),
            insns,
            functions,
            maps: self.maps.clone(),
            lines: linked.lines,
            license: self.license.clone(),
            frags,
            strict_alignment: false,
        }))
    }

    /// The index by which programs name a declared map.
    pub(crate) fn map_index(&self, declared: usize) -> Result<u32, ObjectError> {
        match (&self.declared[declared].spec, self.index[declared]) {
            (_, Some(index)) => Ok(index),
            (Err(error), None) => Err(error.clone()),
            (Ok(_), None) => unreachable!("every sound map was numbered"),
        }
    }

    /// Refuses a relocation of the second slot of the 64-bit load at `offset` of a function.
    pub(crate) fn nothing_inside(&self, function: usize, offset: usize) -> Result<(), ObjectError> {
        let function = &self.functions.all[function];
        let second = function.start + offset + 1;
        match self.targets.get(&function.section).and_then(|targets| targets.get(&second)) {
            None => Ok(()),
            Some(Err(error)) => Err(error.clone()),
            Some(Ok(_)) => {
                let section = &self.sections[function.section];
                let found = "a relocation inside a 64-bit load";
                Err(ObjectError::malformed(section, second as u64 * 8, found, "one on its first slot"))
            }
        }
    }

    /// Gives a global variable its first value, or a constant of inline assembly its value. Programs taken before
    /// keep the old one.
    pub fn set_global<'v>(&mut self, name: &str, value: impl Into<Global<'v>>) -> Result<(), ObjectError> {
        let no_global = || ObjectError::at("", None, Fault::NoGlobal { name: name.to_owned() });
        let variable = match *self.variables.get(name).ok_or_else(no_global)? {
            Place::Variable(variable) => variable,
            Place::Constant(constant) => return self.set_constant(constant, name, value.into()),
        };
        let section = self.declared[variable.map].name.clone();
        let at = |fault| ObjectError::at(&section, u64::from(variable.offset), fault);
        let bytes = value.into().fit(name, variable.size).map_err(at)?;
        let index = self.map_index(variable.map)? as usize;
        let initial: Initial =
            patched(&self.maps[index], variable.offset as usize, variable.size as usize, &bytes)
                .map_err(at)?;
        Arc::make_mut(&mut self.maps[index]).initial = initial;
        self.declared[variable.map].spec = Ok(self.maps[index].clone());
        if variable.external {
            self.answer(name, variable);
        }
        Ok(())
    }

    fn set_constant(&mut self, constant: usize, name: &str, value: Global<'_>) -> Result<(), ObjectError> {
        let bytes = value.fit(name, CONSTANT_BYTES).map_err(|fault| ObjectError::at("", None, fault))?;
        let mut number = [0; CONSTANT_BYTES as usize];
        number[..bytes.len()].copy_from_slice(&bytes);
        self.constants[constant] = u64::from_le_bytes(number);
        Ok(())
    }

    /// Gives a map of maps that declares none the shape of its inner maps (libbpf:
    /// `bpf_map__set_inner_map_fd`). Programs taken before do without.
    pub fn set_inner(&mut self, name: &str, shape: MapSpec) -> Result<(), ObjectError> {
        let declared = self.declared.iter().position(|map| map.name == name && map.spec.is_ok());
        let no_map = || ObjectError::at("", None, Fault::NoMap { name: name.to_owned() });
        let declared = declared.ok_or_else(no_map)?;
        let index = self.map_index(declared)? as usize;
        Arc::make_mut(&mut self.maps[index]).inner = Some(Arc::new(shape));
        self.declared[declared].spec = Ok(self.maps[index].clone());
        Ok(())
    }

    /// The names of the global variables that [`Object::set_global`] takes, and their bytes.
    pub fn globals(&self) -> impl Iterator<Item = (&str, u32)> {
        self.variables.iter().map(|(name, place)| (name.as_str(), place.size()))
    }

    /// Lets instructions that name this extern of the configuration have it.
    fn answer(&mut self, name: &str, variable: Variable) {
        let target = Target::Value { map: variable.map, offset: variable.offset };
        for found in self.targets.values_mut().flat_map(|targets| targets.values_mut()) {
            if matches!(found, Err(ObjectError { fault: Fault::UnknownExtern { name: missing, .. }, .. }) if missing == name)
            {
                *found = Ok(target);
            }
        }
    }
}
