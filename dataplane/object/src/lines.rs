//! Source lines of each code section, ready to be copied into programs.

use std::collections::HashMap;
use std::sync::Arc;

use weir_ebpf::program::Line;

use crate::btf::{Btf, LineRecord, NameRef};

/// Lines by slot of their section, by section name.
pub(crate) type Lines = HashMap<String, Vec<Line>>;

/// Turns records into lines; a text that several lines share is kept once. Texts that overlap, as no
/// compiler writes them, are left out when all together they are longer than the string table.
pub(crate) fn lines(btf: &Btf, records: &HashMap<String, Vec<LineRecord>>) -> Lines {
    let mut texts: HashMap<NameRef, Arc<str>> = HashMap::new();
    let mut room = btf.strings_length();
    let mut text = |name: NameRef| {
        let new = || {
            let text = btf.prose(name);
            let fits = room.checked_sub(text.len());
            room = fits.unwrap_or(0);
            Arc::from(if fits.is_some() { &*text } else { "" })
        };
        texts.entry(name).or_insert_with(new).clone()
    };
    let mut line = |record: &LineRecord| Line {
        slot: record.slot as usize,
        file: text(record.file),
        text: text(record.text),
        line: record.line,
        column: record.column,
    };
    let section = |(name, records): (&String, &Vec<LineRecord>)| {
        (name.clone(), records.iter().map(&mut line).collect())
    };
    records.iter().map(section).collect()
}

/// The lines of a part of a section, moved to where the part now starts.
pub(crate) fn moved(lines: &[Line], from: usize, length: usize, to: usize) -> impl Iterator<Item = Line> {
    let first = lines.partition_point(|line| line.slot < from);
    let after = lines.partition_point(|line| line.slot < from.saturating_add(length));
    lines[first..after].iter().map(move |line| Line { slot: line.slot - from + to, ..line.clone() })
}
