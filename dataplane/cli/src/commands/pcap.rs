//! `weir pcap`: looking at captures, and making traffic up.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use weir_io::pcap::info::{Info, SIZE_CLASSES};
use weir_io::traffic::{Spec, Traffic};

use crate::exit::{Code, Done, Failure};
use crate::output::{Output, bytes, grouped, table};

/// Arguments of `weir pcap`.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// What is in captures
    Info {
        /// Captures (pcap or pcapng, also .gz and .zst)
        #[arg(required = true)]
        captures: Vec<PathBuf>,
    },
    /// Make a capture of realistic traffic; the same seed makes the same bytes
    Gen(GenArguments),
}

#[derive(Args)]
struct GenArguments {
    /// Where to write it; pcapng, or pcap by the ending; - is standard output
    out: PathBuf,
    /// How many packets
    #[arg(short = 'n', long, value_name = "N", default_value_t = Spec::default().packets)]
    packets: u64,
    /// What the dice start from
    #[arg(long, value_name = "N", default_value_t = Spec::default().seed)]
    seed: u64,
    /// How many flows at a time
    #[arg(long, value_name = "N", default_value_t = Spec::default().flows)]
    flows: u32,
    /// How many hosts begin flows
    #[arg(long, value_name = "N", default_value_t = Spec::default().clients)]
    clients: u32,
    /// How many hosts are asked
    #[arg(long, value_name = "N", default_value_t = Spec::default().servers)]
    servers: u32,
    /// Share of IPv6 flows, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = Spec::default().ipv6)]
    ipv6: f64,
    /// Share of flows with a VLAN tag, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = Spec::default().vlan)]
    vlan: f64,
    /// Share of datagrams in fragments, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = Spec::default().fragments)]
    fragments: f64,
    /// Share of malformed packets, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = Spec::default().malformed)]
    malformed: f64,
    /// Packets a second, by their time stamps
    #[arg(long, value_name = "N", default_value_t = Spec::default().packets_per_second)]
    pps: f64,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, output: &Output) -> Done {
    match &arguments.action {
        Action::Info { captures } => info(captures, output),
        Action::Gen(arguments) => generate(arguments, output),
    }
}

fn generate(arguments: &GenArguments, output: &Output) -> Done {
    let spec = Spec {
        packets: arguments.packets,
        seed: arguments.seed,
        flows: arguments.flows,
        clients: arguments.clients,
        servers: arguments.servers,
        ipv6: arguments.ipv6,
        vlan: arguments.vlan,
        fragments: arguments.fragments,
        malformed: arguments.malformed,
        packets_per_second: arguments.pps,
        ..Spec::default()
    };
    let traffic = Traffic::new(&spec).map_err(|error| Failure::new(Code::Usage, error))?;
    let path = &arguments.out;
    let file: Box<dyn Write> = match path.as_os_str() == "-" {
        true => Box::new(std::io::stdout()),
        false => Box::new(std::fs::File::create(path).with_context(|| path.display().to_string())?),
    };
    let out = BufWriter::new(file);
    let written = match path.extension().is_some_and(|extension| extension == "pcap") {
        true => traffic.write_pcap(out),
        false => traffic.write_pcapng(out),
    };
    match written.and_then(|mut out| out.flush()) {
        Err(gone) if gone.kind() == std::io::ErrorKind::BrokenPipe => return Ok(Code::Ok),
        done => done.with_context(|| path.display().to_string())?,
    }
    output.note(format_args!("{}: {} packets, seed {}", path.display(), spec.packets, spec.seed));
    Ok(Code::Ok)
}

fn info(captures: &[PathBuf], output: &Output) -> Done {
    let limits = weir_io::pcap::Limits::default();
    let capture =
        weir_io::pcap::Capture::load(captures, &limits).map_err(|error| Failure::new(Code::Usage, error))?;
    let info = Info::of(&capture);
    if output.is_json() {
        output.json(&as_json(&info))?;
    } else {
        output.text(for_people(&info))?;
    }
    Ok(Code::Ok)
}

fn as_json(info: &Info) -> serde_json::Value {
    let protocols = info.protocols.iter().map(|(name, share)| {
        serde_json::json!({ "protocol": name, "packets": share.packets, "bytes": share.bytes })
    });
    let refused = info.tally.each_refused().filter(|(_, count)| *count > 0);
    serde_json::json!({
        "schema": "weir.v1.pcap",
        "records": info.tally.records,
        "frames": info.tally.frames,
        "refused": refused.map(|(reason, count)| (reason.name().to_owned(), count.into()))
            .collect::<serde_json::Map<String, serde_json::Value>>(),
        "linktypes": info.links,
        "bytes": info.all.bytes,
        "flows": info.flows,
        "tagged": info.tagged,
        "shortest": info.lengths.0,
        "longest": info.lengths.1,
        "first_ns": info.times_ns.0,
        "last_ns": info.times_ns.1,
        "packets_per_second": info.packets_per_second(),
        "bits_per_second": info.bits_per_second(),
        "protocols": protocols.collect::<Vec<_>>(),
        "size_classes": SIZE_CLASSES,
        "sizes": info.sizes,
    })
}

fn for_people(info: &Info) -> String {
    let per_second = |rate: Option<f64>| rate.map_or("-".to_owned(), |rate| grouped(rate as u64));
    let mut lines = vec![
        format!(
            "{:<12}{} records, {} frames",
            "packets",
            grouped(info.tally.records),
            grouped(info.tally.frames)
        ),
        format!("{:<12}{}, {} to {} a frame", "bytes", bytes(info.all.bytes), info.lengths.0, info.lengths.1),
        format!("{:<12}{}", "flows", grouped(info.flows)),
        format!("{:<12}{}", "with VLAN", grouped(info.tagged)),
        format!("{:<12}{:.6} s", "duration", info.duration_ns() as f64 / 1e9),
        format!(
            "{:<12}{} packets/s, {} bit/s",
            "rate",
            per_second(info.packets_per_second()),
            per_second(info.bits_per_second())
        ),
    ];
    for (reason, count) in info.tally.each_refused().filter(|(_, count)| *count > 0) {
        lines.push(format!("{:<12}{} {}", "refused", grouped(count), reason.name()));
    }
    let rows = info
        .protocols
        .iter()
        .map(|(name, share)| vec![name.clone(), grouped(share.packets), bytes(share.bytes)]);
    let mut starts = vec![0];
    starts.extend(SIZE_CLASSES.iter().map(|end| end + 1));
    let sizes = starts.iter().zip(&info.sizes).enumerate().map(|(at, (start, count))| {
        let range = match SIZE_CLASSES.get(at) {
            Some(end) => format!("{start}-{end}"),
            None => format!("{start}-"),
        };
        vec![range, grouped(*count)]
    });
    let (protocols, sizes) = (
        table(&["protocol", "packets", "bytes"], 1, rows.collect()),
        table(&["frame bytes", "packets"], 1, sizes.collect()),
    );
    format!("{}\n\n{protocols}\n\n{sizes}", lines.join("\n"))
}
