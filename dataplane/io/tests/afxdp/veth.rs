//! The real kernel, on veth pairs.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use weir_io::afxdp::{
    BusyPoll, Copying, Direct, Kernel, Mode, OpenError, Punt, Sharing, Wanted, XdpPort, open,
};
use weir_io::gauges::{Losses, State};
use weir_io::multi::Multi;
use weir_io::{Port, Refusal, Wait};
use weir_packet::{Batch, ChunkSize, Pool, Umem};
use weir_sys::errno;
use weir_sys::wait::readable;

use crate::world::{ip, number, numbered, pair, receive_until, send_all, until, world};

/// A process's worth of ports: one umem, one pool.
struct Machine {
    kernel: Direct,
    umem: Arc<Umem>,
    sharing: Arc<Sharing>,
    pool: Pool,
}

impl Machine {
    fn new() -> Machine {
        let umem = Umem::new(32_768, ChunkSize::Half).unwrap();
        let pool = umem.pool(32_768).unwrap();
        Machine { kernel: Direct::new(), sharing: Sharing::new(Arc::clone(&umem)), umem, pool }
    }

    /// Attaches the device, and opens a port of each of its queues.
    fn ports(&self, device: &str) -> Vec<XdpPort> {
        let attached = self.kernel.attach(device, &Punt::default(), None).unwrap();
        let port = |queue| open(&self.kernel, &attached, &self.sharing, &Wanted::queue(device, queue));
        (0..attached.queues).map(|queue| port(queue).unwrap()).collect()
    }

    fn port(&self, device: &str) -> XdpPort {
        self.ports(device).remove(0)
    }

    /// Closes ports, and sees that every frame is back.
    fn finish(mut self, ports: Vec<XdpPort>) {
        for mut port in ports {
            port.close(&mut self.pool);
        }
        assert_eq!(self.pool.free(), self.umem.chunks());
    }
}

/// First receive of each port, which gives the kernel frames.
fn prime(machine: &mut Machine, ports: &mut [XdpPort]) {
    for port in ports {
        let mut batch = Batch::new();
        let _ = port.receive(&mut machine.pool, &mut batch, 64);
        machine.pool.put_all(&mut batch);
    }
}

#[test]
fn what_one_end_sends_the_other_receives_in_order_and_nothing_is_lost() {
    world("what_one_end_sends", || {
        pair("one", "two", 1);
        let (mut ours, mut theirs) = (Machine::new(), Machine::new());
        let mut one = vec![ours.port("one")];
        let mut two = vec![theirs.port("two")];
        let way = one[0].gauges().unwrap().way().to_string();
        assert_eq!(way, "native, copy, need-wakeup");
        prime(&mut theirs, &mut two);
        for len in [60, 1514] {
            send_all(&mut one[0], &mut ours.pool, 0..1000, len);
            let got = receive_until(&mut two[0], &mut theirs.pool, |got| got.len() >= 1000);
            assert!(got.iter().copied().eq(0..1000), "{} came", got.len());
        }
        let losses = two[0].gauges().unwrap().losses();
        assert_eq!(losses, Losses { tx_empty: losses.tx_empty, ..Losses::default() });
        assert_eq!(two[0].gauges().unwrap().held().fill, 2048);
        until("all completed", || {
            one[0].flush(&mut ours.pool);
            one[0].gauges().unwrap().held().total() <= 2048
        });
        ours.finish(one);
        theirs.finish(two);
    });
}

#[test]
fn a_packet_crosses_from_port_to_port_in_its_own_frame() {
    world("a_packet_crosses", || {
        pair("left", "in", 1);
        pair("out", "right", 1);
        let (mut weir, mut hosts) = (Machine::new(), Machine::new());
        let mut ports = vec![weir.port("in"), weir.port("out")];
        let mut ends = vec![hosts.port("left"), hosts.port("right")];
        prime(&mut weir, &mut ports);
        prime(&mut hosts, &mut ends);
        send_all(&mut ends[0], &mut hosts.pool, 0..500, 100);
        let mut crossed = 0;
        until("all crossed", || {
            let mut batch = Batch::new();
            crossed += ports[0].receive(&mut weir.pool, &mut batch, 64).frames;
            let before: Vec<_> = batch.iter().map(|frame| weir.umem.address(frame)).collect();
            let count = batch.len();
            assert_eq!(ports[1].send(&mut weir.pool, &mut batch).sent, count);
            // The very frames are in the other port's ring: none of them is free.
            assert!(before.iter().all(Option::is_some));
            ports[1].flush(&mut weir.pool);
            crossed >= 500
        });
        let got = receive_until(&mut ends[1], &mut hosts.pool, |got| got.len() >= 500);
        assert!(got.iter().copied().eq(0..500));
        weir.finish(ports);
        hosts.finish(ends);
    });
}

