//! One file's text to a [`Document`], with every problem of it.
//!
//! A file is read once when it is good. When it is not, it is read again slowly: whatever a table is refused for is
//! reported, taken out, and the table is tried again, so that one mistake does not hide the next.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::diagnostic::{Place, Problem, Severity, nearest};
use super::mask;
use super::model::{File, Section};
use crate::keys;

/// Mistakes looked for in one table before giving up on it.
const MISTAKES_MAX: usize = 32;

/// Where in the config directory a file stands, which decides what it may hold and what its problems stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `aqueduct.toml`.
    Root,
    /// Under `conf.d` or `managed.d`.
    Part,
    /// Under `keys.d`: checksummed, and its problems stop nothing but itself.
    Keys,
}

/// A parsed file.
#[derive(Debug)]
pub struct Document {
    pub path: PathBuf,
    pub role: Role,
    pub file: File,
    /// Names of things that could not be read: a reference to one is not reported again.
    pub broken: Vec<String>,
    /// Kept for places, except for key files: there may be 100,000 of them.
    text: Option<Arc<str>>,
}

impl Document {
    /// Where `span` of this file is.
    pub fn place(&self, span: Range<usize>) -> Place {
        match &self.text {
            Some(text) => Place::at(&self.path, text, span),
            // Read again, for a report only. A file that changed meanwhile gives a wrong line, never a wrong result.
            None => match std::fs::read_to_string(&self.path) {
                Ok(text) => Place::at(&self.path, &text, span),
                Err(_) => Place::file(&self.path),
            },
        }
    }

    /// How far a problem in this file reaches.
    pub fn severity(&self) -> Severity {
        match self.role {
            Role::Root | Role::Part => Severity::Error,
            Role::Keys => Severity::Key,
        }
    }
}

/// Parses `text`. The document holds what could be read; with errors among the problems it must not be used as
/// if it were whole.
pub fn document(path: &Path, role: Role, text: &str) -> (Document, Vec<Problem>) {
    let mut reader = Reader {
        path,
        role,
        text,
        mode: Mode::Quick,
        file: File::default(),
        broken: Vec::new(),
        problems: Vec::new(),
    };
    reader.read();
    let document = Document {
        path: path.to_owned(),
        role,
        file: reader.file,
        broken: reader.broken,
        text: (role != Role::Keys).then(|| Arc::from(text)),
    };
    (document, reader.problems)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Stop at the first mistake.
    Quick,
    /// Find them all.
    Diagnose,
}

struct Reader<'t> {
    path: &'t Path,
    role: Role,
    text: &'t str,
    mode: Mode,
    file: File,
    broken: Vec<String>,
    problems: Vec<Problem>,
}

/// The first mistake of a file, in quick mode.
struct Mistake;

