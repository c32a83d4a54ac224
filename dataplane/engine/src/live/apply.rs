//! Making a change: build beside the traffic, publish, wait until nobody uses what was before, tell what happened.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use weir_maps::Map;
use weir_sys::clock;

use super::carry::{Carrier, Decided};
use super::change::{Change, ChangeError, Desired, How, Plan, ProgramFate, ProgramPlan, Swapped};
use super::durations::Durations;
use super::edit::{edit, fixed};
use super::event::What;
use super::history::PastState;
use super::open::Device;
use super::probation::Watch;
use super::{Current, Engine, lock};
use crate::build::{self, BuildError, Built};
use crate::config::{Config, MacAddress};
use crate::counters::Totals;
use crate::generation::{Generation, ProgramNumber};
use crate::load::{Image, LoadError};
use crate::mapview::Types;
use crate::migrate::{Layout, Migration};
use crate::routes::live::ConfigureError;

/// What whoever makes a change has to itself.
#[derive(Debug)]
pub(super) struct Changer {
    /// Each worker's counts at its last cut.
    cuts: Vec<Totals>,
    /// What devices said of themselves.
    pub(super) devices: BTreeMap<String, Device>,
    /// Generations that a stalled worker may still use, with the numbers that it must come to first.
    graves: Vec<(u64, Arc<Current>)>,
}

/// Faults that tests put in, to see that they are found.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mutant {
    /// None.
    #[default]
    None,
    /// A generation is freed without waiting for the workers.
    NoGrace,
}

/// Everything that is ready to be published.
struct Ready {
    next: Current,
    migrations: Vec<(usize, Migration)>,
    plan: Plan,
    words: String,
    restores: Option<u64>,
}

impl Changer {
    pub(super) fn new(workers: usize, devices: BTreeMap<String, Device>) -> Self {
        Self { cuts: vec![Totals::default(); workers], devices, graves: Vec::new() }
    }
}

/// The configuration with what devices said of themselves, where it does not say otherwise.
pub(super) fn effective(config: &Config, devices: &BTreeMap<String, Device>) -> Config {
    let mut config = config.clone();
    for (name, interface) in &mut config.interface {
        let Some(device) = devices.get(name) else { continue };
        interface.ifindex = interface.ifindex.or(Some(device.ifindex));
        interface.mac = interface.mac.or(Some(MacAddress(device.mac)));
        interface.mtu = interface.mtu.or(Some(device.mtu));
    }
    config
}

/// The name of a state: another after each change.
pub(super) fn etag(number: u64, desired: &Desired) -> String {
    format!("\"{number}-{:08x}\"", crc32c::crc32c(desired.text.as_bytes()))
}

impl Engine {
    pub(super) fn plan(&self, change: &Change, how: &How) -> Result<Plan, ChangeError> {
        let changer = self.changing()?;
        let current = self.current();
        matches(&current, how)?;
        let (desired, words) = edit(&current.desired, change)?;
        fixed(&current.desired.config, &desired.config)?;
        let ready = self.prepare(&changer, &current, (desired, words, None), &how.scratch, true)?;
        Ok(ready.plan)
    }

    pub(super) fn apply(&self, change: &Change, how: &How) -> Result<Swapped, ChangeError> {
        let swapped = self.try_apply(change, how);
        if let Err(error) = &swapped {
            lock(&self.swaps).refused += 1;
            self.events.tell(What::Refused { reason: error.to_string() });
        }
        swapped
    }

    fn try_apply(&self, change: &Change, how: &How) -> Result<Swapped, ChangeError> {
        let mut changer = self.changing()?;
        let current = self.current();
        matches(&current, how)?;
        let (desired, words) = edit(&current.desired, change)?;
        fixed(&current.desired.config, &desired.config)?;
        let ready = self.prepare(&changer, &current, (desired, words, None), &how.scratch, false)?;
        let swapped = self.publish(&mut changer, &current, ready, PastState::Kept)?;
        *lock(&self.probation) = how.probation.map(|conditions| {
            let mut before = Totals::default();
            changer.cuts.iter().for_each(|cut| before += cut);
            let seconds = conditions.for_.as_secs_f64();
            self.events.tell(What::Probation { generation: swapped.to, seconds });
            Watch { generation: swapped.to, until: Instant::now() + conditions.for_, conditions, before }
        });
        lock(&self.history).watched(how.probation.is_some());
        Ok(swapped)
    }

