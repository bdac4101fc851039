//! The server: everything around the storage core and the query engine.

pub mod fanout;
pub mod ingest;
pub mod promqltest;
pub mod remote_read;
