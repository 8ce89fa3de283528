//! Names of the protocols and dialects, without any of their code: config, routes and metrics speak of them.

use std::fmt;

/// A storage protocol, on either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    Azure,
    Gcs,
    S3,
}

/// An AI dialect, on the upstream side. Clients always speak [`Dialect::OpenAi`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dialect {
    Anthropic,
    Bedrock,
    Google,
    OpenAi,
}

/// What a listener speaks. Config decides it; nothing is sniffed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Front {
    Storage(Protocol),
    Ai,
    Admin,
}

impl Protocol {
    /// The value of the `proto` label, and the key of `[listen]`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Azure => "azure",
            Self::Gcs => "gcs",
            Self::S3 => "s3",
        }
    }
}

impl Front {
    pub fn label(self) -> &'static str {
        match self {
            Self::Storage(protocol) => protocol.label(),
            Self::Ai => "ai",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}
