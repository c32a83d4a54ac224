//! An object file becomes maps that hold something and programs that may run: read, create, prove,
//! compile. The same way for the command line, the pipeline, tests and benchmarks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_ebpf::abi::{Errno, MapKind};
use weir_ebpf::isa::{Imm64, Insn};
use weir_ebpf::program::Initial;
use weir_ebpf::{MapSpec, Program, ProgramType};
use weir_maps::{Map, MapError};
use weir_object::{Object, ObjectError};
use weir_verifier::{Reject, Verified};
use weir_vm::loaded::LoadError as LoadedError;
use weir_vm::{Engine, Loaded, ProgramTable};

use crate::config::MapEntry;
use crate::values::{Wanted, encode_key};

/// What to take from an object, and how.
#[derive(Clone, Debug, Default)]
pub struct Request<'r> {
    /// Programs by name; empty for all that it means to be loaded.
    pub programs: Vec<&'r str>,
    /// Values of its constants.
    pub rodata: BTreeMap<String, toml::Value>,
    /// What its maps hold from the start, besides what the object says.
    pub entries: BTreeMap<String, Vec<MapEntry>>,
    /// Workers: so many copies of per-CPU values.
    pub workers: usize,
    /// What runs its programs.
    pub engine: Engine,
    /// Who may have maps for it already, and the entries of the configuration that it is loaded for.
    pub carry: Option<(&'r dyn Carry, &'r [&'r str])>,
}

/// Gives an object maps that were there before it, with what they hold.
pub trait Carry: std::fmt::Debug {
    /// The map for this declaration: one from before, a new one that its contents were moved to, or `None` for one
    /// that starts as the object says. The error says why what is in it cannot be carried over, and what to try.
    fn map(
        &self,
        entries: &[&str],
        object: &Object,
        spec: &MapSpec,
        create: &dyn Fn() -> Result<Arc<Map>, MapError>,
    ) -> Result<Option<Arc<Map>>, String>;
}

/// What it took to make a program ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// To prove it.
    pub verify: Duration,
    /// To compile it.
    pub compile: Duration,
}

/// An object in memory: its maps, and its programs ready to run.
#[derive(Debug)]
pub struct Image {
    /// The object, for its types.
    pub object: Object,
    /// Its maps, in its own order.
    pub maps: Vec<Arc<Map>>,
    /// The programs asked for and those that its prog arrays name, proven and compiled.
    pub programs: Vec<Arc<Loaded>>,
    /// What each of them took.
    pub costs: Vec<Cost>,
}

/// Why an object cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is not an object that weir understands.
    #[error("{}: {source}", path.display())]
    Object {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<ObjectError>,
    },
    /// It has no program that was asked for.
    #[error("{}: {text}", path.display())]
    Program {
        /// Which file.
        path: PathBuf,
        /// What was looked for, and what there is.
        text: String,
    },
    /// The verifier says no.
    #[error("{}: program `{program}`: {reject}", path.display())]
    Rejected {
        /// Which file.
        path: PathBuf,
        /// Which program.
        program: String,
        /// Of which type.
        kind: ProgramType,
        /// Why.
        reject: Box<Reject>,
    },
    /// A proven program could not be made ready.
    #[error("{}: program `{program}`: {source}", path.display())]
    Prepare {
        /// Which file.
        path: PathBuf,
        /// Which program.
        program: String,
        /// Why not.
        source: LoadedError,
    },
    /// A map could not be created.
    #[error("{}: {source}", path.display())]
    Map {
        /// Which file.
        path: PathBuf,
        /// Which map.
        map: String,
        /// Why not.
        source: MapError,
    },
    /// What a map of before holds cannot be carried over.
    #[error("map `{map}`: {text}")]
    Carried {
        /// Which map.
        map: String,
        /// Why not, and what to try.
        text: String,
    },
    /// A map or constant could not be given a value.
    #[error("{}: {place}: {text}", path.display())]
    Value {
        /// Which file.
        path: PathBuf,
        /// Which map, entry or constant.
        place: String,
        /// What was found and wanted.
        text: String,
    },
}

