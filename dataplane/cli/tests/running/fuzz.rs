//! Requests made of the OpenAPI description at random, right and wrong: each is answered as the description says,
//! and weir stays whole. `scripts/fuzz-api.sh` does the same for longer, with schemathesis.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Map, Value, json};
use weir_control::Action;

use crate::daemon::{Daemon, PACKETS, PATIENCE, Traffic, folder, socket, sum};

/// Requests of each operation; `WEIR_FUZZ` says another number.
const REQUESTS: u64 = 12;

/// Texts that mean something somewhere, and texts that do not.
const WORDS: &[&str] = &[
    "firewall",
    "classify",
    "wan",
    "lan",
    "deny4",
    "services",
    "reasons",
    "firewall@wan:xdp",
    "10.0.7.0/24",
    "10.0.0.1",
    "::1",
    "1",
    "0",
    "-1",
    "hex:00500600",
    "60s",
    "1ms",
    "xdp",
    "tc",
    "pass",
    "drop",
    "xlated",
    "source",
    "hex",
    "formatted",
    "{\"protocol\":6,\"port\":80}",
    "",
    " ",
    "../..",
    "%2e%2e",
    "a\u{0}b",
    "\u{1f4a9}",
    "null",
    "*",
    "18446744073709551616",
];

/// xorshift64*, seeded the same each time.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below.max(1)
    }

    fn word(&mut self) -> String {
        match self.next(12) {
            0 => "x".repeat(self.next(900)),
            _ => WORDS[self.next(WORDS.len())].to_owned(),
        }
    }

    /// A value of a schema most of the time, and another one now and then.
    fn value(&mut self, description: &Value, schema: &Value, depth: usize) -> Value {
        if self.next(12) == 0 || depth > 6 {
            return [json!(null), json!(1e300), json!(-5), json!({}), json!([]), json!("")][self.next(6)]
                .clone();
        }
        if let Some(reference) = schema["$ref"].as_str() {
            let meant = description.pointer(reference.trim_start_matches('#'));
            return self.value(description, meant.expect("references lead somewhere"), depth + 1);
        }
        for several in ["oneOf", "anyOf", "enum"] {
            if let Some(several) = schema[several].as_array() {
                let one = &several[self.next(several.len())];
                return if schema["enum"].is_array() {
                    one.clone()
                } else {
                    self.value(description, one, depth + 1)
                };
            }
        }
        let kinds =
            [&schema["type"]].map(|kind| kind.as_array().cloned().unwrap_or_else(|| vec![kind.clone()]));
        match kinds[0][self.next(kinds[0].len())].as_str() {
            Some("integer") => json!([0, 1, 2, 1000, 1_000_001, u32::MAX as usize + 1][self.next(6)]),
            Some("number") => json!([0.0, 0.5, 1.0, 1.5][self.next(4)]),
            Some("boolean") => json!(self.next(2) == 0),
            Some("null") => Value::Null,
            Some("array") => {
                (0..self.next(4)).map(|_| self.value(description, &schema["items"], depth + 1)).collect()
            }
            Some("object") => {
                let mut object = Map::new();
                for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                    if self.next(4) > 0 {
                        object.insert(name.clone(), self.value(description, property, depth + 1));
                    }
                }
                if self.next(8) == 0 {
                    object.insert(self.word(), Value::Null);
                }
                object.into()
            }
            _ => match schema["pattern"].as_str() {
                Some(pattern) if pattern.contains("[0-9a-f]{2}") => json!("00".repeat(14 + self.next(60))),
                _ => json!(self.word()),
            },
        }
    }

    /// A field as text.
    fn text(&mut self, description: &Value, schema: &Value) -> String {
        match self.value(description, schema, 0) {
            Value::String(text) => text,
            other => other.to_string(),
        }
    }
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(
            |byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            },
        )
        .collect()
}

