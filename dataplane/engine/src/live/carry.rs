//! Which maps of the running generation the next one goes on with, and what is moved to which.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use weir_ebpf::MapSpec;
use weir_maps::{Map, MapError};
use weir_object::Object;

use super::Current;
use super::change::{MapFate, MapPlan};
use crate::config::Config;
use crate::load::{Carry, Image};
use crate::mapview::Types;
use crate::migrate::{self, Layout, Migration, Planned};

/// Decides for each map of a generation that is being built, and remembers what it decided.
pub(super) struct Carrier<'c> {
    current: &'c Current,
    /// The configuration that is to run.
    next: &'c Config,
    /// Only plans: nothing is moved.
    dry: bool,
    /// Maps that start empty, as `program.map` or `map`.
    scratch: BTreeSet<&'c str>,
    decided: RefCell<Decided>,
}

/// What was decided.
#[derive(Default)]
pub(super) struct Decided {
    pub(super) maps: Vec<MapPlan>,
    /// Entries on their way, with the places of their plans in `maps`.
    pub(super) migrations: Vec<(usize, Migration)>,
    /// Numbers of old maps that go on, in one way or another.
    pub(super) kept: BTreeSet<u32>,
}

impl fmt::Debug for Carrier<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Carrier(from generation {})", self.current.number)
    }
}

impl<'c> Carrier<'c> {
    pub(super) fn new(current: &'c Current, next: &'c Config, scratch: &'c [String], dry: bool) -> Self {
        let scratch = scratch.iter().map(String::as_str).collect();
        Self { current, next, dry, scratch, decided: RefCell::default() }
    }

    /// What was decided; maps that nobody goes on with are added.
    pub(super) fn decided(self) -> Decided {
        let mut decided = self.decided.into_inner();
        for (program, image) in self.current.programs_and_images() {
            for map in &image.maps {
                let told = decided.maps.iter().any(|plan| plan.map == map.spec().name);
                if crate::load::is_shown(map) && !told && decided.kept.insert(map.id()) {
                    decided.maps.push(MapPlan {
                        program: program.to_owned(),
                        map: map.spec().name.clone(),
                        fate: MapFate::Gone,
                        entries: map.entries(),
                        conflicts: 0,
                        detail: Vec::new(),
                    });
                }
            }
        }
        decided
    }

    /// Whether somebody wants the map to start empty.
    fn is_scratch(&self, entries: &[&str], map: &str) -> bool {
        let named = |entry: &&str| self.scratch.contains(format!("{entry}.{map}").as_str());
        let mut listed = self.next.program.iter().filter(|entry| entries.contains(&entry.name.as_str()));
        self.scratch.contains(map)
            || entries.iter().any(named)
            || listed.any(|entry| entry.scratch.iter().any(|name| name == map))
    }

    /// The map of this name that the entries' programs have now, and the object it is of.
    fn before(&self, entries: &[&str], map: &str) -> Option<(&'c Image, &'c Arc<Map>)> {
        let images = entries.iter().filter_map(|entry| self.current.image_of(entry));
        images.filter_map(|image| Some((image, image.map(map)?))).next()
    }
}

impl Carry for Carrier<'_> {
    fn map(
        &self,
        entries: &[&str],
        object: &Object,
        spec: &MapSpec,
        create: &dyn Fn() -> Result<Arc<Map>, MapError>,
    ) -> Result<Option<Arc<Map>>, String> {
        let mut plan = MapPlan {
            program: entries.first().copied().unwrap_or_default().to_owned(),
            map: spec.name.clone(),
            fate: MapFate::New,
            entries: 0,
            conflicts: 0,
            detail: Vec::new(),
        };
        let mut decided = self.decided.borrow_mut();
        let Some((image, old)) = self.before(entries, &spec.name) else {
            let own = Layout::of(spec, &Types::of(object, &spec.name)).own;
            plan.fate = if own { MapFate::Scratch } else { MapFate::New };
            decided.maps.push(plan);
            return Ok(None);
        };
        plan.entries = old.entries();
        let before = Layout::of(old.spec(), &Types::of(&image.object, &spec.name));
        let after = Layout::of(spec, &Types::of(object, &spec.name));
        let made = match migrate::plan(&before, &after, self.is_scratch(entries, &spec.name)) {
            Planned::Kept => {
                plan.fate = MapFate::Kept;
                Some(Arc::clone(old))
            }
            Planned::Scratch => {
                plan.fate = MapFate::Scratch;
                plan.entries = 0;
                None
            }
            Planned::Refused { why } => return Err(why),
            Planned::Migrated { conversion, detail } => {
                (plan.fate, plan.detail) = (MapFate::Migrated, detail);
                let new = create().map_err(|error| error.to_string())?;
                if !self.dry {
                    let migration = Migration::start(Arc::clone(old), Arc::clone(&new), conversion);
                    let migration = migration.map_err(|error| error.to_string())?;
                    let at = decided.maps.len();
                    decided.migrations.push((at, migration));
                }
                Some(new)
            }
        };
        decided.kept.insert(old.id());
        decided.maps.push(plan);
        Ok(made)
    }
}
