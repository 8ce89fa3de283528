//! Google Cloud Storage. Of its two APIs the XML one, which is a dialect of S3's with headers and conditions of its own:
//! objects, listings, batch deletes and uploads in parts go one to one. Only tags are kept by the JSON API, since there
//! metadata changes without the object.
//!
//! Manual: <https://cloud.google.com/storage/docs/xml-api/overview>. What GCS has no place for is kept in metadata of
//! our own, named in [`names`], or refused.

pub mod auth;
pub mod error;
pub mod names;
pub mod upstream;
mod wire;

#[cfg(test)]
pub(super) mod tests_support;
