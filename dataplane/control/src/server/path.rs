//! Percent-decoding, once and strictly; what looks like a trick is refused.

use crate::problem::{Cause, Problem};

/// Longest address that is looked at.
pub(super) const ADDRESS_MAX: usize = 8192;

/// Refuses addresses that mean different things to different readers: dots, doubled slashes, bad escapes.
pub(super) fn check(path: &str) -> Result<(), Problem> {
    if path.len() > ADDRESS_MAX {
        let detail = format!("the address has {} bytes; at most {ADDRESS_MAX} are read", path.len());
        return Err(Problem::new(Cause::UriTooLong, detail));
    }
    let segments = path.strip_prefix('/').ok_or_else(|| bad("the path does not begin with `/`"))?;
    for segment in segments.split('/') {
        let decoded = decode(segment, false)?;
        if decoded.is_empty() || decoded == "." || decoded == ".." {
            return Err(bad("the path has an empty segment, `.` or `..`"));
        }
    }
    Ok(())
}

/// The text that an escaped one stands for; `plus` is a space in queries.
pub(super) fn decode(text: &str, plus: bool) -> Result<String, Problem> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            b'%' => {
                let (digits, after) =
                    rest.split_at_checked(2).ok_or_else(|| bad("`%` without two digits"))?;
                rest = after;
                hex(digits).ok_or_else(|| bad("`%` without two hexadecimal digits"))?
            }
            b'+' if plus => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| bad("the address is not UTF-8"))
}

fn hex(digits: &[u8]) -> Option<u8> {
    let digits =
        std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u8::from_str_radix(digits, 16).ok()
}

fn bad(detail: &str) -> Problem {
    Problem::new(Cause::Bad, detail)
}

/// The fields of a path, by its template; `None` when it is another path.
pub(super) fn fields(template: &str, path: &str) -> Result<Vec<(String, String)>, Problem> {
    let pairs = template.split('/').zip(path.split('/'));
    let named = pairs.filter_map(|(name, value)| {
        let name = name.strip_prefix('{')?.strip_suffix('}')?;
        Some(decode(value, false).map(|value| (name.to_owned(), value)))
    });
    named.collect()
}

/// The fields of a query.
pub(super) fn query(query: &str) -> Result<Vec<(String, String)>, Problem> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name, true)?, decode(value, true)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tricks_are_refused() {
        for path in [
            "",
            "v1",
            "//v1",
            "/v1/",
            "/v1/../etc",
            "/v1/%2e%2E/x",
            "/v1/.",
            "/v1/%",
            "/v1/%0",
            "/v1/%g0",
            "/v1/%ff",
        ] {
            assert!(check(path).is_err(), "{path}");
        }
        assert!(check(&format!("/{}", "a".repeat(ADDRESS_MAX))).is_err());
        assert!(check("/v1/maps/deny/entries/10.0.0.0%2F8").is_ok());
        assert!(check("/v1/maps/.rodata/entries/%E2%82%AC").is_ok());
    }

    #[test]
    fn a_text_is_decoded_once() {
        assert_eq!(decode("a%2525+b", false).unwrap(), "a%25+b");
        assert_eq!(decode("a+b%2B", true).unwrap(), "a b+");
        assert_eq!(
            fields("/v1/maps/{map}/entries/{key}", "/v1/maps/a%20b/entries/10.0.0.0%2F8").unwrap(),
            [("map".to_owned(), "a b".to_owned()), ("key".to_owned(), "10.0.0.0/8".to_owned())]
        );
        assert_eq!(query("a=1&b&c=%26").unwrap().len(), 3);
    }
}
