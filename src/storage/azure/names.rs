//! Names of Azure's protocol, and ours within it.

use crate::storage::object::{ChecksumKind, StorageClass};

/// The version of the service's interface that our requests are written for.
pub const API_VERSION: &str = "2025-07-05";
/// The first one in which a listing begins where it is told to. Asked for by such listings alone: older installations
/// refuse a version that they do not know.
pub const LISTING_FROM_VERSION: &str = "2026-02-06";

/// Longest blob name, and most of its segments, each in characters.
pub const KEY_CHARS_MAX: usize = 1024;
pub const SEGMENTS_MAX: usize = 254;
/// Most entries of a page.
pub const PAGE_MAX: u32 = 5000;
/// Names and values of a blob's metadata together.
pub const METADATA_BYTES_MAX: usize = 8 * 1024;
/// A blob that is stored, or copied, in one request.
pub const PUT_BYTES_MAX: u64 = 5000 << 20;
pub const BLOCK_BYTES_MAX: u64 = 4000 << 20;
pub const BLOCKS_MAX: u32 = 50_000;
pub const BLOB_BYTES_MAX: u64 = BLOCK_BYTES_MAX * BLOCKS_MAX as u64;

pub const VERSION: &str = "x-ms-version";
pub const DATE: &str = "x-ms-date";
/// Begins every header of the service's own.
pub const X_MS: &str = "x-ms-";
pub const META: &str = "x-ms-meta-";
pub const ERROR_CODE: &str = "x-ms-error-code";
pub const BLOB_TYPE: &str = "x-ms-blob-type";
pub const RANGE: &str = "x-ms-range";
pub const ACCESS_TIER: &str = "x-ms-access-tier";
pub const ARCHIVE_STATUS: &str = "x-ms-archive-status";
pub const TAGS: &str = "x-ms-tags";
pub const TAG_COUNT: &str = "x-ms-tag-count";
pub const CONTENT_CRC64: &str = "x-ms-content-crc64";
pub const DELETE_SNAPSHOTS: &str = "x-ms-delete-snapshots";
pub const ENCRYPTION_ALGORITHM: &str = "x-ms-encryption-algorithm";
pub const ENCRYPTION_KEY: &str = "x-ms-encryption-key";
pub const ENCRYPTION_KEY_SHA256: &str = "x-ms-encryption-key-sha256";

// A blob's own headers, apart from those of the request that stores it.
pub const BLOB_CACHE_CONTROL: &str = "x-ms-blob-cache-control";
pub const BLOB_CONTENT_DISPOSITION: &str = "x-ms-blob-content-disposition";
pub const BLOB_CONTENT_ENCODING: &str = "x-ms-blob-content-encoding";
pub const BLOB_CONTENT_LANGUAGE: &str = "x-ms-blob-content-language";
pub const BLOB_CONTENT_MD5: &str = "x-ms-blob-content-md5";
pub const BLOB_CONTENT_TYPE: &str = "x-ms-blob-content-type";

pub const COPY_SOURCE: &str = "x-ms-copy-source";
pub const COPY_SOURCE_AUTHORIZATION: &str = "x-ms-copy-source-authorization";
pub const COPY_SOURCE_PROPERTIES: &str = "x-ms-copy-source-blob-properties";
pub const COPY_SOURCE_TAGS: &str = "x-ms-copy-source-tag-option";
pub const SOURCE_IF_MATCH: &str = "x-ms-source-if-match";
pub const SOURCE_RANGE: &str = "x-ms-source-range";

// Metadata of ours, for what a blob has no place for. Readable by other tools, and hidden from our clients.
/// User metadata whose names are none here: base64url of a JSON object.
pub const PACKED: &str = "aqueduct_meta";
/// The ETag that clients know, where it is not the MD5 of the bytes.
pub const ETAG: &str = "aqueduct_etag";
/// Sizes of the parts that it was uploaded in, equal ones counted: `8388608*12,17`.
pub const PARTS: &str = "aqueduct_parts";
/// Of an upload's journal: the key that is uploaded to, and the tier that it is to have.
pub const JOURNAL_KEY: &str = "aqueduct_key";
pub const JOURNAL_TIER: &str = "aqueduct_tier";
/// The upload that it was completed by.
pub const UPLOAD: &str = "aqueduct_upload";
pub const EXPIRES: &str = "aqueduct_expires";
pub const REDIRECT: &str = "aqueduct_redirect";
/// A checksum of the whole, `name:base64`, or of so many parts' checksums, `name:base64-3`.
pub const CHECKSUM: &str = "aqueduct_checksum";

pub fn tier(class: StorageClass) -> &'static str {
    match class {
        StorageClass::Hot => "Hot",
        StorageClass::Cool => "Cool",
        StorageClass::Cold => "Cold",
        StorageClass::Archive => "Archive",
    }
}

/// Tiers of premium accounts are none that a client could make use of.
pub fn class(tier: &str) -> Option<StorageClass> {
    StorageClass::ALL
        .into_iter()
        .find(|class| self::tier(*class) == tier)
}

/// The checksums that are kept in [`CHECKSUM`], the stronger first. MD5 has a place of its own.
pub const KEPT: &[(ChecksumKind, &str)] = &[
    (ChecksumKind::Sha256, "sha256"),
    (ChecksumKind::Crc64Nvme, "crc64nvme"),
    (ChecksumKind::Crc32c, "crc32c"),
    (ChecksumKind::Crc32, "crc32"),
    (ChecksumKind::Sha1, "sha1"),
];
