//! The ELF container: sections, symbols and relocations as plain values, each checked against the
//! file's length. What they mean to a BPF object is for others to say.
//!
//! The bytes of all sections together are at most those of the file, so whoever copies every section
//! once stays linear in what was given.

use std::collections::BTreeMap;

use object::LittleEndian;
use object::elf::{self, FileHeader64, Rel64, Rela64, SectionHeader64, Sym64};
use object::read::elf::{FileHeader as _, SectionHeader as _};

use crate::cursor::text_at;
use crate::error::ObjectError;

/// Longest section or symbol name.
const NAME_MAX: usize = 4096;
/// How many times the file's length all names together may be. Names may share their ends, and must
/// not let a small file ask for much memory.
const NAMES_TIMES: usize = 4;

/// A section.
#[derive(Clone, Debug)]
pub(crate) struct Section<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Its bytes; empty when it takes none of the file (`.bss`).
    pub(crate) data: &'a [u8],
    /// Its size in memory.
    pub(crate) size: u64,
    /// Whether it takes none of the file.
    pub(crate) nobits: bool,
    /// Whether it holds what a program is made of (`SHT_PROGBITS`).
    pub(crate) progbits: bool,
    /// Whether it holds instructions.
    pub(crate) executable: bool,
    /// Symbol index by offset.
    pub(crate) relocations: BTreeMap<u64, Relocation>,
}

/// A relocation: which symbol goes where the map of relocations says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Relocation {
    /// Index into [`Elf::symbols`].
    pub(crate) symbol: usize,
    /// `R_BPF_*`.
    pub(crate) kind: u32,
}

/// What a symbol stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SymbolKind {
    /// No type: externs, labels, and everything in objects of old compilers.
    None,
    /// A variable.
    Object,
    /// A function.
    Function,
    /// A section as such.
    Section,
    /// Anything else, such as a file name.
    Other,
}

/// A symbol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Symbol<'a> {
    /// Its name; empty for sections.
    pub(crate) name: &'a str,
    /// Section it lies in; `None` for externs and special ones.
    pub(crate) section: Option<usize>,
    /// Whether another object is to define it.
    pub(crate) undefined: bool,
    /// Offset in its section.
    pub(crate) value: u64,
    /// Bytes; 0 when unknown.
    pub(crate) size: u64,
    /// What it stands for.
    pub(crate) kind: SymbolKind,
    /// Whether other objects see it, weakly or not.
    pub(crate) global: bool,
    /// Whether it may stay undefined.
    pub(crate) weak: bool,
    /// Whether it is hidden from other objects (`__hidden`).
    pub(crate) hidden: bool,
}

/// A parsed file.
#[derive(Clone, Debug)]
pub(crate) struct Elf<'a> {
    /// By section index; 0 is empty.
    pub(crate) sections: Vec<Section<'a>>,
    /// By symbol index; 0 is empty.
    pub(crate) symbols: Vec<Symbol<'a>>,
}

