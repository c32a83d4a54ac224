//! The requests and replies there are, and how each lies in its bytes.
//!
//! Both messages have one length each. A reader takes nothing on trust: every field has its range, every list its
//! most, and what is unused must be zero, so that a message has one form only.

use std::borrow::Cow;
use std::net::IpAddr;

use weir_sys::device::DeviceName;

use super::wire::{Reader, Writer};
use crate::afxdp::punt::Transport;
use crate::afxdp::{Attached, KernelError, Mode, Punt};

/// Bytes of every request.
pub const REQUEST: usize = 4096;
/// Bytes of every reply.
pub const REPLY: usize = 512;
/// The most addresses and ports that a punt has on its way.
pub const ADDRESSES_MAX: usize = 200;
/// The most ports of a punt.
pub const PORTS_MAX: usize = 64;

const MAGIC: u32 = u32::from_le_bytes(*b"weir");
const VERSION: u16 = 1;
const DOING_MAX: usize = 96;
const SUBJECT_MAX: usize = 64;
const HELP_MAX: usize = 256;
const WORD_MAX: usize = 256;
const QUEUES_MAX: u32 = 4096;

/// A message that says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field `{field}` of a message is {why}")]
pub struct Malformed {
    /// Which part of it.
    pub field: &'static str,
    /// What is wrong there.
    pub why: &'static str,
}

/// What may be asked: the calls of [`crate::afxdp::Kernel`], by value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Put the redirect program on a device.
    Attach(String, Punt, Option<Mode>),
    /// A new AF_XDP socket.
    Socket,
    /// Send a queue's packets to the socket that comes with this.
    Install(String, u32),
    /// Send them to the kernel again.
    Remove(String, u32),
    /// Replace what goes past weir.
    Punt(String, Punt),
    /// Take the program off.
    Detach(String),
    /// A TAP device.
    Tap(String, [u8; 6], u32),
    /// Have the kernel take what comes in by a TAP device as if it came in by a device.
    Lead(String, String),
    /// Have the kernel find a neighbour.
    Resolve(u32, IpAddr),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is done; a descriptor comes with this when one was asked for.
    Done,
    /// A device has the program.
    Attached(Attached),
    /// It is not done.
    Refused(KernelError),
}

/// An answer to the request with this number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The request's number.
    pub number: u64,
    /// What came of it.
    pub answer: Answer,
}

impl Request {
    /// Whether a descriptor comes with it.
    pub fn brings_descriptor(&self) -> bool {
        matches!(self, Request::Install(..))
    }

    /// Whether a descriptor comes with the answer, when it is done.
    pub fn wants_descriptor(&self) -> bool {
        matches!(self, Request::Socket | Request::Tap(..))
    }

    /// Lays it into the bytes of a message.
    pub fn emit(&self, number: u64, bytes: &mut [u8; REQUEST]) -> Result<(), Malformed> {
        let mut to = begin(bytes, number);
        match self {
            Request::Attach(device, punt, mode) => {
                to.u8("verb", 1);
                put_device(&mut to, device);
                to.u8("mode", mode.map_or(0, mode_number));
                put_punt(&mut to, punt);
            }
            Request::Socket => to.u8("verb", 2),
            Request::Install(device, queue) => {
                to.u8("verb", 3);
                put_device(&mut to, device);
                to.u32("queue", *queue);
            }
            Request::Remove(device, queue) => {
                to.u8("verb", 4);
                put_device(&mut to, device);
                to.u32("queue", *queue);
            }
            Request::Punt(device, punt) => {
                to.u8("verb", 5);
                put_device(&mut to, device);
                put_punt(&mut to, punt);
            }
            Request::Detach(device) => {
                to.u8("verb", 6);
                put_device(&mut to, device);
            }
            Request::Tap(name, mac, mtu) => {
                to.u8("verb", 7);
                put_device(&mut to, name);
                to.put("mac", mac);
                to.u32("mtu", *mtu);
            }
            Request::Resolve(ifindex, address) => {
                to.u8("verb", 8);
                to.u32("ifindex", *ifindex);
                put_address(&mut to, *address);
            }
            Request::Lead(tap, device) => {
                to.u8("verb", 9);
                put_device(&mut to, tap);
                put_device(&mut to, device);
            }
        }
        to.finish()
    }

