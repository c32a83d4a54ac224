//! Actions done on a running weir: the daemon's [`Backend`].
//!
//! Reading takes what [`Live`] shows at the moment; changes go through [`Live::apply`], whole or not at all. One
//! file for each noun.

mod changes;
mod diff;
mod dump;
mod interfaces;
mod links;
mod maps;
mod observe;
mod programs;
mod run;
mod stats;
mod trouble;

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use weir_engine::live::{Current, Live};

use crate::action::Action;
use crate::action::field::Octets;
use crate::built;
use crate::problem::{Cause, Problem};
use crate::reply::{self, schema, time};
use crate::server::{Backend, Given, Peer, json};

/// A running weir that answers.
pub struct LiveBackend {
    live: Arc<Live>,
    started: (SystemTime, Instant),
    traces: Mutex<observe::Traces>,
    digests: Mutex<programs::Digests>,
    streams: observe::Streams,
    /// Packets that captures' readers were too slow for.
    captures_lost: Arc<AtomicU64>,
    /// The last change was refused.
    last_refused: AtomicBool,
}

impl std::fmt::Debug for LiveBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveBackend").field("generation", &self.generation()).finish_non_exhaustive()
    }
}

impl LiveBackend {
    /// Answers for this weir.
    pub fn new(live: Arc<Live>) -> Arc<Self> {
        Arc::new(Self {
            live,
            started: (SystemTime::now(), Instant::now()),
            traces: Mutex::default(),
            digests: Mutex::default(),
            streams: observe::Streams::default(),
            captures_lost: Arc::default(),
            last_refused: AtomicBool::new(false),
        })
    }

    fn current(&self) -> Arc<Current> {
        self.live.current()
    }

    fn version(&self) -> reply::Version {
        reply::Version {
            schema: schema("version"),
            version: built::VERSION.to_owned(),
            commit: built::COMMIT.map(str::to_owned),
            rustc: built::RUSTC.to_owned(),
            pid: std::process::id(),
            started_at: time(self.started.0),
            uptime_seconds: self.started.1.elapsed().as_secs_f64(),
            generation: self.generation(),
        }
    }

    fn health(&self, ready: bool) -> Given {
        let failing = if ready { self.live.faults() } else { Vec::new() };
        let status = if failing.is_empty() { "ok" } else { "failing" };
        Given::Health(reply::Health { schema: schema("health"), status: status.to_owned(), failing })
    }
}