impl<'a> Elf<'a> {
    /// Reads the file's tables and checks that all they name lies in the file.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, ObjectError> {
        let header = header(bytes)?;
        let table = header.sections(LittleEndian, bytes).map_err(|error| {
            let offset = header.e_shoff.get(LittleEndian);
            ObjectError::malformed("", offset, error.to_string(), "a table of sections inside the file")
        })?;
        let names = header
            .section_strings_index(LittleEndian, bytes)
            .ok()
            .and_then(|index| table.section(index).ok())
            .and_then(|section| section.data(LittleEndian, bytes).ok())
            .ok_or_else(|| {
                ObjectError::malformed("", None, "no section names", "a section of their names")
            })?;
        let mut sections = Vec::with_capacity(table.len());
        let mut total = 0u64;
        for (index, raw) in table.iter().enumerate() {
            let section = section(bytes, names, index, raw)?;
            total = total.saturating_add(section.data.len() as u64);
            if total > bytes.len() as u64 {
                let found = format!("sections of {total} bytes or more in a file of {}", bytes.len());
                return Err(ObjectError::malformed(
                    section.name,
                    None,
                    found,
                    "sections that do not overlap",
                ));
            }
            sections.push(section);
        }
        let mut elf = Self { sections, symbols: Vec::new() };
        let symbol_table = table.iter().position(|raw| raw.sh_type(LittleEndian) == elf::SHT_SYMTAB);
        if let Some(index) = symbol_table {
            elf.read_symbols(index, &table.iter().as_slice()[index], bytes.len())?;
        }
        for (index, raw) in table.iter().enumerate() {
            elf.read_relocations(index, raw, symbol_table)?;
        }
        Ok(elf)
    }

    /// The section with this name.
    pub(crate) fn section(&self, name: &str) -> Option<(usize, &Section<'a>)> {
        self.sections.iter().enumerate().find(|(_, section)| section.name == name)
    }

    fn read_symbols(
        &mut self,
        index: usize,
        raw: &SectionHeader64<LittleEndian>,
        file_length: usize,
    ) -> Result<(), ObjectError> {
        let table = &self.sections[index];
        let strings = self.sections.get(raw.sh_link(LittleEndian) as usize).map(|s| s.data);
        let strings = strings.ok_or_else(|| {
            let found = format!("link to section {}", raw.sh_link(LittleEndian));
            ObjectError::malformed(table.name, None, found, "the section of symbol names")
        })?;
        let entries = object::pod::slice_from_all_bytes::<Sym64<LittleEndian>>(table.data).map_err(|()| {
            let found = format!("{} bytes", table.data.len());
            ObjectError::malformed(table.name, None, found, "symbols of 24 bytes each")
        })?;
        let count = self.sections.len();
        let symbols = entries.iter().enumerate().map(|(number, entry)| {
            symbol(entry, strings, count).map_err(|(found, wanted)| {
                ObjectError::malformed(table.name, number as u64 * 24, found, wanted)
            })
        });
        self.symbols = symbols.collect::<Result<_, _>>()?;
        let names = self.symbols.iter().map(|symbol| symbol.name).chain(self.sections.iter().map(|s| s.name));
        let total: usize = names.map(str::len).sum();
        if total > file_length.saturating_mul(NAMES_TIMES) {
            let found = format!("names of {total} bytes in a file of {file_length}");
            return Err(ObjectError::malformed(
                self.sections[index].name,
                None,
                found,
                "names that are not so long",
            ));
        }
        Ok(())
    }

    fn read_relocations(
        &mut self,
        index: usize,
        raw: &SectionHeader64<LittleEndian>,
        symbol_table: Option<usize>,
    ) -> Result<(), ObjectError> {
        let target = raw.sh_info(LittleEndian) as usize;
        let kind = raw.sh_type(LittleEndian);
        if !(kind == elf::SHT_REL || kind == elf::SHT_RELA) {
            return Ok(());
        }
        let Section { name, data, .. } = self.sections[index];
        let wrong = |found: String, wanted: &str| ObjectError::malformed(name, None, found, wanted);
        let size = match self.sections.get(target) {
            Some(section) if target != 0 => section.size,
            _ => return Err(wrong(format!("section {target}"), "the section to be relocated")),
        };
        if !is_loaded(&self.sections[target]) {
            return Ok(());
        }
        if Some(raw.sh_link(LittleEndian) as usize) != symbol_table {
            let found = format!("link to section {}", raw.sh_link(LittleEndian));
            return Err(wrong(found, "the symbol table"));
        }
        let (entries, entry_size) = if kind == elf::SHT_RELA {
            (with_addends(data).map_err(|(found, wanted)| wrong(found, wanted))?, 24)
        } else {
            let entries = object::pod::slice_from_all_bytes::<Rel64<LittleEndian>>(data)
                .map_err(|()| wrong(format!("{} bytes", data.len()), "relocations of 16 bytes each"))?;
            (entries.to_vec(), 16)
        };
        for (number, entry) in entries.iter().enumerate() {
            let at = number as u64 * entry_size;
            let offset = entry.r_offset.get(LittleEndian);
            let symbol = entry.r_sym(LittleEndian) as usize;
            let kind = entry.r_type(LittleEndian).0;
            let wrong = |found: String, wanted: String| ObjectError::malformed(name, at, found, wanted);
            if offset >= size {
                return Err(wrong(format!("a relocation at {offset:#x}"), format!("one below {size:#x}")));
            }
            if symbol >= self.symbols.len() {
                let wanted = format!("one below {}", self.symbols.len());
                return Err(wrong(format!("symbol {symbol}"), wanted));
            }
            let relocation = Relocation { symbol, kind };
            if self.sections[target].relocations.insert(offset, relocation).is_some() {
                let found = format!("a second relocation at {offset:#x}");
                return Err(wrong(found, "one for each place".to_owned()));
            }
        }
        Ok(())
    }
}

/// Relocations as compilers before LLVM 6 wrote them, which have addends: none but 0 is known.
fn with_addends(data: &[u8]) -> Result<Vec<Rel64<LittleEndian>>, (String, &'static str)> {
    let entries = object::pod::slice_from_all_bytes::<Rela64<LittleEndian>>(data)
        .map_err(|()| (format!("{} bytes", data.len()), "relocations of 24 bytes each"))?;
    if let Some(entry) = entries.iter().find(|entry| entry.r_addend.get(LittleEndian) != 0) {
        let found = format!("a relocation with addend {}", entry.r_addend.get(LittleEndian));
        return Err((found, "addends in the instructions"));
    }
    Ok(entries.iter().map(|entry| Rel64 { r_offset: entry.r_offset, r_info: entry.r_info }).collect())
}

