//! The program that is run, with its maps: proven and compiled, or unproven and watched.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use weir_ebpf::{Program, ProgramType};
use weir_engine::config::MapEntry;
use weir_engine::load::{Image, LoadError, Request};
use weir_maps::Map;
use weir_object::Object;
use weir_verifier::Reject;
use weir_vm::interpreter::{Checked, Options};
use weir_vm::test_run::{Input, Output, test_run};
use weir_vm::{Engine, Loaded, ProgramTable, Run};

use super::view::{MapView, view};
use super::world::World;
use crate::exit::{Code, Failure};
use crate::source::{Source, SourceArgs};

/// What the command line gives a program besides a packet.
pub(super) struct Given<'g> {
    /// `NAME=FILE`: what maps hold.
    pub(super) maps: &'g [String],
    /// `NAME=VALUE`: constants.
    pub(super) rodata: &'g [String],
}

/// Why there is nothing to run.
pub(super) enum Refusal {
    /// The verifier says no.
    Rejected { program: String, kind: ProgramType, reject: Box<Reject> },
    /// Anything else.
    Failure(Failure),
}

impl<F: Into<Failure>> From<F> for Refusal {
    fn from(failure: F) -> Self {
        Refusal::Failure(failure.into())
    }
}

enum Runner {
    Loaded { entry: Arc<Loaded>, table: ProgramTable },
    Checked(Checked),
}

/// A program with its maps.
pub(super) struct Subject {
    runner: Runner,
    maps: Vec<Arc<Map>>,
    object: Option<Object>,
}

impl Subject {
    /// Loads the one program that the arguments name.
    pub(super) fn load(
        arguments: &SourceArgs,
        given: &Given<'_>,
        engine: Engine,
        verify: bool,
    ) -> Result<Self, Refusal> {
        let [source] = <[Source; 1]>::try_from(arguments.read()?).map_err(|sources| {
            let what = anyhow!("one program at a time: {} objects were named", sources.len());
            Failure::new(Code::Usage, what)
        })?;
        let name = only(&source)?;
        if verify && source.object.is_some() && arguments.kind.is_none() {
            return Self::image(&source.path, &name, given, engine);
        }
        if !given.maps.is_empty() || !given.rodata.is_empty() {
            let what = anyhow!(
                "--map and --rodata are for a program of an object, proven as its section says: not with --raw, --as or --no-verify"
            );
            return Err(Failure::new(Code::Usage, what).into());
        }
        Self::alone(source, &name, engine, verify)
    }

    /// A program of an object, with those that its prog arrays name.
    fn image(path: &Path, name: &str, given: &Given<'_>, engine: Engine) -> Result<Self, Refusal> {
        let mut request = Request { programs: vec![name], workers: 1, engine, ..Request::default() };
        for given in given.maps {
            let (map, entries) = read_entries(given)?;
            request.entries.insert(map, entries);
        }
        for given in given.rodata {
            let (name, value) = constant(given)?;
            request.rodata.insert(name, value);
        }
        let image = Image::load(path, &request).map_err(|error| match error {
            LoadError::Rejected { program, kind, reject, .. } => Refusal::Rejected { program, kind, reject },
            other => Refusal::Failure(other.into()),
        })?;
        let entry = image.program(name).cloned().context("the program was not loaded")?;
        let table = image.table().map_err(anyhow::Error::from)?;
        Ok(Self { runner: Runner::Loaded { entry, table }, maps: image.maps, object: Some(image.object) })
    }

    /// A program by itself: bare instructions, another type than its section's, or unproven.
    fn alone(source: Source, name: &str, engine: Engine, verify: bool) -> Result<Self, Refusal> {
        let path = source.path.display().to_string();
        let found = source.programs.into_iter().find(|(other, _)| other == name);
        let (_, program) = found.context("the program was not read")?;
        let program = program.with_context(|| path).map_err(|error| Failure::new(Code::Rejected, error))?;
        let maps = program.maps.iter().map(|spec| Map::create(spec, 1));
        let maps: Vec<Arc<Map>> =
            maps.collect::<Result<_, _>>().map_err(|error| Failure::new(Code::Rejected, error))?;
        let runner = if verify {
            let (kind, name) = (program.kind, program.name.clone());
            let proven = weir_verifier::verify(Arc::clone(&program), &weir_engine::proof::options());
            let verified = proven.map_err(|reject| Refusal::Rejected { program: name, kind, reject })?;
            let entry = Loaded::new(verified, maps.clone(), engine).map_err(anyhow::Error::from)?;
            Runner::Loaded { entry: Arc::new(entry), table: ProgramTable::new(Vec::new()) }
        } else {
            Runner::Checked(Checked::new(program, maps.clone()).map_err(anyhow::Error::from)?)
        };
        Ok(Self { runner, maps, object: source.object })
    }

