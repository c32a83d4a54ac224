//! What the daemon answers about maps and the command line prints: the JSON of `bpftool -j map …`, name for
//! name, and what we add to it (`sum`).

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Shown;

/// Bytes, as `["0x00","0x01"]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|byte| format!("{byte:#04x}")))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let byte = |text: &String| {
            let digits = text.strip_prefix("0x").unwrap_or(text);
            u8::from_str_radix(digits, 16).map_err(|_| {
                serde::de::Error::custom(format!("`{text}` is no byte: wanted \"0x00\" to \"0xff\""))
            })
        };
        texts.iter().map(byte).collect::<Result<_, _>>().map(Bytes)
    }
}

/// One worker's value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cpu<T> {
    /// Number of the worker.
    pub cpu: usize,
    /// Its value.
    pub value: T,
}

/// An entry of a map.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its key.
    pub key: Bytes,
    /// Its value, where there is one for all workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Bytes>,
    /// Its values, where each worker has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<Cpu<Bytes>>>,
    /// Number of the map that the value of a map of maps is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inner_map_id: Option<u32>,
    /// Key and value by their types, where the object says them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formatted: Option<Formatted>,
    /// The workers' values added up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sum: Option<Shown>,
}

/// An entry by its types.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Formatted {
    /// Its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Shown>,
    /// Its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Shown>,
    /// Its values, where each worker has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<Cpu<Shown>>>,
}

/// Some entries of a walk through a map.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// They.
    pub entries: Vec<Entry>,
    /// Where the walk goes on; none when it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Bytes>,
}

/// The answer to `getnext`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NextKey {
    /// The key asked about; none for the first.
    pub key: Option<Bytes>,
    /// The key after it.
    pub next_key: Bytes,
}

/// A map as `map show` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapInfo {
    /// A number that no other map has.
    pub id: u32,
    /// bpftool's word for its kind.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name.
    pub name: String,
    /// `BPF_F_*` flags of its creation.
    pub flags: u32,
    /// Bytes of a key.
    pub bytes_key: u32,
    /// Bytes of a value.
    pub bytes_value: u32,
    /// Most entries.
    pub max_entries: u32,
    /// Bytes of memory that it has set aside.
    pub bytes_memlock: usize,
    /// 1 when it can no longer be changed from here.
    pub frozen: u8,
    /// Entries now.
    pub entries: usize,
    /// Entries that an LRU kind gave up to make room.
    pub evictions: u64,
    /// Updates that failed, by reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub update_failures: Vec<(String, u64)>,
    /// The C type of its keys, where the object says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_type: Option<String>,
    /// The C type of its values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_type: Option<String>,
}
