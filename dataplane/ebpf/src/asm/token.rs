//! A line of assembly cut into words, numbers and signs, each with its column.

use super::AsmError;

/// A piece of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'t> {
    /// A name or keyword: `r1`, `goto`, `bpf_map_lookup_elem`, `main.1`.
    Word(&'t str),
    /// A number without its sign, as written.
    Number(&'t str, u64),
    /// An operator or bracket.
    Sign(&'t str),
}

impl<'t> Token<'t> {
    /// The text as written.
    pub(super) fn text(self) -> &'t str {
        match self {
            Token::Word(text) | Token::Number(text, _) | Token::Sign(text) => text,
        }
    }
}

/// A token and the column that it starts in, from 1.
pub(super) type Placed<'t> = (usize, Token<'t>);

/// Signs, longest first, so that `s>>=` is not read as `s>`.
const SIGNS: &[&str] = &[
    "s>>=", "<<=", ">>=", "s/=", "s%=", "s>=", "s<=", "+=", "-=", "*=", "/=", "%=", "|=", "&=", "^=", "==",
    "!=", ">=", "<=", "s>", "s<", "=", ">", "<", "&", "+", "-", "*", "/", "(", ")", "[", "]", ",", ":", ";",
    "#",
];

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '.' || c == '$'
}

/// Cuts a line; what follows `//`, or a `#` that begins a word, is a comment, as is a whole line
/// after `;`.
pub(super) fn tokens(text: &str, line: usize) -> Result<Vec<Placed<'_>>, AsmError> {
    let mut found = Vec::new();
    let mut rest = if text.trim_start().starts_with(';') { "" } else { text };
    loop {
        let trimmed = rest.trim_start();
        let at = text.len() - trimmed.len();
        // `bpf_map_lookup_elem#1` is how the kernel writes a helper; any other `#` is a comment.
        let glued = trimmed.len() == rest.len() && matches!(found.last(), Some((_, Token::Word(_))));
        if trimmed.is_empty() || trimmed.starts_with("//") || (trimmed.starts_with('#') && !glued) {
            return Ok(found);
        }
        let column = text[..at].chars().count() + 1;
        let token = next(trimmed, line, column)?;
        rest = &trimmed[token.text().len()..];
        found.push((column, token));
    }
}

fn next(text: &str, line: usize, column: usize) -> Result<Token<'_>, AsmError> {
    if let Some(sign) = SIGNS.iter().find(|sign| text.starts_with(**sign)) {
        return Ok(Token::Sign(&text[..sign.len()]));
    }
    let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
    let word = &text[..end];
    if word.is_empty() {
        let found: String = text.chars().take(1).collect();
        let wanted = "an instruction, a label or a comment".to_owned();
        return Err(AsmError { line, column, found, wanted, help: "comments start with // or #".to_owned() });
    }
    if !word.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(Token::Word(word));
    }
    match number(word) {
        Some(value) => Ok(Token::Number(word, value)),
        // `12f` of a listing's hex bytes, `1b` and other words that start with a digit.
        None => Ok(Token::Word(word)),
    }
}

fn number(word: &str) -> Option<u64> {
    match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => word.parse().ok(),
    }
}
