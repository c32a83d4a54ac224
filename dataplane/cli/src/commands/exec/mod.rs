//! `weir exec`: one program on packets of your own; prints verdict, changed bytes and map changes.

mod subject;
mod view;
mod world;

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use clap::{Args, ValueEnum};
use serde::Serialize;
use weir_ebpf::ProgramType;
use weir_vm::Engine;
use weir_vm::test_run::{Input, Output as RunOutput};

use self::subject::{Given, Refusal, Subject};
use self::view::{MapView, changes};
use crate::exit::{Code, Done, Failure};
use crate::output::Output;
use crate::source::{SourceArgs, read};

/// Which engine runs the program.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    /// Machine code
    Jit,
    /// The checked interpreter
    Interp,
    /// Both, one after the other, on maps of their own; a difference is an error
    Both,
}

/// Arguments of `weir exec`.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    source: SourceArgs,
    /// The packet in hexadecimal
    #[arg(long, value_name = "BYTES")]
    hex: Option<String>,
    /// The packet in a file of bytes
    #[arg(long, visible_alias = "data_in", value_name = "FILE", conflicts_with = "hex")]
    data_in: Option<PathBuf>,
    /// All packets of a capture, one after another
    #[arg(long, value_name = "FILE", conflicts_with_all = ["hex", "data_in"])]
    pcap: Option<PathBuf>,
    /// Write the packet as it is afterwards
    #[arg(long, visible_alias = "data_out", value_name = "FILE")]
    data_out: Option<PathBuf>,
    /// A field of the context: ingress_ifindex, rx_queue_index, mark, priority, cb0 to cb4, tstamp
    #[arg(long = "ctx", value_name = "FIELD=NUMBER")]
    context: Vec<String>,
    /// What a map holds from the start: a TOML file with `entry = [{ key = …, value = … }]`
    #[arg(long = "map", value_name = "NAME=FILE")]
    maps: Vec<String>,
    /// The value of a constant (`const volatile` in C): a number, true, false, or what a configuration may write
    #[arg(long, value_name = "NAME=VALUE")]
    rodata: Vec<String>,
    /// Run so many times on each packet
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// What runs it
    #[arg(long, value_enum, default_value = "jit")]
    engine: Which,
    /// Run it unproven, in the checked interpreter
    #[arg(long)]
    no_verify: bool,
}

/// What came of one packet.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct PacketAnswer {
    retval: u32,
    /// The answer's name, where it has one.
    action: Option<&'static str>,
    data_out: String,
    /// Where the packet shall go, if the answer says so.
    redirect: Option<String>,
    /// What the checked interpreter caught the program at.
    fault: Option<String>,
    #[serde(skip)]
    bytes: Vec<u8>,
}

/// The whole answer.
#[derive(Serialize)]
struct Answer {
    schema: &'static str,
    program: String,
    #[serde(rename = "type")]
    kind: Option<&'static str>,
    /// Of the verifier: `accept`, `reject`, or `unverified`.
    verdict: &'static str,
    message: String,
    insns_processed: u64,
    packets: Vec<PacketAnswer>,
    /// Mean time of one run on the last packet.
    duration_ns: u64,
    maps: Vec<MapView>,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, output: &Output) -> Done {
    let packets = packets(arguments)?;
    let engine = match arguments.engine {
        Which::Jit | Which::Both => Engine::Jit,
        Which::Interp => Engine::Interpreter,
    };
    let first = attempt(arguments, engine, &packets)?;
    let Attempt::Ran { answer, before } = first else { return refused(first, output) };
    if arguments.engine == Which::Both {
        let Attempt::Ran { answer: other, .. } = attempt(arguments, Engine::Interpreter, &packets)? else {
            return Err(anyhow!("the verifier changed its mind between two runs").into());
        };
        compare(&answer, &other)?;
    }
    if let (Some(path), Some(last)) = (&arguments.data_out, answer.packets.last()) {
        std::fs::write(path, &last.bytes).with_context(|| path.display().to_string())?;
    }
    if output.is_json() {
        output.json(&answer)?;
    } else {
        say(&answer, &before, &packets, output)?;
    }
    Ok(if answer.packets.iter().any(|packet| packet.fault.is_some()) { Code::Failed } else { Code::Ok })
}

