//! Sizes of types, and where the special fields of a map's value are.

use weir_ebpf::program::{Foreign, ValueField};

use super::{Btf, Kind, TypeId};

/// Most steps along a chain of references (libbpf: `MAX_RESOLVE_DEPTH`).
pub(super) const STEPS_MAX: usize = 32;
/// Most structures looked into for special fields, so that a hostile table ends.
const LOOKS_MAX: usize = 4096;

impl Btf {
    /// Bytes of a value of this type; `None` for what has no size, such as functions and `void`.
    pub fn size_of(&self, id: TypeId) -> Option<u64> {
        let mut id = id;
        let mut times = 1u64;
        for _ in 0..STEPS_MAX {
            let size = match self.kind(id) {
                Kind::Int(int) => u64::from(int.size),
                Kind::Struct(composite) | Kind::Union(composite) => u64::from(composite.size),
                Kind::Enum(found) => u64::from(found.size),
                Kind::Float { size } | Kind::Section { size, .. } => u64::from(*size),
                Kind::Ptr(_) => 8,
                Kind::Array { element, length, .. } => {
                    times = times.checked_mul(u64::from(*length))?;
                    id = *element;
                    continue;
                }
                Kind::Typedef(of)
                | Kind::Volatile(of)
                | Kind::Const(of)
                | Kind::Restrict(of)
                | Kind::TypeTag(of)
                | Kind::DeclTag { of, .. }
                | Kind::Variable { of, .. } => {
                    id = *of;
                    continue;
                }
                Kind::Void | Kind::Forward { .. } | Kind::Function { .. } | Kind::Prototype { .. } => {
                    return None;
                }
            };
            return size.checked_mul(times);
        }
        None
    }

    /// Where a value of this type has its spin lock, its timer and what only the kernel has, by offset.
    ///
    /// The kernel looks into the structure and the structures in it, not into arrays
    /// (kernel/bpf/btf.c: `btf_find_field`).
    pub fn special_fields(&self, id: TypeId) -> Vec<ValueField> {
        let mut fields = Vec::new();
        let mut looks = 0;
        self.look_into(id, 0, 0, &mut looks, &mut fields);
        fields.sort_by_key(ValueField::offset);
        fields
    }

    fn look_into(&self, id: TypeId, base: u64, depth: usize, looks: &mut usize, into: &mut Vec<ValueField>) {
        *looks += 1;
        if depth > STEPS_MAX || *looks > LOOKS_MAX {
            return;
        }
        let stripped = self.strip(id);
        let places: Vec<(TypeId, u64)> = match self.kind(stripped) {
            Kind::Struct(composite) => {
                let offset = base as u32;
                match self.name(stripped) {
                    "bpf_spin_lock" => return into.push(ValueField::SpinLock { offset }),
                    "bpf_timer" => return into.push(ValueField::Timer { offset }),
                    name => {
                        let named = |what: &&Foreign| what.tag().is_none() && what.name() == name;
                        if let Some(&what) = Foreign::ALL.iter().find(named) {
                            return into.push(ValueField::Foreign { offset, what });
                        }
                    }
                }
                composite.members.iter().map(|m| (m.of, base + u64::from(m.bit_offset / 8))).collect()
            }
            Kind::Section { variables, .. } => variables
                .iter()
                .map(|variable| (variable.variable, base + u64::from(variable.offset)))
                .collect(),
            Kind::Variable { of, .. } => vec![(*of, base)],
            Kind::Ptr(to) => {
                // The tag is of what is pointed to (kernel/bpf/btf.c: `btf_find_kptr`).
                let tagged = matches!(self.kind(*to), Kind::TypeTag(_)).then(|| self.name(*to));
                let named = |what: &&Foreign| what.tag().is_some() && what.tag() == tagged;
                if let Some(&what) = Foreign::ALL.iter().find(named) {
                    into.push(ValueField::Foreign { offset: base as u32, what });
                }
                return;
            }
            _ => return,
        };
        *looks += places.len();
        for (of, offset) in places {
            self.look_into(of, offset, depth + 1, looks, into);
        }
    }
}
