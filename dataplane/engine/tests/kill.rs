//! kill -9 at random moments: the next start has the maps of the last snapshot, and every entry is one that
//! the map really held while that snapshot was read.
//!
//! The child is this test binary once more. It writes its maps as fast as it can, keeps them on disk every
//! millisecond, and notes in files (which the kernel keeps when a process is killed) what it is about to do.
//! `WEIR_KILLS` says how often it is killed.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use weir_ebpf::abi::MapKind;
use weir_ebpf::program::MapSpec;
use weir_engine::mapview::{MapView, Types};
use weir_engine::snapshot::{Keeper, Kept, Outcome, Source, Store, restore};
use weir_maps::Map;

/// Keys that the child goes round.
const KEYS: u64 = 500;
const FOLDER: &str = "WEIR_KILL_FOLDER";

fn sources() -> Vec<Source> {
    let kinds = [MapKind::Hash, MapKind::LruHash, MapKind::Array, MapKind::PercpuHash];
    let source = |kind: &MapKind| {
        let spec = MapSpec::new(kind.name(), *kind, 4, 16, 1000);
        let view = MapView::new(Map::create(&spec, 2).unwrap(), Types::default());
        Source { program: "p".to_owned(), view }
    };
    kinds.iter().map(source).collect()
}

/// What a map holds: the two numbers of each key, whole or torn.
fn held(source: &Source) -> BTreeMap<u64, (u64, u64)> {
    let word =
        |bytes: &[u8], at: usize| bytes[at..].first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
    let mut held = BTreeMap::new();
    source
        .view
        .each(64, |key, value| {
            let key = u32::from_le_bytes(*key.first_chunk().unwrap());
            held.insert(u64::from(key), (word(value, 0), word(value, 8)));
        })
        .unwrap();
    held.retain(|key, value| *key < KEYS && *value != (0, 0));
    held
}

/// The first number of a life: above all that an earlier one wrote.
fn first(sources: &[Source]) -> u64 {
    let last = sources.iter().flat_map(|source| held(source).into_values().map(|value| value.0)).max();
    last.map_or(0, |last| last.next_multiple_of(KEYS) + KEYS)
}

fn note(mut log: &File, line: &str) {
    log.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// The child's life. It has no end of its own but a deadline.
#[test]
#[ignore = "runs only as the child of the other test"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let (store, newest) = Store::open(&folder.join("state")).unwrap();
    let sources = sources();
    if let Some((_, snapshot)) = &newest.snapshot {
        restore(snapshot, &sources);
    }
    let log = OpenOptions::new().append(true).create(true).open(folder.join("log")).unwrap();
    let count = File::create(folder.join("count")).unwrap();
    let mut n = first(&sources);
    count.write_at(&n.to_le_bytes(), 0).unwrap();
    let mirror = sources.iter().map(|source| format!("{:?}", held(source))).collect::<String>();
    note(&log, &format!("ready {:08x} {n}", crc32c::crc32c(mirror.as_bytes())));
    let (log, begun) = (log.try_clone().unwrap(), Mutex::new((log, count.try_clone().unwrap())));
    let kept = sources.clone();
    let what = move || {
        let files = begun.lock().unwrap();
        // The number that is about to be written may or may not be there; those before are.
        let mut bytes = [0; 8];
        File::open(folder.join("count")).unwrap().read_at(&mut bytes, 0).unwrap();
        note(&files.0, &format!("begin {}", u64::from_le_bytes(bytes)));
        Some(Kept { generation: 1, sources: kept.clone() })
    };
    let told = move |outcome| match outcome {
        Outcome::Written(written) => note(&log, &format!("written {}", written.sequence)),
        Outcome::Failed(error) => note(&log, &format!("failed {error}")),
    };
    let _keeper = Keeper::start(store, Duration::from_millis(1), what, told).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        count.write_at(&n.to_le_bytes(), 0).unwrap();
        let value = [n + 1, n + 1].map(u64::to_le_bytes).concat();
        for source in &sources {
            source.view.update(&((n % KEYS) as u32).to_le_bytes(), &value, None).unwrap();
        }
        n += 1;
    }
}

