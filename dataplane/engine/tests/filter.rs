//! Filter expressions beside tcpdump: the same packets, the same expressions, the same answers.
//!
//! `tests/corpus/filter/expressions.txt` says for each expression which of the packets below match it; `WEIR_UPDATE=1 cargo
//! test -p weir-engine --test filter` writes the names anew. tcpdump is asked about each of them, and about expressions
//! made up from a seed (`WEIR_FILTERS=5000` for more of them).

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use weir_engine::observe::Filter;

const A: [u8; 4] = [192, 0, 2, 1];
const B: [u8; 4] = [198, 51, 100, 7];
const A6: &str = "2001:db8:a::1";
const B6: &str = "2001:db8:b::7";
const MACS: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];

type Packet = (&'static str, Vec<u8>);

fn ether(kind: u16, inside: &[u8]) -> Vec<u8> {
    [&MACS[..], &kind.to_be_bytes(), inside].concat()
}

/// An IPv4 packet with so many words of options; `fragment` is its offset and flags.
fn ip4(proto: u8, [from, to]: [[u8; 4]; 2], options: u8, fragment: u16, inside: &[u8]) -> Vec<u8> {
    let length = (20 + 4 * usize::from(options) + inside.len()) as u16;
    let mut packet = vec![0x45 + options, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 1]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, proto, 0, 0]);
    packet.extend([from, to].concat());
    packet.extend(vec![1; 4 * usize::from(options)]);
    packet.extend(inside);
    packet
}

fn ip6(next: u8, [from, to]: [&str; 2], inside: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((inside.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    for address in [from, to] {
        packet.extend(address.parse::<std::net::Ipv6Addr>().unwrap().octets());
    }
    packet.extend(inside);
    packet
}

fn ports(from: u16, to: u16) -> Vec<u8> {
    [from.to_be_bytes(), to.to_be_bytes()].concat()
}

fn tcp(from: u16, to: u16, flags: u8) -> Vec<u8> {
    let mut segment = ports(from, to);
    segment.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0x10, 0, 0, 0, 0, 0]);
    segment.extend(b"GET / HTTP");
    segment
}

fn udp(from: u16, to: u16, bytes: usize) -> Vec<u8> {
    let mut datagram = ports(from, to);
    datagram.extend(((8 + bytes) as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(vec![7; bytes]);
    datagram
}

fn tagged(kind: u16, tag: u16, inner: u16, inside: &[u8]) -> Vec<u8> {
    ether(kind, &[&tag.to_be_bytes()[..], &inner.to_be_bytes(), inside].concat())
}

/// The packets that expressions are asked about.
fn packets() -> Vec<Packet> {
    let there = [A, B];
    let back = [B, A];
    let web = ip4(6, there, 0, 0x4000, &tcp(40000, 443, 0x02));
    let dns = ip4(17, there, 0, 0, &udp(5353, 53, 30));
    let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1];
    arp.extend([&MACS[6..], &A[..], &[0; 6], &B[..]].concat());
    arp.extend([0; 18]);
    let mut all = ether(0x0806, &arp);
    all[..6].fill(0xff);
    let mut many = ether(0x0800, &ip4(2, [A, [224, 0, 0, 1]], 1, 0, &[0x11, 0, 0, 0, 0, 0, 0, 0]));
    many[..6].copy_from_slice(&[1, 0, 0x5e, 0, 0, 1]);
    let many6 = ip6(58, [A6, "ff02::1:ff00:7"], &[135, 0, 0, 0, 0, 0, 0, 0]);
    let fragment6 = ip6(44, [A6, B6], &[&[6, 0, 0, 1, 0, 0, 0, 9][..], &tcp(40000, 443, 0x10)].concat());
    let qinq =
        [&100u16.to_be_bytes()[..], &0x8100u16.to_be_bytes(), &7u16.to_be_bytes(), &0x86dd_u16.to_be_bytes()];
    let qinq = [&qinq.concat()[..], &ip6(17, [A6, B6], &udp(53, 5353, 12))].concat();
    vec![
        ("web", ether(0x0800, &web)),
        ("answer", ether(0x0800, &ip4(6, back, 0, 0x4000, &tcp(443, 40000, 0x12)))),
        ("ssh", ether(0x0800, &ip4(6, [[10, 1, 2, 3], A], 2, 0x4000, &tcp(50000, 22, 0x18)))),
        ("dns", ether(0x0800, &dns)),
        ("large", ether(0x0800, &ip4(17, back, 0, 0, &udp(53, 5353, 1200)))),
        ("first", ether(0x0800, &ip4(17, there, 0, 0x2000, &udp(9000, 8080, 64)))),
        ("later", ether(0x0800, &ip4(17, there, 0, 0x0100, &udp(9000, 8080, 64)))),
        ("sctp", ether(0x0800, &ip4(132, there, 0, 0, &ports(2905, 80)))),
        ("echo", ether(0x0800, &ip4(1, there, 0, 0, &[8, 0, 0, 0, 0, 1, 0, 1]))),
        ("unreach", ether(0x0800, &ip4(1, back, 0, 0, &[3, 1, 0, 0, 0, 0, 0, 0]))),
        ("gre", ether(0x0800, &ip4(47, [A, [10, 0, 0, 1]], 0, 0, &[0, 0, 8, 0]))),
        ("esp", ether(0x0800, &ip4(50, [A, [192, 0, 2, 255]], 0, 0, &[0; 24]))),
        ("igmp", many),
        ("arp", all),
        ("rarp", ether(0x8035, &arp)),
        ("web6", ether(0x86dd, &ip6(6, [A6, B6], &tcp(40000, 443, 0x02)))),
        ("dns6", ether(0x86dd, &ip6(17, [B6, A6], &udp(53, 40001, 20)))),
        ("echo6", ether(0x86dd, &ip6(58, [A6, B6], &[128, 0, 0, 0, 0, 1, 0, 1]))),
        ("solicit", ether(0x86dd, &many6)),
        ("fragment6", ether(0x86dd, &fragment6)),
        ("tagged", tagged(0x8100, 0x2064, 0x0800, &web)),
        ("tagged7", tagged(0x88a8, 7, 0x0800, &dns)),
        ("qinq", ether(0x88a8, &qinq)),
        ("llc", ether(38, &[0x42, 0x42, 3, 0, 0, 0, 0, 0])),
        ("cut", ether(0x0800, &web[..18])),
        ("short", MACS.to_vec()),
        ("type", ether(0x88cc, &[2, 7, 4, 0])),
    ]
}

fn matching(text: &str, packets: &[Packet]) -> Result<Vec<&'static str>, String> {
    let filter = Filter::parse(text).map_err(|error| error.to_string())?;
    Ok(packets.iter().filter(|(_, bytes)| filter.matches(bytes)).map(|(name, _)| *name).collect())
}

