//! Out and in again.

use serde_json::json;

use super::*;

#[test]
fn every_kept_kind_comes_back_as_it_was() {
    let folder = Folder::new("kinds");
    let kinds = [
        MapKind::Hash,
        MapKind::Array,
        MapKind::PercpuHash,
        MapKind::PercpuArray,
        MapKind::LruHash,
        MapKind::LruPercpuHash,
        MapKind::LpmTrie,
    ];
    let sources = |filled: bool| -> Vec<Source> {
        let each = kinds.iter().map(|kind| {
            let source = typed(kind.name(), *kind, &["packets", "bytes"], 2);
            for n in (0..100u32).filter(|_| filled) {
                let key = match kind {
                    MapKind::LpmTrie => [24u32.to_le_bytes(), [10, n as u8, 0, 0]].concat(),
                    _ => n.to_le_bytes().to_vec(),
                };
                let value = [u64::from(n), 7].map(u64::to_le_bytes).concat();
                source.view.update(&key, &value, None).unwrap();
            }
            source
        });
        each.collect()
    };
    let before = sources(true);
    let (mut store, found) = Store::open(&folder.0).unwrap();
    assert!(found.snapshot.is_none() && found.torn.is_empty());
    let written = store.write(3, &before).unwrap().unwrap();
    assert_eq!((written.maps, written.sequence), (7, 1));
    assert_eq!(store.write(3, &before).unwrap(), None, "nothing changed");
    drop(store);
    let (_, found) = Store::open(&folder.0).unwrap();
    let (_, snapshot) = found.snapshot.unwrap();
    assert_eq!((snapshot.generation, snapshot.sequence), (3, 1));
    let after = sources(false);
    let told = restore(&snapshot, &after);
    assert_eq!(told[0].to_string(), "fw.hash restored 100");
    for (before, after) in before.iter().zip(&after) {
        let sorted = |source: &Source| {
            let mut entries = source.view.dump().unwrap();
            entries.sort_by(|a, b| a.key.0.cmp(&b.key.0));
            entries
        };
        assert_eq!(sorted(before), sorted(after), "{}", before.view.name());
    }
}

#[test]
fn what_belongs_to_a_run_is_not_kept() {
    for (kind, key, value) in [
        (MapKind::Devmap, 4, 4),
        (MapKind::Queue, 0, 8),
        (MapKind::ProgArray, 4, 4),
        (MapKind::Ringbuf, 0, 0),
    ] {
        let entries = if kind == MapKind::Ringbuf { 4096 } else { 4 };
        let map = Map::create(&MapSpec::new("m", kind, key, value, entries), 1).unwrap();
        let source = Source { program: "p".into(), view: MapView::new(map, Types::default()) };
        assert!(!source.is_kept(), "{}", kind.name());
    }
    let map = Map::create(&MapSpec::new("fw.bss", MapKind::Array, 4, 8, 1), 1).unwrap();
    assert!(!Source { program: "p".into(), view: MapView::new(map, Types::default()) }.is_kept());
}

#[test]
fn types_that_grew_are_migrated_by_name() {
    let old = typed("conns", MapKind::PercpuHash, &["packets", "bytes"], 2);
    let gone = typed("gone", MapKind::Hash, &["x"], 2);
    put(&old, 1, &[10, 20]);
    put(&old, 2, &[30, 40]);
    put(&gone, 1, &[1]);
    let (mut store, _) = Store::on(std::path::Path::new(""), Box::new(disk::Memory::default()));
    store.write(1, &[old, gone]).unwrap();
    let snapshot = store.reread().snapshot.unwrap().1;
    let new = typed("conns", MapKind::PercpuHash, &["bytes", "mark", "packets"], 3);
    let fresh = typed("fresh", MapKind::Hash, &["x"], 3);
    let told = restore(&snapshot, &[new.clone(), fresh]);
    assert_eq!(
        words(&told),
        [
            "fw.conns restored 2 (+field `mark` = 0)",
            "fw.fresh restored 0 (not in the snapshot)",
            "fw.gone restored 0, 1 LEFT BEHIND (it is no longer there, or no longer kept)"
        ]
    );
    assert_eq!(get(&new, 2), Some(vec![40, 0, 30, 40, 0, 30, 0, 0, 0]), "a third worker begins at zero");
    let array = typed("conns", MapKind::Array, &["packets"], 1);
    let told = restore(&snapshot, &[array]).remove(0).to_string();
    let why =
        "fw.conns restored 0, 2 LEFT BEHIND (its kind was percpu_hash and is array; list it under scratch";
    assert!(told.starts_with(why), "{told}");
}

#[test]
fn a_map_goes_out_and_in_by_json_and_by_snapshot() {
    let old = typed("stats", MapKind::Hash, &["packets"], 2);
    put(&old, 5, &[50]);
    put(&old, 6, &[60]);
    let json = serde_json::to_vec(&export::to_json(&old.view).unwrap()).unwrap();
    let bpftool = serde_json::to_vec(&old.view.dump().unwrap()).unwrap();
    let snapshot = export::to_snapshot("fw", &old.view).unwrap();
    for file in [json, bpftool, snapshot.clone()] {
        let new = typed("stats", MapKind::Hash, &["packets"], 2);
        put(&new, 6, &[1]);
        put(&new, 7, &[70]);
        let told = export::import("fw", &new.view, &file).unwrap();
        assert_eq!(told.to_string(), "fw.stats restored 2");
        assert_eq!(
            (get(&new, 5), get(&new, 6), get(&new, 7)),
            (Some(vec![50]), Some(vec![60]), Some(vec![70]))
        );
    }
    let grown = typed("stats", MapKind::Hash, &["mark", "packets"], 2);
    export::import("fw", &grown.view, &snapshot).unwrap();
    assert_eq!(get(&grown, 5), Some(vec![0, 50]));
    let other = typed("other", MapKind::Hash, &["packets"], 2);
    let error = |file: &[u8]| export::import("fw", &other.view, file).unwrap_err().to_string();
    assert_eq!(error(&snapshot), "there is no map `other` in it; there is `stats`");
    assert!(error(b"\x7fELF").starts_with("this is neither an export"));
    let wrong = json!([{"key": ["0x00"], "value": ["0x00"]}]).to_string();
    assert_eq!(error(wrong.as_bytes()), "entry 1: its key has 1 bytes, and the map's have 4");
}
