//! XML documents: reading what clients send, translating what providers answer.
//!
//! A translated document keeps every byte that is not a name: it is walked as events, and only the text of the
//! elements that name a bucket or a key is replaced. Entries under the reserved prefix are left out.
//! No DTD is accepted, so there are no entities but XML's own five.

pub(super) mod policy;
mod translate;

use bytes::Bytes;

pub use translate::{Outcome, translate};

use super::names;
use super::route::RefusedEntry;
use crate::error::Result;
pub(super) use crate::message::xml::{
    DEPTH_MAX, Part, element_name, malformed, position, push_decoded, push_element, push_text, walk,
};

/// Keys in one batch delete.
const DELETE_ENTRIES_MAX: usize = 1000;
/// The parameter that errors about a bucket's policy name.
pub(super) const POLICY: &str = "policy";

/// A batch delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delete {
    pub quiet: bool,
    pub entries: Vec<DeleteEntry>,
}

/// One key of a batch delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteEntry {
    pub key: String,
    /// `VersionId` and the conditions, in the order given.
    pub others: Vec<(&'static str, String)>,
}

const DELETE_FIELDS: &[&str] = &["VersionId", "ETag", "LastModifiedTime", "Size"];

/// Parses a batch delete. Whatever it does not know is refused, since it might narrow the delete.
pub fn parse_delete(document: &[u8]) -> Result<Delete> {
    let text = std::str::from_utf8(document).map_err(|_| malformed())?;
    // No XML has it, and there is no way to write it again.
    if text.contains('\0') {
        return Err(malformed());
    }
    let mut delete = Delete::default();
    let mut entry: Option<(DeleteEntry, bool)> = None;
    walk(text, |node| {
        match (node.path, node.part) {
            (["Delete"] | ["Delete", "Quiet"], _) if entry.is_some() => return Err(malformed()),
            (["Delete"], _) => {}
            (["Delete", "Quiet"], Part::Open) => {}
            (["Delete", "Quiet"], Part::Close(text)) => {
                delete.quiet = match text.trim() {
                    "true" | "1" => true,
                    "false" | "0" | "" => false,
                    _ => return Err(malformed()),
                };
            }
            (["Delete", "Object"], Part::Open) => {
                if delete.entries.len() >= DELETE_ENTRIES_MAX {
                    return Err(malformed());
                }
                entry = Some((DeleteEntry::default(), false));
            }
            (["Delete", "Object"], Part::Close(_)) => match entry.take() {
                Some((entry, true)) => delete.entries.push(entry),
                Some((_, false)) | None => return Err(malformed()),
            },
            (["Delete", "Object", _], Part::Open) => {}
            (["Delete", "Object", "Key"], Part::Close(text)) => {
                let Some((entry, has_key)) = &mut entry else {
                    return Err(malformed());
                };
                if std::mem::replace(has_key, true) {
                    return Err(malformed());
                }
                if text.is_empty() {
                    return Err(malformed());
                }
                entry.key = text.into_owned();
            }
            (["Delete", "Object", field], Part::Close(text)) => {
                let known = DELETE_FIELDS.iter().find(|known| **known == *field);
                let (Some((entry, _)), Some(known)) = (&mut entry, known) else {
                    return Err(malformed());
                };
                if text.is_empty() || entry.others.iter().any(|(name, _)| name == known) {
                    return Err(malformed());
                }
                entry.others.push((known, text.into_owned()));
            }
            _ => return Err(malformed()),
        }
        Ok(())
    })?;
    if delete.entries.is_empty() {
        return Err(malformed());
    }
    Ok(delete)
}

/// Writes a batch delete with `prefix` put before every key.
pub fn write_delete(delete: &Delete, prefix: &str) -> Bytes {
    let mut out = format!("<Delete xmlns=\"{}\">", names::XML_NAMESPACE);
    for entry in &delete.entries {
        out.push_str("<Object><Key>");
        push_text(&mut out, prefix);
        push_text(&mut out, &entry.key);
        out.push_str("</Key>");
        for (name, value) in &entry.others {
            push_element(&mut out, name, value);
        }
        out.push_str("</Object>");
    }
    if delete.quiet {
        out.push_str("<Quiet>true</Quiet>");
    }
    out.push_str("</Delete>");
    out.into()
}

