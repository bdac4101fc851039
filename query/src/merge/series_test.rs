use std::collections::BTreeMap;
use std::sync::Arc;

use marigram_storage::chunk::ChunkBuilder;
use marigram_storage::context::Context;
use marigram_storage::model::labels::{Labels, SeriesId};
use marigram_storage::model::sample::join_order;
use marigram_storage::model::time::TimeRange;
use marigram_storage::select::{
    BATCH_TARGET_BYTES, EncodedChunk, SelectedSeries, SeriesBatch, SeriesDecoder, SeriesStream,
};
use marigram_storage::{Error, Result};
use parking_lot::Mutex;
use proptest::prelude::*;

use super::union;
use crate::testing::context;

type Points = BTreeMap<i64, u64>;
type Everything = BTreeMap<(SeriesId, Labels), Points>;

/// One piece of a series as an input holds it.
#[derive(Clone, Debug)]
struct Piece {
    name: u8,
    replica: u8,
    samples: Points,
    /// Samples of a chunk.
    chunk: usize,
}

/// Batches of pieces, then the end or an error.
#[derive(Clone, Debug)]
struct Script {
    pieces: Vec<Piece>,
    per_batch: usize,
    /// Fails before this batch.
    fails_at: Option<usize>,
}

struct Played {
    context: Context,
    batches: std::vec::IntoIter<Vec<SelectedSeries>>,
    fails_after: Option<usize>,
}

impl SeriesStream for Played {
    fn next_batch(&mut self) -> Result<Option<SeriesBatch>> {
        match &mut self.fails_after {
            Some(0) => return Err(Error::Unavailable("broken off".into())),
            Some(left) => *left -= 1,
            None => {}
        }
        let Some(series) = self.batches.next() else { return Ok(None) };
        let bytes = series.iter().map(SelectedSeries::held_bytes).sum::<usize>() as u64;
        Ok(Some(SeriesBatch { series, reservation: self.context.reserve(bytes)? }))
    }
}

fn labels(name: u8) -> Labels {
    Labels::from_pairs([("__name__", &*format!("m{name}"))])
}

fn replica(replica: u8) -> Labels {
    Labels::from_pairs([("replica", &*"r".repeat(replica.into()))])
}

fn chunks(samples: &Points, len: usize) -> Vec<EncodedChunk> {
    let samples: Vec<_> = samples.iter().map(|(t, v)| (*t, f64::from_bits(*v))).collect();
    samples.chunks(len).map(crate::testing::encoded).collect()
}

impl Piece {
    fn key(&self) -> (SeriesId, Labels) {
        (labels(self.name).id(), replica(self.replica))
    }

    fn selected(&self) -> SelectedSeries {
        let (id, replica) = self.key();
        SelectedSeries { id, labels: labels(self.name), replica, chunks: chunks(&self.samples, self.chunk) }
    }
}

impl Script {
    /// The batches that come before it fails.
    fn batches(&self) -> Vec<Vec<Piece>> {
        let mut pieces = self.pieces.clone();
        // Stable: pieces of one series follow each other as they were drawn.
        pieces.sort_by_key(Piece::key);
        let batches = pieces.chunks(self.per_batch).map(<[Piece]>::to_vec);
        batches.take(self.fails_at.unwrap_or(usize::MAX)).collect()
    }

    fn play(&self, context: &Context) -> Box<dyn SeriesStream> {
        let batches = self.batches();
        let fails_after = self.fails_at.map(|_| batches.len());
        let batches: Vec<Vec<_>> = batches.iter().map(|batch| batch.iter().map(Piece::selected).collect()).collect();
        Box::new(Played { context: context.clone(), batches: batches.into_iter(), fails_after })
    }
}

fn add(into: &mut Points, samples: impl IntoIterator<Item = (i64, u64)>) {
    for (time, bits) in samples {
        let held = into.entry(time).or_insert(bits);
        if join_order(f64::from_bits(*held), f64::from_bits(bits)).is_lt() {
            *held = bits;
        }
    }
}

