//! Parameters of a query, as clients of this API send them.

use uuid::Uuid;

use crate::message::escape::{self, Plus};

/// The values of one parameter: comma-joined, maybe escaped. What clients send for "none" is none.
pub(super) fn values(query: &str, name: &str) -> Vec<String> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(key, _)| *key == name)
        .flat_map(|(_, value)| {
            let decoded = escape::decode(value.as_bytes(), Plus::Space);
            let decoded = decoded.unwrap_or(value.as_bytes().into());
            let text = String::from_utf8_lossy(&decoded);
            text.split(',').map(str::to_owned).collect::<Vec<_>>()
        })
        .filter(|value| !matches!(value.as_str(), "" | "undefined" | "null"))
        .collect()
}

/// The same for ids: uuids in their usual form.
pub(super) fn ids(query: &str, name: &str) -> Vec<String> {
    let values = values(query, name).into_iter();
    values
        .map(|id| Uuid::try_parse(&id).map_or(id, |id| id.to_string()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_joined_by_commas_and_may_be_escaped() {
        let id = "0B6F3C1E-6F0E-4D57-9A63-0D6F8A4F3F10";
        for (query, expected) in [
            ("", vec![]),
            ("b=x", vec![]),
            ("a=undefined&a=null&a=", vec![]),
            ("a=x", vec!["x"]),
            ("a=x%2Cy,z&b=w&a=v", vec!["x", "y", "z", "v"]),
            ("a=claude%3A1+%C3%A4", vec!["claude:1 ä"]),
            ("a=%zz", vec!["%zz"]),
        ] {
            assert_eq!(values(query, "a"), expected, "{query}");
        }
        assert_eq!(ids(&format!("a={id}%2cq"), "a"), [&*id.to_lowercase(), "q"]);
    }
}
