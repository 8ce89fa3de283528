//! Storage protocols. One folder each, and no folder knows another.

pub mod s3;
