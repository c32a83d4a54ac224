//! The host lane in a worker: what goes to the kernel, what is answered, what waits, and that nothing is lost.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use crossbeam_queue::ArrayQueue;
use weir_engine::config::Config;
use weir_engine::counters::Totals;
use weir_engine::env::WorkerEnv;
use weir_engine::host::{Behind, HELD_PER_NEIGHBOUR, Host, Setup, Wanted, Wants};
use weir_engine::routes::Routes;
use weir_engine::routes::live::Live;
use weir_engine::swap::Swap;
use weir_engine::worker::Worker;
use weir_engine::{Reason, build};
use weir_io::{Port, pair};
use weir_packet::{Batch, ChunkSize, Pool, Umem};
use weir_router::{Change, Neighbour, NeighbourState};
use weir_tests::packet_text::packet;
use weir_vm::Engine;

const FRAMES: usize = 1024;
const CONFIG: &str = r#"
version = 1
[router]
enabled = true
icmp = { rate = 1000 }
[interface.lan]
driver = "null"
ifindex = 1
mac = "02:00:00:00:00:01"
address = ["192.0.2.1/24", "2001:db8:1::1/64"]
[interface.wan]
driver = "null"
ifindex = 2
mac = "02:00:00:00:00:02"
address = ["203.0.113.2/30", "2001:db8:ffff::2/64"]
[interface.small]
driver = "null"
ifindex = 3
mtu = 1280
mac = "02:00:00:00:00:03"
address = ["198.51.100.1/24"]
[[route]]
to = "10.0.0.0/8"
via = "203.0.113.1"
[[route]]
to = "10.9.0.0/16"
type = "prohibit"
[[neighbor]]
address = "198.51.100.9"
dev = "small"
mac = "02:00:00:00:03:09"
[[program]]
name = "router"
object = "programs/router/router.bpf.o"
prog = "router"
[forward]
program = "router"
"#;
const LAN: &str = "eth src=02:00:00:00:01:09 dst=02:00:00:00:00:01";

/// A worker with three ports, two of which have TAP devices behind them, and all their other ends.
struct Bench {
    worker: Option<Worker>,
    routes: Arc<Live>,
    wants: Wants,
    umem: Arc<Umem>,
    pool: Pool,
    /// Ports, then TAP devices.
    ends: BTreeMap<&'static str, pair::End>,
}

fn bench(config: &str) -> Result<Bench> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let config = Config::parse(&root.join("weir.toml"), config)?;
    let built = build::build(&config, 1, 1, Engine::default())?;
    let routes = Live::new(Routes::new(7), 1);
    routes.configure(&config, &built.generation.ports)?;
    let swap = Swap::new(Arc::new(built.generation), 1);
    let umem = Umem::new(FRAMES, ChunkSize::Half)?;
    let mut ends = BTreeMap::new();
    let mut end = |name: &'static str| -> Box<dyn Port> {
        let (here, there) = pair::pair(name, 1, 64);
        ends.insert(name, there);
        Box::new(here)
    };
    let ports = vec![end("lan"), end("small"), end("wan")];
    let behind = vec![Behind::Kernel(end("weir-lan")), Behind::Nobody, Behind::Kernel(end("weir-wan"))];
    let wants: Wants = Arc::new(ArrayQueue::new(8));
    let host = Host::new(Setup::of(&config.router, Arc::clone(&wants)), behind);
    let env = WorkerEnv::new(0, 7, routes.reader(0), umem.pool(0)?, None);
    let worker = Worker::new(0, swap.reader(0), ports, umem.pool(512)?, env, None).with_host(host);
    let pool = umem.pool(256)?;
    Ok(Bench { worker: Some(worker), routes, wants, umem, pool, ends })
}

impl Bench {
    fn worker(&mut self) -> Result<&mut Worker> {
        self.worker.as_mut().context("closed")
    }

    fn totals(&mut self) -> Result<Totals> {
        let totals = self.worker()?.shared().totals();
        ensure!(totals.balance() == 0, "unbalanced: {totals:?}");
        Ok(totals)
    }

    /// Has the worker judge a packet that comes in by a port. Answers what it counted, in words.
    fn judge(&mut self, port: &str, text: &str) -> Result<String> {
        self.judge_bytes(port, &packet(text)?)
    }

    fn judge_bytes(&mut self, port: &str, bytes: &[u8]) -> Result<String> {
        let before = self.totals()?;
        let mut frame = self.pool.take().context("no frame")?;
        frame.fill(bytes).ok().context("too long")?;
        let mut batch = Batch::new();
        batch.push(frame).ok().context("no room")?;
        let sent = self.ends.get_mut(port).context("no such port")?.send(&mut self.pool, &mut batch);
        ensure!(sent.sent == 1);
        self.turn(&before)
    }