/// Whether a section becomes part of programs or maps, so that its relocations matter.
fn is_loaded(section: &Section<'_>) -> bool {
    let debug = section.name.starts_with(".debug")
        || section.name.starts_with(".BTF")
        || section.name.starts_with(".eh_frame")
        || section.name.starts_with(".llvm");
    section.progbits && !debug
}

fn header(bytes: &[u8]) -> Result<&FileHeader64<LittleEndian>, ObjectError> {
    let wrong = |offset: u64, found: String, wanted: &str| ObjectError::malformed("", offset, found, wanted);
    if !bytes.starts_with(&elf::ELFMAG) {
        let found = format!("bytes {:02x?}", &bytes[..bytes.len().min(4)]);
        return Err(wrong(0, found, "an ELF file (7f 45 4c 46)"));
    }
    let ident = |at: usize| bytes.get(at).copied().unwrap_or(0);
    if ident(4) != elf::ELFCLASS64.0 {
        return Err(wrong(4, format!("ELF class {}", ident(4)), "a 64-bit file (class 2)"));
    }
    if ident(5) != elf::ELFDATA2LSB.0 {
        let found = format!("byte order {}", ident(5));
        return Err(wrong(5, found, "little endian (1); compile with `clang -target bpfel`"));
    }
    let header = FileHeader64::<LittleEndian>::parse(bytes)
        .map_err(|error| wrong(0, format!("{} bytes ({error})", bytes.len()), "an ELF header"))?;
    let kind = header.e_type(LittleEndian).0;
    if kind != elf::ET_REL.0 {
        return Err(wrong(
            16,
            format!("ELF type {kind}"),
            "a relocatable object (1), as `clang -c` makes it",
        ));
    }
    let machine = header.e_machine(LittleEndian).0;
    // Compilers before LLVM 3.9 wrote no machine; libbpf takes them too.
    if machine != elf::EM_BPF.0 && machine != 0 {
        return Err(wrong(
            18,
            format!("ELF machine {machine}"),
            "eBPF (247); compile with `clang -target bpf`",
        ));
    }
    Ok(header)
}

fn section<'a>(
    bytes: &'a [u8],
    names: &'a [u8],
    index: usize,
    raw: &SectionHeader64<LittleEndian>,
) -> Result<Section<'a>, ObjectError> {
    let name_offset = raw.sh_name(LittleEndian);
    let name = text_at(names, name_offset as usize, NAME_MAX).ok_or_else(|| {
        let found = format!("name of section {index} at {name_offset:#x}");
        ObjectError::malformed(".shstrtab", u64::from(name_offset), found, "text that ends in a zero")
    })?;
    let kind = raw.sh_type(LittleEndian);
    let data = raw.data(LittleEndian, bytes).map_err(|_| {
        let (offset, size) = (raw.sh_offset.get(LittleEndian), raw.sh_size.get(LittleEndian));
        let found = format!("{size} bytes at file offset {offset:#x}");
        ObjectError::malformed(name, None, found, format!("bytes inside the file of {}", bytes.len()))
    })?;
    let flags = raw.sh_flags(LittleEndian).0;
    Ok(Section {
        name,
        data,
        size: raw.sh_size.get(LittleEndian),
        nobits: kind == elf::SHT_NOBITS,
        progbits: kind == elf::SHT_PROGBITS,
        executable: kind == elf::SHT_PROGBITS && flags & elf::SHF_EXECINSTR.0 != 0,
        relocations: BTreeMap::new(),
    })
}

fn symbol<'a>(
    raw: &Sym64<LittleEndian>,
    strings: &'a [u8],
    sections: usize,
) -> Result<Symbol<'a>, (String, String)> {
    let name_offset = raw.st_name.get(LittleEndian);
    let name = match name_offset {
        0 => "",
        offset => text_at(strings, offset as usize, NAME_MAX).ok_or_else(|| {
            (format!("a symbol name at {offset:#x}"), "text that ends in a zero".to_owned())
        })?,
    };
    let place = raw.st_shndx.get(LittleEndian);
    let section = place.index().map(usize::from);
    if let Some(index) = section.filter(|index| *index >= sections) {
        return Err((format!("symbol `{name}` in section {index}"), format!("a section below {sections}")));
    }
    let kind = match raw.st_type() {
        elf::STT_NOTYPE => SymbolKind::None,
        elf::STT_OBJECT => SymbolKind::Object,
        elf::STT_FUNC => SymbolKind::Function,
        elf::STT_SECTION => SymbolKind::Section,
        _ => SymbolKind::Other,
    };
    let visibility = raw.st_visibility();
    Ok(Symbol {
        name,
        section,
        undefined: place == elf::SHN_UNDEF,
        value: raw.st_value.get(LittleEndian),
        size: raw.st_size.get(LittleEndian),
        kind,
        global: matches!(raw.st_bind(), elf::STB_GLOBAL | elf::STB_WEAK),
        weak: raw.st_bind() == elf::STB_WEAK,
        hidden: visibility == elf::STV_HIDDEN || visibility == elf::STV_INTERNAL,
    })
}
