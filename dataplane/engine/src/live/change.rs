//! What can be asked of a running weir, what it plans to do about it, and what it answers.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::build::BuildError;
use crate::config::{Attach, Config, ConfigError, ProgramEntry};
use crate::counters::Totals;
use crate::load::LoadError;
use crate::routes::RoutesError;

/// Object files by the path that a configuration has for them. They are read once and never by path again.
pub type Objects = BTreeMap<PathBuf, Arc<[u8]>>;

/// A configuration and everything it refers to: what is to run.
#[derive(Clone, Debug)]
pub struct Desired {
    /// What it says.
    pub config: Config,
    /// Its text, as somebody wrote it.
    pub text: String,
    /// The objects it names, by [`Config::resolve`]d path.
    pub objects: Objects,
}

impl Desired {
    /// Reads a configuration file and the objects it names.
    pub fn read(path: &Path) -> Result<Self, ChangeError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::from_text(path, text, Objects::new())
    }

    /// Reads a configuration from its text. Objects that are not given are read from their files.
    pub fn from_text(path: &Path, text: String, given: Objects) -> Result<Self, ChangeError> {
        let config = Config::parse(path, &text)?;
        let mut objects = Objects::new();
        for entry in &config.program {
            let file = config.resolve(&entry.object);
            if objects.contains_key(&file) {
                continue;
            }
            let bytes = match given.get(&entry.object).or_else(|| given.get(&file)) {
                Some(bytes) => Arc::clone(bytes),
                None => std::fs::read(&file)
                    .map_err(|source| BuildError::from(LoadError::Read { path: file.clone(), source }))?
                    .into(),
            };
            objects.insert(file, bytes);
        }
        Ok(Self { config, text, objects })
    }
}

/// One change to what runs. Each makes a generation of its own, or nothing.
#[derive(Clone, Debug)]
pub enum Change {
    /// Another configuration, whole. Its interfaces must be those that are open.
    Config {
        /// Its text.
        text: String,
        /// Objects by the paths it has for them; the others are read from their files.
        objects: Objects,
    },
    /// Another object for a program of the configuration.
    Replace {
        /// The program's name.
        program: String,
        /// The object's bytes.
        object: Arc<[u8]>,
        /// Which program of the object; absent: as before, or the only one.
        prog: Option<String>,
    },
    /// One more program.
    Load {
        /// As a configuration would say it; its path only names the object.
        entry: Box<ProgramEntry>,
        /// The object's bytes.
        object: Arc<[u8]>,
    },
    /// A program away.
    Unload {
        /// The program's name.
        program: String,
    },
    /// A program in another place.
    Attach {
        /// The program's name.
        program: String,
        /// Where.
        attach: Attach,
    },
    /// A program out of its place; it stays loaded.
    Detach {
        /// The program's name.
        program: String,
    },
}

/// How a change is made.
#[derive(Clone, Debug, Default)]
pub struct How {
    /// Only if this is what runs now ([`super::Current::etag`]).
    pub if_match: Option<String>,
    /// Watch the new generation, and go back by yourself if it does badly.
    pub probation: Option<Probation>,
    /// Maps that start empty, as `program.map` or `map`.
    pub scratch: Vec<String>,
}

/// On what conditions a new generation is given up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Probation {
    /// How long it is watched.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub for_: Duration,
    /// Given up when more than this share (0 to 1) of packets are aborted.
    pub abort_rate: f64,
    /// Given up when more than this share (0 to 1) of packets are dropped.
    pub drop_rate: f64,
    /// Packets to be seen before a share means something.
    pub packets_min: u64,
}

impl Default for Probation {
    fn default() -> Self {
        Self { for_: Duration::from_secs(30), abort_rate: 0.01, drop_rate: 1.0, packets_min: 100 }
    }
}

/// A duration as JSON says it.
pub(crate) fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

