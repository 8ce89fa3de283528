//! Changing the text of a config file without touching what a person wrote around the change.
//!
//! Pure: text in, text out. A value that is replaced keeps the comment behind it.

use jiff::Timestamp;
use toml_edit::{
    Array, ArrayOfTables, Datetime, DocumentMut, Item, Table, TableLike, Value, value,
};
use uuid::Uuid;

use super::NewToken;

/// Fields of a key that prove its possession: gone once it is deleted.
const SECRET_FIELDS: [&str; 3] = ["secret", "secret_sha256", "public_key"];

/// What stands at the top of a file that we made.
const HEADER: &str = "# Made by Aqueduct; change it with `aqueduct key` or the admin API. \
                      The last line is a checksum over the rest.\n\n";

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EditError {
    #[error("the file is not valid TOML")]
    Syntax,
    #[error("no such key in this file")]
    NotFound,
    #[error("`{0}` is written in a form that cannot be edited")]
    Form(&'static str),
    #[error("there is an admin token of this name")]
    NameTaken,
}

/// A key to be written to a file of its own.
#[derive(Debug)]
pub(super) struct KeyEntry<'a> {
    pub(super) id: Uuid,
    pub(super) repository: &'a str,
    pub(super) family: &'a str,
    pub(super) name: &'a str,
    pub(super) access: Option<&'a str>,
    pub(super) write_only: bool,
    pub(super) key: &'a str,
    /// `secret` or `secret_sha256`, with its text: sealed or hashed, never plain.
    pub(super) secret: (&'static str, &'a str),
    pub(super) ai_type: Option<&'a str>,
    pub(super) restrict_to_type: bool,
    pub(super) created_at: Timestamp,
    pub(super) created_by: &'a str,
    pub(super) not_before: Option<Timestamp>,
    pub(super) expires_at: Option<Timestamp>,
    /// Lists by field name; empty ones are left out.
    pub(super) lists: [(&'static str, &'a [String]); 4],
}

/// The body of a new key file.
pub(super) fn key_file(entry: &KeyEntry<'_>) -> String {
    let mut table = Table::new();
    let mut text = |name: &str, text: &str| table.insert(name, value(text));
    text("id", &entry.id.to_string());
    text("repository", entry.repository);
    text("family", entry.family);
    text("name", entry.name);
    if let Some(access) = entry.access {
        text("access", access);
    }
    if let Some(ai_type) = entry.ai_type {
        text("ai_type", ai_type);
    }
    text("key", entry.key);
    text(entry.secret.0, entry.secret.1);
    text("created_by", entry.created_by);
    table.insert("created_at", time(entry.created_at));
    if entry.write_only {
        table.insert("write_only", value(true));
    }
    if entry.restrict_to_type {
        table.insert("restrict_to_type", value(true));
    }
    for (name, at) in [
        ("not_before", entry.not_before),
        ("expires_at", entry.expires_at),
    ] {
        if let Some(at) = at {
            table.insert(name, time(at));
        }
    }
    for (name, list) in entry.lists {
        if !list.is_empty() {
            table.insert(name, value(list.iter().collect::<Array>()));
        }
    }
    let mut tables = ArrayOfTables::new();
    tables.push(table);
    let mut document = DocumentMut::new();
    document.insert("key", Item::ArrayOfTables(tables));
    format!("{HEADER}{document}")
}

/// What to change of a key.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Change<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) access: Option<&'a str>,
}

/// The text with a key's fields changed.
pub(super) fn change(text: &str, id: Uuid, change: Change<'_>) -> Result<String, EditError> {
    edit(text, id, |table| {
        if let Some(name) = change.name {
            set(table, "name", name.into())?;
        }
        if let Some(access) = change.access {
            set(table, "access", access.into())?;
        }
        Ok(())
    })
}

