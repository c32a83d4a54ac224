//! The programs that are loaded.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};
use weir_engine::generation::ProgramSlot;
use weir_engine::live::Current;

use super::{LiveBackend, lock, missing};
use crate::problem::Problem;
use crate::reply::{self, schema};

/// Tags and digests by program, of one generation: hashing is not done twice.
#[derive(Debug, Default)]
pub(super) struct Digests {
    generation: u64,
    of: BTreeMap<String, (String, String)>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl LiveBackend {
    /// A program's name, which may be given as its number.
    pub(super) fn program_name(&self, word: &str) -> Result<String, Problem> {
        let current = self.current();
        if current.entries.contains_key(word) {
            return Ok(word.to_owned());
        }
        let number: Option<u32> = word.parse().ok();
        let numbered = current.entries.keys().find(|name| number == Some(id(&current, name)));
        numbered.cloned().ok_or_else(|| {
            let names: Vec<&str> = current.entries.keys().map(String::as_str).collect();
            missing("program", word, &names)
        })
    }

    pub(super) fn slot<'c>(&self, current: &'c Current, program: &str) -> Result<&'c ProgramSlot, Problem> {
        let number = current.entries.get(program).map(|(_, number)| *number);
        let slot = number.and_then(|number| current.generation.programs.get(number));
        slot.ok_or_else(|| missing("program", program, &[]))
    }

    pub(super) fn programs(&self) -> reply::Programs {
        let current = self.current();
        let stats = self.live.stats();
        let programs = current.entries.keys().filter_map(|name| self.described(&current, &stats, name).ok());
        reply::Programs {
            schema: schema("programs"),
            generation: current.number,
            programs: programs.collect(),
        }
    }

    pub(super) fn program(&self, word: &str) -> Result<reply::Program, Problem> {
        let name = self.program_name(word)?;
        self.described(&self.current(), &self.live.stats(), &name)
    }

    /// Tag and digest of a program.
    pub(super) fn digests(&self, current: &Current, name: &str) -> (String, String) {
        let mut digests = lock(&self.digests);
        if digests.generation != current.number {
            *digests = Digests { generation: current.number, of: BTreeMap::new() };
        }
        if let Some(known) = digests.of.get(name) {
            return known.clone();
        }
        let made = self.slot(current, name).map_or_else(
            |_| Default::default(),
            |slot| {
                let raw = weir_ebpf::encode::encode(&slot.loaded.verified().program().insns);
                let tag = Sha256::digest(weir_ebpf::encode::to_bytes(&raw));
                let entry = current.desired.config.program.iter().find(|entry| entry.name == name);
                let file = entry.map(|entry| current.desired.config.resolve(&entry.object));
                let object = file.and_then(|file| current.desired.objects.get(&file));
                let digest = object.map(|object| format!("sha256:{}", hex(&Sha256::digest(object))));
                (hex(&tag[..8]), digest.unwrap_or_default())
            },
        );
        digests.of.insert(name.to_owned(), made.clone());
        made
    }

    fn described(
        &self,
        current: &Current,
        stats: &weir_engine::live::Stats,
        name: &str,
    ) -> Result<reply::Program, Problem> {
        let slot = self.slot(current, name)?;
        let program = slot.loaded.verified().program();
        let entry = current.desired.config.program.iter().find(|entry| entry.name == name);
        let figures = stats.programs.iter().find(|figures| figures.report.name == name);
        let (tag, digest) = self.digests(current, name);
        let jited = slot.loaded.compiled().map(|compiled| compiled.code().len() as u64);
        let xlated = program.insns.len() as u64 * 8;
        Ok(reply::Program {
            id: id(current, name),
            kind: program.kind.name().to_owned(),
            name: name.to_owned(),
            tag,
            gpl_compatible: program.gpl_compatible(),
            loaded_at: seconds(current.since),
            uid: 0,
            bytes_xlated: xlated,
            jited: jited.is_some(),
            bytes_jited: jited.unwrap_or(0),
            bytes_memlock: xlated + jited.unwrap_or(0).next_multiple_of(4096),
            map_ids: slot.loaded.maps().iter().map(|map| map.id()).collect(),
            prog: program.name.clone(),
            object: entry.map_or_else(String::new, |entry| entry.object.display().to_string()),
            digest,
            generation: current.number,
            links: self
                .links()
                .links
                .into_iter()
                .filter(|link| link.program == name)
                .map(|link| link.name)
                .collect(),
            run_cnt: figures.map_or(0, |figures| figures.report.packets),
            run_time_ns: figures.map_or(0, |figures| (figures.run_seconds * 1e9) as u64),
            verdicts: figures
                .map(|figures| figures.report.verdicts.iter().cloned().collect())
                .unwrap_or_default(),
        })
    }
}

/// A program's number: its place in the generation, from 1.
pub(super) fn id(current: &Current, name: &str) -> u32 {
    current.entries.get(name).map_or(0, |(_, number)| *number as u32 + 1)
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
