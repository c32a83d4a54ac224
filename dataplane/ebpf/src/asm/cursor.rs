//! Walking along the tokens of a line: the small pieces that every statement is made of.

use super::AsmError;
use super::token::{Placed, Token};
use crate::isa::{Reg, Size, Source, Width};

/// A place in a line of tokens.
pub(super) struct Cursor<'a, 't> {
    line: usize,
    tokens: &'a [Placed<'t>],
    at: usize,
    /// Column after the last character, where a missing piece is reported.
    end: usize,
}

/// A register as written, `r3` or `w3`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) width: Width,
    pub(super) reg: Reg,
}

impl<'a, 't> Cursor<'a, 't> {
    pub(super) fn new(line: usize, tokens: &'a [Placed<'t>], end: usize) -> Self {
        Self { line, tokens, at: 0, end }
    }

    pub(super) fn peek(&self) -> Option<Token<'t>> {
        self.peek_at(0)
    }

    pub(super) fn peek_at(&self, ahead: usize) -> Option<Token<'t>> {
        self.tokens.get(self.at + ahead).map(|(_, token)| *token)
    }

    pub(super) fn column(&self) -> usize {
        self.tokens.get(self.at).map_or(self.end, |(column, _)| *column)
    }

    pub(super) fn skip(&mut self, tokens: usize) {
        self.at += tokens;
    }

    /// Steps back one token, so that an error speaks of it.
    pub(super) fn back(&mut self) {
        self.at = self.at.saturating_sub(1);
    }

    /// An error at this place.
    pub(super) fn error(&self, wanted: impl Into<String>, help: impl Into<String>) -> AsmError {
        let found = self.peek().map_or(String::new(), |token| token.text().to_owned());
        let (wanted, help) = (wanted.into(), help.into());
        AsmError { line: self.line, column: self.column(), found, wanted, help }
    }

    /// An error at the token before this place.
    pub(super) fn error_before(&mut self, wanted: impl Into<String>, help: impl Into<String>) -> AsmError {
        self.back();
        self.error(wanted, help)
    }

    pub(super) fn eat(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(text)) if text == sign);
        self.at += usize::from(found);
        found
    }

    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(text)) if text == word);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, sign: &str, help: &str) -> Result<(), AsmError> {
        if self.eat(sign) { Ok(()) } else { Err(self.error(format!("`{sign}`"), help)) }
    }

    pub(super) fn word(&mut self, wanted: &str) -> Result<&'t str, AsmError> {
        match self.peek() {
            Some(Token::Word(word)) => {
                self.at += 1;
                Ok(word)
            }
            _ => Err(self.error(wanted, "")),
        }
    }

    /// `r0` to `r10`, `w0` to `w10`, if that is what stands here.
    pub(super) fn register(&mut self) -> Option<Named> {
        let named = register_named(self.peek()?)?;
        self.at += 1;
        Some(named)
    }

    /// A 64-bit register.
    pub(super) fn wide_register(&mut self, help: &str) -> Result<Reg, AsmError> {
        match self.register() {
            Some(Named { width: Width::W64, reg }) => Ok(reg),
            Some(Named { width: Width::W32, .. }) => Err(self.error_before("a 64-bit register", help)),
            None => Err(self.error("a register (r0 to r10)", help)),
        }
    }

    /// A register that holds a memory operand: `r`, or `w` too when the access is narrower.
    pub(super) fn data_register(&mut self, size: Size) -> Result<Reg, AsmError> {
        match self.register() {
            Some(Named { width: Width::W32, .. }) if size == Size::DW => {
                Err(self.error_before("a 64-bit register for a u64", "r instead of w"))
            }
            Some(named) => Ok(named.reg),
            None => Err(self.error("a register (r0 to r10, w0 to w10)", "")),
        }
    }

    /// The very register that the instruction changes.
    pub(super) fn same_register(&mut self, wanted: Named) -> Result<(), AsmError> {
        let text = format!("{}{}", letter(wanted.width), wanted.reg.index());
        match self.register() {
            Some(named) if named == wanted => Ok(()),
            Some(_) => Err(self.error_before(format!("`{text}`, the register that is changed"), "")),
            None => Err(self.error(format!("`{text}`, the register that is changed"), "")),
        }
    }

    /// A number with an optional sign, if one stands here.
    pub(super) fn number(&mut self) -> Option<i128> {
        let signs = usize::from(matches!(self.peek(), Some(Token::Sign("+" | "-"))));
        let negative = self.peek() == Some(Token::Sign("-"));
        let Some(Token::Number(_, value)) = self.peek_at(signs) else { return None };
        self.at += signs + 1;
        Some(if negative { -i128::from(value) } else { i128::from(value) })
    }

    /// A number within the bounds of `T`.
    pub(super) fn number_in<T: TryFrom<i128>>(&mut self, wanted: &str) -> Result<T, AsmError> {
        match self.number() {
            Some(value) => T::try_from(value).map_err(|_| self.error_before(wanted, "")),
            None => Err(self.error(wanted, "")),
        }
    }

    /// The second operand: a register of the same width, or an immediate that the instruction can hold.
    pub(super) fn source(&mut self, width: Width) -> Result<Source, AsmError> {
        if let Some(named) = self.register() {
            if named.width == width {
                return Ok(Source::Reg(named.reg));
            }
            let wanted = format!("a register of {} bits, as on the left", width.bits());
            return Err(self.error_before(wanted, "r for 64 bits, w for 32 bits"));
        }
        match self.number() {
            Some(value) => self.immediate(value, width).map(Source::Imm),
            None => Err(self.error("a register or a number", "")),
        }
    }

    /// The 32-bit immediate that stands for this value at a width; at 64 bits it is sign-extended.
    pub(super) fn immediate(&mut self, value: i128, width: Width) -> Result<i32, AsmError> {
        if let Ok(value) = i32::try_from(value) {
            return Ok(value);
        }
        let exact = match width {
            Width::W32 => u32::try_from(value).ok().map(|value| value as i32),
            Width::W64 => u64::try_from(value).ok().and_then(|value| i32::try_from(value as i64).ok()),
        };
        exact.ok_or_else(|| match width {
            Width::W32 => self.error_before("a number of 32 bits", ""),
            Width::W64 => self.error_before(
                "a number that 32 bits can hold when sign-extended",
                "load it into a register with `rN = NUMBER ll` first",
            ),
        })
    }

    /// `(u32 *)`, without a sign-extending type unless asked for.
    pub(super) fn cast(&mut self) -> Result<(Size, bool), AsmError> {
        const TYPES: &str = "u8, u16, u32, u64, s8, s16 or s32";
        self.expect("(", "an access is written *(u32 *)(r1 + 4)")?;
        let found = self.peek();
        let kind = match found {
            Some(Token::Word(word)) => access_type(word),
            _ => None,
        };
        let kind = kind.ok_or_else(|| self.error(TYPES, "an access is written *(u32 *)(r1 + 4)"))?;
        self.at += 1;
        self.expect("*", "an access is written *(u32 *)(r1 + 4)")?;
        self.expect(")", "")?;
        Ok(kind)
    }

    /// `(r1 + 4)`.
    pub(super) fn address(&mut self) -> Result<(Reg, i16), AsmError> {
        self.expect("(", "an address is written (r1 + 4)")?;
        let address = self.bare_address()?;
        self.expect(")", "an address is written (r1 + 4)")?;
        Ok(address)
    }

    /// `r1 + 4`, `r10 -8`, `r1`.
    pub(super) fn bare_address(&mut self) -> Result<(Reg, i16), AsmError> {
        let base = self.wide_register("an address is written (r1 + 4)")?;
        Ok((base, self.displacement("an offset from -32768 to 32767")?))
    }

    /// `+ 4`, `- 8`, `+ -8`, or nothing, which is 0.
    pub(super) fn displacement<T: TryFrom<i128> + Default>(&mut self, wanted: &str) -> Result<T, AsmError> {
        if !matches!(self.peek(), Some(Token::Sign("+" | "-"))) {
            return Ok(T::default());
        }
        if matches!(self.peek_at(1), Some(Token::Sign("-"))) && self.peek() == Some(Token::Sign("+")) {
            self.at += 1;
        }
        self.number_in(wanted)
    }
}

pub(super) fn register_named(token: Token<'_>) -> Option<Named> {
    let Token::Word(word) = token else { return None };
    let (width, number) = match word.split_at_checked(1)? {
        ("r", number) => (Width::W64, number),
        ("w", number) => (Width::W32, number),
        _ => return None,
    };
    let canonical = number.len() == 1 || number == "10";
    let reg = Reg::new(number.parse().ok().filter(|_| canonical)?)?;
    Some(Named { width, reg })
}

const fn letter(width: Width) -> char {
    match width {
        Width::W32 => 'w',
        Width::W64 => 'r',
    }
}

/// Size, and whether it sign-extends.
pub(super) fn access_type(word: &str) -> Option<(Size, bool)> {
    const SIZES: [Size; 4] = [Size::B, Size::H, Size::W, Size::DW];
    let unsigned = SIZES.into_iter().find(|size| size.unsigned() == word).map(|size| (size, false));
    unsigned.or_else(|| SIZES.into_iter().find(|size| size.signed() == word).map(|size| (size, true)))
}
