//! `weir net`: what is attached where, in bpftool's and tc's words.

use std::path::Path;

use anyhow::anyhow;
use clap::Subcommand;
use serde_json::json;
use weir_control::Action;
use weir_control::action::field::{Json, Octets};
use weir_control::reply::{AttachTo, Direction, Hook, Interfaces, Link, Links, Verdict};

use super::prog::{change, resolve};
use crate::daemon::Daemon;
use crate::exit::{Code, Done, Failure};
use crate::output::Output;
use crate::source::{no_such_program, read_object};
use crate::words::{Selector, Words};

const ATTACH: &str = "net attach xdp|tc PROG|obj FILE [sec|prog NAME] [name NAME] [dev IF] [ingress|egress] [prio N] [actions A,B] [da]";
const DETACH: &str = "net detach xdp|tc [PROG] dev IF [ingress|egress], or net detach LINK";

/// What to do with attachments.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show what is attached: [dev IF]
    #[command(alias = "list")]
    Show { words: Vec<String> },
    /// Attach a program: xdp|tc PROG|obj FILE [dev IF] [ingress|egress] [prio N] [actions A,B] [da]
    Attach {
        words: Vec<String>,
        /// Say what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Detach a program: xdp|tc [PROG] dev IF [ingress|egress], or LINK
    Detach { words: Vec<String> },
}

/// Runs the command.
pub(crate) fn run(command: &Command, daemon: &Daemon, output: &Output) -> Done {
    match command {
        Command::Show { words } => show(&mut Words::new(words, "net show [dev IF]"), daemon, output),
        Command::Attach { words, dry_run } => {
            attach(&mut Words::new(words, ATTACH), *dry_run, daemon, output)
        }
        Command::Detach { words } => detach(&mut Words::new(words, DETACH), daemon, output),
    }
}

/// A link runs at this interface when it names it, or none.
fn is_at(link: &Link, interface: &str) -> bool {
    link.interface.as_deref().is_none_or(|name| name == interface)
}

fn show(words: &mut Words<'_>, daemon: &Daemon, output: &Output) -> Done {
    let only = match words.is_empty() {
        true => None,
        false => {
            words.accept("dev");
            Some(words.want("IF")?.to_owned())
        }
    };
    words.end()?;
    let mut links: Links = daemon.get(&Action::Links {})?;
    links.links.retain(|link| only.as_deref().is_none_or(|only| is_at(link, only)));
    let interfaces: Interfaces = daemon.get(&Action::Interfaces {})?;
    let ifindex = |link: &Link| {
        let name = link.interface.as_deref()?;
        interfaces.interfaces.iter().find(|interface| interface.name == name).map(|found| found.ifindex)
    };
    let of =
        |hook: &str| links.links.iter().filter(move |link| link.hook.starts_with(hook)).collect::<Vec<_>>();
    if output.is_json() {
        let rows = |hook| {
            let rows = of(hook).into_iter().map(|link| {
                let mut row =
                    json!({ "devname": link.interface, "ifindex": ifindex(link), "id": link.program_id });
                row["name"] = link.program.as_str().into();
                row["kind"] = link.hook.as_str().into();
                row["link"] = link.name.as_str().into();
                row["prio"] = link.prio.into();
                row["actions"] = json!(link.actions);
                row
            });
            rows.collect::<Vec<_>>()
        };
        output.json(&json!([{
            "xdp": rows("xdp"), "tc": rows("tc"), "flow_dissector": [], "forward": rows("forward"),
        }]))?;
        return Ok(Code::Ok);
    }
    let mut text = Vec::new();
    for hook in ["xdp", "tc", "flow_dissector", "forward"] {
        let rows: Vec<String> = of(hook).into_iter().map(|link| described(link, ifindex(link))).collect();
        // bpftool's headings stand always; ours when there is something below it.
        if hook != "forward" || !rows.is_empty() {
            text.push(format!("{hook}:"));
            text.extend(rows);
            text.push(String::new());
        }
    }
    output.text(text.join("\n").trim_end())?;
    Ok(Code::Ok)
}

fn described(link: &Link, ifindex: Option<u32>) -> String {
    let at = match (&link.interface, ifindex) {
        (Some(name), Some(number)) => format!("{name}({number})"),
        (Some(name), None) => name.clone(),
        (None, _) => "every interface".to_owned(),
    };
    let mut text = format!("{at} {} {} id {} prio {}", link.hook, link.program, link.program_id, link.prio);
    if !link.actions.is_empty() {
        text += &format!(" actions {}", link.actions.join(","));
    }
    if link.direct_action {
        text += " direct-action";
    }
    if let Some(classid) = &link.classid {
        text += &format!(" classid {classid}");
    }
    text
}

/// A hook by bpftool's names for it.
fn hook(words: &mut Words<'_>) -> Result<Hook, Failure> {
    match words.peek() {
        Some("xdp" | "xdpgeneric" | "xdpdrv" | "xdpoffload") => {
            words.next();
            Ok(Hook::Xdp)
        }
        Some("tc") => {
            words.next();
            Ok(Hook::Tc)
        }
        _ => Err(words.wrong("where to is missing: `xdp` or `tc`")),
    }
}

/// Verdicts as xdp-loader writes them (`XDP_PASS,XDP_DROP`), or short.
fn verdicts(text: &str, words: &Words<'_>) -> Result<Vec<Verdict>, Failure> {
    let one = |word: &str| match word.to_ascii_lowercase().trim_start_matches("xdp_") {
        "aborted" => Ok(Verdict::Aborted),
        "drop" => Ok(Verdict::Drop),
        "pass" => Ok(Verdict::Pass),
        "tx" => Ok(Verdict::Tx),
        "redirect" => Ok(Verdict::Redirect),
        _ => Err(words.wrong(format_args!("`{word}` is no verdict: pass, drop, tx, redirect or aborted"))),
    };
    text.split(',').map(one).collect()
}

