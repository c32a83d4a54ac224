//! What comes back: one type for each answer, the same for the server that writes it and the client that reads it.
//!
//! Within v1 these only grow. Where bpftool has the object, its names are kept, so that scripts carry over.

mod changes;
mod daemon;
mod interfaces;
mod maps;
mod programs;
mod stats;
mod streams;

use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::action::field::{Octets, Payload};

pub use changes::*;
pub use daemon::*;
pub use interfaces::*;
pub use maps::*;
pub use programs::*;
pub use stats::*;
pub use streams::*;

/// What kind of answer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// One JSON value.
    Json,
    /// Lines of text.
    Text,
    /// Bytes.
    Octets,
    /// Server-sent events, until one side ends it.
    Events,
    /// A capture, until one side ends it.
    Pcapng,
}

impl Content {
    /// Its media type.
    pub const fn media(self) -> &'static str {
        match self {
            Content::Json => "application/json",
            Content::Text => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Content::Octets => "application/octet-stream",
            Content::Events => "text/event-stream",
            Content::Pcapng => "application/vnd.tcpdump.pcap",
        }
    }

    /// Whether it goes on until one side ends it.
    pub const fn is_stream(self) -> bool {
        matches!(self, Content::Events | Content::Pcapng)
    }
}

/// What the table says of an answer.
#[derive(Debug)]
pub struct Described {
    /// What kind it is.
    pub content: Content,
    /// What it looks like.
    pub schema: fn() -> RefOr<Schema>,
    /// The schemas that it refers to, its own among them.
    pub schemas: fn() -> Vec<(String, RefOr<Schema>)>,
}

/// What can be an answer.
pub trait Answer {
    /// What the table says of it.
    const DESCRIBED: Described;
}

/// The schemas that a type needs, its own among them.
pub(crate) fn schemas_of<T: ToSchema>() -> Vec<(String, RefOr<Schema>)> {
    let mut schemas = Vec::new();
    T::schemas(&mut schemas);
    schemas.push((T::name().into_owned(), <T as PartialSchema>::schema()));
    schemas
}

const fn described<T: ToSchema>(content: Content) -> Described {
    Described { content, schema: || Ref::from_schema_name(T::name()).into(), schemas: schemas_of::<T> }
}

macro_rules! answers {
    ($( $content:ident: $( $type:ident ),+; )+) => {
        $( $( impl Answer for $type {
            const DESCRIBED: Described = described::<$type>(Content::$content);
        } )+ )+
    };
}

answers! {
    Json: Version, Health, Config, Checked, Diff, Applied, Confirmed, History, Programs, Program, Ran, Dump, Links, Link,
        Maps, Map, Entries, Entry, NextKey, Changed, Interfaces, Interface, Routes, RouteAnswer, Neighbors, Stats,
        Ledger, Traces, Description;
    Text: Exposition;
    Events: Stream;
    Pcapng: Pcapng;
}

impl Answer for Octets {
    const DESCRIBED: Described =
        Described { content: Content::Octets, schema: <Octets as Payload>::schema, schemas: Vec::new };
}

/// The `schema` member of an answer: `weir.v1.NAME`.
pub fn schema(name: &str) -> String {
    format!("weir.v1.{name}")
}

/// A moment as answers write it: RFC 3339, UTC, milliseconds.
pub fn time(moment: std::time::SystemTime) -> String {
    humantime::format_rfc3339_millis(moment).to_string()
}

/// Now, as answers write it.
pub fn now() -> String {
    time(std::time::SystemTime::now())
}
