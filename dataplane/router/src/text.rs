//! Routes as people write them: destinations and gateways, with errors that say what was wanted.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::neighbour::Mac;

/// Why a text is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Not a network.
    #[error(
        "\"{text}\" is not a destination; wanted ADDRESS/LENGTH such as 198.51.100.0/24 or 2001:db8::/32, or an address"
    )]
    Destination {
        /// As given.
        text: String,
    },
    /// The prefix is longer than the address.
    #[error("\"{text}\" has a prefix longer than its address; the longest is {max}")]
    Length {
        /// As given.
        text: String,
        /// 32 or 128.
        max: u8,
    },
    /// An address inside a network where the network itself was wanted.
    #[error("\"{text}\" has bits set behind its prefix; the network is {network}")]
    HostBits {
        /// As given.
        text: String,
        /// What was probably meant.
        network: IpNet,
    },
    /// Not an address.
    #[error(
        "\"{text}\" is not an address; wanted one such as 203.0.113.1 or 2001:db8::1, without a prefix length"
    )]
    Address {
        /// As given.
        text: String,
    },
    /// Not an address with a prefix length.
    #[error("\"{text}\" is not an address with a prefix length, such as 192.0.2.1/24 or 2001:db8::1/64")]
    Interface {
        /// As given.
        text: String,
    },
    /// Not a link address.
    #[error("\"{text}\" is not a link address; wanted six bytes such as 02:00:00:00:00:01")]
    Mac {
        /// As given.
        text: String,
    },
}

/// The destinations of a route: `198.51.100.0/24`, or one address. Bits behind the prefix are refused.
pub fn destination(text: &str) -> Result<IpNet, TextError> {
    let to = match network(text)? {
        Some(to) => to,
        None => match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => return Err(TextError::Destination { text: text.into() }),
        },
    };
    if to.trunc() == to {
        Ok(to)
    } else {
        Err(TextError::HostBits { text: text.into(), network: to.trunc() })
    }
}

/// An address of a port with the length of its network's prefix: `192.0.2.1/24`.
pub fn interface(text: &str) -> Result<IpNet, TextError> {
    network(text)?.ok_or_else(|| TextError::Interface { text: text.into() })
}

/// A gateway or another single address.
pub fn address(text: &str) -> Result<IpAddr, TextError> {
    text.parse().map_err(|_| TextError::Address { text: text.into() })
}

/// A link address: six bytes in hex, with colons or dashes.
pub fn mac(text: &str) -> Result<Mac, TextError> {
    let error = || TextError::Mac { text: text.into() };
    let mut bytes = text.split([':', '-']).map(|byte| {
        let plain =
            !byte.is_empty() && byte.len() <= 2 && byte.bytes().all(|digit| digit.is_ascii_hexdigit());
        if plain { u8::from_str_radix(byte, 16).map_err(|_| error()) } else { Err(error()) }
    });
    let mut mac = Mac::default();
    for byte in &mut mac {
        *byte = bytes.next().ok_or_else(error)??;
    }
    if bytes.next().is_none() { Ok(mac) } else { Err(error()) }
}

/// `ADDRESS/LENGTH`, or `None` when it is not of that form at all.
fn network(text: &str) -> Result<Option<IpNet>, TextError> {
    if let Ok(network) = text.parse::<IpNet>() {
        return Ok(Some(network));
    }
    let Some((address, length)) = text.split_once('/') else { return Ok(None) };
    match (address.parse::<IpAddr>(), length.parse::<u32>()) {
        (Ok(address), Ok(_)) => {
            Err(TextError::Length { text: text.into(), max: if address.is_ipv4() { 32 } else { 128 } })
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::{address, destination, interface, mac};

    #[test]
    fn reads_what_people_write() {
        assert_eq!(destination("198.51.100.0/24").unwrap().to_string(), "198.51.100.0/24");
        assert_eq!(destination("2001:db8::1").unwrap().to_string(), "2001:db8::1/128");
        assert_eq!(destination("0.0.0.0/0").unwrap().prefix_len(), 0);
        assert_eq!(interface("192.0.2.1/24").unwrap().to_string(), "192.0.2.1/24");
        assert_eq!(mac("02:00:00:00:00:0a").unwrap(), [2, 0, 0, 0, 0, 10]);
    }

    #[test]
    fn says_what_was_wanted() {
        let messages = [
            destination("198.51.100.7/24").unwrap_err().to_string(),
            destination("198.51.100.0/33").unwrap_err().to_string(),
            destination("198.51.100/24").unwrap_err().to_string(),
            interface("192.0.2.1").unwrap_err().to_string(),
            address("203.0.113.1/24").unwrap_err().to_string(),
            mac("02:00:00:00:00").unwrap_err().to_string(),
            mac("02:00:00:00:00:+1").unwrap_err().to_string(),
        ];
        assert_eq!(
            messages,
            [
                r#""198.51.100.7/24" has bits set behind its prefix; the network is 198.51.100.0/24"#,
                r#""198.51.100.0/33" has a prefix longer than its address; the longest is 32"#,
                r#""198.51.100/24" is not a destination; wanted ADDRESS/LENGTH such as 198.51.100.0/24 or 2001:db8::/32, or an address"#,
                r#""192.0.2.1" is not an address with a prefix length, such as 192.0.2.1/24 or 2001:db8::1/64"#,
                r#""203.0.113.1/24" is not an address; wanted one such as 203.0.113.1 or 2001:db8::1, without a prefix length"#,
                r#""02:00:00:00:00" is not a link address; wanted six bytes such as 02:00:00:00:00:01"#,
                r#""02:00:00:00:00:+1" is not a link address; wanted six bytes such as 02:00:00:00:00:01"#,
            ]
        );
    }
}