impl Backend for LiveBackend {
    fn answer(&self, action: Action, _peer: &Peer) -> Result<Given, Problem> {
        match action {
            Action::Version {} => json(&self.version()),
            Action::Config {} => Ok(self.config()),
            Action::ConfigCheck { text } => self.check(text.0),
            Action::ConfigDiff { text } => self.diff(text.0),
            Action::ConfigApply {
                if_match,
                dry_run,
                confirm: _,
                scratch,
                probation,
                abort_rate,
                drop_rate,
                text,
            } => {
                let how = changes::how(if_match, scratch, probation, abort_rate, drop_rate);
                self.apply(&changes::config(text.0), &how, dry_run)
            }
            Action::ConfigConfirm {} => {
                self.live.confirm();
                json(&reply::Confirmed { schema: schema("confirmed"), generation: self.generation() })
            }
            Action::ConfigRollback { to } => self.rollback(to),
            Action::ConfigHistory {} => json(&self.history(None)),
            Action::Programs {} => json(&self.programs()),
            Action::Program { program } => json(&self.program(&program)?),
            Action::ProgramLoad { name, prog, dry_run, hook, interface, prio, actions, object } => {
                let change = changes::load(&name, prog, (hook, interface, prio, actions), object)?;
                self.apply(&change, &Default::default(), dry_run)
            }
            Action::ProgramReplace {
                program,
                prog,
                if_match,
                dry_run,
                scratch,
                probation,
                abort_rate,
                drop_rate,
                object,
            } => {
                let how = changes::how(if_match, scratch, probation, abort_rate, drop_rate);
                let program = self.program_name(&program)?;
                self.apply(&changes::replace(program, prog, object), &how, dry_run)
            }
            Action::ProgramRollback { program } => self.rollback_program(&program),
            Action::ProgramHistory { program } => json(&self.history(Some(&self.program_name(&program)?))),
            Action::ProgramUnload { program } => {
                let program = self.program_name(&program)?;
                self.apply(&weir_engine::live::Change::Unload { program }, &Default::default(), false)
            }
            Action::ProgramRun { program, run } => json(&self.run(&program, &run.0)?),
            Action::ProgramDump { program, form } => json(&self.dump(&program, form)?),
            Action::ProgramTracelog { program } => self.tracelog(&program),
            Action::Links {} => json(&self.links()),
            Action::Link { link } => json(&self.link(&link)?),
            Action::Attach { dry_run, attach } => self.attach(&attach.0, dry_run),
            Action::LinkReplace { link, with } => self.link_replace(&link, &with.0),
            Action::Detach { link } => self.detach(&link),
            Action::Maps {} => json(&self.maps()),
            Action::Map { map } => json(&self.map(&map)?),
            Action::MapDump { map, format, limit, after } => {
                json(&self.map_dump(&map, format.unwrap_or_default(), limit, after.as_deref())?)
            }
            Action::MapClear { map } => json(&self.map_clear(&map)?),
            Action::MapLookup { map, key, format } => {
                json(&self.map_lookup(&map, &key, format.unwrap_or_default())?)
            }
            Action::MapNext { map, key, format: _ } => json(&self.map_next(&map, key.as_deref())?),
            Action::MapUpdate { map, key, entry } => json(&self.map_update(&map, &key, &entry.0)?),
            Action::MapDelete { map, key } => json(&self.map_delete(&map, &key)?),
            Action::MapWatch { map, every } => self.map_watch(&map, every.unwrap_or(Duration::from_secs(1))),
            Action::MapStream { map } => self.map_stream(&map),
            Action::MapExport { map } => self.map_export(&map),
            Action::MapImport { map, file: Octets(file) } => json(&self.map_import(&map, &file)?),
            Action::Interfaces {} => json(&self.interfaces()),
            Action::Interface { interface } => json(&self.interface(&interface)?),
            Action::Routes { to, limit } => json(&self.routes(to.as_deref(), limit)?),
            Action::RouteGet { address } => json(&self.route_get(address)),
            Action::RouteAdd { route } => json(&self.route_add(&route.0)?),
            Action::RouteDelete { to } => json(&self.route_delete(&to)?),
            Action::Neighbors {} => json(&self.neighbors()),
            Action::Stats {} => json(&self.stats()),
            Action::Ledger {} => json(&self.stats().ledger),
            Action::Events {} => self.events(),
            Action::Capture { capture } => self.capture(&capture.0),
            Action::Traces {} => json(&self.traced()),
            Action::TraceAdd { trace } => json(&self.trace(&trace.0)?),
            Action::TraceClear {} => json(&self.trace_clear()),
            Action::Metrics {} => Ok(Given::Bytes(crate::metrics::exposition(self.stats()).into())),
            Action::Healthz {} => Ok(self.health(false)),
            Action::Readyz {} => Ok(self.health(true)),
            Action::OpenApi {} => Ok(Given::Json(crate::openapi::text().into())),
        }
    }

    fn generation(&self) -> u64 {
        self.current().number
    }

    fn revert(&self, to: u64) -> Result<(), Problem> {
        self.live
            .take_back(to, "it was not confirmed in time")
            .map(|_| ())
            .map_err(|error| trouble::change(&error))
    }
}

/// Locks what is held for moments only.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// There is nothing of that name.
fn missing(what: &str, name: &str, there: &[&str]) -> Problem {
    let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
    Problem::new(Cause::NotFound, format!("there is no {what} `{}`; there is {there}", name.escape_debug()))
}
