//! What runs now, as one value to look at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use weir_maps::Map;

use super::change::Desired;
use crate::config::Config;
use crate::generation::{Generation, ProgramNumber};
use crate::load::Image;

/// A generation, and all it came from.
#[derive(Debug)]
pub struct Current {
    /// Its number.
    pub number: u64,
    /// What workers run.
    pub generation: Arc<Generation>,
    /// The objects, with their types and maps.
    pub images: Vec<Image>,
    /// Where the programs of the configuration are: which image, which program of the generation.
    pub entries: BTreeMap<String, (usize, ProgramNumber)>,
    /// What was asked for: the configuration with all changes since its text, its text, the objects' bytes.
    pub desired: Arc<Desired>,
    /// The same configuration with what devices said of themselves filled in.
    pub config: Config,
    /// Changes since the text was applied, in words.
    pub edits: Vec<String>,
    /// Names this state: it changes with every change.
    pub etag: String,
    /// Since when it runs.
    pub since: SystemTime,
    /// What made it, in words.
    pub what: String,
    /// Maps that belong to it, and end with it.
    pub(super) own: Vec<Arc<Map>>,
}

impl Current {
    /// The object that a program of the configuration is of.
    pub fn image_of(&self, program: &str) -> Option<&Image> {
        self.images.get(self.entries.get(program)?.0)
    }

    /// Programs of the configuration with their objects, in the order of their names.
    pub fn programs_and_images(&self) -> impl Iterator<Item = (&str, &Image)> {
        self.entries.iter().filter_map(|(name, (image, _))| Some((name.as_str(), self.images.get(*image)?)))
    }

    /// Every map once, with the program it is of (the first by name) and its object.
    pub fn maps(&self) -> impl Iterator<Item = (&str, &Image, &Arc<Map>)> {
        let mut seen = BTreeSet::new();
        self.programs_and_images()
            .flat_map(|(program, image)| image.maps.iter().map(move |map| (program, image, map)))
            .filter(move |(_, _, map)| seen.insert(map.id()))
    }

    /// The maps that a person may mean: by number, by `program.map`, or by name, which several may have.
    pub fn find_maps(&self, word: &str) -> Vec<(&str, &Image, &Arc<Map>)> {
        let number = word.parse::<u32>().ok();
        let means = |program: &str, image: &Image, map: &Map| {
            let name = &map.spec().name;
            let _ = image;
            number == Some(map.id())
                || name == word
                || word.split_once('.').is_some_and(|(of, rest)| of == program && rest == name)
        };
        self.maps().filter(|(program, image, map)| means(program, image, map)).collect()
    }
}