/// A request of an operation: what comes before the body, and the body.
fn request(
    random: &mut Random,
    description: &Value,
    method: &str,
    path: &str,
    operation: &Value,
) -> (String, Vec<u8>) {
    let (mut path, mut query, mut headers) = (path.to_owned(), Vec::new(), String::new());
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap();
        let text = random.text(description, &parameter["schema"]);
        match parameter["in"].as_str() {
            Some("path") => path = path.replace(&format!("{{{name}}}"), &escaped(&text)),
            Some("query") if random.next(2) == 0 => query.push(format!("{name}={}", escaped(&text))),
            Some("header") if random.next(4) == 0 && !text.contains(char::is_control) => {
                headers += &format!("{name}: {text}\r\n")
            }
            _ => {}
        }
    }
    let mut body = Vec::new();
    if let Some(content) = operation["requestBody"]["content"].as_object() {
        let (media, content) = content.iter().nth(random.next(content.len())).unwrap();
        headers += &format!("content-type: {}\r\n", if random.next(15) == 0 { "text/html" } else { media });
        body = match (media.as_str(), random.next(4)) {
            (_, 0) => (0..random.next(300)).map(|_| random.next(256) as u8).collect(),
            ("application/json", _) => {
                random.value(description, &content["schema"], 0).to_string().into_bytes()
            }
            (_, 1) => std::fs::read(folder().join("fuzz.toml")).unwrap(),
            (_, _) => {
                std::fs::read(folder().join(["firewall.o", "flows.o", "bad.o"][random.next(3)])).unwrap()
            }
        };
    }
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    let length = body.len();
    (
        format!(
            "{} {path}{query} HTTP/1.1\r\nhost: w\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n",
            method.to_uppercase()
        ),
        body,
    )
}

/// Status, media type and body of an answer.
fn answer(head: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    let mut stream = UnixStream::connect(socket("fuzz")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // Who refuses a request early need not read its body.
    let _ = stream.write_all(&[head.as_bytes(), body].concat());
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let end =
        bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or_else(|| panic!("no answer: {head}"));
    let (said, content) = (String::from_utf8_lossy(&bytes[..end]).to_lowercase(), bytes[end + 4..].to_vec());
    let status = said.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
    let media =
        said.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or_default().to_owned();
    (status, media, content)
}

#[test]
fn requests_of_the_descriptions_making_are_answered_as_it_says() {
    let daemon = Daemon::start("fuzz", Traffic::Done);
    let description: Value = daemon.client().get(&Action::OpenApi {}).unwrap();
    let requests = std::env::var("WEIR_FUZZ").ok().and_then(|text| text.parse().ok()).unwrap_or(REQUESTS);
    let mut random = Random(0x5eed_0003);
    for round in 0..requests {
        for (path, operations) in description["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let documented = operation["responses"].as_object().unwrap();
                let content = |status: &str| {
                    documented
                        .get(status)
                        .and_then(|said| said["content"].as_object()?.keys().next().cloned())
                };
                let media = content("200").unwrap_or_default();
                if media.contains("event-stream") || media.contains("pcap") {
                    continue;
                }
                let (head, body) = request(&mut random, &description, method, path, operation);
                let (status, found, bytes) = answer(&head, &body);
                let told = || {
                    format!(
                        "round {round}: {head}{}\n{status} {found} {}",
                        String::from_utf8_lossy(&body),
                        String::from_utf8_lossy(&bytes)
                    )
                };
                if let Some(wanted) = content(&status.to_string()) {
                    assert_eq!(found, wanted, "{}", told());
                    continue;
                }
                assert!(matches!(status, 400..=499 | 501 | 503), "{}", told());
                assert_eq!(found, "application/problem+json", "{}", told());
                let problem: Value =
                    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{error}: {}", told()));
                assert!(problem["status"] == status && problem["code"].is_string(), "{}", told());
            }
        }
    }
    let stats = daemon.stats();
    assert!(stats.ledger.holds && stats.ledger.packets.lost == 0, "{:?}", stats.ledger);
    assert_eq!(sum(&stats, "wan").0, PACKETS);
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    daemon.end();
}
