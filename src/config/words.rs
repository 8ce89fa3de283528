//! Settings that take one of a few words.

use serde::de::{self, Deserialize, Deserializer};

use super::diagnostic::nearest;

/// The words are compared without regard to case; the first of each line is the one that is shown.
macro_rules! words {
    ($($(#[$meta:meta])* $name:ident { $($variant:ident: $first:literal $(| $other:literal)*,)+ })+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($variant,)+
        }

        impl $name {
            pub const WORDS: &'static [&'static str] = &[$($first,)+];

            pub fn parse(word: &str) -> Option<Self> {
                $(
                    if [$first $(, $other)*].iter().any(|known| known.eq_ignore_ascii_case(word)) {
                        return Some(Self::$variant);
                    }
                )+
                None
            }

            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $first,)+
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let word = String::deserialize(from)?;
                Self::parse(&word).ok_or_else(|| {
                    de::Error::custom(refusal(&word, Self::WORDS))
                })
            }
        }
    )+};
}

words! {
    /// A repository's `endpoint`.
    Endpoint {
        S3: "S3",
        Gcs: "GCS",
        Blob: "BLOB" | "AZURE" | "AZURE_BLOB" | "AZURE BLOB",
        OpenAi: "OPENAI" | "AI",
    }
    /// A repository's `mode`.
    Mode {
        Normal: "NORMAL",
        Mirror: "MIRROR" | "BACKUP",
    }
    AccessWord {
        Read: "READ",
        Write: "WRITE" | "READ_WRITE" | "READ-WRITE" | "READ/WRITE",
        Admin: "ADMIN",
    }
    FamilyWord {
        Storage: "storage",
        Ai: "ai",
    }
    AiTypeWord {
        OpenAi: "openai",
        Other: "other",
        Anthropic: "anthropic",
        Google: "google",
        Aws: "aws",
    }
    RoleWord {
        Admin: "admin",
        Operator: "operator",
        Viewer: "viewer",
        Metrics: "metrics",
    }
    Addressing {
        Path: "path",
        Virtual: "virtual",
    }
    /// What an S3-compatible store is.
    Provider {
        Aws: "aws",
        Minio: "minio",
        Seaweedfs: "seaweedfs",
        R2: "r2",
        Other: "other",
    }
    /// `unsigned_payload`.
    Payload {
        Allow: "allow",
        TlsOnly: "tls-only",
    }
    /// `signature_v2`.
    SignatureV2Word {
        Refuse: "refuse",
        TlsOnly: "tls-only",
        Allow: "allow",
    }
    /// Which of a provider's APIs is spoken.
    Wire {
        Native: "native",
        OpenAi: "openai",
    }
    /// `unsupported_params`.
    UnsupportedWord {
        Warn: "warn",
        Strict: "strict",
    }
    /// `usage_injection`.
    Usage {
        Auto: "auto",
        Never: "never",
    }
    TlsVersion {
        V1_2: "1.2",
        V1_3: "1.3",
    }
    LogLevel {
        Error: "error",
        Warn: "warn",
        Info: "info",
        Debug: "debug",
        Trace: "trace",
    }
    LogFormat {
        Json: "json",
        Text: "text",
    }
}

fn refusal(word: &str, words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    let list = quoted.join(", ");
    match nearest(word, words.iter().copied()) {
        Some(near) => format!("`{word}` is not one of {list}; did you mean `{near}`?"),
        None => format!("`{word}` is not one of {list}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_and_case_do_not_matter() {
        assert_eq!(Endpoint::parse("azure blob"), Some(Endpoint::Blob));
        assert_eq!(AccessWord::parse("READ_WRITE"), Some(AccessWord::Write));
        assert_eq!(Mode::parse("backup"), Some(Mode::Mirror));
        assert_eq!(Endpoint::parse("S4"), None);
        assert_eq!(Endpoint::Blob.word(), "BLOB");
    }
}
