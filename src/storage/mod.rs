//! Storage: one folder a protocol, a canonical model in the middle.
