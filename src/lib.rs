//! Aqueduct: a reverse proxy for cloud storage and AI.

pub mod admin;
pub mod ai;
pub mod app;
pub mod cli;
pub mod config;
pub mod demo;
pub mod error;
pub mod keys;
pub mod message;
pub mod pipeline;
pub mod policy;
pub mod protocol;
pub mod proxy;
pub mod secret;
pub mod storage;
pub mod telemetry;
