//! Which part of a type a CO-RE relocation is about, in the object's types and then in the target's
//! (libbpf: `bpf_core_parse_spec`, `bpf_core_spec_match`).

use super::{Fail, RelocationKind, essential};
use crate::btf::{Btf, Kind, TypeId};

/// Longest access string, in steps (libbpf: `BPF_CORE_SPEC_MAX_LEN`).
const STEPS_MAX: usize = 64;

/// One step into a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The structure or union that a named step selects from; the element type of an indexed one.
    pub(super) of: TypeId,
    /// Which member, element or enumerator.
    pub(super) index: usize,
    /// Name of the member or enumerator; `None` for an index.
    pub(super) name: Option<String>,
}

/// A part of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Access {
    /// The type it starts from.
    pub(super) root: TypeId,
    /// The steps, anonymous structures skipped.
    pub(super) steps: Vec<Step>,
    /// Where it starts.
    pub(super) bit_offset: u64,
}

impl Access {
    /// Reads `0:1:2`.
    pub(super) fn parse(btf: &Btf, root: TypeId, text: &str, kind: RelocationKind) -> Result<Access, Fail> {
        let mut access = Access { root, steps: Vec::new(), bit_offset: 0 };
        if kind.is_type() {
            return if text == "0" {
                Ok(access)
            } else {
                Err(Fail::Access("a type's access string is not `0`"))
            };
        }
        let indices: Option<Vec<usize>> =
            text.split(':').take(STEPS_MAX + 1).map(|word| word.parse().ok()).collect();
        let indices = indices.ok_or(Fail::Access("the access string is not numbers between colons"))?;
        let (&first, rest) = indices.split_first().ok_or(Fail::Access("the access string is empty"))?;
        if indices.len() > STEPS_MAX {
            return Err(Fail::Access("the access string has more than 64 steps"));
        }
        let mut id = btf.strip(root);
        if kind.is_enumerator() {
            let Kind::Enum(found) = btf.kind(id) else {
                return Err(Fail::Access("the type is no enumeration"));
            };
            let value = found.values.get(first).filter(|_| rest.is_empty());
            let value = value.ok_or(Fail::Access("the enumeration has no such value"))?;
            access.steps.push(Step { of: id, index: first, name: Some(btf.text(value.name).to_owned()) });
            return Ok(access);
        }
        access.index(btf, id, first)?;
        for &index in rest {
            id = access.descend(btf, id, index)?;
        }
        Ok(access)
    }

    /// Goes to an element of an array whose elements are of type `of`.
    fn index(&mut self, btf: &Btf, of: TypeId, index: usize) -> Result<(), Fail> {
        let size = btf.size_of(of).ok_or(Fail::Access("the type has no size"))?;
        self.steps.push(Step { of, index, name: None });
        self.forward(size.saturating_mul(8).saturating_mul(index as u64))
    }

    fn forward(&mut self, bits: u64) -> Result<(), Fail> {
        // Nothing in a kernel is larger, and nothing after this overflows.
        const BITS_MAX: u64 = 1 << 40;
        self.bit_offset = self.bit_offset.saturating_add(bits);
        if self.bit_offset > BITS_MAX {
            Err(Fail::Access("the offset is out of all proportion"))
        } else {
            Ok(())
        }
    }

    /// Goes to a member or element of the type, by number; answers with its type.
    fn descend(&mut self, btf: &Btf, id: TypeId, index: usize) -> Result<TypeId, Fail> {
        let id = btf.strip(id);
        match btf.kind(id) {
            Kind::Struct(composite) | Kind::Union(composite) => {
                let member =
                    composite.members.get(index).ok_or(Fail::Access("the structure has no such member"))?;
                let name = btf.text(member.name);
                if !name.is_empty() {
                    self.steps.push(Step { of: id, index, name: Some(name.to_owned()) });
                }
                self.forward(u64::from(member.bit_offset))?;
                Ok(member.of)
            }
            Kind::Array { element, length, .. } => {
                let element = btf.strip(*element);
                if index >= *length as usize && !(*length == 0 && self.at_last_member(btf)) {
                    return Err(Fail::Access("the array has no such element"));
                }
                self.index(btf, element, index)?;
                Ok(element)
            }
            _ => Err(Fail::Access("a step into what is neither structure nor array")),
        }
    }