/// The text with a key's entry kept as a record, and its secret gone.
pub(super) fn erase(text: &str, id: Uuid, now: Timestamp) -> Result<String, EditError> {
    edit(text, id, |table| {
        for field in SECRET_FIELDS {
            table.remove(field);
        }
        let Item::Value(at) = time(now) else {
            return Err(EditError::Form("deleted_at"));
        };
        set(table, "deleted_at", at)
    })
}

/// Where a key's entry begins in a file, if it is there: the line of its `[[key]]`, from 1.
pub(super) fn find(text: &str, id: Uuid) -> Result<Option<usize>, EditError> {
    let document = toml_edit::Document::parse(text).map_err(|_| EditError::Syntax)?;
    let line = |span: Option<std::ops::Range<usize>>| {
        let at = span.map_or(0, |span| span.start);
        text.get(..at).unwrap_or("").matches('\n').count() + 1
    };
    Ok(match document.get("key") {
        Some(Item::ArrayOfTables(tables)) => tables
            .iter()
            .find(|table| has_id(*table, id))
            .map(|table| line(table.span())),
        Some(Item::Value(Value::Array(array))) => array
            .iter()
            .filter_map(Value::as_inline_table)
            .find(|table| has_id(*table, id))
            .map(|table| line(table.span())),
        Some(_) | None => None,
    })
}

/// The text of `aqueduct.toml` with an admin token added.
pub(super) fn add_token(text: &str, token: &NewToken<'_>) -> Result<String, EditError> {
    let mut document: DocumentMut = text.parse().map_err(|_| EditError::Syntax)?;
    let admin = document
        .entry("admin")
        .or_insert_with(|| Item::Table(implicit_table()))
        .as_table_mut()
        .ok_or(EditError::Form("admin"))?;
    let tokens = admin
        .entry("token")
        .or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    match tokens {
        Item::ArrayOfTables(tables) => {
            let is_taken =
                |table: &Table| table.get("name").and_then(Item::as_str) == Some(token.name);
            if tables.iter().any(is_taken) {
                return Err(EditError::NameTaken);
            }
            tables.push(token_table(token));
        }
        Item::None | Item::Table(_) | Item::Value(_) => return Err(EditError::Form("admin.token")),
    }
    Ok(as_before(&document, text))
}

/// The lines of an admin token, for a person to add.
pub(super) fn token_lines(token: &NewToken<'_>) -> String {
    let mut tables = ArrayOfTables::new();
    tables.push(token_table(token));
    let mut admin = implicit_table();
    admin.insert("token", Item::ArrayOfTables(tables));
    let mut document = DocumentMut::new();
    document.insert("admin", Item::Table(admin));
    document.to_string()
}

fn token_table(token: &NewToken<'_>) -> Table {
    let mut table = Table::new();
    table.insert("name", value(token.name));
    table.insert("role", value(token.role));
    table.insert("token_sha256", value(token.digest));
    table
}

fn implicit_table() -> Table {
    let mut table = Table::new();
    table.set_implicit(true);
    table
}

fn edit(
    text: &str,
    id: Uuid,
    change: impl FnOnce(&mut dyn TableLike) -> Result<(), EditError>,
) -> Result<String, EditError> {
    let mut document: DocumentMut = text.parse().map_err(|_| EditError::Syntax)?;
    let table: &mut dyn TableLike = match document.get_mut("key") {
        Some(Item::ArrayOfTables(tables)) => tables
            .iter_mut()
            .find(|table| has_id(*table, id))
            .ok_or(EditError::NotFound)?,
        Some(Item::Value(Value::Array(array))) => array
            .iter_mut()
            .filter_map(Value::as_inline_table_mut)
            .find(|table| has_id(*table, id))
            .ok_or(EditError::NotFound)?,
        Some(_) | None => return Err(EditError::NotFound),
    };
    change(table)?;
    Ok(as_before(&document, text))
}