impl Image {
    /// Loads an object file.
    pub fn load(path: &Path, request: &Request<'_>) -> Result<Image, LoadError> {
        let bytes =
            std::fs::read(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
        Image::from_bytes(path, &bytes, request)
    }

    /// Loads an object from the bytes of its file; the path is for messages.
    pub fn from_bytes(path: &Path, bytes: &[u8], request: &Request<'_>) -> Result<Image, LoadError> {
        Loader { path, request }.load(bytes)
    }

    /// The program with this name.
    pub fn program(&self, name: &str) -> Option<&Arc<Loaded>> {
        self.programs.iter().find(|loaded| loaded.verified().program().name == name)
    }

    /// The map with this name.
    pub fn map(&self, name: &str) -> Option<&Arc<Map>> {
        self.maps.iter().find(|map| map.spec().name == name)
    }

    /// The maps that its programs name, and those that they find inside. An object made for more than packets has
    /// others, which nobody here writes to.
    pub fn used(&self) -> Vec<&Arc<Map>> {
        let mut used: BTreeSet<usize> = BTreeSet::new();
        for loaded in &self.programs {
            used.extend(loaded.verified().program().insns.iter().filter_map(|insn| match insn {
                Insn::LoadImm64 { value: Imm64::Map(map) | Imm64::MapValue { map, .. }, .. } => {
                    Some(*map as usize)
                }
                _ => None,
            }));
        }
        let named = |name: &String| self.maps.iter().position(|map| map.spec().name == *name);
        let outer: Vec<_> = used.iter().filter_map(|map| self.maps.get(*map)).collect();
        for map in outer {
            let Initial::Maps(slots) = &map.spec().initial else { continue };
            used.extend(slots.iter().filter_map(|(_, name)| named(name)));
        }
        used.into_iter().filter_map(|map| self.maps.get(map)).collect()
    }

    /// A table of all its programs, with its prog arrays filled.
    pub fn table(&self) -> Result<ProgramTable, Errno> {
        self.fill_prog_arrays(|name| {
            self.programs.iter().position(|loaded| loaded.verified().program().name == name)
        })?;
        Ok(ProgramTable::new(self.programs.clone()))
    }

    /// Fills the prog arrays by the numbers that `number` gives the programs.
    pub fn fill_prog_arrays(&self, number: impl Fn(&str) -> Option<usize>) -> Result<(), Errno> {
        for map in &self.maps {
            let Initial::Programs(slots) = &map.spec().initial else { continue };
            for (index, name) in slots {
                let number = number(name).ok_or(Errno::ENOENT)?;
                map.control().set_program(*index, number as u32)?;
            }
        }
        Ok(())
    }
}

struct Loader<'l> {
    path: &'l Path,
    request: &'l Request<'l>,
}

