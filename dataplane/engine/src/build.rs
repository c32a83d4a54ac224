//! A configuration becomes a generation: objects loaded, chains ordered, ports numbered.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use weir_ebpf::ProgramType;
use weir_ebpf::abi::XdpAction;
use weir_maps::Map;
use weir_vm::{Engine, ProgramTable};

use crate::config::{Attach, ClassId, Config, Direction, ProgramEntry, XdpWord, action_word};
use crate::generation::{
    Action, ClassPlan, Filter, FilterMode, Forward, Generation, PortPlan, ProgramNumber, ProgramSlot,
    ProgramSlotCounters, XdpLink, per_worker,
};
use crate::load::{Carry, Image, LoadError, Request};

/// Why a configuration makes no generation.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// An object cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A program does not fit where it is attached.
    #[error("program `{program}`: {text}")]
    Attach {
        /// Which program.
        program: String,
        /// What was found, wanted, and what to try.
        text: String,
    },
}

/// A generation, and the objects it came from, whose types are needed to show its maps.
#[derive(Debug)]
pub struct Built {
    /// What workers run.
    pub generation: Generation,
    /// The objects, one for each different file and set of constants.
    pub images: Vec<Image>,
    /// Where the programs of the configuration are: which image, which program of the generation.
    pub entries: BTreeMap<String, (usize, ProgramNumber)>,
}

/// How to build.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'o> {
    /// The generation's number.
    pub number: u64,
    /// Workers: so many sets of counters and of per-CPU values.
    pub workers: usize,
    /// What runs the programs.
    pub engine: Engine,
    /// The bytes of the objects, by resolved path; absent: they are read from their files.
    pub objects: Option<&'o BTreeMap<PathBuf, Arc<[u8]>>>,
    /// Who may have their maps already.
    pub carry: Option<&'o dyn Carry>,
    /// The generation before: what has the same name goes on counting there.
    pub before: Option<&'o Generation>,
}

/// The ports of a configuration in the order of their names, without chains.
pub fn ports(config: &Config) -> Vec<PortPlan> {
    let taken: Vec<u32> = config.interface.values().filter_map(|interface| interface.ifindex).collect();
    let mut next = (1..).filter(|number| !taken.contains(number));
    config
        .interface
        .iter()
        .map(|(name, interface)| {
            let ifindex = interface.ifindex.or_else(|| next.next()).unwrap_or(0);
            // Locally administered (IEEE 802c): 02, then the number.
            let [a, b, c, d] = ifindex.to_be_bytes();
            let mac = interface.mac.map_or([2, 0, a, b, c, d], |mac| mac.0);
            PortPlan {
                name: name.clone(),
                ifindex,
                mac,
                mtu: interface.mtu(),
                xdp: Vec::new(),
                ingress: Vec::new(),
                egress: Vec::new(),
                forward: Forward::Host,
            }
        })
        .collect()
}

/// Builds generation `number` for so many workers, from files.
pub fn build(config: &Config, number: u64, workers: usize, engine: Engine) -> Result<Built, BuildError> {
    build_with(config, &Options { number, workers, engine, ..Options::default() })
}

/// Builds a generation.
pub fn build_with(config: &Config, options: &Options<'_>) -> Result<Built, BuildError> {
    let mut builder = Builder {
        config,
        options: *options,
        images: Vec::new(),
        programs: Vec::new(),
        named: BTreeMap::new(),
        entries: BTreeMap::new(),
    };
    builder.load()?;
    let mut ports = ports(config);
    builder.attach(&mut ports)?;
    builder.forward(&mut ports)?;
    let Builder { images, programs, entries, .. } = builder;
    let table = ProgramTable::new(programs.iter().map(|slot| Arc::clone(&slot.loaded)).collect());
    let mut maps: Vec<Arc<Map>> = images.iter().flat_map(|image| image.maps.iter().cloned()).collect();
    // Two objects may go on with one map that their programs shared before.
    let mut seen = BTreeSet::new();
    maps.retain(|map| seen.insert(map.id()));
    let classes = classes(config, options);
    let timed = maps.iter().filter(|map| map.timers().is_some()).cloned().collect();
    let generation = Generation { number: options.number, programs, table, ports, classes, maps, timed };
    Ok(Built { generation, images, entries })
}

/// Has the kernel back the maps that packets come to and that are wanted, so that no packet pays for a first touch.
pub(crate) fn populate(images: &[Image], wanted: impl Fn(&Map) -> bool) {
    images.iter().flat_map(Image::used).filter(|map| wanted(map)).for_each(|map| map.populate());
}