    pub(super) fn rollback(&self, to: Option<u64>, reason: &str) -> Result<Swapped, ChangeError> {
        let mut changer = self.changing()?;
        let swapped = self.rollback_held(&mut changer, to, reason)?;
        lock(&self.swaps).rolled_back += 1;
        Ok(swapped)
    }

    /// Gives the generation that is being watched up, if it is still the one.
    pub(super) fn trip(&self, generation: u64, reason: &str) -> Result<(), ChangeError> {
        let mut changer = self.changing()?;
        if self.current().number == generation {
            self.rollback_held(&mut changer, None, reason)?;
            lock(&self.swaps).tripped += 1;
        }
        Ok(())
    }

    fn rollback_held(
        &self,
        changer: &mut Changer,
        to: Option<u64>,
        reason: &str,
    ) -> Result<Swapped, ChangeError> {
        let current = self.current();
        let restored = lock(&self.history).find(to)?;
        fixed(&current.desired.config, &restored.desired.config)?;
        let words = format!("rolled back to generation {}: {reason}", restored.generation);
        let desired = (*restored.desired).clone();
        let what = (desired, words, Some(restored.generation));
        let mut ready = self.prepare(changer, &current, what, &[], false)?;
        ready.next.edits = restored.edits;
        let swapped = self.publish(changer, &current, ready, PastState::RolledBack)?;
        *lock(&self.probation) = None;
        self.events.tell(What::RolledBack {
            from: swapped.from,
            to: swapped.to,
            restored: restored.generation,
            reason: reason.to_owned(),
        });
        Ok(swapped)
    }

    pub(super) fn confirm(&self) -> bool {
        let watched = lock(&self.probation).take();
        if let Some(watch) = &watched {
            lock(&self.history).watched(false);
            self.events.tell(What::Kept { generation: watch.generation });
        }
        watched.is_some()
    }

    /// Builds the same configuration again, for devices that came back with another number.
    pub(super) fn rebuild(&self, devices: BTreeMap<String, Device>, words: &str) -> Result<(), ChangeError> {
        let mut changer = self.changing()?;
        changer.devices = devices;
        let current = self.current();
        let what = ((*current.desired).clone(), words.to_owned(), None);
        let ready = self.prepare(&changer, &current, what, &[], false)?;
        self.publish(&mut changer, &current, ready, PastState::Kept).map(drop)
    }

    /// Everything short of publishing: what is refused is refused here, and has changed nothing.
    fn prepare(
        &self,
        changer: &Changer,
        current: &Current,
        (desired, words, restores): (Desired, String, Option<u64>),
        scratch: &[String],
        dry: bool,
    ) -> Result<Ready, ChangeError> {
        let number = current.number + 1;
        let config = effective(&desired.config, &changer.devices);
        let carrier = Carrier::new(current, &desired.config, scratch, dry);
        let options = build::Options {
            number,
            workers: self.workers.len(),
            engine: self.options.engine,
            objects: Some(&desired.objects),
            carry: Some(&carrier),
            before: Some(&current.generation),
        };
        let Built { generation, images, entries } =
            build::build_with(&config, &options).map_err(|error| named(error, &desired.config))?;
        proven(&images, &mut lock(&self.swaps).verified);
        let Decided { maps, migrations, kept } = carrier.decided();
        if !dry {
            build::populate(&images, |map| !kept.contains(&map.id()));
        }
        let plan = Plan {
            from: current.number,
            to: number,
            programs: programs(current, &desired, &generation, &images, &entries),
            maps,
            notes: Vec::new(),
        };
        let own = own_maps(&desired.config, &images, &entries);
        let mut edits = current.edits.clone();
        match desired.text == current.desired.text {
            true => edits.push(words.clone()),
            false => edits.clear(),
        }
        let next = Current {
            number,
            generation: Arc::new(generation),
            images,
            entries,
            etag: etag(number, &desired),
            desired: Arc::new(desired),
            config,
            edits,
            since: SystemTime::now(),
            what: words.clone(),
            own,
        };
        Ok(Ready { next, migrations, plan, words, restores })
    }