impl Loader<'_> {
    fn load(&self, bytes: &[u8]) -> Result<Image, LoadError> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let options = weir_object::Options {
            name: name.split('.').next().unwrap_or_default().to_owned(),
            config: Some(crate::kconfig::host),
            ..weir_object::Options::default()
        };
        let mut object = Object::parse_with(bytes, &options).map_err(|source| self.object_error(source))?;
        for (name, value) in &self.request.rodata {
            self.set_constant(&mut object, name, value)?;
        }
        let names = self.wanted(&object)?;
        let maps = self.create_maps(&object)?;
        let (mut programs, mut costs) = (Vec::new(), Vec::new());
        for name in names {
            let (loaded, cost) = self.program(&object, &name, &maps)?;
            programs.push(Arc::new(loaded));
            costs.push(cost);
        }
        Ok(Image { object, maps, programs, costs })
    }

    fn object_error(&self, source: ObjectError) -> LoadError {
        LoadError::Object { path: self.path.to_owned(), source: Box::new(source) }
    }

    fn value_error(&self, place: impl Into<String>, text: impl Into<String>) -> LoadError {
        LoadError::Value { path: self.path.to_owned(), place: place.into(), text: text.into() }
    }

    /// The programs to load: those asked for, and those that prog arrays name.
    fn wanted(&self, object: &Object) -> Result<Vec<String>, LoadError> {
        let runnable: Vec<&str> = object
            .programs()
            .iter()
            .filter(|program| program.kind.is_some())
            .map(|program| program.name.as_str())
            .collect();
        let mut names: Vec<String> = if self.request.programs.is_empty() {
            let meant = object.programs().iter().filter(|program| program.kind.is_some() && program.autoload);
            meant.map(|program| program.name.clone()).collect()
        } else {
            self.request.programs.iter().map(|name| (*name).to_owned()).collect()
        };
        for map in object.maps() {
            let Initial::Programs(slots) = &map.initial else { continue };
            names.extend(slots.iter().map(|(_, name)| name.clone()));
        }
        let mut seen = BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        let missing = names.iter().find(|name| !object.programs().iter().any(|entry| entry.name == **name));
        let text = match missing {
            Some(name) => {
                format!("there is no program `{name}`; there is {}", crate::config::listed(&runnable))
            }
            None if names.is_empty() => {
                "there is no program that weir can run (xdp, tc, action, socket)".into()
            }
            None => return Ok(names),
        };
        Err(LoadError::Program { path: self.path.to_owned(), text })
    }

    fn set_constant(&self, object: &mut Object, name: &str, value: &toml::Value) -> Result<(), LoadError> {
        let mut globals: Vec<(String, u32)> =
            object.globals().map(|(name, size)| (name.to_owned(), size)).collect();
        globals.sort();
        let place = format!("constant `{name}`");
        let Some((_, size)) = globals.iter().find(|(global, _)| global == name) else {
            let names: Vec<&str> = globals.iter().map(|(name, _)| name.as_str()).collect();
            let text = format!("the object has no such variable; it has {}", crate::config::listed(&names));
            return Err(self.value_error(place, text));
        };
        let size = *size as usize;
        let set = match value {
            toml::Value::Integer(number) => object.set_global(name, *number),
            toml::Value::Boolean(truth) => object.set_global(name, *truth),
            _ => {
                let bytes = crate::values::encode(Wanted { types: None, size }, value);
                let bytes = bytes.map_err(|text| self.value_error(&place, text))?;
                object.set_global(name, bytes.as_slice())
            }
        };
        set.map_err(|source| self.value_error(place, source.to_string()))
    }

    fn program(&self, object: &Object, name: &str, maps: &[Arc<Map>]) -> Result<(Loaded, Cost), LoadError> {
        let program = object.program(name).map_err(|source| self.object_error(source))?;
        let start = Instant::now();
        let verified = self.prove(program)?;
        let verify = start.elapsed();
        let loaded = Loaded::new(verified, maps.to_vec(), self.request.engine);
        let loaded = loaded.map_err(|source| LoadError::Prepare {
            path: self.path.to_owned(),
            program: name.to_owned(),
            source,
        })?;
        Ok((loaded, Cost { verify, compile: start.elapsed() - verify }))
    }

    fn prove(&self, program: Arc<Program>) -> Result<Verified, LoadError> {
        let (name, kind) = (program.name.clone(), program.kind);
        weir_verifier::verify(program, &crate::proof::options()).map_err(|reject| LoadError::Rejected {
            path: self.path.to_owned(),
            program: name,
            kind,
            reject,
        })
    }

    /// Every map that the object declares, as libbpf does (`bpf_object__create_maps`): those that only programs of
    /// other types use can be seen and filled, too ([`Image::used`] leaves them out).
    fn create_maps(&self, object: &Object) -> Result<Vec<Arc<Map>>, LoadError> {
        let mut maps: Vec<Arc<Map>> = Vec::new();
        // Those that hold nothing yet but what the object says.
        let mut fresh = BTreeSet::new();
        for spec in object.maps() {
            let map = match self.carried(object, spec)? {
                Some(map) => map,
                None => {
                    fresh.insert(spec.name.clone());
                    self.create(spec).map_err(|source| self.map_error(spec, source))?
                }
            };
            maps.push(map);
        }
        for map in maps.iter().filter(|map| fresh.contains(&map.spec().name)) {
            let Initial::Maps(slots) = &map.spec().initial else { continue };
            for (index, name) in slots {
                let place = format!("map `{}`, slot {index}", map.spec().name);
                let inner = maps.iter().find(|inner| inner.spec().name == *name);
                let inner = inner.ok_or_else(|| self.value_error(&place, format!("no map `{name}`")))?;
                let set = map.control().set_inner(&index.to_le_bytes(), inner, 0);
                set.map_err(|errno| self.value_error(place, errno.to_string()))?;
            }
        }
        for (name, entries) in &self.request.entries {
            let known = object.maps().iter().any(|spec| spec.name == *name);
            if fresh.contains(name) || !known {
                self.fill(object, &maps, name, entries)?;
            }
        }
        Ok(maps)
    }

    fn create(&self, spec: &MapSpec) -> Result<Arc<Map>, MapError> {
        Map::create(spec, self.request.workers.max(1))
    }

    fn map_error(&self, spec: &MapSpec, source: MapError) -> LoadError {
        LoadError::Map { path: self.path.to_owned(), map: spec.name.clone(), source }
    }

    /// The map of before that this declaration goes on with, if there is one.
    fn carried(&self, object: &Object, spec: &MapSpec) -> Result<Option<Arc<Map>>, LoadError> {
        let Some((carry, entries)) = self.request.carry else { return Ok(None) };
        let map = carry.map(entries, object, spec, &|| self.create(spec));
        map.map_err(|text| LoadError::Carried { map: spec.name.clone(), text })
    }

    fn fill(
        &self,
        object: &Object,
        maps: &[Arc<Map>],
        name: &str,
        entries: &[MapEntry],
    ) -> Result<(), LoadError> {
        let Some(map) = maps.iter().find(|map| map.spec().name == name) else {
            let names: Vec<&str> = maps.iter().map(|map| map.spec().name.as_str()).collect();
            let text = format!("the object has no such map; it has {}", crate::config::listed(&names));
            return Err(self.value_error(format!("map `{name}`"), text));
        };
        for (at, entry) in entries.iter().enumerate() {
            let place = || format!("map `{name}`, entry {}", at + 1);
            put_entry(object, map, entry).map_err(|text| self.value_error(place(), text))?;
        }
        Ok(())
    }
}

