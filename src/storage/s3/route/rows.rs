//! The rows of the operations' table, with the names that they share.

use super::table::{Class, Level, Op, Renaming, Reply, RequestBody, Row, Verb};
use crate::keys::Access;
use Access::{Read, Write};
use Level::{Bucket, Object, Service};
use Renaming::{KeysInside, NamesInside, WholeBucket};
use Verb::{Delete, Get, Head, Post, Put};

/// Largest bucket or object configuration that is read. The largest that S3 takes is a policy of 20 KiB or a
/// lifecycle of 1000 rules.
const CONFIG_BYTES_MAX: usize = 2 << 20;
/// Largest batch delete: 1000 keys of 1024 bytes, each byte written as a character reference.
const DELETE_BYTES_MAX: usize = 8 << 20;
/// Largest list of parts: 10,000 parts with a checksum each.
const COMPLETE_BYTES_MAX: usize = 8 << 20;

pub(super) const SELECTORS: &[&str] = &[
    "accelerate",
    "acl",
    "analytics",
    "attributes",
    "cors",
    "delete",
    "encryption",
    "id",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "list-type",
    "location",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versioning",
    "versions",
    "website",
];

pub(super) const PARAMETERS: &[&str] = &[
    UNORDERED,
    "bucket-region",
    "continuation-token",
    "delimiter",
    "encoding-type",
    "fetch-owner",
    "key-marker",
    "marker",
    "max-buckets",
    "max-keys",
    "max-parts",
    "max-uploads",
    "part-number-marker",
    "partNumber",
    "prefix",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "select-type",
    "start-after",
    "upload-id-marker",
    "version-id-marker",
    "versionId",
];

const ACL: &[&str] = &["x-amz-acl", "x-amz-grant-*"];
const ATTRIBUTES: &[&str] = &[
    "x-amz-max-parts",
    "x-amz-object-attributes",
    "x-amz-part-number-marker",
];
const BYPASS: &[&str] = &["x-amz-bypass-governance-retention"];
/// The value of a body's checksum.
const CHECKSUM: &[&str] = &[
    "content-md5",
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
];
const CHECKSUM_KIND: &[&str] = &["x-amz-checksum-algorithm", "x-amz-checksum-type"];
const CONDITIONS: &[&str] = &[
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-unmodified-since",
];
const CONDITIONS_OF_WRITE: &[&str] = &["if-match", "if-none-match"];
const CONTENT_TYPE: &[&str] = &["content-type"];
const COPY: &[&str] = &[
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-modified-since",
    "x-amz-copy-source-if-none-match",
    "x-amz-copy-source-if-unmodified-since",
    "x-amz-copy-source-server-side-encryption-customer-*",
];
const COPY_DIRECTIVES: &[&str] = &["x-amz-metadata-directive", "x-amz-tagging-directive"];
const COPY_RANGE: &[&str] = &["x-amz-copy-source-range"];
const DELETE_CONDITIONS: &[&str] = &[
    "if-match",
    "x-amz-if-match-last-modified-time",
    "x-amz-if-match-size",
];
const LIST: &[&str] = &["x-amz-optional-object-attributes"];
const LOCK: &[&str] = &["x-amz-object-lock-*"];
const LOCK_TOKEN: &[&str] = &["x-amz-bucket-object-lock-token"];
/// What is stored beside an object.
const META: &[&str] = &[
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    "x-amz-meta-*",
    "x-amz-storage-class",
    "x-amz-tagging",
    "x-amz-website-redirect-location",
];
const MFA: &[&str] = &["x-amz-mfa"];
const OBJECT_SIZE: &[&str] = &["x-amz-mp-object-size"];
const READ: &[&str] = &["range", "x-amz-checksum-mode"];
/// Encryption by keys of the provider.
const SSE: &[&str] = &[
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-bucket-key-enabled",
    "x-amz-server-side-encryption-context",
];
/// Encryption by a key of the client.
const SSE_C: &[&str] = &["x-amz-server-side-encryption-customer-*"];

const fn row(op: Op, level: Level, method: Verb, when: &'static [&'static str]) -> Row {
    Row {
        op,
        level,
        method,
        when,
        copies: false,
        access: Access::Admin,
        class: Class::Admin,
        query: &[],
        headers: &[],
        request_body: RequestBody::None,
        reply: Reply::Forward,
        renaming: Renaming::Translated,
    }
}

