//! Objects byte by byte, sound or not.

#![allow(dead_code, reason = "each test file uses a part of it")]

/// Section types.
pub(crate) const PROGBITS: u32 = 1;
pub(crate) const SYMTAB: u32 = 2;
pub(crate) const STRTAB: u32 = 3;
pub(crate) const NOBITS: u32 = 8;
pub(crate) const REL: u32 = 9;
/// `SHF_ALLOC | SHF_EXECINSTR`.
pub(crate) const CODE: u64 = 6;

/// A section to be written.
#[derive(Clone, Default)]
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) kind: u32,
    pub(crate) flags: u64,
    pub(crate) data: Vec<u8>,
    pub(crate) link: u32,
    pub(crate) info: u32,
    /// Said instead of the data's length.
    pub(crate) size: Option<u64>,
}

/// A file to be written. Section 1 holds symbols, section 2 their names; the others follow from 3.
#[derive(Clone, Default)]
pub(crate) struct File {
    pub(crate) sections: Vec<Section>,
    symbols: Vec<u8>,
    names: Vec<u8>,
}

impl File {
    /// A file with one section of code, number 3.
    pub(crate) fn with_code(name: &'static str, insns: &[u64]) -> Self {
        let mut file = Self { sections: Vec::new(), symbols: vec![0; 24], names: vec![0] };
        file.section(name, PROGBITS, CODE, code(insns));
        file
    }

    /// Adds a section; answers with its number.
    pub(crate) fn section(&mut self, name: &'static str, kind: u32, flags: u64, data: Vec<u8>) -> u32 {
        self.sections.push(Section { name, kind, flags, data, ..Section::default() });
        self.sections.len() as u32 + 2
    }

    /// Adds a symbol; answers with its number. `info` is binding (0 local, 1 global, 2 weak) times 16
    /// plus type (0 none, 1 variable, 2 function, 3 section).
    pub(crate) fn symbol(&mut self, name: &str, info: u8, section: u16, value: u64, size: u64) -> u32 {
        let number = self.symbols.len() as u32 / 24;
        self.symbols.extend((self.names.len() as u32).to_le_bytes());
        self.symbols.extend([info, 0]);
        self.symbols.extend(section.to_le_bytes());
        self.symbols.extend(value.to_le_bytes());
        self.symbols.extend(size.to_le_bytes());
        self.names.extend(name.as_bytes());
        self.names.push(0);
        number
    }

    /// Adds symbols whose names are the ends of one long name.
    pub(crate) fn symbols_that_share_a_name(&mut self, length: usize, info: u8, section: u16, size: u64) {
        let first = self.names.len();
        self.names.extend(std::iter::repeat_n(b'n', length));
        self.names.push(0);
        for at in first..first + length {
            let number = self.symbol("", info, section, 0, size) as usize;
            self.symbols[number * 24..][..4].copy_from_slice(&(at as u32).to_le_bytes());
        }
    }

    /// Adds relocations (offset, symbol) of a section.
    pub(crate) fn relocations(&mut self, of: u32, entries: &[(u64, u32)]) {
        let data = entries.iter().flat_map(|(offset, symbol)| {
            let info = u64::from(*symbol) << 32 | 1;
            offset.to_le_bytes().into_iter().chain(info.to_le_bytes())
        });
        let data = data.collect();
        self.sections.push(Section {
            name: ".rel",
            kind: REL,
            data,
            link: 1,
            info: of,
            ..Section::default()
        });
    }

    /// The file's bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut all = vec![Section::default()];
        all.push(Section {
            name: ".symtab",
            kind: SYMTAB,
            data: self.symbols.clone(),
            link: 2,
            ..Section::default()
        });
        all.push(Section { name: ".strtab", kind: STRTAB, data: self.names.clone(), ..Section::default() });
        all.extend(self.sections.iter().cloned());
        let mut names = vec![0];
        let places: Vec<u32> = all
            .iter()
            .chain([&Section { name: ".shstrtab", ..Section::default() }])
            .map(|section| {
                let at = names.len() as u32;
                names.extend(section.name.as_bytes());
                names.push(0);
                at
            })
            .collect();
        all.push(Section { name: ".shstrtab", kind: STRTAB, data: names, ..Section::default() });

        let mut bytes = vec![0; 64];
        let mut headers = Vec::new();
        for (section, name) in all.iter().zip(places) {
            let offset = bytes.len() as u64;
            headers.extend(name.to_le_bytes());
            headers.extend(section.kind.to_le_bytes());
            headers.extend(section.flags.to_le_bytes());
            headers.extend(0u64.to_le_bytes());
            headers.extend(offset.to_le_bytes());
            headers.extend(section.size.unwrap_or(section.data.len() as u64).to_le_bytes());
            headers.extend(section.link.to_le_bytes());
            headers.extend(section.info.to_le_bytes());
            headers.extend(1u64.to_le_bytes());
            headers.extend(0u64.to_le_bytes());
            bytes.extend(&section.data);
        }
        let table = bytes.len() as u64;
        bytes.extend(headers);
        bytes[..8].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0]);
        bytes[16..20].copy_from_slice(&[1, 0, 247, 0]);
        bytes[20] = 1;
        bytes[40..48].copy_from_slice(&table.to_le_bytes());
        bytes[52..54].copy_from_slice(&64u16.to_le_bytes());
        bytes[58..60].copy_from_slice(&64u16.to_le_bytes());
        bytes[60..62].copy_from_slice(&(all.len() as u16).to_le_bytes());
        bytes[62..64].copy_from_slice(&(all.len() as u16 - 1).to_le_bytes());
        bytes
    }
}

/// Instructions as bytes.
pub(crate) fn code(insns: &[u64]) -> Vec<u8> {
    insns.iter().flat_map(|insn| insn.to_le_bytes()).collect()
}

/// `r0 = 2`.
pub(crate) const MOV: u64 = 0x0000_0002_0000_00b7;
/// `exit`.
pub(crate) const EXIT: u64 = 0x95;
/// First slot of `r1 = imm64`.
pub(crate) const LOAD: u64 = 0x118;

/// `call` to a function this many slots after the next one.
pub(crate) fn call(off: i32) -> u64 {
    u64::from(off as u32) << 32 | 0x1085
}

/// A `.BTF` section: types as words, and strings between zeros.
pub(crate) fn btf(types: &[u32], strings: &[&str]) -> Vec<u8> {
    let mut text = vec![0];
    for string in strings {
        text.extend(string.as_bytes());
        text.push(0);
    }
    let types: Vec<u8> = types.iter().flat_map(|word| word.to_le_bytes()).collect();
    let mut bytes = vec![0x9f, 0xeb, 1, 0];
    for word in [24, 0, types.len() as u32, types.len() as u32, text.len() as u32] {
        bytes.extend(u32::to_le_bytes(word));
    }
    bytes.extend(types);
    bytes.extend(text);
    bytes
}
