//! The table against itself: every row goes over the wire and comes back, and says what it should.

use std::collections::BTreeSet;

use super::field::{GLOSSARY, Place};
use super::*;

/// An action of each row, with every field set.
pub(crate) fn examples() -> Vec<Action> {
    let name = || "fw".to_owned();
    let text = || Toml("version = 1\n".to_owned());
    let object = || Octets::from(&b"\x7fELF"[..]);
    let minute = Some(Duration::from_secs(60));
    vec![
        Action::Version {},
        Action::Config {},
        Action::ConfigCheck { text: text() },
        Action::ConfigDiff { text: text() },
        Action::ConfigApply {
            if_match: Some("\"7\"".into()),
            dry_run: true,
            confirm: minute,
            scratch: vec!["a".into(), "b".into()],
            probation: minute,
            abort_rate: Some(0.5),
            drop_rate: Some(0.25),
            text: text(),
        },
        Action::ConfigConfirm {},
        Action::ConfigRollback { to: Some(3) },
        Action::ConfigHistory {},
        Action::Programs {},
        Action::Program { program: name() },
        Action::ProgramLoad {
            name: name(),
            prog: Some("xdp_main".into()),
            dry_run: false,
            hook: Some(reply::Hook::Xdp),
            interface: Some("wan".into()),
            prio: Some(10),
            actions: vec!["pass".into()],
            object: object(),
        },
        Action::ProgramReplace {
            program: name(),
            prog: None,
            if_match: None,
            dry_run: false,
            scratch: Vec::new(),
            probation: None,
            abort_rate: None,
            drop_rate: None,
            object: object(),
        },
        Action::ProgramRollback { program: name() },
        Action::ProgramHistory { program: name() },
        Action::ProgramUnload { program: name() },
        Action::ProgramRun {
            program: name(),
            run: Json(reply::Run { data_in: "00".repeat(14), ..Default::default() }),
        },
        Action::ProgramDump { program: name(), form: Form::Jited },
        Action::ProgramTracelog { program: name() },
        Action::Links {},
        Action::Link { link: "fw@wan:xdp".into() },
        Action::Attach {
            dry_run: false,
            attach: Json(reply::AttachTo { program: name(), ..Default::default() }),
        },
        Action::LinkReplace { link: "fw@wan:xdp".into(), with: Json(reply::LinkTarget { program: name() }) },
        Action::Detach { link: "fw@wan:xdp".into() },
        Action::Maps {},
        Action::Map { map: name() },
        Action::MapDump {
            map: name(),
            format: Some(Format::Hex),
            limit: Some(10),
            after: Some("hex:00".into()),
        },
        Action::MapClear { map: name() },
        Action::MapLookup { map: name(), key: "10.0.0.0/8".into(), format: None },
        Action::MapNext { map: name(), key: None, format: None },
        Action::MapUpdate {
            map: name(),
            key: "1".into(),
            entry: Json(reply::NewValue { value: 7.into(), flags: Some(reply::UpdateFlags::Noexist) }),
        },
        Action::MapDelete { map: name(), key: "{\"a\":1}".into() },
        Action::MapWatch { map: name(), every: minute },
        Action::MapStream { map: name() },
        Action::MapExport { map: name() },
        Action::MapImport { map: name(), file: object() },
        Action::Interfaces {},
        Action::Interface { interface: "wan".into() },
        Action::Routes { to: Some("10.0.0.0/8".into()), limit: Some(5) },
        Action::RouteGet { address: [192, 0, 2, 1].into() },
        Action::RouteAdd { route: Json(reply::NewRoute { to: "10.0.0.0/8".into(), ..Default::default() }) },
        Action::RouteDelete { to: "10.0.0.0/8".into() },
        Action::Neighbors {},
        Action::Stats {},
        Action::Ledger {},
        Action::Events {},
        Action::Capture { capture: Json(reply::NewCapture::default()) },
        Action::Traces {},
        Action::TraceAdd { trace: Json(reply::NewTrace { count: 5, ..Default::default() }) },
        Action::TraceClear {},
        Action::Metrics {},
        Action::Healthz {},
        Action::Readyz {},
        Action::OpenApi {},
    ]
}

#[test]
fn every_action_goes_over_the_wire_and_comes_back() {
    let examples = examples();
    let kinds: Vec<_> = examples.iter().map(Action::kind).collect();
    assert_eq!(kinds, Kind::ALL, "one example of each row, in the table's order");
    for action in examples {
        assert_eq!(action.kind().decode(&action.encode()).as_ref(), Ok(&action));
    }
}

#[test]
fn rows_say_what_they_should() {
    let mut seen = BTreeSet::new();
    for row in Kind::ALL.iter().map(|kind| kind.row()) {
        assert!(seen.insert((row.method.to_string(), row.path)), "{} {} stands twice", row.method, row.path);
        let in_path: BTreeSet<_> =
            row.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        let of = |place| row.fields.iter().filter(move |field| field.place == place);
        assert_eq!(in_path, of(Place::Path).map(|field| field.name).collect(), "{}", row.name);
        assert_eq!(of(Place::Body).count() > 0, row.body_max > 0, "{}: a body has a limit", row.name);
        assert!(row.summary.ends_with('.'), "{}: {}", row.name, row.summary);
        assert!(
            row.method == Method::GET || row.role == Role::Admin || row.path.starts_with("/v1/config/"),
            "{}",
            row.name
        );
    }
}

#[test]
fn every_field_has_a_meaning_and_every_meaning_a_field() {
    let fields: BTreeSet<_> =
        Kind::ALL.iter().flat_map(|kind| kind.row().fields).map(|field| field.name).collect();
    assert_eq!(fields, GLOSSARY.iter().map(|(name, _)| *name).collect());
}

#[test]
fn what_cannot_be_read_says_what_was_wanted() {
    let mut parts = Action::RouteGet { address: [192, 0, 2, 1].into() }.encode();
    parts.query[0].1 = "192.0.2".into();
    let said = |parts: &Parts| Kind::RouteGet.decode(parts).unwrap_err().detail;
    assert_eq!(said(&parts), "`address` is `192.0.2`; wanted an IPv4 or IPv6 address");
    parts.query.clear();
    assert_eq!(said(&parts), "`address` is missing: an IPv4 or IPv6 address");
    parts.query = vec![("adress".into(), "192.0.2.1".into())];
    assert_eq!(said(&parts), "the query has `adress`, which this action does not know");
}
