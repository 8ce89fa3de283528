//! Secrets by reference: `env:NAME`, `file:PATH`, `credential:NAME`, `sealed:v1:...`, and `plain:TEXT` where it
//! was allowed. A text without one of these schemes is kept only as "bare" and refused by the check, so that a
//! pasted secret is never accepted, nor repeated in a message.

use std::fmt;

use serde::de::{Deserialize, Deserializer};

use super::model::Reference;
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
