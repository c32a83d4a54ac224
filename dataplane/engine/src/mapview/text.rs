//! Entries as text: as bpftool prints them (tools/bpf/bpftool/map.c and json_writer.c), and as a table.

use std::fmt::Write;

use super::{Entry, Formatted, MapInfo, NextKey, Shown};

/// `map dump` as bpftool prints it: typed entries as indented JSON, others in hexadecimal with their count.
pub fn dump(entries: &[Entry]) -> String {
    let mut out = String::new();
    if entries.iter().any(|entry| entry.formatted.is_some()) {
        let mut writer = Writer::default();
        writer.list('[', ']', entries, |writer, entry| writer.entry(entry));
        out = writer.out;
        out.push('\n');
        return out;
    }
    entries.iter().for_each(|entry| out.push_str(&plain(entry)));
    let plural = if entries.len() == 1 { "" } else { "s" };
    let _ = writeln!(out, "Found {} element{plural}", entries.len());
    out
}

/// `map lookup` as bpftool prints it.
pub fn entry(entry: &Entry) -> String {
    if entry.formatted.is_none() {
        return plain(entry);
    }
    let mut writer = Writer::default();
    writer.entry(entry);
    writer.out + "\n"
}

/// `map lookup` of a key that is not there.
pub fn not_found(key: &[u8]) -> String {
    format!("key:\n{}\n\nNot found\n", hex(key))
}

/// `map getnext` as bpftool prints it.
pub fn next_key(next: &NextKey) -> String {
    let key = next.key.as_ref().map_or(" None".to_owned(), |key| format!("\n{}", hex(&key.0)));
    format!("key:{key}\nnext key:\n{}\n", hex(&next.next_key.0))
}

/// `map show` as bpftool prints it, and what weir knows besides.
pub fn info(map: &MapInfo) -> String {
    let mut out = format!("{}: {}  name {}  flags {:#x}\n", map.id, map.kind, map.name, map.flags);
    let _ = writeln!(
        out,
        "\tkey {}B  value {}B  max_entries {}  memlock {}B",
        map.bytes_key, map.bytes_value, map.max_entries, map.bytes_memlock
    );
    let _ = write!(out, "\tentries {}", map.entries);
    if map.evictions > 0 {
        let _ = write!(out, "  evictions {}", map.evictions);
    }
    for (reason, count) in &map.update_failures {
        let _ = write!(out, "  failed {reason} {count}");
    }
    if map.frozen != 0 {
        out.push_str("  frozen");
    }
    out.push('\n');
    out
}

/// Sixteen bytes to a line, a gap after eight (bpftool's `fprint_hex`).
fn hex(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (at, byte) in bytes.iter().enumerate() {
        let gap = match at {
            0 => "",
            _ if at % 16 == 0 => "\n",
            _ if at % 8 == 0 => "  ",
            _ => " ",
        };
        let _ = write!(out, "{gap}{byte:02x}");
    }
    out
}

/// bpftool's `print_entry_plain`.
fn plain(entry: &Entry) -> String {
    let key = &entry.key.0;
    let mut out = String::new();
    match (&entry.value, &entry.values) {
        (Some(value), _) => {
            let value = &value.0;
            let broken = key.len() > 16 || value.len() > 16;
            let one_line = key.len() + value.len() <= 24 && !broken;
            let gap = if broken { '\n' } else { ' ' };
            if !key.is_empty() {
                let _ = write!(out, "key:{gap}{}{}", hex(key), if one_line { "  " } else { "\n" });
            }
            match entry.inner_map_id {
                Some(id) => {
                    let _ = write!(out, "inner_map_id:{gap}{id} ");
                }
                None if value.is_empty() => {}
                None => {
                    let _ = write!(out, "value:{gap}{}", hex(value));
                }
            }
            out.push('\n');
        }
        (None, values) => {
            let _ = writeln!(out, "key:\n{}", hex(key));
            for cpu in values.iter().flatten() {
                let gap = if cpu.value.0.len() > 16 { '\n' } else { ' ' };
                let _ = writeln!(out, "value (CPU {:02}):{gap}{}", cpu.cpu, hex(&cpu.value.0));
            }
        }
    }
    out
}

/// bpftool's `json_writer`, as it writes for people: members on lines of their own, elements in a row.
#[derive(Default)]
struct Writer {
    out: String,
    depth: usize,
    /// Whether something stands before, within the same brackets.
    more: bool,
}

