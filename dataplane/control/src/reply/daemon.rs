//! Answers about the daemon itself.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Which weir this is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// `weir.v1.version`.
    pub schema: String,
    /// Its version.
    pub version: String,
    /// The commit it was built from, when the build knew.
    pub commit: Option<String>,
    /// Which compiler built it.
    #[serde(default)]
    pub rustc: String,
    /// Its process.
    pub pid: u32,
    /// Since when it runs, RFC 3339.
    pub started_at: String,
    /// For how long it has run.
    pub uptime_seconds: f64,
    /// The generation in force.
    pub generation: u64,
}

/// Whether it is well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `weir.v1.health`.
    pub schema: String,
    /// `ok`, or `failing`.
    pub status: String,
    /// What is wrong, one sentence each.
    pub failing: Vec<String>,
}

/// An OpenAPI description.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(value_type = Object)]
pub struct Description(pub serde_json::Value);

/// Prometheus' text exposition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(value_type = String)]
pub struct Exposition(pub String);
