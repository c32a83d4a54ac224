//! Beginning and ending: signals, the service manager, two daemons at one socket, exit codes.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::daemon::{Daemon, PATIENCE, Traffic, ask, binary, configuration, folder, socket, weir};

/// Runs to its end: exit code and what it said.
fn said(arguments: &[&str]) -> (i32, String) {
    let output = weir(arguments).stdin(Stdio::null()).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

fn configure(name: &str, change: impl FnOnce(String) -> String) -> String {
    let file = format!("{name}.toml");
    let text = change(configuration(name.split('-').next().unwrap(), Traffic::Flowing(500)));
    std::fs::write(folder().join(&file), text).unwrap();
    file
}

#[test]
fn a_signal_ends_it_and_nothing_is_left() {
    for signal in ["TERM", "INT"] {
        let name = format!("signal{signal}");
        let daemon = Daemon::start(&name, Traffic::Flowing(500));
        daemon.signal(signal);
        daemon.says("ending");
        assert!(daemon.ended().success());
        assert!(!socket(&name).exists());
    }
}

#[test]
fn a_hangup_reads_the_file_again() {
    let daemon = Daemon::start("hangup", Traffic::Flowing(500));
    configure("hangup", |text| text.replace("10.0.7.0/24", "10.0.8.0/24"));
    daemon.signal("HUP");
    daemon.says("configuration reloaded from=1 to=2");
    configure("hangup", |text| text + "\nnonsense");
    daemon.signal("HUP");
    daemon.says("configuration not reloaded: weir.toml:");
    let config: Value = serde_json::from_str(&ask(&daemon, 0, &["-j", "config", "show"])).unwrap();
    assert!(
        config["generation"] == 2 && config["text"].as_str().unwrap().contains("10.0.8.0/24"),
        "{config}"
    );
    daemon.end();
}

#[test]
fn one_socket_has_one_daemon() {
    let daemon = Daemon::start("one", Traffic::Flowing(500));
    let (code, text) = said(&["run", "one.toml"]);
    assert!(code == 1 && text.contains("one.sock: another weir answers here"), "{code}: {text}");
    // Whether a file would run can be asked beside it.
    assert_eq!(said(&["run", "--check", "one.toml"]), (0, "one.toml: ok\n".to_owned()));
    ask(&daemon, 0, &["stats"]);
    // It dies, and its socket stays: the next one takes the place.
    daemon.signal("KILL");
    assert!(!daemon.ended().success());
    assert!(socket("one").exists());
    let (code, text) = said(&["--sock", socket("one").to_str().unwrap(), "stats"]);
    assert!(code == 4 && text.contains("the daemon that made this socket is gone"), "{code}: {text}");
    Daemon::run("one", &mut weir(&["run", "one.toml"])).end();
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let file = configure("file", |text| text);
    std::fs::write(socket("file"), "precious").unwrap();
    let (code, text) = said(&["run", &file]);
    assert!(code == 1 && text.contains("there is a file here that is no socket"), "{code}: {text}");
    assert_eq!(std::fs::read_to_string(socket("file")).unwrap(), "precious");
}

#[test]
fn why_it_does_not_run_is_its_exit_code() {
    configure("code-nonsense", |text| text + "\nfoo = 1");
    configure("code-object", |text| text.replace("classifier.o", "nowhere.o"));
    configure("code-rejected", |text| {
        let attach = "attach = { hook = \"xdp\", interface = \"wan\" }\nrodata = { policy = \"XDP_PASS\" }";
        let text = text.replace(attach, "").replace("object = \"firewall.o\"", "object = \"bad.o\"");
        let (before, rest) = text.split_once("[program.maps]").unwrap();
        let (_, after) = rest.split_once("[[program]]").unwrap();
        format!("{before}[[program]]{after}")
    });
    for (name, code, why) in [
        ("missing", 2, "missing.toml: No such file"),
        ("code-nonsense", 2, "unknown field `foo`"),
        ("code-object", 2, "nowhere.o: No such file"),
        ("code-rejected", 3, "[packet-past-end]"),
    ] {
        let file = format!("{name}.toml");
        for arguments in [&["run", "--check", &file][..], &["run", &file]] {
            let (found, text) = said(arguments);
            assert!(found == code && text.contains(why), "{arguments:?}: {found}: {text}");
        }
        let (found, text) = said(&["-j", "run", "--check", &file]);
        let error: Value = serde_json::from_str(&text).unwrap();
        assert!(found == code && error["error"]["code"].is_string(), "{text}");
    }
}

#[test]
fn the_service_managers_socket_is_used_and_left() {
    let file = configure("activated", |text| text.replace("activated.sock", "elsewhere.sock"));
    let path = socket("activated");
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    // Somebody may come before the daemon does: the service manager starts it for them.
    let waiting = UnixStream::connect(&path).unwrap();
    waiting.set_read_timeout(Some(PATIENCE)).unwrap();
    (&waiting).write_all(b"GET /healthz HTTP/1.1\r\nhost: weir\r\nconnection: close\r\n\r\n").unwrap();
    let mut shell = Command::new("sh");
    let run =
        "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=weir.socket exec \"$0\" run \"$1\"";
    shell.args(["-c", run]).arg(binary()).arg(&file).current_dir(folder());
    shell.stdin(OwnedFd::from(listener.try_clone().unwrap()));
    let daemon = Daemon::inherit("activated", &mut shell);
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut &waiting, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    ask(&daemon, 0, &["stats"]);
    assert!(!socket("elsewhere").exists());
    daemon.signal("TERM");
    assert!(daemon.ended().success());
    assert!(path.exists(), "the socket is the service manager's");
    // It listens still: the next one is started by whoever comes.
    drop(UnixStream::connect(&path).unwrap());
}

#[test]
fn the_service_manager_is_told() {
    let path = folder().join("notify.sock");
    let _ = std::fs::remove_file(&path);
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let file = configure("notified", |text| text);
    let mut command = weir(&["run", &file]);
    let daemon = Daemon::run("notified", command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000"));
    let heard = |what: &str| loop {
        let mut message = [0; 4096];
        let length = manager.recv(&mut message).unwrap_or_else(|error| panic!("{what}: {error}"));
        let text = String::from_utf8_lossy(&message[..length]).into_owned();
        if text.contains(what) {
            return text;
        }
    };
    let ready = heard("READY=1");
    assert!(ready.contains("STATUS=generation 1, 4 interfaces: ready"), "{ready}");
    heard("WATCHDOG=1");
    daemon.signal("HUP");
    assert!(heard("RELOADING=1").contains("MONOTONIC_USEC="));
    heard("READY=1");
    heard("WATCHDOG=1");
    daemon.signal("TERM");
    heard("STOPPING=1");
    assert!(daemon.ended().success());
}
