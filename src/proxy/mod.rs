//! The only module, with `app`, that knows Pingora: sockets, timers and the two body pumps.
//!
//! A connection arrives at [`service`], which reads request heads under a deadline of our own and hands each
//! request to the front that its listener speaks: [`storage`], [`ai`] or [`admin`]. A front asks the pipeline
//! for a plan and runs it with [`exchange`] (one upstream request, with its retries), [`upload`] (client to
//! upstream) and [`relay`] (upstream to client); [`credential`] has what each attempt is signed with. [`engine`] is what they share for the life of the process.
//!
//! Why not `ProxyHttp`: see `service`.

pub mod admin;
pub mod ai;
pub mod ambiguity;
pub mod certs;
pub mod clock;
pub mod copy;
pub mod cors;
pub mod credential;
pub mod dial;
pub mod drain;
pub mod engine;
pub mod exchange;
pub mod form;
pub mod gate;
pub mod head;
pub mod ids;
pub mod intake;
pub mod late;
pub mod pool;
pub mod probe;
mod race;
pub mod record;
pub mod relay;
pub mod respond;
pub mod service;
pub mod storage;
mod tries;
pub mod upload;
pub mod upstream;
pub mod watchdog;
