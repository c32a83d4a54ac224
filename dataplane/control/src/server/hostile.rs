//! The server's worst clients, and a good one beside them.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::tests::Running;

/// How many clients come at once.
const CROWD: usize = 1000;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, |folder| folder.count())
}

/// Bytes without meaning, the same in each run.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes
}

#[test]
fn garbage_is_refused() {
    let server = Running::start();
    for seed in 1..200u64 {
        let answer = server.say(noise(seed, (seed * 37 % 4000) as usize));
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    for bytes in [
        "\r\n\r\n",
        "GET",
        "GET /v1/version",
        "GET /v1/version HTTP/9.9\r\n\r\n",
        "GET /v1/version HTTP/1.1\r\nhost weir\r\n\r\n",
        "GET http://elsewhere/v1/version HTTP/1.1\r\nhost: weir\r\n\r\n",
        "PUT /v1/config HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        "PUT /v1/config HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n",
        "PUT /v1/config HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        "PUT /v1/config HTTP/1.1\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        "PUT /v1/config HTTP/1.1\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\nx",
    ] {
        let answer = server.say(bytes);
        println!(
            "{:<60} {}",
            bytes.escape_debug().to_string().chars().take(60).collect::<String>(),
            answer.lines().next().unwrap_or("closed")
        );
    }
    println!("after garbage: {:?}", server.alive());
}

#[test]
fn a_chunked_body_has_the_same_limit() {
    let server = Running::start();
    let mut stream = server.connect();
    stream.write_all(b"PUT /v1/config HTTP/1.1\r\nhost: weir\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
    let chunk = format!("10000\r\n{}\r\n", "a".repeat(0x10000));
    // It may close before we have said everything.
    let written = (0..200).take_while(|_| stream.write_all(chunk.as_bytes()).is_ok()).count();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(written < 200, "13 MB were taken");
    server.alive();
}

#[test]
fn half_a_connection_is_answered_whole() {
    let server = Running::start();
    assert!(server.say("GET /v1/version HTTP/1.1\r\nhost: weir\r\n\r\n").starts_with("HTTP/1.1 200"));
    let pipelined = "GET /v1/version HTTP/1.1\r\nhost: weir\r\n\r\n".repeat(50);
    assert_eq!(server.say(pipelined).matches("HTTP/1.1 200").count(), 50);
}

#[test]
fn a_crowd_of_slow_clients_keeps_nobody_waiting() {
    let server = Running::start();
    let before = descriptors();
    let mut crowd: Vec<UnixStream> = (0..CROWD).map(|_| server.connect()).collect();
    // A third says nothing, a third part of a head, a third part of a body; all of it byte by byte.
    for (number, stream) in crowd.iter_mut().enumerate() {
        let said: &[u8] = match number % 3 {
            0 => b"",
            1 => b"GET /v1/ver",
            _ => b"PUT /v1/config HTTP/1.1\r\nhost: weir\r\ncontent-type: text/plain\r\ncontent-length: 50\r\n\r\nv",
        };
        let _ = stream.write_all(said);
    }
    let began = Instant::now();
    let mut worst = Duration::ZERO;
    while began.elapsed() < Duration::from_millis(1500) {
        crowd.iter_mut().for_each(|stream| drop(stream.write(b"e")));
        worst = worst.max(server.alive());
    }
    println!("beside {CROWD} slow clients, the slowest answer took {worst:?}");
    drop(crowd);
    server.alive();
    std::thread::sleep(Duration::from_millis(300));
    println!("descriptors: {before} before, {} after", descriptors());
}

#[test]
fn who_comes_behind_a_crowd_is_answered_soon() {
    let server = Running::start();
    server.alive();
    for _ in 0..3 {
        let began = Instant::now();
        let crowd: Vec<UnixStream> = (0..CROWD).map(|_| server.connect()).collect();
        let came = began.elapsed();
        println!("{CROWD} clients came within {came:?}; behind them the answer took {:?}", server.alive());
        drop(crowd);
    }
}

#[test]
fn a_thousand_clients_are_all_answered() {
    let server = Running::start();
    let began = Instant::now();
    let mut crowd: Vec<UnixStream> = (0..CROWD).map(|_| server.connect()).collect();
    for stream in &mut crowd {
        stream.write_all(b"GET /v1/version HTTP/1.1\r\nhost: weir\r\nconnection: close\r\n\r\n").unwrap();
    }
    let answered = crowd.into_iter().filter_map(|mut stream| {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok().filter(|_| answer.starts_with("HTTP/1.1 200"))
    });
    assert_eq!(answered.count(), CROWD);
    println!("{CROWD} clients were answered in {:?}", began.elapsed());
}

#[test]
fn who_does_not_read_is_left_alone() {
    let server = Running::start();
    let mut stream = server.connect();
    stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let request = b"GET /v1/version HTTP/1.1\r\nhost: weir\r\n\r\n";
    let written = (0..50_000).take_while(|_| stream.write_all(request).is_ok()).count();
    println!(
        "{written} requests were taken of a client that reads no answer; beside it {:?}",
        server.alive()
    );
    assert!(written < 50_000);
}
