//! The policy of a form: what its signer allowed.
//!
//! Every field before the file needs a condition, but for the policy, the signature, and what is ignored anyway; so do
//! the bucket and the key. Names and operators are compared without case, values byte for byte.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{ACCESS_KEY_ID_V2, Fields, POLICY, SIGNATURE, SIGNATURE_V2, is_ignored};
use crate::error::{Error, Kind, Result};

/// Conditions of one policy. Stops a small document from making us compare for long.
const CONDITIONS_MAX: usize = 200;

/// See the module's documentation.
#[derive(Debug, PartialEq, Eq)]
pub struct Policy {
    expiration: Timestamp,
    conditions: Vec<Condition>,
}

#[derive(Debug, PartialEq, Eq)]
enum Condition {
    Equals { field: String, value: String },
    StartsWith { field: String, prefix: String },
    Length { min: u64, max: u64 },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    expiration: String,
    conditions: Vec<Value>,
}

impl Policy {
    /// Reads the `policy` field: base64 of JSON.
    pub fn parse(field: &str) -> Result<Self> {
        let field: String = field.split_ascii_whitespace().collect();
        let bytes = STANDARD.decode(field).ok();
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let text = text.ok_or_else(|| invalid("it is not base64 of UTF-8"))?;
        let written: Written = serde_json::from_str(&plain_json(&text))
            .map_err(|error| invalid("it is not of the documented form").with_detail(error))?;
        let expiration = written
            .expiration
            .parse()
            .map_err(|_| invalid("the expiration is no ISO 8601 time in UTC"))?;
        if written.conditions.is_empty() || written.conditions.len() > CONDITIONS_MAX {
            return Err(invalid("the number of conditions"));
        }
        let conditions = written.conditions.iter().map(condition);
        Ok(Self {
            expiration,
            conditions: conditions.collect::<Result<_>>()?,
        })
    }

    /// Holds the fields against it.
    pub fn check(&self, fields: &Fields, bucket: &str, now: Timestamp) -> Result<()> {
        if now >= self.expiration {
            return Err(refused("Policy expired."));
        }
        // Where the file goes is what the request says, whatever a field of that name does.
        let told = fields.field("bucket").filter(|told| *told != bucket);
        if told.is_some() {
            return Err(refused(
                "Policy Condition failed: the bucket is another one.",
            ));
        }
        let value = |field: &str| match field {
            "bucket" => bucket,
            field => fields.field(field).unwrap_or_default(),
        };
        for condition in &self.conditions {
            let (holds, operator, field, wanted) = match condition {
                Condition::Equals {
                    field,
                    value: wanted,
                } => (value(field) == wanted, "eq", field, wanted),
                Condition::StartsWith { field, prefix } => (
                    starts_with(field, value(field), prefix),
                    "starts-with",
                    field,
                    prefix,
                ),
                Condition::Length { .. } => continue,
            };
            if !holds {
                return Err(refused(&format!(
                    "Policy Condition failed: [\"{operator}\", \"${field}\", \"{wanted}\"]"
                )));
            }
        }
        let extra: Vec<&str> = fields
            .iter()
            .map(|(name, _)| name)
            .chain(["bucket", "key"])
            .filter(|name| {
                let of_signature =
                    matches!(*name, POLICY | SIGNATURE | ACCESS_KEY_ID_V2 | SIGNATURE_V2);
                !of_signature && !is_ignored(name)
            })
            .filter(|name| !self.covers(name))
            .collect();
        match extra.first() {
            Some(name) => Err(refused(&format!("Extra input fields: {name}"))),
            None => Ok(()),
        }
    }

    /// Holds the file's length against it.
    pub fn check_length(&self, length: u64) -> Result<()> {
        for condition in &self.conditions {
            let Condition::Length { min, max } = condition else {
                continue;
            };
            if length > *max {
                let message = "Your proposed upload exceeds the maximum allowed size";
                return Err(Error::new(Kind::BodyTooLarge, message));
            }
            if length < *min {
                let message = "Your proposed upload is smaller than the minimum allowed size";
                return Err(Error::new(Kind::BodyTooSmall, message));
            }
        }
        Ok(())
    }

    fn covers(&self, name: &str) -> bool {
        self.conditions.iter().any(|condition| match condition {
            Condition::Equals { field, .. } | Condition::StartsWith { field, .. } => field == name,
            Condition::Length { .. } => false,
        })
    }
}

/// Of content types, a list is allowed where each of them is.
fn starts_with(field: &str, value: &str, prefix: &str) -> bool {
    if field == "content-type" {
        return value
            .split(',')
            .all(|kind| kind.trim_start().starts_with(prefix));
    }
    value.starts_with(prefix)
}

fn condition(written: &Value) -> Result<Condition> {
    if let Value::Object(pairs) = written {
        let mut pairs = pairs.iter();
        return match (pairs.next(), pairs.next()) {
            (Some((field, Value::String(value))), None) => Ok(Condition::Equals {
                field: field.to_ascii_lowercase(),
                value: value.clone(),
            }),
            _ => Err(invalid(
                "simple conditions have exactly one property, a string",
            )),
        };
    }
    let Some([Value::String(operator), first, second]) = written.as_array().map(Vec::as_slice)
    else {
        return Err(invalid(
            "a condition is neither an object nor a list of three",
        ));
    };
    let operator = operator.to_ascii_lowercase();
    if operator == "content-length-range" {
        let (Some(min), Some(max)) = (length(first), length(second)) else {
            return Err(invalid("content-length-range needs two lengths"));
        };
        return Ok(Condition::Length { min, max });
    }
    let (Value::String(field), Value::String(value)) = (first, second) else {
        return Err(invalid("a condition's field and value are strings"));
    };
    let field = field
        .strip_prefix('$')
        .ok_or_else(|| invalid("a condition's field starts with $"))?
        .to_ascii_lowercase();
    let value = value.clone();
    match operator.as_str() {
        "eq" => Ok(Condition::Equals { field, value }),
        "starts-with" => Ok(Condition::StartsWith {
            field,
            prefix: value,
        }),
        _ => Err(invalid("a condition's operator is not known")),
    }
}

fn length(written: &Value) -> Option<u64> {
    match written {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Policies escape `$` as `\$` and vertical tabs as `\v`, which JSON does not know.
fn plain_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut escaped = false;
    for character in text.chars() {
        match (escaped, character) {
            (true, '$') => {
                out.pop();
                out.push('$');
            }
            (true, 'v') => out.push_str("u000b"),
            (_, other) => out.push(other),
        }
        escaped = character == '\\' && !escaped;
    }
    out
}

fn refused(why: &str) -> Error {
    Error::new(
        Kind::AccessDenied,
        format!("Invalid according to Policy: {why}"),
    )
    .with_detail("the form's policy does not allow it")
}

fn invalid(why: &'static str) -> Error {
    Error::new(Kind::InvalidPolicy, format!("Invalid Policy: {why}."))
}