impl Writer {
    fn next(&mut self) {
        if self.more {
            self.out.push(',');
        }
        self.more = true;
    }

    fn line(&mut self) {
        self.out.push('\n');
        (0..self.depth).for_each(|_| self.out.push_str("    "));
    }

    fn list<T>(&mut self, open: char, close: char, items: &[T], mut one: impl FnMut(&mut Self, &T)) {
        self.next();
        self.out.push(open);
        self.depth += 1;
        self.more = false;
        items.iter().for_each(|item| one(self, item));
        self.depth -= 1;
        if self.more {
            self.line();
        }
        self.out.push(close);
        self.more = true;
    }

    fn name(&mut self, name: &str) {
        self.next();
        self.line();
        self.more = false;
        let _ = write!(self.out, "{}: ", serde_json::Value::from(name));
    }

    fn value(&mut self, value: &Shown) {
        match value {
            Shown::Array(values) => self.list('[', ']', values, |writer, value| writer.value(value)),
            Shown::Object(members) => self.list('{', '}', members, |writer, (name, value)| {
                writer.name(name);
                writer.value(value);
            }),
            Shown::Bool(_) | Shown::Number(_) | Shown::Float(_) | Shown::Text(_) => {
                self.next();
                self.out.push_str(&serde_json::to_string(value).unwrap_or_default());
            }
        }
    }

    fn entry(&mut self, entry: &Entry) {
        let empty = Formatted::default();
        let formatted = entry.formatted.as_ref().unwrap_or(&empty);
        let mut members = Vec::new();
        members.extend(formatted.key.clone().map(|key| ("key".to_owned(), key)));
        members.extend(formatted.value.clone().map(|value| ("value".to_owned(), value)));
        members.extend(formatted.values.as_ref().map(|values| {
            let each = values.iter().map(|cpu| {
                let number = ("cpu".to_owned(), Shown::Number(cpu.cpu as i128));
                Shown::Object(vec![number, ("value".to_owned(), cpu.value.clone())])
            });
            ("values".to_owned(), Shown::Array(each.collect()))
        }));
        self.value(&Shown::Object(members));
    }
}

/// Entries in columns, for people: a column for each member, per-CPU values added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// A row for each entry, with a text for each column.
    pub rows: Vec<Vec<String>>,
}

/// Entries as a table.
pub fn table(entries: &[Entry]) -> Table {
    let rows: Vec<Vec<(String, String)>> = entries.iter().map(cells).collect();
    let mut columns: Vec<String> = Vec::new();
    for (name, _) in rows.iter().flatten() {
        if !columns.contains(name) {
            columns.push(name.clone());
        }
    }
    let row = |cells: &Vec<(String, String)>| {
        let cell = |column| cells.iter().find(|(name, _)| name == column).map_or("", |(_, text)| text);
        columns.iter().map(|column| cell(column).to_owned()).collect()
    };
    let rows = rows.iter().map(row).collect();
    Table { columns, rows }
}

/// Names and texts of an entry. A member of the value that is called like one of the key gets a prefix.
fn cells(entry: &Entry) -> Vec<(String, String)> {
    let formatted = entry.formatted.as_ref();
    let mut cells = part("key", formatted.and_then(|both| both.key.as_ref()), &entry.key.0);
    let shown = formatted.and_then(|both| both.value.as_ref()).or(entry.sum.as_ref());
    let bytes: Vec<u8> = match (&entry.value, &entry.values) {
        (Some(value), _) => value.0.clone(),
        (None, values) => values.iter().flatten().flat_map(|cpu| cpu.value.0.clone()).collect(),
    };
    let values = match entry.inner_map_id {
        Some(id) => vec![("inner_map_id".to_owned(), id.to_string())],
        None => part("value", shown, &bytes),
    };
    for (name, text) in values {
        let taken = cells.iter().any(|(other, _)| *other == name);
        cells.push((if taken { format!("value.{name}") } else { name }, text));
    }
    cells
}

fn part(what: &str, shown: Option<&Shown>, bytes: &[u8]) -> Vec<(String, String)> {
    match shown {
        Some(Shown::Object(members)) if !members.is_empty() => {
            members.iter().map(|(name, value)| (name.clone(), value.to_string())).collect()
        }
        Some(value) => vec![(what.to_owned(), value.to_string())],
        None if bytes.is_empty() => Vec::new(),
        None => vec![(what.to_owned(), hex(bytes).replace('\n', "  "))],
    }
}