    /// Whether the last step chose the last member of its structure: a flexible array may be there.
    fn at_last_member(&self, btf: &Btf) -> bool {
        let Some(step) = self.steps.last().filter(|step| step.name.is_some()) else { return false };
        btf.composite(step.of).is_some_and(|composite| step.index + 1 == composite.members.len())
    }

    /// The same part of a type of the target, when it has one.
    pub(super) fn find_in(
        &self,
        local: &Btf,
        kind: RelocationKind,
        target: &Btf,
        root: TypeId,
    ) -> Result<Option<Access>, Fail> {
        let mut found = Access { root, steps: Vec::new(), bit_offset: 0 };
        if kind.is_enumerator() {
            return Ok(self.find_enumerator(target, root).map(|step| Access { steps: vec![step], ..found }));
        }
        let mut id = root;
        for (number, step) in self.steps.iter().enumerate() {
            id = target.strip(id);
            if step.name.is_some() {
                match found.member(local, step, target, id, 0)? {
                    Some(next) => id = next,
                    None => return Ok(None),
                }
                continue;
            }
            // The first step indexes the root itself, as if it were an array of it.
            if number > 0 {
                let Kind::Array { element, length, .. } = *target.kind(id) else { return Ok(None) };
                if step.index >= length as usize && !(length == 0 && found.at_last_member(target)) {
                    return Ok(None);
                }
                id = target.strip(element);
            }
            found.index(target, id, step.index)?;
        }
        Ok(Some(found))
    }

    fn find_enumerator(&self, target: &Btf, root: TypeId) -> Option<Step> {
        let id = target.strip(root);
        let Kind::Enum(found) = target.kind(id) else { return None };
        let name = essential(self.steps.first()?.name.as_deref()?);
        let same = |value: &crate::btf::Enumerator| essential(target.text(value.name)) == name;
        let index = found.values.iter().position(same)?;
        Some(Step { of: id, index, name: Some(target.text(found.values[index].name).to_owned()) })
    }

    /// Goes to the member with the step's name, also inside anonymous structures; answers with its
    /// type. A member of that name whose type does not fit is none.
    fn member(
        &mut self,
        local: &Btf,
        step: &Step,
        target: &Btf,
        id: TypeId,
        depth: usize,
    ) -> Result<Option<TypeId>, Fail> {
        let id = target.strip(id);
        let Some(composite) = target.composite(id) else { return Ok(None) };
        if depth >= STEPS_MAX {
            return Err(Fail::TooDeep);
        }
        let before = self.bit_offset;
        for (index, member) in composite.members.iter().enumerate() {
            let name = target.text(member.name);
            self.forward(u64::from(member.bit_offset))?;
            if name.is_empty() {
                if let Some(found) = self.member(local, step, target, member.of, depth + 1)? {
                    return Ok(Some(found));
                }
            } else if step.name.as_deref() == Some(name) {
                let of = local.composite(step.of).and_then(|composite| composite.members.get(step.index));
                let fits = of.is_some_and(|of| fields_fit(local, of.of, target, member.of));
                self.steps.push(Step { of: id, index, name: Some(name.to_owned()) });
                return Ok(fits.then_some(member.of));
            }
            self.bit_offset = before;
        }
        Ok(None)
    }
}

/// Whether a field of the one type may stand for a field of the other (libbpf:
/// `bpf_core_fields_are_compat`).
fn fields_fit(local: &Btf, of: TypeId, target: &Btf, in_target: TypeId) -> bool {
    let (mut of, mut other) = (of, in_target);
    for _ in 0..STEPS_MAX {
        (of, other) = (local.strip(of), target.strip(other));
        return match (local.kind(of), target.kind(other)) {
            (Kind::Struct(_) | Kind::Union(_), Kind::Struct(_) | Kind::Union(_)) => true,
            (Kind::Ptr(_), Kind::Ptr(_)) | (Kind::Float { .. }, Kind::Float { .. }) => true,
            (Kind::Forward { .. }, Kind::Forward { .. }) | (Kind::Enum(_), Kind::Enum(_)) => {
                let (name, wanted) = (essential(local.name(of)), essential(target.name(other)));
                name.is_empty() || wanted.is_empty() || name == wanted
            }
            (Kind::Int(one), Kind::Int(two)) => one.bit_offset == 0 && two.bit_offset == 0,
            (Kind::Array { element: one, .. }, Kind::Array { element: two, .. }) => {
                (of, other) = (*one, *two);
                continue;
            }
            _ => false,
        };
    }
    false
}
