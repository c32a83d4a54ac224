//! TAP ports against a real kernel, in a network namespace of the test's own thread: gone with it, whatever happens.

use std::net::UdpSocket;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use weir_io::gauges::State;
use weir_io::tap::Tap;
use weir_io::{Port, Received, Refusal, Wait};
use weir_packet::{BATCH, Batch, ChunkSize, Pool, Umem};
use weir_sys::namespace::NetNamespace;
use weir_sys::tap::{Queues, Wanted};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const WANTED: Wanted = Wanted { mac: Some(MAC), mtu: 1500, queues: Queues::One };

/// Runs `test` on a thread of its own in an empty network namespace, or says why not.
fn alone(name: &str, test: impl FnOnce() + Send + 'static) {
    let Ok(namespace) = NetNamespace::create() else {
        println!("{name}: skipped: needs CAP_SYS_ADMIN for a network namespace");
        return;
    };
    let inside = thread::spawn(move || {
        namespace.enter().unwrap();
        test();
    });
    if let Err(panic) = inside.join() {
        std::panic::resume_unwind(panic);
    }
}

fn ip(arguments: &str) {
    let answer = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(answer.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&answer.stderr));
}

fn pool(frames: usize) -> Pool {
    Umem::new(frames, ChunkSize::Half).unwrap().pool(frames).unwrap()
}

fn send(port: &mut Tap, pool: &mut Pool, frames: &[Vec<u8>]) -> weir_io::Sent {
    let mut batch = Batch::new();
    for bytes in frames {
        let mut frame = pool.take().unwrap();
        frame.fill(bytes).unwrap();
        batch.push(frame).unwrap();
    }
    port.send(pool, &mut batch)
}

/// Receives until `wanted` frames satisfy `which`, giving all back.
fn receive(port: &mut Tap, pool: &mut Pool, wanted: usize, which: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
    let end = Instant::now() + Duration::from_secs(5);
    let mut found = Vec::new();
    let mut batch = Batch::new();
    while found.len() < wanted && Instant::now() < end {
        let _ = port.receive(pool, &mut batch, BATCH);
        found.extend(batch.iter().map(|frame| frame.bytes().to_vec()).filter(|bytes| which(bytes)));
        pool.put_all(&mut batch);
    }
    found
}

