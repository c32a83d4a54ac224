//! CO-RE, compile once, run everywhere: numbers in instructions that depend on the layout of types are
//! replaced by those of the target's types.
//!
//! The target is a BTF that the caller gives, or else [`uapi`]: the structures that weir implements as
//! Linux publishes them. Kernel-internal types (`struct sk_buff`, `struct task_struct`) are not there,
//! so `bpf_core_field_exists` and its kin say no, and an instruction that needs an offset into them keeps
//! the one of the object's own types: no pointer to such a thing exists here, and what would read
//! through one fails. Of a type that is there and lacks the field, such an instruction becomes a call of
//! helper `0xbad2310`, as with libbpf: dead code may hold it, and the verifier refuses it anywhere else.

mod access;
mod matching;
mod patch;
mod uapi;
mod value;

use std::collections::HashMap;

use thiserror::Error;
use weir_ebpf::RawInsn;

use crate::btf::{Btf, CoreRelocation, Kind, TypeId};
use crate::error::ObjectError;

pub use uapi::uapi;

use access::Access;
use matching::{COMPARISONS_MAX, Comparison, kinds_fit};
use value::{Value, value};

/// What a relocation asks for (`enum bpf_core_relo_kind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RelocationKind {
    FieldByteOffset,
    FieldByteSize,
    FieldExists,
    FieldSigned,
    FieldLeftShift,
    FieldRightShift,
    TypeIdLocal,
    TypeIdTarget,
    TypeExists,
    TypeSize,
    EnumeratorExists,
    EnumeratorValue,
    TypeMatches,
}

impl RelocationKind {
    /// Every kind, by its number.
    const ALL: [RelocationKind; 13] = [
        RelocationKind::FieldByteOffset,
        RelocationKind::FieldByteSize,
        RelocationKind::FieldExists,
        RelocationKind::FieldSigned,
        RelocationKind::FieldLeftShift,
        RelocationKind::FieldRightShift,
        RelocationKind::TypeIdLocal,
        RelocationKind::TypeIdTarget,
        RelocationKind::TypeExists,
        RelocationKind::TypeSize,
        RelocationKind::EnumeratorExists,
        RelocationKind::EnumeratorValue,
        RelocationKind::TypeMatches,
    ];

    const fn is_type(self) -> bool {
        use RelocationKind as Of;
        matches!(self, Of::TypeIdLocal | Of::TypeIdTarget | Of::TypeExists | Of::TypeSize | Of::TypeMatches)
    }

    /// Whether the answer may be that there is no such thing.
    const fn asks(self) -> bool {
        use RelocationKind as Of;
        matches!(
            self,
            Of::FieldExists
                | Of::TypeExists
                | Of::TypeMatches
                | Of::TypeSize
                | Of::EnumeratorExists
                | Of::TypeIdTarget
        )
    }

    const fn is_enumerator(self) -> bool {
        matches!(self, RelocationKind::EnumeratorExists | RelocationKind::EnumeratorValue)
    }
}

/// Why a relocation has no number.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
enum Fail {
    /// The target lacks what it is about: not an error of the object.
    #[error("nothing of the target matches")]
    Poison,
    #[error("{0}")]
    Access(&'static str),
    #[error("types nested too deep")]
    TooDeep,
    #[error("two types of the target match and disagree: {0:#x} and {1:#x}")]
    Ambiguous(u64, u64),
    #[error("the instruction is not there")]
    Slot,
    #[error("opcode {0:#04x} holds no number that could be replaced")]
    Instruction(u8),
    #[error("the instruction holds {found:#x}, and the object's types say {wanted:#x}")]
    Expected { found: u64, wanted: u64 },
    #[error("offset {0:#x} does not fit an instruction")]
    Offset(u64),
    #[error("a field of {found} bytes does not fit the instruction")]
    Width { found: u64 },
}

/// A table of types by the part of their names before `___`.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    btf: &'a Btf,
    by_name: HashMap<&'a str, Vec<TypeId>>,
    /// Whether there is nothing that it does not say.
    whole: bool,
}

impl<'a> Target<'a> {
    /// The types of a kernel.
    pub(crate) fn kernel(btf: &'a Btf) -> Self {
        Self { whole: true, ..Self::new(btf) }
    }

    /// The types that weir has.
    pub(crate) fn own() -> Target<'static> {
        Target::new(uapi())
    }

    fn new(btf: &'a Btf) -> Self {
        let mut by_name: HashMap<&str, Vec<TypeId>> = HashMap::new();
        for (id, _) in btf.iter() {
            let name = essential(btf.name(id));
            if !name.is_empty() {
                by_name.entry(name).or_default().push(id);
            }
        }
        Self { btf, by_name, whole: false }
    }
}

/// A name without its flavour: what comes before the last `___` (libbpf:
/// `bpf_core_essential_name_len`).
fn essential(name: &str) -> &str {
    let bytes = name.as_bytes();
    let separates = |at: &usize| {
        let window = &bytes[*at..*at + 5];
        window[0] != b'_' && &window[1..4] == b"___" && window[4] != b'_'
    };
    let last = (0..bytes.len().saturating_sub(4)).rev().find(separates);
    last.and_then(|at| name.get(..at + 1)).unwrap_or(name)
}

