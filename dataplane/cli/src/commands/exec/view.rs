//! What maps hold, for people and for JSON, and what changed between two looks.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use weir_maps::Map;
use weir_object::Object;
use weir_object::btf::Value;

/// A map's contents at one moment.
#[derive(Clone, Debug, Serialize)]
pub(super) struct MapView {
    pub(super) name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    entries: Vec<EntryView>,
}

/// One entry: bytes in hexadecimal, one value for each worker, and as their types read.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct EntryView {
    key: String,
    values: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    formatted: Option<serde_json::Value>,
}

/// Looks at a map. Maps without keys (queues, ring buffers) have no entries to show.
pub(super) fn view(map: &Arc<Map>, object: Option<&Object>) -> MapView {
    let spec = map.spec();
    let control = map.control();
    let keys = control.keys().filter_map(|key| Some((control.lookup_percpu(&key).ok()?, key)));
    let entries = keys.map(|(values, key)| EntryView {
        formatted: formatted(object, &spec.name, &key, &values),
        key: super::hex(&key),
        values: values.iter().map(|value| super::hex(value)).collect(),
    });
    MapView { name: spec.name.clone(), kind: spec.kind.name(), entries: entries.collect() }
}

fn formatted(
    object: Option<&Object>,
    map: &str,
    key: &[u8],
    values: &[Vec<u8>],
) -> Option<serde_json::Value> {
    let object = object?;
    let (btf, types) = (object.btf()?, object.map_btf(map)?);
    let key = json(&btf.value(types.key_type, key).ok()?);
    let values: Option<Vec<_>> =
        values.iter().map(|value| Some(json(&btf.value(types.value_type, value).ok()?))).collect();
    let mut values = values?;
    let value = if values.len() == 1 { values.pop()? } else { serde_json::Value::Array(values) };
    Some(serde_json::json!({ "key": key, "value": value }))
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Bool(truth) => (*truth).into(),
        Value::Number(number) => match (i64::try_from(*number), u64::try_from(*number)) {
            (Ok(number), _) => number.into(),
            (_, Ok(number)) => number.into(),
            _ => number.to_string().into(),
        },
        Value::Hex(number) => format!("{number:#x}").into(),
        Value::Float(number) => (*number).into(),
        Value::Text(text) => text.as_str().into(),
        Value::Array(values) => values.iter().map(json).collect(),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| (name.clone(), json(value)));
            serde_json::Value::Object(members.collect())
        }
    }
}

/// What changed, a line for each entry.
pub(super) fn changes(before: &[MapView], after: &[MapView]) -> Vec<String> {
    let mut lines = Vec::new();
    for (old, new) in before.iter().zip(after) {
        let mut gone: BTreeMap<&str, &EntryView> =
            old.entries.iter().map(|entry| (entry.key.as_str(), entry)).collect();
        for entry in &new.entries {
            match gone.remove(entry.key.as_str()) {
                Some(same) if same == entry => {}
                Some(changed) => {
                    lines.push(format!("{}: {} was {}", new.name, words(entry), changed.values.join(" ")));
                }
                None => lines.push(format!("{}: + {}", new.name, words(entry))),
            }
        }
        lines.extend(gone.values().map(|entry| format!("{}: - {}", new.name, words(entry))));
    }
    lines
}

fn words(entry: &EntryView) -> String {
    match &entry.formatted {
        Some(formatted) => format!("{} = {}", formatted["key"], formatted["value"]),
        None => format!("{} = {}", entry.key, entry.values.join(" ")),
    }
}
