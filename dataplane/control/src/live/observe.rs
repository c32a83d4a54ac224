//! What goes on: events, traces, captures, what programs say. Each stream has a thread that makes it, so that nobody
//! else waits; there are at most so many.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_channel::RecvTimeoutError;
use serde_json::{Value, json};
use weir_ebpf::abi::MapKind;
use weir_engine::mapview::MapView;
use weir_engine::observe::{Capture, CaptureFilter, Fate, Filter, Trace};
use weir_engine::reason::Reason;
use weir_io::pcap::NgWriter;
use weir_sys::priority::Preference;

use super::{LiveBackend, lock, missing};
use crate::action::Format;
use crate::problem::{Cause, Problem};
use crate::reply::{self, Event, now, schema, time};
use crate::server::Given;
use crate::server::feed::{Fed, Feed, feed};
use crate::urgency::share;

/// Streams there may be at a time.
const STREAMS_MAX: usize = 64;
/// How often a maker looks whether its reader is still there.
const LOOK: Duration = Duration::from_millis(200);
/// Packets between workers and a capture's reader.
const CAPTURE_DEPTH: usize = 1024;
/// Records between programs and a perf event array's reader.
const PERF_DEPTH: usize = 256;
/// Entries of a map that are watched.
const WATCHED: usize = 10_000;
/// Most packets of a trace.
const TRACE_MAX: u32 = 1000;
/// Longest frame that a capture keeps room for.
const FRAME: usize = 4096;

/// How many streams there are.
#[derive(Clone, Debug, Default)]
pub(super) struct Streams(Arc<AtomicUsize>);

/// One of them.
struct Running(Streams);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Streams {
    /// Starts a stream: `make` runs in a thread of its own until it returns.
    fn start(&self, make: impl FnOnce(Feed) + Send + 'static) -> Result<Given, Problem> {
        if self.0.fetch_add(1, Ordering::Relaxed) >= STREAMS_MAX {
            self.0.fetch_sub(1, Ordering::Relaxed);
            return Err(Problem::new(Cause::TooMany, format!("there are {STREAMS_MAX} streams already")));
        }
        let running = Running(self.clone());
        let (feed, fed): (Feed, Fed) = feed();
        let thread = std::thread::Builder::new().name("weir-stream".to_owned());
        let spawned = thread.spawn(move || {
            let _running = running;
            // Started by one who answers, and not as urgent.
            share(Preference::USUAL);
            make(feed);
        });
        spawned.map_err(|error| Problem::new(Cause::Unavailable, format!("no thread for it: {error}")))?;
        Ok(Given::Stream(fed))
    }
}

/// The traces that were asked for, and the packets that they brought.
#[derive(Debug, Default)]
pub(super) struct Traces {
    under_way: Vec<Arc<Trace>>,
    done: Vec<reply::Trace>,
}

fn event(kind: &str, data: Value) -> Event {
    Event { kind: kind.to_owned(), at: now(), data }
}

