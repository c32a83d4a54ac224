//! What becomes of packets that the fast path gives up on: the cases of `corpus/exception`.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use weir_engine::routes::Routes;
use weir_engine::{Config, build};
use weir_router::checksum::checksum;
use weir_router::{Exception, Header, Tables, exception, fragments, icmp};
use weir_tests::packet_text::packet;

const ETHERNET: usize = 14;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    config: String,
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    packet: String,
    port: Option<String>,
    becomes: String,
}

#[test]
fn what_the_fast_path_gives_up_on_becomes_what_it_should() -> Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/exception/router.toml");
    let cases: Cases = toml::from_str(&std::fs::read_to_string(&file)?)?;
    let config = Config::parse(&file, &cases.config)?;
    let routes = Routes::build(&config, &build::ports(&config))?;
    let mut wrong = Vec::new();
    for case in &cases.case {
        let found = becomes(routes.tables(), case).with_context(|| case.name.clone())?;
        if found != case.becomes {
            wrong.push(format!("{}\n  wanted {}\n  found  {found}", case.name, case.becomes));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn becomes(tables: &Tables, case: &Case) -> Result<String> {
    let port = case.port.as_deref().unwrap_or("lan");
    let name = |index: u32| tables.port(index).map_or("nowhere", |port| port.name.as_str());
    let ports = tables.ports().iter();
    let ifindex = ports.clone().find(|known| known.name == port).context("no such port")?.index;
    let before = packet(&case.packet)?;
    let to_many = before[0] & 1 != 0;
    let before = &before[ETHERNET..];
    let mut bytes = before.to_vec();
    let decided = exception(tables, &mut bytes, ifindex);
    let spent = |bytes: &[u8]| -> Result<bool> {
        let (then, now) = (Header::check(before).ok(), Header::check(bytes).ok());
        let (then, now) = (then.context("before")?, now.context("the checksum is wrong now")?);
        Ok(then.hops_left == now.hops_left + 1)
    };
    match decided {
        Exception::Forward { .. } | Exception::Cut { .. } => ensure!(spent(&bytes)?, "no hop was taken"),
        Exception::Resolve { .. } | Exception::Deliver | Exception::Answer(..) | Exception::Drop(_) => {
            ensure!(bytes == before, "it was changed");
        }
    }
    Ok(match decided {
        Exception::Forward { hop, .. } => format!("forward out {}", name(hop.ifindex)),
        Exception::Cut { hop, .. } => {
            together(&bytes, hop.mtu as usize)?;
            format!("cut for {} out {}", hop.mtu, name(hop.ifindex))
        }
        Exception::Resolve { port, address } => format!("resolve {address} out {}", name(port)),
        Exception::Deliver => "deliver".to_owned(),
        Exception::Drop(refusal) => format!("drop {}", refusal.name()),
        Exception::Answer(refusal, problem) => {
            let mut out = [0xee; icmp::ANSWER_MAX];
            match icmp::answer(tables, ifindex, &bytes, to_many, problem, &mut out) {
                Ok(len) => format!("{}, {}", refusal.name(), shown(&out[..len], &bytes)?),
                Err(silence) => format!("{}, no answer: {silence:?}", refusal.name()),
            }
        }
    })
}

/// An answer in words; its lengths, checksums and quotation are right.
fn shown(answer: &[u8], about: &[u8]) -> Result<String> {
    let header = Header::check(answer).ok().context("the answer's header is not sound")?;
    ensure!(header.total_len == answer.len() && header.hops_left == 64, "{header:?}");
    let message = &answer[header.header_len..];
    let word = u32::from_be_bytes(message[4..8].try_into()?);
    let quoted = &message[8..];
    ensure!(about.starts_with(quoted), "what is quoted is not the packet");
    let what = format!("{}/{} ({word}), quotes {}", message[0], message[1], quoted.len());
    if answer[0] >> 4 == 4 {
        ensure!(checksum(message) == 0 && header.protocol == 1, "the message's checksum is wrong");
        let address = |at: usize| Ipv4Addr::new(answer[at], answer[at + 1], answer[at + 2], answer[at + 3]);
        return Ok(format!("{} > {} tos {:02x}, icmp {what}", address(12), address(16), answer[1]));
    }
    let pseudo = [&answer[8..40], &(message.len() as u32).to_be_bytes(), &[0, 0, 0, 58], message].concat();
    ensure!(checksum(&pseudo) == 0 && header.protocol == 58, "the message's checksum is wrong");
    let address =
        |at: usize| -> Result<Ipv6Addr> { Ok(Ipv6Addr::from(<[u8; 16]>::try_from(&answer[at..at + 16])?)) };
    Ok(format!("{} > {}, icmp6 {what}", address(8)?, address(24)?))
}

/// The fragments are sound, fit, and give the packet's payload when they are put together.
fn together(packet: &[u8], mtu: usize) -> Result<()> {
    let whole = Header::check(packet).ok().context("the packet")?;
    let payload = &packet[whole.header_len..whole.total_len];
    let pieces: Vec<_> = fragments(packet, mtu).ok().context("no fragments")?.collect();
    let mut at = 0;
    for (number, piece) in pieces.iter().enumerate() {
        let bytes = [piece.header(), piece.payload].concat();
        let header = Header::check(&bytes).ok().context("a fragment's header is not sound")?;
        ensure!(bytes.len() <= mtu && header.total_len == bytes.len(), "{header:?}");
        let word = u16::from_be_bytes([bytes[6], bytes[7]]);
        ensure!(usize::from(word & 0x1fff) * 8 == at, "offset {word:#x} at {at}");
        ensure!((word & 0x2000 != 0) == (number + 1 < pieces.len()), "more fragments");
        ensure!(payload[at..].starts_with(piece.payload));
        at += piece.payload.len();
    }
    ensure!(at == payload.len() && pieces.len() > 1, "{at} of {} bytes", payload.len());
    Ok(())
}
