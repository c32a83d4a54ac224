//! An expression cut into words and signs.

use super::{FilterError, LENGTH_MAX};

/// A word or a sign, and where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'t> {
    pub(super) column: usize,
    pub(super) text: &'t str,
    pub(super) is_word: bool,
}

/// Signs, longer ones before those they begin with.
const SIGNS: [&str; 25] = [
    "&&", "||", "<<", ">>", "<=", ">=", "==", "!=", "!", "(", ")", "[", "]", ":", "/", "=", "<", ">", "&",
    "|", "+", "-", "*", "%", "^",
];

/// Cuts a text up. Within brackets a colon stands between two numbers and a minus is a sign; elsewhere both are parts of
/// words, such as addresses and ranges.
pub(super) fn lex(text: &str) -> Result<Vec<Token<'_>>, FilterError> {
    if text.len() > LENGTH_MAX {
        return Err(FilterError::new(
            LENGTH_MAX,
            format_args!("an expression has at most {LENGTH_MAX} characters"),
        ));
    }
    let mut tokens = Vec::new();
    let (mut at, mut brackets) = (0, 0usize);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let space = rest.len() - rest.trim_start().len();
        if space > 0 {
            at += space;
            continue;
        }
        let in_word = |c: char| {
            c.is_ascii_alphanumeric() || c == '_' || c == '.' || (brackets == 0 && (c == ':' || c == '-'))
        };
        // A backslash says that a name is one, and no keyword.
        let escape = usize::from(rest.starts_with('\\'));
        let word = rest.get(escape..).unwrap_or_default();
        let end = escape + word.find(|c| !in_word(c)).unwrap_or(word.len());
        let begins = word.starts_with(|c: char| c.is_ascii_alphanumeric() || (c == ':' && brackets == 0));
        let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
        let (length, is_word) = match sign {
            _ if begins => (end, true),
            Some(sign) => (sign.len(), false),
            None => {
                let found = rest.chars().next().unwrap_or_default();
                let what = format!("`{}` has no meaning here", found.escape_debug());
                return Err(FilterError::new(column(text, at), what));
            }
        };
        let token = rest.get(..length).unwrap_or_default();
        match token {
            "[" => brackets += 1,
            "]" => brackets = brackets.saturating_sub(1),
            _ => {}
        }
        tokens.push(Token { column: column(text, at), text: token, is_word });
        at += length;
    }
    Ok(tokens)
}

/// The number of the character at a byte.
fn column(text: &str, at: usize) -> usize {
    text.get(..at).map_or(at, |before| before.chars().count()) + 1
}

/// A number as libpcap reads it: decimal, hexadecimal after `0x`, octal after `0`.
pub(super) fn number(word: &str) -> Option<u32> {
    match (word.strip_prefix("0x").or(word.strip_prefix("0X")), word.strip_prefix('0')) {
        (Some(digits), _) => u32::from_str_radix(digits, 16).ok(),
        (None, Some(digits)) if !digits.is_empty() => u32::from_str_radix(digits, 8).ok(),
        _ => word.parse().ok().filter(|_| word.starts_with(|c: char| c.is_ascii_digit())),
    }
}