fn classes(config: &Config, options: &Options<'_>) -> Vec<ClassPlan> {
    let class = |id, name: &str| {
        let before = options.before.and_then(|before| before.classes.iter().find(|class| class.id == id));
        let sent = before.map_or_else(|| per_worker(options.workers), |class| Arc::clone(&class.sent));
        ClassPlan { id, name: name.to_owned(), sent }
    };
    let mut classes: Vec<ClassPlan> =
        config.class.iter().map(|listed| class(listed.id, &listed.name)).collect();
    classes.sort_by_key(|class| class.id);
    classes.push(class(ClassId(0), "default"));
    classes
}

struct Builder<'c> {
    config: &'c Config,
    options: Options<'c>,
    images: Vec<Image>,
    programs: Vec<ProgramSlot>,
    /// Where the programs of the configuration stand in `programs`.
    named: BTreeMap<String, ProgramNumber>,
    entries: BTreeMap<String, (usize, ProgramNumber)>,
}

impl Builder<'_> {
    /// Loads every object once: entries with the same file and constants share its maps.
    fn load(&mut self) -> Result<(), BuildError> {
        let mut groups: Vec<(PathBuf, Vec<&ProgramEntry>)> = Vec::new();
        for entry in &self.config.program {
            let path = self.config.resolve(&entry.object);
            let same = |(other, group): &&mut (PathBuf, Vec<&ProgramEntry>)| {
                *other == path && group.iter().all(|first| first.rodata == entry.rodata)
            };
            match groups.iter_mut().find(same) {
                Some((_, group)) => group.push(entry),
                None => groups.push((path, vec![entry])),
            }
        }
        for (path, group) in groups {
            self.load_group(&path, &group)?;
        }
        Ok(())
    }

    fn load_group(&mut self, path: &std::path::Path, group: &[&ProgramEntry]) -> Result<(), BuildError> {
        let names: Vec<&str> = group.iter().map(|entry| entry.name.as_str()).collect();
        let mut request = Request {
            programs: group.iter().filter_map(|entry| entry.prog.as_deref()).collect(),
            rodata: group[0].rodata.clone(),
            workers: self.options.workers,
            engine: self.options.engine,
            carry: self.options.carry.map(|carry| (carry, names.as_slice())),
            ..Request::default()
        };
        for entry in group {
            for (map, entries) in &entry.maps {
                request.entries.entry(map.clone()).or_default().extend(entries.iter().cloned());
            }
        }
        let image = match self.options.objects.and_then(|objects| objects.get(path)) {
            Some(bytes) => Image::from_bytes(path, bytes, &request)?,
            None => Image::load(path, &request)?,
        };
        let first = self.programs.len();
        for loaded in &image.programs {
            self.programs.push(ProgramSlot {
                name: loaded.verified().program().name.clone(),
                loaded: Arc::clone(loaded),
                counters: per_worker(self.options.workers),
            });
        }
        for entry in group {
            let number = self.find(&image, first, entry)?;
            self.programs[number].name = entry.name.clone();
            self.named.insert(entry.name.clone(), number);
            self.entries.insert(entry.name.clone(), (self.images.len(), number));
        }
        for slot in &mut self.programs[first..] {
            if let Some(counters) = self.options.before.and_then(|before| counting(before, slot)) {
                slot.counters = counters;
            }
        }
        let position = |name: &str| {
            let at = image.programs.iter().position(|loaded| loaded.verified().program().name == name);
            at.map(|at| first + at)
        };
        image.fill_prog_arrays(position).map_err(|errno| BuildError::Attach {
            program: group[0].name.clone(),
            text: format!("its prog arrays cannot be filled: {errno}"),
        })?;
        self.images.push(image);
        Ok(())
    }

    /// The program that an entry means: the one it names, or the only one there is.
    fn find(&self, image: &Image, first: usize, entry: &ProgramEntry) -> Result<ProgramNumber, BuildError> {
        let names: Vec<&str> =
            image.programs.iter().map(|loaded| loaded.verified().program().name.as_str()).collect();
        let at = match &entry.prog {
            Some(name) => names.iter().position(|other| other == name),
            None if names.len() == 1 => Some(0),
            None => names.iter().position(|name| *name == entry.name),
        };
        at.map(|at| first + at).ok_or_else(|| BuildError::Attach {
            program: entry.name.clone(),
            text: format!(
                "{} holds several programs: add prog = \"NAME\"; there is {}",
                entry.object.display(),
                crate::config::listed(&names)
            ),
        })
    }

    fn kind(&self, number: ProgramNumber) -> ProgramType {
        self.programs[number].loaded.verified().program().kind
    }

    fn expect(
        &self,
        entry: &str,
        number: ProgramNumber,
        kinds: &[ProgramType],
        place: &str,
    ) -> Result<(), BuildError> {
        let kind = self.kind(number);
        if kinds.contains(&kind) {
            return Ok(());
        }
        let wanted: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
        Err(BuildError::Attach {
            program: entry.to_owned(),
            text: format!("it is of type {kind}, and {place} takes {}", wanted.join(" or ")),
        })
    }

    fn attach(&self, ports: &mut [PortPlan]) -> Result<(), BuildError> {
        // By priority, and among equals in the order of the file; sorting is stable.
        let mut entries: Vec<&ProgramEntry> = self.config.program.iter().collect();
        entries.sort_by_key(|entry| match &entry.attach {
            Some(Attach::Xdp { prio, .. } | Attach::Tc { prio, .. }) => *prio,
            None => 0,
        });
        for entry in entries {
            let Some(attach) = &entry.attach else { continue };
            let program = self.named[&entry.name];
            let (Attach::Xdp { interface, .. } | Attach::Tc { interface, .. }) = attach;
            let wanted = |port: &&mut PortPlan| interface.as_ref().is_none_or(|name| *name == port.name);
            match attach {
                Attach::Xdp { actions, .. } => {
                    self.expect(&entry.name, program, &[ProgramType::Xdp], "the xdp hook")?;
                    let continues: Vec<XdpAction> = actions.iter().map(|word| verdict(*word)).collect();
                    for port in ports.iter_mut().filter(wanted) {
                        port.xdp.push(XdpLink { program, continues: continues.clone() });
                    }
                }
                Attach::Tc { direction, da, classid, action, .. } => {
                    self.expect(&entry.name, program, &[ProgramType::SchedCls], "the tc hook")?;
                    let mode = if *da {
                        FilterMode::DirectAction
                    } else {
                        FilterMode::Classifier(self.actions(&entry.name, action)?)
                    };
                    let classid = classid.map_or(0, |id| id.0);
                    for port in ports.iter_mut().filter(wanted) {
                        let filter = Filter { program, classid, mode: mode.clone() };
                        match direction {
                            Direction::Ingress => port.ingress.push(filter),
                            Direction::Egress => port.egress.push(filter),
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn actions(&self, entry: &str, words: &[String]) -> Result<Vec<Action>, BuildError> {
        let mut actions = Vec::new();
        for word in words {
            if let Some(code) = action_word(word) {
                actions.push(Action::Fixed(code));
                continue;
            }
            let program = self.named[word];
            let kinds = [ProgramType::SchedAct, ProgramType::SchedCls];
            self.expect(entry, program, &kinds, &format!("action `{word}`"))?;
            actions.push(Action::Program(program));
        }
        Ok(actions)
    }

    fn forward(&self, ports: &mut [PortPlan]) -> Result<(), BuildError> {
        let names: Vec<String> = ports.iter().map(|port| port.name.clone()).collect();
        if let Some(name) = &self.config.forward.program {
            let program = self.named[name];
            self.expect(name, program, &[ProgramType::Xdp, ProgramType::SchedCls], "forward.program")?;
            for port in &mut *ports {
                port.forward = Forward::Program(program);
            }
        }
        for (from, to) in &self.config.forward.connect {
            let number = |name: &String| names.iter().position(|other| other == name);
            if let (Some(from), Some(to)) = (number(from), number(to)) {
                ports[from].forward = Forward::Connect(to);
            }
        }
        Ok(())
    }
}

/// The counters of the program of the same name and type in another generation.
fn counting(before: &Generation, slot: &ProgramSlot) -> Option<ProgramSlotCounters> {
    let kind = |slot: &ProgramSlot| slot.loaded.verified().program().kind;
    let same = |other: &&ProgramSlot| other.name == slot.name && kind(other) == kind(slot);
    before.programs.iter().find(same).map(|other| Arc::clone(&other.counters))
}

fn verdict(word: XdpWord) -> XdpAction {
    match word {
        XdpWord::Aborted => XdpAction::Aborted,
        XdpWord::Drop => XdpAction::Drop,
        XdpWord::Pass => XdpAction::Pass,
        XdpWord::Tx => XdpAction::Tx,
        XdpWord::Redirect => XdpAction::Redirect,
    }
}
