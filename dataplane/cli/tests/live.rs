//! Live commands against a daemon that always answers the same: words, forms, exit codes. What a real one
//! does is tested where it runs; here it is how the command line asks and what it prints.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use weir_control::problem::Diagnostic;
use weir_control::reply::{
    Applied, Conservation, Interface, MapPlan, Plan, Program, ProgramPlan, Queue, Stats,
};
use weir_control::{Cause, Problem};

fn firewall() -> Program {
    Program {
        id: 5,
        kind: "xdp".into(),
        name: "fw".into(),
        tag: "2b7a8f0f6d1c9a11".into(),
        gpl_compatible: true,
        loaded_at: 1_795_000_000,
        bytes_xlated: 416,
        jited: true,
        bytes_jited: 250,
        bytes_memlock: 4096,
        map_ids: vec![25, 26],
        prog: "firewall".into(),
        object: "fw.o".into(),
        digest: "sha256:00".into(),
        generation: 7,
        links: vec!["fw@wan:xdp".into()],
        run_cnt: 91233,
        run_time_ns: 3_741_000,
        ..Program::default()
    }
}

fn map() -> Value {
    json!({
        "id": 25, "type": "percpu_hash", "name": "flows", "flags": 0, "bytes_key": 4, "bytes_value": 8,
        "max_entries": 1024, "bytes_memlock": 16384, "frozen": 0, "program": "fw", "entries": 2,
        "evictions": 0, "update_failures": 3, "key_type": "__be32", "value_type": "struct flow", "persistent": true,
    })
}

fn entry() -> Value {
    let values = |a: u32, b: u32| json!([{"cpu": 0, "value": {"packets": a, "bytes": a * 100}}, {"cpu": 1, "value": {"packets": b, "bytes": b * 100}}]);
    json!({
        "key": ["0x0a", "0x00", "0x00", "0x01"],
        "values": [
            {"cpu": 0, "value": ["0x05", "0x00", "0x00", "0x00", "0xf4", "0x01", "0x00", "0x00"]},
            {"cpu": 1, "value": ["0x02", "0x00", "0x00", "0x00", "0xc8", "0x00", "0x00", "0x00"]},
        ],
        "formatted": {"key": 16_777_226, "values": values(5, 2)},
        "sum": {"packets": 7, "bytes": 700},
    })
}

fn applied() -> Value {
    let map = |name: &str, action: &str, entries, fields: &[&str]| MapPlan {
        name: name.into(),
        action: action.into(),
        entries,
        fields: fields.iter().map(|field| (*field).into()).collect(),
    };
    let program = ProgramPlan {
        name: "fw".into(),
        action: "replaced".into(),
        instructions: 812,
        bytes_jited: 4198,
        verify_seconds: 0.003,
        jit_seconds: 0.000_4,
    };
    let conns = map("conns", "migrated", 18212, &["+field `mark` = 0"]);
    json!(Applied {
        schema: "weir.v1.applied".into(),
        from: 7,
        to: 8,
        workers: 4,
        swap_seconds: 38e-6,
        cut: Conservation { rx: 91233, pass: 90100, drop: 1133, ..Conservation::default() },
        plan: Plan {
            programs: vec![program],
            maps: vec![map("stats", "kept", 5, &[]), conns, map("deny", "kept", 128, &[])],
            notes: Vec::new(),
        },
        etag: "\"8-1f\"".into(),
        ..Applied::default()
    })
}

fn interface() -> Value {
    let xsk = [("rx_dropped".to_owned(), 12), ("rx_ring_full".to_owned(), 0)];
    let queue = Queue { fill: 2000, rx: 4, tx: 0, completion: 1, xsk: xsk.into(), ..Queue::default() };
    json!(Interface {
        name: "wan".into(),
        device: Some("eth0".into()),
        driver: "af_xdp".into(),
        ifindex: 4,
        mac: "02:00:00:00:00:01".into(),
        mtu: 1500,
        addresses: vec!["203.0.113.2/30".into()],
        state: "up".into(),
        mode: Some("native".into()),
        zero_copy: Some(false),
        queues: vec![queue],
        ..Interface::default()
    })
}

