//! Timers in a worker: called between batches and while it would sleep, and what a change of programs does to
//! those that are armed.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use weir_ebpf::MapSpec;
use weir_engine::Generation;
use weir_engine::build::{Options, build_with};
use weir_engine::config::Config;
use weir_engine::env::WorkerEnv;
use weir_engine::load::Carry;
use weir_engine::mailbox::Mailbox;
use weir_engine::routes::Routes;
use weir_engine::routes::live::Live;
use weir_engine::swap::Swap;
use weir_engine::worker::Worker;
use weir_io::pair;
use weir_maps::{Map, MapError, NEVER};
use weir_object::Object;
use weir_packet::{Batch, ChunkSize, Pool, Umem};
use weir_vm::Engine;

/// A configuration whose only port gives its packets to this program of `timer.bpf.o`.
fn config(program: &str) -> Result<Config> {
    let text = format!(
        r#"
version = 1
[interface.in]
driver = "null"
[[program]]
name = "timed"
object = "tests/corpus/language/timer.bpf.o"
prog = "{program}"
attach = {{ hook = "xdp", interface = "in" }}
"#
    );
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    Ok(Config::parse(&root.join("weir.toml"), &text)?)
}

/// Goes on with the maps of the generation before.
#[derive(Debug)]
struct Kept(Vec<Arc<Map>>);

impl Carry for Kept {
    fn map(
        &self,
        _entries: &[&str],
        _object: &Object,
        spec: &MapSpec,
        _create: &dyn Fn() -> Result<Arc<Map>, MapError>,
    ) -> Result<Option<Arc<Map>>, String> {
        Ok(self.0.iter().find(|map| map.spec().name == spec.name).cloned())
    }
}

fn generation(program: &str, engine: Engine, kept: &[Arc<Map>]) -> Result<Generation> {
    let kept = Kept(kept.to_vec());
    let options = Options { number: 1, workers: 1, engine, carry: Some(&kept), ..Options::default() };
    Ok(build_with(&config(program)?, &options)?.generation)
}

struct Bench {
    swap: Arc<Swap<Generation>>,
    worker: Worker,
    pool: Pool,
    end: pair::End,
}

fn bench(generation: Generation) -> Result<Bench> {
    let routes = Live::new(Routes::new(7), 1);
    let swap = Swap::new(Arc::new(generation), 1);
    let umem = Umem::new(256, ChunkSize::Half)?;
    let (here, end) = pair::pair("in", 1, 64);
    let env = WorkerEnv::new(0, 7, routes.reader(0), umem.pool(0)?, None);
    let worker = Worker::new(0, swap.reader(0), vec![Box::new(here)], umem.pool(100)?, env, None);
    Ok(Bench { swap, worker, pool: umem.pool(100)?, end })
}

impl Bench {
    /// Has a packet of so many bytes judged.
    fn packet(&mut self, bytes: usize) -> Result<()> {
        let mut frame = self.pool.take().context("no frame")?;
        frame.fill(&vec![0; bytes]).ok().context("too long")?;
        let mut batch = Batch::new();
        batch.push(frame).ok().context("no room")?;
        ensure!(weir_io::Port::send(&mut self.end, &mut self.pool, &mut batch).sent == 1);
        ensure!(self.worker.turn(64).received == 1);
        ensure!(self.worker.shared().totals().balance() == 0);
        Ok(())
    }

    /// Turns without packets until something is so.
    fn turn_until(&mut self, so: impl Fn() -> bool) -> Result<()> {
        let start = Instant::now();
        while !so() {
            ensure!(start.elapsed() < Duration::from_secs(5), "it does not come");
            self.worker.turn(64);
        }
        Ok(())
    }
}

fn map(maps: &[Arc<Map>], name: &str) -> Result<Arc<Map>> {
    maps.iter().find(|map| map.spec().name == name).cloned().context("no such map")
}

fn word(map: &Map, key: u32, at: usize) -> u32 {
    let value = map.control().lookup(&key.to_ne_bytes()).unwrap_or_default();
    value.get(at..at + 4).map_or(0, |bytes| u32::from_ne_bytes(bytes.try_into().expect("four")))
}

const ENGINES: [Engine; 2] = [Engine::Interpreter, Engine::Jit];

#[test]
fn entries_expire_between_batches() -> Result<()> {
    for engine in ENGINES {
        let first = generation("expiring", engine, &[])?;
        let maps = first.maps.clone();
        let mut bench = bench(first)?;
        for bytes in [60, 61, 60] {
            bench.packet(bytes)?;
        }
        let (flows, said) = (map(&maps, "flows")?, map(&maps, "said")?);
        ensure!(flows.entries() == 2);
        bench.turn_until(|| word(&said, 0, 0) == 2)?;
        ensure!(flows.entries() == 0);
        ensure!(word(&said, 1 + (60 & 7), 0) == 2 && word(&said, 1 + (61 & 7), 0) == 1);
        bench.worker.close();
    }
    Ok(())
}

#[test]
fn a_worker_wakes_for_a_timer() -> Result<()> {
    let first = generation("expiring", Engine::Jit, &[])?;
    let flows = map(&first.maps, "flows")?;
    let mut bench = bench(first)?;
    bench.packet(60)?;
    let start = Instant::now();
    let mailbox = Mailbox::new()?;
    while flows.entries() > 0 {
        bench.worker.sleep(&mailbox, Duration::from_secs(5));
        bench.worker.turn(64);
    }
    let took = start.elapsed();
    ensure!((Duration::from_millis(15)..Duration::from_secs(2)).contains(&took), "{took:?}");
    bench.worker.close();
    Ok(())
}

#[test]
fn what_is_armed_outlives_its_generation_with_its_map() -> Result<()> {
    for engine in ENGINES {
        let first = generation("put_off", engine, &[])?;
        let maps = first.maps.clone();
        let old = Arc::downgrade(&first.programs[0].loaded);
        let clocks = map(&maps, "clocks")?;
        let mut bench = bench(first)?;
        bench.packet(60)?;
        let timers = clocks.timers().context("timers")?;
        ensure!(timers.next(0) != NEVER);

        // Another program, with the maps of the one before.
        bench.worker.rest();
        let next = generation("gone", engine, &maps)?;
        bench.swap.publish(Arc::new(next), Duration::from_secs(5))?;
        ensure!(old.upgrade().is_none(), "the old generation is gone");
        bench.turn_until(|| word(&clocks, 2, 4) == 1)?;

        // The last program of the map goes, and so does what is armed.
        bench.worker.rest();
        let next = generation("put_off", engine, &maps)?;
        bench.swap.publish(Arc::new(next), Duration::from_secs(5))?;
        bench.packet(60)?;
        ensure!(timers.next(0) != NEVER);
        bench.worker.rest();
        let next = generation("put_off", engine, &[])?;
        bench.swap.publish(Arc::new(next), Duration::from_secs(5))?;
        ensure!(timers.next(0) == NEVER);
        std::thread::sleep(Duration::from_millis(40));
        bench.worker.turn(64);
        ensure!(word(&clocks, 2, 4) == 1);
        bench.worker.close();
    }
    Ok(())
}
