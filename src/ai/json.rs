//! JSON whose order is kept: what a model is told in an order, it answers in that order, and a prompt that is
//! cached is cached by its bytes.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Deepest schema that is read: stops a client from exhausting the stack.
pub const DEPTH_MAX: usize = 64;

/// Text, copied only where it has escapes.
#[derive(Clone, Debug, Deserialize)]
pub struct Str<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// The members of an object in their order, each name once.
#[derive(Debug, Default)]
pub struct Members<'a>(pub Vec<(Cow<'a, str>, &'a RawValue)>);

/// A value that was changed in places, and is as it came elsewhere.
#[derive(Debug)]
pub enum Json<'a> {
    Raw(&'a RawValue),
    Text(&'a str),
    Bool(bool),
    Array(Vec<Self>),
    Object(Vec<(Cow<'a, str>, Self)>),
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members<'de>, M::Error> {
                let mut members: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::with_capacity(16);
                while let Some((Str(name), raw)) = map.next_entry()? {
                    if members.iter().any(|(known, _)| *known == name) {
                        let twice = format!("`{name}` is given more than once");
                        return Err(serde::de::Error::custom(twice));
                    }
                    members.push((name, raw));
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Map)
    }
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Raw(raw) => raw.serialize(to),
            Self::Text(text) => to.serialize_str(text),
            Self::Bool(value) => to.serialize_bool(*value),
            Self::Array(items) => {
                let mut array = to.serialize_seq(Some(items.len()))?;
                for item in items {
                    array.serialize_element(item)?;
                }
                array.end()
            }
            Self::Object(members) => {
                let mut object = to.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    object.serialize_entry(name, value)?;
                }
                object.end()
            }
        }
    }
}

/// The members of `raw`, where it is an object.
pub fn members(raw: &RawValue) -> Option<Vec<(Cow<'_, str>, &RawValue)>> {
    let members: Members<'_> = serde_json::from_str(raw.get()).ok()?;
    Some(members.0)
}

/// The items of `raw`, where it is an array.
pub fn items(raw: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(raw.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_numbers_are_kept() {
        let text = r#"{"b":1.0,"a":[1e2,{"d":null,"c":18446744073709551616}]}"#;
        let raw: &RawValue = serde_json::from_str(text).unwrap();
        let members = members(raw).unwrap();
        let json = Json::Object(
            members
                .into_iter()
                .map(|(k, v)| (k, Json::Raw(v)))
                .collect(),
        );
        assert_eq!(serde_json::to_string(&json).unwrap(), text);
    }

    #[test]
    fn a_name_stands_once() {
        assert!(serde_json::from_str::<Members<'_>>(r#"{"a":1,"\u0061":2}"#).is_err());
    }
}