    fn publish(
        &self,
        changer: &mut Changer,
        current: &Arc<Current>,
        ready: Ready,
        left: PastState,
    ) -> Result<Swapped, ChangeError> {
        let Ready { mut next, mut migrations, mut plan, words, restores } = ready;
        for (at, migration) in &mut migrations {
            let (program, map) = (plan.maps[*at].program.clone(), plan.maps[*at].map.clone());
            migration.catch_up().map_err(|error| ChangeError::Map {
                program,
                map,
                text: error.to_string(),
            })?;
        }
        if let Err(ConfigureError::Routes(error)) =
            self.routes.configure(&next.config, &next.generation.ports)
        {
            return Err(error.into());
        }
        self.addressed(&next.config);
        next.since = SystemTime::now();
        let next = Arc::new(next);
        lock(&self.history).add(
            (next.number, words, restores),
            Arc::clone(&next.desired),
            next.edits.clone(),
            left,
        );
        let (start, start_ns) = (Instant::now(), clock::now_ns(clock::Clock::Monotonic));
        let (old, version) = self.generations.exchange(Arc::clone(&next.generation));
        *lock(&self.current) = Arc::clone(&next);
        let stalled = match self.options.mutant {
            Mutant::NoGrace => Vec::new(),
            Mutant::None => self.generations.wait(version, start + self.options.limits.grace),
        };
        let took = self.quiescent_after(version, start_ns, &stalled).unwrap_or_else(|| start.elapsed());
        drop(old);
        let cut = self.cut(changer, version, &stalled);
        for (at, migration) in migrations {
            let settled = migration.settle();
            plan.maps[at].entries = settled.migrated;
            plan.maps[at].conflicts = (settled.conflicts + settled.left_behind) as u64;
        }
        self.bury(changer, version, current, stalled.is_empty());
        let swapped = Swapped {
            from: current.number,
            to: next.number,
            workers: self.workers.len() - stalled.len(),
            took,
            cut,
            stalled,
            plan,
        };
        self.count(took);
        self.events.tell(What::Swapped { from: swapped.from, to: swapped.to, text: swapped.to_string() });
        Ok(swapped)
    }

    /// From the publishing until the last worker went over, by the workers' own word: who waits for them may be
    /// told much later, when the cores are busy. `None` when a worker has not.
    fn quiescent_after(&self, version: u64, start_ns: u64, stalled: &[usize]) -> Option<Duration> {
        let entered = self.workers.iter().filter_map(|worker| worker.shared.cut.entered_ns(version)).max();
        let last = entered.filter(|_| stalled.is_empty() && self.options.mutant == Mutant::None);
        last.map(|last| Duration::from_nanos(last.saturating_sub(start_ns)))
    }

    /// What was counted from each worker's last cut to this one; stalled workers keep theirs for the next time.
    fn cut(&self, changer: &mut Changer, version: u64, stalled: &[usize]) -> Totals {
        let mut cut = Totals::default();
        for (number, worker) in self.workers.iter().enumerate() {
            if stalled.contains(&number) {
                continue;
            }
            let now = worker.shared.cut.before(version);
            cut += &now.since(&changer.cuts[number]);
            changer.cuts[number] = now;
        }
        cut
    }

    /// Ends a generation: at once when nobody uses it, else when the last worker has left it.
    fn bury(&self, changer: &mut Changer, version: u64, current: &Arc<Current>, quiescent: bool) {
        if !quiescent {
            return changer.graves.push((version, Arc::clone(current)));
        }
        if self.options.poison {
            let now = self.current();
            let gone = |map: &&Arc<Map>| !now.generation.maps.iter().any(|other| other.id() == map.id());
            current.own.iter().filter(gone).for_each(|map| poison(map));
        }
        // Whoever was stalled has come here, or further.
        self.tend_graves(changer);
    }

    /// Frees generations that stalled workers have left meanwhile.
    pub(super) fn tend_graves(&self, changer: &mut Changer) {
        changer.graves.retain(|(version, _)| !self.generations.wait(*version, Instant::now()).is_empty());
    }

    fn count(&self, took: Duration) {
        let mut swaps = lock(&self.swaps);
        swaps.done += 1;
        swaps.took.count(took);
        swaps.last_seconds = took.as_secs_f64();
        swaps.longest_seconds = swaps.longest_seconds.max(swaps.last_seconds);
    }
}

/// Counts how long these programs took to be proven.
pub(super) fn proven(images: &[Image], durations: &mut Durations) {
    images.iter().flat_map(|image| &image.costs).for_each(|cost| durations.count(cost.verify));
}

