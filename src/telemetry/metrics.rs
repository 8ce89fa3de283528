//! Every metric and label type.

use std::sync::Arc;

/// The process's metrics and their registry.
#[derive(Debug, Default)]
pub struct Metrics;

/// Handles of one repository, resolved when a snapshot is built: no label is hashed for a request.
#[derive(Debug, Default)]
pub struct RepositoryMeters;

/// Handles of one resource.
#[derive(Debug, Default)]
pub struct ResourceMeters;

impl Metrics {
    pub fn new() -> Self {
        Self
    }

    /// The handles for a repository's name: the same ones for as long as the process lives.
    pub fn repository(&self, _name: &str) -> Arc<RepositoryMeters> {
        Arc::default()
    }

    /// The handles for a resource's name.
    pub fn resource(&self, _name: &str) -> Arc<ResourceMeters> {
        Arc::default()
    }
}
