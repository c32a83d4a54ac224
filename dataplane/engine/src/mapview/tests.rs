//! Views beside what bpftool 7 printed for the same maps on Linux 6.18.

use serde_json::json;
use weir_ebpf::program::MapSpec;

use super::*;

fn flowstats(map: &str) -> MapView {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../programs/flowstats/flowstats.bpf.o");
    let object = Object::parse(&std::fs::read(path).unwrap()).unwrap();
    let spec = object.maps().iter().find(|spec| spec.name == map).unwrap();
    MapView::of(&Map::create(spec, 2).unwrap(), &object)
}

fn plain(kind: MapKind, key: u32, value: u32) -> MapView {
    MapView::new(Map::create(&MapSpec::new("m", kind, key, value, 4), 2).unwrap(), Types::default())
}

fn json_of(view: &MapView) -> String {
    serde_json::to_string(&view.dump().unwrap()).unwrap()
}

#[test]
fn a_typed_map_is_shown_as_bpftool_shows_it() {
    let view = flowstats("talkers");
    let key = view.key(&json!({"address": ["hex:01000000", "hex:02000000", "hex:03000000", "hex:04000000"]}));
    let key = key.unwrap();
    view.update(&key, &view.value(&json!(9)).unwrap(), None).unwrap();
    let bytes = concat!(
        r#""key":["0x01","0x00","0x00","0x00","0x02","0x00","0x00","0x00","0x03","0x00","0x00","0x00","#,
        r#""0x04","0x00","0x00","0x00"],"value":["0x09","0x00","0x00","0x00","0x00","0x00","0x00","0x00"],"#
    );
    let wanted = format!("[{{{bytes}\"formatted\":{{\"key\":{{\"address\":[1,2,3,4]}},\"value\":9}}}}]");
    assert_eq!(json_of(&view), wanted);
    let text = "[{\n        \"key\": {\n            \"address\": [1,2,3,4\n            ]\n        },\n        \"value\": 9\n    }\n]\n";
    assert_eq!(text::dump(&view.dump().unwrap()), text);
}

#[test]
fn a_per_cpu_map_has_a_value_for_each_worker_and_their_sum() {
    let view = flowstats("counts");
    let key = view.key(&input::from_words(&["1", "0", "0", "0"].map(str::to_owned)).unwrap()).unwrap();
    view.update(&key, &view.value(&json!(5)).unwrap(), None).unwrap();
    let entry = view.lookup(&key).unwrap();
    let wanted = concat!(
        r#"{"key":["0x01","0x00","0x00","0x00"],"values":["#,
        r#"{"cpu":0,"value":["0x05","0x00","0x00","0x00","0x00","0x00","0x00","0x00"]},"#,
        r#"{"cpu":1,"value":["0x05","0x00","0x00","0x00","0x00","0x00","0x00","0x00"]}],"#,
        r#""formatted":{"key":1,"values":[{"cpu":0,"value":5},{"cpu":1,"value":5}]},"sum":10}"#
    );
    assert_eq!(serde_json::to_string(&entry).unwrap(), wanted);
    assert_eq!(serde_json::from_str::<Entry>(wanted).unwrap(), entry);
    let text = "{\n    \"key\": 1,\n    \"values\": [{\n            \"cpu\": 0,\n            \"value\": 5\n        },{\n            \
                \"cpu\": 1,\n            \"value\": 5\n        }\n    ]\n}\n";
    assert_eq!(text::entry(&entry), text);
}

#[test]
fn bytes_without_types_are_shown_in_hexadecimal() {
    let view = plain(MapKind::Hash, 20, 40);
    let key: Vec<u8> = (1..=20).collect();
    view.update(&key, &(1..=40).collect::<Vec<u8>>(), None).unwrap();
    let text = "key:\n01 02 03 04 05 06 07 08  09 0a 0b 0c 0d 0e 0f 10\n11 12 13 14\nvalue:\n\
                01 02 03 04 05 06 07 08  09 0a 0b 0c 0d 0e 0f 10\n11 12 13 14 15 16 17 18  19 1a 1b 1c 1d 1e 1f 20\n\
                21 22 23 24 25 26 27 28\nFound 1 element\n";
    assert_eq!(text::dump(&view.dump().unwrap()), text);
    let short = plain(MapKind::Hash, 4, 8);
    short.update(&[1, 0, 0, 0], &[2, 0, 0, 0, 0, 0, 0, 0], None).unwrap();
    let text = "key: 01 00 00 00  value: 02 00 00 00 00 00 00 00\nFound 1 element\n";
    assert_eq!(text::dump(&short.dump().unwrap()), text);
    assert_eq!(text::dump(&[]), "Found 0 elements\n");
}

