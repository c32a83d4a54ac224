//! What comes back when an action cannot be done: RFC 9457, with a code that stays the same.

use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

macro_rules! causes {
    ($( $(#[doc = $doc:literal])+ $name:ident = $code:literal, $status:ident, $title:literal; )+) => {
        /// Why an action was not done: the closed list.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Cause { $( $(#[doc = $doc])+ $name, )+ }

        impl Cause {
            /// Every cause there is.
            pub const ALL: &[Cause] = &[$( Cause::$name, )+];
            /// The code that programs go by.
            pub const fn code(self) -> &'static str { match self { $( Cause::$name => $code, )+ } }
            /// The HTTP status that it travels with.
            pub const fn status(self) -> StatusCode { match self { $( Cause::$name => StatusCode::$status, )+ } }
            /// What it is called.
            pub const fn title(self) -> &'static str { match self { $( Cause::$name => $title, )+ } }
        }
    };
}

causes! {
    /// It cannot be understood.
    Bad = "WE0400", BAD_REQUEST, "the request cannot be understood";
    /// Not by this user.
    Forbidden = "WE0403", FORBIDDEN, "this user may not do that";
    /// What it names is not there.
    NotFound = "WE0404", NOT_FOUND, "there is no such thing";
    /// The path has other methods.
    Method = "WE0405", METHOD_NOT_ALLOWED, "this path does not have that method";
    /// The client was too slow.
    Slow = "WE0408", REQUEST_TIMEOUT, "the request did not come in time";
    /// What is there is in the way.
    Conflict = "WE0409", CONFLICT, "something else is in the way";
    /// `If-Match` did not match.
    Stale = "WE0412", PRECONDITION_FAILED, "the configuration is another one by now";
    /// The body is too long.
    TooLarge = "WE0413", PAYLOAD_TOO_LARGE, "the body is too large";
    /// The address is too long.
    UriTooLong = "WE0414", URI_TOO_LONG, "the address is too long";
    /// The body is of another kind.
    Media = "WE0415", UNSUPPORTED_MEDIA_TYPE, "the body is of another kind than wanted";
    /// The verifier or loader says no.
    Rejected = "WE0422", UNPROCESSABLE_ENTITY, "the program was rejected";
    /// The configuration, a key or a value says something that cannot be.
    Invalid = "WE0432", UNPROCESSABLE_ENTITY, "what was sent cannot be";
    /// Too many at once.
    TooMany = "WE0429", TOO_MANY_REQUESTS, "too many requests at once";
    /// The head is too long.
    HeadTooLarge = "WE0431", REQUEST_HEADER_FIELDS_TOO_LARGE, "the request's head is too large";
    /// Our fault.
    Internal = "WE0500", INTERNAL_SERVER_ERROR, "weir failed";
    /// Not in this weir.
    NotBuilt = "WE0501", NOT_IMPLEMENTED, "this weir cannot do that";
    /// Not now.
    Unavailable = "WE0503", SERVICE_UNAVAILABLE, "not now";
    /// It took too long.
    Deadline = "WE0504", GATEWAY_TIMEOUT, "it was not done in time";
}

/// Why an action was not done (RFC 9457, `application/problem+json`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{detail}")]
pub struct Problem {
    /// `about:blank`: the title says it.
    #[serde(rename = "type")]
    pub kind: String,
    /// What kind of problem it is.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was found, what was wanted.
    pub detail: String,
    /// The code that programs go by: `WE0404`.
    pub code: String,
    /// What to try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The number of the request, as the log has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// What is wrong with a rejected program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Diagnostic>,
}

/// One thing that is wrong with a program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Diagnostic {
    /// Which program.
    pub program: String,
    /// The rule that it breaks.
    pub rule: String,
    /// What is wrong.
    pub message: String,
    /// Number of the instruction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub insn: Option<u64>,
    /// `FILE:LINE` of the instruction, where the object tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What to write instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The whole log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

impl Problem {
    /// A problem of this kind.
    pub fn new(cause: Cause, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: cause.title().to_owned(),
            status: cause.status().as_u16(),
            detail: detail.into(),
            code: cause.code().to_owned(),
            hint: None,
            request: None,
            diagnostics: Vec::new(),
        }
    }

    /// The same with something to try.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The cause that its code stands for.
    pub fn cause(&self) -> Option<Cause> {
        Cause::ALL.iter().copied().find(|cause| cause.code() == self.code)
    }
}