/// The answer to a batch delete of which nothing is carried out.
pub fn delete_result(refused: &[RefusedEntry]) -> Bytes {
    let mut out = document("DeleteResult");
    push_refused(&mut out, refused);
    out.push_str("</DeleteResult>");
    out.into()
}

/// What the answer to a batch delete says of entries that were not carried out, quiet or not.
pub(super) fn push_refused(out: &mut String, refused: &[RefusedEntry]) {
    for RefusedEntry { entry, failure } in refused {
        out.push_str("<Error>");
        push_element(out, "Key", &entry.key);
        for (name, value) in entry.others.iter().filter(|(name, _)| *name == "VersionId") {
            push_element(out, name, value);
        }
        push_element(out, "Code", &failure.code);
        push_element(out, "Message", &failure.message);
        out.push_str("</Error>");
    }
}

/// The declaration and the open root of a document of ours.
pub(super) fn document(root: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root} xmlns=\"{}\">",
        names::XML_NAMESPACE
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_deletes_are_read_whole_or_not_at_all() {
        let entry = |key: &str| DeleteEntry {
            key: key.into(),
            others: Vec::new(),
        };
        for (document, expected) in [
            (
                "<Delete><Object><Key>a</Key></Object></Delete>",
                Some(vec![entry("a")]),
            ),
            (
                "<?xml version='1.0'?>\n<Delete xmlns='x'>\n <Object><Key> a&amp;&#x1;<![CDATA[<b>]]></Key></Object>\n</Delete>",
                Some(vec![entry(" a&\u{1}<b>")]),
            ),
            (
                "<n:Delete><n:Object><n:Key>//a/../x</n:Key></n:Object></n:Delete>",
                Some(vec![entry("//a/../x")]),
            ),
            ("<Delete></Delete>", None),
            (
                "<Delete><Object><Key>a</Key><ETag>\0</ETag></Object></Delete>",
                None,
            ),
            ("<Delete><Object></Object></Delete>", None),
            (
                "<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>",
                None,
            ),
            (
                "<Delete><Object><Key>a</Key><Only/></Object></Delete>",
                None,
            ),
            (
                "<Delete><Object><Key>a</Key><VersionId/></Object></Delete>",
                None,
            ),
            ("<Delete><Object><Key>a<b/></Key></Object></Delete>", None),
            ("<Delete><Key>a</Key></Delete>", None),
            ("<Delete><Object><Key>a</Key></Object>", None),
            (
                "<Delete><Object><Key>a</Key></Object></Delete><Delete/>",
                None,
            ),
            (
                "<!DOCTYPE Delete [<!ENTITY e 'x'>]><Delete><Object><Key>&e;</Key></Object></Delete>",
                None,
            ),
            ("<Delete><Object><Key>&e;</Key></Object></Delete>", None),
            ("", None),
        ] {
            let parsed = parse_delete(document.as_bytes());
            assert_eq!(
                parsed.ok().map(|delete| delete.entries),
                expected,
                "{document}"
            );
        }
    }

    #[test]
    fn a_thousand_keys_is_the_most() {
        let document = |count: usize| {
            let objects = "<Object><Key>k</Key></Object>".repeat(count);
            format!("<Delete>{objects}</Delete>")
        };
        assert!(parse_delete(document(1000).as_bytes()).is_ok());
        assert!(parse_delete(document(1001).as_bytes()).is_err());
    }

    #[test]
    fn a_written_batch_delete_reads_back() {
        let delete = Delete {
            quiet: true,
            entries: vec![
                DeleteEntry {
                    key: "a<&>\u{1}\r\n\t \u{1F980}".into(),
                    others: vec![("VersionId", "v1".into()), ("ETag", "\"e\"".into())],
                },
                DeleteEntry {
                    key: "b".into(),
                    others: Vec::new(),
                },
            ],
        };
        assert_eq!(parse_delete(&write_delete(&delete, "")).unwrap(), delete);
        let prefixed = parse_delete(&write_delete(&delete, "p&/")).unwrap();
        assert_eq!(prefixed.entries[1].key, "p&/b");
    }
}
