//! From what runs to what shall run: changes as plain values, before anything is built.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::change::{Change, ChangeError, Desired, Objects};
use crate::config::{Attach, Config, ProgramEntry, action_word, listed};

/// What shall run after a change, and the change in words.
pub(super) fn edit(now: &Desired, change: &Change) -> Result<(Desired, String), ChangeError> {
    let mut next = now.clone();
    let words = match change {
        Change::Config { text, objects } => {
            let path = now.config.folder.join("weir.toml");
            next = Desired::from_text(&path, text.clone(), objects.clone())?;
            "configuration applied".to_owned()
        }
        Change::Replace { program, object, prog } => {
            let entry = find(&mut next.config, program)?;
            if prog.is_some() {
                entry.prog.clone_from(prog);
            }
            put_object(&mut next, program, object)?;
            format!("program `{program}` replaced")
        }
        Change::Load { entry, object } => {
            let program = entry.name.clone();
            if next.config.program.iter().any(|other| other.name == program) {
                return Err(ChangeError::Exists { program });
            }
            next.config.program.push((**entry).clone());
            put_object(&mut next, &program, object)?;
            format!("program `{program}` loaded")
        }
        Change::Unload { program } => {
            find(&mut next.config, program)?;
            unused(&next.config, program)?;
            next.config.program.retain(|entry| entry.name != *program);
            format!("program `{program}` unloaded")
        }
        Change::Attach { program, attach } => {
            find(&mut next.config, program)?.attach = Some(attach.clone());
            format!("program `{program}` attached")
        }
        Change::Detach { program } => {
            find(&mut next.config, program)?.attach = None;
            format!("program `{program}` detached")
        }
    };
    keep_needed(&next.config, &mut next.objects);
    next.config.recheck()?;
    Ok((next, words))
}

fn find<'c>(config: &'c mut Config, program: &str) -> Result<&'c mut ProgramEntry, ChangeError> {
    let names: Vec<&str> = config.program.iter().map(|entry| entry.name.as_str()).collect();
    let there = listed(&names);
    let entry = config.program.iter_mut().find(|entry| entry.name == program);
    entry.ok_or_else(|| ChangeError::NoProgram { program: program.to_owned(), there })
}

/// Gives a program's object these bytes, under a path that says which they are: `fw.o@1a2b3c4d`.
fn put_object(next: &mut Desired, program: &str, object: &Arc<[u8]>) -> Result<(), ChangeError> {
    let entry = find(&mut next.config, program)?;
    entry.object = marked(&entry.object, object);
    let path = entry.object.clone();
    next.objects.insert(next.config.resolve(&path), Arc::clone(object));
    Ok(())
}

fn marked(path: &Path, bytes: &[u8]) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let plain = name.split_once('@').map_or(&*name, |(plain, _)| plain);
    path.with_file_name(format!("{plain}@{:08x}", crc32c::crc32c(bytes)))
}

/// Objects that no program has any more are let go.
fn keep_needed(config: &Config, objects: &mut Objects) {
    objects.retain(|path, _| config.program.iter().any(|entry| config.resolve(&entry.object) == *path));
}

/// Nothing else of the configuration may refer to a program that goes.
fn unused(config: &Config, program: &str) -> Result<(), ChangeError> {
    let in_use = |by: String| Err(ChangeError::InUse { program: program.to_owned(), by });
    if config.forward.program.as_deref() == Some(program) {
        return in_use("forward.program".to_owned());
    }
    for entry in &config.program {
        let Some(Attach::Tc { action, .. }) = &entry.attach else { continue };
        if action.iter().any(|word| action_word(word).is_none() && word == program) {
            return in_use(format!("an action of program `{}`", entry.name));
        }
    }
    Ok(())
}

/// What a running weir does not change, compared.
pub(super) fn fixed(now: &Config, next: &Config) -> Result<(), ChangeError> {
    let restart = "restart weir to change it".to_owned();
    let differ = |what: &str, text: String| Err(ChangeError::Fixed { what: what.to_owned(), text });
    let names = |config: &Config| config.interface.keys().cloned().collect::<Vec<_>>();
    if names(now) != names(next) {
        let now: Vec<&str> = now.interface.keys().map(String::as_str).collect();
        let next: Vec<&str> = next.interface.keys().map(String::as_str).collect();
        return differ(
            "the set of interfaces",
            format!("{} are open, and {} are wanted: {restart}", listed(&now), listed(&next)),
        );
    }
    for (name, interface) in &now.interface {
        // Addresses are routes, and those follow.
        let mut wanted = next.interface[name].clone();
        wanted.address.clone_from(&interface.address);
        if wanted != *interface {
            return differ(&format!("interface.{name}"), restart);
        }
    }
    for (what, same) in [
        ("workers", now.workers == next.workers),
        ("daemon", now.daemon == next.daemon),
        ("router", now.router == next.router),
    ] {
        if !same {
            return differ(what, restart);
        }
    }
    Ok(())
}