/// A bucket's configuration: ADMIN, read or written whole. `PUT` carries a document.
const fn config(op: Op, method: Verb, when: &'static [&'static str], renaming: Renaming) -> Row {
    let row = row(op, Level::Bucket, method, when).renaming(renaming);
    match method {
        Verb::Put => row
            .document(CONFIG_BYTES_MAX)
            .headers(&[CONTENT_TYPE, CHECKSUM]),
        Verb::Get | Verb::Head | Verb::Post | Verb::Delete => row,
    }
}

impl Row {
    const fn needs(mut self, access: Access, class: Class) -> Self {
        self.access = access;
        self.class = class;
        self
    }

    const fn query(mut self, query: &'static [&'static str]) -> Self {
        self.query = query;
        self
    }

    const fn headers(mut self, headers: &'static [&'static [&'static str]]) -> Self {
        self.headers = headers;
        self
    }

    const fn streams(mut self) -> Self {
        self.request_body = RequestBody::Stream;
        self
    }

    const fn document(mut self, bytes_max: usize) -> Self {
        self.request_body = RequestBody::Document { bytes_max };
        self
    }

    const fn copies(mut self) -> Self {
        self.copies = true;
        self
    }

    const fn reply(mut self, reply: Reply) -> Self {
        self.reply = reply;
        self
    }

    const fn renaming(mut self, renaming: Renaming) -> Self {
        self.renaming = renaming;
        self
    }
}

/// Ceph's: order is not needed. A store that does not know it lists in order, which is no wrong answer.
const UNORDERED: &str = "allow-unordered";
const VERSION: &[&str] = &["versionId"];
const GET_QUERY: &[&str] = &[
    "partNumber",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "versionId",
];

