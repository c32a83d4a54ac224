//! The router's tables against the kernel's FIB: the same ports, routes and neighbours in a network
//! namespace of our own, and the same questions through `bpf_fib_lookup`.
//!
//! The test runs itself again inside `unshare -n`, since a namespace belongs to a process.

use std::net::IpAddr;
use std::process::Command;

use weir_ebpf::asm::assemble;
use weir_ebpf::{Program, ProgramType};
use weir_router::{
    FibAddresses, FibAnswer, FibFlags, FibQuery, Neighbour, NeighbourState, NextHop, Port, Route, RouteKind,
    Tables, text,
};
use weir_sys::bpf::TestRun;
use weir_tests::kernel::{KernelSet, skip};

const INSIDE: &str = "WEIR_INSIDE_NAMESPACE";
/// Ports of the namespace: two that forward, and one that does not.
const PORTS: [u32; 3] = [102, 103, 104];
const PREFIX_TABLE: u32 = 100;
const FRAME: usize = 14;
const PARAMS: usize = FRAME + 8;

/// Reads flags and `struct bpf_fib_lookup` from the packet, asks, and writes the structure back.
const ASK: &str = "
    r6 = r1
    r2 = 14
    r3 = r10
    r3 += -72
    r4 = 72
    call 26
    r1 = r6
    r2 = r10
    r2 += -64
    r3 = 64
    r4 = *(u64 *)(r10 - 72)
    call 69
    r7 = r0
    r1 = r6
    r2 = 22
    r3 = r10
    r3 += -64
    r4 = 64
    r5 = 0
    call 9
    r0 = r7
    exit
";

