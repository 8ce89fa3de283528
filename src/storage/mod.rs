//! Storage protocols. One folder each, and no folder knows another; what they share stands beside them.

pub mod azure;
mod canonical;
pub mod gcs;
pub mod head;
pub mod probe;
pub mod s3;
pub mod sigv4;
