//! What is planned for a pair of declarations, and the words for it.

use weir_ebpf::abi::MapKind;
use weir_ebpf::program::MapSpec;
use weir_object::btf::{BtfBuilder, Kind, Member};

use crate::mapview::Types;
use crate::migrate::{Layout, Planned, Shape, plan};

/// A layout of a hash table whose value is a structure of these members, each a `u32` or `u64`.
fn layout(members: &[(&str, u32)]) -> Layout {
    let mut btf = BtfBuilder::default();
    let mut at = 0;
    let mut fields = Vec::new();
    for (name, size) in members {
        at = u32::next_multiple_of(at, *size);
        let of = btf.int(if *size == 8 { "u64" } else { "u32" }, *size, false);
        fields.push(Member { name: btf.name(name), of, bit_offset: at * 8, bits: 0 });
        at += size;
    }
    let size = at.next_multiple_of(8);
    let value = btf.structure("state", size, fields);
    let key = btf.int("u32", 4, false);
    let spec = MapSpec::new("conns", MapKind::Hash, 4, size, 100);
    Layout::of(&spec, &Types::new(btf.finish().into(), key, value))
}

fn told(old: &Layout, new: &Layout) -> String {
    match plan(old, new, false) {
        Planned::Kept => "kept".to_owned(),
        Planned::Migrated { detail, .. } => format!("migrated ({})", detail.join(", ")),
        Planned::Scratch => "scratch".to_owned(),
        Planned::Refused { why } => format!("refused: {why}"),
    }
}

const SCRATCH: &str = "; list it under scratch to start it empty";

#[test]
fn a_plan_says_what_changes_member_by_member() {
    let old = layout(&[("packets", 8), ("bytes", 4)]);
    assert_eq!(told(&old, &old.clone()), "kept");
    assert_eq!(plan(&old, &old.clone(), true), Planned::Scratch);
    let grown = layout(&[("packets", 8), ("bytes", 4), ("mark", 4)]);
    assert_eq!(told(&old, &grown), "migrated (+field `mark` = 0)");
    assert_eq!(told(&grown, &old), "migrated (-field `mark`)");
    assert_eq!(told(&old, &layout(&[("packets", 8), ("bytes", 8)])), "migrated (`bytes` u32 -> u64)");
    let renamed = layout(&[("packets", 8), ("octets", 4)]);
    assert_eq!(told(&old, &renamed), "migrated (+field `octets` = 0, -field `bytes`)");
    let moved = layout(&[("bytes", 4), ("packets", 8)]);
    assert_eq!(told(&old, &moved), "migrated (the same members in other places)");
}

#[test]
fn a_plan_says_what_else_changes() {
    let old = layout(&[("packets", 8)]);
    let larger = Layout { max_entries: 200, ..old.clone() };
    assert_eq!(told(&old, &larger), "migrated (max_entries 100 -> 200)");
    let lru = Layout { kind: MapKind::LruHash as u32, ..old.clone() };
    assert_eq!(told(&old, &lru), "migrated (kind hash -> lru_hash)");
    let array = Layout { kind: MapKind::Array as u32, ..old.clone() };
    assert_eq!(told(&old, &array), format!("refused: its kind was hash and is array{SCRATCH}"));
    let wide = Layout { key_size: 8, key: None, ..old.clone() };
    let why = format!("refused: its key was u32 and is 8 bytes, and keys must stay{SCRATCH}");
    assert_eq!(told(&old, &wide), why);
}

#[test]
fn without_types_a_value_must_keep_its_size() {
    let old = Layout { value: None, ..layout(&[("packets", 8)]) };
    assert_eq!(told(&old, &layout(&[("octets", 8)])), "kept");
    let why = "refused: its value was 8 bytes and is 16, and without BTF (clang -g) of both nothing says which is which";
    let grown = Layout { value_size: 16, ..old.clone() };
    assert!(told(&old, &grown).starts_with(&why[..why.len() - 5]));
}

