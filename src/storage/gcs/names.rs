//! Names of the protocol, and ours within it.

use crate::storage::object::StorageClass;

/// Longest object name in bytes of UTF-8.
pub const KEY_BYTES_MAX: usize = 1024;
/// Most objects of a page, or of a batch delete.
pub const PAGE_MAX: u32 = 1000;
/// Names and values of custom metadata together.
pub const METADATA_BYTES_MAX: usize = 8 * 1024;
/// Longest list of parts' sizes that is kept: it shares that with the client's.
pub const PARTS_TEXT_BYTES_MAX: usize = 4 * 1024;
pub const OBJECT_BYTES_MAX: u64 = 5 << 40;
pub const PART_BYTES_MAX: u64 = 5 << 30;
pub const PARTS_MAX: u32 = 10_000;

pub const META: &str = "x-goog-meta-";
pub const HASH: &str = "x-goog-hash";
pub const GENERATION: &str = "x-goog-generation";
pub const IF_GENERATION_MATCH: &str = "x-goog-if-generation-match";
pub const STORAGE_CLASS: &str = "x-goog-storage-class";
pub const COPY_SOURCE: &str = "x-goog-copy-source";
pub const COPY_SOURCE_GENERATION: &str = "x-goog-copy-source-generation";
pub const COPY_SOURCE_IF_GENERATION_MATCH: &str = "x-goog-copy-source-if-generation-match";
pub const PROJECT: &str = "x-goog-project-id";
pub const METADATA_DIRECTIVE: &str = "x-goog-metadata-directive";
/// Makes listings of versions speak of version ids and markers as S3 does.
pub const INTEROP_LISTING: &str = "x-goog-interop-list-objects-format";
pub const ENCRYPTION_ALGORITHM: &str = "x-goog-encryption-algorithm";
pub const ENCRYPTION_KEY: &str = "x-goog-encryption-key";
pub const ENCRYPTION_KEY_SHA256: &str = "x-goog-encryption-key-sha256";

// Metadata of ours, for what an object has no place for. Readable by other tools, and hidden from our clients.
/// Tags, written as a query.
pub const TAGS: &str = "aqueduct_tags";
pub const EXPIRES: &str = "aqueduct_expires";
pub const REDIRECT: &str = "aqueduct_redirect";
/// Sizes of the parts that it was uploaded in; see [`crate::storage::object::parts`].
pub const PARTS: &str = "aqueduct_parts";
/// What the upload is known by.
pub const UPLOAD: &str = "aqueduct_upload";
/// A checksum that GCS does not know: of the whole, `name:base64`, or of so many parts' checksums, `name:base64-3`.
pub const CHECKSUM: &str = "aqueduct_checksum";

/// Of the classes that GCS has today.
pub fn class_name(class: StorageClass) -> &'static str {
    match class {
        StorageClass::Hot => "STANDARD",
        StorageClass::Cool => "NEARLINE",
        StorageClass::Cold => "COLDLINE",
        StorageClass::Archive => "ARCHIVE",
    }
}

/// The older classes are read as what they cost today. An unknown one is none that a client could make use of.
pub fn class(name: &str) -> Option<StorageClass> {
    match name {
        "STANDARD" | "MULTI_REGIONAL" | "REGIONAL" | "DURABLE_REDUCED_AVAILABILITY" => {
            Some(StorageClass::Hot)
        }
        "NEARLINE" => Some(StorageClass::Cool),
        "COLDLINE" => Some(StorageClass::Cold),
        "ARCHIVE" => Some(StorageClass::Archive),
        _ => None,
    }
}
