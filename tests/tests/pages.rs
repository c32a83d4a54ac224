//! The pages for people who run weir live: every command in a `console` block is run as root, in a network
//! of its own, and must say what the page says it does.
//!
//! `[..]` in an expected line stands for anything within it, a line `...` for any lines. `? N` after a
//! command is the exit code that is wanted, 0 when nothing is said. A command that finds no daemon yet is
//! tried again for a while: who reads the page types more slowly than a test.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use weir_tests::net;
use weir_tests::program::root;

/// What a page says in one place: a command, and what comes of it.
#[derive(Debug)]
struct Step {
    line: usize,
    command: String,
    code: i32,
    expected: Vec<String>,
}

/// The commands of a page.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for (at, line) in page.lines().enumerate() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            _ => {
                if let Some(command) = line.strip_prefix("$ ") {
                    let command = command.to_owned();
                    steps.push(Step { line: at + 1, command, code: 0, expected: Vec::new() });
                } else if let Some(step) = steps.last_mut() {
                    let more = line.strip_prefix('>').filter(|_| step.expected.is_empty());
                    let code = line.strip_prefix("? ").and_then(|code| code.parse().ok());
                    match (more, code) {
                        (Some(more), _) => {
                            step.command += "\n";
                            step.command += more.strip_prefix(' ').unwrap_or(more);
                        }
                        (None, Some(code)) if step.expected.is_empty() => step.code = code,
                        _ => step.expected.push(line.to_owned()),
                    }
                }
            }
        }
    }
    steps.iter_mut().for_each(|step| trim(&mut step.expected));
    steps
}

/// Takes empty lines off the end.
fn trim(lines: &mut Vec<String>) {
    while lines.last().is_some_and(|line| line.trim().is_empty()) {
        lines.pop();
    }
}

/// Whether a line is as expected, `[..]` standing for anything.
fn line_fits(expected: &str, said: &str) -> bool {
    let mut parts = expected.trim_end().split("[..]");
    let Some(mut rest) = parts.next().and_then(|first| said.trim_end().strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Whether lines are as expected, `...` standing for any lines.
fn fits(expected: &[String], said: &[String]) -> bool {
    match (expected.split_first(), said.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first == "..." => {
            fits(rest, said) || said.split_first().is_some_and(|(_, said)| fits(expected, said))
        }
        (Some((first, rest)), Some((line, said))) => line_fits(first, line) && fits(rest, said),
        _ => false,
    }
}

/// A shell that is typed into.
struct Shell {
    child: Child,
    input: ChildStdin,
    lines: std::sync::mpsc::Receiver<String>,
    /// The name that this test's namespaces have instead of `weir`.
    prefix: String,
}

const DONE: &str = "@@ this command ended with";
/// No command of a page takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

impl Shell {
    fn open() -> Result<Shell> {
        let weir = net::weir::binary()?;
        let folder = weir.parent().context("a binary lies in a folder")?;
        let path = format!("{}:{}", folder.display(), std::env::var("PATH")?);
        let prefix = format!("pages{}", std::process::id());
        let mut bash = Command::new("bash");
        bash.args(["--noprofile", "--norc"]).current_dir(root().canonicalize()?);
        bash.env("PATH", path).env("WEIR_TESTBED", &prefix).env("LC_ALL", "C.UTF-8");
        let mut child = bash.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("bash")?;
        let mut input = child.stdin.take().context("a pipe")?;
        let output = BufReader::new(child.stdout.take().context("a pipe")?);
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        writeln!(input, "exec 2>&1")?;
        Ok(Shell { child, input, lines, prefix })
    }

    /// Runs a command; what it said, and its exit code.
    fn run(&mut self, command: &str) -> Result<(Vec<String>, i32)> {
        writeln!(self.input, "{command}\nprintf '\\n%s %s\\n' '{DONE}' $?")?;
        let start = Instant::now();
        let mut said = Vec::new();
        loop {
            let left = PATIENCE.saturating_sub(start.elapsed());
            let Ok(line) = self.lines.recv_timeout(left) else {
                bail!("`{command}` did not end; so far it said:\n{}", said.join("\n"));
            };
            if let Some(code) = line.strip_prefix(DONE) {
                trim(&mut said);
                return Ok((said, code.trim().parse()?));
            }
            said.push(line.replace(&self.prefix, "weir"));
        }
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        const NO_DAEMON: i32 = 4;
        let start = Instant::now();
        loop {
            let (said, code) = self.run(&step.command)?;
            if code == NO_DAEMON && step.code != NO_DAEMON && start.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
            ensure!(
                code == step.code && fits(&step.expected, &said),
                "line {}: `{}` ended with {code} and said:\n{}\n\nthe page says {} and:\n{}",
                step.line,
                step.command,
                said.join("\n"),
                step.code,
                step.expected.join("\n"),
            );
            return Ok(());
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self
            .run("scripts/testbed.sh down; tmux -L weir-try kill-server 2> /dev/null; rm -rf /tmp/weir-try");
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether this machine and this build can run the pages.
fn skipped(test: &str) -> Result<bool> {
    if net::skip(test) {
        return Ok(true);
    }
    for tool in ["bash", "ip", "ethtool", "ping", "curl", "tmux"] {
        let there = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output()?;
        if !there.status.success() {
            println!("{test}: skipped: needs {tool}");
            return Ok(true);
        }
    }
    // A build whose daemon is not in the binary has nothing to run the pages with.
    let run = Command::new(net::weir::binary()?).args(["run", "--help"]).output()?;
    if !run.status.success() {
        println!("{test}: skipped: this weir has no `weir run`");
        return Ok(true);
    }
    Ok(false)
}

/// One after the other: both pages use the same folder.
#[test]
fn every_command_of_the_live_pages_does_what_the_page_says() -> Result<()> {
    if skipped("pages")? {
        return Ok(());
    }
    for page in ["dataplane/START.md", "dataplane/LIVE.md"] {
        let text = std::fs::read_to_string(root().join(page)).context(page)?;
        let steps = steps(&text);
        ensure!(steps.len() >= 10, "{page}: only {} commands found", steps.len());
        let mut shell = Shell::open()?;
        for step in &steps {
            let told = shell.step(step);
            if told.is_err() {
                let (log, _) = shell.run("cat /tmp/weir-try/log")?;
                eprintln!("the daemon's log:\n{}", log.join("\n"));
            }
            told.context(page)?;
        }
    }
    ensure!(!Path::new("/tmp/weir-try").exists(), "the pages leave nothing behind");
    Ok(())
}

#[test]
fn what_a_page_expects_may_leave_things_open() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(fits(&lines("one [..] three\n...\nlast"), &lines("one 2 three\na\nb\nlast")));
    assert!(fits(&lines("one\n...\nlast"), &lines("one\nlast")));
    assert!(!fits(&lines("one\n...\nlast"), &lines("one\nlast\nmore")));
    assert!(!line_fits("a [..] b [..] c", "a 1 2 c"));
    let page = "```console\n$ cat <<END\n> text\n> END\n? 3\nout\n\n```\n$ not this\n";
    let steps = steps(page);
    assert_eq!(steps.len(), 1);
    assert_eq!((steps[0].command.as_str(), steps[0].code), ("cat <<END\ntext\nEND", 3));
    assert_eq!(steps[0].expected, ["out"]);
}
