//! Programs as a configuration names them, and where they run.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{ClassId, is_default};

/// A program, and where it is attached.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ProgramEntry {
    /// The name it has here; actions and the forward stage refer to it.
    pub name: String,
    /// The object file.
    pub object: PathBuf,
    /// Which program of the object; may be left out when there is one.
    pub prog: Option<String>,
    /// Where it runs. Absent: only as an action, a forwarder or a tail call's target.
    pub attach: Option<Attach>,
    /// Values of its constants (`const volatile` in C), by name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rodata: BTreeMap<String, toml::Value>,
    /// What its maps hold from the start.
    #[serde(default, skip_serializing_if = "is_default")]
    pub maps: BTreeMap<String, Vec<MapEntry>>,
    /// Maps that start empty in each generation; the others keep what they hold when the program is replaced.
    #[serde(default, skip_serializing_if = "is_default")]
    pub scratch: Vec<String>,
}

/// One entry of a map, as a person writes it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MapEntry {
    /// A number, a text (address, prefix, `hex:…`), or a table of the struct's fields.
    pub key: toml::Value,
    /// The same for the value.
    pub value: toml::Value,
}

/// Where a program runs.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "hook", rename_all = "lowercase", deny_unknown_fields)]
pub enum Attach {
    /// In the XDP chain of a port.
    Xdp {
        /// Which port; absent: all.
        interface: Option<String>,
        /// Order in the chain, lowest first.
        #[serde(default = "default_prio")]
        prio: u32,
        /// Verdicts that go on to the next program of the chain.
        #[serde(default = "pass_only")]
        actions: Vec<XdpWord>,
    },
    /// As a filter of a tc chain.
    Tc {
        /// Which port; absent: all.
        interface: Option<String>,
        /// Which chain.
        #[serde(default)]
        direction: Direction,
        /// Order in the chain, lowest first.
        #[serde(default = "default_prio")]
        prio: u32,
        /// Direct action: what it returns is the TC_ACT code.
        #[serde(default)]
        da: bool,
        /// The filter's own classid, for packets that the program answers -1 for.
        classid: Option<ClassId>,
        /// Actions that run on a match: `program NAME` of this file, or `ok`, `drop`, `pipe` …
        #[serde(default)]
        action: Vec<String>,
    },
}

fn default_prio() -> u32 {
    100
}

fn pass_only() -> Vec<XdpWord> {
    vec![XdpWord::Pass]
}

/// An XDP verdict in a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the verdict's name is all there is to say")]
pub enum XdpWord {
    Aborted,
    Drop,
    Pass,
    Tx,
    Redirect,
}

/// Which of a port's tc chains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// On the way in, after XDP.
    #[default]
    Ingress,
    /// On the way out, before the class.
    Egress,
}
