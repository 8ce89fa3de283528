//! The one error of the crate.
//!
//! An [`Error`] has a [`Kind`], which decides the status and code that a client sees, a `message` that is
//! safe to show to that client, and a `detail` and `source` that only the log gets. Each protocol folder
//! owns one exhaustive table from [`Kind`] to its own status and code; nothing else maps errors.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, by meaning. Every dialect answers every kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    // Who is asking.
    /// No credential was presented.
    AuthMissing,
    /// A credential was presented that cannot be parsed, or several at once.
    AuthMalformed,
    /// The key is not known on this endpoint.
    KeyUnknown,
    /// The signature does not match the request.
    SignatureMismatch,
    /// The key is past its `expires_at`, before its `not_before`, disabled or revoked.
    KeyInactive,
    /// The request's date is too far from ours.
    ClockSkew,
    /// A presigned URL is past its expiry.
    RequestExpired,
    /// A session token was sent, and we issue none.
    TokenUnsupported,
    /// The key is good, but not for this.
    AccessDenied,

    // What is asked.
    /// Not valid for the protocol.
    InvalidRequest,
    /// One argument (query parameter or header) is not valid.
    InvalidArgument,
    InvalidBucketName,
    KeyTooLong,
    InvalidRange,
    InvalidDigest,
    /// A request document (XML, JSON) does not parse.
    MalformedBody,
    MethodNotAllowed,
    /// A known operation that we do not serve.
    Unsupported,
    LengthRequired,
    BodyTooLarge,
    BodyTooSmall,
    /// The message of a form is not one.
    MalformedForm,
    /// The fields of a form are too many or too long.
    FormTooLarge,
    FormWithoutFile,
    MetadataTooLarge,
    InvalidTag,
    /// An upload is to be completed with a part that it does not have.
    InvalidPart,
    InvalidPartOrder,
    /// The policy of a form cannot be read.
    InvalidPolicy,
    HeadersTooLarge,
    UriTooLong,

    // The body.
    /// A checksum or MD5 differs from what was declared.
    DigestMismatch,
    /// The payload's SHA-256 differs from the one signed.
    PayloadHashMismatch,
    /// The body ended early, or its framing is broken.
    IncompleteBody,
    /// The client took too long to send its request.
    RequestTimeout,

    // What it is asked of.
    BucketNotFound,
    /// A bucket to be made is there already, and the client's own.
    BucketExists,
    /// A bucket to be made is there already, and someone else's.
    BucketTaken,
    /// A bucket to be deleted holds something.
    BucketNotEmpty,
    /// A bucket was to be made in a place where none is made.
    LocationRefused,
    ObjectNotFound,
    /// The object can be read only after it was ordered from its archive.
    ObjectArchived,
    UploadNotFound,
    ModelNotFound,
    ModelNotAllowed,
    /// No such path at all.
    NotFound,
    Conflict,
    PreconditionFailed,

    // Us.
    RateLimited,
    /// Out of a resource of ours (connections, bytes).
    Overloaded,
    ShuttingDown,
    Internal,

    // Them.
    /// Could not connect, or the connection broke before an answer.
    UpstreamUnavailable,
    UpstreamTimeout,
    /// The upstream refused our credential: never the client's fault.
    UpstreamAuth,
    /// The upstream answered something that is not valid.
    UpstreamBroken,

    /// The client went away; nobody reads the answer.
    ClientGone,
}

/// Where an exchange with an upstream failed, where its [`Kind`] does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its name has no address that may be used.
    Dns,
    Connect,
    Tls,
    /// The body of the answer broke off.
    Truncated,
    /// Nothing was tried: the resource failed too often of late.
    BreakerOpen,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    fault: Option<Fault>,
    message: Cow<'static, str>,
    detail: Option<String>,
    param: Option<Cow<'static, str>>,
    retry_after: Option<Duration>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// `message` is shown to the client: it must hold no secret and no name of an upstream.
    pub fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            fault: None,
            message: message.into(),
            detail: None,
            param: None,
            retry_after: None,
            source: None,
        }
    }

    pub fn internal(detail: impl fmt::Display) -> Self {
        Self::new(
            Kind::Internal,
            "We encountered an internal error. Please try again.",
        )
        .with_detail(detail)
    }

    pub fn unsupported(what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Unsupported, what)
    }

    /// Adds what only the log may see.
    #[must_use]
    pub fn with_detail(mut self, detail: impl fmt::Display) -> Self {
        self.detail = Some(detail.to_string());
        self
    }

    /// Says where an exchange with an upstream failed, for metrics and the log.
    #[must_use]
    pub fn with_fault(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    /// Names the parameter at fault (`param` of an `OpenAI` error, `ArgumentName` of an S3 one).
    #[must_use]
    pub fn with_param(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    pub fn param(&self) -> Option<&str> {
        self.param.as_deref()
    }

    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(detail) = &self.detail {
            write!(f, " ({detail})")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_ref()
            .map(|source| source.as_ref() as &(dyn StdError + 'static))
    }
}