    fn program(&self) -> &Arc<Program> {
        match &self.runner {
            Runner::Loaded { entry, .. } => entry.verified().program(),
            Runner::Checked(checked) => checked.program(),
        }
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.program().name
    }

    /// Its type.
    pub(super) fn kind(&self) -> ProgramType {
        self.program().kind
    }

    /// Instructions that the verifier walked over; 0 for the unproven.
    pub(super) fn insns_processed(&self) -> u64 {
        match &self.runner {
            Runner::Loaded { entry, .. } => entry.verified().stats().processed,
            Runner::Checked(_) => 0,
        }
    }

    /// What its maps hold now.
    pub(super) fn view(&self) -> Vec<MapView> {
        self.maps.iter().map(|map| view(map, self.object.as_ref())).collect()
    }

    /// Runs it on a packet; beside the output stands what the checked interpreter caught it at.
    pub(super) fn run(&self, input: &Input) -> Result<(Output, Option<String>), Failure> {
        let mut world = World::new();
        let mut fault = None;
        let output = match &self.runner {
            Runner::Loaded { entry, table } => {
                let mut run = Run::new(&mut world, 0).with_table(table);
                let output = test_run(self.kind(), input, &mut run, |run, context| entry.run(run, context));
                fault = run.fault().map(ToString::to_string);
                output
            }
            Runner::Checked(checked) => {
                let mut run = Run::new(&mut world, 0);
                test_run(self.kind(), input, &mut run, |run, context| {
                    let (result, _) = checked.run(run, context, Options::default());
                    result.unwrap_or_else(|caught| {
                        fault = Some(caught.to_string());
                        0
                    })
                })
            }
        };
        Ok((output.map_err(|error| Failure::new(Code::Usage, error))?, fault))
    }
}

/// The program to run, when there is no doubt which.
fn only(source: &Source) -> Result<String, Failure> {
    match source.programs.as_slice() {
        [(name, _)] => Ok(name.clone()),
        [] => {
            let names: Vec<&str> = source.others.iter().map(|(name, _)| name.as_str()).collect();
            let what = anyhow!(
                "{}: no program of a type that weir runs; --as TYPE takes one as such, and there is `{}`",
                source.path.display(),
                names.join("`, `")
            );
            Err(Failure::new(Code::Usage, what))
        }
        programs => {
            let names: Vec<&str> = programs.iter().map(|(name, _)| name.as_str()).collect();
            let what = anyhow!(
                "{}: which program? add --prog NAME; there is `{}`",
                source.path.display(),
                names.join("`, `")
            );
            Err(Failure::new(Code::Usage, what))
        }
    }
}

/// `NAME=FILE`: a map's entries.
fn read_entries(given: &str) -> Result<(String, Vec<MapEntry>), Failure> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        entry: Vec<MapEntry>,
    }
    let usage = |error: anyhow::Error| Failure::new(Code::Usage, error);
    let (name, path) =
        given.split_once('=').ok_or_else(|| usage(anyhow!("--map {given}: wanted NAME=FILE")))?;
    let bytes = crate::source::read(Path::new(path))?;
    let text = String::from_utf8(bytes).with_context(|| path.to_owned()).map_err(usage)?;
    let file: File = toml::from_str(&text)
        .map_err(|error| usage(anyhow!("{path}:{}", weir_engine::config::fault(&text, &error))))?;
    Ok((name.to_owned(), file.entry))
}

/// `NAME=VALUE`: a constant, its value as TOML would have it, or else a text.
fn constant(given: &str) -> Result<(String, toml::Value), Failure> {
    let parts = given.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
    let (name, value) =
        parts.ok_or_else(|| Failure::new(Code::Usage, anyhow!("--rodata {given}: wanted NAME=VALUE")))?;
    let value = value.parse().unwrap_or_else(|_| toml::Value::String(value.to_owned()));
    Ok((name.to_owned(), value))
}
