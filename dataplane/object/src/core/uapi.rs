//! The types that CO-RE relocations find without a BTF of a kernel: UAPI structures that programs for
//! packets use, with the members that Linux 6.18 gives them, and what enumerations weir implements.
//!
//! They are written the way C writes them, and laid out by C's rules when first asked for. A test
//! compares them with what clang makes of the installed headers.

use std::collections::HashMap;
use std::sync::LazyLock;

use weir_ebpf::abi::{Helper, MapKind};

use crate::btf::{Btf, BtfBuilder, Composite, Kind, Member, TypeId};

/// `struct name { … };` and `union name { … };` of members `type name;`, `type name[n];`,
/// `type name:bits;`, `struct { … };` and `union { … };`, words apart.
const STRUCTURES: &str = include_str!("uapi.txt");

/// The types that weir implements, as CO-RE relocations find them when no other BTF is given.
pub fn uapi() -> &'static Btf {
    static TABLE: LazyLock<Btf> = LazyLock::new(|| {
        let mut builder = Declarations::default();
        let mut words = STRUCTURES.split_whitespace();
        while let Some(word) = words.next() {
            assert!(matches!(word, "struct" | "union"), "`{word}` is no declaration in our own text");
            let name = words.next().unwrap_or("");
            assert_eq!(words.next(), Some("{"), "after {word} {name}");
            builder.composite(name, word == "union", &mut words);
        }
        builder.enumerations();
        builder.builder.finish()
    });
    &TABLE
}

/// Reads declarations into a table. The text is ours, so whatever does not fit is our mistake.
#[derive(Default)]
struct Declarations {
    builder: BtfBuilder,
    named: HashMap<String, (TypeId, Shape)>,
}

/// Size and alignment in bytes.
#[derive(Clone, Copy)]
struct Shape {
    size: u32,
    align: u32,
}

/// A structure or union while its members are read.
struct Layout {
    union: bool,
    /// First free bit.
    bits: u32,
    /// Bytes of the largest member.
    size: u32,
    align: u32,
    members: Vec<Member>,
}

impl Layout {
    /// Finds room for a member; answers with its first bit.
    fn place(&mut self, shape: Shape, field_bits: u32) -> u32 {
        self.align = self.align.max(shape.align);
        let unit = shape.align * 8;
        let at = match (self.union, field_bits) {
            (true, _) => 0,
            (false, 0) => self.bits.next_multiple_of(unit),
            // A bit field stays within one storage unit of its type.
            (false, bits) if self.bits / unit == (self.bits + bits - 1) / unit => self.bits,
            (false, _) => self.bits.next_multiple_of(unit),
        };
        let end = at + if field_bits == 0 { shape.size * 8 } else { field_bits };
        self.bits = if self.union { 0 } else { end };
        self.size = self.size.max(end.div_ceil(8));
        at
    }
}

impl Declarations {
    /// Reads members up to `};`, or up to `} name;` inside another; answers with that name, too.
    fn composite<'t>(
        &mut self,
        name: &str,
        union: bool,
        words: &mut impl Iterator<Item = &'t str>,
    ) -> (TypeId, Shape, &'t str) {
        let mut layout = Layout { union, bits: 0, size: 0, align: 1, members: Vec::new() };
        let declarator = loop {
            let word = words.next().unwrap_or("};");
            match word {
                "};" => break "",
                "}" => break words.next().unwrap_or(""),
                _ => {}
            }
            if matches!(word, "struct" | "union") {
                assert_eq!(words.next(), Some("{"), "inside {name}, only anonymous ones");
                let (of, shape, declarator) = self.composite("", word == "union", words);
                self.member(&mut layout, of, shape, declarator);
                continue;
            }
            let (of, shape) = self.named(word);
            self.member(&mut layout, of, shape, words.next().unwrap_or(""));
        };
        let shape = Shape { size: layout.size.next_multiple_of(layout.align), align: layout.align };
        let composite = Composite { size: shape.size, members: layout.members };
        let kind = if union { Kind::Union(composite) } else { Kind::Struct(composite) };
        let id = self.builder.add(name, kind);
        if !name.is_empty() {
            self.named.insert(name.to_owned(), (id, shape));
        }
        (id, shape, declarator)
    }

    /// `name;`, `name[n];` or `name:bits;`.
    fn member(&mut self, layout: &mut Layout, of: TypeId, shape: Shape, declarator: &str) {
        let declarator = declarator.trim_end_matches(';');
        let number = |text: &str| text.trim_end_matches(']').parse::<u32>().expect("our own number");
        let (name, of, shape, bits) = if let Some((name, length)) = declarator.split_once('[') {
            let length = number(length);
            let (index, _) = self.named("__u32");
            let array = self.builder.add("", Kind::Array { element: of, index, length });
            (name, array, Shape { size: shape.size * length, align: shape.align }, 0)
        } else if let Some((name, bits)) = declarator.split_once(':') {
            (name, of, shape, number(bits))
        } else {
            (declarator, of, shape, 0)
        };
        let bit_offset = layout.place(shape, bits);
        let name = self.builder.name(name);
        layout.members.push(Member { name, of, bit_offset, bits: bits as u8 });
    }

    /// A type by its name: a structure declared before, an integer, or `pointer`.
    fn named(&mut self, name: &str) -> (TypeId, Shape) {
        if let Some(found) = self.named.get(name) {
            return *found;
        }
        let size = match name {
            "__u8" => 1,
            "__u16" | "__be16" => 2,
            "__u32" | "__be32" | "int" => 4,
            "__u64" | "pointer" => 8,
            other => panic!("`{other}` is not declared in our own text"),
        };
        let id = match name {
            "pointer" => self.builder.add("", Kind::Ptr(0)),
            other => self.builder.int(other, size, other == "int"),
        };
        let found = (id, Shape { size, align: size });
        self.named.insert(name.to_owned(), found);
        found
    }

    /// `enum xdp_action`, and the helpers and map kinds that weir has, so that
    /// `bpf_core_enum_value_exists` answers for weir.
    fn enumerations(&mut self) {
        let actions = ["XDP_ABORTED", "XDP_DROP", "XDP_PASS", "XDP_TX", "XDP_REDIRECT"];
        self.builder.enumeration("xdp_action", actions.into_iter().zip(0..));
        let helpers: Vec<(String, i64)> = Helper::ALL
            .iter()
            .map(|helper| (helper.name().replacen("bpf_", "BPF_FUNC_", 1), *helper as i64))
            .collect();
        self.builder
            .enumeration("bpf_func_id", helpers.iter().map(|(name, number)| (name.as_str(), *number)));
        let kinds = MapKind::ALL.iter().map(|kind| (kind.kernel_name(), *kind as i64));
        self.builder.enumeration("bpf_map_type", kinds);
    }
}