/// The key of an entry that a person wrote, as the map takes it.
pub fn entry_key(object: &Object, map: &Map, entry: &MapEntry) -> Result<Vec<u8>, String> {
    let spec = map.spec();
    let types = object.btf().zip(object.map_btf(&spec.name).map(|types| types.key_type));
    let wanted = Wanted { types, size: spec.key_size as usize };
    encode_key(spec.kind, wanted, &entry.key).map_err(|why| format!("key: {why}"))
}

/// Puts one entry that a person wrote into a map; per-CPU maps get the value on every worker.
pub fn put_entry(object: &Object, map: &Map, entry: &MapEntry) -> Result<(), String> {
    let spec = map.spec();
    let key = entry_key(object, map, entry)?;
    let types = object.btf().zip(object.map_btf(&spec.name).map(|types| types.value_type));
    let wanted = Wanted { types, size: spec.value_size as usize };
    let value = crate::values::encode(wanted, &entry.value).map_err(|why| format!("value: {why}"))?;
    let done = if spec.kind.is_percpu() {
        map.control().update_percpu(&key, &vec![value; map.cpus()], 0)
    } else {
        map.control().update(&key, &value, 0)
    };
    done.map_err(|errno| errno.to_string())
}

/// Whether a kind of map is worth showing by default: data sections and pure plumbing are not.
pub fn is_shown(map: &Map) -> bool {
    let spec = map.spec();
    let data = matches!(spec.initial, Initial::Data(_)) || spec.name.contains('.');
    !data && !matches!(spec.kind, MapKind::ProgArray | MapKind::StackTrace | MapKind::CgroupArray)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_used_by_those_who_name_them() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus/language/map.bpf.o");
        let used = |programs: Vec<&'static str>| {
            let image = Image::load(&path, &Request { programs, ..Request::default() }).unwrap();
            assert_eq!(image.maps.len(), 4);
            image.used().iter().map(|map| map.spec().name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(used(vec!["last"]), ["sums"]);
        assert_eq!(used(vec!["last", "parts"]), ["sums", "flows"]);
        assert_eq!(used(vec!["kinds"]), ["sums", "flows", "outer"]);
    }
}
