//! Whoever gets at the socket cannot stop packets, nor the answers that others get.
//!
//! `WEIR_ABUSE=SECONDS` goes on for longer than a test should; the figures are printed as a JSON line.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use weir_control::Action;
use weir_control::reply::Version;

use crate::daemon::{Daemon, Traffic, ask, dropped, folder, socket, sum};

/// Packets a second that flow meanwhile.
const RATE: u32 = 5000;
/// Clients that connect and stay.
const CLIENTS: usize = 1000;

struct Abuse {
    path: PathBuf,
    begun: AtomicBool,
    over: AtomicBool,
    attempts: AtomicU64,
}

impl Abuse {
    fn goes_on(&self) -> bool {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        !self.over.load(Ordering::Relaxed)
    }

    /// A connection that nobody waits for long; the server may refuse, or close early.
    fn connect(&self) -> Option<UnixStream> {
        let stream = UnixStream::connect(&self.path).ok()?;
        stream.set_read_timeout(Some(Duration::from_millis(200))).ok()?;
        stream.set_write_timeout(Some(Duration::from_millis(200))).ok()?;
        Some(stream)
    }

    /// Says this, and hears what comes.
    fn say(&self, bytes: &[u8]) {
        let Some(mut stream) = self.connect() else { return };
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut heard = Vec::new();
        let _ = stream.take(1 << 20).read_to_end(&mut heard);
    }

    /// Bytes that are no request, and requests with bytes turned over.
    fn garbage(&self) {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        while self.goes_on() {
            let mut bytes: Vec<u8> = match random() % 2 {
                0 => (0..random() % 4000).map(|_| random() as u8).collect(),
                _ => b"PUT /v1/programs/firewall?dry_run=1 HTTP/1.1\r\nhost: w\r\ncontent-type: application/octet-stream\r\ncontent-length: 40\r\n\r\n0123456789012345678901234567890123456789".to_vec(),
            };
            for _ in 0..random() % 6 {
                let length = bytes.len().max(1) as u64;
                if let Some(byte) = bytes.get_mut((random() % length) as usize) {
                    *byte = random() as u8;
                }
            }
            self.say(&bytes);
        }
    }

