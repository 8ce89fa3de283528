//! The closed table of operations: what selects each, what it may carry, what it needs, how it is answered.
//!
//! A request that matches no row, or carries a query parameter or `x-amz-*` header that its row does not list, is
//! refused: it is never taken for a listing, never re-signed.

use http::Method;

use super::rows::{PARAMETERS, SELECTORS, TABLE};
use crate::keys::Access;

/// What an operation addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Service,
    Bucket,
    Object,
}

/// The `class` label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    Read,
    Write,
    List,
    Meta,
    Admin,
}

impl Class {
    pub fn label(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::List => "list",
            Self::Meta => "meta",
            Self::Admin => "admin",
        }
    }
}

/// How an operation's request body is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestBody {
    None,
    /// Streamed through [`crate::storage::s3::body::UploadPipe`].
    Stream,
    /// Read whole before anything else happens.
    Document {
        bytes_max: usize,
    },
}

/// How an operation's reply is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Forwarded as it is.
    Forward,
    /// A document that names buckets or keys.
    Document,
    /// A document that may come late, or be an error under a 200.
    Late,
    /// Answered by us.
    Local,
}

/// How an operation fares on a bucket that is exposed under another name, or is a prefix of a larger one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renaming {
    /// Its names are translated.
    Translated,
    /// It is about the bucket as a whole but names nothing: reading is fine, changing only where there is no prefix.
    WholeBucket,
    /// Its documents name keys or prefixes in places of their own, but no bucket that is not translated: only where
    /// there is no prefix.
    KeysInside,
    /// Its documents name buckets in places of their own: only where nothing is renamed.
    NamesInside,
}

/// One operation of the table.
#[derive(Debug)]
pub struct Row {
    pub op: Op,
    pub level: Level,
    pub method: Verb,
    /// The sub-resource: the selecting query parameters, all of them and no others.
    pub when: &'static [&'static str],
    /// The row is for requests with a copy source.
    pub copies: bool,
    pub access: Access,
    pub class: Class,
    /// Other query parameters that are forwarded.
    pub query: &'static [&'static str],
    /// Request headers that are forwarded, in groups. A name that ends in `*` is a prefix.
    pub headers: &'static [&'static [&'static str]],
    pub request_body: RequestBody,
    pub reply: Reply,
    pub renaming: Renaming,
}

impl Row {
    /// The operation's name in the manual; the `op` label of metrics.
    pub fn name(&self) -> &'static str {
        self.op.name()
    }

    /// May be sent again when the provider's connection broke before an answer.
    pub fn retryable(&self) -> bool {
        match self.method {
            Verb::Get | Verb::Head => true,
            Verb::Put | Verb::Post | Verb::Delete => false,
        }
    }

    pub fn allows_header(&self, name: &str) -> bool {
        self.headers
            .iter()
            .copied()
            .flatten()
            .any(|allowed| match allowed.as_bytes() {
                [prefix @ .., b'*'] => name.as_bytes().starts_with(prefix),
                exact => name.as_bytes() == exact,
            })
    }
}

/// The methods of S3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    Head,
    Put,
    Post,
    Delete,
}

impl Verb {
    pub fn parse(method: &Method) -> Option<Self> {
        match *method {
            Method::GET => Some(Self::Get),
            Method::HEAD => Some(Self::Head),
            Method::PUT => Some(Self::Put),
            Method::POST => Some(Self::Post),
            Method::DELETE => Some(Self::Delete),
            _ => None,
        }
    }

    pub fn method(self) -> Method {
        match self {
            Self::Get => Method::GET,
            Self::Head => Method::HEAD,
            Self::Put => Method::PUT,
            Self::Post => Method::POST,
            Self::Delete => Method::DELETE,
        }
    }
}

/// Finds the row of (method, level, selecting parameters, copy or not).
pub(super) fn find(
    level: Level,
    method: Verb,
    present: &[&str],
    copies: bool,
) -> Option<&'static Row> {
    TABLE.iter().find(|row| {
        row.level == level
            && row.method == method
            && row.copies == copies
            && row.when.len() == present.len()
            && row.when.iter().all(|name| present.contains(name))
    })
}

/// The row of an operation.
#[cfg(test)]
pub(super) fn of(op: Op) -> &'static Row {
    TABLE.iter().find(|row| row.op == op).unwrap()
}

/// An operation's row.
#[cfg(test)]
pub(crate) fn row_of(op: Op) -> &'static Row {
    TABLE.iter().find(|row| row.op == op).unwrap()
}

/// Whether an operation's requests may carry this header.
pub fn takes_header(op: Op, name: &str) -> bool {
    TABLE
        .iter()
        .any(|row| row.op == op && row.allows_header(name))
}

/// The static form of a query parameter's name that selects an operation.
pub(super) fn selector(name: &str) -> Option<&'static str> {
    SELECTORS.iter().copied().find(|known| *known == name)
}

