//! The table of actions: everything that can be asked of a running weir, one row each.
//!
//! A row is `Name: METHOD "path", role lane, body limit in KiB, deadline in seconds, { fields } -> answer;`. The
//! macro makes of it a variant of [`Action`] (typed fields), one of [`Kind`] (no fields) and a [`Row`] (data).
//! A field says where it travels: in the path, the query, the `If-Match` header or the body.

pub mod field;
mod json;
mod words;

use std::time::Duration;

use hyper::{Method, StatusCode};

use crate::problem::Problem;
use crate::reply::{self, Answer, Described};
use field::{Column, Json, Octets, Parts, Toml, column, take, write};
pub use words::{Form, Format, Lane, Role};

/// What the table says of an action.
#[derive(Debug)]
pub struct Row {
    /// Which one.
    pub kind: Kind,
    /// Its name, as the audit log and OpenAPI's `operationId` have it.
    pub name: &'static str,
    /// Its HTTP method.
    pub method: Method,
    /// Its path, `{field}` where a field stands.
    pub path: &'static str,
    /// Who may.
    pub role: Role,
    /// Who does it.
    pub lane: Lane,
    /// Most bytes of its body.
    pub body_max: usize,
    /// In what time it is answered, one way or the other; for a stream, the time until it begins.
    pub deadline: Duration,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// Its fields.
    pub fields: &'static [Column],
    /// What comes back.
    pub answer: Described,
}

