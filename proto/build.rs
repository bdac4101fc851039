//! Compiles the `.proto` files in Rust: no `protoc` binary is needed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    prost_build::Config::new().compile_fds(protox::compile(["prometheus/remote.proto"], ["proto"])?)?;
    let cluster = ["cluster/member.proto", "cluster/admin.proto", "cluster/ingest.proto", "cluster/select.proto"];
    // `Bytes` where a message carries bulk, so that pieces are handed on without a copy.
    tonic_prost_build::configure().bytes(".marigram.v1").compile_fds(protox::compile(cluster, ["proto"])?)?;
    Ok(())
}