#[test]
fn every_queue_of_a_device_has_its_socket_on_the_one_umem() {
    world("every_queue", || {
        pair("one", "two", 3);
        let (mut ours, mut theirs) = (Machine::new(), Machine::new());
        let (mut one, mut two) = (ours.ports("one"), theirs.ports("two"));
        assert_eq!((one.len(), two.len()), (3, 3));
        prime(&mut theirs, &mut two);
        for queue in 0..3 {
            // On veth, what is sent by a queue arrives at the same queue of the peer.
            send_all(&mut one[queue], &mut ours.pool, 0..100, 60);
            let got = receive_until(&mut two[queue], &mut theirs.pool, |got| got.len() >= 100);
            assert_eq!((got.len(), two[queue].queue()), (100, queue as u32));
        }
        ours.finish(one);
        theirs.finish(two);
    });
}

#[test]
fn several_queues_are_served_as_one_port() {
    world("several_queues", || {
        pair("one", "two", 3);
        let (mut ours, mut theirs) = (Machine::new(), Machine::new());
        let mut one = ours.ports("one");
        let queues = theirs.ports("two").into_iter().map(|port| Box::new(port) as Box<dyn Port>);
        let mut two = Multi::of(queues.collect()).unwrap();
        // Every queue has its first receive.
        let mut batch = Batch::new();
        assert_eq!(two.receive(&mut theirs.pool, &mut batch, 64).frames, 0);
        let Wait::Readable(fd) = two.wait() else { panic!("{:?}", two.wait()) };
        assert_eq!(readable(&[fd], Duration::ZERO).unwrap(), 0);
        let gauges = two.gauges().unwrap();
        assert_eq!((gauges.held().total(), gauges.state()), (3 * 2048, State::Up));
        for queue in [2, 0, 1] {
            send_all(&mut one[queue], &mut ours.pool, 0..100, 60);
            assert_eq!(readable(&[fd], Duration::from_secs(5)).unwrap(), 1);
            let got = receive_until(&mut *two, &mut theirs.pool, |got| got.len() >= 100);
            assert_eq!((got.len(), two.queue()), (100, queue as u32));
        }
        assert_eq!(two.close(&mut theirs.pool), 3 * 2048);
        assert_eq!(theirs.pool.free(), theirs.umem.chunks());
        ours.finish(one);
    });
}

#[test]
fn a_queue_is_bound_again_at_once_and_the_umem_outlives_who_registered_it() {
    world("a_queue_is_bound_again", || {
        pair("one", "two", 2);
        let (mut ours, mut theirs) = (Machine::new(), Machine::new());
        let mut one = vec![ours.port("one")];
        let attached = theirs.kernel.attach("two", &Punt::default(), None).unwrap();
        let queue = |theirs: &Machine, queue| {
            open(&theirs.kernel, &attached, &theirs.sharing, &Wanted::queue("two", queue)).unwrap()
        };
        // The first has registered the umem, the second shares it and stays.
        let mut first = queue(&theirs, 0);
        let second = queue(&theirs, 1);
        for round in 0..20 {
            let mut two = vec![first];
            prime(&mut theirs, &mut two);
            send_all(&mut one[0], &mut ours.pool, round..round + 10, 60);
            let got = receive_until(&mut two[0], &mut theirs.pool, |got| got.len() >= 10);
            assert!(got.iter().copied().eq(round..round + 10), "{got:?}");
            let held = two[0].gauges().unwrap().held().total();
            assert_eq!((held, two[0].close(&mut theirs.pool)), (2048, 2048));
            println!("ROUND {round}");
            let t = std::time::Instant::now();
            first = queue(&theirs, 0);
            println!("took {:?}", t.elapsed());
        }
        theirs.finish(vec![first, second]);
        ours.finish(one);
    });
}

