//! The whole set against the rules: names, references, collisions, and what this version serves.
//!
//! Takes what was parsed, changes nothing, and reports everything. What passes is given on as [`Checked`]: the
//! same written values, arranged by name, of which compilation may assume that they hold. A key of `keys.d` that
//! does not pass is left out and stops nothing else.

mod credentials;
mod keys;
pub(in crate::config) mod process;
mod repositories;
mod resources;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;

use super::diagnostic::{Problem, Severity};
use super::model::{self, File, Root};
use super::parse::{Document, Role};
use super::secrets::SecretRef;
use super::source::SourceSet;
use crate::keys::seal::MasterRing;

/// What passed.
#[derive(Debug)]
pub struct Checked<'s> {
    pub root: At<'s, Root>,
    /// By name.
    pub resources: HashMap<&'s str, Resource<'s>>,
    pub repositories: Vec<At<'s, Arc<model::Repository>>>,
    /// Neither refused nor deleted.
    pub keys: Vec<At<'s, Arc<model::Key>>>,
}

/// Something written, and the file it is in.
#[derive(Debug)]
pub struct At<'s, T> {
    pub document: &'s Document,
    pub written: &'s T,
}

impl<T> Clone for At<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for At<'_, T> {}

/// A resource of any kind.
#[derive(Clone, Copy, Debug)]
pub enum Resource<'s> {
    S3(At<'s, Arc<model::S3>>),
    Gcs(At<'s, Arc<model::Gcs>>),
    Azure(At<'s, Arc<model::Azure>>),
    Ai(At<'s, Arc<model::Ai>>),
}

impl<'s> Resource<'s> {
    pub fn document(self) -> &'s Document {
        match self {
            Self::S3(at) => at.document,
            Self::Gcs(at) => at.document,
            Self::Azure(at) => at.document,
            Self::Ai(at) => at.document,
        }
    }

    pub fn name(self) -> &'s Spanned<String> {
        match self {
            Self::S3(at) => &at.written.name,
            Self::Gcs(at) => &at.written.name,
            Self::Azure(at) => &at.written.name,
            Self::Ai(at) => &at.written.name,
        }
    }

    /// The upstream's own name of the bucket or container.
    pub fn bucket(self) -> Option<&'s Spanned<String>> {
        match self {
            Self::S3(at) => Some(&at.written.bucket),
            Self::Gcs(at) => Some(&at.written.bucket),
            Self::Azure(at) => Some(&at.written.container),
            Self::Ai(_) => None,
        }
    }

    /// What makes two resources the same place.
    fn location(self) -> String {
        match self {
            Self::S3(at) => {
                let endpoint = at
                    .written
                    .endpoint
                    .as_ref()
                    .map_or("aws", |url| url.get_ref().as_str());
                format!("s3 {endpoint} {}", at.written.bucket.get_ref())
            }
            Self::Gcs(at) => {
                let endpoint = at.written.endpoint.as_ref();
                let endpoint = endpoint.map_or("google", |url| url.get_ref().as_str());
                format!("gcs {endpoint} {}", at.written.bucket.get_ref())
            }
            Self::Azure(at) => {
                let endpoint = at.written.endpoint.as_ref();
                let endpoint = endpoint.map_or("azure", |url| url.get_ref().as_str());
                let account = at.written.account.get_ref();
                format!(
                    "azure {endpoint} {account} {}",
                    at.written.container.get_ref()
                )
            }
            Self::Ai(at) => format!("ai {}", at.written.name.get_ref()),
        }
    }
}

/// Checks `set`. The problems do not include those of reading and parsing, which are in the set.
pub fn check(set: &SourceSet) -> (Option<Checked<'_>>, Vec<Problem>) {
    let mut cx = Cx::new(set);
    let Some(root) = cx.root() else {
        return (None, cx.problems);
    };
    process::check(&mut cx, root);
    let resources = resources::check(&mut cx);
    let repositories = repositories::check(&mut cx, &resources);
    let keys = keys::check(&mut cx, &repositories, &resources);
    let checked = Checked {
        root,
        resources,
        repositories,
        keys,
    };
    (Some(checked), cx.problems)
}

/// What all checks share.
struct Cx<'s> {
    documents: &'s [Arc<Document>],
    problems: Vec<Problem>,
    plaintext_allowed: bool,
}

impl<'s> Cx<'s> {
    fn new(set: &'s SourceSet) -> Self {
        let plaintext_allowed = set.documents.iter().any(|document| {
            let process = document.file.root.process.as_ref();
            process.is_some_and(|process| process.allow_plaintext_secrets == Some(true))
        });
        Self {
            documents: &set.documents,
            problems: Vec::new(),
            plaintext_allowed,
        }
    }

