//! A running weir ends, or is replaced by a later version of its programs, and its maps are still there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use weir_engine::live::{Change, Desired, How, Live, Objects, Offline, StartError, StartOptions, What};
use weir_engine::mapview::{MapView, Shown};
use weir_engine::snapshot::{Snapshot, export};

fn program(name: &str) -> Arc<[u8]> {
    let path = format!("{}/../../programs/{name}/{name}.bpf.o", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap().into()
}

/// A folder of a test's own, gone at the end.
struct Folder(PathBuf, #[allow(dead_code, reason = "it goes when this goes")] tempfile::TempDir);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = tempfile::Builder::new().prefix(name).tempdir().unwrap();
        Folder(folder.path().to_owned(), folder)
    }
}

fn start(folder: &Path, object: &str, scratch: &str) -> Result<Arc<Live>, StartError> {
    let text = format!(
        "version = 1\ndaemon.state_dir = \"state\"\ndaemon.snapshot_every = \"20ms\"\nworkers.cores = [0]\n\
         [interface.a]\ndriver = \"null\"\n[[program]]\nname = \"flows\"\nobject = \"flows.o\"\n\
         scratch = [{scratch}]\nattach = {{ hook = \"xdp\" }}\n"
    );
    let objects = Objects::from([(PathBuf::from("flows.o"), program(object))]);
    let desired = Desired::from_text(&folder.join("weir.toml"), text, objects)?;
    let opener = Arc::new(Offline::new(&desired.config));
    Live::start(desired, StartOptions::new(opener))
}

fn view(live: &Live, map: &str) -> MapView {
    let current = live.current();
    let found = current.find_maps(map);
    let (_, image, map) = found[0];
    MapView::of(map, &image.object)
}

/// The members of one flow, all workers added up.
fn flow(live: &Live, number: u8) -> Option<Shown> {
    let view = view(live, "flows");
    let key = vec![number; view.map().spec().key_size as usize];
    view.lookup(&key).ok()?.sum
}

fn number(shown: &Option<Shown>, member: &str) -> Option<i128> {
    match shown.as_ref()?.get(member)? {
        Shown::Number(number) => Some(*number),
        _ => None,
    }
}

fn fill(live: &Live, flows: u8) {
    let view = view(live, "flows");
    for n in 0..flows {
        let value = serde_json::json!({"packets": n, "bytes": 100, "first": 1, "last": 2});
        let key = vec![n; view.map().spec().key_size as usize];
        view.update(&key, &view.value(&value).unwrap(), None).unwrap();
    }
}

fn stop(live: Arc<Live>) {
    let ended = live.shutdown(Duration::from_secs(5));
    assert_eq!((ended.frames_lost, ended.stalled), (0, vec![]));
}

#[test]
fn maps_outlive_a_restart_and_grow_with_their_program() {
    let folder = Folder::new("restart");
    let live = start(&folder.0, "flowstats", "\"talkers\"").unwrap();
    assert_eq!(live.restoration().file, None);
    fill(&live, 50);
    let talkers = view(&live, "talkers");
    talkers.update(&[1; 16], &[1; 8], None).unwrap();
    stop(live);
    let live = start(&folder.0, "flowstats", "\"talkers\"").unwrap();
    assert_eq!(live.restoration().entries(), 55, "{:?}", live.restoration());
    assert_eq!(number(&flow(&live, 7), "packets"), Some(7));
    assert_eq!(view(&live, "talkers").dump().unwrap().len(), 0, "scratch is scratch");
    let what = live.history()[0].what.clone();
    assert!(
        what.starts_with("started, 55 entries of maps from ") && what.ends_with("state/maps.0"),
        "{what}"
    );
    stop(live);
    let live = start(&folder.0, "flowstats2", "").unwrap();
    let told: Vec<String> = live.restoration().maps.iter().map(ToString::to_string).collect();
    assert!(told.contains(&"flows.flows restored 50 (+field `mark` = 0)".to_owned()), "{told:?}");
    assert_eq!(number(&flow(&live, 7), "packets"), Some(7));
    assert_eq!(number(&flow(&live, 7), "mark"), Some(0));
    assert!(live.restoration().notes.is_empty());
    stop(live);
}

