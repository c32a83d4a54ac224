//! Whether a type of the object and a type of the target are the same for a CO-RE relocation about
//! types: roughly (`BPF_CORE_TYPE_EXISTS`, `_SIZE`, `_ID_TARGET`), or member by member
//! (`BPF_CORE_TYPE_MATCHES`). Names of the roots were compared before.

use super::{Fail, essential};
use crate::btf::{Btf, Composite, Kind, TypeId};

/// Deepest nesting (libbpf: 32).
const DEPTH_MAX: usize = 32;
/// Most comparisons for all relocations of a section, so that hostile types come to an end.
pub(super) const COMPARISONS_MAX: usize = 1 << 22;

/// Compares types of two tables.
pub(super) struct Comparison<'a> {
    local: &'a Btf,
    target: &'a Btf,
    left: &'a mut usize,
}

/// Whether two kinds may be candidates for each other (libbpf: `btf_kind_core_compat`).
pub(super) fn kinds_fit(local: &Kind, target: &Kind) -> bool {
    std::mem::discriminant(local) == std::mem::discriminant(target)
}

impl<'a> Comparison<'a> {
    pub(super) fn new(local: &'a Btf, target: &'a Btf, left: &'a mut usize) -> Self {
        Self { local, target, left }
    }

    fn spend(&mut self, depth: usize) -> Result<(), Fail> {
        *self.left = self.left.checked_sub(1).ok_or(Fail::TooDeep)?;
        if depth > DEPTH_MAX { Err(Fail::TooDeep) } else { Ok(()) }
    }

    /// libbpf: `bpf_core_types_are_compat`.
    pub(super) fn compatible(&mut self, of: TypeId, other: TypeId, depth: usize) -> Result<bool, Fail> {
        self.spend(depth)?;
        let (local, target) = (self.local, self.target);
        let (of, other) = (local.strip(of), target.strip(other));
        let (one, two) = (local.kind(of), target.kind(other));
        if !kinds_fit(one, two) {
            return Ok(false);
        }
        match (one, two) {
            (Kind::Int(one), Kind::Int(two)) => Ok(one.bit_offset == 0 && two.bit_offset == 0),
            (Kind::Ptr(one), Kind::Ptr(two)) => self.compatible(*one, *two, depth + 1),
            (Kind::Array { element: one, .. }, Kind::Array { element: two, .. }) => {
                self.compatible(*one, *two, depth + 1)
            }
            (
                Kind::Prototype { returns: one, parameters: first },
                Kind::Prototype { returns: two, parameters: second },
            ) => {
                if first.len() != second.len() {
                    return Ok(false);
                }
                for (first, second) in first.iter().zip(second) {
                    if !self.compatible(first.of, second.of, depth + 1)? {
                        return Ok(false);
                    }
                }
                self.compatible(*one, *two, depth + 1)
            }
            (Kind::Void | Kind::Struct(_) | Kind::Union(_) | Kind::Enum(_) | Kind::Forward { .. }, _) => {
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// libbpf: `bpf_core_types_match`.
    pub(super) fn matches(
        &mut self,
        of: TypeId,
        other: TypeId,
        behind_pointer: bool,
        depth: usize,
    ) -> Result<bool, Fail> {
        self.spend(depth)?;
        let (local, target) = (self.local, self.target);
        let (of, other) = (local.strip(of), target.strip(other));
        if essential(local.name(of)) != essential(target.name(other)) {
            return Ok(false);
        }
        match (local.kind(of), target.kind(other)) {
            (Kind::Void, Kind::Void) => Ok(true),
            (Kind::Forward { union: one }, Kind::Forward { union: two }) => Ok(one == two),
            (Kind::Forward { union }, Kind::Struct(_)) => Ok(behind_pointer && !union),
            (Kind::Forward { union }, Kind::Union(_)) => Ok(behind_pointer && *union),
            (Kind::Struct(_), Kind::Forward { union }) => Ok(behind_pointer && !union),
            (Kind::Union(_), Kind::Forward { union }) => Ok(behind_pointer && *union),
            (Kind::Struct(one), Kind::Struct(two)) | (Kind::Union(one), Kind::Union(two)) => {
                if behind_pointer { Ok(true) } else { self.members_match(one, two, depth) }
            }
            (Kind::Enum(one), Kind::Enum(two)) => {
                let mut names = one.values.iter().map(|value| essential(local.text(value.name)));
                let has =
                    |name: &str| two.values.iter().any(|value| essential(target.text(value.name)) == name);
                *self.left = self.left.saturating_sub(one.values.len().saturating_mul(two.values.len()));
                self.spend(depth)?;
                Ok(one.size == two.size && names.all(has))
            }
            (Kind::Int(one), Kind::Int(two)) => Ok(one.size == two.size && one.signed == two.signed),
            (Kind::Ptr(one), Kind::Ptr(two)) => self.matches(*one, *two, true, depth + 1),
            (
                Kind::Array { element: one, length: first, .. },
                Kind::Array { element: two, length: second, .. },
            ) => Ok(first == second && self.matches(*one, *two, behind_pointer, depth + 1)?),
            (
                Kind::Prototype { returns: one, parameters: first },
                Kind::Prototype { returns: two, parameters: second },
            ) => {
                if first.len() != second.len() {
                    return Ok(false);
                }
                for (first, second) in first.iter().zip(second) {
                    if !self.matches(first.of, second.of, behind_pointer, depth + 1)? {
                        return Ok(false);
                    }
                }
                self.matches(*one, *two, behind_pointer, depth + 1)
            }
            _ => Ok(false),
        }
    }

    /// Whether each member of the one has a match of its name in the other.
    fn members_match(&mut self, one: &Composite, two: &Composite, depth: usize) -> Result<bool, Fail> {
        if one.members.len() > two.members.len() {
            return Ok(false);
        }
        for member in &one.members {
            let name = essential(self.local.text(member.name)).to_owned();
            let mut found = false;
            for other in &two.members {
                self.spend(depth)?;
                if essential(self.target.text(other.name)) == name
                    && self.matches(member.of, other.of, false, depth + 1)?
                {
                    found = true;
                    break;
                }
            }
            if !found {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
