//! Answers that go on, and what asks for them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Server-sent events, each an [`Event`] in JSON; a comment line now and then shows that the stream lives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(value_type = String)]
pub struct Stream(pub String);

/// A pcapng file that goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(value_type = String)]
pub struct Pcapng(pub String);

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// What kind: `swapped`, `rolled-back`, `refused`, `port-up`, `port-down`, `drift`, `snapshot` …; `lost` when the
    /// reader was too slow.
    #[serde(rename = "type")]
    pub kind: String,
    /// When, RFC 3339.
    pub at: String,
    /// What there is to say of it.
    pub data: Value,
}

/// What to capture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCapture {
    /// The interface; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Only packets with this verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// Only packets dropped for this reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `entry`, `exit` or both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub at: Vec<String>,
    /// End after so many packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// At most so many bytes of each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snap: Option<u32>,
    /// Only packets that this expression matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

/// Which packets to follow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTrace {
    /// How many.
    #[schema(minimum = 1, maximum = 1000)]
    pub count: u32,
    /// Only from this interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Only packets that this expression matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

/// The packets whose way was followed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Traces {
    /// `weir.v1.traces`.
    pub schema: String,
    /// Each of them.
    pub traces: Vec<Trace>,
}

/// One packet's way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Trace {
    /// When it came in, RFC 3339.
    pub at: String,
    /// The interface it came in by.
    pub interface: String,
    /// Its bytes, in hexadecimal.
    pub packet: String,
    /// Stage by stage.
    pub stages: Vec<Stage>,
}

/// What became of a packet at one stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Stage {
    /// Which stage.
    pub stage: String,
    /// Which program, if one was asked.
    pub program: Option<String>,
    /// What came of it.
    pub result: String,
}
