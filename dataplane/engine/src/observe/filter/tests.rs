//! What is refused, and where. What expressions mean is tested beside tcpdump (`tests/filter.rs`).

use super::*;

/// An expression, the column and the words of its refusal.
const REFUSED: &[(&str, usize, &str)] = &[
    ("", 1, "it ends here, and something to compare packets with is wanted"),
    ("host", 5, "it ends here, and an address is wanted"),
    ("hots 192.0.2.1", 1, "`hots` is no word of an expression; did you mean `host`?"),
    ("192.0.2.1", 1, "`192.0.2.1` says nothing by itself: `host 192.0.2.1`, `net 192.0.2.1` …"),
    ("tcp or 80", 8, "`80` says nothing by itself: `port 80`, `vlan 80` …"),
    ("host 192.0.2.300", 6, "`192.0.2.300` is no address; names are not looked up"),
    ("host example.net", 6, "`example.net` is no address; names are not looked up"),
    ("host 192.0.2.0/24", 6, "this is a network: say `net 192.0.2.0/…`"),
    (
        "host 02:00:00:00:00:01",
        6,
        "`02:00:00:00:00:01` is a link address: say `ether host 02:00:00:00:00:01`",
    ),
    ("ether host 192.0.2.1", 12, "`192.0.2.1` is no link address, such as `02:00:00:00:00:01`"),
    ("tcp host 192.0.2.1", 10, "`tcp` packets have no such thing as an address: say `tcp and …`"),
    ("net 192.0.2.1/24", 15, "192.0.2.1 has bits outside its mask, 255.255.255.0"),
    ("net 192.0.2.0/33", 15, "a prefix has at most 32 bits here"),
    ("net 2001:db8::1/32", 17, "2001:db8::1 has bits behind the first 32"),
    ("port 65536", 6, "ports are numbered from 0 to 65535"),
    ("port htpp", 6, "`htpp` is no port that weir knows by name; did you mean `http`?"),
    ("udp port http", 10, "this is a port of tcp, not of udp"),
    ("ip port 80", 9, "`ip` packets have no such thing as a port: say `ip and …`"),
    ("portrange 1-x", 11, "wanted two ports, such as `8000-8080`"),
    ("ip proto tcp", 10, "found `tcp`, wanted a protocol's number, or its name after a backslash"),
    ("proto \\ip6", 7, "`\\\\ip6` is no protocol of IP: a number up to 255, or a name such as `\\tcp`"),
    ("vlan 4096", 6, "VLANs are numbered from 0 to 4095"),
    ("tcp port 80 adn host 192.0.2.1", 13, "found `adn`, wanted `and`, `or` or the end"),
    ("(tcp port 80", 13, "it ends here, and `)` is wanted"),
    ("tcp port 80)", 12, "found `)`, wanted `and`, `or` or the end"),
    ("tcp and", 8, "it ends here, and something to compare packets with is wanted"),
    ("tcp[13", 7, "it ends here, and `]` is wanted"),
    ("tcp[13:3] = 1", 8, "1, 2 or 4 bytes can be looked at"),
    ("tcp[13]", 8, "it ends here, and a comparison: `=`, `!=`, `<`, `<=`, `>` or `>=` is wanted"),
    ("ip[0] / 0 = 1", 9, "nothing can be divided by zero"),
    ("mpls", 1, "weir's expressions have no `mpls`"),
    ("ip broadcast", 4, "weir's expressions have no `ip broadcast`"),
    ("ether", 6, "it ends here, and `host`, `src`, `dst`, `proto`, `broadcast` or `multicast` is wanted"),
    ("tcp § udp", 5, "`§` has no meaning here"),
    ("src or tcp", 5, "found `or`, wanted an address"),
];

#[test]
fn what_is_not_understood_is_refused_with_its_place() {
    for (text, column, what) in REFUSED {
        let error = Filter::parse(text).expect_err(text);
        assert_eq!((error.column, error.what.as_str()), (*column, *what), "{text}");
    }
    let error = Filter::parse("hots 192.0.2.1").unwrap_err();
    let words = "filter, column 1: `hots` is no word of an expression; did you mean `host`?";
    assert_eq!(error.to_string(), words);
}

#[test]
fn depth_and_length_have_an_end() {
    let deep = |n: usize| format!("{}tcp{}", "(".repeat(n), ")".repeat(n));
    assert!(Filter::parse(&deep(60)).is_ok());
    for text in [deep(65), "not ".repeat(65) + "tcp", "(".repeat(4000), "-".repeat(4000) + "1 = 1"] {
        assert!(Filter::parse(&text).unwrap_err().what.contains("lie in each other"), "{text}");
    }
    let long = "tcp or ".repeat(500) + "udp";
    let matches = Filter::parse(&long).unwrap().matches(&[0; 60]);
    assert!(!matches && Filter::parse(&"tcp or ".repeat(600)).is_err());
}

/// Words of expressions in any order: refused or not, in any case answered.
#[test]
fn no_text_makes_it_fail() {
    let words = [
        "(",
        ")",
        "not",
        "and",
        "or",
        "host",
        "net",
        "192.0.2.0",
        "/",
        "24",
        "port",
        "80",
        "tcp",
        "[",
        "]",
        ":",
        "=",
        "&",
        "-",
        "vlan",
        "src",
        "dst",
        "ip6",
        "::1",
        "portrange",
        "1-2",
        "\\tcp",
        "proto",
        "len",
        "<",
        "mask",
        "é",
    ];
    let mut seed = 1u64;
    let mut understood = 0;
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..9 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            text += words[(seed >> 33) as usize % words.len()];
            if seed >> 32 & 3 != 0 {
                text.push(' ');
            }
            match Filter::parse(&text) {
                Ok(filter) => {
                    understood += 1;
                    filter.matches(&[0x45; 64]);
                }
                Err(error) => {
                    assert!((1..=text.chars().count() + 1).contains(&error.column), "{text}: {error}")
                }
            }
        }
    }
    assert!(understood > 1000, "{understood}");
}
