//! Answers about the configuration and its changes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::problem::Diagnostic;

/// The configuration in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Config {
    /// `weir.v1.config`.
    pub schema: String,
    /// The generation that runs it.
    pub generation: u64,
    /// What `If-Match` compares; also the `ETag` header.
    pub etag: String,
    /// The TOML text.
    pub text: String,
    /// When it was put in force, RFC 3339.
    pub since: String,
    /// Until when it must be confirmed, RFC 3339; absent when it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_by: Option<String>,
}

/// Whether a configuration could be applied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Checked {
    /// `weir.v1.check`.
    pub schema: String,
    /// It could.
    pub ok: bool,
    /// What is wrong, one sentence each.
    pub errors: Vec<String>,
    /// What is wrong with its programs.
    pub diagnostics: Vec<Diagnostic>,
    /// What would be done.
    pub plan: Option<Plan>,
}

/// How a configuration differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Diff {
    /// `weir.v1.diff`.
    pub schema: String,
    /// Whether there is any difference.
    pub differs: bool,
    /// Lines as diff -u writes them.
    pub text: String,
    /// What would be done; absent when it could not be applied.
    pub plan: Option<Plan>,
    /// Why it could not be applied; absent when it could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What a change does, or would do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// Programs, each with what becomes of it.
    pub programs: Vec<ProgramPlan>,
    /// Maps, each with what becomes of it.
    pub maps: Vec<MapPlan>,
    /// Everything else, a sentence each.
    pub notes: Vec<String>,
}

/// What becomes of a program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProgramPlan {
    /// Its name.
    pub name: String,
    /// `new`, `replaced`, `kept` or `removed`.
    pub action: String,
    /// Its instructions.
    pub instructions: u64,
    /// Bytes of machine code.
    pub bytes_jited: u64,
    /// How long it took to prove it.
    pub verify_seconds: f64,
    /// How long it took to compile it.
    pub jit_seconds: f64,
}

/// What becomes of a map.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MapPlan {
    /// Its name.
    pub name: String,
    /// `new`, `kept`, `migrated`, `scratch` or `removed`.
    pub action: String,
    /// Entries that carry over.
    pub entries: u64,
    /// How its value's fields change: ``+field `mark` = 0``.
    pub fields: Vec<String>,
}

/// A change that was made, or would be (`dry_run`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Applied {
    /// `weir.v1.applied`.
    pub schema: String,
    /// Nothing was done.
    pub dry_run: bool,
    /// The generation before.
    pub from: u64,
    /// The generation now.
    pub to: u64,
    /// Workers that have moved to it.
    pub workers: u64,
    /// From publishing until no worker used the old one.
    pub swap_seconds: f64,
    /// What the old generation judged since the cut before.
    pub cut: Conservation,
    /// What was done.
    pub plan: Plan,
    /// The configuration's ETag now.
    pub etag: String,
    /// Until when it must be confirmed, RFC 3339; absent when it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_by: Option<String>,
}

/// Where all packets went: `rx + cloned + made = tx + pass + drop + consumed + held`, or packets were lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Conservation {
    /// Came in.
    pub rx: u64,
    /// Copies that programs made.
    pub cloned: u64,
    /// Made by weir or given by the host.
    #[serde(default)]
    pub made: u64,
    /// Went out.
    pub tx: u64,
    /// Went to the host.
    pub pass: u64,
    /// Dropped, for a named reason.
    pub drop: u64,
    /// Kept by programs and actions.
    pub consumed: u64,
    /// Waiting, for a neighbour or in a port's ring.
    pub held: u64,
    /// What is left over: must be 0.
    pub lost: i64,
}

/// A change that is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Confirmed {
    /// `weir.v1.confirmed`.
    pub schema: String,
    /// The generation that is kept.
    pub generation: u64,
}

/// The generations there were, latest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct History {
    /// `weir.v1.history`.
    pub schema: String,
    /// Each of them.
    pub generations: Vec<Past>,
}

/// A generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Past {
    /// Its number.
    pub generation: u64,
    /// When it was put in force, RFC 3339.
    pub at: String,
    /// What changed.
    pub change: String,
    /// `live`, `kept`, `rolled back` or `gone`.
    pub state: String,
}

/// Something small that was done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Changed {
    /// `weir.v1.changed`.
    pub schema: String,
    /// How many things were changed.
    pub changed: u64,
    /// What was done, in a sentence.
    pub detail: String,
}
