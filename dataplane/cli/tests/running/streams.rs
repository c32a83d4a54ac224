//! What goes on while packets flow: captures, traces, events, what programs say.

use std::process::{Child, Output, Stdio};

use serde_json::Value;

use crate::daemon::{Daemon, Traffic, ask, folder, socket, weir};

/// A verb that goes on, in the background.
fn begin(name: &str, arguments: &[&str]) -> Child {
    let mut command = weir(arguments);
    command.env("WEIR_SOCK", socket(name)).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What it printed, a JSON value a line, once it has ended by itself.
fn lines(child: Child) -> Vec<Value> {
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    let text = String::from_utf8(stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The types of the blocks of a pcapng file, and the comments in it.
fn blocks(file: &[u8]) -> (Vec<u32>, Vec<String>) {
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let (mut types, mut at) = (Vec::new(), 0);
    while at < file.len() {
        types.push(word(at));
        at += word(at + 4) as usize;
    }
    assert_eq!(at, file.len(), "the last block is whole");
    let text = String::from_utf8_lossy(file);
    let comments = text.match_indices("worker 0").map(|(end, _)| {
        let start = text[..end].rfind(|c: char| !c.is_ascii_graphic() && c != ' ').unwrap_or(0);
        text[start..end].trim_matches(|c: char| !c.is_ascii_alphabetic()).to_owned()
    });
    (types, comments.collect())
}

const ENHANCED_PACKET: u32 = 6;

#[test]
fn packets_are_captured_with_verdict_and_reason() {
    let daemon = Daemon::start("captures", Traffic::Flowing(500));
    let read = |file: &str| blocks(&std::fs::read(folder().join(file)).unwrap());
    let packets = |types: &[u32]| types.iter().filter(|kind| **kind == ENHANCED_PACKET).count();

    ask(&daemon, 0, &["capture", "-i", "wan", "-c", "20", "-s", "64", "-w", "all.pcapng"]);
    assert_eq!(packets(&read("all.pcapng").0), 20);

    ask(&daemon, 0, &["capture", "--verdict", "drop", "-c", "3", "-w", "drop.pcapng"]);
    let (types, comments) = read("drop.pcapng");
    assert_eq!((packets(&types), comments), (3, vec!["drop xdp-drop".to_owned(); 3]));

    ask(&daemon, 0, &["capture", "--reason", "xdp-drop", "-c", "2", "-w", "reason.pcapng"]);
    assert_eq!(packets(&read("reason.pcapng").0), 2);

    ask(&daemon, 0, &["capture", "--at", "entry,exit", "-i", "wan", "-c", "4", "-w", "both.pcapng"]);
    assert_eq!(packets(&read("both.pcapng").0), 4);
    let info = ask(&daemon, 0, &["pcap", "info", "all.pcapng"]);
    assert!(info.contains("20 records"), "{info}");

    ask(&daemon, 0, &["capture", "-i", "wan", "-c", "5", "-w", "udp.pcapng", "ip", "and", "udp"]);
    let taken = std::fs::read(folder().join("udp.pcapng")).unwrap();
    let udp = taken.windows(24).filter(|at| at[..2] == [8, 0] && at[2] >> 4 == 4 && at[11] == 17).count();
    assert!(packets(&blocks(&taken).0) == 5 && udp >= 5, "{udp} packets look like UDP");
    let said = ask(&daemon, 2, &["capture", "-w", "none.pcapng", "tcp", "prot", "80"]);
    assert!(said.contains("filter, column 5: found `prot`, wanted `and`, `or` or the end"), "{said}");
    let said = ask(&daemon, 2, &["capture", "-w", "none.pcapng", "--verdict", "perhaps"]);
    assert!(said.contains("there is no verdict `perhaps`: there is "), "{said}");
    let said = ask(&daemon, 1, &["capture", "-w", "none.pcapng", "-i", "nowhere"]);
    assert!(said.contains("there is no interface `nowhere`; there is east, lan, wan, west"), "{said}");
    daemon.end();
}

#[test]
fn a_packets_way_is_told_stage_by_stage() {
    let daemon = Daemon::start("traces", Traffic::Flowing(500));
    ask(&daemon, 0, &["trace", "add", "-n", "3", "-i", "wan"]);
    let begin = std::time::Instant::now();
    let traces = loop {
        let traces: Value = serde_json::from_str(&ask(&daemon, 0, &["-j", "trace", "show"])).unwrap();
        match traces["traces"].as_array().unwrap().len() {
            3 => break traces,
            _ => assert!(begin.elapsed() < crate::daemon::PATIENCE),
        }
    };
    let stages: Vec<&str> = traces["traces"][0]["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| stage["stage"].as_str().unwrap())
        .collect();
    assert_eq!(stages[..2], ["receive wan", "xdp wan"], "{stages:?}");
    assert_eq!(*stages.last().unwrap(), "end");
    let text = ask(&daemon, 0, &["trace", "show"]);
    assert!(text.contains("firewall: XDP_"), "{text}");
    assert!(ask(&daemon, 0, &["trace", "clear"]).contains("3 packets are forgotten"));
    assert!(ask(&daemon, 0, &["trace", "show"]).contains("no packet was followed yet"));
    assert!(ask(&daemon, 2, &["trace", "add", "-n", "0"]).contains("`count` is from 1 to 1000"));
    ask(&daemon, 0, &["trace", "add", "-n", "2", "icmp6 and not icmp6"]);
    let said = ask(&daemon, 2, &["trace", "add", "host"]);
    assert!(said.contains("filter, column 5: it ends here, and an address is wanted"), "{said}");
    daemon.end();
}

#[test]
fn programs_are_heard_in_each_way_they_have() {
    let daemon = Daemon::start("says", Traffic::Flowing(500));
    ask(&daemon, 0, &["prog", "load", "tell.o", "tell", "xdp", "dev", "wan", "prio", "1"]);

    let said = lines(begin("says", &["-j", "map", "event_pipe", "ring", "-n", "3"]));
    for record in &said {
        let bytes = record["data"]["bytes"].as_str().unwrap();
        let number = u64::from_str_radix(&bytes[..16], 16).unwrap().swap_bytes();
        assert_eq!((record["type"].as_str(), bytes.len(), number % 16), (Some("record"), 32, 0));
    }
    assert_eq!(said.len(), 3);

    let said = lines(begin("says", &["-j", "map", "event_pipe", "events", "-n", "2"]));
    assert!(said.iter().all(|record| record["data"]["worker"] == 0), "{said:?}");

    let mut log = begin("says", &["-j", "prog", "tracelog", "tell"]);
    let mut first = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(log.stdout.take().unwrap()), &mut first)
        .unwrap();
    let first: Value = serde_json::from_str(&first).unwrap();
    assert!(first["data"]["text"].as_str().unwrap().contains(" bytes"), "{first}");
    log.kill().unwrap();
    log.wait().unwrap();

    let watched = lines(begin("says", &["-j", "map", "watch", "last", "--every", "100ms", "-n", "2"]));
    assert!(watched.iter().all(|change| change["type"] == "update"), "{watched:?}");
    let text = begin("says", &["map", "watch", "last", "--every", "100ms", "-n", "1"]);
    let text = String::from_utf8(text.wait_with_output().unwrap().stdout).unwrap();
    assert!(text.contains("  update      key 0  value {\"number\":"), "{text}");

    let said = ask(&daemon, 2, &["map", "event_pipe", "last"]);
    assert!(
        said.contains("last is of type array: programs write streams into ringbuf and perf_event_array maps"),
        "{said}"
    );
    daemon.end();
}

#[test]
fn events_tell_what_happens() {
    let daemon = Daemon::start("events", Traffic::Flowing(500));
    let told = begin("events", &["-j", "events", "-n", "2"]);
    // The listener is heard of nowhere, so changes are made until it has heard of two.
    let mut told = Some(told);
    while let Some(mut child) = told.take() {
        ask(&daemon, 0, &["prog", "replace", "firewall", "with", "firewall.o"]);
        match child.try_wait().unwrap() {
            Some(_) => {
                let told = lines(child);
                assert!(told.iter().all(|event| event["type"] == "swapped"), "{told:?}");
                assert!(told[0]["data"]["text"].as_str().unwrap().contains("lost 0 ("), "{told:?}");
                break;
            }
            None => told = Some(child),
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    daemon.end();
}

#[test]
fn rates_are_watched() {
    let daemon = Daemon::start("rates", Traffic::Flowing(500));
    let looks = lines(begin("rates", &["-j", "stats", "--watch", "0.2", "-n", "3"]));
    let received = |look: &Value| look["interfaces"][2]["received"]["packets"].as_u64().unwrap();
    assert_eq!(looks[0]["interfaces"][2]["name"], "wan");
    let seen = looks.iter().map(received).collect::<Vec<_>>();
    assert!(seen.is_sorted() && seen[2] <= crate::daemon::sum(&daemon.stats(), "wan").0, "{seen:?}");
    let text = ask(&daemon, 0, &["stats", "--watch", "0.2", "-n", "2"]);
    assert!(text.contains("rx pps"), "{text}");
    let text = ask(&daemon, 0, &["top", "--batch", "-n", "1", "-d", "0.3"]);
    assert!(text.contains("packets/s") && text.contains("lost 0 ("), "{text}");
    let looks = lines(begin("rates", &["-j", "top", "--batch", "-n", "2", "-d", "0.1"]));
    assert_eq!((looks.len(), looks[0]["schema"].as_str()), (2, Some("weir.v1.stats")));
    daemon.end();
}
