//! Words and numbers that a configuration writes in one string.

use std::fmt;

use serde::{Deserialize, Serialize};
use weir_ebpf::abi::TcAction;

/// A classid: `MAJOR:MINOR`, both hexadecimal, 16 bits each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClassId(pub u32);

impl TryFrom<String> for ClassId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let part = |part: &str| u16::from_str_radix(part, 16).ok();
        let parts = text.split_once(':').and_then(|(major, minor)| {
            let major = if major.is_empty() { Some(0) } else { part(major) };
            let minor = if minor.is_empty() { Some(0) } else { part(minor) };
            Some(u32::from(major?) << 16 | u32::from(minor?))
        });
        parts.map(ClassId).ok_or_else(|| {
            format!("`{text}` is no classid: wanted MAJOR:MINOR in hexadecimal, such as \"1:10\"")
        })
    }
}

impl fmt::Display for ClassId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:x}:{:x}", self.0 >> 16, self.0 & 0xffff))
    }
}

/// A link address, `xx:xx:xx:xx:xx:xx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress(pub [u8; 6]);

impl TryFrom<String> for MacAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse_mac(&text).map(MacAddress).ok_or_else(|| {
            format!("`{text}` is no link address: wanted six bytes such as \"02:00:00:00:00:01\"")
        })
    }
}

impl From<ClassId> for String {
    fn from(id: ClassId) -> Self {
        id.to_string()
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Six hexadecimal bytes between colons.
pub(crate) fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let bytes: Vec<u8> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).ok().filter(|_| byte.len() == 2))
        .collect::<Option<_>>()?;
    bytes.try_into().ok()
}

/// The TC_ACT code that a word of an action list stands for (tc-gact(8)'s words).
pub(crate) fn action_word(word: &str) -> Option<TcAction> {
    Some(match word {
        "ok" | "pass" => TcAction::Ok,
        "drop" | "shot" => TcAction::Shot,
        "pipe" => TcAction::Pipe,
        "reclassify" => TcAction::Reclassify,
        "continue" => TcAction::Unspec,
        "stolen" => TcAction::Stolen,
        "trap" => TcAction::Trap,
        _ => return None,
    })
}