#[test]
fn a_table_has_a_column_for_each_member() {
    let view = flowstats("flows");
    let value = view.value(&json!({"packets": 3, "bytes": 180, "first": 1, "last": 2})).unwrap();
    view.update(&vec![7; view.map().spec().key_size as usize], &value, None).unwrap();
    let table = text::table(&view.dump().unwrap());
    let cell = |name: &str| &table.rows[0][table.columns.iter().position(|column| column == name).unwrap()];
    assert_eq!((cell("packets"), cell("bytes")), (&"6".to_owned(), &"360".to_owned()));
}

#[test]
fn keys_and_values_come_in_many_spellings() {
    let words = |text: &str| input::from_words(&text.split(' ').map(str::to_owned).collect::<Vec<_>>());
    let view = plain(MapKind::Hash, 4, 2);
    let spellings =
        ["hex 0a 00 00 01", "10 0 0 1", "0xa 0x0 0x0 0x1", "10.0.0.1", "16777226", "hex:0a000001"];
    for spelling in spellings {
        assert_eq!(view.key(&words(spelling).unwrap()), Ok(vec![10, 0, 0, 1]), "{spelling}");
    }
    assert_eq!(view.key(&json!(["0x0a", "0x00", "0x00", "0x01"])), Ok(vec![10, 0, 0, 1]));
    let text = view.key(&json!("hex:0a")).unwrap_err().to_string();
    assert_eq!(text, "key: 4 bytes are wanted, and 1 are given");
    assert!(words("hex zz").unwrap_err().contains("not bytes in hexadecimal"));
    assert_eq!(view.value(&json!(-1)), Ok(vec![255, 255]));
    let large = plain(MapKind::Array, 4, 8).value(&json!(u64::MAX));
    assert_eq!(large, Ok(vec![255; 8]));
}

#[test]
fn verbs_answer_as_bpftool_does() {
    let view = plain(MapKind::Hash, 4, 2);
    assert_eq!(view.lookup(&[0; 4]), Err(ViewError::NotFound { map: "m".into() }));
    view.update(&[1, 0, 0, 0], &[1, 2], Some("noexist")).unwrap();
    let again = view.update(&[1, 0, 0, 0], &[1, 2], Some("noexist")).unwrap_err();
    assert_eq!(again.to_string(), "map m (hash) cannot be updated: entry exists (EEXIST)");
    let next = view.next_key(None).unwrap();
    assert_eq!(serde_json::to_value(&next).unwrap()["key"], json!(null));
    assert_eq!(text::next_key(&next), "key: None\nnext key:\n01 00 00 00\n");
    assert_eq!(view.info().update_failures, [("exists".to_owned(), 1)]);
    assert_eq!(view.clear(), Ok(1));
    assert_eq!(view.dump(), Ok(vec![]));
    let queue = plain(MapKind::Queue, 0, 2);
    queue.push(&[3, 4]).unwrap();
    assert_eq!(queue.pop().unwrap().value, Some(Bytes(vec![3, 4])));
}

#[test]
fn pages_name_what_stays_once_while_the_rest_changes() {
    let spec = MapSpec::new("m", MapKind::Hash, 4, 4, 2048);
    let view = MapView::new(Map::create(&spec, 2).unwrap(), Types::default());
    let key = |n: u32| n.to_ne_bytes();
    (0..1000).for_each(|n| view.update(&key(n), &key(n), None).unwrap());
    let stop = std::sync::atomic::AtomicBool::new(false);
    let walked = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0u32;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let come_and_go = key(1000 + n % 900);
                view.update(&come_and_go, &come_and_go, None).unwrap();
                view.delete(&key(1000 + (n + 450) % 900)).ok();
                n += 1;
            }
        });
        let walk = || {
            let (mut seen, mut after) = (Vec::new(), None::<Bytes>);
            loop {
                let page = view.page(after.as_ref().map(|key| &key.0[..]), 50).unwrap();
                seen.extend(page.entries.into_iter().map(|entry| (entry.key, entry.value)));
                after = page.next;
                if after.is_none() {
                    return seen;
                }
            }
        };
        let walked: Vec<_> = (0..20).map(|_| walk()).collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        walked
    });
    for seen in walked {
        assert!(seen.iter().all(|(key, value)| Some(key) == value.as_ref()), "values are whole");
        let mut stays: Vec<u32> = seen
            .iter()
            .map(|(key, _)| u32::from_ne_bytes(*key.0.first_chunk().unwrap()))
            .filter(|n| *n < 1000)
            .collect();
        stays.sort_unstable();
        assert_eq!(stays, (0..1000).collect::<Vec<_>>());
    }
}
