//! The kernel, and what this process may do.

use super::Check;
use super::facts::Machine;
use crate::output::bytes;

/// What weir uses, and the first Linux that has it.
const FEATURES: [(u32, u32, &str); 6] = [
    (5, 4, "need-wakeup"),
    (5, 9, "a bpf_link for XDP"),
    (5, 10, "shared UMEM across devices"),
    (5, 11, "busy polling"),
    (5, 18, "multi-buffer XDP"),
    (6, 3, "XDP features told by the driver"),
];

/// Without these there are no AF_XDP ports: capability bit, name, what for.
const CAPABILITIES: [(u32, &str, &str); 3] = [
    (12, "CAP_NET_ADMIN", "attach to devices"),
    (13, "CAP_NET_RAW", "open AF_XDP sockets"),
    (39, "CAP_BPF", "load the redirect program"),
];
const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_ADMIN: u32 = 21;
/// Of a port's frames, kept small: 4096 frames of 4 KiB.
const UMEM_TYPICAL: u64 = 16 << 20;

/// Judges the machine.
pub(crate) fn judge(machine: &Machine) -> Vec<Check> {
    vec![
        kernel(machine),
        capabilities(machine),
        af_xdp(machine),
        memlock(machine),
        huge_pages(machine),
        cores(machine),
    ]
}

/// Major and minor number of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn kernel(machine: &Machine) -> Check {
    let release = &machine.release;
    let Some(version) = version(release) else {
        return Check::warn("kernel", format!("Linux says its release is `{release}`"), "tell us of it");
    };
    let missing: Vec<&str> = FEATURES
        .iter()
        .filter(|(major, minor, _)| version < (*major, *minor))
        .map(|(_, _, name)| *name)
        .collect();
    if version < (5, 9) {
        return Check::fault(
            "kernel",
            format!("Linux {release} is too old: no {}", missing.join(", no ")),
            "Linux 5.10 or later; 6.6 or later is better",
        );
    }
    match missing.is_empty() {
        true => Check::ok("kernel", format!("Linux {release} has all that weir uses")),
        false => Check::warn(
            "kernel",
            format!("Linux {release} has no {}", missing.join(", no ")),
            "a kernel of 6.6 or later",
        ),
    }
}

fn capabilities(machine: &Machine) -> Check {
    let has = |bit: u32| machine.capabilities >> bit & 1 == 1;
    // CAP_SYS_ADMIN stands for CAP_BPF, as in the kernel.
    let lacks = |bit: u32| !(has(bit) || bit == 39 && has(CAP_SYS_ADMIN));
    let missing: Vec<String> = CAPABILITIES
        .iter()
        .filter(|(bit, _, _)| lacks(*bit))
        .map(|(_, name, purpose)| format!("{name} (to {purpose})"))
        .collect();
    if missing.is_empty() {
        return Check::ok("capabilities", "this process may attach to devices and open AF_XDP sockets");
    }
    Check::fault(
        "capabilities",
        format!("this process has no {}", missing.join(", no ")),
        "sudo weir …, or the systemd unit, which gives exactly these; drivers pcap, memory and null need none",
    )
}

fn af_xdp(machine: &Machine) -> Check {
    const EPERM: i32 = 1;
    match machine.af_xdp {
        0 => Check::ok("af_xdp", "the kernel opens AF_XDP sockets"),
        EPERM => Check::fault(
            "af_xdp",
            "the kernel has AF_XDP sockets, and refuses them to this process",
            "CAP_NET_RAW; in a container also a seccomp profile that lets socket(AF_XDP) through",
        ),
        errno => Check::fault(
            "af_xdp",
            format!("the kernel opens no AF_XDP socket ({})", std::io::Error::from_raw_os_error(errno)),
            "a kernel built with CONFIG_XDP_SOCKETS=y",
        ),
    }
}