/// What one engine did.
enum Attempt {
    /// It ran; the maps as they were before are beside the answer.
    Ran { answer: Answer, before: Vec<MapView> },
    /// The verifier said no.
    Refused(Answer, String),
}

fn attempt(arguments: &Arguments, engine: Engine, packets: &[Vec<u8>]) -> Result<Attempt, Failure> {
    let given = Given { maps: &arguments.maps, rodata: &arguments.rodata };
    let subject = match Subject::load(&arguments.source, &given, engine, !arguments.no_verify) {
        Ok(subject) => subject,
        Err(Refusal::Failure(failure)) => return Err(failure),
        Err(Refusal::Rejected { program, kind, reject }) => {
            let answer = Answer {
                schema: "weir.v1.exec",
                program,
                kind: Some(kind.name()),
                verdict: "reject",
                message: reject.message.clone(),
                insns_processed: reject.stats.processed,
                packets: Vec::new(),
                duration_ns: 0,
                maps: Vec::new(),
            };
            return Ok(Attempt::Refused(answer, reject.to_string()));
        }
    };
    let before = subject.view();
    let mut answers = Vec::new();
    let mut duration_ns = 0;
    for packet in packets {
        let mut input = Input::new(packet);
        input.repeat = arguments.repeat;
        set_fields(&mut input, &arguments.context)?;
        let (ran, fault) = subject.run(&input)?;
        duration_ns = ran.duration.as_nanos() as u64;
        answers.push(packet_answer(subject.kind(), ran, fault));
    }
    let answer = Answer {
        schema: "weir.v1.exec",
        program: subject.name().to_owned(),
        kind: Some(subject.kind().name()),
        verdict: if arguments.no_verify { "unverified" } else { "accept" },
        message: String::new(),
        insns_processed: subject.insns_processed(),
        packets: answers,
        duration_ns,
        maps: subject.view(),
    };
    Ok(Attempt::Ran { answer, before })
}

fn refused(attempt: Attempt, output: &Output) -> Done {
    if let Attempt::Refused(answer, text) = attempt {
        if output.is_json() {
            output.json(&answer)?;
        } else {
            output.text(format_args!("{}: rejected\n{}", answer.program, text.trim_end()))?;
        }
    }
    Ok(Code::Rejected)
}

fn packet_answer(kind: ProgramType, ran: RunOutput, fault: Option<String>) -> PacketAnswer {
    PacketAnswer {
        retval: ran.retval,
        action: kind.answer_name(ran.retval as i32),
        data_out: hex(&ran.packet),
        redirect: ran.redirect.map(|redirect| format!("{redirect:?}")),
        fault,
        bytes: ran.packet,
    }
}

fn packets(arguments: &Arguments) -> Result<Vec<Vec<u8>>, Failure> {
    if let Some(text) = &arguments.hex {
        let what = || anyhow!("--hex {text}: wanted pairs of hexadecimal digits");
        return Ok(vec![weir_engine::values::hex(text).ok_or_else(|| Failure::new(Code::Usage, what()))?]);
    }
    if let Some(path) = &arguments.data_in {
        return Ok(vec![read(path)?]);
    }
    let Some(path) = &arguments.pcap else {
        let what = anyhow!("no packet: give one with --hex, --data-in or --pcap");
        return Err(Failure::new(Code::Usage, what));
    };
    let limits = weir_io::pcap::Limits::default();
    let capture =
        weir_io::pcap::Capture::load(&[path], &limits).map_err(|error| Failure::new(Code::Usage, error))?;
    Ok(capture.slots().iter().map(|slot| capture.bytes(slot).to_vec()).collect())
}

