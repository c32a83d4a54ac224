//! Watching a worker: what captures and traces show of the packets that it judges.

use std::path::Path;
use std::sync::Arc;

use weir_engine::build;
use weir_engine::config::Config;
use weir_engine::env::WorkerEnv;
use weir_engine::host::{Behind, Host, Setup};
use weir_engine::observe::{Capture, CaptureFilter, Fate, Filter, Observers, Point, Step, Trace};
use weir_engine::pipeline::Lane;
use weir_engine::reason::Reason;
use weir_engine::routes::Routes;
use weir_engine::swap::Swap;
use weir_engine::worker::Worker;
use weir_io::{Port, pair};
use weir_packet::{Batch, ChunkSize, Pool, Umem};
use weir_vm::Engine;

const CONFIG: &str = r#"
version = 1
[interface.wan]
driver = "null"
[[program]]
name = "firewall"
object = "programs/firewall/firewall.bpf.o"
attach = { hook = "xdp", interface = "wan" }
"#;

/// A worker with one port, the port's other end, and who may watch.
struct Bench {
    worker: Worker,
    other: Box<dyn Port>,
    pool: Pool,
    observers: Arc<Observers>,
}

fn bench() -> Bench {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let config = Config::parse(&root.join("weir.toml"), CONFIG).unwrap();
    let built = build::build(&config, 1, 1, Engine::default()).unwrap();
    let routes = Swap::new(Arc::new(Routes::build(&config, &built.generation.ports).unwrap()), 1);
    let swap = Swap::new(Arc::new(built.generation), 1);
    let umem = Umem::new(1024, ChunkSize::Half).unwrap();
    let (port, other) = pair::pair("wan", 1, 256);
    let observers = Observers::new();
    let env = WorkerEnv::new(0, 7, routes.reader(0), umem.pool(0).unwrap(), None);
    let pool = umem.pool(512).unwrap();
    let worker = Worker::new(0, swap.reader(0), vec![Box::new(port)], pool, env, None).watched_by(&observers);
    Bench { worker, other: Box::new(other), pool: umem.pool(256).unwrap(), observers }
}

impl Bench {
    /// Has the worker judge these packets in one turn.
    fn judge(&mut self, packets: &[Vec<u8>]) {
        let mut batch = Batch::new();
        for packet in packets {
            let mut frame = self.pool.take().unwrap();
            frame.fill(packet).unwrap();
            batch.push(frame).unwrap();
        }
        assert_eq!(self.other.send(&mut self.pool, &mut batch).sent, packets.len());
        assert_eq!(self.worker.turn(64).received, packets.len());
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.other.close(&mut self.pool);
    }
}

/// UDP to a port, from 192.0.2.1 to 192.0.2.2.
fn udp(port: u16) -> Vec<u8> {
    let mut packet = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0];
    packet.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    packet.extend([0x30, 0x39]);
    packet.extend(port.to_be_bytes());
    packet.extend([0, 8, 0, 0]);
    packet
}

#[test]
fn a_capture_sees_what_comes_and_what_became_of_it() {
    let mut bench = bench();
    bench.judge(&[udp(1)]);
    let filter = CaptureFilter { entry: true, ..CaptureFilter::default() };
    let capture = bench.observers.capture(Capture::new(filter, 64, 2048)).unwrap();
    bench.judge(&[udp(53), vec![0; 60]]);
    let mut seen = Vec::new();
    while let Some(packet) = capture.packets().take() {
        let fate = packet.judgement.map(|judgement| Fate::of(packet.port, &judgement));
        seen.push((packet.point, packet.wire_len, fate.is_some()));
    }
    use Point::{Entry, Exit};
    assert_eq!(seen, [(Entry, 42, false), (Exit, 42, true), (Entry, 60, false), (Exit, 60, true)]);
    bench.observers.end_capture(&capture);
    bench.judge(&[udp(53)]);
    assert!(capture.packets().take().is_none(), "nobody asks any more");
}

#[test]
fn a_trace_tells_one_packets_way() {
    let mut bench = bench();
    let trace = bench.observers.trace(Trace::new(None, 1)).unwrap();
    bench.judge(&[udp(53), udp(54)]);
    let record = trace.records().take().expect("one packet");
    assert!(trace.records().take().is_none() && trace.records().is_closed());
    assert_eq!((record.len, record.generation, &record.header[..]), (42, 1, &udp(53)[..]));
    assert!(matches!(record.steps[0], Step::Program { program: 0, .. }), "{:?}", record.steps);
    assert!(record.judgement.is_some());
}

