//! What number a CO-RE relocation stands for, in the object's types and in the target's (libbpf:
//! `bpf_core_calc_relo`).

use super::access::Access;
use super::{Fail, RelocationKind};
use crate::btf::{Btf, Kind, TypeId};

/// A number, and what is known of the field it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value {
    /// The number.
    pub(super) number: u64,
    /// Bytes and type of the field, when the number is its offset: the width of loads and stores.
    pub(super) field: Option<(u64, TypeId)>,
    /// Whether the compiler must have computed the same from the object's types.
    pub(super) exact: bool,
}

impl Value {
    const fn of(number: u64) -> Value {
        Value { number, field: None, exact: true }
    }
}

/// The number for a part that was found (or `None`); [`Fail::Poison`] when there is none without it.
pub(super) fn value(btf: &Btf, kind: RelocationKind, access: Option<&Access>) -> Result<Value, Fail> {
    use RelocationKind as Of;
    let Some(access) = access else {
        return match kind {
            Of::FieldExists | Of::EnumeratorExists => Ok(Value::of(0)),
            Of::TypeIdLocal | Of::TypeIdTarget | Of::TypeExists | Of::TypeSize | Of::TypeMatches => {
                Ok(Value::of(0))
            }
            Of::FieldByteOffset
            | Of::FieldByteSize
            | Of::FieldSigned
            | Of::FieldLeftShift
            | Of::FieldRightShift
            | Of::EnumeratorValue => Err(Fail::Poison),
        };
    };
    match kind {
        Of::FieldExists | Of::EnumeratorExists | Of::TypeExists | Of::TypeMatches => Ok(Value::of(1)),
        Of::TypeIdLocal | Of::TypeIdTarget => Ok(Value { exact: false, ..Value::of(u64::from(access.root)) }),
        Of::TypeSize => btf.size_of(access.root).map(Value::of).ok_or(Fail::Access("the type has no size")),
        Of::EnumeratorValue => enumerator(btf, access),
        Of::FieldByteOffset
        | Of::FieldByteSize
        | Of::FieldSigned
        | Of::FieldLeftShift
        | Of::FieldRightShift => field(btf, kind, access),
    }
}

fn enumerator(btf: &Btf, access: &Access) -> Result<Value, Fail> {
    let step = access.steps.first();
    let value = step.and_then(|step| match btf.kind(step.of) {
        Kind::Enum(found) => {
            let value = found.values.get(step.index)?.value;
            // libbpf reads a narrow value as a signed word, whatever the enumeration says.
            Some(if found.wide { value as u64 } else { value as i32 as u64 })
        }
        _ => None,
    });
    value.map(Value::of).ok_or(Fail::Access("the enumeration has no such value"))
}

fn field(btf: &Btf, kind: RelocationKind, access: &Access) -> Result<Value, Fail> {
    use RelocationKind as Of;
    let sized = |id| btf.size_of(id).ok_or(Fail::Access("the field has no size"));
    let step = access.steps.last().ok_or(Fail::Access("the access string is empty"))?;
    if step.name.is_none() {
        return match kind {
            Of::FieldByteOffset => {
                let field = Some((sized(innermost(btf, step.of))?, step.of));
                Ok(Value { field, ..Value::of(access.bit_offset / 8) })
            }
            Of::FieldByteSize => Ok(Value::of(sized(step.of)?)),
            _ => Err(Fail::Access("of an array element, only offset and size can be asked")),
        };
    }
    let member = btf.composite(step.of).and_then(|composite| composite.members.get(step.index));
    let member = member.ok_or(Fail::Access("the structure has no such member"))?;
    let of = btf.strip(member.of);
    let bit_field = member.bits > 0;
    let (byte_offset, byte_size, bits) = if bit_field {
        let (offset, size) = storage(access.bit_offset, u64::from(member.bits), sized(of)?)?;
        (offset, size, u64::from(member.bits))
    } else {
        let size = sized(of)?;
        (access.bit_offset / 8, size, size.saturating_mul(8))
    };
    let exact = !bit_field;
    let of_field = |number| Value { number, field: None, exact };
    match kind {
        Of::FieldByteOffset if bit_field => Ok(of_field(byte_offset)),
        Of::FieldByteOffset => {
            Ok(Value { field: Some((sized(innermost(btf, of))?, of)), ..of_field(byte_offset) })
        }
        Of::FieldByteSize => Ok(of_field(byte_size)),
        Of::FieldSigned => Ok(Value::of(u64::from(is_signed(btf, of)))),
        Of::FieldLeftShift => Ok(of_field(64u64.wrapping_sub(access.bit_offset + bits - byte_offset * 8))),
        Of::FieldRightShift => Ok(Value::of(64u64.wrapping_sub(bits))),
        _ => Err(Fail::Access("the relocation is not about a field")),
    }
}

/// Offset and size of the smallest aligned load that holds a bit field.
fn storage(bit_offset: u64, bits: u64, declared: u64) -> Result<(u64, u64), Fail> {
    let mut size = declared;
    loop {
        if size == 0 || size > 8 {
            return Err(Fail::Access("the bit field cannot be read by one load"));
        }
        let offset = bit_offset / 8 / size * size;
        if bit_offset + bits - offset * 8 <= size * 8 {
            return Ok((offset, size));
        }
        size *= 2;
    }
}

/// The type beneath arrays of arrays.
fn innermost(btf: &Btf, id: TypeId) -> TypeId {
    let mut id = btf.strip(id);
    for _ in 0..32 {
        match btf.kind(id) {
            Kind::Array { element, .. } => id = btf.strip(*element),
            _ => return id,
        }
    }
    id
}

fn is_signed(btf: &Btf, id: TypeId) -> bool {
    match btf.kind(id) {
        Kind::Int(int) => int.signed,
        Kind::Enum(found) => found.signed,
        _ => false,
    }
}