/// An event of the engine: its flat object, taken apart.
fn told(event: &weir_engine::live::Event) -> Event {
    let mut data = serde_json::to_value(event).unwrap_or_default();
    let mut take = |name: &str| match data.as_object_mut().and_then(|members| members.shift_remove(name)) {
        Some(Value::String(text)) => text,
        _ => String::new(),
    };
    let (kind, at) = (take("event"), take("at"));
    Event { kind, at, data }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A filter expression; nothing but spaces is none.
fn expression(text: Option<&str>) -> Result<Option<Filter>, Problem> {
    let text = text.filter(|text| !text.trim().is_empty());
    let understood = text.map(Filter::parse).transpose();
    understood.map_err(|error| {
        let hint = "the words are tcpdump's: `host 192.0.2.1 and tcp port 443` (pcap-filter(7))";
        Problem::new(Cause::Invalid, error.to_string()).hint(hint)
    })
}

impl LiveBackend {
    pub(super) fn events(&self) -> Result<Given, Problem> {
        let events = self.live.subscribe();
        self.streams.start(move |feed| {
            loop {
                match events.recv_timeout(LOOK) {
                    Ok(event) if feed.event(&told(&event)).is_err() => return,
                    Ok(_) => {}
                    Err(RecvTimeoutError::Timeout) if feed.is_over() => return,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        })
    }

    /// Lines of all programs: which one said it, a line does not tell.
    pub(super) fn tracelog(&self, program: &str) -> Result<Given, Problem> {
        self.program_name(program)?;
        let observers = Arc::clone(self.live.observers());
        self.streams.start(move |feed| {
            let mut from = observers.lines.next();
            while let Some(lines) = observers.lines.read(from, 64, LOOK) {
                for line in lines {
                    from = line.number + 1;
                    let said = json!({ "worker": line.said.worker, "text": line.said.text });
                    if feed.event(&event("trace", said)).is_err() {
                        return;
                    }
                }
                if feed.is_over() {
                    return;
                }
            }
        })
    }

    pub(super) fn map_watch(&self, word: &str, every: Duration) -> Result<Given, Problem> {
        let (_, view) = self.view(word)?;
        let every = every.max(Duration::from_millis(100));
        if view.map().entries() > WATCHED {
            let detail = format!("{} has more than {WATCHED} entries, too many to compare", view.name());
            return Err(Problem::new(Cause::Conflict, detail));
        }
        self.streams.start(move |feed| watch(&view, every, &feed))
    }

    pub(super) fn map_stream(&self, word: &str) -> Result<Given, Problem> {
        let (_, view) = self.view(word)?;
        match view.map().spec().kind {
            MapKind::Ringbuf => self.streams.start(move |feed| {
                let Some(ring) = view.map().ringbuf() else { return };
                while !feed.is_over() {
                    let mut over = false;
                    let count = ring.consume(|record| {
                        over = feed.event(&event("record", json!({ "bytes": hex(record) }))).is_err();
                        !over
                    });
                    if over {
                        return;
                    }
                    if count == 0 {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                }
            }),
            MapKind::PerfEventArray => {
                let observers = Arc::clone(self.live.observers());
                let reader = observers.perf(view.map().id(), PERF_DEPTH);
                let reader = reader.map_err(|error| Problem::new(Cause::TooMany, error.to_string()))?;
                self.streams.start(move |feed| {
                    while !feed.is_over() {
                        let Some(record) = reader.records.take() else {
                            std::thread::sleep(Duration::from_millis(10));
                            continue;
                        };
                        let said = json!({ "worker": record.worker, "slot": record.slot, "bytes": hex(&record.bytes) });
                        if feed.event(&event("record", said)).is_err() {
                            break;
                        }
                    }
                    observers.end_perf(&reader);
                })
            }
            kind => {
                let detail = format!(
                    "{} is of type {}: programs write streams into ringbuf and perf_event_array maps",
                    view.name(),
                    kind.name()
                );
                Err(Problem::new(Cause::Invalid, detail))
            }
        }
    }

    /// The number of a port, by its name.
    fn port(&self, name: &str) -> Result<usize, Problem> {
        let current = self.current();
        let ports = &current.generation.ports;
        let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
        names.iter().position(|other| *other == name).ok_or_else(|| missing("interface", name, &names))
    }

    pub(super) fn capture(&self, wanted: &reply::NewCapture) -> Result<Given, Problem> {
        let invalid = |what: &str, word: &str, there: &[&str]| {
            let detail =
                format!("there is no {what} `{}`: there is {}", word.escape_debug(), there.join(", "));
            Problem::new(Cause::Invalid, detail)
        };
        let fates = Fate::ALL.map(Fate::name);
        let fate = wanted
            .verdict
            .as_deref()
            .map(|word| Fate::named(word).ok_or_else(|| invalid("verdict", word, &fates)));
        let reasons: Vec<&str> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        let reason = wanted.reason.as_deref().map(|word| {
            let found = Reason::ALL.iter().copied().find(|reason| reason.name() == word);
            found.ok_or_else(|| invalid("reason", word, &reasons))
        });
        if let Some(other) = wanted.at.iter().find(|at| !["entry", "exit"].contains(&at.as_str())) {
            return Err(invalid("place", other, &["entry", "exit"]));
        }
        let at = |place: &str| wanted.at.iter().any(|at| at == place);
        let filter = CaptureFilter {
            port: wanted.interface.as_deref().map(|name| self.port(name)).transpose()?,
            entry: at("entry"),
            exit: at("exit") || wanted.at.is_empty(),
            fates: fate.transpose()?.into_iter().collect(),
            reasons: reason.transpose()?.into_iter().collect(),
            packets: expression(wanted.filter.as_deref())?,
            snap: wanted.snap.map_or(usize::from(u16::MAX), |snap| snap as usize),
            count: wanted.count,
        };
        if filter.entry && !(filter.fates.is_empty() && filter.reasons.is_empty()) {
            return Err(Problem::new(Cause::Invalid, "a packet's verdict is not known at its entry"));
        }
        let names: Vec<String> =
            self.current().generation.ports.iter().map(|port| port.name.clone()).collect();
        let observers = Arc::clone(self.live.observers());
        let capture = observers.capture(Capture::new(filter, CAPTURE_DEPTH, FRAME));
        let capture = capture.map_err(|error| Problem::new(Cause::TooMany, error.to_string()))?;
        let lost = Arc::clone(&self.captures_lost);
        self.streams.start(move |feed| {
            // The only error is that the reader has gone.
            let _ = pour(&capture, &names, feed, &lost);
            observers.end_capture(&capture);
        })
    }

    pub(super) fn trace(&self, wanted: &reply::NewTrace) -> Result<reply::Changed, Problem> {
        let filter = expression(wanted.filter.as_deref())?;
        if !(1..=TRACE_MAX).contains(&wanted.count) {
            return Err(Problem::new(Cause::Invalid, format!("`count` is from 1 to {TRACE_MAX}")));
        }
        let port = wanted.interface.as_deref().map(|name| self.port(name)).transpose()?;
        let trace = self.live.observers().trace(Trace::new(port, wanted.count as usize).matching(filter));
        let trace = trace.map_err(|error| Problem::new(Cause::TooMany, error.to_string()))?;
        lock(&self.traces).under_way.push(trace);
        let detail = format!("the next {} packets are followed", wanted.count);
        Ok(reply::Changed { schema: schema("changed"), changed: u64::from(wanted.count), detail })
    }

    pub(super) fn traced(&self) -> reply::Traces {
        let (current, observers) = (self.current(), self.live.observers());
        let mut traces = lock(&self.traces);
        let mut done = Vec::new();
        traces.under_way.retain(|trace| {
            let over = trace.records().is_closed();
            while let Some(record) = trace.records().take() {
                let port = current.generation.ports.get(record.place.port);
                let stages = record.stages(&current.generation).into_iter().map(|stage| reply::Stage {
                    stage: stage.stage,
                    program: stage.program,
                    result: stage.result,
                });
                done.push(reply::Trace {
                    at: time(UNIX_EPOCH + Duration::from_nanos(record.at_ns)),
                    interface: port.map_or_else(String::new, |port| port.name.clone()),
                    packet: hex(&record.header),
                    stages: stages.collect(),
                });
            }
            if over {
                observers.end_trace(trace);
            }
            !over
        });
        traces.done.extend(done);
        let excess = traces.done.len().saturating_sub(TRACE_MAX as usize);
        traces.done.drain(..excess);
        reply::Traces { schema: schema("traces"), traces: traces.done.clone() }
    }

    pub(super) fn trace_clear(&self) -> reply::Changed {
        let mut traces = lock(&self.traces);
        traces.under_way.drain(..).for_each(|trace| self.live.observers().end_trace(&trace));
        let count = std::mem::take(&mut traces.done).len() as u64;
        reply::Changed {
            schema: schema("changed"),
            changed: count,
            detail: format!("{count} packets are forgotten"),
        }
    }
}

/// What is written is sent when it is flushed.
struct Pour {
    feed: Feed,
    bytes: Vec<u8>,
}

impl Write for Pour {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.is_empty() {
            return Ok(());
        }
        self.feed.bytes(bytes.into()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Copies packets from workers to a reader, as pcapng, until either ends.
fn pour(capture: &Capture, names: &[String], feed: Feed, lost: &AtomicU64) -> io::Result<()> {
    let mut counted = 0;
    let mut writer = NgWriter::new(Pour { feed: feed.clone(), bytes: Vec::new() }, names)?;
    while !feed.is_over() {
        writer.flush()?;
        let so_far = capture.packets().lost();
        lost.fetch_add(so_far - std::mem::replace(&mut counted, so_far), Ordering::Relaxed);
        let over = capture.packets().is_closed();
        let mut count = 0;
        while count < 64 {
            let Some(packet) = capture.packets().take() else { break };
            packet.write(&mut writer, names)?;
            count += 1;
        }
        match (count, over) {
            (0, true) => return Ok(()),
            (0, false) => std::thread::sleep(Duration::from_millis(20)),
            _ => {}
        }
    }
    Ok(())
}

/// Compares a map with itself, again and again.
fn watch(view: &MapView, every: Duration, feed: &Feed) {
    let read = || {
        let page = view.page(None, WATCHED).map(|page| page.entries).unwrap_or_default();
        let entry = |entry: &weir_engine::mapview::Entry| {
            (entry.key.0.clone(), super::maps::written(entry, Format::Formatted))
        };
        page.iter().map(entry).collect::<std::collections::BTreeMap<_, _>>()
    };
    let mut before = read();
    loop {
        let next = SystemTime::now() + every;
        while SystemTime::now() < next {
            if feed.is_over() {
                return;
            }
            std::thread::sleep(LOOK.min(every));
        }
        let after = read();
        let gone =
            before.iter().filter(|(key, _)| !after.contains_key(*key)).map(|(_, entry)| ("delete", entry));
        let come = after.iter().filter_map(|(key, entry)| match before.get(key) {
            None => Some(("create", entry)),
            Some(old) if old != entry => Some(("update", entry)),
            Some(_) => None,
        });
        let changes: Vec<Event> = gone.chain(come).map(|(kind, entry)| event(kind, entry.clone())).collect();
        if changes.iter().any(|change| feed.event(change).is_err()) {
            return;
        }
        before = after;
    }
}
