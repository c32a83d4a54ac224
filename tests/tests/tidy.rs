//! What we would otherwise have to remember: which room may name which, where `unsafe` may be, and that
//! what a page promises is there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use weir_tests::program::root;

/// The rooms by floor; an arrow leads to a lower floor only (dataplane/ARCHITECTURE.md).
const FLOORS: [&[&str]; 6] = [
    &["ebpf", "packet", "sys"],
    &["object", "verifier", "maps", "io"],
    &["vm", "router"],
    &["engine"],
    &["control"],
    &["cli"],
];

/// Arrows between rooms of one floor that are meant: frames live in memory that `sys` maps.
const MEANT: [(&str, &str); 1] = [("packet", "sys")];

/// Rooms whose code has no `unsafe` at all.
const FORBID: [&str; 6] = ["ebpf", "object", "verifier", "router", "control", "cli"];

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// Every file below a folder with one of these endings.
fn files(folder: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            match path.is_dir() {
                true if path.file_name().is_some_and(|name| name != "target") => folders.push(path),
                false if path.extension().is_some_and(|extension| extension == ending) => found.push(path),
                _ => {}
            }
        }
    }
    Ok(found)
}

/// What each room's manifest names, its tests left out.
fn arrows() -> Result<BTreeMap<String, Vec<String>>> {
    let mut arrows = BTreeMap::new();
    for folder in std::fs::read_dir(root().join("dataplane"))? {
        let manifest = folder?.path().join("Cargo.toml");
        if !manifest.exists() {
            continue;
        }
        let text = std::fs::read_to_string(&manifest)?;
        let manifest: toml::Table = text.parse()?;
        let name = manifest["package"]["name"].as_str().context("a package has a name")?;
        let named = manifest.get("dependencies").and_then(toml::Value::as_table);
        let named = named.map(|table| table.keys().cloned().collect()).unwrap_or_default();
        arrows.insert(name.trim_start_matches("weir-").to_owned(), named);
    }
    Ok(arrows)
}

#[test]
fn arrows_lead_down() -> Result<()> {
    let arrows = arrows()?;
    ensure!(arrows.len() >= 11, "only {} rooms found", arrows.len());
    for (room, named) in &arrows {
        let from =
            floor(room).with_context(|| format!("room {room} stands on no floor: add it to the map"))?;
        for other in named.iter().filter_map(|name| name.strip_prefix("weir-")) {
            let to = floor(other).with_context(|| format!("room {other} stands on no floor"))?;
            let meant = MEANT.contains(&(room.as_str(), other));
            ensure!(to < from || meant, "{room} names {other}: arrows lead to a lower floor");
        }
    }
    Ok(())
}

#[test]
fn only_sys_names_libc() -> Result<()> {
    for (room, named) in arrows()? {
        ensure!(
            room == "sys" || !named.iter().any(|name| name == "libc"),
            "{room} names libc: go through sys"
        );
    }
    Ok(())
}

#[test]
fn rooms_that_forbid_unsafe_say_so() -> Result<()> {
    for room in FORBID {
        let source = root().join("dataplane").join(room).join("src");
        let entry = if room == "cli" { "main.rs" } else { "lib.rs" };
        let text = std::fs::read_to_string(source.join(entry))?;
        ensure!(text.contains("#![forbid(unsafe_code)]"), "{room}/src/{entry} does not forbid unsafe code");
    }
    // The engine wires things that are unsafe inside, and has no such block itself.
    for file in files(&root().join("dataplane/engine/src"), "rs")? {
        let text = std::fs::read_to_string(&file)?;
        ensure!(!text.contains("unsafe {"), "{}: the engine has no unsafe block", file.display());
    }
    Ok(())
}

#[test]
fn each_file_says_what_lives_in_it() -> Result<()> {
    let mut missing = Vec::new();
    for file in files(&root().join("dataplane"), "rs")? {
        let text = std::fs::read_to_string(&file)?;
        if !text.starts_with("//!") && file.components().any(|part| part.as_os_str() == "src") {
            missing.push(file.display().to_string());
        }
    }
    ensure!(missing.is_empty(), "these files open without a word: {}", missing.join(", "));
    Ok(())
}

#[test]
fn nothing_is_called_done_that_is_not() -> Result<()> {
    // Written in parts, so that this file does not find itself.
    let words =
        [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("FIX", "ME"), concat!("XX", "X")];
    for folder in ["dataplane", "tests", "bench"] {
        for file in files(&root().join(folder), "rs")? {
            let text = std::fs::read_to_string(&file)?;
            for word in words {
                ensure!(!text.contains(word), "{}: {word}", file.display());
            }
        }
    }
    Ok(())
}

/// Links of the pages lead somewhere.
#[test]
fn pages_link_to_what_is_there() -> Result<()> {
    for page in ["README.md", "dataplane/ARCHITECTURE.md", "dataplane/SECURITY.md"] {
        let path = root().join(page);
        let text = std::fs::read_to_string(&path)?;
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://") && !link.starts_with('#')) {
            let target = path.parent().context("a page lies in a folder")?.join(link);
            ensure!(target.exists(), "{page} links to {link}, which is not there");
        }
    }
    Ok(())
}

/// `a/{b,c}.rs` as the paths it stands for.
fn expand(words: &str) -> Vec<String> {
    let Some((before, (list, after))) =
        words.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
    else {
        return vec![words.to_owned()];
    };
    list.split(',').map(|one| format!("{before}{one}{after}")).collect()
}

/// Whether a path of a page is there: as it is, below `dataplane`, or below a room's `src`, which pages leave out.
fn is_there(path: &str) -> bool {
    let inside = path.split_once('/').map(|(room, rest)| format!("dataplane/{room}/src/{rest}"));
    let places = [Some(path.to_owned()), Some(format!("dataplane/{path}")), inside];
    places.into_iter().flatten().any(|place| {
        let place = root().join(place);
        place.exists() || place.with_extension("rs").exists()
    })
}

/// Files and folders that the map and the page about security name are where they say.
#[test]
fn pages_name_files_that_are_there() -> Result<()> {
    let path_like = |words: &&str| {
        let plain = words.chars().all(|c| c.is_ascii_alphanumeric() || "_-/.{},".contains(c));
        plain && words.contains('/') && !words.starts_with('/') && !words.ends_with('/')
    };
    for page in ["dataplane/ARCHITECTURE.md", "dataplane/SECURITY.md"] {
        let text = std::fs::read_to_string(root().join(page))?;
        let named: Vec<&str> = text.split('`').skip(1).step_by(2).filter(path_like).collect();
        ensure!(named.len() > 15, "{page}: only {} paths found", named.len());
        for path in named.into_iter().flat_map(expand) {
            ensure!(is_there(&path), "{page} names {path}, which is not there");
        }
    }
    Ok(())
}