fn stats() -> Value {
    let traffic = |packets: u64| json!({"packets": packets, "bytes": packets * 100});
    let packets = json!({"rx": 91233, "cloned": 0, "tx": 0, "pass": 90100, "drop": 1133, "consumed": 0, "held": 0, "lost": 0});
    let mut stats = json!(Stats { schema: "weir.v1.stats".into(), generation: 8, ..Stats::default() });
    stats["interfaces"] = json!([{"name": "wan", "state": "up", "received": traffic(91233), "transmitted": traffic(0), "passed": traffic(90100), "dropped": 1133}]);
    stats["drops"] = json!([{"interface": "wan", "stage": "xdp", "reason": "xdp-drop", "packets": 1133, "meaning": "a program said XDP_DROP"}]);
    stats["programs"] = json!([{"name": "fw", "type": "xdp", "judged": traffic(91233), "verdicts": {"XDP_PASS": 90100, "XDP_DROP": 1133}, "ns_per_packet": 41.2, "ns_per_packet_p99": 88.0}]);
    stats["workers"] = json!([{"worker": 0, "core": 2, "turns": 4000, "empty_turns": 1000, "packets": 91233, "busy_seconds": 0.25, "rests": 17, "quiet_seconds": 0.000_003, "alive": true}]);
    stats["queues"] = json!([{"interface": "wan", "queue": 0, "worker": 0, "frames": {"fill": 2000, "rx": 4, "tx": 0, "completion": 1}, "xsk": {"rx_dropped": 12}}]);
    stats["ledger"] = json!({"schema": "weir.v1.ledger", "holds": true, "packets": packets, "interfaces": {}, "frames": {"total": 4096, "places": {"free": 2091, "fill": 2000, "rx": 4, "completion": 1}, "lost": 0}});
    stats
}

fn rejected() -> Problem {
    let mut problem = Problem::new(Cause::Rejected, "the program `fw` of the object was rejected");
    problem.diagnostics = vec![Diagnostic {
        program: "fw".into(),
        rule: "packet-past-end".into(),
        message: "access may reach byte 16, and only 14 are proven".into(),
        insn: Some(4),
        source: Some("fw.c:9".into()),
        help: Some("if (data + 16 > data_end) return XDP_DROP;".into()),
        ..Diagnostic::default()
    }];
    problem
}

