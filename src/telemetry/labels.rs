//! Every value that a label may take, but for the names that config gives (repositories, resources, models).
//!
//! Closed enums: a client or an upstream cannot make a new series. `index` makes them positions in the
//! tables of resolved handles ([`super::meters`]), so that no label is hashed for a request.

use crate::protocol::{Front, Protocol};

/// Declares a label: an enum whose variants are its values.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident => $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            pub const COUNT: usize = Self::ALL.len();

            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            pub const fn index(self) -> usize {
                self as usize
            }
        }
    };
}

/// Declares [`Op`]: the names in alphabetical order, each with its class.
macro_rules! ops {
    ($($variant:ident: $class:ident,)+) => {
        /// What was asked for, by the name that the protocol's manual gives it (label `op`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Op { $($variant,)+ }

        impl Op {
            /// In alphabetical order: [`Op::from_name`] searches it by halves.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            pub const COUNT: usize = Self::ALL.len();

            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)+ }
            }

            pub const fn class(self) -> Class {
                match self { $(Self::$variant => Class::$class,)+ }
            }
        }
    };
}

ops! {
    AbortMultipartUpload: Write,
    ChatCompletions: Infer,
    CompleteMultipartUpload: Write,
    Completions: Infer,
    CopyObject: Write,
    CreateBucket: Admin,
    CreateMultipartUpload: Write,
    DeleteBucket: Admin,
    DeleteBucketAnalyticsConfiguration: Admin,
    DeleteBucketCors: Admin,
    DeleteBucketEncryption: Admin,
    DeleteBucketIntelligentTieringConfiguration: Admin,
    DeleteBucketInventoryConfiguration: Admin,
    DeleteBucketLifecycle: Admin,
    DeleteBucketMetricsConfiguration: Admin,
    DeleteBucketOwnershipControls: Admin,
    DeleteBucketPolicy: Admin,
    DeleteBucketReplication: Admin,
    DeleteBucketTagging: Admin,
    DeleteBucketWebsite: Admin,
    DeleteObject: Write,
    DeleteObjectTagging: Write,
    DeleteObjects: Write,
    DeletePublicAccessBlock: Admin,
    Embeddings: Infer,
    GetBucketAccelerateConfiguration: Meta,
    GetBucketAcl: Meta,
    GetBucketAnalyticsConfiguration: Meta,
    GetBucketCors: Meta,
    GetBucketEncryption: Meta,
    GetBucketIntelligentTieringConfiguration: Meta,
    GetBucketInventoryConfiguration: Meta,
    GetBucketLifecycleConfiguration: Meta,
    GetBucketLocation: Meta,
    GetBucketLogging: Meta,
    GetBucketMetricsConfiguration: Meta,
    GetBucketNotificationConfiguration: Meta,
    GetBucketOwnershipControls: Meta,
    GetBucketPolicy: Meta,
    GetBucketPolicyStatus: Meta,
    GetBucketReplication: Meta,
    GetBucketRequestPayment: Meta,
    GetBucketTagging: Meta,
    GetBucketVersioning: Meta,
    GetBucketWebsite: Meta,
    GetObject: Read,
    GetObjectAcl: Meta,
    GetObjectAttributes: Meta,
    GetObjectLegalHold: Meta,
    GetObjectLockConfiguration: Meta,
    GetObjectRetention: Meta,
    GetObjectTagging: Meta,
    GetPublicAccessBlock: Meta,
    HeadBucket: Meta,
    HeadObject: Meta,
    ListBucketAnalyticsConfigurations: Meta,
    ListBucketIntelligentTieringConfigurations: Meta,
    ListBucketInventoryConfigurations: Meta,
    ListBucketMetricsConfigurations: Meta,
    ListBuckets: List,
    ListMultipartUploads: List,
    ListObjectVersions: List,
    ListObjects: List,
    ListObjectsV2: List,
    ListParts: List,
    Models: List,
    Other: Meta,
    Passthrough: Infer,
    PostObject: Write,
    Preflight: Meta,
    PutBucketAccelerateConfiguration: Admin,
    PutBucketAcl: Admin,
    PutBucketAnalyticsConfiguration: Admin,
    PutBucketCors: Admin,
    PutBucketEncryption: Admin,
    PutBucketIntelligentTieringConfiguration: Admin,
    PutBucketInventoryConfiguration: Admin,
    PutBucketLifecycleConfiguration: Admin,
    PutBucketLogging: Admin,
    PutBucketMetricsConfiguration: Admin,
    PutBucketNotificationConfiguration: Admin,
    PutBucketOwnershipControls: Admin,
    PutBucketPolicy: Admin,
    PutBucketReplication: Admin,
    PutBucketRequestPayment: Admin,
    PutBucketTagging: Admin,
    PutBucketVersioning: Admin,
    PutBucketWebsite: Admin,
    PutObject: Write,
    PutObjectAcl: Admin,
    PutObjectLegalHold: Admin,
    PutObjectLockConfiguration: Admin,
    PutObjectRetention: Admin,
    PutObjectTagging: Write,
    PutPublicAccessBlock: Admin,
    RenameObject: Write,
    Responses: Infer,
    RestoreObject: Admin,
    SelectObjectContent: Read,
    UploadPart: Write,
    UploadPartCopy: Write,
    WriteGetObjectResponse: Write,
}