/// What a change comes to: shown before it is made, and told after.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Plan {
    /// The generation that runs.
    pub from: u64,
    /// The number of the one that would.
    pub to: u64,
    /// Programs, in the configuration's order; those that go come last.
    pub programs: Vec<ProgramPlan>,
    /// Maps by program and name.
    pub maps: Vec<MapPlan>,
    /// What else changes, in words.
    pub notes: Vec<String>,
}

/// What becomes of a program.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProgramPlan {
    /// Its name.
    pub program: String,
    /// What happens to it.
    pub fate: ProgramFate,
    /// Instructions.
    pub insns: usize,
    /// Bytes of machine code.
    pub jited: usize,
    /// How long it took to prove it.
    #[serde(rename = "verify_seconds", serialize_with = "seconds")]
    pub verify: Duration,
    /// How long it took to compile it.
    #[serde(rename = "jit_seconds", serialize_with = "seconds")]
    pub compile: Duration,
}

/// What happens to a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProgramFate {
    /// It is as it was.
    Kept,
    /// Its object, constants or place is another.
    Replaced,
    /// It was not there.
    Added,
    /// It is there no more.
    Removed,
}

/// What becomes of a map.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MapPlan {
    /// The program it is of; where several share it, the first.
    pub program: String,
    /// Its name.
    pub map: String,
    /// What happens to it.
    pub fate: MapFate,
    /// Entries that it brings along.
    pub entries: usize,
    /// Entries that changed while they were being moved, and were moved again or given up.
    pub conflicts: u64,
    /// How its type changed, such as ``+field `mark` = 0``.
    pub detail: Vec<String>,
}

/// What happens to a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MapFate {
    /// It is the same map.
    Kept,
    /// Its entries are moved to one of another shape.
    Migrated,
    /// There was none of this name.
    New,
    /// It belongs to its generation, and starts anew.
    Scratch,
    /// It goes, and what it holds with it.
    Gone,
}

impl fmt::Display for Plan {
    /// `verify ok (812 insns, 3 ms)   jit ok (4.1 KiB)   maps: stats kept 5, conns migrated 18212 (+field …)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let built = self.programs.iter().filter(|plan| plan.fate != ProgramFate::Removed);
        let insns: usize = built.clone().map(|plan| plan.insns).sum();
        let verify: Duration = built.clone().map(|plan| plan.verify).sum();
        let jited: usize = built.map(|plan| plan.jited).sum();
        write!(f, "verify ok ({insns} insns, {:.1} ms)", verify.as_secs_f64() * 1e3)?;
        if jited > 0 {
            write!(f, "   jit ok ({:.1} KiB)", jited as f64 / 1024.0)?;
        }
        let told = self.maps.iter().filter(|map| map.fate != MapFate::Scratch).map(MapPlan::to_string);
        let told: Vec<String> = told.collect();
        if !told.is_empty() {
            write!(f, "   maps: {}", told.join(", "))?;
        }
        self.notes.iter().try_for_each(|note| write!(f, "\n{note}"))
    }
}

impl fmt::Display for MapPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { map, entries, .. } = self;
        match self.fate {
            MapFate::Kept => write!(f, "{map} kept {entries}")?,
            MapFate::Migrated => write!(f, "{map} migrated {entries}")?,
            MapFate::New => write!(f, "{map} new")?,
            MapFate::Scratch => write!(f, "{map} starts empty")?,
            MapFate::Gone => write!(f, "{map} gone {entries}")?,
        }
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail.join(", "))?;
        }
        if self.conflicts > 0 {
            write!(f, " ({} changed meanwhile)", self.conflicts)?;
        }
        Ok(())
    }
}

/// A change that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Swapped {
    /// The generation before.
    pub from: u64,
    /// The generation now.
    pub to: u64,
    /// Workers that went over.
    pub workers: usize,
    /// From the moment it was published until no worker used the one before.
    pub took: Duration,
    /// What was counted from the cut before to this one: by the generation `from`, exactly.
    pub cut: Totals,
    /// Workers that had not come to the end of a turn at the deadline. They go over when they do; their packets
    /// are not in the cut.
    pub stalled: Vec<usize>,
    /// What was done.
    pub plan: Plan,
}

