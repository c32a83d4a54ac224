//! Objects of other projects: what the kernel's verifier says of each program and what weir's says,
//! and what either took. The objects are the caller's; none is kept here.
//!
//! The kernel is asked by `tests/corpora/judge.c`, which loads through libbpf. Where libbpf cannot read an
//! object (older than it, or written for another loader), the kernel is handed what weir's loader made
//! of it.

mod judge;
mod ours;
mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;
use weir_object::{Object, Options};

use crate::machine::Machine;

/// What one verifier said of a program.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Verdict {
    pub accepted: bool,
    /// Instructions walked, repeats counted.
    pub processed: u64,
    pub micros: f64,
    /// Why not.
    pub reason: String,
}

/// A program as both saw it.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub corpus: String,
    pub object: String,
    pub program: String,
    pub kind: String,
    /// `libbpf`, or `weir` when weir's loader made what the kernel was given.
    pub loader: &'static str,
    /// `None` when the kernel could not be asked.
    pub kernel: Option<Verdict>,
    pub weir: Verdict,
}

/// All programs, and where this was measured.
#[derive(Serialize)]
pub(crate) struct Results {
    schema: &'static str,
    machine: Machine,
    rows: Vec<Row>,
}

/// Compares on every object below these folders; a folder's name is its corpus's.
pub(crate) fn compare(folders: &[PathBuf], judges: &[PathBuf]) -> Result<Results> {
    let mut rows = Vec::new();
    for folder in folders {
        let corpus = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for file in objects(folder)? {
            object(&corpus, &file, judges, &mut rows)?;
        }
    }
    Ok(Results { schema: "weir.v1.objects", machine: Machine::here(), rows })
}

/// Everything as text; rows in full only when asked for.
pub(crate) fn text(results: &Results, verbose: bool) -> String {
    table::text(results, verbose)
}

fn objects(folder: &Path) -> Result<Vec<PathBuf>> {
    if folder.is_file() {
        return Ok(vec![folder.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_file() && path.extension().is_some_and(|extension| extension == "o") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// What programs of sections without meaning are taken for: the file's name has to tell.
fn guess(file: &str) -> u32 {
    const XDP: u32 = 6;
    const SCHED_CLS: u32 = 3;
    if ["xdp", "balancer"].iter().any(|word| file.contains(word)) { XDP } else { SCHED_CLS }
}

fn object(corpus: &str, file: &Path, judges: &[PathBuf], rows: &mut Vec<Row>) -> Result<()> {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let otherwise = guess(&name);
    let bytes = std::fs::read(file)?;
    let options = Options { config: Some(weir_engine::kconfig::host), ..Options::default() };
    let mut parsed = Object::parse_with(&bytes, &options);
    if let Ok(object) = &mut parsed {
        ours::prepare_maps(object);
    }
    let mut judged: BTreeMap<String, judge::Judged> = BTreeMap::new();
    for judge in judges {
        judged = judge::ask(judge, file, otherwise);
        if !judged.is_empty() {
            break;
        }
    }
    let row = |program: &str, kind: String, loader, kernel, weir| Row {
        corpus: corpus.to_owned(),
        object: name.clone(),
        program: program.to_owned(),
        kind,
        loader,
        kernel,
        weir,
    };
    let mut seen = Vec::new();
    if let Ok(object) = &parsed {
        for entry in object.programs() {
            let theirs = judged.get(&entry.name);
            let asked = theirs.map(|judged| judged.kind);
            let Some(kind) = ours::kind(asked, entry, otherwise) else {
                let Some(theirs) = theirs.filter(|theirs| judge::is_network(theirs.kind)) else { continue };
                let refused =
                    ours::refused(format!("weir runs no programs of this type [{}]", entry.section));
                seen.push(entry.name.clone());
                let kernel = Some(theirs.verdict.clone());
                rows.push(row(&entry.name, judge::kind_name(theirs.kind), "libbpf", kernel, refused));
                continue;
            };
            seen.push(entry.name.clone());
            let (weir, program) = ours::verify(object, &entry.name, kind);
            let (loader, kernel) = match (theirs, program) {
                (Some(theirs), _) => ("libbpf", Some(theirs.verdict.clone())),
                (None, Some(program)) => ("weir", ours::ask_kernel(&program)),
                (None, None) => ("weir", None),
            };
            rows.push(row(&entry.name, kind.name().to_owned(), loader, kernel, weir));
        }
    }
    let why = parsed.err().map_or_else(|| "no such program".to_owned(), |error| error.to_string());
    for (program, theirs) in judged {
        if !seen.contains(&program) && judge::is_network(theirs.kind) {
            let kind = judge::kind_name(theirs.kind);
            rows.push(row(&program, kind, "libbpf", Some(theirs.verdict), ours::refused(why.clone())));
        }
    }
    Ok(())
}