impl<'t> Reader<'t> {
    fn read(&mut self) {
        if self.role == Role::Keys
            && let Err(error) = keys::file::verify(self.text)
        {
            let end = self.text.trim_end().len();
            let start = self.text[..end].rfind('\n').map_or(0, |at| at + 1);
            self.problem("E008", start..end, error.to_string());
            return;
        }
        let (table, errors) = DeTable::parse_recoverable(self.text);
        if errors.is_empty() {
            if self.tables(table.into_inner()).is_ok() {
                return;
            }
            let (table, _) = DeTable::parse_recoverable(self.text);
            self.mode = Mode::Diagnose;
            self.file = File::default();
            // In this mode mistakes are gathered and never returned.
            let _: Result<(), Mistake> = self.tables(table.into_inner());
            return;
        }
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            self.problem("E001", span, format!("syntax: {}", error.message()));
        }
    }

    fn problem(&mut self, code: &'static str, span: Range<usize>, message: String) -> &mut Problem {
        let severity = match self.role {
            Role::Root | Role::Part => Severity::Error,
            Role::Keys => Severity::Key,
        };
        let place = Place::at(self.path, self.text, span);
        let at = self.problems.len();
        self.problems
            .push(Problem::new(severity, code, place, message));
        &mut self.problems[at]
    }

    fn tables(&mut self, table: DeTable<'t>) -> Result<(), Mistake> {
        for (name, mut value) in table {
            let span = name.span();
            let name = name.into_inner();
            if name.starts_with("x-") {
                continue;
            }
            drop_extensions(value.get_mut());
            if self.part(&name, value)? {
                continue;
            }
            if self.mode == Mode::Quick {
                return Err(Mistake);
            }
            self.unknown_section(&name, span);
        }
        Ok(())
    }

    /// Reads a top-level entry; `false` if there is no such thing or not here.
    fn part(&mut self, name: &str, value: Spanned<DeValue<'t>>) -> Result<bool, Mistake> {
        match name {
            "s3" => self.file.s3 = self.list(value)?,
            "gcs" => self.file.gcs = self.list(value)?,
            "azure" => self.file.azure = self.list(value)?,
            "ai" => self.file.ai = self.list(value)?,
            "repository" => self.file.repository = self.list(value)?,
            "key" => self.file.key = self.list(value)?,
            _ if self.role != Role::Root => return Ok(false),
            "version" => {
                let version = Spanned::<i64>::deserialize_from(value.clone());
                match version {
                    Ok(version) => self.file.root.version = Some(version),
                    Err(_) => self.wrong_form("version", value.span(), "must be a number")?,
                }
            }
            "process" => self.file.root.process = self.one(value)?,
            "listen" => self.file.root.listen = self.one(value)?,
            "tls" => self.file.root.tls = self.one(value)?,
            "cors" => self.file.root.cors = self.one(value)?,
            "admin" => self.file.root.admin = self.one(value)?,
            "secrets" => self.file.root.secrets = self.one(value)?,
            "limits" => self.file.root.limits = self.one(value)?,
            "metrics" => self.file.root.metrics = self.one(value)?,
            "log" => self.file.root.log = self.one(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn unknown_section(&mut self, name: &str, span: Range<usize>) {
        if self.role != Role::Root && ROOT_SECTIONS.contains(&name) {
            let message = format!("`{name}` is a setting of the process");
            self.problem("E006", span, message).hint =
                Some("move it to aqueduct.toml; other files hold workload only".into());
            return;
        }
        let known = PART_SECTIONS.iter().chain(match self.role {
            Role::Root => ROOT_SECTIONS,
            Role::Part | Role::Keys => &[],
        });
        let near = nearest(name, known.copied()).map(|near| format!("did you mean `{near}`?"));
        self.problem("E002", span, format!("unknown table `{name}`"))
            .hint = near;
    }

    fn wrong_form(&mut self, name: &str, span: Range<usize>, message: &str) -> Result<(), Mistake> {
        if self.mode == Mode::Quick {
            return Err(Mistake);
        }
        self.problem("E005", span, format!("`{name}`: {message}"));
        Ok(())
    }

    fn list<T: Section + DeserializeOwned>(
        &mut self,
        value: Spanned<DeValue<'t>>,
    ) -> Result<Vec<Arc<T>>, Mistake> {
        let span = value.span();
        let DeValue::Array(elements) = value.into_inner() else {
            let header = T::HEADER;
            let name = header.trim_matches(['[', ']']);
            self.wrong_form(name, span, &format!("write `{header}`, one for each"))?;
            return Ok(Vec::new());
        };
        let mut read = Vec::with_capacity(elements.len());
        for element in elements {
            if let Some(one) = self.one::<T>(element)? {
                read.push(Arc::new(one));
            }
        }
        Ok(read)
    }

    fn one<T: Section + DeserializeOwned>(
        &mut self,
        value: Spanned<DeValue<'t>>,
    ) -> Result<Option<T>, Mistake> {
        if self.mode == Mode::Quick {
            let read = T::deserialize(ValueDeserializer::from(value));
            return read.map(Some).map_err(|_| Mistake);
        }
        Ok(self.diagnose(value))
    }

    /// Reports everything that is wrong with a table, and gives what is left of it if that is enough.
    fn diagnose<T: Section + DeserializeOwned>(
        &mut self,
        mut value: Spanned<DeValue<'t>>,
    ) -> Option<T> {
        let name = written_name(value.get_ref());
        let missing = self.report_missing::<T>(&value);
        let mut taken: Vec<String> = Vec::new();
        for _ in 0..MISTAKES_MAX {
            let error = match T::deserialize(ValueDeserializer::from(value.clone())) {
                Ok(read) => {
                    if !taken.is_empty() {
                        self.broken.extend(name);
                    }
                    return Some(read);
                }
                Err(error) => error,
            };
            let span = error.span().unwrap_or_else(|| value.span());
            let message = error.message().trim().to_owned();
            let lacks = |field: &str| message == format!("missing field `{field}`");
            if missing.iter().any(|field| lacks(field)) {
                break;
            }
            // What was taken out for its own mistake is not missing as well.
            let is_known = taken.iter().any(|field| lacks(field));
            if is_known && span == value.span() {
                break;
            }
            let culprit = take_out(value.get_mut(), &span);
            if !is_known {
                self.report_mistake(&message, span, culprit.as_deref());
            }
            match culprit {
                Some(culprit) => taken.push(culprit),
                None => break,
            }
        }
        self.broken.extend(name);
        None
    }

    fn report_missing<T: Section>(&mut self, value: &Spanned<DeValue<'t>>) -> Vec<&'static str> {
        let DeValue::Table(table) = value.get_ref() else {
            return Vec::new();
        };
        let missing: Vec<&'static str> = T::FIELDS
            .iter()
            .filter(|field| field.required && !table.contains_key(bare(field.name)))
            .map(|field| bare(field.name))
            .collect();
        for field in &missing {
            let message = format!("{} lacks `{field}`", T::HEADER);
            self.problem("E004", value.span(), message);
        }
        missing
    }

    fn report_mistake(&mut self, message: &str, span: Range<usize>, culprit: Option<&str>) {
        if let Some(field) = message.strip_prefix("unknown field ") {
            let (field, known) = field.split_once(", ").unwrap_or((field, ""));
            let field = field.trim_matches('`');
            let known: Vec<&str> = known.split('`').skip(1).step_by(2).map(bare).collect();
            let hint = match nearest(field, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", known.join(", ")),
            };
            self.problem("E003", span, format!("unknown field `{field}`"))
                .hint = Some(hint);
            return;
        }
        if let Some(field) = message.strip_prefix("missing field ") {
            self.problem("E004", span, format!("this lacks {field}"));
            return;
        }
        // Messages about values quote them, so they are kept to fields that hold no secret.
        let message = match culprit {
            Some(field) if mask::is_public(field) => format!("`{field}`: {message}"),
            Some(field) => format!("`{field}`: the value has the wrong type"),
            None => "the table has the wrong form".to_owned(),
        };
        self.problem("E005", span, message);
    }
}

const PART_SECTIONS: &[&str] = &["s3", "gcs", "azure", "ai", "repository", "key"];

const ROOT_SECTIONS: &[&str] = &[
    "version", "process", "listen", "tls", "cors", "admin", "secrets", "limits", "metrics", "log",
];

/// A field's name without the mark of a raw identifier.
fn bare(name: &str) -> &str {
    name.trim_start_matches("r#")
}

trait DeserializeFrom: Sized {
    fn deserialize_from(value: Spanned<DeValue<'_>>) -> Result<Self, toml::de::Error>;
}

impl<T: DeserializeOwned> DeserializeFrom for T {
    fn deserialize_from(value: Spanned<DeValue<'_>>) -> Result<Self, toml::de::Error> {
        T::deserialize(ValueDeserializer::from(value))
    }
}

fn written_name(value: &DeValue<'_>) -> Option<String> {
    let DeValue::Table(table) = value else {
        return None;
    };
    match table.get("name")?.get_ref() {
        DeValue::String(name) => Some(name.to_string()),
        DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => None,
    }
}

/// Drops `x-...` entries at every depth.
fn drop_extensions(value: &mut DeValue<'_>) {
    match value {
        DeValue::Table(table) => {
            let extensions: Vec<String> = table
                .keys()
                .filter(|name| name.get_ref().starts_with("x-"))
                .map(|name| name.get_ref().to_string())
                .collect();
            for name in extensions {
                table.remove(name.as_str());
            }
            for (_, value) in table.iter_mut() {
                drop_extensions(value.get_mut());
            }
        }
        DeValue::Array(array) => {
            for value in array.iter_mut() {
                drop_extensions(value.get_mut());
            }
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => {}
    }
}

/// Removes the entry that an error at `span` is about, and names it: the entry whose name or value it is, else the
/// innermost one around it. An element of a list has no name.
fn take_out(value: &mut DeValue<'_>, span: &Range<usize>) -> Option<String> {
    take_out_where(value, &|name, value| name == span || value == span).or_else(|| {
        take_out_where(value, &|_, value| {
            value.start <= span.start && span.end <= value.end
        })
    })
}

fn take_out_where(
    value: &mut DeValue<'_>,
    is_it: &dyn Fn(&Range<usize>, &Range<usize>) -> bool,
) -> Option<String> {
    match value {
        DeValue::Table(table) => {
            for (outer, inner) in table.iter_mut() {
                if let Some(name) = take_out_where(inner.get_mut(), is_it) {
                    let is_element = name.is_empty();
                    return Some(if is_element {
                        outer.get_ref().to_string()
                    } else {
                        name
                    });
                }
            }
            let name = table
                .iter()
                .find(|(name, value)| is_it(&name.span(), &value.span()))
                .map(|(name, _)| name.get_ref().to_string())?;
            table.remove(name.as_str());
            Some(name)
        }
        DeValue::Array(array) => {
            let inner = array
                .iter_mut()
                .find_map(|inner| take_out_where(inner.get_mut(), is_it));
            if inner.is_some() {
                return inner;
            }
            let at = array
                .iter()
                .position(|element| is_it(&element.span(), &element.span()))?;
            let elements = std::mem::replace(array, std::iter::empty().collect())
                .into_iter()
                .enumerate();
            *array = elements
                .filter(|(index, _)| *index != at)
                .map(|(_, element)| element)
                .collect();
            Some(String::new())
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => None,
    }
}