fn matches(current: &Current, how: &How) -> Result<(), ChangeError> {
    match &how.if_match {
        Some(wanted) if *wanted != current.etag && wanted != "*" => {
            Err(ChangeError::Stale { wanted: wanted.clone(), current: current.etag.clone() })
        }
        Some(_) | None => Ok(()),
    }
}

/// An error of building, with the program's name where a map is in the way.
fn named(error: BuildError, config: &Config) -> ChangeError {
    match error {
        BuildError::Load(LoadError::Carried { map, text }) => {
            let programs: Vec<&str> = config.program.iter().map(|entry| entry.name.as_str()).collect();
            let program = if programs.len() == 1 { programs[0].to_owned() } else { programs.join(", ") };
            ChangeError::Map { program, map, text }
        }
        other => other.into(),
    }
}

/// What happens to each program.
fn programs(
    current: &Current,
    desired: &Desired,
    generation: &Generation,
    images: &[Image],
    entries: &BTreeMap<String, (usize, ProgramNumber)>,
) -> Vec<ProgramPlan> {
    let before = |name: &str| current.desired.config.program.iter().find(|entry| entry.name == name);
    let mut plans: Vec<ProgramPlan> = Vec::new();
    for entry in &desired.config.program {
        let Some((image, number)) = entries.get(&entry.name) else { continue };
        let loaded = &generation.programs[*number].loaded;
        let cost = images.get(*image).and_then(|image| {
            let at = image.programs.iter().position(|other| Arc::ptr_eq(other, loaded))?;
            image.costs.get(at).copied()
        });
        let cost = cost.unwrap_or_default();
        let same_bytes = || {
            let path = |desired: &Desired, entry: &crate::config::ProgramEntry| {
                desired.objects.get(&desired.config.resolve(&entry.object)).cloned()
            };
            before(&entry.name).is_some_and(|old| path(&current.desired, old) == path(desired, entry))
        };
        plans.push(ProgramPlan {
            program: entry.name.clone(),
            fate: match before(&entry.name) {
                None => ProgramFate::Added,
                Some(old) if old == entry && same_bytes() => ProgramFate::Kept,
                Some(_) => ProgramFate::Replaced,
            },
            insns: loaded.verified().program().insns.len(),
            jited: loaded.compiled().map_or(0, |compiled| compiled.code().len()),
            verify: cost.verify,
            compile: cost.compile,
        });
    }
    for gone in &current.desired.config.program {
        if !plans.iter().any(|plan| plan.program == gone.name) {
            plans.push(ProgramPlan {
                program: gone.name.clone(),
                fate: ProgramFate::Removed,
                insns: 0,
                jited: 0,
                verify: Duration::ZERO,
                compile: Duration::ZERO,
            });
        }
    }
    plans
}

/// The maps that end with their generation: data, prog arrays, and those that the configuration says so of.
pub(super) fn own_maps(
    config: &Config,
    images: &[Image],
    entries: &BTreeMap<String, (usize, ProgramNumber)>,
) -> Vec<Arc<Map>> {
    let mut own: BTreeMap<u32, Arc<Map>> = BTreeMap::new();
    for entry in &config.program {
        let Some(image) = entries.get(&entry.name).and_then(|(image, _)| images.get(*image)) else {
            continue;
        };
        for map in &image.maps {
            let name = &map.spec().name;
            let ends = || Layout::of(map.spec(), &Types::of(&image.object, name)).own;
            if entry.scratch.contains(name) || ends() {
                own.insert(map.id(), Arc::clone(map));
            }
        }
    }
    own.into_values().collect()
}

/// What freed maps are filled with, as the kernel fills freed slabs (`POISON_FREE`).
const POISON: u8 = 0x6b;

/// Overwrites a map that nobody uses any more.
fn poison(map: &Map) {
    let control = map.control();
    if map.array_layout().is_none() || map.spec().frozen {
        return;
    }
    let keys: Vec<Vec<u8>> = control.keys().collect();
    for key in keys {
        let value = vec![POISON; map.spec().value_size as usize];
        // What cannot be written, such as what a program must not write either, is not poisoned.
        let _ = match map.spec().kind.is_percpu() {
            true => control.update_percpu(&key, &vec![value; map.cpus()], 0),
            false => control.update(&key, &value, 0),
        };
    }
}