/// Everything of all inputs, put together without streams, heaps and chunks.
fn naive(scripts: &[Script]) -> Everything {
    let mut out = Everything::new();
    for piece in scripts.iter().flat_map(Script::batches).flatten() {
        add(out.entry(piece.key()).or_default(), piece.samples);
    }
    out
}

fn drained(stream: &mut dyn SeriesStream) -> Result<Vec<SelectedSeries>> {
    let mut out = Vec::new();
    while let Some(batch) = stream.next_batch()? {
        assert!(!batch.series.is_empty());
        out.extend(batch.series);
    }
    Ok(out)
}

fn decoded(series: &[SelectedSeries]) -> Everything {
    let mut decoder = SeriesDecoder::default();
    let each = series.iter().map(|series| {
        let (times, values) = decoder.decode(&series.chunks, TimeRange::ALL).unwrap();
        let points = times.iter().copied().zip(values.iter().map(|v| v.to_bits())).collect();
        ((series.id, series.replica.clone()), points)
    });
    each.collect()
}

fn points() -> impl Strategy<Value = Points> {
    let value = prop_oneof![(0u8..4).prop_map(|v| f64::from(v).to_bits()), Just(0x7ff0_0000_0000_0002)];
    proptest::collection::btree_map(0i64..60, value, 1..40)
}

fn piece() -> impl Strategy<Value = Piece> {
    (0u8..5, 0u8..3, points(), 1usize..9).prop_map(|(name, replica, samples, chunk)| Piece {
        name,
        replica,
        samples,
        chunk,
    })
}

fn script() -> impl Strategy<Value = Script> {
    (proptest::collection::vec(piece(), 0..12), 1usize..5, proptest::option::weighted(0.3, 0usize..4))
        .prop_map(|(pieces, per_batch, fails_at)| Script { pieces, per_batch, fails_at })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_union_is_everything_once(mut scripts in proptest::collection::vec(script(), 0..5), copy in any::<bool>()) {
        if copy && let Some(first) = scripts.first().cloned() {
            // A replica that has cut its chunks elsewhere.
            let mut other = first.clone();
            other.pieces.iter_mut().for_each(|piece| piece.chunk += 1);
            scripts.extend([first, other]);
        }
        let context = context();
        let before = context.budget_left();
        let failed = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&failed);
        let inputs = scripts.iter().map(|script| script.play(&context)).collect();
        let mut stream = union(&context, inputs, Box::new(move |input, error| {
            assert_eq!(error.to_string(), "broken off");
            told.lock().push(input);
            Ok(())
        }));
        let series = drained(&mut *stream).unwrap();
        prop_assert!(series.windows(2).all(|w| (w[0].id, &w[0].replica) < (w[1].id, &w[1].replica)));
        prop_assert!(series.iter().all(|s| s.chunks.windows(2).all(|w| w[0].min_ms <= w[1].min_ms)));
        prop_assert_eq!(decoded(&series), naive(&scripts));
        prop_assert_eq!(context.budget_left(), before);
        let mut failed = failed.lock().clone();
        failed.sort_unstable();
        let expected: Vec<usize> = (0..scripts.len()).filter(|at| scripts[*at].fails_at.is_some()).collect();
        prop_assert_eq!(failed, expected);
    }
}

fn simple(names: &[u8], fails_at: Option<usize>) -> Script {
    let samples = Points::from([(1, 1), (2, 2), (3, 3)]);
    let piece = |name: &u8| Piece { name: *name, replica: 0, samples: samples.clone(), chunk: 2 };
    Script { pieces: names.iter().map(piece).collect(), per_batch: 1, fails_at }
}

fn must_not_fail() -> super::OnFailure {
    Box::new(|input, error| panic!("input {input}: {error}"))
}

