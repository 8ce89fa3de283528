//! Secrets by reference: `env:NAME`, `file:PATH`, `credential:NAME`, `sealed:v1:...`, and `plain:TEXT` where it
//! was allowed. A text without one of these schemes is kept only as "bare" and refused by the check, so that a
//! pasted secret is never accepted, nor repeated in a message.

use std::fmt;

use serde::de::{Deserialize, Deserializer};

use super::model::Reference;
use super::source::References;
use crate::keys::seal::{Aad, MasterRing};
use crate::secret::Secret;

/// A secret as it is written in a file.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretRef {
    Env(String),
    File(String),
    Credential(String),
    /// The whole text with its scheme.
    Sealed(String),
    Plain(Secret),
    /// No scheme: somebody pasted a secret. Its text is not kept.
    Bare,
}

impl SecretRef {
    pub fn parse(text: &str) -> Self {
        match text.split_once(':') {
            Some(("env", name)) => Self::Env(name.to_owned()),
            Some(("file", path)) => Self::File(path.to_owned()),
            Some(("credential", name)) => Self::Credential(name.to_owned()),
            Some(("sealed", _)) => Self::Sealed(text.to_owned()),
            Some(("plain", secret)) => Self::Plain(Secret::new(secret.as_bytes())),
            Some(_) | None => Self::Bare,
        }
    }

    /// The file whose content is the secret, if it is in one.
    pub fn reference(&self) -> Option<Reference<'_>> {
        match self {
            Self::File(path) => Some(Reference::File(path)),
            Self::Credential(name) => Some(Reference::Credential(name)),
            Self::Env(_) | Self::Sealed(_) | Self::Plain(_) | Self::Bare => None,
        }
    }
}

impl fmt::Debug for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{path}"),
            Self::Credential(name) => write!(f, "credential:{name}"),
            Self::Sealed(_) => f.write_str("sealed:.."),
            Self::Plain(_) => f.write_str("plain:.."),
            Self::Bare => f.write_str(".."),
        }
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = zeroize::Zeroizing::new(String::deserialize(from)?);
        Ok(Self::parse(&text))
    }
}

/// Looks an environment variable up.
pub type Env = fn(&str) -> Option<Secret>;

/// The process's own environment.
pub fn process_env(name: &str) -> Option<Secret> {
    std::env::var_os(name).map(|value| Secret::new(value.into_encoded_bytes()))
}

/// Turns references into secrets. Does no I/O but [`Env`]: files were read with the config, at the same moment.
pub struct Resolver<'a> {
    pub references: &'a References,
    pub env: Env,
    pub masters: &'a MasterRing,
}

impl Resolver<'_> {
    /// The secret, or why not; the message holds nothing of it.
    pub fn resolve(&self, secret: &SecretRef, aad: Option<Aad<'_>>) -> Result<Secret, String> {
        match (secret, aad) {
            (SecretRef::Sealed(text), Some(aad)) => self
                .masters
                .open(aad, text)
                .map_err(|error| error.to_string()),
            (SecretRef::Sealed(_), None) => Err("cannot be sealed".into()),
            (
                SecretRef::Env(_)
                | SecretRef::File(_)
                | SecretRef::Credential(_)
                | SecretRef::Plain(_)
                | SecretRef::Bare,
                _,
            ) => unsealed(secret, self.references, self.env),
        }
    }
}

/// Resolves what needs no master key.
pub fn unsealed(secret: &SecretRef, references: &References, env: Env) -> Result<Secret, String> {
    let found = whole(secret, references, env)?;
    let found = match secret.reference() {
        Some(_) => without_newline(&found),
        None => found,
    };
    if found.is_empty() {
        return Err("is empty".into());
    }
    Ok(found)
}

/// As [`unsealed`], with files as they are: the last byte of a raw master key may be that of a newline.
pub fn whole(secret: &SecretRef, references: &References, env: Env) -> Result<Secret, String> {
    match secret {
        SecretRef::Env(name) => {
            env(name).ok_or_else(|| format!("the environment variable {name} is not set"))
        }
        SecretRef::File(path) => references.content(Reference::File(path)).cloned(),
        SecretRef::Credential(name) => references.content(Reference::Credential(name)).cloned(),
        SecretRef::Plain(secret) => Ok(secret.clone()),
        SecretRef::Sealed(_) => Err("cannot be sealed".into()),
        SecretRef::Bare => Err("is not a reference".into()),
    }
}

/// Editors end files with a newline that is no part of the secret.
fn without_newline(content: &Secret) -> Secret {
    let bytes = content.expose();
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    Secret::new(bytes.strip_suffix(b"\r").unwrap_or(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_are_told_apart_and_bare_text_is_not_kept() {
        let cases = [
            ("env:A", "env:A"),
            ("file:/a:b", "file:/a:b"),
            ("credential:x", "credential:x"),
            ("sealed:v1:a:CANARY", "sealed:.."),
            ("plain:CANARY", "plain:.."),
            ("CANARY", ".."),
            ("CANARY:CANARY", ".."),
        ];
        for (text, shown) in cases {
            assert_eq!(format!("{:?}", SecretRef::parse(text)), shown);
        }
    }

    #[test]
    fn a_secret_loses_one_newline_and_may_not_be_empty() {
        for (content, kept) in [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a", "a")] {
            let secret = without_newline(&Secret::new(content));
            assert_eq!(secret.expose_str(), Some(kept));
        }
        let references = References::default();
        let env: Env = |name| (name == "EMPTY").then(|| Secret::new(""));
        for name in ["env:EMPTY", "env:ABSENT", "credential:x", "file:x"] {
            assert!(
                unsealed(&SecretRef::parse(name), &references, env).is_err(),
                "{name}"
            );
        }
    }
}