/// The operations used most stand first.
pub(super) static TABLE: &[Row] = &[
    // Objects.
    row(Op::GetObject, Object, Get, &[])
        .needs(Read, Class::Read)
        .query(GET_QUERY)
        .headers(&[READ, CONDITIONS, SSE_C]),
    row(Op::HeadObject, Object, Head, &[])
        .needs(Read, Class::Meta)
        .query(GET_QUERY)
        .headers(&[READ, CONDITIONS, SSE_C]),
    row(Op::PutObject, Object, Put, &[])
        .needs(Write, Class::Write)
        .headers(&[META, CHECKSUM, CONDITIONS_OF_WRITE, SSE, SSE_C, ACL, LOCK])
        .streams(),
    row(Op::DeleteObject, Object, Delete, &[])
        .needs(Write, Class::Write)
        .query(VERSION)
        .headers(&[DELETE_CONDITIONS, BYPASS, MFA]),
    row(Op::CopyObject, Object, Put, &[])
        .copies()
        .needs(Write, Class::Write)
        .headers(&[
            META,
            COPY,
            COPY_DIRECTIVES,
            CHECKSUM_KIND,
            CONDITIONS_OF_WRITE,
            SSE,
            SSE_C,
            ACL,
            LOCK,
        ])
        .reply(Reply::Late),
    // Multipart.
    row(Op::UploadPart, Object, Put, &["uploadId"])
        .needs(Write, Class::Write)
        .query(&["partNumber"])
        .headers(&[CHECKSUM, SSE_C])
        .streams(),
    row(Op::UploadPartCopy, Object, Put, &["uploadId"])
        .copies()
        .needs(Write, Class::Write)
        .query(&["partNumber"])
        .headers(&[COPY, COPY_RANGE, SSE_C])
        .reply(Reply::Late),
    row(Op::CreateMultipartUpload, Object, Post, &["uploads"])
        .needs(Write, Class::Write)
        .headers(&[META, CHECKSUM_KIND, SSE, SSE_C, ACL, LOCK])
        .reply(Reply::Document),
    row(Op::CompleteMultipartUpload, Object, Post, &["uploadId"])
        .needs(Write, Class::Write)
        .headers(&[
            CONTENT_TYPE,
            CHECKSUM,
            CHECKSUM_KIND,
            CONDITIONS_OF_WRITE,
            OBJECT_SIZE,
            SSE_C,
        ])
        .document(COMPLETE_BYTES_MAX)
        .reply(Reply::Late),
    row(Op::AbortMultipartUpload, Object, Delete, &["uploadId"])
        .needs(Write, Class::Write)
        .headers(&[&["x-amz-if-match-initiated-time"]]),
    row(Op::ListParts, Object, Get, &["uploadId"])
        .needs(Write, Class::List)
        .query(&["encoding-type", "max-parts", "part-number-marker"])
        .headers(&[SSE_C])
        .reply(Reply::Document),
    // Listings.
    row(Op::ListObjectsV2, Bucket, Get, &["list-type"])
        .needs(Read, Class::List)
        .query(&[
            UNORDERED,
            "continuation-token",
            "delimiter",
            "encoding-type",
            "fetch-owner",
            "max-keys",
            "prefix",
            "start-after",
        ])
        .headers(&[LIST])
        .reply(Reply::Document),
    row(Op::ListObjects, Bucket, Get, &[])
        .needs(Read, Class::List)
        .query(&[
            UNORDERED,
            "delimiter",
            "encoding-type",
            "marker",
            "max-keys",
            "prefix",
        ])
        .headers(&[LIST])
        .reply(Reply::Document),
    row(Op::ListObjectVersions, Bucket, Get, &["versions"])
        .needs(Read, Class::List)
        .query(&[
            "delimiter",
            "encoding-type",
            "key-marker",
            "max-keys",
            "prefix",
            "version-id-marker",
        ])
        .headers(&[LIST])
        .reply(Reply::Document),
    row(Op::ListMultipartUploads, Bucket, Get, &["uploads"])
        .needs(Write, Class::List)
        .query(&[
            "delimiter",
            "encoding-type",
            "key-marker",
            "max-uploads",
            "prefix",
            "upload-id-marker",
        ])
        .reply(Reply::Document),
    row(Op::DeleteObjects, Bucket, Post, &["delete"])
        .needs(Write, Class::Write)
        .headers(&[CONTENT_TYPE, CHECKSUM, BYPASS, MFA])
        .document(DELETE_BYTES_MAX)
        .reply(Reply::Document),
    // Properties of objects.
    row(Op::GetObjectAttributes, Object, Get, &["attributes"])
        .needs(Read, Class::Meta)
        .query(VERSION)
        .headers(&[ATTRIBUTES, SSE_C]),
    row(Op::GetObjectTagging, Object, Get, &["tagging"])
        .needs(Read, Class::Meta)
        .query(VERSION),
    row(Op::PutObjectTagging, Object, Put, &["tagging"])
        .needs(Write, Class::Write)
        .query(VERSION)
        .headers(&[CONTENT_TYPE, CHECKSUM])
        .document(CONFIG_BYTES_MAX),
    row(Op::DeleteObjectTagging, Object, Delete, &["tagging"])
        .needs(Write, Class::Write)
        .query(VERSION),
    row(Op::GetObjectAcl, Object, Get, &["acl"]).query(VERSION),
    row(Op::PutObjectAcl, Object, Put, &["acl"])
        .query(VERSION)
        .headers(&[CONTENT_TYPE, CHECKSUM, ACL])
        .document(CONFIG_BYTES_MAX),
    row(Op::GetObjectRetention, Object, Get, &["retention"]).query(VERSION),
    row(Op::PutObjectRetention, Object, Put, &["retention"])
        .query(VERSION)
        .headers(&[CONTENT_TYPE, CHECKSUM, BYPASS])
        .document(CONFIG_BYTES_MAX),
    row(Op::GetObjectLegalHold, Object, Get, &["legal-hold"]).query(VERSION),
    row(Op::PutObjectLegalHold, Object, Put, &["legal-hold"])
        .query(VERSION)
        .headers(&[CONTENT_TYPE, CHECKSUM])
        .document(CONFIG_BYTES_MAX),
    row(Op::RestoreObject, Object, Post, &["restore"])
        .needs(Write, Class::Write)
        .query(VERSION)
        .headers(&[CONTENT_TYPE, CHECKSUM])
        .document(CONFIG_BYTES_MAX),
    row(Op::SelectObjectContent, Object, Post, &["select"])
        .needs(Read, Class::Read)
        .query(&["select-type"])
        .headers(&[CONTENT_TYPE, SSE_C])
        .document(CONFIG_BYTES_MAX),
    // Buckets.
    row(Op::ListBuckets, Service, Get, &[])
        .needs(Read, Class::List)
        .query(&[
            "bucket-region",
            "continuation-token",
            "max-buckets",
            "prefix",
        ])
        .reply(Reply::Local),
    row(Op::HeadBucket, Bucket, Head, &[]).needs(Read, Class::Meta),
    row(Op::GetBucketLocation, Bucket, Get, &["location"])
        .needs(Read, Class::Meta)
        .reply(Reply::Local),
    config(Op::CreateBucket, Put, &[], WholeBucket).headers(&[
        CONTENT_TYPE,
        CHECKSUM,
        ACL,
        LOCK_TOKEN,
        &["x-amz-bucket-object-lock-enabled", "x-amz-object-ownership"],
    ]),
    config(Op::DeleteBucket, Delete, &[], WholeBucket),
    // Configuration that names nothing.
    config(
        Op::GetBucketAccelerateConfiguration,
        Get,
        &["accelerate"],
        WholeBucket,
    ),
    config(
        Op::PutBucketAccelerateConfiguration,
        Put,
        &["accelerate"],
        WholeBucket,
    ),
    config(Op::GetBucketAcl, Get, &["acl"], WholeBucket),
    config(Op::PutBucketAcl, Put, &["acl"], WholeBucket).headers(&[CONTENT_TYPE, CHECKSUM, ACL]),
    config(Op::GetBucketCors, Get, &["cors"], WholeBucket),
    config(Op::PutBucketCors, Put, &["cors"], WholeBucket),
    config(Op::DeleteBucketCors, Delete, &["cors"], WholeBucket),
    config(Op::GetBucketEncryption, Get, &["encryption"], WholeBucket),
    config(Op::PutBucketEncryption, Put, &["encryption"], WholeBucket),
    config(
        Op::DeleteBucketEncryption,
        Delete,
        &["encryption"],
        WholeBucket,
    ),
    config(
        Op::GetObjectLockConfiguration,
        Get,
        &["object-lock"],
        WholeBucket,
    ),
    config(
        Op::PutObjectLockConfiguration,
        Put,
        &["object-lock"],
        WholeBucket,
    )
    .headers(&[CONTENT_TYPE, CHECKSUM, LOCK_TOKEN]),
    config(
        Op::GetBucketOwnershipControls,
        Get,
        &["ownershipControls"],
        WholeBucket,
    ),
    config(
        Op::PutBucketOwnershipControls,
        Put,
        &["ownershipControls"],
        WholeBucket,
    ),
    config(
        Op::DeleteBucketOwnershipControls,
        Delete,
        &["ownershipControls"],
        WholeBucket,
    ),
    config(
        Op::GetBucketPolicyStatus,
        Get,
        &["policyStatus"],
        WholeBucket,
    ),
    config(
        Op::GetPublicAccessBlock,
        Get,
        &["publicAccessBlock"],
        WholeBucket,
    ),
    config(
        Op::PutPublicAccessBlock,
        Put,
        &["publicAccessBlock"],
        WholeBucket,
    ),
    config(
        Op::DeletePublicAccessBlock,
        Delete,
        &["publicAccessBlock"],
        WholeBucket,
    ),
    config(
        Op::GetBucketRequestPayment,
        Get,
        &["requestPayment"],
        WholeBucket,
    ),
    config(
        Op::PutBucketRequestPayment,
        Put,
        &["requestPayment"],
        WholeBucket,
    ),
    config(Op::GetBucketTagging, Get, &["tagging"], WholeBucket),
    config(Op::PutBucketTagging, Put, &["tagging"], WholeBucket),
    config(Op::DeleteBucketTagging, Delete, &["tagging"], WholeBucket),
    config(Op::GetBucketVersioning, Get, &["versioning"], WholeBucket),
    config(Op::PutBucketVersioning, Put, &["versioning"], WholeBucket).headers(&[
        CONTENT_TYPE,
        CHECKSUM,
        MFA,
    ]),
    // Configuration that names buckets, keys or prefixes.
    config(
        Op::GetBucketAnalyticsConfiguration,
        Get,
        &["analytics", "id"],
        NamesInside,
    ),
    config(
        Op::PutBucketAnalyticsConfiguration,
        Put,
        &["analytics", "id"],
        NamesInside,
    ),
    config(
        Op::DeleteBucketAnalyticsConfiguration,
        Delete,
        &["analytics", "id"],
        NamesInside,
    ),
    config(
        Op::ListBucketAnalyticsConfigurations,
        Get,
        &["analytics"],
        NamesInside,
    )
    .query(&["continuation-token"]),
    config(
        Op::GetBucketIntelligentTieringConfiguration,
        Get,
        &["intelligent-tiering", "id"],
        KeysInside,
    ),
    config(
        Op::PutBucketIntelligentTieringConfiguration,
        Put,
        &["intelligent-tiering", "id"],
        KeysInside,
    ),
    config(
        Op::DeleteBucketIntelligentTieringConfiguration,
        Delete,
        &["intelligent-tiering", "id"],
        KeysInside,
    ),
    config(
        Op::ListBucketIntelligentTieringConfigurations,
        Get,
        &["intelligent-tiering"],
        KeysInside,
    )
    .query(&["continuation-token"]),
    config(
        Op::GetBucketInventoryConfiguration,
        Get,
        &["inventory", "id"],
        NamesInside,
    ),
    config(
        Op::PutBucketInventoryConfiguration,
        Put,
        &["inventory", "id"],
        NamesInside,
    ),
    config(
        Op::DeleteBucketInventoryConfiguration,
        Delete,
        &["inventory", "id"],
        NamesInside,
    ),
    config(
        Op::ListBucketInventoryConfigurations,
        Get,
        &["inventory"],
        NamesInside,
    )
    .query(&["continuation-token"]),
    config(
        Op::GetBucketLifecycleConfiguration,
        Get,
        &["lifecycle"],
        KeysInside,
    ),
    config(
        Op::PutBucketLifecycleConfiguration,
        Put,
        &["lifecycle"],
        KeysInside,
    )
    .headers(&[
        CONTENT_TYPE,
        CHECKSUM,
        &["x-amz-transition-default-minimum-object-size"],
    ]),
    config(
        Op::DeleteBucketLifecycle,
        Delete,
        &["lifecycle"],
        KeysInside,
    ),
    config(Op::GetBucketLogging, Get, &["logging"], NamesInside),
    config(Op::PutBucketLogging, Put, &["logging"], NamesInside),
    config(
        Op::GetBucketMetricsConfiguration,
        Get,
        &["metrics", "id"],
        KeysInside,
    ),
    config(
        Op::PutBucketMetricsConfiguration,
        Put,
        &["metrics", "id"],
        KeysInside,
    ),
    config(
        Op::DeleteBucketMetricsConfiguration,
        Delete,
        &["metrics", "id"],
        KeysInside,
    ),
    config(
        Op::ListBucketMetricsConfigurations,
        Get,
        &["metrics"],
        KeysInside,
    )
    .query(&["continuation-token"]),
    config(
        Op::GetBucketNotificationConfiguration,
        Get,
        &["notification"],
        KeysInside,
    ),
    config(
        Op::PutBucketNotificationConfiguration,
        Put,
        &["notification"],
        KeysInside,
    )
    .headers(&[
        CONTENT_TYPE,
        CHECKSUM,
        &["x-amz-skip-destination-validation"],
    ]),
    // Policies name their own bucket, and are translated.
    config(Op::GetBucketPolicy, Get, &["policy"], KeysInside).reply(Reply::Document),
    config(Op::PutBucketPolicy, Put, &["policy"], KeysInside).headers(&[
        CONTENT_TYPE,
        CHECKSUM,
        &["x-amz-confirm-remove-self-bucket-access"],
    ]),
    config(Op::DeleteBucketPolicy, Delete, &["policy"], KeysInside),
    config(Op::GetBucketReplication, Get, &["replication"], NamesInside),
    config(Op::PutBucketReplication, Put, &["replication"], NamesInside).headers(&[
        CONTENT_TYPE,
        CHECKSUM,
        LOCK_TOKEN,
    ]),
    config(
        Op::DeleteBucketReplication,
        Delete,
        &["replication"],
        NamesInside,
    ),
    config(Op::GetBucketWebsite, Get, &["website"], KeysInside),
    config(Op::PutBucketWebsite, Put, &["website"], KeysInside),
    config(Op::DeleteBucketWebsite, Delete, &["website"], KeysInside),
];
