//! Names of the protocol.
