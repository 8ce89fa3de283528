//! Finding what is sealed in the text of a config file, and putting other sealed texts in their places.
//!
//! Pure: text in, text out. Nothing but the sealed texts themselves changes, to the byte.

use std::ops::Range;

use toml_edit::{Item, TableLike, Value};
use uuid::Uuid;

use super::edit::EditError;
use crate::keys::seal;

const MARK: char = '\u{feff}';

/// Whose a sealed text is, by what stands around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Key {
        repository: String,
        id: Uuid,
    },
    Resource {
        name: String,
        field: String,
    },
    /// Nothing that is sealed belongs here.
    Nobody,
}

/// A sealed text in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) owner: Owner,
    pub(super) text: String,
    /// From 1.
    pub(super) line: usize,
    /// Of the text itself, without its quotes.
    span: Range<usize>,
}

/// Everything sealed in a file, from top to bottom.
pub(super) fn find(text: &str) -> Result<Vec<Sealed>, EditError> {
    let bare = text.strip_prefix(MARK).unwrap_or(text);
    let document = toml_edit::Document::parse(bare).map_err(|_| EditError::Syntax)?;
    let mut finder = Finder {
        text,
        offset: text.len() - bare.len(),
        found: Vec::new(),
    };
    for (section, item) in document.iter() {
        finder.section(section, item)?;
    }
    let mut found = finder.found;
    found.sort_by_key(|sealed| sealed.span.start);
    Ok(found)
}

/// The text with each of these replaced.
pub(super) fn replace(text: &str, by: &[(&Sealed, String)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = 0;
    for (sealed, new) in by {
        out.push_str(text.get(rest..sealed.span.start).unwrap_or_default());
        out.push_str(new);
        rest = sealed.span.end;
    }
    out.push_str(text.get(rest..).unwrap_or_default());
    out
}

struct Finder<'t> {
    text: &'t str,
    /// Of what was parsed in the text.
    offset: usize,
    found: Vec<Sealed>,
}