fn at(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A route of both sides: destinations, kind, gateway, port, metric, table, source.
type Row = (&'static str, RouteKind, Option<&'static str>, u32, u32, u32, Option<&'static str>);

const ROUTES: &[Row] = &[
    ("0.0.0.0/0", RouteKind::Unicast, Some("203.0.113.1"), 103, 0, 254, None),
    ("10.0.0.0/8", RouteKind::Unicast, Some("192.0.2.9"), 102, 0, 254, None),
    ("10.1.0.0/16", RouteKind::Unicast, Some("203.0.113.1"), 103, 7, 254, Some("192.0.2.1")),
    ("10.1.0.0/16", RouteKind::Unicast, Some("192.0.2.9"), 102, 9, 254, None),
    ("10.1.1.0/24", RouteKind::Blackhole, None, 0, 0, 254, None),
    ("10.1.2.0/24", RouteKind::Unreachable, None, 0, 0, 254, None),
    ("10.1.3.0/24", RouteKind::Prohibit, None, 0, 0, 254, None),
    ("10.1.4.4/32", RouteKind::Unicast, None, 102, 0, 254, None),
    ("10.2.0.0/16", RouteKind::Unicast, Some("2001:db8::9"), 103, 0, 254, None),
    ("10.3.0.0/16", RouteKind::Unicast, Some("192.0.2.9"), 102, 3, PREFIX_TABLE, None),
    ("2001:db8:1::/48", RouteKind::Unicast, Some("2001:db8::9"), 103, 1024, 254, None),
    ("2001:db8:1:1::/64", RouteKind::Unicast, Some("2001:db8:f::9"), 102, 5, 254, None),
    ("2001:db8:2::/48", RouteKind::Blackhole, None, 0, 1024, 254, None),
    ("2001:db8:3::/48", RouteKind::Unreachable, None, 0, 1024, 254, None),
    ("2001:db8:4::/48", RouteKind::Prohibit, None, 0, 1024, 254, None),
    ("2001:db8:5::/48", RouteKind::Unicast, Some("2001:db8::9"), 103, 6, PREFIX_TABLE, None),
];

const ADDRESSES: &[(u32, &str)] = &[
    (102, "192.0.2.1/24"),
    (102, "2001:db8:f::1/64"),
    (103, "203.0.113.2/30"),
    (103, "10.9.9.1/31"),
    (103, "10.8.8.8/32"),
    (103, "2001:db8::2/64"),
    (104, "198.51.100.1/24"),
];

const NEIGHBOURS: &[(u32, &str, &str, NeighbourState)] = &[
    (103, "203.0.113.1", "permanent", NeighbourState::Permanent),
    (102, "192.0.2.9", "stale", NeighbourState::Stale),
    (102, "192.0.2.10", "failed", NeighbourState::Failed),
    (102, "192.0.2.11", "noarp", NeighbourState::NoArp),
    (103, "2001:db8::9", "permanent", NeighbourState::Permanent),
];

const DESTINATIONS: &[&str] = &[
    "8.8.8.8",
    "10.0.0.1",
    "10.1.0.1",
    "10.1.1.1",
    "10.1.2.1",
    "10.1.3.1",
    "10.1.4.4",
    "10.2.0.1",
    "10.3.0.1",
    "10.8.8.8",
    "10.9.9.0",
    "10.9.9.1",
    "127.0.0.1",
    "192.0.2.0",
    "192.0.2.1",
    "192.0.2.9",
    "192.0.2.10",
    "192.0.2.11",
    "192.0.2.77",
    "192.0.2.255",
    "198.51.100.7",
    "203.0.113.1",
    "203.0.113.3",
    "2001:db8::",
    "2001:db8::2",
    "2001:db8::9",
    "2001:db8::77",
    "2001:db8:f::9",
    "2001:db8:1::1",
    "2001:db8:1:1::1",
    "2001:db8:2::1",
    "2001:db8:3::1",
    "2001:db8:4::1",
    "2001:db8:5::1",
    "2001:db8:6::1",
    "::1",
    "ff0e::1",
];

fn mac(port: u32) -> [u8; 6] {
    [2, 0, 0, 0, 0, port as u8]
}

fn mac_text(port: u32) -> String {
    format!("02:00:00:00:00:{port:02x}")
}

fn ours() -> Tables {
    let mut tables = Tables::new(0);
    for index in PORTS {
        let mut port = Port::new(index, mac(index), 1500);
        let own = ADDRESSES.iter().filter(|(port, _)| *port == index);
        port.addresses = own.map(|(_, address)| text::interface(address).unwrap()).collect();
        port.forwarding = index != PORTS[2];
        tables.set_port(port);
    }
    for &(to, kind, via, port, metric, table, source) in ROUTES {
        let hop = NextHop { via: via.map(at), ..NextHop::on_link(port) };
        let hops = if kind.has_hops() { vec![hop] } else { vec![] };
        let route = Route::to(text::destination(to).unwrap(), kind);
        tables.add(&Route { hops, metric, table, source: source.map(at), ..route }).unwrap();
    }
    for &(port, address, _, state) in NEIGHBOURS {
        tables.set_neighbour(port, at(address), Neighbour { mac: [6; 6], state });
    }
    tables
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().expect("ip runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {error}");
}

/// The same in the kernel, in the namespace that this process is in.
fn furnish() {
    let set =
        |name: &str, value: &str| std::fs::write(format!("/proc/sys/net/{name}"), value).expect("a sysctl");
    ip("link set lo up");
    for port in PORTS {
        ip(&format!(
            "link add index {port} name d{port} address {} type veth peer name p{port}",
            mac_text(port)
        ));
        ip(&format!("link set d{port} addrgenmode none"));
        ip(&format!("link set p{port} addrgenmode none"));
        ip(&format!("link set p{port} up"));
        ip(&format!("link set d{port} up"));
    }
    set("ipv4/ip_forward", "1");
    set("ipv6/conf/all/forwarding", "1");
    set("ipv4/conf/d104/forwarding", "0");
    set("ipv6/conf/d104/forwarding", "0");
    for (port, address) in ADDRESSES {
        ip(&format!("addr add {address} dev d{port}{}", if address.contains("::") { " nodad" } else { "" }));
    }
    for &(to, kind, via, port, metric, table, source) in ROUTES {
        let family = if to.contains("::") { "-6 " } else { "" };
        let kind =
            if kind == RouteKind::Unicast { String::new() } else { format!("{kind:?}").to_lowercase() };
        let inet6 = if family.is_empty() && via.is_some_and(|via| via.contains("::")) { "inet6" } else { "" };
        let via = via.map_or(String::new(), |via| format!("via {inet6} {via}"));
        let dev = if port == 0 { String::new() } else { format!("dev d{port}") };
        let source = source.map_or(String::new(), |source| format!("src {source}"));
        ip(&format!("{family}route add {kind} {to} {via} {dev} metric {metric} table {table} {source}"));
    }
    for (port, address, state, _) in NEIGHBOURS {
        ip(&format!("neigh replace {address} lladdr 06:06:06:06:06:06 dev d{port} nud {state}"));
    }
}

fn query(destination: IpAddr, ifindex: u32, flags: u32, table: u32) -> FibQuery {
    let addresses = match destination {
        IpAddr::V4(destination) => FibAddresses::V4 { source: "192.0.2.50".parse().unwrap(), destination },
        IpAddr::V6(destination) => {
            FibAddresses::V6 { source: "2001:db8:f::50".parse().unwrap(), destination }
        }
    };
    FibQuery { addresses, l4_protocol: 17, source_port: 1, destination_port: 2, ifindex, flags, table }
}

fn sixteen(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            bytes
        }
        IpAddr::V6(address) => address.octets(),
    }
}

