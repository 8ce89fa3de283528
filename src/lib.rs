//! Aqueduct: a reverse proxy for cloud storage and AI.
//!
//! # Words
//!
//! A *repository* is one endpoint, one protocol; a *resource* is a bucket or an AI account attached to it; a
//! *key* is ours and given to clients; a *credential* is a provider's and belongs to a resource. *Downstream*
//! is the client's side, *upstream* the provider's.
//!
//! # The map
//!
//! - [`pipeline`]: start reading here. The path of a storage request as straight functions without I/O.
//! - [`storage`]: one folder a protocol; [`storage::s3`] decodes, verifies, signs and translates S3. Between protocols
//!   stands the model: [`storage::op`] what is asked, [`storage::reply`] what is answered, [`storage::plan`] what it takes,
//!   [`storage::compose`] how several requests make one; [`storage::gcs`] and [`storage::azure`] write and read it.
//! - [`ai`]: one folder a dialect; scans and splices requests, reads usage beside answers. Between dialects stands the
//!   model: [`ai::chat`] what is asked, [`ai::event`] what is answered, [`ai::lane`] what a dialect does.
//! - [`policy`]: who may do what ([`policy::authorize`]), where it goes ([`policy::route`]), how much at once.
//! - [`keys`]: client keys, sealing and hashing.
//! - [`config`]: the files as written, checked whole, compiled into one immutable [`config::snapshot`]; watching,
//!   reloading, and the one way in which keys are written ([`config::store`]).
//! - [`proxy`]: sockets, timers and the two body pumps; with [`app`] the only place that knows Pingora.
//! - [`admin`]: the admin API as a function from a request to an answer.
//! - [`telemetry`]: metrics, access log, audit log, the ledger of what was spent at models, trace ids.
//! - [`app`]: composes all of it; [`cli`]: the command line; [`demo`]: Aqueduct over upstreams of its own.
//! - [`error`], [`protocol`], [`secret`], [`message`]: leaves that everybody may use; [`sabotage`]: faults on demand,
//!   in debug builds.
//!
//! # The path of a request
//!
//! ```text
//! proxy::service   accepts, waits for a request under a deadline, refuses what is ambiguous, picks the front
//! proxy::client    its head, its body as it comes, and the way to answer it, over HTTP/1.1 and HTTP/2
//! proxy::storage   decode -> authenticate -> check use -> limits -> (body, if it names targets) ->
//!                  authorize every target -> plan
//! proxy::translate the same at a resource of another protocol: an operation of the model, planned and carried out
//! proxy::exchange  one upstream request, signed for each attempt (with what, `proxy::credential` knows), with the
//!                  retries that are safe
//! proxy::form      a browser's form: its fields, its policy, then as any upload
//! proxy::upload    client -> verification, tail held back -> upstream
//! proxy::relay     upstream -> client
//! proxy::record    metrics, ledger and log line
//! ```
//!
//! An AI request takes `proxy::ai` in the place of `proxy::storage`: its body names its model, so it is held
//! within a limit, scanned, and sent to the first resource that serves it.
//!
//! # Invariants
//!
//! 1. Only `proxy` and `app` know Pingora; codecs see `http` types and `Bytes`.
//! 2. Codecs and the pipeline do no I/O and read no clock: `now` is an argument.
//! 3. No protocol folder imports another; `tests/it/layering.rs` holds the table of who may know whom.
//! 4. A request sees one `Arc<Snapshot>`, taken once; what it was admitted to, it keeps.
//! 5. No plan without a `Permit`, and no `Permit` before every target is known.
//! 6. A head for an upstream is built from an allow-list, never copied.
//! 7. Every buffer has a named limit.
//! 8. Bytes that were not verified do not complete an upload; bytes that broke off do not complete an answer.

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
pub mod sabotage;
pub mod secret;
pub mod storage;
pub mod telemetry;
