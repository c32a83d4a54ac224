//! The units of systemd, judged by systemd itself where it is installed, and against what the code asks for.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use weir_tests::program::root;

fn unit(name: &str) -> Result<String> {
    let path = root().join("config/systemd").join(name);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// The units as they would be installed, but with a program that is there.
fn install(folder: &Path) -> Result<()> {
    for name in ["weir.service", "weir.socket"] {
        let text = unit(name)?.replace("/usr/bin/weir", "/bin/true");
        // The pages it points to are not installed here.
        let text: String = text
            .lines()
            .filter(|line| !line.starts_with("Documentation="))
            .map(|line| format!("{line}\n"))
            .collect();
        std::fs::write(folder.join(name), text)?;
    }
    Ok(())
}

#[test]
fn systemd_finds_nothing_to_say() -> Result<()> {
    let folder = tempfile::tempdir()?;
    install(folder.path())?;
    let files = ["weir.service", "weir.socket"].map(|name| folder.path().join(name));
    let answer = Command::new("systemd-analyze").arg("verify").args(&files).output();
    let Ok(answer) = answer else {
        println!("systemd_finds_nothing_to_say: skipped: no systemd-analyze");
        return Ok(());
    };
    let words = String::from_utf8_lossy(&answer.stderr);
    // It also reads units of the machine, about which we say nothing.
    let ours: Vec<_> = words.lines().filter(|line| line.contains("weir.")).collect();
    ensure!(ours.is_empty(), "{}", ours.join("\n"));
    Ok(())
}

#[test]
fn what_the_unit_grants_is_what_the_broker_keeps() -> Result<()> {
    let service = unit("weir.service")?;
    let value = |key: &str| {
        let line = service.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.with_context(|| format!("{key} is not set"))
    };
    let granted = "CAP_NET_ADMIN CAP_NET_RAW CAP_BPF CAP_PERFMON CAP_IPC_LOCK";
    ensure!(value("AmbientCapabilities")? == granted && value("CapabilityBoundingSet")? == granted);
    for (key, wanted) in [
        ("Type", "notify"),
        ("NotifyAccess", "main"),
        ("NoNewPrivileges", "yes"),
        ("MemoryDenyWriteExecute", "yes"),
        ("ProtectSystem", "strict"),
        ("Restart", "on-failure"),
        ("RuntimeDirectoryPreserve", "restart"),
        ("LimitMEMLOCK", "infinity"),
    ] {
        ensure!(value(key)? == wanted, "{key} is {}, not {wanted}", value(key)?);
    }
    // The daemon sandboxes itself, so the manager's filter must leave it that.
    for call in ["bpf", "memfd_create", "seccomp", "landlock_restrict_self"] {
        ensure!(value("SystemCallFilter")?.split(' ').any(|word| word == call), "{call} is filtered");
    }
    ensure!(
        unit("weir.socket")?
            .contains("ListenStream=/run/weir/weir.sock\nSocketMode=0660\nSocketGroup=weir\n")
    );
    Ok(())
}
