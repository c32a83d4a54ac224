//! `.BTF.ext` bytes to records: where functions start, source lines, and CO-RE relocations, each by
//! section and instruction.

use std::collections::HashMap;

use super::parse::header;
use super::{Btf, NameRef, TypeId};
use crate::cursor::Cursor;
use crate::error::ObjectError;

const SECTION: &str = ".BTF.ext";
/// Most CO-RE relocations of an object; large ones have some thousands.
const CORE_MAX: usize = 1 << 16;

/// A source position (`struct bpf_line_info`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct LineRecord {
    /// Instruction slot in the section.
    pub(crate) slot: u32,
    /// Name of the source file.
    pub(crate) file: NameRef,
    /// The line's text.
    pub(crate) text: NameRef,
    /// Line number and column.
    pub(crate) line: u32,
    /// Column.
    pub(crate) column: u32,
}

/// A CO-RE relocation (`struct bpf_core_relo`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct CoreRelocation {
    /// Instruction slot in the section.
    pub(crate) slot: u32,
    /// The type in the object's BTF that it is about.
    pub(crate) of: TypeId,
    /// Which part of it: `0:1:2`.
    pub(crate) access: NameRef,
    /// `enum bpf_core_relo_kind`.
    pub(crate) kind: u32,
    /// Where the record stands, for errors.
    pub(crate) at: u64,
}

/// What the section says, by section name of the program.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ext {
    /// Source lines by slot.
    pub(crate) lines: HashMap<String, Vec<LineRecord>>,
    /// CO-RE relocations.
    pub(crate) core: HashMap<String, Vec<CoreRelocation>>,
}

/// Where a kind of record stands.
#[derive(Clone, Copy)]
struct Part<'a> {
    records: Cursor<'a>,
    record_size: u32,
}

impl Ext {
    /// Parses the section; names are those of the object's BTF.
    pub(crate) fn parse(bytes: &[u8], btf: &Btf) -> Result<Ext, ObjectError> {
        let mut head = Cursor::new(SECTION, bytes);
        let length = header(&mut head)?;
        let mut ext = Ext::default();
        // Function records repeat what the symbols say; they are checked for form alone.
        each(part(&mut head, bytes, length, "function records", 8)?, btf, |_, _| Ok(()))?;
        each(part(&mut head, bytes, length, "line records", 16)?, btf, |section, record| {
            let slot = slot(record)?;
            let (file, text) = (record.u32("file name")?, record.u32("line text")?);
            let line_and_column = record.u32("line and column")?;
            ext.lines.entry(section.to_owned()).or_default().push(LineRecord {
                slot,
                file: NameRef(file),
                text: NameRef(text),
                line: line_and_column >> 10,
                column: line_and_column & 0x3ff,
            });
            Ok(())
        })?;
        if length >= 32 {
            let mut count = 0;
            each(part(&mut head, bytes, length, "CO-RE relocations", 16)?, btf, |section, record| {
                let at = record.offset();
                count += 1;
                if count > CORE_MAX {
                    return Err(record.malformed("one more CO-RE relocation", format!("{CORE_MAX} or fewer")));
                }
                let relocation = CoreRelocation {
                    slot: slot(record)?,
                    of: record.u32("type")?,
                    access: NameRef(record.u32("access string")?),
                    kind: record.u32("relocation kind")?,
                    at,
                };
                ext.core.entry(section.to_owned()).or_default().push(relocation);
                Ok(())
            })?;
        }
        for lines in ext.lines.values_mut() {
            lines.sort_by_key(|line| line.slot);
        }
        Ok(ext)
    }
}

/// The instruction that a record is about, as a slot.
fn slot(record: &mut Cursor<'_>) -> Result<u32, ObjectError> {
    let at = *record;
    let offset = record.u32("instruction offset")?;
    if !offset.is_multiple_of(8) {
        return Err(at.malformed(format!("instruction offset {offset:#x}"), "a multiple of 8"));
    }
    Ok(offset / 8)
}

fn part<'a>(
    head: &mut Cursor<'a>,
    bytes: &'a [u8],
    header_length: u32,
    what: &str,
    least: u32,
) -> Result<Option<Part<'a>>, ObjectError> {
    let offset = head.u32("offset of records")?;
    let length = head.u32("length of records")?;
    if length == 0 {
        return Ok(None);
    }
    let mut body = Cursor::new(SECTION, bytes);
    body.take(header_length as usize, "the header")?;
    body.take(offset as usize, what)?;
    let mut records = body.sub(length as usize, what)?;
    let at = records;
    let record_size = records.u32("record size")?;
    if record_size < least || !record_size.is_multiple_of(4) {
        let wanted = format!("{least} or more, a multiple of 4");
        return Err(at.malformed(format!("{what} of {record_size} bytes"), wanted));
    }
    Ok(Some(Part { records, record_size }))
}

/// Hands each record, with its section's name, to `one`.
fn each(
    part: Option<Part<'_>>,
    btf: &Btf,
    mut one: impl FnMut(&str, &mut Cursor<'_>) -> Result<(), ObjectError>,
) -> Result<(), ObjectError> {
    let Some(Part { mut records, record_size }) = part else { return Ok(()) };
    while !records.is_empty() {
        let section = btf.text(NameRef(records.u32("section name")?));
        let count = records.u32("number of records")?;
        for _ in 0..count {
            let mut record = records.sub(record_size as usize, "a record")?;
            one(section, &mut record)?;
        }
    }
    Ok(())
}