    fn turn(&mut self, before: &Totals) -> Result<String> {
        self.worker()?.turn(64);
        let now = self.totals()?;
        let mut words = Vec::new();
        for (name, now, before) in [
            ("sent", now.transmitted.packets, before.transmitted.packets),
            ("passed", now.passed.packets, before.passed.packets),
            ("made", now.originated.packets, before.originated.packets),
            ("held", now.held, before.held),
        ] {
            match now.wrapping_sub(before) as i64 {
                0 => {}
                1 => words.push(name.to_owned()),
                more => words.push(format!("{name} {more}")),
            }
        }
        let dropped = Reason::ALL
            .iter()
            .filter(|reason| now.dropped[**reason as usize] > before.dropped[**reason as usize]);
        words.extend(dropped.map(|reason| format!("drop {}", reason.name())));
        Ok(words.join(", "))
    }

    /// What came out at the other end of a port or TAP device.
    fn out(&mut self, name: &str) -> Result<Vec<Vec<u8>>> {
        let mut batch = Batch::new();
        let received =
            self.ends.get_mut(name).context("no such port")?.receive(&mut self.pool, &mut batch, 64);
        let packets: Vec<Vec<u8>> = batch.iter().map(|frame| frame.bytes().to_vec()).collect();
        ensure!(received.frames == packets.len());
        self.pool.put_all(&mut batch);
        Ok(packets)
    }

    fn neighbour(&self, ifindex: u32, address: &str, state: NeighbourState) -> Result<()> {
        let neighbour = Some(Neighbour { mac: [2, 0, 0, 0, 2, 1], state });
        self.routes.change([Change::Neighbour { port: ifindex, address: address.parse()?, neighbour }])?;
        Ok(())
    }

    /// Ends the worker; every frame is back.
    fn close(mut self) -> Result<Totals> {
        let worker = self.worker.take().context("closed")?;
        let shared = worker.shared();
        worker.close();
        for end in self.ends.values_mut() {
            end.close(&mut self.pool);
        }
        let totals = shared.totals();
        ensure!(totals.balance() == 0 && totals.held == 0, "unbalanced: {totals:?}");
        let Self { umem, pool, .. } = self;
        drop(pool);
        ensure!(umem.home() == FRAMES, "{} of {FRAMES} frames are back", umem.home());
        Ok(totals)
    }
}

fn is_icmp4(packet: &[u8], from: [u8; 4], kind: u8, code: u8) -> bool {
    packet.get(12..14) == Some(&[8, 0])
        && packet.get(26..30) == Some(&from)
        && packet.get(34..36) == Some(&[kind, code])
}

#[test]
fn what_is_for_the_host_goes_to_its_tap_device() -> Result<()> {
    let mut bench = bench(CONFIG)?;
    let ping = format!("{LAN} / ipv4 src=192.0.2.9 dst=192.0.2.1 / icmp / bytes=8");
    assert_eq!(bench.judge("lan", &ping)?, "passed");
    // As it came, to the last byte.
    assert_eq!(bench.out("weir-lan")?, [packet(&ping)?]);
    let far = format!("{LAN} / ipv4 src=192.0.2.9 dst=203.0.113.2 / tcp dport=22 syn");
    assert_eq!(bench.judge("lan", &far)?, "passed");
    assert_eq!(bench.out("weir-lan")?.len(), 1, "whichever of its addresses, by the port it came in by");
    let group = "eth src=02:00:00:00:01:09 dst=01:00:5e:00:00:05 / ipv4 src=192.0.2.9 dst=224.0.0.5 / udp";
    assert_eq!(bench.judge("lan", group)?, "passed");
    let arp = "eth src=02:00:00:00:01:09 dst=ff:ff:ff:ff:ff:ff / arp";
    assert_eq!(bench.judge("lan", arp)?, "passed");
    assert_eq!(bench.out("weir-lan")?.len(), 2);
    let nobody =
        "eth src=02:00:00:00:03:09 dst=02:00:00:00:00:03 / ipv4 src=198.51.100.9 dst=198.51.100.1 / udp";
    assert_eq!(bench.judge("small", nobody)?, "drop host-none");
    bench.close()?;
    Ok(())
}

#[test]
fn what_the_kernel_sends_by_a_tap_device_is_named() -> Result<()> {
    let mut bench = bench(CONFIG)?;
    std::thread::sleep(std::time::Duration::from_millis(60));
    assert_eq!(bench.judge_bytes("weir-wan", &[0xff; 60])?, "made, drop from-host");
    bench.close()?;
    Ok(())
}

#[test]
fn what_cannot_be_forwarded_is_answered() -> Result<()> {
    let mut bench = bench(CONFIG)?;
    let to = |dst: &str, more: &str| format!("{LAN} / ipv4 src=192.0.2.9 dst={dst} {more} / udp / bytes=1");
    // (packet, what it comes to, ICMP type and code)
    for (text, counted, kind, code) in [
        (to("10.1.1.1", "ttl=1"), "sent, made, drop hops-spent", 11, 0),
        (to("172.16.0.1", ""), "sent, made, drop no-route", 3, 0),
        (to("10.9.0.1", ""), "drop forward-drop", 0, 0),
    ] {
        assert_eq!(bench.judge("lan", &text)?, counted, "{text}");
        let out = bench.out("lan")?;
        match kind {
            0 => assert!(out.is_empty()),
            _ => {
                let [answer] = &out[..] else { panic!("{out:?}") };
                assert!(is_icmp4(answer, [192, 0, 2, 1], kind, code), "{answer:02x?}");
                assert_eq!(answer[..12], [2, 0, 0, 0, 1, 9, 2, 0, 0, 0, 0, 1], "back to who sent it");
            }
        }
    }
    let big = format!("{LAN} / ipv4 src=192.0.2.9 dst=198.51.100.9 df / udp / bytes=1400");
    assert_eq!(bench.judge("lan", &big)?, "sent, made, drop too-big");
    let out = bench.out("lan")?;
    assert!(is_icmp4(&out[0], [192, 0, 2, 1], 3, 4) && out[0][40..42] == 1280u16.to_be_bytes(), "{out:02x?}");
    bench.close()?;
    Ok(())
}