/// `struct bpf_fib_lookup`, as given.
fn params(query: &FibQuery) -> [u8; 64] {
    let mut bytes = [0; 64];
    let (family, source, destination) = match query.addresses {
        FibAddresses::V4 { source, destination } => (2, IpAddr::V4(source), IpAddr::V4(destination)),
        FibAddresses::V6 { source, destination } => (10, IpAddr::V6(source), IpAddr::V6(destination)),
    };
    bytes[0] = family;
    bytes[1] = query.l4_protocol;
    bytes[2..4].copy_from_slice(&query.source_port.to_be_bytes());
    bytes[4..6].copy_from_slice(&query.destination_port.to_be_bytes());
    bytes[8..12].copy_from_slice(&query.ifindex.to_ne_bytes());
    bytes[16..32].copy_from_slice(&sixteen(source));
    bytes[32..48].copy_from_slice(&sixteen(destination));
    bytes[48..52].copy_from_slice(&query.table.to_ne_bytes());
    bytes
}

/// What both sides say: the return value, and for a way out, port, metric, next hop, source, link addresses.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    retval: i32,
    way: Option<(u32, u32, [u8; 16], [u8; 16])>,
    macs: Option<([u8; 6], [u8; 6])>,
}

const NO_NEIGHBOUR: i32 = 7;

fn kernel_says(program: &KernelSet, query: &FibQuery) -> Said {
    let mut packet = vec![0u8; FRAME];
    packet[12..14].copy_from_slice(&[0x88, 0xb5]);
    packet.extend(u64::from(query.flags).to_ne_bytes());
    packet.extend(params(query));
    let run = TestRun { data: &packet, context: &[], repeat: 1 };
    let output = program.programs[0].test_run(&run).expect("a test run");
    let after = &output.data[PARAMS..PARAMS + 64];
    let word = |at: usize| u32::from_ne_bytes(after[at..at + 4].try_into().unwrap());
    let retval = output.retval as i32;
    let found = retval == 0 || retval == NO_NEIGHBOUR;
    // A gateway of the other family leaves the rest of the longer address as it was.
    let (source, target) = (after[16..32].try_into().unwrap(), after[32..48].try_into().unwrap());
    let way = found.then(|| (word(8), word(12), source, target));
    let with_macs = retval == 0 && query.flags & FibFlags::SKIP_NEIGH == 0;
    let macs = with_macs.then(|| (after[52..58].try_into().unwrap(), after[58..64].try_into().unwrap()));
    Said { retval, way, macs }
}

