//! A wire between two ports: what is known of it beforehand is what judging each packet comes to.

use std::path::Path;
use std::sync::Arc;

use weir_engine::build;
use weir_engine::config::Config;
use weir_engine::env::WorkerEnv;
use weir_engine::generation::Generation;
use weir_engine::pipeline::{Judge, Judgement};
use weir_engine::routes::Routes;
use weir_engine::swap::Swap;
use weir_packet::{ChunkSize, Umem};
use weir_vm::{Context, Engine, Run};

const WIRE: &str = r#"
version = 1
[interface.lan]
driver = "null"
[interface.wan]
driver = "null"
[forward]
connect = { lan = "wan", wan = "lan" }
[[class]]
id = "1:10"
name = "bulk"
"#;

const AT_THE_ENTRY: &str = r#"
[[program]]
name = "firewall"
object = "programs/firewall/firewall.bpf.o"
attach = { hook = "xdp", interface = "wan" }
"#;

const AT_THE_EXIT: &str = r#"
[[program]]
name = "classifier"
object = "programs/classifier/classifier.bpf.o"
attach = { hook = "tc", interface = "wan", direction = "egress", classid = "1:10" }
"#;

/// The generation of this configuration, and what is known of a packet that comes in by each of its ports.
fn wires(config: &str) -> (Generation, [Option<Judgement>; 2]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let config = Config::parse(&root.join("weir.toml"), config).unwrap();
    let generation = build::build(&config, 1, 1, Engine::default()).unwrap().generation;
    let known = [0, 1].map(|port| Judgement::of_wire(&generation, port));
    (generation, known)
}

/// What judging a packet that comes in by a port comes to.
fn judged(generation: &Generation, port: usize) -> Judgement {
    let umem = Umem::new(16, ChunkSize::Half).unwrap();
    let config = Config::parse(Path::new("weir.toml"), WIRE).unwrap();
    let routes = Swap::new(Arc::new(Routes::build(&config, &generation.ports).unwrap()), 1);
    let mut env = WorkerEnv::new(0, 7, routes.reader(0), umem.pool(0).unwrap(), None);
    let (mut packet, mut sample) = ([0; 2048], 0);
    let mut judge =
        Judge::new(generation, 0, Run::new(&mut env, 0).with_table(&generation.table), &mut sample);
    judge.judge(port, &mut Context::new(&mut packet, 256..316))
}

#[test]
fn a_bare_wire_is_known_beforehand() {
    let (generation, known) = wires(WIRE);
    for (port, known) in known.into_iter().enumerate() {
        assert_eq!(known, Some(judged(&generation, port)));
    }
}

#[test]
fn with_a_program_on_it_each_packet_is_judged() {
    // Ports stand in the order of their names: lan, wan.
    let (_, known) = wires(&format!("{WIRE}{AT_THE_ENTRY}"));
    assert!(known[0].is_some() && known[1].is_none(), "{known:?}");
    let (_, known) = wires(&format!("{WIRE}{AT_THE_EXIT}"));
    assert!(known[0].is_none() && known[1].is_some(), "{known:?}");
    let (_, known) = wires(&WIRE.replace("lan = \"wan\", ", ""));
    assert!(known[0].is_none(), "what comes in by lan is for the host");
}