fn set_fields(input: &mut Input, given: &[String]) -> Result<(), Failure> {
    for text in given {
        let wanted = || {
            anyhow!(
                "--ctx {text}: wanted FIELD=NUMBER with ingress_ifindex, rx_queue_index, ifindex, mark, priority, cb0 to cb4, or tstamp"
            )
        };
        let parsed =
            text.split_once('=').and_then(|(name, number)| Some((name, number.parse::<u64>().ok()?)));
        let (name, number) = parsed.ok_or_else(|| Failure::new(Code::Usage, wanted()))?;
        let fields = &mut input.fields;
        let field = match name {
            "ingress_ifindex" => &mut fields.ingress_ifindex,
            "rx_queue_index" => &mut fields.rx_queue_index,
            "ifindex" => &mut fields.ifindex,
            "mark" => &mut fields.mark,
            "priority" => &mut fields.priority,
            "cb0" => &mut fields.cb[0],
            "cb1" => &mut fields.cb[1],
            "cb2" => &mut fields.cb[2],
            "cb3" => &mut fields.cb[3],
            "cb4" => &mut fields.cb[4],
            "tstamp" => {
                fields.tstamp = number;
                continue;
            }
            _ => return Err(Failure::new(Code::Usage, wanted())),
        };
        *field = u32::try_from(number).map_err(|_| Failure::new(Code::Usage, wanted()))?;
    }
    Ok(())
}

/// A difference between the engines is a fault of weir, and an error here.
fn compare(jit: &Answer, interpreter: &Answer) -> Result<(), Failure> {
    for (at, (one, other)) in jit.packets.iter().zip(&interpreter.packets).enumerate() {
        if (one.retval, &one.bytes, &one.redirect) != (other.retval, &other.bytes, &other.redirect) {
            let what = anyhow!("packet {}: the engines differ: jit {one:?}, interpreter {other:?}", at + 1);
            return Err(what.into());
        }
    }
    match changes(&jit.maps, &interpreter.maps).is_empty() {
        true => Ok(()),
        false => Err(anyhow!(
            "the engines left different maps: if the program reads the clock, fix it (--rodata NAME=VALUE, if the program has a constant for it); if not, this is a fault of weir"
        )
        .into()),
    }
}

fn say(answer: &Answer, before: &[MapView], packets: &[Vec<u8>], output: &Output) -> std::io::Result<()> {
    for (at, (packet, given)) in answer.packets.iter().zip(packets).enumerate() {
        let number = if packets.len() > 1 { format!("packet {}: ", at + 1) } else { String::new() };
        let name = packet.action.map_or(String::new(), |name| format!("{} ", output.verdict(name)));
        let redirect = packet.redirect.as_ref().map_or(String::new(), |to| format!(", to {to}"));
        output.text(format_args!("{number}{name}({}){redirect}", packet.retval))?;
        if let Some(fault) = &packet.fault {
            output.text(format_args!("  fault: {fault}"))?;
        }
        if let Some(difference) = difference(given, &packet.bytes) {
            output.text(format_args!("  {difference}"))?;
        }
    }
    for line in changes(before, &answer.maps) {
        output.text(line)?;
    }
    Ok(())
}

/// What changed in a packet, in words.
fn difference(before: &[u8], after: &[u8]) -> Option<String> {
    if before == after {
        return None;
    }
    if before.len() != after.len() {
        return Some(format!("{} bytes became {}: {}", before.len(), after.len(), hex(after)));
    }
    let first = before.iter().zip(after).position(|(a, b)| a != b)?;
    let last = before.iter().zip(after).rposition(|(a, b)| a != b)?;
    let (from, to) = (hex(&before[first..=last]), hex(&after[first..=last]));
    Some(format!("bytes {first} to {last}: {from} became {to}"))
}

/// Bytes as pairs of hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
