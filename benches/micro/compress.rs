//! Answers compressed, beside libraries at their fastest levels.

use std::hint::black_box;

use axum::body::HttpBody;
use axum::http::{HeaderMap, HeaderValue, header};
use criterion::Throughput;
use flate2::{Compress, Compression, FlushCompress};
use libdeflater::{CompressionLvl, Compressor};
use marigram::http::compress::Packer;

use crate::Criterion;

/// About what an answer is cut into, each part compressed by itself.
const PART_BYTES: usize = 40 << 10;
/// How many are compressed.
const PARTS: usize = 64;

/// A range query's answer: so many series of so many steps, values with all their digits.
fn matrix(series: usize, steps: usize) -> String {
    // A generator of Lehmer's: digits without a pattern, the same in each run.
    let mut state = 1u64;
    let mut digits = || {
        state = state * 48_271 % 0x7fff_ffff;
        state as f64 / 2_147_483_647.0
    };
    let sample = |step: usize, value: f64| format!("[{},\"{value}\"]", 1_796_400_000 + 60 * step);
    let one = |pod: usize| {
        let samples: Vec<String> = (0..steps).map(|step| sample(step, digits())).collect();
        format!("{{\"metric\":{},\"values\":[{}]}}", labels(pod), samples.join(","))
    };
    (0..series).map(one).collect::<Vec<_>>().join(",")
}

fn labels(pod: usize) -> String {
    let node = pod * 7 % 40;
    format!(
        "{{\"cluster\":\"eu-west-1-prod\",\"container\":\"ledger\",\"instance\":\"10.32.{}.{}:8080\",\"job\":\"ledger\",\
         \"namespace\":\"payments\",\"node\":\"worker-{node:05}\",\"pod\":\"ledger-{:09x}\"}}",
        pod / 250,
        pod % 250,
        pod * 2_654_435_761
    )
}

/// Parts of answers one after the other: of one and the same the processor would know every branch by heart.
pub(crate) fn compressing(criterion: &mut Criterion) {
    let of_digits = matrix(20 * PARTS, 61);
    let of_labels = (0..250 * PARTS).map(labels).collect::<Vec<_>>().join(",");
    for (name, text) in [("a matrix", of_digits), ("labels", of_labels)] {
        let parts: Vec<&[u8]> = text.as_bytes().chunks_exact(PART_BYTES).take(PARTS).collect();
        let packer = Packer::new(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"))]));
        let mut compressor = Compressor::new(CompressionLvl::new(1).unwrap());
        let mut stream = Compress::new(Compression::fast(), false);
        let mut group = criterion.benchmark_group("compress");
        group.throughput(Throughput::Bytes((PARTS * PART_BYTES) as u64));
        let mut compare = |by: &str, compress: &mut dyn FnMut(&[u8]) -> usize| {
            let bytes: usize = parts.iter().map(|part| compress(part)).sum();
            println!("compress: {} bytes of {name} become {bytes} by {by}", PARTS * PART_BYTES);
            group.bench_function(format!("{name}, {by}"), |bench| {
                bench.iter(|| parts.iter().map(|part| compress(black_box(part))).sum::<usize>());
            });
        };
        compare("ours", &mut |part| {
            let answer = packer.pack_whole(part.to_vec()).into_response("application/json");
            answer.body().size_hint().exact().unwrap() as usize
        });
        compare("libdeflate", &mut |part| {
            let mut out = vec![0; compressor.deflate_compress_bound(part.len())];
            compressor.deflate_compress(part, &mut out).unwrap()
        });
        compare("flate2", &mut |part| {
            stream.reset();
            let mut out = Vec::with_capacity(part.len());
            stream.compress_vec(part, &mut out, FlushCompress::Finish).unwrap();
            out.len()
        });
    }
}