/// Packets as a capture file that tcpdump reads, the number of each as its time.
fn capture(packets: &[Packet]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 2 | 4 << 16, 0, 0, 65535, 1] {
        file.extend(word.to_le_bytes());
    }
    for (number, (_, bytes)) in packets.iter().enumerate() {
        for word in [number as u32, 0, bytes.len() as u32, bytes.len() as u32] {
            file.extend(word.to_le_bytes());
        }
        file.extend(bytes);
    }
    file
}

/// tcpdump, and the packets as it reads them.
struct Tcpdump {
    file: tempfile::NamedTempFile,
    names: Vec<&'static str>,
}

impl Tcpdump {
    fn new(packets: &[Packet]) -> Option<Self> {
        Command::new("tcpdump").arg("--version").output().ok()?;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&capture(packets)).unwrap();
        Some(Self { file, names: packets.iter().map(|(name, _)| *name).collect() })
    }

    /// The packets that it takes; what it says when it does not understand.
    fn matching(&self, text: &str) -> Result<Vec<&'static str>, String> {
        let mut command = Command::new("tcpdump");
        // Not optimised: then it looks at every byte that the expression names, also where the answer is known.
        command.arg("-O").arg("-r").arg(self.file.path()).args(["-w", "-", "--", text]);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("rejects all packets") {
            return Ok(Vec::new());
        }
        if !output.status.success() {
            return Err(said.into_owned());
        }
        let mut names = Vec::new();
        let mut rest = output.stdout.get(24..).unwrap_or_default();
        while let [a, b, c, d, _, _, _, _, e, f, g, h, more @ ..] = rest {
            names.push(self.names[u32::from_le_bytes([*a, *b, *c, *d]) as usize]);
            rest = &more[4 + u32::from_le_bytes([*e, *f, *g, *h]) as usize..];
        }
        Ok(names)
    }
}

fn corpus() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/corpus/filter/expressions.txt"))
}

/// The expressions of the corpus, each with the names that stand behind it.
fn expressions(text: &str) -> Vec<(&str, Vec<&str>)> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (expression, names) = line.split_once(" =>").unwrap_or((line, ""));
            (expression.trim(), names.split_whitespace().collect())
        })
        .collect()
}

#[test]
fn expressions_match_what_the_corpus_says() {
    let packets = packets();
    let text = std::fs::read_to_string(corpus()).unwrap();
    if std::env::var_os("WEIR_UPDATE").is_some() {
        let lines = text.lines().map(|line| match line.starts_with('#') || line.is_empty() {
            true => line.to_owned(),
            false => {
                let expression = line.split(" =>").next().unwrap_or_default().trim();
                let names =
                    matching(expression, &packets).unwrap_or_else(|why| panic!("{expression}: {why}"));
                format!("{expression} => {}", names.join(" ")).trim_end().to_owned()
            }
        });
        std::fs::write(corpus(), lines.collect::<Vec<_>>().join("\n") + "\n").unwrap();
        return;
    }
    for (expression, names) in expressions(&text) {
        assert_eq!(matching(expression, &packets).as_deref(), Ok(&names[..]), "{expression}");
    }
}