    /// Reads a message: its number, and the request or what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<(u64, Result<Request, Malformed>), Malformed> {
        let (number, mut from) = open(bytes, REQUEST)?;
        let request = take_request(&mut from).and_then(|request| from.finish().map(|()| request));
        Ok((number, request))
    }
}

fn take_request(from: &mut Reader<'_>) -> Result<Request, Malformed> {
    Ok(match from.u8("verb")? {
        1 => {
            let device = take_device(from)?;
            let mode = match from.u8("mode")? {
                0 => None,
                number => Some(mode(number)?),
            };
            Request::Attach(device, take_punt(from)?, mode)
        }
        2 => Request::Socket,
        3 => Request::Install(take_device(from)?, below(from.u32("queue")?, "queue", QUEUES_MAX)?),
        4 => Request::Remove(take_device(from)?, below(from.u32("queue")?, "queue", QUEUES_MAX)?),
        5 => Request::Punt(take_device(from)?, take_punt(from)?),
        6 => Request::Detach(take_device(from)?),
        7 => {
            let (name, mac) = (take_device(from)?, from.array("mac")?);
            // 68 is the least that IPv4 works with (RFC 791), 65521 the most a TAP device takes.
            let mtu = from.u32("mtu")?;
            if !(68..=65_521).contains(&mtu) {
                return Err(Malformed { field: "mtu", why: "outside 68 to 65521" });
            }
            Request::Tap(name, mac, mtu)
        }
        8 => Request::Resolve(from.u32("ifindex")?, take_address(from)?),
        9 => Request::Lead(take_device(from)?, take_device(from)?),
        _ => return Err(Malformed { field: "verb", why: "none that there is" }),
    })
}

impl Reply {
    /// Lays it into the bytes of a message. Texts for people are cut to fit.
    pub fn emit(&self, bytes: &mut [u8; REPLY]) -> Result<(), Malformed> {
        let mut to = begin(bytes, self.number);
        match &self.answer {
            Answer::Done => to.u8("answer", 1),
            Answer::Attached(attached) => {
                to.u8("answer", 2);
                to.u32("ifindex", attached.ifindex);
                to.put("mac", &attached.mac);
                to.u32("mtu", attached.mtu);
                to.u32("queues", attached.queues);
                to.u8("mode", mode_number(attached.mode));
                put_words(&mut to, "word", attached.word.as_deref(), WORD_MAX);
            }
            Answer::Refused(error) => {
                to.u8("answer", 3);
                to.u32("errno", error.errno.cast_unsigned());
                to.words("doing", &error.doing, DOING_MAX);
                to.words("subject", &error.subject, SUBJECT_MAX);
                put_words(&mut to, "help", error.help.as_deref(), HELP_MAX);
            }
        }
        to.finish()
    }

    /// Reads a message.
    pub fn parse(bytes: &[u8]) -> Result<Reply, Malformed> {
        let (number, mut from) = open(bytes, REPLY)?;
        let answer = match from.u8("answer")? {
            1 => Answer::Done,
            2 => Answer::Attached(Attached {
                ifindex: from.u32("ifindex")?,
                mac: from.array("mac")?,
                mtu: from.u32("mtu")?,
                queues: from.u32("queues")?,
                mode: mode(from.u8("mode")?)?,
                word: take_words(&mut from, "word", WORD_MAX)?.map(str::to_owned),
            }),
            3 => Answer::Refused(KernelError {
                errno: from.u32("errno")?.cast_signed(),
                doing: Cow::Owned(from.text("doing", DOING_MAX)?.to_owned()),
                subject: from.text("subject", SUBJECT_MAX)?.to_owned(),
                help: take_words(&mut from, "help", HELP_MAX)?.map(|help| Cow::Owned(help.to_owned())),
            }),
            _ => return Err(Malformed { field: "answer", why: "none that there is" }),
        };
        from.finish()?;
        Ok(Reply { number, answer })
    }
}

fn begin(bytes: &mut [u8], number: u64) -> Writer<'_> {
    let mut to = Writer::new(bytes);
    to.u32("magic", MAGIC);
    to.u16("version", VERSION);
    to.u64("number", number);
    to
}