#[test]
fn a_link_that_flaps_is_lived_through_with_the_same_port() {
    world("a_link_that_flaps", || {
        pair("one", "two", 1);
        let (mut ours, mut theirs) = (Machine::new(), Machine::new());
        let (mut one, mut two) = (vec![ours.port("one")], vec![theirs.port("two")]);
        let gauges = one[0].gauges().unwrap();
        for round in 0..5 {
            prime(&mut theirs, &mut two);
            send_all(&mut one[0], &mut ours.pool, round..round + 50, 60);
            let _ = receive_until(&mut two[0], &mut theirs.pool, |got| got.len() >= 50);
            ip("link set one down");
            until("the port knows", || {
                prime(&mut ours, &mut one);
                matches!(gauges.state(), State::Down(_))
            });
            let mut batch = Batch::new();
            batch.push(numbered(&mut ours.pool, 0, 60)).unwrap();
            let sent = one[0].send(&mut ours.pool, &mut batch);
            assert_eq!(sent.refused.count(Refusal::Down), 1);
            ip("link set one up");
            until("the port is up", || {
                prime(&mut ours, &mut one);
                gauges.state() == State::Up
            });
        }
        ours.finish(one);
        theirs.finish(two);
    });
}

#[test]
fn a_device_that_vanishes_gives_back_every_frame_and_another_takes_its_place() {
    world("a_device_that_vanishes", || {
        let (mut ours, mut theirs) = (Machine::new(), Machine::new());
        for round in 0..3 {
            pair("one", "two", 1);
            let (mut one, mut two) = (vec![ours.port("one")], vec![theirs.port("two")]);
            prime(&mut theirs, &mut two);
            send_all(&mut one[0], &mut ours.pool, round..round + 200, 60);
            // Some stay in the receive ring, and are gone with the port.
            let _ = receive_until(&mut two[0], &mut theirs.pool, |got| got.len() >= 50);
            ip("link del one");
            for (machine, ports) in [(&mut ours, &mut one), (&mut theirs, &mut two)] {
                until("the port knows", || {
                    prime(machine, ports);
                    ports[0].flush(&mut machine.pool);
                    matches!(ports[0].gauges().unwrap().state(), State::Lost(_))
                });
                let mut batch = Batch::new();
                batch.push(numbered(&mut machine.pool, 0, 60)).unwrap();
                assert_eq!(ports[0].send(&mut machine.pool, &mut batch).refused.count(Refusal::Down), 1);
                let mut port = ports.remove(0);
                port.close(&mut machine.pool);
                assert_eq!(machine.pool.free(), machine.umem.chunks());
            }
            ours.kernel.detach("one").unwrap();
        }
    });
}

#[test]
fn a_busy_device_and_an_absent_one_are_told_apart() {
    world("a_busy_device", || {
        pair("one", "two", 1);
        let mut ours = Machine::new();
        let _port = ours.port("one");
        let another = Direct::new();
        let busy = another.attach("one", &Punt::default(), None).unwrap_err();
        assert_eq!(busy.errno, errno::EBUSY, "{busy}");
        assert!(busy.to_string().starts_with("one: attaching the redirect program: "), "{busy}");
        let absent = another.attach("nobody", &Punt::default(), None).unwrap_err();
        assert_eq!(absent.errno, errno::ENODEV, "{absent}");
        // The queue is taken: patience ends.
        let attached = another.attach("two", &Punt::default(), None).unwrap();
        let first = open(&another, &attached, &ours.sharing, &Wanted::queue("two", 0)).unwrap();
        let impatient = Wanted { patience: Duration::from_millis(20), ..Wanted::queue("two", 0) };
        let taken = open(&another, &attached, &ours.sharing, &impatient).unwrap_err().to_string();
        assert!(taken.contains("two queue 0") && taken.contains("busy"), "{taken}");
        let beyond = open(&another, &attached, &ours.sharing, &Wanted::queue("two", 1)).unwrap_err();
        assert!(matches!(beyond, OpenError::Queue { queues: 1, .. }), "{beyond}");
        drop(first);
        let alone = Machine::new();
        let first = open(&another, &attached, &alone.sharing, &Wanted::queue("two", 0)).unwrap();
        let taken = open(&another, &attached, &alone.sharing, &impatient).unwrap_err().to_string();
        assert!(taken.contains("busy"), "{taken}");
        drop(first);
        ip("link set two down");
        // A device that is down can be bound to; the port knows soon.
        let mut down = vec![open(&another, &attached, &ours.sharing, &Wanted::queue("two", 0)).unwrap()];
        until("the port knows", || {
            prime(&mut ours, &mut down);
            matches!(down[0].gauges().unwrap().state(), State::Down(_))
        });
    });
}