#[test]
fn tcpdump_agrees() {
    let packets = packets();
    let Some(tcpdump) = Tcpdump::new(&packets) else {
        println!("tcpdump_agrees: skipped: needs tcpdump");
        return;
    };
    let text = std::fs::read_to_string(corpus()).unwrap();
    let mut differences = Vec::new();
    let expressions: Vec<&str> = expressions(&text).into_iter().map(|(expression, _)| expression).collect();
    for expression in &expressions {
        let (ours, theirs) = (matching(expression, &packets), tcpdump.matching(expression));
        if ours != theirs {
            differences.push(format!("{expression}\n  weir    {ours:?}\n  tcpdump {theirs:?}"));
        }
    }
    println!("{} expressions, {} packets", expressions.len(), packets.len());
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Numbers from a seed.
struct Seed(u64);

impl Seed {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % end
    }

    fn one<'w>(&mut self, words: &[&'w str]) -> &'w str {
        words[self.below(words.len())]
    }

    fn number(&mut self) -> String {
        let word = self.one(&[
            "ip[8]",
            "ip[9]",
            "tcp[13]",
            "udp[4:2]",
            "ether[12:2]",
            "len",
            "ip6[6]",
            "icmp[0]",
            "ip[2:2]",
        ]);
        match self.below(4) {
            0 => format!("{word} {} {}", self.one(&["&", "+", "-", "|", "*", ">>"]), self.below(40)),
            _ => word.to_owned(),
        }
    }

    fn primitive(&mut self) -> String {
        let direction = self.one(&["", "", "src ", "dst ", "src or dst ", "src and dst "]);
        match self.below(9) {
            0 => format!("{direction}host {}", self.one(&["192.0.2.1", "198.51.100.7", "10.1.2.3", A6, B6])),
            1 => format!(
                "{direction}net {}",
                self.one(&["192.0.2.0/24", "10", "10.0.0.0/8", "2001:db8:a::/48", "0.0.0.0/0"])
            ),
            2 => {
                let proto = self.one(&["", "tcp ", "udp ", "sctp "]);
                format!(
                    "{proto}{direction}port {}",
                    self.one(&["443", "53", "80", "22", "8080", "(22 or 53)"])
                )
            }
            3 => format!(
                "{direction}portrange {}",
                self.one(&["1-100", "8000-9000", "443-443", "60000-50000"])
            ),
            4 | 5 => self
                .one(&[
                    "tcp",
                    "udp",
                    "icmp",
                    "icmp6",
                    "ip",
                    "ip6",
                    "arp",
                    "igmp",
                    "esp",
                    "sctp",
                    "broadcast",
                    "multicast",
                    "ip multicast",
                    "ip6 multicast",
                    "ip proto 47",
                    "proto 58",
                    "ether proto 0x88cc",
                ])
                .to_owned(),
            6 => self.one(&["vlan", "vlan 100", "vlan 7"]).to_owned(),
            7 => format!(
                "{} {} {}",
                self.number(),
                self.one(&["=", "!=", ">", "<", ">=", "<="]),
                self.below(300)
            ),
            _ => format!("{} {}", self.one(&["less", "greater"]), self.below(1300)),
        }
    }

    fn expression(&mut self, depth: usize) -> String {
        match self.below(6) {
            0 | 1 if depth > 0 => format!("({})", self.expression(depth - 1)),
            2 => format!("not {}", self.primitive()),
            3 | 4 if depth > 0 => {
                let junction = self.one(&["and", "or", "and not", "&&", "||"]);
                format!("{} {junction} {}", self.expression(depth - 1), self.primitive())
            }
            _ => self.primitive(),
        }
    }
}

#[test]
fn tcpdump_agrees_about_made_up_expressions() {
    let packets = packets();
    let Some(tcpdump) = Tcpdump::new(&packets) else {
        println!("tcpdump_agrees_about_made_up_expressions: skipped: needs tcpdump");
        return;
    };
    let count = std::env::var("WEIR_FILTERS").ok().and_then(|count| count.parse().ok()).unwrap_or(200);
    let mut seed = Seed(20_261_121);
    let mut matched = 0;
    for _ in 0..count {
        let expression = seed.expression(4);
        let (ours, theirs) = (matching(&expression, &packets), tcpdump.matching(&expression));
        assert_eq!(ours, theirs, "{expression}");
        matched += ours.map_or(0, |names| names.len());
    }
    println!("{count} expressions matched {matched} packets of {} each", packets.len());
}
