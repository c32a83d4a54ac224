//! Answers about maps and what they hold.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// The maps there are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Maps {
    /// `weir.v1.maps`.
    pub schema: String,
    /// Each of them.
    pub maps: Vec<Map>,
}

/// A map; bpftool's names, and ours after them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Map {
    /// Its number.
    pub id: u32,
    /// `hash`, `lru_percpu_hash` …
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its flags.
    pub flags: u32,
    /// Bytes of a key.
    pub bytes_key: u32,
    /// Bytes of a value.
    pub bytes_value: u32,
    /// Entries at most.
    pub max_entries: u32,
    /// Bytes of memory.
    pub bytes_memlock: u64,
    /// 1 when people may no longer write to it.
    pub frozen: u32,
    /// The program entry of the configuration that it belongs to.
    pub program: String,
    /// Entries now.
    pub entries: u64,
    /// Entries that made room for others.
    pub evictions: u64,
    /// Updates that failed, all reasons together.
    pub update_failures: u64,
    /// The key's type, where the object tells it.
    pub key_type: Option<String>,
    /// The value's type, where the object tells it.
    pub value_type: Option<String>,
    /// Whether it carries over when its program is replaced.
    pub persistent: bool,
}

/// A page of a map's entries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Entries {
    /// `weir.v1.entries`.
    pub schema: String,
    /// Which map.
    pub map: String,
    /// The entries as bpftool writes them: `key`, `value` or `values`, and `formatted`.
    #[schema(value_type = Vec<Object>)]
    pub entries: Vec<Value>,
    /// What to ask `after` for the next page; absent after the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One entry of a map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Entry {
    /// `weir.v1.entry`.
    pub schema: String,
    /// Which map.
    pub map: String,
    /// The entry as bpftool writes it: `key`, `value` or `values`, and `formatted`.
    #[schema(value_type = Object)]
    pub entry: Value,
}

/// A key, and the one after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NextKey {
    /// `weir.v1.next`.
    pub schema: String,
    /// The key that was asked about.
    pub key: Value,
    /// The key after it; `null` after the last.
    pub next_key: Value,
}

/// What to put in a map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewValue {
    /// A number, a text (address, `hex:…`), or an object of the struct's fields.
    pub value: Value,
    /// Whether the entry may or must be there already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flags: Option<UpdateFlags>,
}

/// bpftool's words for what an update may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum UpdateFlags {
    /// Create or replace.
    #[default]
    Any,
    /// Replace only.
    Exist,
    /// Create only.
    Noexist,
}
