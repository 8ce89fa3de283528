//! JSON schemas as far as the models' grammar goes: what it cannot enforce is left out, order is kept.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::ai::json::{self, DEPTH_MAX, Json};
use crate::error::{Error, Kind, Result};

/// Constraints that the grammar refuses.
const UNKNOWN: [&str; 28] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "minItems",
    "maxItems",
    "uniqueItems",
    "contains",
    "minContains",
    "maxContains",
    "prefixItems",
    "if",
    "then",
    "else",
    "not",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedItems",
    "unevaluatedProperties",
    "$schema",
];

/// The schema with closed objects and without what the grammar refuses.
pub fn clean(schema: &RawValue) -> Result<Json<'_>> {
    value(schema, 0)
}

fn value(schema: &RawValue, depth: usize) -> Result<Json<'_>> {
    if depth > DEPTH_MAX {
        let message = "The schema is nested too deeply.";
        return Err(Error::new(Kind::InvalidRequest, message).with_param("response_format"));
    }
    let Some(members) = json::members(schema) else {
        return Ok(Json::Raw(schema));
    };
    let is_object = members.iter().any(|(name, value)| {
        name == "properties" || (name == "type" && value.get().contains("\"object\""))
    });
    let mut kept = Vec::with_capacity(members.len() + 1);
    for (name, raw) in members {
        if UNKNOWN.contains(&&*name) || (is_object && name == "additionalProperties") {
            continue;
        }
        let below = match &*name {
            "properties" | "$defs" | "definitions" => named(raw, depth)?,
            "items" | "additionalProperties" => value(raw, depth + 1)?,
            "anyOf" | "allOf" | "oneOf" => {
                let items = json::items(raw).unwrap_or_default();
                let items = items.into_iter().map(|item| value(item, depth + 1));
                Json::Array(items.collect::<Result<_>>()?)
            }
            _ => Json::Raw(raw),
        };
        let name = if name == "oneOf" {
            Cow::Borrowed("anyOf")
        } else {
            name
        };
        kept.push((name, below));
    }
    if is_object {
        kept.push(("additionalProperties".into(), Json::Bool(false)));
    }
    Ok(Json::Object(kept))
}

/// Members whose names are the client's.
fn named(raw: &RawValue, depth: usize) -> Result<Json<'_>> {
    let Some(members) = json::members(raw) else {
        return Ok(Json::Raw(raw));
    };
    let members = members
        .into_iter()
        .map(|(name, schema)| Ok((name, value(schema, depth + 1)?)));
    Ok(Json::Object(members.collect::<Result<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_closed_and_what_cannot_be_kept_is_left_out() {
        let schema = r#"{"$schema":"x","type":"object","properties":{"pattern":{"type":"string","pattern":"a"},
            "b":{"oneOf":[{"type":"integer","minimum":1},{"type":"object","additionalProperties":true}]}},
            "required":["pattern"]}"#;
        let raw: &RawValue = serde_json::from_str(schema).unwrap();
        assert_eq!(
            serde_json::to_string(&clean(raw).unwrap()).unwrap(),
            concat!(
                r#"{"type":"object","properties":{"pattern":{"type":"string"},"b":{"anyOf":[{"type":"integer"},"#,
                r#"{"type":"object","additionalProperties":false}]}},"required":["pattern"],"additionalProperties":false}"#
            )
        );
    }

    #[test]
    fn depth_is_limited() {
        let deep = format!("{}{{}}{}", r#"{"items":"#.repeat(100), "}".repeat(100));
        let raw: &RawValue = serde_json::from_str(&deep).unwrap();
        assert!(clean(raw).is_err());
    }
}