fn open(bytes: &[u8], length: usize) -> Result<(u64, Reader<'_>), Malformed> {
    if bytes.len() != length {
        return Err(Malformed { field: "length", why: "another than every message has" });
    }
    let mut from = Reader::new(bytes);
    if (from.u32("magic")?, from.u16("version")?) != (MAGIC, VERSION) {
        return Err(Malformed { field: "magic", why: "of another protocol" });
    }
    Ok((from.u64("number")?, from))
}

fn below(value: u32, field: &'static str, limit: u32) -> Result<u32, Malformed> {
    if value < limit { Ok(value) } else { Err(Malformed { field, why: "larger than any there is" }) }
}

fn mode_number(mode: Mode) -> u8 {
    match mode {
        Mode::Native => 1,
        Mode::Generic => 2,
    }
}

fn mode(number: u8) -> Result<Mode, Malformed> {
    match number {
        1 => Ok(Mode::Native),
        2 => Ok(Mode::Generic),
        _ => Err(Malformed { field: "mode", why: "none that there is" }),
    }
}

fn put_device(to: &mut Writer<'_>, device: &str) {
    to.text("device", device, weir_sys::device::NAME_MAX);
}

fn take_device(from: &mut Reader<'_>) -> Result<String, Malformed> {
    let name = from.text("device", weir_sys::device::NAME_MAX)?;
    let name = DeviceName::new(name).map_err(|_| Malformed { field: "device", why: "no device's name" })?;
    Ok(name.as_str().to_owned())
}

fn put_words(to: &mut Writer<'_>, field: &'static str, words: Option<&str>, max: usize) {
    to.u8(field, u8::from(words.is_some()));
    if let Some(words) = words {
        to.words(field, words, max);
    }
}

fn take_words<'a>(
    from: &mut Reader<'a>,
    field: &'static str,
    max: usize,
) -> Result<Option<&'a str>, Malformed> {
    match from.bool(field)? {
        true => from.text(field, max).map(Some),
        false => Ok(None),
    }
}

fn put_address(to: &mut Writer<'_>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            to.u8("family", 4);
            to.put("address", &address.octets());
        }
        IpAddr::V6(address) => {
            to.u8("family", 6);
            to.put("address", &address.octets());
        }
    }
}

fn take_address(from: &mut Reader<'_>) -> Result<IpAddr, Malformed> {
    match from.u8("family")? {
        4 => Ok(IpAddr::from(from.array::<4>("address")?)),
        6 => Ok(IpAddr::from(from.array::<16>("address")?)),
        _ => Err(Malformed { field: "family", why: "neither 4 nor 6" }),
    }
}

fn put_punt(to: &mut Writer<'_>, punt: &Punt) {
    // Addresses matter only to rules that name them; a box may have very many.
    let addresses = if punt.reads_addresses() { punt.addresses.as_slice() } else { &[] };
    for switch in [punt.arp, punt.nd, punt.local] {
        to.u8("punt", u8::from(switch));
    }
    // A length beyond its most is refused by the reader, with the field's name.
    to.u16("ports", punt.ports.len().min(usize::from(u16::MAX)) as u16);
    for (transport, port) in punt.ports.iter().take(PORTS_MAX) {
        to.u8("transport", transport.number());
        to.u16("port", *port);
    }
    to.u16("addresses", addresses.len().min(usize::from(u16::MAX)) as u16);
    for address in addresses.iter().take(ADDRESSES_MAX) {
        put_address(to, *address);
    }
}

fn take_punt(from: &mut Reader<'_>) -> Result<Punt, Malformed> {
    let (arp, nd, local) = (from.bool("arp")?, from.bool("nd")?, from.bool("local")?);
    let mut punt = Punt { arp, nd, local, ..Punt::nothing() };
    let ports = below(u32::from(from.u16("ports")?), "ports", PORTS_MAX as u32 + 1)?;
    for _ in 0..ports {
        let transport = match from.u8("transport")? {
            6 => Transport::Tcp,
            17 => Transport::Udp,
            _ => return Err(Malformed { field: "transport", why: "neither TCP nor UDP" }),
        };
        punt.ports.push((transport, from.u16("port")?));
    }
    let addresses = below(u32::from(from.u16("addresses")?), "addresses", ADDRESSES_MAX as u32 + 1)?;
    for _ in 0..addresses {
        punt.addresses.push(take_address(from)?);
    }
    Ok(punt)
}