/// The document with the line ends and the byte order mark that its text had: parsing drops both.
fn as_before(document: &DocumentMut, before: &str) -> String {
    const MARK: char = '\u{feff}';
    let mut text = document.to_string();
    let ends = before.matches('\n').count();
    if ends > 0 && before.matches("\r\n").count() == ends {
        text = text.replace("\r\n", "\n").replace('\n', "\r\n");
    }
    if before.starts_with(MARK) && !text.starts_with(MARK) {
        text.insert(0, MARK);
    }
    text
}

fn has_id(table: &dyn TableLike, id: Uuid) -> bool {
    table
        .get("id")
        .and_then(Item::as_str)
        .and_then(|text| Uuid::try_parse(text).ok())
        == Some(id)
}

/// Sets a value; what stood around an older one stays.
fn set(table: &mut dyn TableLike, name: &'static str, new: Value) -> Result<(), EditError> {
    match table.get_mut(name) {
        Some(Item::Value(old)) => {
            let decor = old.decor().clone();
            *old = new;
            *old.decor_mut() = decor;
        }
        Some(Item::None) | None => {
            table.insert(name, Item::Value(new));
        }
        Some(Item::Table(_) | Item::ArrayOfTables(_)) => return Err(EditError::Form(name)),
    }
    Ok(())
}

