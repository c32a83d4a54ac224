//! Every row of the table of actions, by the client that the command line uses: none is left that a running weir
//! does not know.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use weir_control::action::field::{Json, Octets, Toml};
use weir_control::action::{Form, Format};
use weir_control::reply::{
    AttachTo, Hook, LinkTarget, NewCapture, NewRoute, NewTrace, NewValue, Run, UpdateFlags,
};
use weir_control::{Action, Kind};

use crate::daemon::{Daemon, PACKETS, Traffic, configuration, folder};

fn object(name: &str) -> Octets {
    Octets::from(std::fs::read(folder().join(name)).unwrap())
}

/// What to ask, in an order in which each is answered.
fn script() -> Vec<Action> {
    let text = |text: &str| text.to_owned();
    let toml = || Toml(configuration("table", Traffic::Done));
    let load = |name: &str, file: &str, hook| Action::ProgramLoad {
        name: text(name),
        prog: None,
        dry_run: false,
        hook,
        interface: Some(text("wan")),
        prio: Some(50),
        actions: Vec::new(),
        object: object(file),
    };
    let replace = |file: &str, dry_run| Action::ProgramReplace {
        program: text("flows"),
        prog: None,
        if_match: None,
        dry_run,
        scratch: Vec::new(),
        probation: None,
        abort_rate: None,
        drop_rate: None,
        object: object(file),
    };
    let apply = |confirm| Action::ConfigApply {
        if_match: None,
        dry_run: false,
        confirm,
        scratch: Vec::new(),
        probation: None,
        abort_rate: None,
        drop_rate: None,
        text: toml(),
    };
    let new = |value| Json(NewValue { value, flags: Some(UpdateFlags::Any) });
    vec![
        Action::Version {},
        Action::Healthz {},
        Action::Readyz {},
        Action::OpenApi {},
        Action::Metrics {},
        Action::Stats {},
        Action::Ledger {},
        Action::Config {},
        Action::ConfigCheck { text: toml() },
        Action::ConfigDiff { text: toml() },
        Action::Programs {},
        load("flows", "flows.o", Some(Hook::Xdp)),
        Action::Program { program: text("flows") },
        replace("flows2.o", true),
        replace("flows2.o", false),
        Action::ProgramRollback { program: text("flows") },
        Action::ProgramHistory { program: text("flows") },
        Action::ProgramRun {
            program: text("firewall"),
            run: Json(Run { data_in: "00".repeat(60), repeat: Some(3), interface: Some(text("wan")) }),
        },
        Action::ProgramDump { program: text("firewall"), form: Form::Xlated },
        Action::ProgramDump { program: text("firewall"), form: Form::Jited },
        Action::ProgramDump { program: text("firewall"), form: Form::Source },
        Action::Links {},
        Action::Link { link: text("flows@wan:xdp") },
        Action::Detach { link: text("flows@wan:xdp") },
        Action::Attach {
            dry_run: false,
            attach: Json(AttachTo {
                program: text("flows"),
                hook: Hook::Xdp,
                interface: Some(text("wan")),
                ..AttachTo::default()
            }),
        },
        load("flows2", "flows2.o", None),
        Action::LinkReplace {
            link: text("flows@wan:xdp"),
            with: Json(LinkTarget { program: text("flows2") }),
        },
        Action::Maps {},
        Action::Map { map: text("services") },
        Action::MapUpdate { map: text("deny4"), key: text("10.9.0.0/16"), entry: new(json!(0)) },
        Action::MapLookup { map: text("deny4"), key: text("10.9.0.0/16"), format: Some(Format::Hex) },
        Action::MapNext { map: text("deny4"), key: None, format: None },
        Action::MapDump { map: text("deny4"), format: None, limit: Some(10), after: None },
        Action::MapExport { map: text("deny4") },
        Action::MapDelete { map: text("deny4"), key: text("10.9.0.0/16") },
        Action::MapClear { map: text("deny4") },
        Action::Interfaces {},
        Action::Interface { interface: text("wan") },
        Action::RouteAdd {
            route: Json(NewRoute {
                to: text("10.0.0.0/8"),
                via: Some(text("192.0.2.254")),
                dev: None,
                kind: None,
            }),
        },
        Action::Routes { to: Some(text("10.0.0.0/8")), limit: None },
        Action::RouteGet { address: "10.1.2.3".parse().unwrap() },
        Action::RouteDelete { to: text("10.0.0.0/8") },
        Action::Neighbors {},
        Action::TraceAdd { trace: Json(NewTrace { count: 2, ..NewTrace::default() }) },
        Action::Traces {},
        Action::TraceClear {},
        Action::ProgramUnload { program: text("flows") },
        apply(Some(Duration::from_secs(60))),
        Action::ConfigConfirm {},
        apply(Some(Duration::from_secs(60))),
        Action::ConfigRollback { to: None },
        Action::ConfigHistory {},
    ]
}

/// What goes on until somebody ends it: begun, and left.
fn streams() -> Vec<Action> {
    vec![
        Action::Events {},
        Action::ProgramTracelog { program: "tell".to_owned() },
        Action::MapWatch { map: "last".to_owned(), every: None },
        Action::MapStream { map: "ring".to_owned() },
        Action::Capture { capture: Json(NewCapture::default()) },
    ]
}

#[test]
fn every_action_of_the_table_is_done() {
    let daemon = Daemon::start("table", Traffic::Done);
    let client = daemon.client();
    let mut asked = BTreeSet::new();
    let mut ask = |action: &Action| {
        asked.insert(action.kind());
        let reply = client.call(action);
        reply.unwrap_or_else(|error| panic!("{}: {error}: {}", action.row().name, daemon.log()))
    };
    for action in script() {
        let reply = ask(&action);
        if let Action::MapExport { map } = &action {
            ask(&Action::MapImport { map: map.clone(), file: Octets(reply.body) });
        }
    }
    let tell = Action::ProgramLoad {
        name: "tell".to_owned(),
        prog: None,
        dry_run: false,
        hook: None,
        interface: None,
        prio: None,
        actions: Vec::new(),
        object: object("tell.o"),
    };
    ask(&tell);
    for action in streams() {
        asked.insert(action.kind());
        client.stream(&action).unwrap_or_else(|error| panic!("{}: {error}", action.row().name));
    }
    let forgotten: Vec<&Kind> = Kind::ALL.iter().filter(|kind| !asked.contains(*kind)).collect();
    assert!(forgotten.is_empty(), "nothing here asks for {forgotten:?}");
    let ledger = daemon.stats().ledger;
    assert!(ledger.holds && ledger.packets.lost == 0, "{ledger:?}");
    assert_eq!(crate::daemon::sum(&daemon.stats(), "wan").0, PACKETS);
    daemon.end();
}
