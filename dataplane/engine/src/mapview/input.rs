//! Keys and values as people and programs send them, turned into bytes.
//!
//! Taken are bpftool's words (`hex 0a 00 00 01`, or bytes in decimal), bpftool's JSON bytes
//! (`["0x0a","0x00",…]`), `hex:…`, and everything that [`crate::values`] knows: numbers, addresses,
//! prefixes, names of enumerations, structures as JSON objects by member name.

use serde_json::Value;

use super::Types;
use crate::values::{self, Wanted};
use weir_ebpf::abi::MapKind;

/// The words after `key` or `value` on a command line, as JSON for the daemon. Purely by their looks:
/// what they mean is decided where the types are.
pub fn from_words(words: &[String]) -> Result<Value, String> {
    match words {
        [] => Err("nothing is given: wanted bytes (hex 0a 00 …) or a value".to_owned()),
        [hex, digits @ ..] if hex == "hex" => {
            let bytes: Option<Vec<u8>> = digits
                .iter()
                .map(|digits| u8::from_str_radix(digits.trim_start_matches("0x"), 16).ok())
                .collect();
            let bytes = bytes.filter(|bytes| !bytes.is_empty());
            bytes.map(|bytes| hex_text(&bytes)).ok_or_else(|| {
                format!("`{}` are not bytes in hexadecimal: wanted pairs of digits", digits.join(" "))
            })
        }
        [one] => Ok(serde_json::from_str(one).unwrap_or_else(|_| Value::from(one.as_str()))),
        bytes => bytes.iter().map(number).collect(),
    }
}

fn hex_text(bytes: &[u8]) -> Value {
    bytes.iter().fold("hex:".to_owned(), |text, byte| text + &format!("{byte:02x}")).into()
}

/// A byte in decimal, or as C writes it in hexadecimal.
fn number(word: &String) -> Result<Value, String> {
    let byte = match word.strip_prefix("0x") {
        Some(digits) => u8::from_str_radix(digits, 16).ok(),
        None => word.parse::<u8>().ok(),
    };
    byte.map(Value::from)
        .ok_or_else(|| format!("`{word}` is no byte: wanted 0 to 255, or hex before them all"))
}

/// A key in bytes.
pub(super) fn key(kind: MapKind, types: &Types, size: usize, given: &Value) -> Result<Vec<u8>, String> {
    match bytes(given, size)? {
        Some(bytes) => Ok(bytes),
        None => values::encode_key(kind, Wanted { types: types.key(), size }, &toml_of(given)?),
    }
}

/// A value in bytes.
pub(super) fn value(types: &Types, size: usize, given: &Value) -> Result<Vec<u8>, String> {
    match bytes(given, size)? {
        Some(bytes) => Ok(bytes),
        None => values::encode(Wanted { types: types.value(), size }, &toml_of(given)?),
    }
}

/// Bytes that are given as such: `hex:…`, or as many bytes in a list as are wanted.
fn bytes(given: &Value, size: usize) -> Result<Option<Vec<u8>>, String> {
    let bytes = match given {
        Value::String(text) => match text.strip_prefix("hex:") {
            Some(digits) => values::hex(digits).ok_or_else(|| format!("`{text}` is not hexadecimal"))?,
            None => return Ok(None),
        },
        Value::Array(list) => {
            let all_text = list.iter().all(Value::is_string) && !list.is_empty();
            match list.iter().map(byte).collect::<Option<Vec<u8>>>() {
                Some(bytes) if bytes.len() == size || all_text => bytes,
                _ => return Ok(None),
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => return Ok(None),
    };
    if bytes.len() != size {
        return Err(format!("{size} bytes are wanted, and {} are given", bytes.len()));
    }
    Ok(Some(bytes))
}

fn byte(value: &Value) -> Option<u8> {
    match value {
        Value::String(text) => u8::from_str_radix(text.strip_prefix("0x")?, 16).ok(),
        other => other.as_u64().and_then(|number| u8::try_from(number).ok()),
    }
}

/// The same value as configurations have it.
fn toml_of(given: &Value) -> Result<toml::Value, String> {
    Ok(match given {
        Value::Null => return Err("null is no value".to_owned()),
        Value::Bool(truth) => (*truth).into(),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => number.into(),
            // Beyond TOML's integers; text in hexadecimal says the same.
            (None, Some(number)) => format!("{number:#x}").into(),
            (None, None) => return Err(format!("{number} is no integer")),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(list) => toml::Value::Array(list.iter().map(toml_of).collect::<Result<_, _>>()?),
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| Ok((name.clone(), toml_of(value)?));
            toml::Value::Table(members.iter().map(member).collect::<Result<_, String>>()?)
        }
    })
}