/// Resolves the relocations of one section and writes them into its instructions. Answers with those
/// that contradict the object itself, by slot.
pub(crate) fn resolve(
    section: &str,
    insns: &mut [RawInsn],
    relocations: &[CoreRelocation],
    local: &Btf,
    target: &Target<'_>,
) -> Vec<(usize, ObjectError)> {
    let mut faults = Vec::new();
    let mut left = COMPARISONS_MAX;
    for relocation in relocations {
        let slot = relocation.slot as usize;
        match one(insns, slot, relocation, local, target, &mut left) {
            Ok(()) => {}
            Err(Fail::Poison) => patch::poison(insns, slot),
            Err(fail) => {
                let name = local.name(relocation.of);
                let access = local.text(relocation.access);
                let found =
                    format!("CO-RE relocation of `{name}` + {access} (record {:#x}): {fail}", relocation.at);
                let wanted = "one that fits the object's types and instructions";
                faults.push((slot, ObjectError::malformed(section, slot as u64 * 8, found, wanted)));
            }
        }
    }
    faults
}

fn one(
    insns: &mut [RawInsn],
    slot: usize,
    relocation: &CoreRelocation,
    local: &Btf,
    target: &Target<'_>,
    left: &mut usize,
) -> Result<(), Fail> {
    let kind = RelocationKind::ALL.get(relocation.kind as usize).copied();
    let kind = kind.ok_or(Fail::Access("no relocation has this kind"))?;
    let access = Access::parse(local, relocation.of, local.text(relocation.access), kind)?;
    let old = value(local, kind, Some(&access))?;
    let unheard_of =
        !target.whole && !kind.asks() && !target.by_name.contains_key(essential(local.name(access.root)));
    if kind == RelocationKind::TypeIdLocal || unheard_of {
        return patch::patch(insns, slot, &old, &old, true);
    }
    let new = in_target(local, &access, kind, target, left)?;
    patch::patch(insns, slot, &old, &new, width_fits(local, &old, target.btf, &new))
}

/// The number in the target's types; all candidates that match must agree on it.
fn in_target(
    local: &Btf,
    access: &Access,
    kind: RelocationKind,
    target: &Target<'_>,
    left: &mut usize,
) -> Result<Value, Fail> {
    let name = local.name(access.root);
    if name.is_empty() {
        return Err(Fail::Access("the type has no name to be found by"));
    }
    let candidates = target.by_name.get(essential(name)).map_or(&[][..], |ids| ids);
    let mut found: Option<(Value, u64)> = None;
    for &candidate in candidates {
        if !kinds_fit(local.kind(access.root), target.btf.kind(candidate)) {
            continue;
        }
        let Some(matched) = match_candidate(local, access, kind, target.btf, candidate, left)? else {
            continue;
        };
        let new = value(target.btf, kind, Some(&matched))?;
        match found {
            None => found = Some((new, matched.bit_offset)),
            Some((first, offset)) if first.number != new.number || offset != matched.bit_offset => {
                return Err(Fail::Ambiguous(first.number, new.number));
            }
            Some(_) => {}
        }
    }
    match found {
        Some((new, _)) => Ok(new),
        None => value(target.btf, kind, None),
    }
}

fn match_candidate(
    local: &Btf,
    access: &Access,
    kind: RelocationKind,
    target: &Btf,
    candidate: TypeId,
    left: &mut usize,
) -> Result<Option<Access>, Fail> {
    if !kind.is_type() {
        return access.find_in(local, kind, target, candidate);
    }
    let mut comparison = Comparison::new(local, target, left);
    let same = match kind {
        RelocationKind::TypeMatches => comparison.matches(access.root, candidate, false, 0)?,
        _ => comparison.compatible(access.root, candidate, 0)?,
    };
    Ok(same.then(|| Access { root: candidate, steps: Vec::new(), bit_offset: 0 }))
}

/// Whether loads and stores may take the target's width: always when it is the same, else between
/// pointers and between unsigned integers, which widen by zeros.
fn width_fits(local: &Btf, old: &Value, target: &Btf, new: &Value) -> bool {
    let (Some((old_size, old)), Some((new_size, new))) = (old.field, new.field) else { return true };
    if old_size == new_size {
        return true;
    }
    match (local.kind(local.strip(old)), target.kind(target.strip(new))) {
        (Kind::Ptr(_), Kind::Ptr(_)) => true,
        (Kind::Int(old), Kind::Int(new)) => !old.signed && !new.signed,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::essential;

    #[test]
    fn flavours_are_cut_off() {
        for (name, wanted) in [
            ("task_struct", "task_struct"),
            ("task_struct___old", "task_struct"),
            ("a___b___c", "a___b"),
            ("x____y", "x____y"),
            ("___x", "___x"),
            ("x___", "x___"),
            ("", ""),
        ] {
            assert_eq!(essential(name), wanted, "{name}");
        }
    }
}
