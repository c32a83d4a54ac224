//! A busy turn allocates nothing and makes no system call, whatever the packets and through every stage that the
//! demonstration has: firewall, classifier, policer, tail calls, router, classes.

#![allow(unsafe_code, reason = "an allocator that counts is an unsafe trait's")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use weir_engine::build;
use weir_engine::config::{Config, Driver};
use weir_engine::counters::Totals;
use weir_engine::env::WorkerEnv;
use weir_engine::routes::Routes;
use weir_engine::swap::Swap;
use weir_engine::worker::Worker;
use weir_io::null::Null;
use weir_io::traffic::{Spec, Traffic};
use weir_io::{Port, Received, Sent};
use weir_packet::{Batch, ChunkSize, Pool, Umem};
use weir_vm::Engine;

/// The system's allocator, counting what each thread asks of it.
struct Counting;

thread_local! {
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

fn asked() -> u64 {
    ASKED.with(Cell::get)
}

/// A thread that ends has no counter any more, and nobody asks for it.
fn count() {
    let _ = ASKED.try_with(|asked| asked.set(asked.get() + 1));
}

// SAFETY: every call is handed on to the system's allocator as it came, and its answer handed back.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller owes what `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count();
        // SAFETY: as above; the pointer is one of `System`'s, as all are.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Receives the same packets for ever, and takes what is sent.
struct Endless {
    packets: Vec<Vec<u8>>,
    next: usize,
}

impl Port for Endless {
    fn name(&self) -> &str {
        "endless"
    }

    fn index(&self) -> u32 {
        1
    }

    fn receive(&mut self, pool: &mut Pool, batch: &mut Batch, max: usize) -> Received {
        let mut received = Received::default();
        while received.frames < max.min(64) && batch.room() > 0 {
            let Some(mut frame) = pool.take() else { break };
            let filled = frame.fill(&self.packets[self.next]);
            self.next = (self.next + 1) % self.packets.len();
            match filled.map(|()| batch.push(frame)) {
                Ok(Ok(())) => received.frames += 1,
                other => panic!("{other:?}"),
            }
        }
        received
    }

    fn send(&mut self, pool: &mut Pool, batch: &mut Batch) -> Sent {
        let sent = batch.len();
        pool.put_all(batch);
        Sent { sent, ..Sent::default() }
    }
}

/// The demonstration on one worker whose first port has endless traffic.
fn worker() -> Worker {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut config = Config::read(&root.join("config/demo.toml")).unwrap();
    for interface in config.interface.values_mut() {
        interface.driver = Some(Driver::Null);
        interface.generate = None;
    }
    let built = build::build(&config, 1, 1, Engine::default()).unwrap();
    let plans = built.generation.ports.clone();
    let router_mac = plans.iter().find(|plan| plan.name == "wan").unwrap().mac;
    let spec = Spec { packets: 4096, flows: 500, malformed: 0.01, router_mac, ..Spec::default() };
    let mut traffic = Traffic::new(&spec).unwrap();
    let mut packets = Vec::new();
    while let Some((_, packet)) = traffic.next_packet() {
        packets.push(packet.to_vec());
    }
    let routes = Swap::new(Arc::new(Routes::build(&config, &plans).unwrap()), 1);
    let swap = Swap::new(Arc::new(built.generation), 1);
    let umem = Umem::new(1024, ChunkSize::Half).unwrap();
    let ports = plans.iter().map(|plan| match plan.name.as_str() {
        "wan" => Box::new(Endless { packets: packets.clone(), next: 0 }) as Box<dyn Port>,
        name => Box::new(Null::new(name.to_owned(), plan.ifindex)),
    });
    let env = WorkerEnv::new(0, 7, routes.reader(0), umem.pool(64).unwrap(), None);
    Worker::new(0, swap.reader(0), ports.collect(), umem.pool(512).unwrap(), env, None)
}

/// Turns of one packet for the most part, and some of whole batches.
fn turns(worker: &mut Worker, count: usize) {
    for turn in 0..count {
        assert!(worker.turn(if turn % 64 == 0 { 64 } else { 1 }).received > 0);
    }
}

#[test]
fn a_turn_allocates_nothing() {
    let mut worker = worker();
    turns(&mut worker, 100);
    let before = asked();
    drop(Box::new(before));
    assert_eq!(asked() - before, 2, "the counter counts");
    let before = asked();
    turns(&mut worker, 100_000);
    assert_eq!(asked() - before, 0);
    let totals: Totals = worker.shared().totals();
    // All kinds of ends were among them.
    let ends =
        [totals.transmitted.packets, totals.passed.packets, totals.drops().iter().map(|drop| drop.1).sum()];
    assert!(ends.iter().all(|packets| *packets > 10_000) && totals.drops().len() > 1, "{totals:?}");
}

/// Names of files that are not there: looking for them shows in a trace where turns begin and end.
const MARKS: [&str; 2] = ["/turns begin", "/turns end"];
const CHILD: &str = "WEIR_QUIET_CHILD";

#[test]
fn a_turn_makes_no_system_call() {
    let mark = |name: &str| assert!(std::fs::metadata(name).is_err());
    if std::env::var_os(CHILD).is_some() {
        let mut worker = worker();
        turns(&mut worker, 100);
        mark(MARKS[0]);
        turns(&mut worker, 20_000);
        mark(MARKS[1]);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let strace = Command::new("strace")
        .args(["-f", "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "a_turn_makes_no_system_call"])
        .env(CHILD, "yes")
        .output();
    let text = std::fs::read_to_string(&trace).unwrap_or_default();
    match strace {
        Err(error) => return println!("a_turn_makes_no_system_call: skipped: needs strace ({error})"),
        Ok(output) if text.is_empty() || text.contains("PTRACE_TRACEME") => {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            return println!("a_turn_makes_no_system_call: skipped: strace may not trace ({why})");
        }
        Ok(output) => assert!(output.status.success(), "{output:?}"),
    }
    // Lines are `PID call(…) = …`.
    let begin = text.lines().find(|line| line.contains(MARKS[0])).expect("the trace has the turns' begin");
    let own = begin.split_whitespace().next().unwrap();
    let within = text.lines().skip_while(|line| !line.contains(MARKS[0])).skip(1);
    let calls: Vec<&str> = within
        .take_while(|line| !line.contains(MARKS[1]))
        .filter(|line| line.split_whitespace().next() == Some(own))
        .collect();
    assert!(calls.is_empty(), "{} calls, such as {}", calls.len(), calls[0]);
}