/// Who has 10.9.0.1? Tell 10.9.0.2 (RFC 826).
fn arp_request() -> Vec<u8> {
    let mut bytes = vec![0xff; 6];
    bytes.extend([2, 0, 0, 0, 0, 2, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    bytes.extend([2, 0, 0, 0, 0, 2, 10, 9, 0, 2, 0, 0, 0, 0, 0, 0, 10, 9, 0, 1]);
    bytes
}

#[test]
fn the_host_answers_what_is_sent_to_it() {
    alone("the_host_answers_what_is_sent_to_it", || {
        let mut pool = pool(8);
        let (mut port, warnings) = Tap::open("weir-t", &WANTED).unwrap();
        assert_eq!((port.name(), warnings), ("weir-t", vec![]));
        ip("addr add 10.9.0.1/24 dev weir-t");
        assert_eq!(send(&mut port, &mut pool, &[arp_request()]).sent, 1);
        let answer = receive(&mut port, &mut pool, 1, |bytes| bytes[12..14] == [8, 6] && bytes[21] == 2);
        assert_eq!(answer.len(), 1, "no ARP reply came");
        assert_eq!(answer[0][22..32], [2, 0, 0, 0, 0, 1, 10, 9, 0, 1]);
        assert_eq!((pool.free(), port.close(&mut pool)), (8, 0));
        let filter = std::fs::read_to_string("/proc/sys/net/ipv4/conf/weir-t/rp_filter").unwrap();
        let all = std::fs::read_to_string("/proc/sys/net/ipv4/conf/all/rp_filter").unwrap();
        assert_eq!(filter.trim(), if all.trim() == "0" { "0" } else { "2" });
    });
}

#[test]
fn what_the_host_sends_arrives_in_order_and_in_bounded_batches() {
    alone("what_the_host_sends_arrives_in_order_and_in_bounded_batches", || {
        let mut pool = pool(16);
        let (mut port, _) = Tap::open("weir-t", &WANTED).unwrap();
        ip("addr add 10.9.0.1/24 dev weir-t");
        ip("neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev weir-t");
        let socket = UdpSocket::bind("10.9.0.1:0").unwrap();
        let ours = |bytes: &[u8]| bytes.len() == 14 + 20 + 8 + 4 && bytes[12..14] == [8, 0];
        for round in 0..4_u32 {
            for number in 0..100 {
                socket.send_to(&(round * 100 + number).to_be_bytes(), "10.9.0.2:9").unwrap();
            }
            let Wait::Readable(_) = port.wait() else { panic!("{:?}", port.wait()) };
            // Fewer frames than packets: the rest waits in the kernel, nothing is lost.
            let mut batch = Batch::new();
            let first = port.receive(&mut pool, &mut batch, 5);
            assert_eq!(first, Received { frames: 5, ..Received::default() });
            let mut numbers: Vec<_> = batch.iter().map(|frame| frame.bytes().to_vec()).collect();
            let mut all = Batch::new();
            let second = port.receive(&mut pool, &mut all, BATCH);
            assert_eq!((second.frames, second.lost, pool.free()), (11, 0, 0));
            numbers.extend(all.iter().map(|frame| frame.bytes().to_vec()));
            pool.put_all(&mut batch);
            pool.put_all(&mut all);
            numbers.retain(|bytes| ours(bytes));
            let rest = 100 - numbers.len();
            numbers.extend(receive(&mut port, &mut pool, rest, ours));
            let numbers: Vec<_> =
                numbers.iter().map(|bytes| u32::from_be_bytes(bytes[42..46].try_into().unwrap())).collect();
            assert_eq!(numbers, (round * 100..round * 100 + 100).collect::<Vec<_>>());
        }
        assert_eq!(pool.free(), 16);
    });
}

#[test]
fn what_does_not_fit_is_counted_and_never_cut() {
    alone("what_does_not_fit_is_counted_and_never_cut", || {
        let mut pool = pool(4);
        let (mut port, _) = Tap::open("weir-t", &Wanted { mtu: 3000, ..WANTED }).unwrap();
        assert_eq!(port.frame_max(), 3018);
        ip("addr add 10.9.0.1/24 dev weir-t");
        ip("neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev weir-t");
        let socket = UdpSocket::bind("10.9.0.1:0").unwrap();
        // 42 bytes of headers, and 1792 fit in a frame.
        for payload in [1751, 1750, 2900] {
            socket.send_to(&vec![7; payload], "10.9.0.2:9").unwrap();
        }
        let (mut frames, mut lost, mut batch) = (Vec::new(), 0, Batch::new());
        for _ in 0..20 {
            lost += port.receive(&mut pool, &mut batch, BATCH).lost;
            frames.extend(batch.iter().map(weir_packet::Frame::len).filter(|len| *len > 1000));
            pool.put_all(&mut batch);
        }
        assert_eq!((frames, lost), (vec![1792], 2));

        let (mut port, _) = Tap::open("weir-s", &Wanted { mtu: 100, ..WANTED }).unwrap();
        let sent = send(&mut port, &mut pool, &[vec![0; 118], vec![0; 119]]);
        assert_eq!((sent.sent, sent.refused.count(Refusal::TooLong), pool.free()), (1, 1, 4));
    });
}

#[test]
fn a_device_that_is_down_or_gone_refuses_and_gives_the_frames_back() {
    alone("a_device_that_is_down_or_gone_refuses_and_gives_the_frames_back", || {
        let mut pool = pool(4);
        let (mut port, _) = Tap::open("weir-t", &WANTED).unwrap();
        ip("link set weir-t down");
        assert_eq!(send(&mut port, &mut pool, &[arp_request()]).refused.count(Refusal::Down), 1);
        assert!(!port.is_gone(), "it may come up again");
        let gauges = port.gauges().unwrap();
        assert_eq!(gauges.state(), State::Up);
        ip("link set weir-t up");
        assert_eq!(send(&mut port, &mut pool, &[arp_request()]).sent, 1);
        ip("link del weir-t");
        let mut batch = Batch::new();
        assert_eq!(port.receive(&mut pool, &mut batch, BATCH), Received::default());
        assert_eq!(gauges.state().to_string(), "lost: the TAP device is gone");
        assert_eq!((port.is_gone(), port.wait()), (true, Wait::Later));
        assert_eq!(send(&mut port, &mut pool, &[arp_request()]).refused.count(Refusal::Down), 1);
        assert_eq!(pool.free(), 4);
    });
}

#[test]
fn queues_of_one_device_and_errors_have_words() {
    alone("queues_of_one_device_and_errors_have_words", || {
        let many = Wanted { queues: Queues::Many, ..WANTED };
        let (first, _) = Tap::open("weir-m", &many).unwrap();
        let (second, _) = Tap::open("weir-m", &many).unwrap();
        assert_eq!(first.index(), second.index());
        let words = Tap::open("weir-m", &WANTED).unwrap_err().to_string();
        assert!(words.starts_with("TAP weir-m: making the device: "), "{words}");
        let words = Tap::open("lo", &WANTED).unwrap_err().to_string();
        assert!(words.contains("a device of this name that is no TAP"), "{words}");
        let file = std::fs::File::open("/dev/null").unwrap();
        let words = Tap::adopt(file.into(), 0).unwrap_err().to_string();
        assert!(words.starts_with("not a TAP device's descriptor: "), "{words}");
        drop((first, second));
        // Another test may be between fork and exec, holding a copy of the descriptors for that long.
        let there = || std::fs::read_to_string("/proc/thread-self/net/dev").unwrap().contains("weir-m");
        let end = Instant::now() + Duration::from_secs(5);
        while there() && Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
        }
        assert!(!there(), "the device outlives its descriptors");
    });
}