/// A TOML date-time in whole seconds.
fn time(at: Timestamp) -> Item {
    let text = format!("{at:.0}");
    match text.parse::<Datetime>() {
        Ok(at) => value(at),
        // TOML's years have four digits: what does not fit is text, which the loader refuses.
        Err(_) => value(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Uuid = Uuid::from_u128(0x7d0c_9a52_3b0e_4a55_8d2e_1c4f_6f1a_9b77);

    const HUMAN: &str = r#"# Keys of the CI.
[[key]]   # the old one
id = "00000000-0000-4000-8000-000000000001"
name = 'Old'

# The new one.
[[key]]
id         = "7D0C9A52-3b0e-4a55-8d2e-1c4f6f1a9b77"
name       = "CI Bot"    # asked for by Ann
access     = "READ"  # never more
secret     = "sealed:v1:a:AAAA"
  x-note   = { team = "build" }   # kept

[[s3]]
name="assets"   # odd   spacing
"#;

    #[test]
    fn a_change_leaves_every_other_byte() {
        let changed = change(
            HUMAN,
            ID,
            Change {
                name: Some("CI \"Bot\" v2"),
                access: Some("WRITE"),
            },
        )
        .unwrap();
        let expected = HUMAN
            .replace("\"CI Bot\"    # asked", "'CI \"Bot\" v2'    # asked")
            .replace("\"READ\"  # never", "\"WRITE\"  # never");
        assert_eq!(changed, expected);
    }

    #[test]
    fn erasing_removes_the_secret_and_leaves_the_rest() {
        let at: Timestamp = "2026-11-21T01:59:08.5Z".parse().unwrap();
        let erased = erase(HUMAN, ID, at).unwrap();
        assert!(!erased.contains("sealed:v1"));
        let expected = HUMAN
            .replace("secret     = \"sealed:v1:a:AAAA\"\n", "")
            .replace(
                "}   # kept\n",
                "}   # kept\ndeleted_at = 2026-11-21T01:59:08Z\n",
            );
        assert_eq!(erased, expected);
    }

    #[test]
    fn a_missing_field_is_added_to_the_right_table() {
        let id = Uuid::from_u128(0x4000_8000_0000_0000_0001);
        let changed = change(
            HUMAN,
            id,
            Change {
                access: Some("ADMIN"),
                ..Change::default()
            },
        )
        .unwrap();
        assert_eq!(
            changed,
            HUMAN.replace("name = 'Old'\n", "name = 'Old'\naccess = \"ADMIN\"\n")
        );
    }

    #[test]
    fn inline_tables_are_edited_too() {
        let text =
            "key = [ { id = \"7d0c9a52-3b0e-4a55-8d2e-1c4f6f1a9b77\", name = \"a\" } ] # c\n";
        let changed = change(
            text,
            ID,
            Change {
                name: Some("b"),
                ..Change::default()
            },
        );
        assert_eq!(changed.unwrap(), text.replace("\"a\"", "\"b\""));
        assert_eq!(find(text, ID), Ok(Some(1)));
    }

    #[test]
    fn line_ends_and_byte_order_mark_stay_as_they_were() {
        let text = format!("\u{feff}{}", HUMAN.replace('\n', "\r\n"));
        let changed = change(
            &text,
            ID,
            Change {
                name: Some("new"),
                ..Change::default()
            },
        );
        assert_eq!(changed.unwrap(), text.replace("\"CI Bot\"", "\"new\""));
        let erased = erase(&text, ID, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(erased.matches('\n').count(), erased.matches("\r\n").count());
    }

    #[test]
    fn entries_are_found_by_their_line() {
        assert_eq!(find(HUMAN, ID), Ok(Some(7)));
        assert_eq!(find(HUMAN, Uuid::nil()), Ok(None));
        assert_eq!(find("key = 1", ID), Ok(None));
        assert_eq!(find("key = ", ID), Err(EditError::Syntax));
        assert_eq!(
            change("key = 1", ID, Change::default()),
            Err(EditError::NotFound)
        );
    }

    #[test]
    fn a_new_file_holds_exactly_what_was_asked_for() {
        let at: Timestamp = "2026-11-21T01:59:08Z".parse().unwrap();
        let buckets = ["a\"\n[[key]]".to_owned()];
        let text = key_file(&KeyEntry {
            id: ID,
            repository: "prod",
            family: "storage",
            name: "x\"\nsecret = \"y",
            access: Some("READ"),
            write_only: false,
            key: "AQDT",
            secret: ("secret", "sealed:v1:a:b"),
            ai_type: None,
            restrict_to_type: false,
            created_at: at,
            created_by: "ops",
            not_before: None,
            expires_at: Some(at),
            lists: [
                ("allow_ips", &[]),
                ("allow_buckets", &buckets),
                ("allow_prefixes", &[]),
                ("models", &[]),
            ],
        });
        let table: toml_edit::DocumentMut = text.parse().unwrap();
        let keys = table["key"].as_array_of_tables().unwrap();
        assert_eq!(keys.len(), 1);
        let key = keys.get(0).unwrap();
        assert_eq!(key["name"].as_str(), Some("x\"\nsecret = \"y"));
        assert_eq!(key["secret"].as_str(), Some("sealed:v1:a:b"));
        assert!(key["created_at"].is_datetime());
        assert_eq!(key["allow_buckets"][0].as_str(), Some("a\"\n[[key]]"));
        assert!(!key.contains_key("models"));
        assert!(!key.contains_key("write_only"));
    }

    #[test]
    fn tokens_are_added_and_comments_stay() {
        let text = "version = 1 # one\n\n[admin] # adm\nallow_hosts = [] # none\n\n\
                    [[admin.token]]\nname = \"a\" # ann\nrole = \"admin\"\ntoken_sha256 = \"sha256:1\"\n\n\
                    [limits] # l\n";
        let token = |name| NewToken {
            name,
            role: "viewer",
            digest: "sha256:2",
        };
        let added = add_token(text, &token("b")).unwrap();
        for line in text.lines() {
            assert!(added.contains(line), "{line}");
        }
        let document: DocumentMut = added.parse().unwrap();
        let tokens = document["admin"]["token"].as_array_of_tables().unwrap();
        assert_eq!(tokens.get(1).unwrap()["name"].as_str(), Some("b"));
        assert_eq!(add_token(text, &token("a")), Err(EditError::NameTaken));
        let fresh = add_token("version = 1\n", &token("b")).unwrap();
        assert_eq!(
            fresh,
            format!("version = 1\n\n{}", token_lines(&token("b")))
        );
    }
}