#[test]
fn equal_chunks_are_kept_once() {
    let context = context();
    let inputs = (0..3).map(|_| simple(&[1, 2], None).play(&context)).collect();
    let series = drained(&mut *union(&context, inputs, must_not_fail())).unwrap();
    assert_eq!(series.iter().map(|s| s.chunks.len()).collect::<Vec<_>>(), [2, 2]);
}

#[test]
fn a_refused_failure_ends_the_union() {
    let context = context();
    let before = context.budget_left();
    let inputs = vec![simple(&[1, 2], None).play(&context), simple(&[1, 2], Some(1)).play(&context)];
    let mut stream =
        union(&context, inputs, Box::new(|input, _| Err(Error::Unavailable(format!("{input} is needed")))));
    assert_eq!(drained(&mut *stream).unwrap_err().to_string(), "1 is needed");
    assert!(stream.next_batch().unwrap().is_none());
    assert_eq!(context.budget_left(), before);
}

#[test]
fn an_input_that_does_not_ascend_is_left_out() {
    let context = context();
    let batch = |name: u8| vec![simple(&[name], None).pieces[0].selected()];
    let mut batches = vec![batch(1), batch(2)];
    batches.sort_by_key(|batch| std::cmp::Reverse(batch[0].id));
    let wrong = Played { context: context.clone(), batches: batches.into_iter(), fails_after: None };
    let failed = Arc::new(Mutex::new(0));
    let told = Arc::clone(&failed);
    let on_failure: super::OnFailure = Box::new(move |_, error| {
        assert_eq!(error.to_string(), "a stream of series is corrupt: it does not ascend");
        *told.lock() += 1;
        Ok(())
    });
    let series = drained(&mut *union(&context, vec![Box::new(wrong)], on_failure)).unwrap();
    assert_eq!((series.len(), *failed.lock()), (1, 1));
}

#[test]
fn the_end_of_the_query_is_no_failure_of_an_input() {
    let context = context();
    let mut stream = union(&context, vec![simple(&[1, 2, 3], None).play(&context)], must_not_fail());
    context.cancel();
    assert!(matches!(stream.next_batch(), Err(Error::Cancelled)));
    let small = Context::new(Default::default(), Arc::new(marigram_storage::env::ManualClock::default()), None, 10);
    let mut stream = union(&small, vec![simple(&[1], None).play(&small)], must_not_fail());
    assert!(matches!(stream.next_batch(), Err(Error::Limit(_))));
}

#[test]
fn a_batch_ends_at_its_target_and_holds_its_memory() {
    let context = context();
    let noise = |seed: u64| {
        let mut builder = ChunkBuilder::default();
        let mut bits = seed;
        for time in 0..40_000 {
            bits = bits.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            builder.push(time, f64::from_bits(bits));
        }
        EncodedChunk { min_ms: 0, max_ms: 39_999, times: Default::default(), bytes: builder.encode().into() }
    };
    let mut series: Vec<_> = (0..8u8)
        .map(|name| SelectedSeries {
            id: labels(name).id(),
            labels: labels(name),
            replica: Labels::default(),
            chunks: vec![noise(name.into())],
        })
        .collect();
    series.sort_by_key(|series| series.id);
    let batches = series.chunks(2).map(<[_]>::to_vec).collect::<Vec<_>>();
    let input = Played { context: context.clone(), batches: batches.into_iter(), fails_after: None };
    let all = context.budget_left();
    let mut stream = union(&context, vec![Box::new(input)], must_not_fail());
    let mut sizes = Vec::new();
    while let Some(batch) = stream.next_batch().unwrap() {
        let each: Vec<usize> = batch.series.iter().map(SelectedSeries::held_bytes).collect();
        assert!(all - context.budget_left() >= each.iter().sum::<usize>() as u64);
        assert!(each[..each.len() - 1].iter().sum::<usize>() < BATCH_TARGET_BYTES);
        sizes.push(each.len());
    }
    assert_eq!(sizes.iter().sum::<usize>(), 8);
    assert!(sizes.len() >= 2 && sizes[0] > 1, "{sizes:?}");
    assert_eq!(context.budget_left(), all);
}
