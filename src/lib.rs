//! The server: everything around the storage core and the query engine. [`run::Server`] starts one, also inside of a
//! test and on a driven clock.

pub mod allocator;
pub mod app;
pub mod background;
pub mod bucket;
pub mod calendar;
pub mod compactor;
pub mod config;
pub mod fanout;
pub mod histograms;
pub mod http;
pub mod ingest;
pub mod insert;
pub mod peers;
pub mod promqltest;
mod query_node;
pub mod reads;
pub mod remote_read;
pub mod remote_read_chunks;
#[cfg(test)]
mod remote_read_testing;
pub mod ring;
pub mod role;
pub mod rpc;
pub mod run;
pub mod scrape;
pub mod service;
mod single;
pub mod status;
mod storage_node;
pub mod telemetry;