macro_rules! actions {
    ($( $(#[doc = $doc:literal])+ $name:ident: $method:ident $path:literal, $role:ident $lane:ident, $kib:literal KiB, $seconds:literal s,
        { $( $place:ident $field:ident : $type:ty ),* } -> $answer:ty; )+) => {
        /// Something asked of a running weir. What the fields mean is said in [`field::GLOSSARY`].
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, reason = "fields mean the same in every row: field::GLOSSARY")]
        pub enum Action { $( $(#[doc = $doc])+ $name { $( $field: $type ),* }, )+ }

        /// An action without its fields.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind { $( $(#[doc = $doc])+ $name, )+ }

        impl Kind {
            /// Every action there is, in the order of the table.
            pub const ALL: &[Kind] = &[$( Kind::$name, )+];

            /// What the table says of it.
            pub fn row(self) -> &'static Row {
                match self {
                    $( Kind::$name => const { &Row {
                        kind: Kind::$name,
                        name: stringify!($name),
                        method: Method::$method,
                        path: $path,
                        role: Role::$role,
                        lane: Lane::$lane,
                        body_max: $kib << 10,
                        deadline: Duration::from_secs($seconds),
                        summary: concat!($( $doc ),+).trim_ascii(),
                        fields: &[$( column!($place $field : $type) ),*],
                        answer: <$answer as Answer>::DESCRIBED,
                    } }, )+
                }
            }

            /// The action, of what came over the wire.
            #[allow(unused_variables, unused_mut, reason = "some actions have no field")]
            pub fn decode(self, parts: &Parts) -> Result<Action, Problem> {
                match self {
                    $( Kind::$name => {
                        parts.only(&[$( stringify!($field) ),*])?;
                        Ok(Action::$name { $( $field: take!($place parts, $field : $type) ),* })
                    } )+
                }
            }
        }

        impl Action {
            /// Which row it is.
            pub const fn kind(&self) -> Kind {
                match self { $( Action::$name { .. } => Kind::$name, )+ }
            }

            /// What goes over the wire.
            #[allow(unused_mut, reason = "some actions have no field")]
            pub fn encode(&self) -> Parts {
                let mut parts = Parts::default();
                match self {
                    $( Action::$name { $( $field ),* } => { $( write!($place parts, $field); )* } )+
                }
                parts
            }
        }
    };
}

actions! {
    /// Which weir this is, and since when it runs.
    Version: GET "/v1/version", Read Quick, 0 KiB, 2 s, {} -> reply::Version;

    /// The configuration that is in force, and its ETag.
    Config: GET "/v1/config", Read Quick, 0 KiB, 2 s, {} -> reply::Config;
    /// Says whether a configuration could be applied, and changes nothing.
    ConfigCheck: POST "/v1/config/check", Read Slow, 4096 KiB, 30 s, { body text: Toml } -> reply::Checked;
    /// Says how a configuration differs from the one in force, and what applying it would do.
    ConfigDiff: POST "/v1/config/diff", Read Slow, 4096 KiB, 30 s, { body text: Toml } -> reply::Diff;
    /// Puts a configuration in force, whole or not at all.
    ConfigApply: PUT "/v1/config", Admin Change, 4096 KiB, 60 s,
        { header if_match: Option<String>, query dry_run: bool, query confirm: Option<Duration>, query scratch: Vec<String>,
          query probation: Option<Duration>, query abort_rate: Option<f64>, query drop_rate: Option<f64>, body text: Toml } -> reply::Applied;
    /// Keeps the configuration that was applied with `confirm`.
    ConfigConfirm: POST "/v1/config/confirm", Admin Change, 0 KiB, 5 s, {} -> reply::Confirmed;
    /// Goes back to the generation before, or to a numbered one that is still kept.
    ConfigRollback: POST "/v1/config/rollback", Admin Change, 0 KiB, 60 s, { query to: Option<u64> } -> reply::Applied;
    /// The generations there were.
    ConfigHistory: GET "/v1/config/history", Read Quick, 0 KiB, 2 s, {} -> reply::History;

    /// The programs that are loaded.
    Programs: GET "/v1/programs", Read Quick, 0 KiB, 5 s, {} -> reply::Programs;
    /// One program.
    Program: GET "/v1/programs/{program}", Read Quick, 0 KiB, 5 s, { path program: String } -> reply::Program;
    /// Loads an object's program under a name of its own.
    ProgramLoad: POST "/v1/programs", Admin Change, 16384 KiB, 60 s,
        { query name: String, query prog: Option<String>, query dry_run: bool, query hook: Option<reply::Hook>,
          query interface: Option<String>, query prio: Option<u32>, query actions: Vec<String>, body object: Octets } -> reply::Applied;
    /// Replaces a program by another object's while traffic flows; its maps carry over.
    ProgramReplace: PUT "/v1/programs/{program}", Admin Change, 16384 KiB, 60 s,
        { path program: String, query prog: Option<String>, header if_match: Option<String>, query dry_run: bool,
          query scratch: Vec<String>, query probation: Option<Duration>, query abort_rate: Option<f64>,
          query drop_rate: Option<f64>, body object: Octets } -> reply::Applied;
    /// Goes back to the program that stood there before the last replacement.
    ProgramRollback: POST "/v1/programs/{program}/rollback", Admin Change, 0 KiB, 60 s, { path program: String } -> reply::Applied;
    /// The generations that changed a program.
    ProgramHistory: GET "/v1/programs/{program}/history", Read Quick, 0 KiB, 2 s, { path program: String } -> reply::History;
    /// Takes a program out.
    ProgramUnload: DELETE "/v1/programs/{program}", Admin Change, 0 KiB, 60 s, { path program: String } -> reply::Applied;
    /// Runs a program on one packet, beside the traffic, on maps of its own that hold what the configuration gives them.
    ProgramRun: POST "/v1/programs/{program}/run", Admin Slow, 1024 KiB, 30 s, { path program: String, body run: Json<reply::Run> } -> reply::Ran;
    /// A program's instructions, machine code or source.
    ProgramDump: GET "/v1/programs/{program}/dump/{form}", Read Slow, 0 KiB, 10 s, { path program: String, path form: Form } -> reply::Dump;
    /// What a program says by bpf_trace_printk, as it says it.
    ProgramTracelog: GET "/v1/programs/{program}/tracelog", Read Quick, 0 KiB, 5 s, { path program: String } -> reply::Stream;

    /// What is attached where.
    Links: GET "/v1/links", Read Quick, 0 KiB, 5 s, {} -> reply::Links;
    /// One attachment.
    Link: GET "/v1/links/{link}", Read Quick, 0 KiB, 5 s, { path link: String } -> reply::Link;
    /// Attaches a loaded program.
    Attach: POST "/v1/links", Admin Change, 64 KiB, 60 s, { query dry_run: bool, body attach: Json<reply::AttachTo> } -> reply::Applied;
    /// Has a link run another loaded program.
    LinkReplace: PUT "/v1/links/{link}", Admin Change, 64 KiB, 60 s, { path link: String, body with: Json<reply::LinkTarget> } -> reply::Applied;
    /// Detaches.
    Detach: DELETE "/v1/links/{link}", Admin Change, 0 KiB, 60 s, { path link: String } -> reply::Applied;

    /// The maps there are.
    Maps: GET "/v1/maps", Read Quick, 0 KiB, 5 s, {} -> reply::Maps;
    /// One map.
    Map: GET "/v1/maps/{map}", Read Quick, 0 KiB, 5 s, { path map: String } -> reply::Map;
    /// A page of a map's entries.
    MapDump: GET "/v1/maps/{map}/entries", Read Slow, 0 KiB, 30 s,
        { path map: String, query format: Option<Format>, query limit: Option<u32>, query after: Option<String> } -> reply::Entries;
    /// Takes every entry out of a map.
    MapClear: DELETE "/v1/maps/{map}/entries", Admin Slow, 0 KiB, 30 s, { path map: String } -> reply::Changed;
    /// One entry of a map.
    MapLookup: GET "/v1/maps/{map}/entries/{key}", Read Quick, 0 KiB, 5 s, { path map: String, path key: String, query format: Option<Format> } -> reply::Entry;
    /// The key after a key; the first one without.
    MapNext: GET "/v1/maps/{map}/next", Read Quick, 0 KiB, 5 s, { path map: String, query key: Option<String>, query format: Option<Format> } -> reply::NextKey;
    /// Puts an entry in a map.
    MapUpdate: PUT "/v1/maps/{map}/entries/{key}", Admin Quick, 1024 KiB, 5 s,
        { path map: String, path key: String, body entry: Json<reply::NewValue> } -> reply::Changed;
    /// Takes an entry out of a map.
    MapDelete: DELETE "/v1/maps/{map}/entries/{key}", Admin Quick, 0 KiB, 5 s, { path map: String, path key: String } -> reply::Changed;
    /// Says what changes in a map, as it changes.
    MapWatch: GET "/v1/maps/{map}/watch", Read Quick, 0 KiB, 5 s, { path map: String, query every: Option<Duration> } -> reply::Stream;
    /// What programs write into a ring buffer or perf event array, as they write it.
    MapStream: GET "/v1/maps/{map}/stream", Read Quick, 0 KiB, 5 s, { path map: String } -> reply::Stream;
    /// A map with its types, as a file that `import` reads.
    MapExport: GET "/v1/maps/{map}/export", Read Slow, 0 KiB, 60 s, { path map: String } -> Octets;
    /// Puts an exported file's entries in a map.
    MapImport: POST "/v1/maps/{map}/import", Admin Slow, 65536 KiB, 60 s, { path map: String, body file: Octets } -> reply::Changed;

    /// The interfaces, and how they are.
    Interfaces: GET "/v1/interfaces", Read Quick, 0 KiB, 5 s, {} -> reply::Interfaces;
    /// One interface.
    Interface: GET "/v1/interfaces/{interface}", Read Quick, 0 KiB, 5 s, { path interface: String } -> reply::Interface;

    /// The routes, or those that cover or lie in a prefix.
    Routes: GET "/v1/routes", Read Slow, 0 KiB, 10 s, { query to: Option<String>, query limit: Option<u32> } -> reply::Routes;
    /// Where a packet to an address would go.
    RouteGet: GET "/v1/routes/get", Read Quick, 0 KiB, 2 s, { query address: std::net::IpAddr } -> reply::RouteAnswer;
    /// Adds a static route to the configuration in force.
    RouteAdd: POST "/v1/routes", Admin Change, 64 KiB, 30 s, { body route: Json<reply::NewRoute> } -> reply::Changed;
    /// Takes a static route out of the configuration in force.
    RouteDelete: DELETE "/v1/routes", Admin Change, 0 KiB, 30 s, { query to: String } -> reply::Changed;
    /// The neighbours, and how well they are known.
    Neighbors: GET "/v1/neighbors", Read Quick, 0 KiB, 5 s, {} -> reply::Neighbors;

    /// Everything that is counted.
    Stats: GET "/v1/stats", Read Quick, 0 KiB, 5 s, {} -> reply::Stats;
    /// Where every packet and every frame is.
    Ledger: GET "/v1/ledger", Read Quick, 0 KiB, 5 s, {} -> reply::Ledger;
    /// What happens, as it happens.
    Events: GET "/v1/events", Read Quick, 0 KiB, 5 s, {} -> reply::Stream;
    /// Packets with their verdicts, as a pcapng stream.
    Capture: POST "/v1/captures", Admin Quick, 64 KiB, 5 s, { body capture: Json<reply::NewCapture> } -> reply::Pcapng;
    /// The packets whose way was followed.
    Traces: GET "/v1/traces", Read Quick, 0 KiB, 5 s, {} -> reply::Traces;
    /// Follows the way of the next packets.
    TraceAdd: POST "/v1/traces", Admin Quick, 64 KiB, 5 s, { body trace: Json<reply::NewTrace> } -> reply::Changed;
    /// Forgets the packets that were followed.
    TraceClear: DELETE "/v1/traces", Admin Quick, 0 KiB, 5 s, {} -> reply::Changed;

    /// What is counted, in Prometheus' words.
    Metrics: GET "/metrics", Read Quick, 0 KiB, 5 s, {} -> reply::Exposition;
    /// Whether the process answers.
    Healthz: GET "/healthz", Read Quick, 0 KiB, 2 s, {} -> reply::Health;
    /// Whether packets would flow: workers turn, ports are up.
    Readyz: GET "/readyz", Read Quick, 0 KiB, 2 s, {} -> reply::Health;
    /// This table, as OpenAPI 3.1.
    OpenApi: GET "/openapi.json", Read Quick, 0 KiB, 2 s, {} -> reply::Description;
}

impl Action {
    /// What the table says of it.
    pub fn row(&self) -> &'static Row {
        self.kind().row()
    }
}

impl Kind {
    /// Whether it changes something: what only an admin may, and what is audited.
    pub fn changes(self) -> bool {
        self.row().role == Role::Admin
    }

    /// The HTTP statuses of what went well, and of the answer that something is not well.
    pub fn statuses(self) -> &'static [StatusCode] {
        match self {
            Kind::ProgramLoad | Kind::Attach => &[StatusCode::OK, StatusCode::CREATED],
            Kind::Healthz | Kind::Readyz => &[StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE],
            _ => &[StatusCode::OK],
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
