//! Reading untrusted bytes of one section from front to back. A read past the end is an error that
//! names section and offset; nothing here allocates.

use crate::error::ObjectError;

/// A place in the bytes of a section.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    section: &'a str,
    bytes: &'a [u8],
    at: usize,
    base: usize,
}

impl<'a> Cursor<'a> {
    /// At the start of a section.
    pub(crate) fn new(section: &'a str, bytes: &'a [u8]) -> Self {
        Self { section, bytes, at: 0, base: 0 }
    }

    /// Offset in the section of the next byte.
    pub(crate) fn offset(&self) -> u64 {
        (self.base + self.at) as u64
    }

    /// Whether every byte was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Bytes not yet read.
    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next bytes.
    pub(crate) fn take(&mut self, length: usize, wanted: &str) -> Result<&'a [u8], ObjectError> {
        let rest = &self.bytes[self.at..];
        let Some(taken) = rest.get(..length) else {
            let found = format!("{} bytes up to the end", rest.len());
            let wanted = format!("{wanted}, {length} bytes");
            return Err(ObjectError::malformed(self.section, self.offset(), found, wanted));
        };
        self.at += length;
        Ok(taken)
    }

    /// A cursor over the next bytes alone, which this one skips; offsets stay those of the section.
    pub(crate) fn sub(&mut self, length: usize, wanted: &str) -> Result<Cursor<'a>, ObjectError> {
        let base = self.base + self.at;
        Ok(Cursor { section: self.section, bytes: self.take(length, wanted)?, at: 0, base })
    }

    /// The next four bytes as a number.
    pub(crate) fn u32(&mut self, wanted: &str) -> Result<u32, ObjectError> {
        Ok(u32::from_le_bytes(self.array(wanted)?))
    }

    /// The next two bytes as a number.
    pub(crate) fn u16(&mut self, wanted: &str) -> Result<u16, ObjectError> {
        Ok(u16::from_le_bytes(self.array(wanted)?))
    }

    /// The next byte.
    pub(crate) fn u8(&mut self, wanted: &str) -> Result<u8, ObjectError> {
        Ok(self.array::<1>(wanted)?[0])
    }

    fn array<const N: usize>(&mut self, wanted: &str) -> Result<[u8; N], ObjectError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, wanted)?);
        Ok(array)
    }

    /// What is wrong at the next byte.
    pub(crate) fn malformed(&self, found: impl Into<String>, wanted: impl Into<String>) -> ObjectError {
        ObjectError::malformed(self.section, self.offset(), found, wanted)
    }
}

/// The text up to the first zero at `offset`, at most `limit` bytes long. `None` when it starts
/// outside, is longer, or is not text.
pub(crate) fn text_at(strings: &[u8], offset: usize, limit: usize) -> Option<&str> {
    let rest = strings.get(offset..)?;
    let head = &rest[..rest.len().min(limit + 1)];
    let end = head.iter().position(|byte| *byte == 0)?;
    std::str::from_utf8(&head[..end]).ok()
}