impl Finder<'_> {
    fn section(&mut self, section: &str, item: &Item) -> Result<(), EditError> {
        match item {
            Item::ArrayOfTables(tables) => {
                for table in tables {
                    self.entry(section, table)?;
                }
            }
            Item::Value(Value::Array(array)) => {
                for value in array {
                    match value.as_inline_table() {
                        Some(table) => self.entry(section, table)?,
                        None => self.value(&Owner::Nobody, value)?,
                    }
                }
            }
            Item::None | Item::Table(_) | Item::Value(_) => self.item(&Owner::Nobody, item)?,
        }
        Ok(())
    }

    /// One key or one resource.
    fn entry(&mut self, section: &str, table: &dyn TableLike) -> Result<(), EditError> {
        let text = |name: &str| table.get(name).and_then(Item::as_str);
        for (field, item) in table.iter() {
            let owner = match section {
                "key" if field == "secret" => {
                    let id = text("id").and_then(|id| Uuid::try_parse(id).ok());
                    match (text("repository"), id) {
                        (Some(repository), Some(id)) => Owner::Key {
                            repository: repository.to_owned(),
                            id,
                        },
                        (_, _) => Owner::Nobody,
                    }
                }
                "s3" | "gcs" | "azure" | "ai" => match text("name") {
                    Some(name) => Owner::Resource {
                        name: name.to_owned(),
                        field: field.to_owned(),
                    },
                    None => Owner::Nobody,
                },
                _ => Owner::Nobody,
            };
            self.item(&owner, item)?;
        }
        Ok(())
    }

    fn item(&mut self, owner: &Owner, item: &Item) -> Result<(), EditError> {
        match item {
            Item::None => Ok(()),
            Item::Value(value) => self.value(owner, value),
            Item::Table(table) => table
                .iter()
                .try_for_each(|(_, item)| self.item(&Owner::Nobody, item)),
            Item::ArrayOfTables(tables) => tables
                .iter()
                .flat_map(|table| table.iter())
                .try_for_each(|(_, item)| self.item(&Owner::Nobody, item)),
        }
    }

    fn value(&mut self, owner: &Owner, value: &Value) -> Result<(), EditError> {
        match value {
            Value::String(string) => {
                let text = string.value();
                if !text.starts_with(seal::PREFIX) {
                    return Ok(());
                }
                let span = self
                    .span(text, value.span())
                    .ok_or(EditError::Form("sealed"))?;
                let before = self.text.get(..span.start).unwrap_or_default();
                self.found.push(Sealed {
                    owner: owner.clone(),
                    text: text.clone(),
                    line: before.matches('\n').count() + 1,
                    span,
                });
                Ok(())
            }
            Value::Array(array) => array
                .iter()
                .try_for_each(|value| self.value(&Owner::Nobody, value)),
            Value::InlineTable(table) => table
                .iter()
                .try_for_each(|(_, value)| self.value(&Owner::Nobody, value)),
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => Ok(()),
        }
    }

    /// Where `sealed` stands within its quotes; `None` where it is written with escapes.
    fn span(&self, sealed: &str, quoted: Option<Range<usize>>) -> Option<Range<usize>> {
        let quoted = quoted?;
        let start = quoted.start + self.offset;
        let written = self.text.get(start..quoted.end + self.offset)?;
        let at = start + written.find(sealed)?;
        Some(at..at + sealed.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# sealed:v1:a:COMMENT
[[s3]]
name="assets" # odd
secret_access_key   =  'sealed:v1:a:ONE'   # kept sealed:v1:a:ONE
session_token = """sealed:v1:b:TWO"""

[[key]]
id = "7d0c9a52-3b0e-4a55-8d2e-1c4f6f1a9b77"
name = "sealed things"
repository = "prod"
secret = "sealed:v1:a:ONE"

[x-note]
old = ["sealed:v1:a:THREE"]
"#;

    #[test]
    fn each_sealed_text_is_found_with_its_owner() {
        let found = find(TEXT).unwrap();
        let resource = |field: &str| Owner::Resource {
            name: "assets".into(),
            field: field.into(),
        };
        let key = Owner::Key {
            repository: "prod".into(),
            id: Uuid::from_u128(0x7d0c_9a52_3b0e_4a55_8d2e_1c4f_6f1a_9b77),
        };
        let seen: Vec<_> = found
            .iter()
            .map(|sealed| (sealed.line, sealed.text.as_str(), sealed.owner.clone()))
            .collect();
        assert_eq!(
            seen,
            [
                (4, "sealed:v1:a:ONE", resource("secret_access_key")),
                (5, "sealed:v1:b:TWO", resource("session_token")),
                (11, "sealed:v1:a:ONE", key),
                (14, "sealed:v1:a:THREE", Owner::Nobody),
            ]
        );
        let inline = "ai = [{ name = \"m\", api_key = \"sealed:v1:a:X\" }]\n";
        let field = "api_key".to_owned();
        let name = "m".to_owned();
        assert_eq!(
            find(inline).unwrap()[0].owner,
            Owner::Resource { name, field }
        );
    }

    #[test]
    fn nothing_else_changes() {
        for text in [
            TEXT.to_owned(),
            format!("\u{feff}{}", TEXT.replace('\n', "\r\n")),
        ] {
            let found = find(&text).unwrap();
            let by: Vec<_> = [&found[0], &found[2]]
                .map(|sealed| (sealed, "sealed:v1:c:LONGER".to_owned()))
                .into();
            let expected = text
                .replace("'sealed:v1:a:ONE'", "'sealed:v1:c:LONGER'")
                .replace("\"sealed:v1:a:ONE\"", "\"sealed:v1:c:LONGER\"");
            assert_eq!(replace(&text, &by), expected);
        }
    }

    #[test]
    fn what_is_written_in_another_way_is_refused() {
        let escaped = r#"x = "\u0073ealed:v1:a:X""#;
        assert_eq!(find(escaped), Err(EditError::Form("sealed")));
        assert_eq!(find("x = "), Err(EditError::Syntax));
        assert_eq!(find("x = 1"), Ok(Vec::new()));
    }
}