#[test]
fn a_replaced_program_brings_its_grown_flows_along() {
    let folder = Folder::new("replace");
    let live = start(&folder.0, "flowstats", "").unwrap();
    fill(&live, 200);
    let replace = Change::Replace { program: "flows".into(), object: program("flowstats2"), prog: None };
    let plan = live.plan(&replace, &How::default()).unwrap().to_string();
    let told = "maps: counts kept 5, flows migrated 200 (+field `mark` = 0), talkers kept 0";
    assert!(plan.contains("flows migrated 200 (+field `mark` = 0)"), "{plan}, wanted {told}");
    live.apply(&replace, &How::default()).unwrap();
    assert_eq!(number(&flow(&live, 199), "packets"), Some(199));
    assert_eq!(number(&flow(&live, 199), "mark"), Some(0));
    let back = live.rollback(None).unwrap().plan.to_string();
    assert!(back.contains("flows migrated 200 (-field `mark`)"), "{back}");
    assert_eq!(number(&flow(&live, 199), "packets"), Some(199));
    stop(live);
}

#[test]
fn snapshots_are_told_and_a_torn_one_gives_way_to_the_one_before() {
    let folder = Folder::new("torn");
    let live = start(&folder.0, "flowstats", "").unwrap();
    let events = live.subscribe();
    let limit = Duration::from_secs(5);
    for flows in [10, 20] {
        fill(&live, flows);
        live.snapshot(limit).unwrap();
    }
    let written = events.iter().find_map(|event| match event.what {
        What::Snapshot { maps, generation, .. } => Some((maps, generation)),
        _ => None,
    });
    assert_eq!(written, Some((3, 1)));
    let stats = live.stats().snapshots;
    assert!(stats.written >= 1 && stats.failed == 0 && stats.entries >= 15, "{stats:?}");
    stop(live);
    let state = folder.0.join("state");
    let read = |name: &str| std::fs::read(state.join(name)).unwrap();
    let newest = |name: &&str| Snapshot::parse(&read(name)).unwrap().sequence;
    let newest = ["maps.0", "maps.1"].into_iter().max_by_key(newest).unwrap();
    let mut torn = read(newest);
    torn.truncate(torn.len() - 100);
    std::fs::write(state.join(newest), torn).unwrap();
    let live = start(&folder.0, "flowstats", "").unwrap();
    let notes = &live.restoration().notes;
    let wanted = format!("a snapshot is refused: {}: byte ", state.join(newest).display());
    assert!(notes[0].starts_with(&wanted) && notes[0].ends_with(" were written"), "{notes:?}");
    assert!(live.restoration().file.is_some(), "the one before is used");
    assert_eq!(number(&flow(&live, 5), "packets"), Some(5));
    stop(live);
}

#[test]
fn entries_that_cannot_come_back_are_set_aside_and_can_be_imported() {
    let folder = Folder::new("aside");
    let live = start(&folder.0, "flowstats", "").unwrap();
    fill(&live, 30);
    stop(live);
    // Another program under the same name, which has no such map.
    let live = start(&folder.0, "firewall", "").unwrap();
    let notes = live.restoration().notes.join("\n");
    assert!(notes.contains("flows.flows restored 0, 30 LEFT BEHIND (it is no longer there"), "{notes}");
    stop(live);
    let aside = std::fs::read(folder.0.join("state/maps.aside")).unwrap();
    let live = start(&folder.0, "flowstats", "").unwrap();
    assert_eq!(flow(&live, 3), None);
    let told = export::import("flows", &view(&live, "flows"), &aside).unwrap();
    assert_eq!(told.to_string(), "flows.flows restored 30");
    assert_eq!(number(&flow(&live, 3), "packets"), Some(3));
    stop(live);
}

#[test]
fn a_folder_that_cannot_be_used_is_said_at_the_start() {
    let folder = Folder::new("unusable");
    std::fs::write(folder.0.join("state"), b"a file").unwrap();
    let error = start(&folder.0, "flowstats", "").err().unwrap().to_string();
    assert!(error.contains("state: "), "{error}");
    let folder = Folder::new("taken");
    let first = start(&folder.0, "flowstats", "").unwrap();
    let error = start(&folder.0, "flowstats", "").err().unwrap().to_string();
    assert!(error.ends_with("another weir keeps its maps here; give each its own state_dir"), "{error}");
    stop(first);
}