#[test]
fn what_is_too_large_and_may_be_cut_is_cut() -> Result<()> {
    let mut bench = bench(CONFIG)?;
    let big = format!("{LAN} / ipv4 src=192.0.2.9 dst=198.51.100.9 / udp / bytes=1400");
    assert_eq!(bench.judge("lan", &big)?, "sent 2, made");
    let out = bench.out("small")?;
    assert_eq!(out.len(), 2);
    assert!(out.iter().all(|piece| piece[..6] == [2, 0, 0, 0, 3, 9] && piece.len() <= 1280 + 14));
    bench.close()?;
    Ok(())
}

#[test]
fn packets_wait_for_their_neighbour_and_go_when_it_answers() -> Result<()> {
    let mut bench = bench(CONFIG)?;
    let text = |id: u32| format!("{LAN} / ipv4 src=192.0.2.9 dst=10.1.1.{id} / udp / bytes={id}");
    assert_eq!(bench.judge("lan", &text(1))?, "held");
    assert_eq!(bench.judge("lan", &text(2))?, "held");
    let wanted = Wanted { ifindex: 2, address: "203.0.113.1".parse::<IpAddr>()? };
    assert_eq!((bench.wants.pop(), bench.wants.pop()), (Some(wanted), None), "asked for once");
    assert_eq!(bench.worker()?.account().held, 2);
    bench.neighbour(2, "203.0.113.1", NeighbourState::Incomplete)?;
    std::thread::sleep(std::time::Duration::from_millis(2));
    let before = bench.totals()?;
    assert_eq!(bench.turn(&before)?, "");
    bench.neighbour(2, "203.0.113.1", NeighbourState::Reachable)?;
    std::thread::sleep(std::time::Duration::from_millis(2));
    assert_eq!(bench.turn(&before)?, "sent 2, held -2");
    let out = bench.out("wan")?;
    assert_eq!(out.len(), 2);
    assert!(out[0].len() < out[1].len(), "in the order they came");
    assert!(
        out.iter().all(|packet| packet[..12] == [2, 0, 0, 0, 2, 1, 2, 0, 0, 0, 0, 2] && packet[22] == 63)
    );
    assert_eq!(bench.judge("lan", &text(3))?, "sent", "and the next does not wait");
    bench.close()?;
    Ok(())
}

#[test]
fn packets_for_a_neighbour_that_fails_are_answered() -> Result<()> {
    let mut bench = bench(CONFIG)?;
    let text = format!("{LAN} / ipv4 src=192.0.2.9 dst=10.1.1.1 / udp");
    for _ in 0..HELD_PER_NEIGHBOUR {
        assert_eq!(bench.judge("lan", &text)?, "held");
    }
    assert_eq!(bench.judge("lan", &text)?, "drop neighbour-queue-full");
    bench.neighbour(2, "203.0.113.1", NeighbourState::Incomplete)?;
    std::thread::sleep(std::time::Duration::from_millis(2));
    let before = bench.totals()?;
    bench.turn(&before)?;
    bench.neighbour(2, "203.0.113.1", NeighbourState::Failed)?;
    std::thread::sleep(std::time::Duration::from_millis(2));
    assert_eq!(bench.turn(&before)?, "sent 16, made 16, held -16, drop neighbour-failed");
    assert!(bench.out("lan")?.iter().all(|answer| is_icmp4(answer, [192, 0, 2, 1], 3, 1)));
    bench.close()?;
    Ok(())
}

#[test]
fn what_still_waits_at_the_end_is_dropped_by_name() -> Result<()> {
    let mut bench = bench(CONFIG)?;
    let text = format!("{LAN} / ipv4 src=192.0.2.9 dst=10.1.1.1 / udp");
    assert_eq!(bench.judge("lan", &text)?, "held");
    let totals = bench.close()?;
    assert_eq!(totals.dropped[Reason::HeldAtEnd as usize], 1);
    Ok(())
}

#[test]
fn without_the_router_the_kernel_gets_everything() -> Result<()> {
    let mut bench = bench(&CONFIG.replace("enabled = true", "enabled = false"))?;
    let text = format!("{LAN} / ipv4 src=192.0.2.9 dst=172.16.0.1 / udp");
    assert_eq!(bench.judge("lan", &text)?, "passed");
    assert_eq!(bench.out("weir-lan")?, [packet(&text)?]);
    bench.close()?;
    Ok(())
}
