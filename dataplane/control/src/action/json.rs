//! JSON as strangers send it: no key twice, no deeper than anyone needs.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How deep values may be nested.
const DEPTH_MAX: usize = 32;

/// Up to here every whole number is exactly one floating-point number.
const EXACT: f64 = 9_007_199_254_740_991.0;

/// A value, read strictly.
pub(super) struct Strict(pub(super) Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Level(DEPTH_MAX).deserialize(deserializer).map(Strict)
    }
}

/// A value that may be nested so deep.
#[derive(Clone, Copy)]
struct Level(usize);

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Level {
    fn deeper<E: Error>(self) -> Result<Level, E> {
        let deeper = self.0.checked_sub(1).map(Level);
        deeper.ok_or_else(|| E::custom(format!("nested deeper than {DEPTH_MAX}")))
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    /// JSON knows no difference between 2 and 2.0, so neither do we.
    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        if value.fract() == 0.0 && value.abs() <= EXACT {
            return Ok((value as i64).into());
        }
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("no such number"))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let (level, mut values) = (self.deeper()?, Vec::new());
        while let Some(value) = items.next_element_seed(level)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Value, A::Error> {
        let (level, mut object) = (self.deeper()?, Map::new());
        while let Some(key) = pairs.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format!("`{}` stands twice", key.escape_debug())));
            }
            object.insert(key, pairs.next_value_seed(level)?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ambiguous_or_bottomless_is_refused() {
        let read = |text: &str| serde_json::from_str::<Strict>(text).map(|value| value.0);
        assert_eq!(read(r#"{"a":[1,-2,3.5,null,true,"b"]}"#).unwrap()["a"][2], 3.5);
        assert!(read(r#"{"a":1,"a":2}"#).unwrap_err().to_string().contains("`a` stands twice"));
        assert!(read(r#"[{"b":{"a":1,"\u0061":2}}]"#).is_err());
        assert!(read(&"[".repeat(33)).unwrap_err().to_string().contains("deeper than 32"));
        assert!(read(&format!("{}{}", "[".repeat(32), "]".repeat(32))).is_ok());
        assert!(read(&"[".repeat(1 << 20)).is_err());
        assert!(read("1e999").is_err());
        assert_eq!(read("[30.0,-2.0,1e3]").unwrap(), serde_json::json!([30, -2, 1000]));
    }
}