/// What `net attach` says after the hook.
struct Wanted<'w> {
    to: AttachTo,
    /// The object to load first.
    object: Option<&'w str>,
    section: Option<&'w str>,
    prog: Option<String>,
    name: Option<String>,
}

fn wanted<'w>(words: &mut Words<'w>, daemon: &Daemon) -> Result<Wanted<'w>, Failure> {
    let to = AttachTo { hook: hook(words)?, ..AttachTo::default() };
    let object = words.value("obj")?;
    let mut wanted = Wanted { to, object, section: None, prog: None, name: None };
    if object.is_none() {
        wanted.to.program = resolve(words.selector("PROG")?, daemon)?;
    }
    let to = &mut wanted.to;
    while !words.is_empty() {
        if let Some(interface) = words.value("dev")? {
            to.interface = Some(interface.to_owned());
        } else if let Some(prio) = words.number("prio")? {
            to.prio = Some(prio);
        } else if let Some(text) = words.value("actions")? {
            to.actions = verdicts(text, words)?;
        } else if words.accept("da") || words.accept("direct-action") {
            to.direct_action = true;
        } else if words.accept("ingress") {
            to.direction = Some(Direction::Ingress);
        } else if words.accept("egress") {
            to.direction = Some(Direction::Egress);
        } else if let Some(text) = words.value("sec")? {
            wanted.section = Some(text);
        } else if let Some(text) = words.value("prog")? {
            wanted.prog = Some(text.to_owned());
        } else if let Some(text) = words.value("name")? {
            wanted.name = Some(text.to_owned());
        } else {
            words.end()?;
        }
    }
    Ok(wanted)
}

fn attach(words: &mut Words<'_>, dry_run: bool, daemon: &Daemon, output: &Output) -> Done {
    let mut wanted = wanted(words, daemon)?;
    let Some(path) = wanted.object.map(Path::new) else {
        return change(&Action::Attach { dry_run, attach: Json(wanted.to) }, daemon, output);
    };
    if let Some(section) = wanted.section {
        let object = read_object(path)?;
        let found = object.programs().iter().find(|entry| entry.section == section);
        wanted.prog = Some(found.ok_or_else(|| no_such_program(path, &object))?.name.clone());
    }
    let stem = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = wanted.name.unwrap_or_else(|| stem.split('.').next().unwrap_or_default().to_owned());
    let plain = wanted.to.hook == Hook::Xdp;
    let to = wanted.to;
    // What an XDP attachment says fits one request, so it is loaded and attached in one generation.
    let load = Action::ProgramLoad {
        name: name.clone(),
        prog: wanted.prog,
        dry_run,
        hook: plain.then_some(Hook::Xdp),
        interface: to.interface.clone().filter(|_| plain),
        prio: to.prio.filter(|_| plain),
        actions: if plain { to.actions.iter().map(|verdict| word(*verdict)).collect() } else { Vec::new() },
        object: Octets::from(crate::source::read(path)?),
    };
    if plain || dry_run {
        return change(&load, daemon, output);
    }
    daemon.call(&load)?;
    change(&Action::Attach { dry_run, attach: Json(AttachTo { program: name, ..to }) }, daemon, output)
}

fn word(verdict: Verdict) -> String {
    match verdict {
        Verdict::Aborted => "aborted",
        Verdict::Drop => "drop",
        Verdict::Pass => "pass",
        Verdict::Tx => "tx",
        Verdict::Redirect => "redirect",
    }
    .to_owned()
}

fn detach(words: &mut Words<'_>, daemon: &Daemon, output: &Output) -> Done {
    let links: Links = daemon.get(&Action::Links {})?;
    if let Some(link) = words.peek().and_then(|word| links.links.iter().find(|link| link.name == word)) {
        words.next();
        words.end()?;
        return change(&Action::Detach { link: link.name.clone() }, daemon, output);
    }
    let prefix = match hook(words)? {
        Hook::Xdp => "xdp",
        Hook::Tc => "tc",
    };
    let program = match words.peek() {
        Some("dev") | None => None,
        Some(_) => Some(words.selector("PROG")?),
    };
    words.expect("dev")?;
    let interface = words.want("IF")?;
    let direction = ["ingress", "egress"].into_iter().find(|direction| words.accept(direction));
    words.end()?;
    let meant = |link: &&Link| {
        let program = match &program {
            None => true,
            Some(Selector::Id(id)) => link.program_id == *id,
            Some(Selector::Name(name)) => link.program == *name,
            Some(Selector::Tag(_)) => false,
        };
        let direction = direction.is_none_or(|direction| link.hook.ends_with(direction));
        link.hook.starts_with(prefix) && program && direction && is_at(link, interface)
    };
    let found: Vec<&Link> = links.links.iter().filter(meant).collect();
    match found[..] {
        [one] => change(&Action::Detach { link: one.name.clone() }, daemon, output),
        [] => {
            let what = anyhow!("nothing like that is attached at {interface}");
            Err(Failure::new(Code::Failed, what).hint("weir net show"))
        }
        _ => {
            let names: Vec<&str> = found.iter().map(|link| link.name.as_str()).collect();
            let what = anyhow!("{} are attached at {interface}: {}", found.len(), names.join(", "));
            Err(Failure::new(Code::Usage, what).hint(format!("weir net detach {}", names[0])))
        }
    }
}
