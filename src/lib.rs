//! Aqueduct: a reverse proxy for cloud storage and AI.

pub mod admin;
pub mod ai;
pub mod cli;
pub mod config;
pub mod error;
pub mod keys;
pub mod message;
pub mod policy;
pub mod protocol;
pub mod secret;
pub mod storage;
pub mod telemetry;
