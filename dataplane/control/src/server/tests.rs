//! The server with a backend of its own: what is asked rightly, and wrongly.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::audit::Audit;
use super::feed::{Feed, feed};
use super::peer::{Peer, Policy};
use super::{Backend, Door, Given, Server, json};
use crate::action::field::{Octets, Toml};
use crate::action::{Action, Kind};
use crate::client::{Client, ClientError};
use crate::problem::{Cause, Problem};
use crate::reply;

/// Answers a few actions, and makes generations of nothing.
#[derive(Debug, Default)]
pub(super) struct Fake {
    generation: AtomicU64,
    feeds: Mutex<Vec<Feed>>,
    reverted: AtomicU64,
}

impl Backend for Fake {
    fn answer(&self, action: Action, _peer: &Peer) -> Result<Given, Problem> {
        match action {
            Action::Version {} => json(&reply::Version {
                schema: reply::schema("version"),
                version: "0".into(),
                commit: None,
                rustc: "0".into(),
                pid: std::process::id(),
                started_at: reply::now(),
                uptime_seconds: 0.0,
                generation: self.generation(),
            }),
            Action::Config {} => Ok(Given::Config(Box::new(reply::Config {
                schema: reply::schema("config"),
                generation: self.generation(),
                etag: format!("\"{}\"", self.generation()),
                text: "version = 1\n".into(),
                since: reply::now(),
                confirm_by: None,
            }))),
            Action::ConfigApply { text, dry_run, .. } => {
                // A text that says so takes long.
                if text.0.contains("slow") {
                    std::thread::sleep(Duration::from_millis(600));
                }
                let from = self.generation.fetch_add(u64::from(!dry_run), Ordering::SeqCst);
                let to = self.generation();
                let etag = format!("\"{to}\"");
                Ok(Given::Applied(Box::new(reply::Applied { from, to, dry_run, etag, ..Default::default() })))
            }
            Action::MapLookup { map, key, .. } => json(&reply::Entry {
                schema: reply::schema("entry"),
                map,
                entry: serde_json::json!({ "key": key }),
            }),
            Action::MapUpdate { entry, .. } => {
                json(&reply::Changed { detail: entry.0.value.to_string(), ..Default::default() })
            }
            Action::MapImport { file, .. } => {
                json(&reply::Changed { changed: file.0.len() as u64, ..Default::default() })
            }
            Action::Events {} => {
                let (feed, fed) = feed();
                self.feeds.lock().unwrap().push(feed);
                Ok(Given::Stream(fed))
            }
            Action::Interface { .. } => panic!("a backend that fails"),
            other => Err(Problem::new(Cause::NotBuilt, format!("{:?} is not here", other.kind()))),
        }
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    fn revert(&self, to: u64) -> Result<(), Problem> {
        self.reverted.store(to + 1, Ordering::SeqCst);
        self.generation.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// A server in a thread of its own.
pub(super) struct Running {
    pub(super) socket: PathBuf,
    _folder: tempfile::TempDir,
    backend: Arc<Fake>,
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    pub(super) fn start() -> Self {
        Self::with(Audit::log())
    }

    fn with(audit: Audit) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("weir.sock");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let (stop, stopped) = watch::channel(false);
        let backend = Arc::new(Fake::default());
        let shared: Arc<dyn Backend> = backend.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let door = Door::new(listener).unwrap();
                Server::new(shared, Policy::default(), audit, stopped).unix(door).await;
            });
        });
        Self { socket, _folder: folder, backend, stop, thread: Some(thread) }
    }

    pub(super) fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        stream
    }

    pub(super) fn client(&self) -> Client {
        Client::new(&self.socket).unwrap()
    }

    /// What comes back to these bytes when nothing follows them.
    pub(super) fn say(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect();
        // A server that has heard enough may close early.
        let _ = stream.write_all(bytes.as_ref());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Status and problem code of what comes back.
    fn code(&self, head: &str) -> (u16, String) {
        let answer = self.say(format!("{head}\r\nhost: weir\r\n\r\n"));
        parse(&answer)
    }

    /// Asserts that a valid client is answered, and says how fast.
    pub(super) fn alive(&self) -> Duration {
        let client = self.client();
        let mut times: Vec<Duration> = (0..20)
            .map(|_| {
                let began = Instant::now();
                client.call(&Action::Version {}).expect("a valid client is answered");
                began.elapsed()
            })
            .collect();
        times.sort_unstable();
        times[times.len() - 1]
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server ends without a panic");
        }
    }
}

fn parse(answer: &str) -> (u16, String) {
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let problem: Result<Problem, _> = serde_json::from_str(body);
    if problem.is_ok() {
        assert!(answer.contains("content-type: application/problem+json"), "{answer}");
    }
    (status, problem.map(|problem| problem.code).unwrap_or_default())
}

fn apply(text: &str) -> Action {
    Action::ConfigApply {
        if_match: None,
        dry_run: false,
        confirm: None,
        scratch: Vec::new(),
        probation: None,
        abort_rate: None,
        drop_rate: None,
        text: Toml(text.to_owned()),
    }
}