    /// Heads, bodies, JSON and addresses larger than anyone needs; bodies that lie about their length.
    fn oversized(&self) {
        let header = format!("GET /v1/stats HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(1 << 20));
        let many = format!("GET /v1/stats HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(20_000));
        let address = format!("GET /v1/maps/{} HTTP/1.1\r\nhost: w\r\n\r\n", "a".repeat(100_000));
        let claimed = "PUT /v1/config HTTP/1.1\r\nhost: w\r\ncontent-type: application/toml\r\ncontent-length: 99999999999\r\n\r\nx".to_owned();
        let chunk = format!("{:x}\r\n{}\r\n", 1 << 16, "a".repeat(1 << 16));
        let chunked = format!(
            "PUT /v1/config HTTP/1.1\r\nhost: w\r\ncontent-type: application/toml\r\ntransfer-encoding: chunked\r\n\r\n{}",
            chunk.repeat(100)
        );
        let nested = "[".repeat(60_000);
        let nested = format!(
            "POST /v1/traces HTTP/1.1\r\nhost: w\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{nested}",
            nested.len()
        );
        let twice = "POST /v1/traces HTTP/1.1\r\nhost: w\r\ncontent-type: application/json\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n{}".to_owned();
        let all = [header, many, address, claimed, chunked, nested, twice];
        for request in all.iter().cycle().take_while(|_| self.goes_on()) {
            self.say(request.as_bytes());
        }
    }

    /// Addresses that mean another place, or none.
    fn tricks(&self) {
        let paths = [
            "/../../etc/passwd",
            "/v1/../metrics",
            "/v1/maps/%2e%2e/entries",
            "//v1/stats",
            "/v1//stats",
            "/v1/maps/%00",
            "/v1/maps/%ff",
            "/v1/maps/a%2fb",
            "/v1/stats/",
            "*",
            "http://elsewhere/v1/stats",
            "/v1/stats?%",
            "/v1/routes?limit=-1",
            "/v1/config?confirm=1e9s",
            "/v1/programs/%F0%9F%92%A9",
        ];
        for path in paths.iter().cycle().take_while(|_| self.goes_on()) {
            for method in ["GET", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"] {
                self.say(
                    format!("{method} {path} HTTP/1.1\r\nhost: w\r\ncontent-length: 0\r\n\r\n").as_bytes(),
                );
            }
        }
    }

    /// A byte now and then, of heads and of bodies, by many at once.
    fn slow(&self) {
        let head = b"GET /v1/stats HTTP/1.1\r\nhost: w\r\nx-a: ";
        let body = b"PUT /v1/programs/firewall HTTP/1.1\r\nhost: w\r\ncontent-type: application/octet-stream\r\ncontent-length: 16000000\r\n\r\n";
        let mut streams: Vec<UnixStream> = Vec::new();
        while self.goes_on() {
            if streams.len() < 100 {
                let first: &[u8] = if streams.len().is_multiple_of(2) { head } else { body };
                streams.extend(self.connect().filter(|stream| (&*stream).write_all(first).is_ok()));
            }
            streams.retain(|mut stream| stream.write_all(b"a").is_ok());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asks for much, and reads nothing.
    fn deaf(&self) {
        let request = b"GET /v1/stats HTTP/1.1\r\nhost: w\r\n\r\n".repeat(200);
        let mut streams: Vec<UnixStream> = Vec::new();
        while self.goes_on() {
            if streams.len() >= 30 {
                streams.clear();
            }
            streams.extend(self.connect().filter(|stream| (&*stream).write_all(&request).is_ok()));
            streams.extend(self.connect().filter(|stream| {
                (&*stream).write_all(b"GET /v1/events HTTP/1.1\r\nhost: w\r\n\r\n").is_ok()
            }));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Says half of something and closes one direction, or all.
    fn half_closed(&self) {
        let requests: [&[u8]; 4] = [
            b"", b"GET /v1/st", b"GET /v1/stats HTTP/1.1\r\nhost: w\r\n",
            b"PUT /v1/programs/firewall HTTP/1.1\r\nhost: w\r\ncontent-type: application/octet-stream\r\ncontent-length: 5000\r\n\r\nhalf",
        ];
        for request in requests.iter().cycle().take_while(|_| self.goes_on()) {
            self.say(request);
            let Some(mut stream) = self.connect() else { continue };
            let _ = stream.write_all(request);
            drop(stream);
        }
    }

    /// Connects again and again until there are a thousand, and stays.
    fn crowd(&self) {
        let mut streams = Vec::new();
        while self.goes_on() {
            if streams.len() < CLIENTS {
                streams.extend(self.connect());
            } else {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// Has this thread run before all others, as far as it may: what is measured is how long weir takes, and not how long
/// the one who asks waits for a core that those who abuse have.
fn prefer_this_thread() {
    let Ok(thread) = std::fs::read_link("/proc/thread-self") else { return };
    let Some(number) = thread.file_name() else { return };
    let _ = Command::new("renice").args(["-n", "-20", "-p"]).arg(number).output();
}

/// Times to an answer, sorted.
fn ask_meanwhile(daemon: &Daemon, until: Instant) -> Vec<Duration> {
    let client = daemon.client();
    let mut times = Vec::new();
    while Instant::now() < until {
        let begin = Instant::now();
        let version: Version = client.get(&Action::Version {}).expect("a valid client is answered");
        assert_eq!(version.pid, daemon.pid());
        times.push(begin.elapsed());
        std::thread::sleep(Duration::from_millis(5));
    }
    times.sort();
    times
}

/// How much later than asked for a thread wakes up that is preferred as the one who asks is: what the machine and its
/// other tenants take is in every answer's time as well. Sorted.
fn sleep_meanwhile(until: Instant) -> Vec<Duration> {
    prefer_this_thread();
    let pause = Duration::from_millis(1);
    let mut late = Vec::new();
    while Instant::now() < until {
        let begin = Instant::now();
        std::thread::sleep(pause);
        late.push(begin.elapsed().saturating_sub(pause));
    }
    late.sort();
    late
}

#[test]
fn abuse_of_the_socket_costs_no_packet() {
    weir_sys::limits::raise_descriptors();
    // Else this process waits for its own table of descriptors to grow, and takes it for weir's waiting.
    weir_sys::limits::reserve_descriptors(4096).unwrap();
    let seconds = std::env::var("WEIR_ABUSE").ok().and_then(|text| text.parse().ok()).unwrap_or(3.0);
    let daemon = Daemon::start("abuse", Traffic::Flowing(RATE));
    let (begun, over, attempts) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU64::new(0));
    let abuse = Abuse { path: socket("abuse"), begun, over, attempts };
    let quiet = ask_meanwhile(&daemon, Instant::now() + Duration::from_millis(500));
    let before = daemon.stats();
    let (times, late) = std::thread::scope(|scope| {
        let ways = [
            Abuse::garbage,
            Abuse::oversized,
            Abuse::tricks,
            Abuse::slow,
            Abuse::deaf,
            Abuse::half_closed,
            Abuse::crowd,
        ];
        for way in ways {
            let abuse = &abuse;
            scope.spawn(move || {
                while !abuse.begun.load(Ordering::Acquire) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                way(abuse)
            });
        }
        // After they were started, who would be preferred as well.
        prefer_this_thread();
        abuse.begun.store(true, Ordering::Release);
        let until = Instant::now() + Duration::from_secs_f64(seconds);
        let witness = scope.spawn(move || sleep_meanwhile(until));
        let times = ask_meanwhile(&daemon, until);
        abuse.over.store(true, Ordering::Relaxed);
        (times, witness.join().unwrap())
    });
    let stats = daemon.until("the ledger holds", |stats| stats.ledger.holds);
    let (came, went) =
        (sum(&stats, "wan").0 - sum(&before, "wan").0, stats.uptime_seconds - before.uptime_seconds);
    // The capture plays by the clock: whoever holds a worker up makes it late.
    let rate = came as f64 / went / f64::from(RATE);
    assert!(rate > 0.5, "{came} packets in {went} s");
    assert!(stats.ledger.holds && stats.ledger.packets.lost == 0, "{:?}", stats.ledger);
    assert_eq!(stats.ledger.frames.lost, 0);
    let reasons: Vec<&str> = stats.drops.iter().map(|drop| drop.reason.as_str()).collect();
    assert_eq!(reasons, ["xdp-drop"], "packets were dropped for other reasons");
    assert_eq!(stats.generation, 1, "somebody changed something");
    assert!(dropped(&stats) + sum(&stats, "lan").1 <= sum(&stats, "wan").0);
    let at = |times: &[Duration], share: f64| {
        let place = ((times.len() - 1) as f64 * share) as usize;
        times.get(place).map(|time| (time.as_secs_f64() * 1e5).round() / 100.0)
    };
    let figures = |times: &[Duration]| json!({ "times": times.len(), "p50_ms": at(times, 0.5), "p99_ms": at(times, 0.99), "max_ms": at(times, 1.0) });
    println!(
        "{}",
        json!({
            "case": "abuse of the control socket", "seconds": seconds, "attempts": abuse.attempts.load(Ordering::Relaxed),
            "packets": came, "rate_of_wanted": (rate * 1000.0).round() / 1000.0, "lost": stats.ledger.packets.lost,
            "quiet": figures(&quiet), "abused": figures(&times), "waking_late": figures(&late),
        })
    );
    let log = daemon.log();
    assert!(!log.contains("panicked"), "{log}");
    daemon.end();
}

/// As the user whom nobody trusts, by curl; `None` without root, who alone can become another.
fn nobody(path: &Path, method: &str, place: &str) -> Option<(i32, String)> {
    let mut curl = Command::new("curl");
    curl.args(["-s", "-m", "5", "-X", method, "--unix-socket"]).arg(path).arg(format!("http://weir{place}"));
    let output = curl.uid(65534).gid(65534).output().ok()?;
    Some((output.status.code()?, String::from_utf8_lossy(&output.stdout).into_owned()))
}

#[test]
fn a_stranger_is_told_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o755)).unwrap();
    let open = place.join("weir.sock");
    let daemon = Daemon::start("stranger", Traffic::Flowing(500));
    // The file keeps strangers out, and where somebody opened it to all, the daemon does.
    std::fs::rename(socket("stranger"), &open).unwrap();
    let Some((code, _)) = nobody(&open, "GET", "/v1/version") else {
        eprintln!("skipped: needs root and curl");
        std::fs::rename(&open, socket("stranger")).unwrap();
        return;
    };
    assert_eq!(code, 7, "connecting is refused");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o666)).unwrap();
    for (method, path) in [
        ("GET", "/v1/version"),
        ("GET", "/metrics"),
        ("PUT", "/v1/config"),
        ("DELETE", "/v1/programs/firewall"),
    ] {
        let (code, answer) = nobody(&open, method, path).unwrap();
        assert!(
            code == 0 && answer.contains("\"status\":403") && answer.contains("user 65534 has none"),
            "{answer}"
        );
    }
    daemon.says("weir::audit");
    assert!(daemon.log().contains("uid=65534"));
    std::fs::rename(&open, socket("stranger")).unwrap();
    ask(&daemon, 0, &["stats"]);
    daemon.end();
}

#[test]
fn a_client_that_dies_in_the_middle_changes_nothing() {
    let daemon = Daemon::start("died", Traffic::Flowing(500));
    let object = std::fs::read(folder().join("firewall.o")).unwrap();
    for part in [0, 1, object.len() / 2, object.len() - 1] {
        let mut stream = UnixStream::connect(socket("died")).unwrap();
        let head = format!(
            "PUT /v1/programs/firewall HTTP/1.1\r\nhost: w\r\ncontent-type: application/octet-stream\r\ncontent-length: {}\r\n\r\n",
            object.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&object[..part]).unwrap();
    }
    // Frames on their way while a worker is asked may be counted at the next look.
    let stats = daemon.until("the ledger holds", |stats| stats.ledger.holds);
    assert_eq!(stats.generation, 1, "{}", daemon.log());
    daemon.end();
}