impl fmt::Display for Swapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (workers, micros) = (self.workers, self.took.as_micros());
        let plural = if workers == 1 { "" } else { "s" };
        write!(
            f,
            "swapped generation {} -> {} on {workers} worker{plural} in {micros} us",
            self.from, self.to
        )?;
        write!(f, "; lost {} ({})", self.cut.balance(), Balance(&self.cut))?;
        for worker in &self.stalled {
            write!(f, "; worker {worker} is stalled and goes over when it comes to a batch edge")?;
        }
        Ok(())
    }
}

/// Totals as an equation, parts that are 0 left out: `rx 91233 = pass 90100 + drop 1133`.
#[derive(Debug)]
pub struct Balance<'t>(pub &'t Totals);

impl fmt::Display for Balance<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let totals = self.0;
        let side = |f: &mut fmt::Formatter<'_>, parts: &[(&str, u64)]| {
            let parts: Vec<String> =
                parts.iter().filter(|(_, n)| *n > 0).map(|(word, n)| format!("{word} {n}")).collect();
            f.write_str(if parts.is_empty() { "0" } else { "" })?;
            f.write_str(&parts.join(" + "))
        };
        write!(f, "rx {}", totals.received.packets)?;
        // Since a moment before, more may have been let go than is held now.
        let held = totals.held as i64;
        let came = [
            ("cloned", totals.cloned.packets),
            ("made", totals.originated.packets),
            ("let go", held.min(0).unsigned_abs()),
        ];
        for (word, count) in came.iter().filter(|(_, count)| *count > 0) {
            write!(f, " + {word} {count}")?;
        }
        f.write_str(" = ")?;
        side(
            f,
            &[
                ("tx", totals.sent()),
                ("pass", totals.passed.packets),
                ("drop", totals.dropped_packets()),
                ("consumed", totals.consumed.packets),
                ("held", held.max(0) as u64),
            ],
        )
    }
}

/// Why a change was not made. What ran before runs on.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The configuration cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It makes no generation: an object, a program, a map is refused.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Its routes contradict its ports.
    #[error(transparent)]
    Routes(#[from] RoutesError),
    /// There is no program of that name.
    #[error("there is no program `{program}`; there is {there}")]
    NoProgram {
        /// The name.
        program: String,
        /// Those that there are.
        there: String,
    },
    /// There is a program of that name already.
    #[error("there is a program `{program}` already: replace it, or take another name")]
    Exists {
        /// The name.
        program: String,
    },
    /// Something else refers to the program.
    #[error("program `{program}` is in use: {by}")]
    InUse {
        /// The program.
        program: String,
        /// By what.
        by: String,
    },
    /// Something that a running weir does not change.
    #[error("{what} cannot change while weir runs: {text}")]
    Fixed {
        /// What.
        what: String,
        /// What was found, and what to do.
        text: String,
    },
    /// A map's contents cannot be carried over.
    #[error("program `{program}`: map `{map}`: {text}")]
    Map {
        /// Which program.
        program: String,
        /// Which map.
        map: String,
        /// Why, and what to try.
        text: String,
    },
    /// Something else runs than the asker thought.
    #[error("the configuration is {current} now, not {wanted}: look at it again")]
    Stale {
        /// The etag that was asked for.
        wanted: String,
        /// The etag of what runs.
        current: String,
    },
    /// Another change is being made.
    #[error("another change has been going on for more than {seconds} s: try again")]
    Busy {
        /// How long was waited.
        seconds: u64,
    },
    /// There is nothing to go back to.
    #[error("there is no generation {}to go back to; there is {there}", wanted.map_or(String::new(), |number| format!("{number} ")))]
    NoPast {
        /// The generation that was asked for.
        wanted: Option<u64>,
        /// Those that can be gone back to.
        there: String,
    },
    /// It comes to its end.
    #[error("weir is stopping")]
    Ended,
}