/// What the daemon says to a request.
fn answer(method: &str, path: &str, head: &str, body: &[u8]) -> Result<Value, Box<Problem>> {
    let no = |cause, detail: &str| Err(Box::new(Problem::new(cause, detail)));
    match (method, path) {
        ("GET", "/v1/programs") => {
            Ok(json!({"schema": "weir.v1.programs", "generation": 7, "programs": [firewall()]}))
        }
        ("GET", "/v1/programs/fw" | "/v1/programs/5") => Ok(json!(firewall())),
        (_, path) if path.starts_with("/v1/programs/nope") => {
            Err(Box::new(Problem::new(Cause::NotFound, "there is no program `nope`").hint("weir prog show")))
        }
        ("PUT", "/v1/programs/fw") if body.starts_with(b"bad") => Err(Box::new(rejected())),
        ("PUT", "/v1/programs/fw" | "/v1/config") if head.contains("if-match: old") => {
            no(Cause::Stale, "the configuration's ETag is \"8-1f\", not old")
        }
        ("PUT" | "DELETE", "/v1/programs/fw") | ("POST", "/v1/programs/fw/rollback") => Ok(applied()),
        ("PUT", "/v1/programs/fw?dry_run=1") => {
            let mut applied = applied();
            applied["dry_run"] = true.into();
            applied["to"] = 7.into();
            Ok(applied)
        }
        ("PUT", "/v1/config?confirm=1m") => {
            let mut applied = applied();
            applied["confirm_by"] = "2026-11-21T15:01:00Z".into();
            Ok(applied)
        }
        ("GET", "/v1/programs/fw/dump/xlated") => Ok(
            json!({"schema": "weir.v1.dump", "program": "fw", "form": "xlated", "lines": ["   0: (b7) r0 = 2", "   1: (95) exit"]}),
        ),
        ("POST", "/v1/programs/fw/run") => Ok(
            json!({"schema": "weir.v1.run", "retval": 2, "verdict": "XDP_PASS", "duration": 8, "data_out": "00"}),
        ),
        ("GET", "/v1/programs/fw/history" | "/v1/config/history") => {
            Ok(json!({"schema": "weir.v1.history", "generations": [
                {"generation": 8, "at": "2026-11-21T15:00:00Z", "change": "fw replaced", "state": "live"},
                {"generation": 7, "at": "2026-11-21T14:00:00Z", "change": "started", "state": "kept"},
            ]}))
        }
        ("GET", "/v1/maps") => Ok(json!({"schema": "weir.v1.maps", "maps": [map()]})),
        ("GET", path) if path.starts_with("/v1/maps/flows/entries?") => {
            Ok(json!({"schema": "weir.v1.entries", "map": "flows", "entries": [entry()]}))
        }
        ("GET", "/v1/maps/flows/entries/10.0.0.1") => {
            Ok(json!({"schema": "weir.v1.entry", "map": "flows", "entry": entry()}))
        }
        ("GET", "/v1/maps/flows/entries/hex%3A0a000009") => {
            no(Cause::NotFound, "map flows has no such entry")
        }
        ("PUT", "/v1/maps/deny/entries/192.0.2.0%2F24") => {
            assert_eq!(body, br#"{"value":1,"flags":"noexist"}"#);
            Ok(json!({"schema": "weir.v1.changed", "changed": 1, "detail": "deny: 1 entry put"}))
        }
        ("GET", "/v1/maps/flows/next?key=hex%3A0a000001") => Ok(
            json!({"schema": "weir.v1.next", "key": ["0x0a", "0x00", "0x00", "0x01"], "next_key": ["0x0a", "0x00", "0x00", "0x02"]}),
        ),
        ("GET", "/v1/links") => Ok(json!({"schema": "weir.v1.links", "links": [
            {"name": "fw@wan:xdp", "program": "fw", "program_id": 5, "hook": "xdp", "interface": "wan", "prio": 10, "actions": ["pass"], "direct_action": false, "classid": null},
            {"name": "cls@wan:tc-ingress", "program": "cls", "program_id": 6, "hook": "tc ingress", "interface": "wan", "prio": 100, "actions": [], "direct_action": true, "classid": null},
        ]})),
        ("DELETE", "/v1/links/fw%40wan%3Axdp") => Ok(applied()),
        ("GET", "/v1/interfaces") => Ok(json!({"schema": "weir.v1.interfaces", "interfaces": [interface()]})),
        ("GET", "/v1/interfaces/wan") => Ok(interface()),
        ("GET", "/v1/routes") => Ok(json!({"schema": "weir.v1.routes", "total": 2, "routes": [
            {"to": "0.0.0.0/0", "type": "unicast", "via": [{"gateway": "203.0.113.1", "interface": "wan", "weight": 1}], "protocol": "static", "metric": 0},
            {"to": "198.51.100.0/24", "type": "unicast", "via": [
                {"gateway": "192.0.2.10", "interface": "lan", "weight": 2}, {"gateway": "192.0.2.11", "interface": "lan", "weight": 1},
            ], "protocol": "bird", "metric": 32},
        ]})),
        ("GET", "/v1/routes/get?address=198.51.100.7") => Ok(
            json!({"schema": "weir.v1.route", "address": "198.51.100.7", "route": {"to": "198.51.100.0/24", "type": "unicast", "via": [{"gateway": "192.0.2.10", "interface": "lan", "weight": 1}], "protocol": "bird", "metric": 32}, "mac": null}),
        ),
        ("GET", "/v1/neighbors") => Ok(
            json!({"schema": "weir.v1.neighbors", "neighbors": [{"address": "192.0.2.10", "interface": "lan", "mac": "02:00:00:00:00:0a", "state": "reachable"}]}),
        ),
        ("GET", "/v1/stats") => Ok(stats()),
        ("GET", "/v1/config") => Ok(
            json!({"schema": "weir.v1.config", "generation": 8, "etag": "\"8-1f\"", "text": "version = 1\n", "since": "2026-11-21T15:00:00Z"}),
        ),
        ("POST", "/v1/config/diff") => Ok(
            json!({"schema": "weir.v1.diff", "differs": true, "text": "-version = 1\n+version = 1 # one\n", "plan": null}),
        ),
        ("GET", "/v1/traces") => Ok(
            json!({"schema": "weir.v1.traces", "traces": [{"at": "2026-11-21T15:00:00Z", "interface": "wan", "packet": "0200000000010200000000020800450000", "stages": [
                {"stage": "receive", "program": null, "result": "queue 0"}, {"stage": "xdp", "program": "fw", "result": "XDP_DROP"},
            ]}]}),
        ),
        _ => no(Cause::NotFound, &format!("the test's daemon knows no {method} {path}")),
    }
}

/// Answers one connection.
fn serve(mut stream: UnixStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let length =
        head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    if path == "/v1/events" {
        let event = r#"{"type":"swap","at":"2026-11-21T15:00:00Z","data":{"from":7,"to":8}}"#;
        return write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n: hello\n\ndata: {event}\n\ndata: {event}\n\n"
        );
    }
    let (status, body) = match answer(method, path, &head.to_lowercase(), &body) {
        Ok(value) => (200, value.to_string()),
        Err(problem) => (problem.status, json!(problem).to_string()),
    };
    write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

/// A folder with a daemon's socket in it.
fn daemon(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let socket = folder.join("weir.sock");
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(|| serve(stream));
        }
    });
    folder
}

