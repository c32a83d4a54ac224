//! A namespace of a test's own, with veth pairs in it; gone with the thread that made it.

use std::process::Command;
use std::time::{Duration, Instant};

use weir_io::Port;
use weir_packet::{Batch, Frame, Pool};
use weir_sys::namespace::NetNamespace;

/// Runs a test in a namespace of its own; skips it, with a word, where that cannot be had.
pub(crate) fn world(test: &str, run: impl FnOnce() + Send + 'static) {
    let namespace = match NetNamespace::create() {
        Ok(namespace) => namespace,
        Err(error) => {
            println!("{test}: skipped: needs a network namespace of its own (CAP_SYS_ADMIN): {error}");
            return;
        }
    };
    if let Err(why) = weir_sys::bpf::available() {
        println!("{test}: skipped: {why}");
        return;
    }
    let thread = std::thread::spawn(move || {
        namespace.enter().unwrap();
        drop(namespace);
        run();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// `ip` with these words, in this thread's namespace.
pub(crate) fn ip(words: &str) -> String {
    let output = Command::new("ip").args(words.split_whitespace()).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A pair of devices, up, with so many queues, and nothing of IPv6 that would send by itself.
pub(crate) fn pair(one: &str, other: &str, queues: u32) {
    let many = format!("numrxqueues {queues} numtxqueues {queues}");
    ip(&format!("link add {one} {many} type veth peer name {other} {many}"));
    for device in [one, other] {
        let switch = format!("/proc/sys/net/ipv6/conf/{device}/disable_ipv6");
        std::fs::write(switch, "1").expect("/proc is writable");
        ip(&format!("link set {device} up"));
    }
}

/// A frame with a number in it.
pub(crate) fn numbered(pool: &mut Pool, number: u32, len: usize) -> Frame {
    let mut packet = vec![0x5a; len];
    packet[..6].fill(0xff);
    packet[6..12].fill(0x02);
    // An EtherType for experiments (IEEE 802.1), which no stack answers.
    packet[12..14].copy_from_slice(&[0x88, 0xb5]);
    packet[14..18].copy_from_slice(&number.to_be_bytes());
    let mut frame = pool.take().expect("the pool has a frame");
    frame.fill(&packet).expect("it fits");
    frame
}

/// The number in a frame that `numbered` made.
pub(crate) fn number(frame: &Frame) -> Option<u32> {
    let bytes = frame.bytes();
    (bytes.get(12..14)? == [0x88, 0xb5]).then_some(())?;
    Some(u32::from_be_bytes(*bytes.get(14..)?.first_chunk()?))
}

/// Sends the numbers of a range, waiting for room.
pub(crate) fn send_all(port: &mut dyn Port, pool: &mut Pool, numbers: std::ops::Range<u32>, len: usize) {
    let mut next = numbers.start;
    until("all is sent", || {
        let mut batch = Batch::new();
        let room = port.send_room().min(32).min(pool.free() / 2) as u32;
        for number in next..(next + room).min(numbers.end) {
            batch.push(numbered(pool, number, len)).unwrap();
        }
        let count = batch.len();
        let sent = port.send(pool, &mut batch);
        assert_eq!(sent.sent, count, "{:?}", sent.refused);
        next += count as u32;
        port.flush(pool);
        next == numbers.end
    });
}

/// Receives for as long as `more` says so of the numbers so far.
pub(crate) fn receive_until(
    port: &mut dyn Port,
    pool: &mut Pool,
    mut enough: impl FnMut(&[u32]) -> bool,
) -> Vec<u32> {
    let mut numbers = Vec::new();
    until("enough is received", || {
        let mut batch = Batch::new();
        let received = port.receive(pool, &mut batch, 64);
        assert_eq!(received.frames, batch.len());
        numbers.extend(batch.iter().filter_map(number));
        pool.put_all(&mut batch);
        enough(&numbers)
    });
    numbers
}

/// Repeats until it is so; that must be within ten seconds.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !so() {
        assert!(Instant::now() < deadline, "waited ten seconds until {what}");
    }
}