fn memlock(machine: &Machine) -> Check {
    let exempt = machine.capabilities >> CAP_IPC_LOCK & 1 == 1;
    match machine.memlock {
        None => Check::ok("memlock", "any amount of memory may be locked"),
        Some(limit) if exempt => Check::ok(
            "memlock",
            format!("limited to {}, which does not matter with CAP_IPC_LOCK", bytes(limit)),
        ),
        Some(limit) if limit >= UMEM_TYPICAL => {
            Check::ok("memlock", format!("{} may be locked", bytes(limit)))
        }
        Some(limit) => Check::fault(
            "memlock",
            format!(
                "only {} may be locked, and the frames of a port want {}",
                bytes(limit),
                bytes(UMEM_TYPICAL)
            ),
            "ulimit -l unlimited, LimitMEMLOCK=infinity in the unit, or CAP_IPC_LOCK",
        ),
    }
}

fn huge_pages(machine: &Machine) -> Check {
    match machine.huge {
        (0, _) => Check::warn(
            "huge pages",
            "none are set aside: frames lie in pages of 4 KiB, at the price of more TLB misses",
            "sysctl vm.nr_hugepages=64",
        ),
        (total, 0) => Check::warn(
            "huge pages",
            format!("all {total} are in use"),
            format!("sysctl vm.nr_hugepages={}", total + 64),
        ),
        (total, free) => Check::ok("huge pages", format!("{free} of {total} are free")),
    }
}

fn cores(machine: &Machine) -> Check {
    let cores = weir_sys::affinity::ranges(&machine.cores);
    let said =
        format!("this process may use {} ({cores})", super::counted(machine.cores.len(), "core", "cores"));
    if !machine.isolated.is_empty() {
        return Check::ok("cores", format!("{said}; {} kept free of other work", machine.isolated));
    }
    match machine.cores.len() {
        0 | 1 => Check::warn(
            "cores",
            format!(
                "{said}: a worker that spins shares it with everything else, the kernel's own work included"
            ),
            "a second core, or idle = { spin = \"0s\" } under [workers]",
        ),
        _ => Check::warn(
            "cores",
            format!("{said}, and none is kept free of other work: expect jitter"),
            "isolcpus=… nohz_full=… on the kernel's command line, and [workers] cores = […]",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::State;

    fn good() -> Machine {
        Machine {
            release: "6.18.44-fc".to_owned(),
            capabilities: u64::MAX,
            memlock: None,
            huge: (64, 60),
            cores: vec![0, 1, 2, 3],
            isolated: "2-3".to_owned(),
            af_xdp: 0,
        }
    }

    fn finding<'c>(checks: &'c [Check], name: &str) -> (State, &'c str) {
        let check = checks.iter().find(|check| check.name == name).unwrap();
        (check.state, check.sentence.as_str())
    }

    #[test]
    fn a_good_machine_has_nothing_to_hear() {
        assert!(judge(&good()).iter().all(|check| check.state == State::Ok), "{:#?}", judge(&good()));
    }

    #[test]
    fn each_lack_is_named() {
        let old = judge(&Machine { release: "5.4.0-200-generic".to_owned(), ..good() });
        assert_eq!(finding(&old, "kernel").0, State::Fault);
        let middle = judge(&Machine { release: "5.15.0".to_owned(), ..good() });
        let said = "Linux 5.15.0 has no multi-buffer XDP, no XDP features told by the driver";
        assert_eq!(finding(&middle, "kernel"), (State::Warn, said));

        let plain = judge(&Machine { capabilities: 0, memlock: Some(8 << 20), af_xdp: 1, ..good() });
        assert_eq!(finding(&plain, "capabilities").0, State::Fault);
        assert_eq!(finding(&plain, "af_xdp").0, State::Fault);
        let said = "only 8.0 MiB may be locked, and the frames of a port want 16.0 MiB";
        assert_eq!(finding(&plain, "memlock"), (State::Fault, said));
        let admin = judge(&Machine { capabilities: 1 << 12 | 1 << 13 | 1 << 21, ..good() });
        assert_eq!(finding(&admin, "capabilities").0, State::Ok);

        let small = judge(&Machine { huge: (0, 0), cores: vec![0], isolated: String::new(), ..good() });
        assert_eq!(finding(&small, "huge pages").0, State::Warn);
        assert_eq!(finding(&small, "cores").0, State::Warn);
    }
}