    fn root(&self) -> Option<At<'s, Root>> {
        self.documents
            .iter()
            .find(|document| document.role == Role::Root)
            .map(|document| At {
                document,
                written: &document.file.root,
            })
    }

    /// All of one kind, in the order of files and lines.
    fn all<T>(&self, list: fn(&'s File) -> &'s [T]) -> Vec<At<'s, T>> {
        let mut all = Vec::new();
        for document in self.documents {
            let document: &'s Document = document;
            let each = list(&document.file).iter();
            all.extend(each.map(|written| At { document, written }));
        }
        all
    }

    fn error(
        &mut self,
        document: &Document,
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
    ) -> &mut Problem {
        let problem = Problem::new(document.severity(), code, document.place(span), message);
        self.push(problem)
    }

    fn warn(
        &mut self,
        document: &Document,
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
    ) -> &mut Problem {
        let problem = Problem::new(Severity::Warning, code, document.place(span), message);
        self.push(problem)
    }

    fn push(&mut self, problem: Problem) -> &mut Problem {
        let at = self.problems.len();
        self.problems.push(problem);
        &mut self.problems[at]
    }

    /// Whether something of this name could not be read, which was reported already.
    fn is_broken(&self, name: &str) -> bool {
        self.documents
            .iter()
            .any(|document| document.broken.iter().any(|broken| broken == name))
    }

    /// Names of repositories and resources.
    fn name(&mut self, document: &Document, name: &Spanned<String>) {
        if !is_slug(name.get_ref()) {
            let message = format!("`{}` is not a name", name.get_ref());
            self.error(document, "E010", name.span(), message).hint =
                Some("names are 1 to 63 of a-z, 0-9 and -".into());
        }
    }

    fn secret(&mut self, document: &Document, field: &str, secret: &Spanned<SecretRef>) {
        let (code, message) = match secret.get_ref() {
            SecretRef::Bare => ("E020", format!("`{field}` is not a reference to a secret")),
            SecretRef::Plain(_) if !self.plaintext_allowed => {
                ("E021", format!("`{field}` holds its secret in plain text"))
            }
            SecretRef::Sealed(text) => match MasterRing::check_form(text) {
                Ok(()) => return,
                Err(error) => ("E022", format!("`{field}`: {error}")),
            },
            SecretRef::Env(name) | SecretRef::File(name) | SecretRef::Credential(name)
                if name.is_empty() =>
            {
                ("E020", format!("`{field}` names nothing"))
            }
            SecretRef::Env(_)
            | SecretRef::File(_)
            | SecretRef::Credential(_)
            | SecretRef::Plain(_) => return,
        };
        self.error(document, code, secret.span(), message).hint = match code {
            "E020" => Some(
                "write env:NAME, file:PATH, credential:NAME, or what `aqueduct seal` prints".into(),
            ),
            "E021" => {
                Some("seal it, or set process.allow_plaintext_secrets = true for tests".into())
            }
            _ => None,
        };
    }
}

/// Things that must be unique, with the first of each.
struct Unique<'s, K> {
    what: &'static str,
    first: HashMap<K, (&'s Document, Range<usize>)>,
}

impl<'s, K: std::hash::Hash + Eq + std::fmt::Display> Unique<'s, K> {
    fn new(what: &'static str) -> Self {
        Self {
            what,
            first: HashMap::new(),
        }
    }

    /// Notes one; a second is reported, and `false`.
    fn insert(
        &mut self,
        cx: &mut Cx<'_>,
        document: &'s Document,
        key: K,
        span: Range<usize>,
    ) -> bool {
        if let Some((first, first_span)) = self.first.get(&key) {
            let message = format!("{} `{key}` is declared twice", self.what);
            let place = first.place(first_span.clone());
            let problem = cx.error(document, "E011", span, message);
            *problem = problem.clone().with_related(place, "first declared here");
            return false;
        }
        self.first.insert(key, (document, span));
        true
    }
}

/// `[a-z0-9-]{1,63}`
fn is_slug(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// A bucket name that any S3 client accepts.
fn is_bucket_name(name: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (3..=63).contains(&name.len())
        && edge(name.bytes().next())
        && edge(name.bytes().last())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
        && !name.contains("..")
        && name.parse::<std::net::Ipv4Addr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names_are_those_of_s3() {
        for good in ["abc", "a.b-c", "1bucket", "a.b.c.d"] {
            assert!(is_bucket_name(good), "{good}");
        }
        for bad in ["ab", "Abc", "a_b", "-ab", "ab-", "a..b", "1.2.3.4", ""] {
            assert!(!is_bucket_name(bad), "{bad}");
        }
        assert!(!is_bucket_name(&"a".repeat(64)));
    }
}
