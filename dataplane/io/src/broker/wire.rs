//! Fields of a message of fixed length, one after the other, little-endian; what is not used is zero.

use super::message::Malformed;

/// Puts fields into a message. What does not fit is remembered, and told at the end.
pub(super) struct Writer<'a> {
    bytes: &'a mut [u8],
    at: usize,
    short: Option<&'static str>,
}

impl<'a> Writer<'a> {
    /// Begins an empty message.
    pub(super) fn new(bytes: &'a mut [u8]) -> Writer<'a> {
        bytes.fill(0);
        Writer { bytes, at: 0, short: None }
    }

    pub(super) fn put(&mut self, field: &'static str, value: &[u8]) {
        match self.bytes.get_mut(self.at..self.at + value.len()) {
            Some(room) => {
                room.copy_from_slice(value);
                self.at += value.len();
            }
            None => self.short = self.short.or(Some(field)),
        }
    }

    pub(super) fn u8(&mut self, field: &'static str, value: u8) {
        self.put(field, &[value]);
    }

    pub(super) fn u16(&mut self, field: &'static str, value: u16) {
        self.put(field, &value.to_le_bytes());
    }

    pub(super) fn u32(&mut self, field: &'static str, value: u32) {
        self.put(field, &value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, field: &'static str, value: u64) {
        self.put(field, &value.to_le_bytes());
    }

    /// A text of at most `max` bytes: an identifier, which must be whole.
    pub(super) fn text(&mut self, field: &'static str, value: &str, max: usize) {
        if value.len() > max {
            self.short = self.short.or(Some(field));
            return;
        }
        self.u16(field, value.len() as u16);
        self.put(field, value.as_bytes());
    }

    /// A text for people: on one line, cut after `max` bytes, at a character.
    pub(super) fn words(&mut self, field: &'static str, value: &str, max: usize) {
        let line = value.replace(char::is_control, " ");
        self.text(field, &line[..line.floor_char_boundary(max)], max);
    }

    /// Says whether all fitted.
    pub(super) fn finish(self) -> Result<(), Malformed> {
        match self.short {
            None => Ok(()),
            Some(field) => Err(Malformed { field, why: "more than fits" }),
        }
    }
}

/// Takes fields out of a message that may be anything.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Begins at the start of `bytes`.
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    pub(super) fn take(&mut self, field: &'static str, len: usize) -> Result<&'a [u8], Malformed> {
        let short = Malformed { field, why: "past the end" };
        let end = self.at.checked_add(len).ok_or(short.clone())?;
        let taken = self.bytes.get(self.at..end).ok_or(short)?;
        self.at = end;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(field, N)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, Malformed> {
        Ok(u8::from_le_bytes(self.array(field)?))
    }

    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array(field)?))
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    pub(super) fn u64(&mut self, field: &'static str) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    /// A switch: 0 or 1, nothing else.
    pub(super) fn bool(&mut self, field: &'static str) -> Result<bool, Malformed> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed { field, why: "neither 0 nor 1" }),
        }
    }

    /// A text of at most `max` bytes, without control characters.
    pub(super) fn text(&mut self, field: &'static str, max: usize) -> Result<&'a str, Malformed> {
        let len = usize::from(self.u16(field)?);
        if len > max {
            return Err(Malformed { field, why: "longer than it may be" });
        }
        let text = std::str::from_utf8(self.take(field, len)?);
        let text = text.map_err(|_| Malformed { field, why: "not UTF-8" })?;
        match text.chars().any(char::is_control) {
            true => Err(Malformed { field, why: "with control characters" }),
            false => Ok(text),
        }
    }

    /// Says whether all that follows is zero, as it was left.
    pub(super) fn finish(self) -> Result<(), Malformed> {
        match self.bytes.get(self.at..).is_some_and(|rest| rest.iter().all(|byte| *byte == 0)) {
            true => Ok(()),
            false => Err(Malformed { field: "rest", why: "not zero" }),
        }
    }
}