#[test]
fn what_cannot_be_walked_is_kept_or_refused() {
    let queue = |size| Layout {
        kind: MapKind::Queue as u32,
        key_size: 0,
        key: None,
        value: None,
        value_size: size,
        ..layout(&[("x", 8)])
    };
    assert_eq!(told(&queue(8), &queue(8)), "kept");
    let longer = Layout { max_entries: 7, ..queue(8) };
    let why = format!("refused: queue maps can be kept but not migrated (max_entries 100 -> 7){SCRATCH}");
    assert_eq!(told(&queue(8), &longer), why);
    let inner = |entries| {
        let inner = Some(Box::new(Layout { max_entries: entries, ..layout(&[("x", 8)]) }));
        Layout { kind: MapKind::HashOfMaps as u32, inner, ..queue(4) }
    };
    assert_eq!(told(&inner(1), &inner(1)), "kept");
    assert!(told(&inner(1), &inner(2)).contains("hash_of_maps maps can be kept but not migrated"));
    let ring = |bytes| Layout { kind: MapKind::Ringbuf as u32, max_entries: bytes, ..queue(0) };
    assert_eq!(
        (told(&ring(4096), &ring(4096)), told(&ring(4096), &ring(8192))),
        ("kept".into(), "scratch".into())
    );
}

#[test]
fn what_nobody_can_know_is_refused() {
    let with =
        |value: Shape| Layout { value_size: value.size() as u32, value: Some(value), ..layout(&[("x", 8)]) };
    let int = |big_endian| Shape::Int { size: 4, signed: false, big_endian };
    let why = told(&with(int(false)), &with(int(true)));
    assert!(why.starts_with("refused: `value` was u32 and is be32: whether its bytes"), "{why}");
    let names = |list: &[(&str, i64)]| {
        let names = list.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        with(Shape::Enum { size: 4, signed: false, names })
    };
    let old = names(&[("NEW", 0), ("OPEN", 1)]);
    assert_eq!(told(&old, &names(&[("NEW", 0), ("OPEN", 1), ("SHUT", 2)])), "kept");
    let Planned::Migrated { conversion, detail } = plan(&old, &names(&[("OPEN", 5)]), false) else {
        panic!()
    };
    assert_eq!(detail, ["`value` by the new numbers of its names"]);
    assert_eq!(conversion.convert(&[1, 0, 0, 0]), Ok(vec![5, 0, 0, 0]));
    let unfit = conversion.convert(&[0; 4]).unwrap_err();
    assert_eq!(unfit.to_string(), "`value` is NEW, which is no longer a name");
}

#[test]
fn hostile_types_end() {
    let mut btf = BtfBuilder::default();
    // A structure that contains itself, and an array of many arrays.
    let name = btf.name("again");
    let looped = btf.structure("loop", 8, vec![Member { name, of: 1, bit_offset: 0, bits: 0 }; 4]);
    assert_eq!(looped, 1);
    let mut nested = btf.int("u8", 1, false);
    for _ in 0..40 {
        nested = btf.add("", Kind::Array { element: nested, index: nested, length: 1 << 20 });
    }
    let btf = btf.finish();
    assert_eq!(Shape::of(&btf, looped), None);
    assert_eq!(Shape::of(&btf, nested), None);
}

#[test]
fn our_own_program_grows_by_a_mark() {
    let layouts = |name: &str| {
        let path = format!("{}/../../programs/{name}/{name}.bpf.o", env!("CARGO_MANIFEST_DIR"));
        let object = weir_object::Object::parse(&std::fs::read(path).unwrap()).unwrap();
        let layout = |map: &str| {
            let spec = object.maps().iter().find(|spec| spec.name == map).unwrap();
            Layout::of(spec, &Types::of(&object, map))
        };
        ["flows", "talkers", "counts"].map(layout)
    };
    let (old, new) = (layouts("flowstats"), layouts("flowstats2"));
    let told: Vec<String> = old.iter().zip(&new).map(|(old, new)| told(old, new)).collect();
    assert_eq!(told, ["migrated (+field `mark` = 0)", "kept", "kept"]);
}