#[test]
fn live_commands_ask_and_answer_as_the_pages_say() {
    let folder = daemon("live");
    std::fs::write(folder.join("fw2.o"), b"good").unwrap();
    std::fs::write(folder.join("bad.o"), b"bad").unwrap();
    std::fs::write(folder.join("packet.bin"), [0u8; 60]).unwrap();
    std::fs::write(folder.join("new.toml"), "version = 1 # one\n").unwrap();
    std::env::set_current_dir(&folder).unwrap();
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live/*.trycmd");
    trycmd::TestCases::new().env("WEIR_SOCK", "weir.sock").case(cases);
}

/// A terminal that a test types into, ended with the test.
struct Terminal {
    server: String,
}

impl Terminal {
    /// Runs a command in a terminal of 100 by 24; `None` without tmux.
    fn run(command: &str) -> Option<Terminal> {
        let server = format!("weir-test-{}", std::process::id());
        let size = ["-x", "100", "-y", "24"];
        let mut start = Command::new("tmux");
        start.args(["-L", &server, "-f", "/dev/null", "new-session", "-d"]).args(size).arg(command);
        start.env("LC_ALL", "C.UTF-8").status().ok().filter(|status| status.success())?;
        Some(Terminal { server })
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let done = Command::new("tmux").args(["-L", &self.server]).args(arguments).output().unwrap();
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    /// The screen, once it shows this; fails with the screen when it does not within some seconds.
    fn shows(&self, text: &str) -> String {
        self.until(|screen| screen.contains(text), text)
    }

    /// Waits until the screen shows this no more.
    fn gone(&self, text: &str) {
        self.until(|screen| !screen.contains(text), text);
    }

    fn until(&self, wanted: impl Fn(&str) -> bool, what: &str) -> String {
        for _ in 0..100 {
            let screen = self.tmux(&["capture-pane", "-p"]);
            if wanted(&screen) {
                return screen;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("waited in vain for `{what}`:\n{}", self.tmux(&["capture-pane", "-p"]));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

#[test]
fn top_draws_on_a_terminal_and_its_keys_do_what_they_say() {
    let socket = daemon("top").join("weir.sock");
    let weir = env!("CARGO_BIN_EXE_weir");
    let command = format!("{weir} --sock {} top -d 0.2; echo ended with $?; sleep 60", socket.display());
    let Some(terminal) = Terminal::run(&command) else {
        eprintln!("skipped: needs tmux");
        return;
    };
    let screen = terminal.shows("> fw ");
    assert!(screen.starts_with("weir  generation 8  up 0s"), "{screen}");
    assert!(screen.contains("lost 0 (rx 91 233 = pass 90 100 + drop 1 133)"), "{screen}");
    assert!(screen.contains("q quit"), "{screen}");
    terminal.press("Enter");
    terminal.shows("fw: packets/s 0, at most 0");
    // A letter right after Escape would be read as Alt with it.
    terminal.press("Escape");
    terminal.gone("at most 0");
    terminal.press("3");
    terminal.shows("xdp-drop");
    terminal.press("f");
    for letter in ["l", "a", "n"] {
        terminal.press(letter);
    }
    terminal.shows("filter: lan");
    terminal.shows("no drops");
    terminal.press("Escape");
    terminal.gone("filter:");
    terminal.press("Tab");
    terminal.shows("alive");
    terminal.press("q");
    terminal.shows("ended with 0");
}