/// Whether a query parameter chooses an operation.
#[cfg(test)]
pub(crate) fn selects(name: &str) -> bool {
    selector(name).is_some()
}

/// The static form of any other query parameter's name that some row lists.
pub(super) fn parameter(name: &str) -> Option<&'static str> {
    PARAMETERS.iter().copied().find(|known| *known == name)
}

macro_rules! ops {
    ($($op:ident,)*) => {
        /// The operations, by their names in the manual.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Op { $($op,)* }

        impl Op {
            pub const ALL: &'static [Self] = &[$(Self::$op,)*];

            pub fn name(self) -> &'static str {
                match self { $(Self::$op => stringify!($op),)* }
            }
        }
    };
}

ops! {
    AbortMultipartUpload, CompleteMultipartUpload, CopyObject, CreateBucket, CreateMultipartUpload, DeleteBucket,
    DeleteBucketAnalyticsConfiguration, DeleteBucketCors, DeleteBucketEncryption,
    DeleteBucketIntelligentTieringConfiguration, DeleteBucketInventoryConfiguration, DeleteBucketLifecycle,
    DeleteBucketMetricsConfiguration, DeleteBucketOwnershipControls, DeleteBucketPolicy, DeleteBucketReplication,
    DeleteBucketTagging, DeleteBucketWebsite, DeleteObject, DeleteObjectTagging, DeleteObjects,
    DeletePublicAccessBlock, GetBucketAccelerateConfiguration, GetBucketAcl, GetBucketAnalyticsConfiguration,
    GetBucketCors, GetBucketEncryption, GetBucketIntelligentTieringConfiguration, GetBucketInventoryConfiguration,
    GetBucketLifecycleConfiguration, GetBucketLocation, GetBucketLogging, GetBucketMetricsConfiguration,
    GetBucketNotificationConfiguration, GetBucketOwnershipControls, GetBucketPolicy, GetBucketPolicyStatus,
    GetBucketReplication, GetBucketRequestPayment, GetBucketTagging, GetBucketVersioning, GetBucketWebsite,
    GetObject, GetObjectAcl, GetObjectAttributes, GetObjectLegalHold, GetObjectLockConfiguration,
    GetObjectRetention, GetObjectTagging, GetPublicAccessBlock, HeadBucket, HeadObject,
    ListBucketAnalyticsConfigurations, ListBucketIntelligentTieringConfigurations,
    ListBucketInventoryConfigurations, ListBucketMetricsConfigurations, ListBuckets, ListMultipartUploads,
    ListObjectVersions, ListObjects, ListObjectsV2, ListParts, PutBucketAccelerateConfiguration, PutBucketAcl,
    PutBucketAnalyticsConfiguration, PutBucketCors, PutBucketEncryption, PutBucketIntelligentTieringConfiguration,
    PutBucketInventoryConfiguration, PutBucketLifecycleConfiguration, PutBucketLogging,
    PutBucketMetricsConfiguration, PutBucketNotificationConfiguration, PutBucketOwnershipControls,
    PutBucketPolicy, PutBucketReplication, PutBucketRequestPayment, PutBucketTagging, PutBucketVersioning,
    PutBucketWebsite, PutObject, PutObjectAcl, PutObjectLegalHold, PutObjectLockConfiguration, PutObjectRetention,
    PutObjectTagging, PutPublicAccessBlock, RestoreObject, SelectObjectContent, UploadPart, UploadPartCopy,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_has_one_row_and_each_row_one_selection() {
        for op in Op::ALL {
            assert_eq!(
                TABLE.iter().filter(|row| row.op == *op).count(),
                1,
                "{}",
                op.name()
            );
        }
        for row in TABLE {
            let found = find(row.level, row.method, row.when, row.copies);
            assert_eq!(found.map(|found| found.op), Some(row.op));
        }
    }

    #[test]
    fn every_listed_name_is_known_to_the_decoder() {
        for row in TABLE {
            assert!(
                row.when.iter().all(|name| selector(name).is_some()),
                "{:?}",
                row.op
            );
            assert!(
                row.query.iter().all(|name| parameter(name).is_some()),
                "{:?}",
                row.op
            );
        }
        for name in PARAMETERS {
            assert!(selector(name).is_none());
            assert!(
                TABLE.iter().any(|row| row.query.contains(name)),
                "{name} is used"
            );
        }
    }

    #[test]
    fn only_reads_lists_and_properties_are_open_to_read_keys() {
        for row in TABLE.iter().filter(|row| row.access == Access::Read) {
            assert!(
                matches!(row.class, Class::Read | Class::List | Class::Meta),
                "{:?}",
                row.op
            );
            assert_ne!(row.request_body, RequestBody::Stream);
        }
    }
}
