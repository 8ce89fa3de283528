//! Azure Blob Storage, over its REST API: block blobs, containers, index tags, blocks.
//!
//! Manual: <https://learn.microsoft.com/rest/api/storageservices/blob-service-rest-api>. What a blob has no place for is
//! kept in metadata of our own, named in [`names`], or refused. Page and append blobs, leases, snapshots and versions are
//! left alone.

pub mod auth;
pub mod error;
pub mod names;
mod source;
pub mod upstream;
mod wire;

#[cfg(test)]
mod tests_support;
