//! Maps, and what they hold.

use hyper::body::Bytes;
use serde_json::Value;
use weir_engine::mapview::{MapView, ViewError};
use weir_engine::snapshot::export::{self, ExportError};

use super::{LiveBackend, missing};
use crate::action::Format;
use crate::problem::{Cause, Problem};
use crate::reply::{self, schema};
use crate::server::Given;

/// Entries of a page when nobody says how many.
const PAGE: u32 = 1000;
/// Most entries of a page.
const PAGE_MAX: u32 = 10_000;

/// A key as it stands in an address: JSON where it looks like it, a number, or text.
pub(super) fn key(text: &str) -> Result<Value, Problem> {
    if text.starts_with(['{', '[']) {
        return serde_json::from_str(text)
            .map_err(|error| Problem::new(Cause::Invalid, format!("`key`: {error}")));
    }
    let number = serde_json::from_str::<serde_json::Number>(text).map(Value::Number);
    Ok(number.unwrap_or_else(|_| Value::from(text)))
}

fn refused(error: &ViewError) -> Problem {
    let cause = match error {
        ViewError::Input { .. } => Cause::Invalid,
        ViewError::NotFound { .. } => Cause::NotFound,
        ViewError::Refused { .. } => Cause::Conflict,
    };
    Problem::new(cause, error.to_string())
}

fn not_taken(error: &ExportError) -> Problem {
    match error {
        ExportError::View(error) => refused(error),
        ExportError::Torn(_)
        | ExportError::Unknown { .. }
        | ExportError::NoMap { .. }
        | ExportError::Entry { .. } => Problem::new(Cause::Invalid, error.to_string()),
    }
}

fn changed(count: usize, detail: String) -> reply::Changed {
    reply::Changed { schema: schema("changed"), changed: count as u64, detail }
}

/// An entry as it is asked for.
pub(super) fn written(entry: &weir_engine::mapview::Entry, format: Format) -> Value {
    let mut value = serde_json::to_value(entry).unwrap_or_default();
    if let (Format::Hex, Some(members)) = (format, value.as_object_mut()) {
        members.shift_remove("formatted");
        members.shift_remove("sum");
    }
    value
}

impl LiveBackend {
    /// The map that a word means, and the program it is of.
    pub(super) fn view(&self, word: &str) -> Result<(String, MapView), Problem> {
        let current = self.current();
        let found = current.find_maps(word);
        match found.as_slice() {
            [(program, image, map)] => Ok(((*program).to_owned(), MapView::of(map, &image.object))),
            [] => {
                let names: Vec<&str> = current.maps().map(|(_, _, map)| map.spec().name.as_str()).collect();
                Err(missing("map", word, &names))
            }
            several => {
                let each: Vec<String> = several
                    .iter()
                    .map(|(program, _, map)| format!("{program}.{}", map.spec().name))
                    .collect();
                let detail = format!("`{}` may be any of {}", word.escape_debug(), each.join(", "));
                Err(Problem::new(Cause::Conflict, detail))
            }
        }
    }

    pub(super) fn maps(&self) -> reply::Maps {
        let current = self.current();
        let maps =
            current.maps().map(|(program, image, map)| self.shown(program, &MapView::of(map, &image.object)));
        reply::Maps { schema: schema("maps"), maps: maps.collect() }
    }

    pub(super) fn map(&self, word: &str) -> Result<reply::Map, Problem> {
        let (program, view) = self.view(word)?;
        Ok(self.shown(&program, &view))
    }

    fn shown(&self, program: &str, view: &MapView) -> reply::Map {
        let info = view.info();
        let current = self.current();
        let entry = current.desired.config.program.iter().find(|entry| entry.name == program);
        let scratch = entry.is_some_and(|entry| entry.scratch.contains(&info.name));
        let layout = weir_engine::migrate::Layout::of(view.map().spec(), view.types());
        reply::Map {
            id: info.id,
            kind: info.kind,
            name: info.name,
            flags: info.flags,
            bytes_key: info.bytes_key,
            bytes_value: info.bytes_value,
            max_entries: info.max_entries,
            bytes_memlock: info.bytes_memlock as u64,
            frozen: info.frozen.into(),
            program: program.to_owned(),
            entries: info.entries as u64,
            evictions: info.evictions,
            update_failures: info.update_failures.iter().map(|(_, count)| count).sum(),
            key_type: info.key_type,
            value_type: info.value_type,
            persistent: !scratch && !layout.own,
        }
    }