/// What was noted of one life.
struct Life {
    restored: u32,
    first: u64,
    /// The number about to be written when the snapshot on disk was begun, and when the child died.
    between: (u64, u64),
}

fn life(folder: &Path, sequence: u64) -> Life {
    let log = std::fs::read_to_string(folder.join("log")).unwrap();
    let (mut restored, mut first, mut begun, mut of_newest) = (0, 0, 0, None);
    for line in log.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["ready", crc, n] => {
                (restored, first) = (u32::from_str_radix(crc, 16).unwrap(), n.parse().unwrap());
                begun = first;
            }
            ["begin", n] => begun = n.parse().unwrap(),
            ["written", number] if number == sequence.to_string() => of_newest = Some(begun),
            ["written", _] => {}
            _ => panic!("{line}"),
        }
    }
    let bytes = std::fs::read(folder.join("count")).unwrap();
    let last = u64::from_le_bytes(*bytes.first_chunk().unwrap());
    Life { restored, first, between: (of_newest.unwrap_or(begun), last) }
}

/// What a key holds after the numbers from `first` up to (not including) `end`.
fn state(before: Option<u64>, first: u64, end: u64, key: u64) -> u64 {
    let rest = (end + KEYS - 1 - key) / KEYS;
    let last = rest.checked_sub(1).map(|round| round * KEYS + key);
    last.filter(|n| *n >= first).map_or(before.unwrap_or(0), |n| n + 1)
}

fn check(sources: &[Source], before: &[BTreeMap<u64, (u64, u64)>], life: &Life) {
    for (source, before) in sources.iter().zip(before) {
        let now = held(source);
        for key in 0..KEYS {
            let old = before.get(&key).map(|value| value.0);
            let least = state(old, life.first, life.between.0, key);
            let most = state(old, life.first, life.between.1 + 1, key);
            let (found, again) = now.get(&key).copied().unwrap_or_default();
            let name = source.view.name();
            assert!((least..=most).contains(&found), "{name}: key {key} holds {found}, not {least}..={most}");
            assert!(found == 0 || (found - 1) % KEYS == key, "{name}: key {key} holds another's {found}");
            assert!(name == "array" || found == again, "{name}: key {key} is torn: {found} {again}");
        }
    }
}

#[test]
fn killed_at_any_moment_it_starts_with_the_maps_of_the_last_snapshot() {
    let kills: u64 = std::env::var("WEIR_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().to_owned();
    let mut before = vec![BTreeMap::new(); sources().len()];
    let (mut random, mut sequences, mut unfinished) = (0x9e37_79b9_7f4a_7c15u64, Vec::new(), 0);
    for kill in 0..kills {
        let _ = std::fs::remove_file(folder.join("log"));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .env(FOLDER, &folder)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let ready = || std::fs::read_to_string(folder.join("log")).is_ok_and(|log| log.contains("written"));
        let patience = Instant::now() + Duration::from_secs(10);
        while !ready() {
            assert!(Instant::now() < patience, "kill {kill}: the child wrote no snapshot");
            std::thread::sleep(Duration::from_millis(1));
        }
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        std::thread::sleep(Duration::from_micros(random % 20_000));
        child.kill().unwrap();
        child.wait().unwrap();
        unfinished +=
            usize::from(folder.join("state/maps.0.new").exists() || folder.join("state/maps.1.new").exists());
        let (_, newest) = Store::open(&folder.join("state")).unwrap();
        assert!(newest.torn.is_empty(), "kill {kill}: {:?}", newest.torn);
        let (_, snapshot) = newest.snapshot.unwrap();
        let now = sources();
        restore(&snapshot, &now);
        let life = life(&folder, snapshot.sequence);
        let mirror = before.iter().map(|held| format!("{held:?}")).collect::<String>();
        assert_eq!(life.restored, crc32c::crc32c(mirror.as_bytes()), "kill {kill}: it began with other maps");
        check(&now, &before, &life);
        sequences.push(snapshot.sequence);
        before = now.iter().map(held).collect();
    }
    assert!(sequences.is_sorted_by(|a, b| a < b), "{sequences:?}");
    println!("{kills} kills, {unfinished} amid a write, {} snapshots", sequences.last().unwrap());
    std::fs::remove_dir_all(&folder).unwrap();
}