impl Op {
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The operation of this name, [`Op::Other`] for a name that is not listed. `const`, so that a
    /// protocol's table can resolve it when compiled.
    pub const fn from_name(name: &str) -> Self {
        let (mut low, mut high) = (0, Self::COUNT);
        while low < high {
            let middle = low + (high - low) / 2;
            match order(name.as_bytes(), Self::ALL[middle].label().as_bytes()) {
                Order::Less => high = middle,
                Order::Equal => return Self::ALL[middle],
                Order::Greater => low = middle + 1,
            }
        }
        Self::Other
    }
}

/// `std::cmp::Ordering` of bytes; the trait is not callable in a `const fn`.
enum Order {
    Less,
    Equal,
    Greater,
}

const fn order(a: &[u8], b: &[u8]) -> Order {
    let mut at = 0;
    while at < a.len() && at < b.len() {
        if a[at] < b[at] {
            return Order::Less;
        }
        if a[at] > b[at] {
            return Order::Greater;
        }
        at += 1;
    }
    if a.len() < b.len() {
        Order::Less
    } else if a.len() > b.len() {
        Order::Greater
    } else {
        Order::Equal
    }
}

label! {
    /// The endpoint's protocol.
    Proto { Ai => "ai", Admin => "admin", Azure => "azure", Gcs => "gcs", S3 => "s3", }
}

impl From<Front> for Proto {
    fn from(front: Front) -> Self {
        match front {
            Front::Storage(Protocol::Azure) => Self::Azure,
            Front::Storage(Protocol::Gcs) => Self::Gcs,
            Front::Storage(Protocol::S3) => Self::S3,
            Front::Ai => Self::Ai,
            Front::Admin => Self::Admin,
        }
    }
}

label! {
    /// Operations that cost alike.
    Class {
        Read => "read", Write => "write", List => "list", Meta => "meta", Admin => "admin",
        Infer => "infer",
    }
}

label! {
    /// First digit of a status.
    Status {
        Informational => "1xx", Success => "2xx", Redirect => "3xx", Client => "4xx", Server => "5xx",
        /// No status at all: the client left, or the far side answered none.
        None => "none",
    }
}

impl Status {
    pub const fn of(code: u16) -> Self {
        match code {
            100..200 => Self::Informational,
            200..300 => Self::Success,
            300..400 => Self::Redirect,
            400..500 => Self::Client,
            500..600 => Self::Server,
            _ => Self::None,
        }
    }
}

label! {
    /// Why a connection was not taken.
    ConnectionRejection {
        Total => "max_connections", PerIp => "max_connections_per_ip",
        HeaderDeadline => "header_deadline", Descriptors => "file_descriptors",
        TlsHandshake => "tls_handshake",
    }
}

label! {
    /// What a client connection is doing.
    ConnectionState { Active => "active", Idle => "idle", }
}

label! {
    /// Why a caller was not let in.
    AuthFailure {
        UnknownKey => "unknown_key", BadSignature => "bad_signature", Expired => "expired",
        Skew => "skew", Scope => "scope", Ip => "ip", Disabled => "disabled",
        Malformed => "malformed", Missing => "missing",
    }
}

label! {
    /// What went wrong towards an upstream.
    UpstreamError {
        Connect => "connect", Tls => "tls", Dns => "dns", TimeoutFirstByte => "timeout_first_byte",
        TimeoutIdle => "timeout_idle", Reset => "reset", Truncated => "truncated",
        BadResponse => "bad_response", Auth => "auth",
    }
}

label! {
    /// How an attempt after the first ended.
    RetryOutcome { Succeeded => "succeeded", Failed => "failed", }
}

label! {
    /// Whether a resource is asked at all.
    BreakerState { Closed => "closed", Open => "open", HalfOpen => "half_open", }
}

label! {
    /// Which limit refused a request.
    LimitScope {
        Rps => "rps", Concurrent => "concurrent", BodyMemory => "body_memory",
        KeyRps => "key_rps", KeyConcurrent => "key_concurrent",
        GlobalRps => "global_rps", GlobalConcurrent => "global_concurrent",
    }
}

label! {
    /// What a token was.
    TokenType {
        Input => "input", Output => "output", Cached => "cached", CacheWrite => "cache_write",
        Reasoning => "reasoning",
    }
}