    pub(super) fn map_dump(
        &self,
        word: &str,
        format: Format,
        limit: Option<u32>,
        after: Option<&str>,
    ) -> Result<reply::Entries, Problem> {
        let (_, view) = self.view(word)?;
        let after = after.map(|after| view.key(&key(after)?).map_err(|error| refused(&error))).transpose()?;
        let limit = limit.unwrap_or(PAGE).clamp(1, PAGE_MAX) as usize;
        let page = view.page(after.as_deref(), limit).map_err(|error| refused(&error))?;
        let next = page.next.map(|next| {
            let digits: String = next.0.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("hex:{digits}")
        });
        Ok(reply::Entries {
            schema: schema("entries"),
            map: view.name().to_owned(),
            entries: page.entries.iter().map(|entry| written(entry, format)).collect(),
            next,
        })
    }

    pub(super) fn map_clear(&self, word: &str) -> Result<reply::Changed, Problem> {
        let (_, view) = self.view(word)?;
        let count = view.clear().map_err(|error| refused(&error))?;
        Ok(changed(count, format!("{count} entries of {} are gone", view.name())))
    }

    pub(super) fn map_lookup(&self, word: &str, text: &str, format: Format) -> Result<reply::Entry, Problem> {
        let (_, view) = self.view(word)?;
        let found =
            view.key(&key(text)?).and_then(|key| view.lookup(&key)).map_err(|error| refused(&error))?;
        Ok(reply::Entry {
            schema: schema("entry"),
            map: view.name().to_owned(),
            entry: written(&found, format),
        })
    }

    pub(super) fn map_next(&self, word: &str, text: Option<&str>) -> Result<reply::NextKey, Problem> {
        let (_, view) = self.view(word)?;
        let given = text.map(|text| view.key(&key(text)?).map_err(|error| refused(&error))).transpose()?;
        let bytes = |bytes: &weir_engine::mapview::Bytes| serde_json::to_value(bytes).unwrap_or_default();
        let (key, next_key) = match view.next_key(given.as_deref()) {
            Ok(next) => (next.key.as_ref().map_or(Value::Null, bytes), bytes(&next.next_key)),
            Err(ViewError::NotFound { .. }) => {
                let given = given.map(weir_engine::mapview::Bytes);
                (given.as_ref().map_or(Value::Null, bytes), Value::Null)
            }
            Err(error) => return Err(refused(&error)),
        };
        Ok(reply::NextKey { schema: schema("next"), key, next_key })
    }

    pub(super) fn map_update(
        &self,
        word: &str,
        text: &str,
        entry: &reply::NewValue,
    ) -> Result<reply::Changed, Problem> {
        let (_, view) = self.view(word)?;
        let flags = match entry.flags.unwrap_or_default() {
            reply::UpdateFlags::Any => "any",
            reply::UpdateFlags::Exist => "exist",
            reply::UpdateFlags::Noexist => "noexist",
        };
        let key = view.key(&key(text)?).map_err(|error| refused(&error))?;
        let value = view.value(&entry.value).map_err(|error| refused(&error))?;
        view.update(&key, &value, Some(flags)).map_err(|error| refused(&error))?;
        Ok(changed(1, format!("{} has it", view.name())))
    }

    pub(super) fn map_delete(&self, word: &str, text: &str) -> Result<reply::Changed, Problem> {
        let (_, view) = self.view(word)?;
        view.key(&key(text)?).and_then(|key| view.delete(&key)).map_err(|error| refused(&error))?;
        Ok(changed(1, format!("{} has it no more", view.name())))
    }

    pub(super) fn map_export(&self, word: &str) -> Result<Given, Problem> {
        let (program, view) = self.view(word)?;
        let file = export::to_snapshot(&program, &view).map_err(|error| not_taken(&error))?;
        Ok(Given::Bytes(file.into()))
    }

    pub(super) fn map_import(&self, word: &str, file: &Bytes) -> Result<reply::Changed, Problem> {
        let (program, view) = self.view(word)?;
        let restored = export::import(&program, &view, file).map_err(|error| not_taken(&error))?;
        let mut detail = format!("{} entries put into {}", restored.entries, view.name());
        if restored.left_behind > 0 {
            detail += &format!(", {} left behind: {}", restored.left_behind, restored.detail.join(", "));
        }
        Ok(changed(restored.entries, detail))
    }
}
