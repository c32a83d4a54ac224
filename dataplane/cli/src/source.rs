//! Where a program comes from: an object file, or bare instructions with a description (`--raw`).

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use clap::Args;
use serde::Deserialize;
use weir_ebpf::abi::MapKind;
use weir_ebpf::decode::{decode, raw_insns};
use weir_ebpf::{MapSpec, Program, ProgramType};
use weir_object::Object;

use crate::exit::{Code, Failure};

/// Arguments that name programs.
#[derive(Args)]
pub(crate) struct SourceArgs {
    /// Object files, as clang makes them with -target bpf
    pub(crate) objects: Vec<PathBuf>,
    /// Only this program
    #[arg(long, value_name = "NAME")]
    pub(crate) prog: Option<String>,
    /// Only programs of this section
    #[arg(long, value_name = "SECTION")]
    pub(crate) sec: Option<String>,
    /// Take programs as of this type, whatever their section says
    #[arg(long = "as", value_name = "TYPE", value_parser = program_type)]
    pub(crate) kind: Option<ProgramType>,
    /// Bare instructions instead: struct bpf_insn bytes, map loads by index into the spec's maps
    #[arg(long, value_name = "PROG.bin", requires = "spec", conflicts_with = "objects")]
    pub(crate) raw: Option<PathBuf>,
    /// What the bare instructions are: type, maps, flags, licence
    #[arg(long, value_name = "PROG.json", requires = "raw")]
    pub(crate) spec: Option<PathBuf>,
}

fn program_type(word: &str) -> Result<ProgramType, String> {
    match word {
        "xdp" => Ok(ProgramType::Xdp),
        "tc" | "sched_cls" | "classifier" => Ok(ProgramType::SchedCls),
        "action" | "sched_act" => Ok(ProgramType::SchedAct),
        "socket" | "socket_filter" => Ok(ProgramType::SocketFilter),
        _ => ProgramType::ALL.iter().copied().find(|kind| kind.name() == word).ok_or_else(|| {
            let names: Vec<&str> = ProgramType::ALL.iter().map(|kind| kind.name()).collect();
            format!("wanted tc, action, socket or one of {}", names.join(", "))
        }),
    }
}

/// A file and the programs wanted of it; a program that cannot be had stands with the reason.
pub(crate) struct Source {
    /// Which file.
    pub(crate) path: PathBuf,
    /// The object, for its types; bare instructions have none.
    pub(crate) object: Option<Object>,
    /// Programs by name.
    pub(crate) programs: Vec<(String, anyhow::Result<Arc<Program>>)>,
    /// Programs that nobody named and whose sections name no type that weir runs: name and section.
    pub(crate) others: Vec<(String, String)>,
}

impl SourceArgs {
    /// Reads what was named.
    pub(crate) fn read(&self) -> Result<Vec<Source>, Failure> {
        if let (Some(raw), Some(spec)) = (&self.raw, &self.spec) {
            return Ok(vec![raw_source(raw, spec)?]);
        }
        if self.objects.is_empty() {
            let what = anyhow!("no program: name an object file, or give --raw PROG.bin --spec PROG.json");
            return Err(Failure::new(Code::Usage, what));
        }
        self.objects.iter().map(|path| self.object_source(path)).collect()
    }

    fn object_source(&self, path: &Path) -> Result<Source, Failure> {
        let object = read_object(path)?;
        let wanted = object.programs().iter().filter(|entry| {
            self.prog.as_ref().is_none_or(|name| *name == entry.name)
                && self.sec.as_ref().is_none_or(|section| *section == entry.section)
        });
        let named = self.prog.is_some() || self.sec.is_some() || self.kind.is_some();
        let (wanted, others): (Vec<_>, Vec<_>) = wanted.partition(|entry| named || entry.kind.is_some());
        let others: Vec<_> =
            others.into_iter().map(|entry| (entry.name.clone(), entry.section.clone())).collect();
        let programs: Vec<_> = wanted
            .into_iter()
            .map(|entry| {
                let program = match self.kind {
                    Some(kind) => object.program_as(&entry.name, kind),
                    None => object.program(&entry.name),
                };
                (entry.name.clone(), program.map_err(anyhow::Error::from))
            })
            .collect();
        if programs.is_empty() && others.is_empty() {
            return Err(no_such_program(path, &object));
        }
        Ok(Source { path: path.to_owned(), object: Some(object), programs, others })
    }
}

