//! A typed value as JSON shows it, with its members in the order of the C type on the way out and back in.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use weir_object::btf::Value;

/// A value by its type, as `bpftool -j` writes it. What bpftool writes as hexadecimal text is text here.
#[derive(Clone, Debug, PartialEq)]
pub enum Shown {
    /// A truth value.
    Bool(bool),
    /// An integer. Sums may be wider than any type; JSON has those as text.
    Number(i128),
    /// A floating-point number.
    Float(f64),
    /// A name, a text, or a number in hexadecimal.
    Text(String),
    /// The elements of an array.
    Array(Vec<Shown>),
    /// The members of a structure or union.
    Object(Vec<(String, Shown)>),
}

impl From<Value> for Shown {
    fn from(value: Value) -> Self {
        match value {
            Value::Bool(truth) => Shown::Bool(truth),
            Value::Number(number) => Shown::Number(number),
            Value::Hex(number) => Shown::Text(format!("{number:#x}")),
            Value::Float(number) => Shown::Float(number),
            Value::Text(text) => Shown::Text(text),
            Value::Array(values) => Shown::Array(values.into_iter().map(Shown::from).collect()),
            Value::Object(members) => {
                Shown::Object(members.into_iter().map(|(name, value)| (name, value.into())).collect())
            }
        }
    }
}

impl Shown {
    /// The workers' values added up, member by member. What cannot be added is kept where all agree, and
    /// left out where they do not.
    pub fn sum(values: &[Shown]) -> Option<Shown> {
        let (first, rest) = values.split_first()?;
        rest.iter().try_fold(first.clone(), |sum, value| sum.plus(value))
    }

    fn plus(self, other: &Shown) -> Option<Shown> {
        Some(match (self, other) {
            (Shown::Number(a), Shown::Number(b)) => Shown::Number(a.wrapping_add(*b)),
            (Shown::Float(a), Shown::Float(b)) => Shown::Float(a + b),
            (Shown::Array(a), Shown::Array(b)) if a.len() == b.len() => {
                Shown::Array(a.into_iter().zip(b).map(|(a, b)| a.plus(b)).collect::<Option<_>>()?)
            }
            (Shown::Object(a), Shown::Object(b)) => {
                let member = |(name, value): (String, Shown)| {
                    let (_, other) = b.iter().find(|(other, _)| *other == name)?;
                    Some((name, value.plus(other)?))
                };
                Shown::Object(a.into_iter().filter_map(member).collect())
            }
            (same, other) if same == *other => same,
            _ => return None,
        })
    }

    /// A member of a structure.
    pub fn get(&self, name: &str) -> Option<&Shown> {
        let Shown::Object(members) = self else { return None };
        members.iter().find(|(member, _)| member == name).map(|(_, value)| value)
    }
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Shown::Bool(truth) => serializer.serialize_bool(*truth),
            Shown::Number(number) => match (i64::try_from(*number), u64::try_from(*number)) {
                (Ok(number), _) => serializer.serialize_i64(number),
                (_, Ok(number)) => serializer.serialize_u64(number),
                _ => serializer.serialize_str(&number.to_string()),
            },
            Shown::Float(number) if number.is_finite() => serializer.serialize_f64(*number),
            Shown::Float(number) => serializer.serialize_str(&number.to_string()),
            Shown::Text(text) => serializer.serialize_str(text),
            Shown::Array(values) => {
                let mut list = serializer.serialize_seq(Some(values.len()))?;
                values.iter().try_for_each(|value| list.serialize_element(value))?;
                list.end()
            }
            Shown::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                members.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Shown {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Read)
    }
}

struct Read;

impl<'de> Visitor<'de> for Read {
    type Value = Shown;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value as `map dump` shows it")
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Shown, E> {
        Ok(Shown::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Shown, E> {
        Ok(Shown::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Shown, E> {
        Ok(Shown::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Shown, E> {
        Ok(Shown::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Shown, E> {
        Ok(Shown::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Shown, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(Shown::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shown, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Shown::Object(members))
    }
}

/// On one line: a number bare, a structure as compact JSON.
impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shown::Text(text) => f.write_str(text),
            Shown::Number(number) => write!(f, "{number}"),
            other => f.write_str(&serde_json::to_string(other).map_err(|_| fmt::Error)?),
        }
    }
}
