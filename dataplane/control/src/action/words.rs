//! Words that fields of actions have.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// May look.
    Read,
    /// May change things.
    Admin,
}

impl Role {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Read => "read",
            Role::Admin => "admin",
        }
    }
}

/// Who does it, so that nobody waits for another's long work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Milliseconds at most, beside anything else.
    Quick,
    /// Perhaps seconds; a few at a time.
    Slow,
    /// Makes a generation: one at a time, in order.
    Change,
}

/// A program's forms that can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Its instructions as they run.
    Xlated,
    /// The machine code made of them.
    Jited,
    /// The source lines that it was compiled from, as far as the object has them.
    Source,
}

/// How map entries are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// By their types, where the object tells them; in bytes otherwise.
    #[default]
    Formatted,
    /// In bytes.
    Hex,
}