fn problem(error: ClientError) -> Problem {
    match error {
        ClientError::Problem(problem) => *problem,
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_asked_is_answered() {
    let server = Running::start();
    let client = server.client();
    let version: reply::Version = client.get(&Action::Version {}).unwrap();
    assert_eq!(version.pid, std::process::id());
    let reply = client.call(&apply("version = 1")).unwrap();
    assert_eq!(reply.etag.as_deref(), Some("\"1\""));
    let entry: reply::Entry =
        client.get(&Action::MapLookup { map: "a b".into(), key: "10.0.0.0/8".into(), format: None }).unwrap();
    assert_eq!((entry.map.as_str(), &entry.entry["key"]), ("a b", &"10.0.0.0/8".into()));
    let big = Octets::from(vec![7u8; 3 << 20]);
    let changed: reply::Changed = client.get(&Action::MapImport { map: "m".into(), file: big }).unwrap();
    assert_eq!(changed.changed, 3 << 20);
    let not_built = problem(client.call(&Action::Traces {}).unwrap_err());
    assert_eq!((not_built.status, not_built.code.as_str()), (501, "WE0501"));
}

#[test]
fn every_refusal_is_a_problem() {
    let server = Running::start();
    let refused = [
        ("GET /nothing HTTP/1.1", 404, "WE0404"),
        ("GET / HTTP/1.1", 400, "WE0400"),
        ("GET /v1/config/ HTTP/1.1", 400, "WE0400"),
        ("GET //v1/config HTTP/1.1", 400, "WE0400"),
        ("GET /v1/../v1/config HTTP/1.1", 400, "WE0400"),
        ("GET /v1/maps/%2e%2e/entries HTTP/1.1", 400, "WE0400"),
        ("GET /v1/maps/..%2f..%2fetc%2fpasswd HTTP/1.1", 501, "WE0501"),
        ("GET /v1/maps/%00 HTTP/1.1", 400, "WE0400"),
        ("GET /v1/maps/%zz HTTP/1.1", 400, "WE0400"),
        ("GET /v1/version?x=1 HTTP/1.1", 400, "WE0400"),
        ("GET /v1/routes/get?address=1.2.3.4&address=1.2.3.5 HTTP/1.1", 400, "WE0400"),
        ("BREW /v1/config HTTP/1.1", 405, "WE0405"),
        ("DELETE /v1/version HTTP/1.1", 405, "WE0405"),
        ("PUT /v1/config HTTP/1.1", 415, "WE0415"),
        ("PUT /v1/config HTTP/1.1\r\ncontent-type: application/json", 415, "WE0415"),
        ("PUT /v1/config HTTP/1.1\r\ncontent-type: text/plain\r\ncontent-length: 99999999", 413, "WE0413"),
        ("GET /v1/version HTTP/1.1\r\ncontent-length: 5", 413, "WE0413"),
        ("GET /v1/interfaces/wan HTTP/1.1", 500, "WE0500"),
    ];
    for (head, status, code) in refused {
        assert_eq!(server.code(head), (status, code.to_owned()), "{head}");
    }
    let long = format!("GET /v1/{} HTTP/1.1", "a".repeat(9000));
    assert_eq!(server.code(&long), (414, "WE0414".to_owned()));
    let headers: String = (0..100).map(|number| format!("\r\nx-{number}: y")).collect();
    assert_eq!(server.code(&format!("GET /v1/version HTTP/1.1{headers}")), (431, "WE0431".to_owned()));
    let answer = server.say("PATCH /v1/config HTTP/1.1\r\nhost: weir\r\n\r\n");
    assert!(answer.contains("allow: GET, PUT, HEAD\r\n"), "{answer}");
    server.alive();
}

#[test]
fn bodies_are_read_strictly() {
    let server = Running::start();
    let put = |body: &str| {
        let length = body.len();
        let answer = server.say(format!(
            "PUT /v1/maps/m/entries/1 HTTP/1.1\r\nhost: weir\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        ));
        parse(&answer)
    };
    assert_eq!(put(r#"{"value":18446744073709551615}"#).0, 200);
    for body in [
        "",
        "{",
        "\u{feff}{}",
        r#"{"value":1,"value":2}"#,
        r#"{"value":{"a":1,"a":2}}"#,
        r#"{"value":1,"flags":"sometimes"}"#,
        r#"{"value":1,"more":2}"#,
        r#"{"value":1e999}"#,
        r#"{"value":1} {"value":2}"#,
        r#"{"value":"\ud800"}"#,
    ] {
        assert_eq!(put(body), (400, "WE0400".to_owned()), "{body}");
    }
    assert_eq!(put(&format!(r#"{{"value":{}"#, "[".repeat(100_000))).0, 400);
}

#[test]
fn a_slow_change_delays_no_reader_and_changes_take_turns() {
    let server = Running::start();
    let (first, second) = std::thread::scope(|scope| {
        let slow = scope.spawn(|| server.client().get::<reply::Applied>(&apply("slow")).unwrap());
        std::thread::sleep(Duration::from_millis(50));
        let worst = server.alive();
        println!("beside a slow change, the slowest of 20 answers took {worst:?}");
        assert!(worst < Duration::from_millis(400), "{worst:?}");
        let after = server.client().get::<reply::Applied>(&apply("quick")).unwrap();
        (slow.join().unwrap(), after)
    });
    assert_eq!((first.from, first.to, second.from, second.to), (0, 1, 1, 2));
}

#[test]
fn a_change_that_never_came_whole_is_not_made() {
    let server = Running::start();
    std::thread::scope(|scope| {
        scope.spawn(|| server.client().call(&apply("slow")).unwrap());
        std::thread::sleep(Duration::from_millis(100));
        let mut gone = server.connect();
        let head =
            "PUT /v1/config HTTP/1.1\r\nhost: weir\r\ncontent-type: text/plain\r\ncontent-length: 1\r\n\r\nx";
        gone.write_all(head.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        // It came whole, though nobody will read the answer: it may be made.
        drop(gone);
    });
    // Half an upload, and then nothing.
    let mut gone = server.connect();
    gone.write_all(
        b"PUT /v1/config HTTP/1.1\r\nhost: weir\r\ncontent-type: text/plain\r\ncontent-length: 9\r\n\r\nx",
    )
    .unwrap();
    drop(gone);
    std::thread::sleep(Duration::from_millis(100));
    println!("generation {} after one change and two that were abandoned", server.backend.generation());
    assert!(server.backend.generation() <= 2);
}

#[test]
fn what_is_not_confirmed_is_taken_back() {
    let server = Running::start();
    let client = server.client();
    let confirm = |limit| match apply("version = 1") {
        Action::ConfigApply {
            if_match, dry_run, scratch, probation, abort_rate, drop_rate, text, ..
        } => {
            let confirm = Some(Duration::from_millis(limit));
            Action::ConfigApply {
                if_match,
                dry_run,
                confirm,
                scratch,
                probation,
                abort_rate,
                drop_rate,
                text,
            }
        }
        other => other,
    };
    assert_eq!(problem(client.call(&Action::ConfigConfirm {}).unwrap_err()).code, "WE0409");
    let applied: reply::Applied = client.get(&confirm(300)).unwrap();
    assert!(applied.confirm_by.is_some());
    assert_eq!(client.get::<reply::Config>(&Action::Config {}).unwrap().confirm_by, applied.confirm_by);
    assert_eq!(problem(client.call(&apply("another")).unwrap_err()).code, "WE0409");
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!((server.backend.reverted.load(Ordering::SeqCst), server.backend.generation()), (1, 2));
    assert_eq!(client.get::<reply::Config>(&Action::Config {}).unwrap().confirm_by, None);
    client.call(&confirm(300)).unwrap();
    let kept: reply::Confirmed = client.get(&Action::ConfigConfirm {}).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!((kept.generation, server.backend.generation()), (3, 3));
}

#[test]
fn events_come_as_they_happen_and_end_with_a_word() {
    let server = Running::start();
    let client = server.client();
    let mut events = client.events(&Action::Events {}).unwrap();
    let feed = server.backend.feeds.lock().unwrap().pop().unwrap();
    let event = |data: u64| reply::Event { kind: "swap".into(), at: reply::now(), data: data.into() };
    feed.event(&event(1)).unwrap();
    assert_eq!(events.next().unwrap().unwrap().data, 1);
    while feed.event(&event(2)).is_ok() {}
    drop(feed);
    let last = events.last().unwrap().unwrap();
    assert_eq!(last.kind, "lost");
}

#[test]
fn each_change_and_each_refusal_is_written_down() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let server = Running::with(Audit::file(file.reopen().unwrap()).unwrap());
    let client = server.client();
    client.call(&Action::Version {}).unwrap();
    client.call(&apply("version = 1")).unwrap();
    client.call(&Action::MapClear { map: "m".into() }).unwrap_err();
    std::thread::sleep(Duration::from_millis(50));
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert_eq!(
        (&lines[0]["action"], &lines[0]["status"], &lines[0]["pid"]),
        (&"ConfigApply".into(), &200.into(), &std::process::id().into())
    );
    assert_eq!((&lines[1]["action"], &lines[1]["code"]), (&"MapClear".into(), &"WE0501".into()));
}

#[test]
fn every_action_of_the_table_has_a_way_to_the_backend() {
    let server = Running::start();
    let client = server.client();
    for action in crate::action::tests::examples() {
        if action.row().answer.content.is_stream() || action.kind() == Kind::ConfigConfirm {
            continue;
        }
        match client.call(&action) {
            Ok(_) => {}
            Err(ClientError::Problem(problem)) => {
                let expected = [Cause::NotBuilt, Cause::Conflict, Cause::Internal];
                assert!(
                    problem.cause().is_some_and(|cause| expected.contains(&cause)),
                    "{action:?}: {problem:?}"
                );
            }
            Err(error) => panic!("{action:?}: {error}"),
        }
    }
}