fn we_say(tables: &Tables, query: &FibQuery) -> Said {
    let refused = |retval| Said { retval, way: None, macs: None };
    let hop = match tables.lookup(query) {
        FibAnswer::Forward(hop) => hop,
        FibAnswer::Blackhole => return refused(1),
        FibAnswer::Unreachable => return refused(2),
        FibAnswer::Prohibit => return refused(3),
        FibAnswer::NotForwarded => return refused(4),
        FibAnswer::ForwardingDisabled => return refused(5),
        FibAnswer::Encapsulated => return refused(6),
        FibAnswer::NoSourceAddress => return refused(9),
        FibAnswer::NoPort => return refused(-19),
    };
    let given = params(query);
    let source = hop.source.map_or(given[16..32].try_into().unwrap(), sixteen);
    let target = hop.gateway.map_or(given[32..48].try_into().unwrap(), sixteen);
    let way = Some((hop.ifindex, hop.metric, source, target));
    let skipped = query.flags & FibFlags::SKIP_NEIGH != 0;
    match hop.neighbour {
        Some(neighbour) => Said { retval: 0, way, macs: Some((hop.mac, neighbour)) },
        None if skipped => Said { retval: 0, way, macs: None },
        None => Said { retval: NO_NEIGHBOUR, way, macs: None },
    }
}

fn compare() {
    furnish();
    let tables = ours();
    let program = Program::from_insns("ask_fib", ProgramType::SchedCls, assemble(ASK).expect("assembles"));
    let program = KernelSet::load_one(&program).expect("the kernel takes it");
    let flags = [
        0,
        FibFlags::DIRECT,
        FibFlags::OUTPUT,
        FibFlags::DIRECT | FibFlags::OUTPUT,
        FibFlags::SKIP_NEIGH,
        FibFlags::SRC,
        FibFlags::SRC | FibFlags::SKIP_NEIGH,
        FibFlags::DIRECT | FibFlags::TBID,
    ];
    let (mut asked, mut differ) = (0, Vec::new());
    for destination in DESTINATIONS {
        for ifindex in PORTS.into_iter().chain([999]) {
            for flags in flags {
                for table in [PREFIX_TABLE, 77] {
                    if flags & FibFlags::TBID == 0 && table == 77 {
                        continue;
                    }
                    let table = if flags & FibFlags::TBID == 0 { 0 } else { table };
                    let query = query(at(destination), ifindex, flags, table);
                    let (kernel, weir) = (kernel_says(&program, &query), we_say(&tables, &query));
                    asked += 1;
                    if kernel != weir {
                        differ.push(format!("{destination} port {ifindex} flags {flags:#x} table {table}\n  kernel {kernel:?}\n  weir   {weir:?}"));
                    }
                }
            }
        }
    }
    assert!(differ.is_empty(), "{} of {asked} differ:\n{}", differ.len(), differ.join("\n"));
    println!("{asked} questions, all answered alike");
}

#[test]
fn the_kernel_forwards_alike() {
    const NAME: &str = "the_kernel_forwards_alike";
    if std::env::var_os(INSIDE).is_some() {
        return compare();
    }
    if skip(NAME) {
        return;
    }
    let tools = Command::new("unshare").args(["-n", "ip", "link", "set", "lo", "up"]).output();
    if !tools.is_ok_and(|output| output.status.success()) {
        println!("{NAME}: skipped: needs unshare, ip and CAP_SYS_ADMIN");
        return;
    }
    let itself = std::env::current_exe().expect("this test");
    let output = Command::new("unshare")
        .arg("-n")
        .arg(itself)
        .args(["--exact", NAME, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare runs");
    let (text, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}{error}");
    print!("{text}");
}
