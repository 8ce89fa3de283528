//! Bodies as push-style steps, without I/O: a step is fed chunks and hands on chunks.
//!
//! Steps are pure state machines, so the same recording can be fed to them cut at every byte. Whoever drives
//! them (`proxy::relay`) owns the sockets, the timers and the back-pressure.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::error::{Error, Result};

/// What a step hands on for one input: mostly nothing or one chunk, so no allocation.
pub type Chunks = SmallVec<[Bytes; 4]>;

/// How the input of a step ended.
#[derive(Debug)]
pub enum End {
    /// The sender finished its message.
    Clean,
    /// The sender broke off; what was held back must not be handed on as if complete.
    Cut(Error),
}

/// One transformation, check or count of a body.
pub trait BodyStep: Send {
    /// Takes one chunk, hands on what may leave now. An error ends the body: nothing more is handed on,
    /// and the driver resets the far side.
    fn push(&mut self, input: Bytes, out: &mut Chunks) -> Result<()>;

    /// Takes the end of the input, hands on what was held back.
    fn finish(&mut self, end: End, out: &mut Chunks) -> Result<()>;

    /// Whether a byte costs more than to pass it on: then those who share a thread take shorter turns.
    fn is_costly(&self) -> bool {
        true
    }

    /// Whether a chunk of ours (a heartbeat, an in-band error) could be put here without breaking a message.
    fn at_boundary(&self) -> bool {
        true
    }
}