#[test]
fn a_driver_without_xdp_is_used_generically_and_zero_copy_refused_aloud() {
    world("a_driver_without_xdp", || {
        ip("link set lo up");
        let machine = Machine::new();
        let attached = machine.kernel.attach("lo", &Punt::default(), None).unwrap();
        assert_eq!(attached.mode, Mode::Generic);
        let word = attached.word.unwrap_or_default();
        assert!(word.starts_with("the driver refused native mode: "), "{word}");
        let native = machine.kernel.attach("lo", &Punt::default(), Some(Mode::Native)).unwrap_err();
        assert_eq!(native.errno, errno::EOPNOTSUPP, "{native}");

        pair("one", "two", 1);
        let attached = machine.kernel.attach("one", &Punt::default(), Some(Mode::Generic)).unwrap();
        assert_eq!(attached.mode, Mode::Generic);
        let port = open(&machine.kernel, &attached, &machine.sharing, &Wanted::queue("one", 0)).unwrap();
        assert_eq!(port.way().to_string(), "generic, copy, need-wakeup");
        drop(port);
        let attached = machine.kernel.attach("one", &Punt::default(), None).unwrap();
        let zero = Wanted { copying: Copying::ZeroCopy, ..Wanted::queue("one", 0) };
        let refused = open(&machine.kernel, &attached, &machine.sharing, &zero).unwrap_err().to_string();
        assert!(refused.contains("the driver cannot do this"), "{refused}");
    });
}

#[test]
fn an_mtu_beyond_a_frame_is_refused_with_what_to_do() {
    world("an_mtu_beyond_a_frame", || {
        pair("one", "two", 1);
        ip("link set one mtu 2000");
        ip("link set two mtu 2000");
        let machine = Machine::new();
        let attached = machine.kernel.attach("one", &Punt::default(), None).unwrap();
        let refused =
            open(&machine.kernel, &attached, &machine.sharing, &Wanted::queue("one", 0)).unwrap_err();
        let words = refused.to_string();
        assert!(words.contains("needs frames of 2018 bytes, and 1792 fit"), "{words}");
        assert!(words.contains("ip link set one mtu 1774"), "{words}");
    });
}

#[test]
fn busy_polling_is_taken_where_it_is_asked_for() {
    world("busy_polling", || {
        pair("one", "two", 1);
        let (mut ours, mut theirs) = (Machine::new(), Machine::new());
        let mut one = vec![ours.port("one")];
        let attached = theirs.kernel.attach("two", &Punt::default(), None).unwrap();
        let wanted = Wanted { busy_poll: Some(BusyPoll::default()), ..Wanted::queue("two", 0) };
        let mut two = vec![open(&theirs.kernel, &attached, &theirs.sharing, &wanted).unwrap()];
        assert!(two[0].way().busy_poll);
        prime(&mut theirs, &mut two);
        send_all(&mut one[0], &mut ours.pool, 0..100, 60);
        assert_eq!(receive_until(&mut two[0], &mut theirs.pool, |got| got.len() >= 100).len(), 100);
        ours.finish(one);
        theirs.finish(two);
    });
}