/// What to say when none of an object's programs is meant.
pub(crate) fn no_such_program(path: &Path, object: &Object) -> Failure {
    let names: Vec<&str> = object.programs().iter().map(|entry| entry.name.as_str()).collect();
    let what = match names.is_empty() {
        true => anyhow!("{}: there is no program in it", path.display()),
        false => anyhow!("{}: no such program; there is `{}`", path.display(), names.join("`, `")),
    };
    Failure::new(Code::Usage, what)
}

/// Reads an object file.
pub(crate) fn read_object(path: &Path) -> Result<Object, Failure> {
    let bytes = read(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.split('.').next().unwrap_or_default().to_owned();
    let config = Some(weir_engine::kconfig::host as fn() -> _);
    let options = weir_object::Options { name, config, ..weir_object::Options::default() };
    Object::parse_with(&bytes, &options)
        .with_context(|| path.display().to_string())
        .map_err(|error| Failure::new(Code::Rejected, error))
}

/// Reads a file whole; `-` is standard input.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let read = if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    read.with_context(|| path.display().to_string()).map_err(|error| Failure::new(Code::Usage, error))
}

/// The description beside bare instructions.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSpec {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    maps: Vec<RawMap>,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default = "gpl")]
    license: String,
}

fn gpl() -> String {
    "GPL".to_owned()
}

/// A map of the description. `type` is bpftool's word, the kernel's constant or its number.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMap {
    #[serde(default)]
    name: String,
    #[serde(rename = "type")]
    kind: serde_json::Value,
    key: u32,
    value: u32,
    max_entries: u32,
    #[serde(default)]
    flags: u32,
    #[serde(default)]
    inner: Option<Box<RawMap>>,
}

impl RawMap {
    fn spec(&self, at: usize) -> Result<MapSpec, String> {
        let found = match &self.kind {
            serde_json::Value::Number(number) => number.as_u64().and_then(|n| MapKind::new(n as u32)),
            serde_json::Value::String(word) => {
                let word = word.to_ascii_lowercase();
                let word = word.trim_start_matches("bpf_map_type_");
                MapKind::ALL.iter().copied().find(|kind| kind.name() == word)
            }
            _ => None,
        };
        let kind = found.ok_or_else(|| format!("map {at}: weir has no map type {}", self.kind))?;
        let name = if self.name.is_empty() { format!("map{at}") } else { self.name.clone() };
        let mut spec = MapSpec::new(&name, kind, self.key, self.value, self.max_entries);
        spec.flags = self.flags;
        spec.inner = self.inner.as_ref().map(|inner| inner.spec(at).map(Arc::new)).transpose()?;
        Ok(spec)
    }
}

fn raw_source(raw: &Path, spec: &Path) -> Result<Source, Failure> {
    let bytes = read(raw)?;
    let text = read(spec)?;
    let parsed: RawSpec = serde_json::from_slice(&text)
        .with_context(|| spec.display().to_string())
        .map_err(|error| Failure::new(Code::Usage, error))?;
    let usage = |text: String| Failure::new(Code::Usage, anyhow!("{}: {text}", spec.display()));
    let kind = program_type(&parsed.kind).map_err(|why| usage(format!("type `{}`: {why}", parsed.kind)))?;
    let maps = parsed.maps.iter().enumerate().map(|(at, map)| map.spec(at).map(Arc::new));
    let maps: Vec<Arc<MapSpec>> = maps.collect::<Result<_, _>>().map_err(usage)?;
    let mut strict_alignment = false;
    for flag in &parsed.flags {
        match flag.as_str() {
            "strict_alignment" => strict_alignment = true,
            // What weir does anyway: x86-64 reads at any address.
            "any_alignment" => {}
            _ => return Err(usage(format!("flag `{flag}`: wanted any_alignment or strict_alignment"))),
        }
    }
    let name = raw.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let program = decode_raw(&name, kind, &bytes).map(|mut program| {
        program.maps = maps;
        program.license = parsed.license;
        program.strict_alignment = strict_alignment;
        Arc::new(program)
    });
    Ok(Source { path: raw.to_owned(), object: None, programs: vec![(name, program)], others: Vec::new() })
}

fn decode_raw(name: &str, kind: ProgramType, bytes: &[u8]) -> anyhow::Result<Program> {
    let raw = raw_insns(bytes)
        .with_context(|| format!("{} bytes are no whole number of instructions of 8 bytes", bytes.len()))?;
    Ok(Program::from_insns(name, kind, decode(&raw)?))
}