label! {
    /// Where a token count comes from.
    TokenSource { Reported => "reported", Estimated => "estimated", Partial => "partial", }
}

label! {
    /// Who makes a model's answer, in OpenTelemetry's words.
    Provider {
        Anthropic => "anthropic", Aws => "aws.bedrock", Google => "gcp.gen_ai", OpenAi => "openai",
        Other => "other",
    }
}

label! {
    /// What a model is asked for, in OpenTelemetry's words.
    GenAiOp { Chat => "chat", Completion => "text_completion", Embeddings => "embeddings", }
}

label! {
    /// Who ended a stream before its end.
    AbortSide { Client => "client", Upstream => "upstream", }
}

label! {
    /// What started a reload.
    ReloadTrigger {
        Start => "start", Watch => "watch", Poll => "poll", Signal => "signal", Admin => "admin",
    }
}

label! {
    /// How a reload ended.
    ReloadResult { Applied => "applied", Unchanged => "unchanged", Rejected => "rejected", }
}

label! {
    /// What config declares.
    ObjectKind { Repository => "repository", Resource => "resource", Key => "key", Listener => "listener", }
}

label! {
    /// How changes of config files are noticed.
    WatchMode { Notify => "notify", Poll => "poll", }
}

label! {
    /// Which of a repository's endpoints a key opens.
    KeyFamily { Storage => "storage", Ai => "ai", }
}

label! {
    /// Whether a key works.
    KeyState { Active => "active", Expired => "expired", Disabled => "disabled", }
}

label! {
    /// Routes of the admin API, without their ids.
    AdminRoute {
        Repositories => "/repo",
        ApiKeys => "/repo/{repoId}/apikey",
        ApiKey => "/repo/{repoId}/apikey/{id}",
        AiApiKeys => "/repo/{repoId}/ai/apikey",
        AiApiKey => "/repo/{repoId}/ai/apikey/{id}",
        Events => "/systemevent",
        AiResources => "/ai/llm",
        AiStats => "/ai/llm/stats",
        ValidateAi => "/ai/llm/{id}/validate",
        AiModels => "/ai/models",
        Health => "/healthz",
        Ready => "/readyz",
        Metrics => "/metrics",
        Status => "/-/status",
        Reload => "/-/reload",
        Config => "/-/config",
        Other => "other",
    }
}

/// Statuses that get a `code` of their own; others share [`CODE_OTHER`], so that an upstream cannot make
/// five hundred series.
const CODES: [u16; 46] = [
    100, 101, 200, 201, 202, 203, 204, 205, 206, 207, 300, 301, 302, 303, 304, 307, 308, 400, 401,
    402, 403, 404, 405, 406, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 429, 431,
    499, 500, 501, 502, 503, 504, 507, 529,
];
const CODE_OTHER: u8 = 46;
const _: () = assert!(CODE_OTHER as usize == CODES.len());

/// An exact HTTP status as a `code` label. 499 is a client that left before its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(u8);

impl Code {
    pub const COUNT: usize = CODES.len() + 1;

    pub const fn of(status: u16) -> Self {
        if status < 600 {
            Self(CODE_INDEX[status as usize])
        } else {
            Self(CODE_OTHER)
        }
    }

    pub const fn index(self) -> usize {
        self.0 as usize
    }

    pub fn label(self) -> String {
        CODES
            .get(self.index())
            .map_or_else(|| "other".to_owned(), ToString::to_string)
    }
}

/// From a status to its place in [`CODES`].
const CODE_INDEX: [u8; 600] = {
    let mut table = [CODE_OTHER; 600];
    let mut at = 0;
    while at < CODE_OTHER {
        table[CODES[at as usize] as usize] = at;
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_op_is_found_by_its_name() {
        assert!(Op::ALL.is_sorted_by_key(|op| op.label()));
        for (index, op) in Op::ALL.iter().enumerate() {
            assert_eq!(Op::from_name(op.label()), *op);
            assert_eq!(op.index(), index);
        }
        for unknown in ["", "A", "GetObjec", "GetObjectX", "getobject", "Zzz"] {
            assert_eq!(Op::from_name(unknown), Op::Other, "{unknown}");
        }
    }

    #[test]
    fn codes_outside_the_list_share_one_value() {
        for code in CODES {
            assert_eq!(Code::of(code).label(), code.to_string());
        }
        for odd in [0, 99, 299, 418, 599, 600, 999, u16::MAX] {
            assert_eq!(Code::of(odd).label(), "other", "{odd}");
        }
    }

    #[test]
    fn statuses_fall_in_their_hundreds() {
        for (code, expected) in [
            (0, "none"),
            (101, "1xx"),
            (204, "2xx"),
            (304, "3xx"),
            (499, "4xx"),
            (529, "5xx"),
            (600, "none"),
        ] {
            assert_eq!(Status::of(code).label(), expected, "{code}");
        }
    }
}