#[test]
fn what_is_punted_reaches_the_kernel_and_changes_while_packets_flow() {
    world("what_is_punted", || {
        pair("one", "two", 1);
        ip("addr add 10.9.0.2/24 dev two");
        let (mut ours, mut theirs) = (Machine::new(), Machine::new());
        let (mut one, mut two) = (vec![ours.port("one")], vec![theirs.port("two")]);
        prime(&mut theirs, &mut two);
        // A ping to the box's address: weir's, until `local` is punted.
        let mut send_ping = |id: u8| {
            let mut packet = ping();
            packet[14 + 24] = id;
            let mut frame = ours.pool.take().unwrap();
            frame.fill(&packet).unwrap();
            let mut batch = Batch::new();
            batch.push(frame).unwrap();
            assert_eq!(one[0].send(&mut ours.pool, &mut batch).sent, 1);
            one[0].flush(&mut ours.pool);
        };
        let mut arrives = |within: Duration| {
            let deadline = std::time::Instant::now() + within;
            let mut batch = Batch::new();
            while std::time::Instant::now() < deadline {
                let frames = two[0].receive(&mut theirs.pool, &mut batch, 64).frames;
                theirs.pool.put_all(&mut batch);
                if frames > 0 {
                    return true;
                }
            }
            false
        };
        send_ping(1);
        assert!(arrives(Duration::from_secs(5)));
        let local = Punt { local: true, addresses: vec!["10.9.0.2".parse().unwrap()], ..Punt::default() };
        theirs.kernel.punt("two", &local).unwrap();
        send_ping(2);
        assert!(!arrives(Duration::from_millis(100)));
        theirs.kernel.punt("two", &Punt::default()).unwrap();
        send_ping(3);
        assert!(arrives(Duration::from_secs(5)));
        // Without its socket a queue's packets are the kernel's.
        theirs.kernel.remove("two", 0).unwrap();
        theirs.kernel.remove("two", 0).unwrap();
        send_ping(4);
        assert!(!arrives(Duration::from_millis(100)));
        theirs.finish(two);
        ours.finish(one);
    });
}

/// An ICMP echo request to 10.9.0.2; checksums do not matter before the kernel has it.
fn ping() -> Vec<u8> {
    let mut packet = vec![0xff; 6];
    packet.extend([2; 6]);
    packet.extend([8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 1, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2]);
    packet.resize(60, 8);
    packet
}

/// Whether the device has an XDP program.
fn has_program(device: &str) -> bool {
    ip(&format!("-d link show {device}")).contains("xdp")
}

#[test]
fn the_device_is_as_it_was_found_after_detaching_and_after_kill_9() {
    const CHILD: &str = "WEIR_TEST_HOLD_DEVICE";
    if std::env::var_os(CHILD).is_some() {
        let mut machine = Machine::new();
        let mut ports = vec![machine.port("two")];
        prime(&mut machine, &mut ports);
        println!("holding");
        std::thread::sleep(Duration::from_secs(60));
        return;
    }
    world("the_device_is_as_it_was_found", || {
        pair("one", "two", 1);
        let ours = Machine::new();
        assert!(!has_program("two"));
        let port = ours.port("two");
        assert!(has_program("two"));
        ours.kernel.detach("two").unwrap();
        ours.kernel.detach("two").unwrap();
        assert!(!has_program("two"));
        ours.finish(vec![port]);

        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["the_device_is_as_it_was_found", "--nocapture", "--test-threads=1"])
            .env(CHILD, "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("holding") {
            line.clear();
            assert!(std::io::BufRead::read_line(&mut said, &mut line).unwrap() > 0, "the child ended early");
        }
        assert!(has_program("two"));
        child.kill().unwrap();
        child.wait().unwrap();
        until("the device is clean", || !has_program("two"));
        // And can be had again.
        let again = Machine::new();
        let mut ports = vec![again.port("two")];
        let mut again = again;
        prime(&mut again, &mut ports);
        again.finish(ports);
    });
}

#[test]
fn numbers_read_back() {
    let umem = Umem::new(1, ChunkSize::Half).unwrap();
    let mut pool = umem.pool(1).unwrap();
    let frame = numbered(&mut pool, 77, 60);
    assert_eq!(number(&frame), Some(77));
    pool.put(frame);
}
