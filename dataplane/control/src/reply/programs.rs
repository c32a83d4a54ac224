//! Answers about programs and where they are attached.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The programs that are loaded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Programs {
    /// `weir.v1.programs`.
    pub schema: String,
    /// The generation that they belong to.
    pub generation: u64,
    /// Each of them.
    pub programs: Vec<Program>,
}

/// A program; bpftool's names, and ours after them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Program {
    /// Its number.
    pub id: u32,
    /// `xdp`, `sched_cls` …
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name in the configuration.
    pub name: String,
    /// First eight bytes of the SHA-256 of its instructions, in hexadecimal.
    pub tag: String,
    /// Whether its licence is compatible with the GPL.
    pub gpl_compatible: bool,
    /// When it was loaded, seconds since 1970.
    pub loaded_at: u64,
    /// Who loaded it.
    pub uid: u32,
    /// Bytes of instructions.
    pub bytes_xlated: u64,
    /// Whether machine code runs it.
    pub jited: bool,
    /// Bytes of machine code.
    pub bytes_jited: u64,
    /// Bytes of memory.
    pub bytes_memlock: u64,
    /// The maps it uses.
    pub map_ids: Vec<u32>,
    /// The section's program in the object.
    pub prog: String,
    /// The object file's name.
    pub object: String,
    /// SHA-256 of the object file: `sha256:…`.
    pub digest: String,
    /// The generation that loaded it.
    pub generation: u64,
    /// Where it is attached.
    pub links: Vec<String>,
    /// Packets it was asked about.
    pub run_cnt: u64,
    /// Estimated time of all its runs, in nanoseconds.
    pub run_time_ns: u64,
    /// Its verdicts by name.
    pub verdicts: BTreeMap<String, u64>,
}

/// A packet to run a program on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The packet, in hexadecimal.
    #[schema(pattern = "^([0-9a-f]{2}){14,4096}$")]
    pub data_in: String,
    /// How often; once when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub repeat: Option<u32>,
    /// The interface that it comes from; the first when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

/// What a program made of a packet; bpftool's names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Ran {
    /// `weir.v1.run`.
    pub schema: String,
    /// What it returned.
    pub retval: u32,
    /// The name of what it returned.
    pub verdict: String,
    /// Mean time of a run, in nanoseconds.
    pub duration: u64,
    /// The packet after it, in hexadecimal.
    pub data_out: String,
}

/// A program's instructions, machine code or source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Dump {
    /// `weir.v1.dump`.
    pub schema: String,
    /// Which program.
    pub program: String,
    /// `xlated`, `jited` or `source`.
    pub form: String,
    /// Line by line.
    pub lines: Vec<String>,
}

/// What is attached where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Links {
    /// `weir.v1.links`.
    pub schema: String,
    /// Each of them, in the order in which they run.
    pub links: Vec<Link>,
}

/// A program at a hook.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Link {
    /// Its name: `PROGRAM@INTERFACE:HOOK`.
    pub name: String,
    /// The program.
    pub program: String,
    /// Its number.
    pub program_id: u32,
    /// `xdp`, `tc ingress`, `tc egress` or `forward`.
    pub hook: String,
    /// The interface; absent for all.
    pub interface: Option<String>,
    /// Order in the chain.
    pub prio: u32,
    /// XDP verdicts that go on to the next.
    pub actions: Vec<String>,
    /// tc: what it returns is the TC_ACT code.
    pub direct_action: bool,
    /// tc: the filter's own classid.
    pub classid: Option<String>,
}

/// Where to attach a program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AttachTo {
    /// A loaded program.
    #[schema(min_length = 1, max_length = 64)]
    pub program: String,
    /// Where.
    pub hook: Hook,
    /// The interface; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// tc: which chain; `ingress` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// Order in the chain; 100 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prio: Option<u32>,
    /// XDP verdicts that go on to the next; `pass` when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<Verdict>,
    /// tc: what it returns is the TC_ACT code.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub direct_action: bool,
}

/// What a program can be attached to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// The XDP chain.
    #[default]
    Xdp,
    /// A tc chain.
    Tc,
}

/// Which of a port's tc chains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// On the way in.
    #[default]
    Ingress,
    /// On the way out.
    Egress,
}

/// An XDP verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the verdict's name is all there is to say")]
pub enum Verdict {
    Aborted,
    Drop,
    Pass,
    Tx,
    Redirect,
}

/// What a link is to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkTarget {
    /// A loaded program.
    #[schema(min_length = 1, max_length = 64)]
    pub program: String,
}
