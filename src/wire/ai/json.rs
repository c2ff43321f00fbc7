//! JSON objects whose values stay as they were written.
use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Keys of one object; more are not read.
const MOST_KEYS: usize = 256;

/// An object's keys and values in their order. Of a key that stands there twice the last one
/// counts, as in Go.
#[derive(Debug)]
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

struct ObjectVisitor;

// === impl Object ===

impl<'a> Object<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Object<'a>, String> {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    pub(super) fn of(value: &'a RawValue) -> Result<Object<'a>, String> {
        serde_json::from_str(value.get()).map_err(|error| error.to_string())
    }

    /// A value that is there and not `null`.
    pub(super) fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.raw(key).filter(|value| value.get() != "null")
    }

    /// A value that is there, `null` or not.
    pub(super) fn raw(&self, key: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(name, _)| name == key).map(|(_, value)| *value)
    }

    /// The object again, with one key's value replaced or added.
    pub(super) fn with(&self, key: &str, value: &str) -> String {
        let most = self.0.iter().map(|(name, value)| name.len() + value.get().len() + 8).sum::<usize>();
        let mut out = String::with_capacity(most + key.len() + value.len() + 8);
        let kept = self.0.iter().filter(|(name, _)| name != key).map(|(name, value)| (&**name, value.get()));
        for (n, (name, value)) in kept.chain([(key, value)]).enumerate() {
            out.push(if n == 0 { '{' } else { ',' });
            out.push_str(&quoted(name));
            out.push(':');
            out.push_str(value);
        }
        out.push('}');
        out
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Object<'a>, D::Error> {
        from.deserialize_map(ObjectVisitor)
    }
}

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
        let mut keys = Vec::new();
        while let Some(Key(name)) = map.next_key()? {
            if keys.len() == MOST_KEYS {
                return Err(A::Error::custom("too many keys"));
            }
            keys.push((name, map.next_value()?));
        }
        Ok(Object(keys))
    }
}

/// A JSON integer, as Go reads an `int`.
pub(super) fn int(value: &RawValue) -> Option<i64> {
    serde_json::from_str(value.get()).ok()
}

/// A JSON number that fits into a float32.
pub(super) fn float(value: &RawValue) -> Option<f32> {
    let number: f64 = serde_json::from_str(value.get()).ok()?;
    Some(number as f32).filter(|narrow| narrow.is_finite())
}

pub(super) fn boolean(value: &RawValue) -> Option<bool> {
    serde_json::from_str(value.get()).ok()
}

pub(super) fn text<'a>(value: &'a RawValue) -> Option<Cow<'a, str>> {
    serde_json::from_str::<Key<'a>>(value.get()).ok().map(|Key(text)| text)
}

pub(super) fn array(value: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(value.get()).ok()
}

/// A JSON string with its quotes.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