#[test]
fn an_expression_picks_packets_for_captures_and_traces() {
    let mut bench = bench();
    let packets = Some(Filter::parse("udp port 53 and src host 192.0.2.1").unwrap());
    let filter = CaptureFilter { packets, entry: true, ..CaptureFilter::default() };
    let capture = bench.observers.capture(Capture::new(filter, 64, 2048)).unwrap();
    let trace = Trace::new(None, 2).matching(Some(Filter::parse("dst port 54").unwrap()));
    let trace = bench.observers.trace(trace).unwrap();
    bench.judge(&[udp(52), udp(53), udp(54), vec![0; 60]]);
    let seen: Vec<Point> =
        std::iter::from_fn(|| capture.packets().take().map(|packet| packet.point)).collect();
    assert_eq!(seen, [Point::Entry, Point::Exit]);
    let record = trace.records().take().expect("one packet");
    assert_eq!(record.header, udp(54));
    assert!(trace.records().take().is_none(), "no other came");
}

/// A wire from wan to lan, at whose other end nobody takes anything: two packets fit, and the host has no way.
fn blocked(forward: &str) -> Bench {
    let text = "version = 1\n[interface.wan]\ndriver = \"null\"\n[interface.lan]\ndriver = \"null\"\n"
        .to_owned()
        + forward;
    let config = Config::parse(Path::new("weir.toml"), &text).unwrap();
    let built = build::build(&config, 1, 1, Engine::default()).unwrap();
    let routes = Swap::new(Arc::new(Routes::build(&config, &built.generation.ports).unwrap()), 1);
    let swap = Swap::new(Arc::new(built.generation), 1);
    let umem = Umem::new(1024, ChunkSize::Half).unwrap();
    // In the order of their names.
    let ((wan, other), (lan, end)) = (pair::pair("wan", 1, 256), pair::pair("lan", 2, 2));
    // Its other end stays, and takes nothing.
    std::mem::forget(end);
    let observers = Observers::new();
    let env = WorkerEnv::new(0, 7, routes.reader(0), umem.pool(0).unwrap(), None);
    let wants = Arc::new(crossbeam_queue::ArrayQueue::new(8));
    let host = Host::new(Setup::of(&config.router, wants), vec![Behind::Nobody, Behind::Nobody]);
    let pool = umem.pool(512).unwrap();
    let worker = Worker::new(0, swap.reader(0), vec![Box::new(lan), Box::new(wan)], pool, env, None)
        .watched_by(&observers)
        .with_host(host);
    Bench { worker, other: Box::new(other), pool: umem.pool(256).unwrap(), observers }
}

#[test]
fn a_capture_sees_what_is_dropped_behind_the_programs() {
    let mut bench = blocked("[forward]\nconnect = { wan = \"lan\" }\n");
    let filter = CaptureFilter { fates: vec![Fate::Drop], ..CaptureFilter::default() };
    let capture = bench.observers.capture(Capture::new(filter, 64, 2048)).unwrap();
    bench.judge(&[udp(1), udp(2), udp(3), udp(4)]);
    let mut seen = Vec::new();
    while let Some(packet) = capture.packets().take() {
        seen.push((packet.port, packet.judgement.map(|judgement| judgement.lane), packet.bytes.clone()));
    }
    let refused = Some(Lane::Drop(Reason::TxRingFull));
    assert_eq!(seen, [(0, refused, udp(3)), (0, refused, udp(4))]);
    // Nobody asks any more: counted as before, and not looked at.
    bench.observers.end_capture(&capture);
    bench.judge(&[udp(5)]);
    let totals = &bench.worker.shared().counters[0];
    assert_eq!(totals.dropped[Reason::TxRingFull as usize].get(), 3);
    assert_eq!(totals.transmitted.packets.get(), 2);
}

#[test]
fn a_capture_sees_what_the_host_does_not_take() {
    let mut bench = blocked("");
    let filter = CaptureFilter { reasons: vec![Reason::HostNone], ..CaptureFilter::default() };
    let capture = bench.observers.capture(Capture::new(filter, 64, 2048)).unwrap();
    bench.judge(&[udp(1)]);
    let packet = capture.packets().take().expect("it is dropped");
    assert_eq!((packet.port, packet.bytes.as_slice()), (1, &udp(1)[..]));
    assert!(capture.packets().take().is_none());
}
