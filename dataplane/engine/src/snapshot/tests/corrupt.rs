//! Damage: every byte flipped, every length cut, and contents that are wrong under right checksums.

use super::super::format::HEADER;
use super::*;

fn file() -> Vec<u8> {
    let a = typed("conns", MapKind::Hash, &["packets", "bytes"], 2);
    let b = typed("counts", MapKind::PercpuArray, &["n"], 2);
    (0..40).for_each(|n| put(&a, n, &[n.into(), 1]));
    let (mut store, _) = Store::on(std::path::Path::new(""), Box::new(disk::Memory::default()));
    store.write(1, &[a, b]).unwrap();
    store.bytes(0)
}

#[test]
fn no_flipped_bit_and_no_cut_is_taken_for_a_snapshot() {
    let whole = file();
    assert!(Snapshot::parse(&whole).is_ok());
    let mut tried = 0;
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(Snapshot::parse(&damaged).is_err(), "bit {} of byte {at}", at % 8);
        assert!(Snapshot::parse(&whole[..at]).is_err(), "cut at {at}");
        tried += 2;
    }
    let longer = [&whole[..], &[0]].concat();
    assert!(Snapshot::parse(&longer).is_err());
    assert!(tried > 200, "{tried} corruptions were refused");
}

#[test]
fn a_refusal_says_where_and_what() {
    let whole = file();
    let text = |bytes: &[u8]| Snapshot::parse(bytes).unwrap_err().to_string();
    let changed = |at: usize, to: u8| {
        let mut bytes = whole.clone();
        bytes[at] = to;
        bytes
    };
    assert_eq!(text(b"nothing much"), ": byte 0: this is no snapshot: it does not begin with WEIRMAPS");
    assert_eq!(text(&whole[..10]), ": byte 8: 2 bytes are left, and the version has 4");
    let cut = text(&whole[..whole.len() - 5]);
    let (short, long) = (whole.len() - HEADER - 5, whole.len() - HEADER);
    assert_eq!(
        cut,
        format!(": byte {}: {short} bytes follow the header, and {long} were written", short + HEADER)
    );
    let contents = text(&changed(HEADER + 300, 0xee));
    assert!(contents.starts_with(": byte 52: the checksum of the contents is 0x"), "{contents}");
    assert!(text(&changed(17, 9)).starts_with(": byte 60: the checksum of the header is 0x"));
    assert_eq!(text(&signed(changed(8, 2))), ": byte 8: version 2, and this weir knows 1");
}

/// With checksums that are right for whatever it holds.
fn signed(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = crc32c::crc32c(&bytes[HEADER..]);
    let length = (bytes.len() - HEADER) as u64;
    bytes[40..48].copy_from_slice(&length.to_le_bytes());
    bytes[52..56].copy_from_slice(&sum.to_le_bytes());
    let sum = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&sum.to_le_bytes());
    bytes
}

#[test]
fn contents_that_lie_under_right_checksums_are_harmless() {
    let whole = file();
    let source = typed("conns", MapKind::Hash, &["packets", "bytes"], 2);
    let mut taken = 0;
    for at in HEADER..whole.len() {
        for to in [0, 0xff, b'9', b'"', whole[at].wrapping_add(1)] {
            let mut bytes = whole.clone();
            bytes[at] = to;
            if let Ok(snapshot) = Snapshot::parse(&signed(bytes)) {
                restore(&snapshot, std::slice::from_ref(&source));
                taken += 1;
            }
        }
        let _ = Snapshot::parse(&signed(whole[..at].to_vec()));
    }
    assert!(taken > 0, "a changed value is a value");
}

#[test]
fn a_head_that_describes_what_cannot_be_is_refused() {
    let whole = file();
    let head = u32::from_le_bytes(*whole[HEADER..].first_chunk().unwrap()) as usize;
    let text = String::from_utf8(whole[HEADER + 4..HEADER + 4 + head].to_vec()).unwrap();
    let with = |from: &str, to: &str| {
        assert!(text.contains(from), "{text}");
        let text = text.replacen(from, to, 1);
        let mut bytes = whole[..HEADER].to_vec();
        bytes.extend((text.len() as u32).to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes.extend(&whole[HEADER + 4 + head..]);
        Snapshot::parse(&signed(bytes)).unwrap_err().to_string()
    };
    let cannot = "a map's head describes types of `conns` that cannot be";
    assert!(with(r#""value_size":16"#, r#""value_size":4294967295"#).ends_with(cannot));
    assert!(with(r#""bit":64"#, r#""bit":4000000000"#).ends_with(cannot));
    assert!(with(r#""kind":1"#, r#""kind":99"#).ends_with(cannot));
    assert!(with(r#""cpus":2"#, r#""cpus":0"#).ends_with("a map's head says 0 workers"));
    assert!(with(r#""program""#, r#""porgram""#).contains("is not understood: missing field `program`"));
    let deep = r#"{"is":"array","length":1,"of":"#.repeat(2000);
    assert!(with(r#""key":{"#, &format!(r#""key":{deep}{{"#)).contains("is not understood"));
}
