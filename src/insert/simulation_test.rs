use std::sync::Arc;
use std::time::Duration;

use marigram_storage::Result;
use marigram_storage::write::WriteBatch;

use super::delivery::Timing;
use super::replicate::Replicator;
use super::simulation::{Mood, Simulation, batch};
use super::transport::Transport;
use crate::ring::NodeSet;

const BUDGET_BYTES: usize = 64 << 20;
/// No test waits for it.
const NEVER: Duration = Duration::from_secs(3600);
const QUICK: Timing =
    Timing { attempt_max: Duration::from_millis(10), write_max: NEVER, look_interval: Duration::from_millis(2) };
const PATIENT: Timing = Timing { attempt_max: NEVER, ..QUICK };

type Replicators = (Arc<Simulation>, Arc<Replicator<Arc<Simulation>>>);

fn start(simulation: Simulation, timing: Timing) -> Replicators {
    let simulation = Arc::new(simulation);
    let replicator = Replicator::new(Arc::clone(&simulation), BUDGET_BYTES, timing);
    (simulation, replicator)
}

async fn write(replicator: &Arc<Replicator<Arc<Simulation>>>, batch: &WriteBatch) -> Result<()> {
    let (delivery, answered) = replicator.prepare(batch.clone())?;
    tokio::spawn(delivery.run());
    answered.await.unwrap()
}

/// The same while calls that hang come to their end, sooner or later.
async fn write_and_release(
    simulation: &Simulation,
    replicator: &Arc<Replicator<Arc<Simulation>>>,
    batch: &WriteBatch,
) -> Result<()> {
    let (delivery, mut answered) = replicator.prepare(batch.clone())?;
    tokio::spawn(delivery.run());
    loop {
        if let Ok(result) = answered.try_recv() {
            return result;
        }
        if simulation.below(20) == 0 {
            simulation.release();
        }
        tokio::task::yield_now().await;
    }
}

/// Lets others run until `done`.
async fn until(done: impl Fn() -> bool) {
    while !done() {
        tokio::task::yield_now().await;
    }
}

/// The fewest zones (without zones: disks) that hold a series of the batch, or its metadata.
fn spread(simulation: &Simulation, batch: &WriteBatch) -> usize {
    let ring = &simulation.members().ring;
    let series = batch.series.iter().map(|series| simulation.holders(batch, series));
    let families = batch.metadata.iter().map(|family| simulation.family_holders(&family.family));
    series.chain(families).map(|holders| ring.spread(holders)).min().unwrap()
}

/// The fewest disks.
fn copies(simulation: &Simulation, batch: &WriteBatch) -> usize {
    batch.series.iter().map(|series| simulation.holders(batch, series).len()).min().unwrap()
}

#[tokio::test]
async fn what_is_acknowledged_lies_on_a_quorum_and_what_is_refused_had_none() {
    let (mut acknowledged, mut refused) = (0, 0);
    for seed in 0..150 {
        let shape = Simulation::new(1, 1, 0, seed);
        let (nodes, zones) = (1 + shape.below(7), [0, 0, 2, 3][shape.below(4)]);
        let (simulation, replicator) = start(Simulation::new(nodes, 1 + shape.below(4) as u32, zones, seed), QUICK);
        let (ring, quorum) = (&simulation.members().ring, simulation.members().list.write_quorum());
        for round in 0..6 {
            let mut well = NodeSet::EMPTY;
            for node in 0..nodes {
                let mood = match simulation.below(8) {
                    0 => Mood::Refuses,
                    1 => Mood::LosesAnswers,
                    2 => Mood::Hangs,
                    _ => Mood::Well,
                };
                let live = simulation.below(6) > 0;
                if simulation.below(4) == 0 {
                    simulation.forget_series(node);
                }
                simulation.set_mood(node, mood);
                simulation.set_live(node, live);
                if mood == Mood::Well && live {
                    well.insert(node);
                }
            }
            let batch = batch(100 * simulation.below(3), 1 + simulation.below(40), round * 1000);
            let result = match ring.spread(well) >= quorum {
                true => write(&replicator, &batch).await,
                // Who hangs decides.
                false => write_and_release(&simulation, &replicator, &batch).await,
            };
            let context = format!("seed {seed}, round {round}, {nodes} nodes, {zones} zones: {result:?}");
            match result {
                Ok(()) => {
                    acknowledged += 1;
                    assert!(spread(&simulation, &batch) >= quorum, "{context}");
                }
                Err(_) => {
                    refused += 1;
                    assert!(ring.spread(well) < quorum, "{context}");
                }
            }
        }
        until(|| {
            simulation.release();
            replicator.budget.used() == 0
        })
        .await;
    }
    assert!(acknowledged > 300 && refused > 50, "{acknowledged} acknowledged, {refused} refused");
}

#[tokio::test]
async fn every_node_gets_the_labels_of_a_series_once() {
    let (simulation, replicator) = start(Simulation::new(3, 2, 0, 1), PATIENT);
    let labels_of = |batch: &WriteBatch| 2 * batch.series.len();
    let first = batch(0, 50, 0);
    write(&replicator, &first).await.unwrap();
    assert_eq!(simulation.labelled(), labels_of(&first));
    write(&replicator, &batch(0, 50, 1000)).await.unwrap();
    assert_eq!(simulation.labelled(), labels_of(&first));

    // A node that has forgotten says so and gets them again; nothing is acknowledged before that.
    (0..3).for_each(|node| simulation.forget_series(node));
    let again = batch(0, 50, 2000);
    write(&replicator, &again).await.unwrap();
    assert_eq!((simulation.labelled(), spread(&simulation, &again)), (2 * labels_of(&first), 2));
    write(&replicator, &batch(0, 50, 3000)).await.unwrap();
    assert_eq!(simulation.labelled(), 2 * labels_of(&first));
}

#[tokio::test]
async fn the_answer_comes_at_the_quorum_and_the_last_copy_afterwards() {
    let (simulation, replicator) = start(Simulation::new(3, 3, 0, 2), PATIENT);
    simulation.set_mood(1, Mood::Hangs);
    let batch = batch(0, 50, 0);
    write(&replicator, &batch).await.unwrap();
    assert_eq!(copies(&simulation, &batch), 2);
    assert!(replicator.budget.used() > 0);
    simulation.release();
    until(|| replicator.budget.used() == 0).await;
    assert_eq!(copies(&simulation, &batch), 3);
}

#[tokio::test]
async fn what_waits_for_delivery_is_bounded_and_one_more_write_is_refused_unsent() {
    let simulation = Arc::new(Simulation::new(3, 3, 0, 3));
    let replicator = Replicator::new(Arc::clone(&simulation), 100_000, PATIENT);
    simulation.set_mood(1, Mood::Hangs);
    let mut taken = 0;
    let refusal = loop {
        let calls = simulation.calls();
        match write(&replicator, &batch(100 * taken, 50, 0)).await {
            Ok(()) => taken += 1,
            Err(error) => break (calls, error),
        }
        assert!(replicator.budget.used() <= 100_000);
    };
    assert!(taken > 1, "{taken}");
    assert_eq!(refusal.0, simulation.calls());
    let text = "the writes whose copies are being delivered hold all the memory that they may";
    assert_eq!(refusal.1.to_string(), text);
    simulation.release();
    until(|| replicator.budget.used() == 0).await;
    write(&replicator, &batch(0, 50, 0)).await.unwrap();
}

#[tokio::test]
async fn a_node_that_takes_too_long_or_is_marked_down_is_stood_in_for() {
    for (timing, marked_down) in [(QUICK, false), (PATIENT, true)] {
        let (simulation, replicator) = start(Simulation::new(3, 2, 0, 4), timing);
        simulation.set_mood(0, Mood::Hangs);
        let batch = batch(0, 50, 0);
        let (delivery, answered) = replicator.prepare(batch.clone()).unwrap();
        if marked_down {
            simulation.set_live(0, false);
        }
        tokio::spawn(delivery.run());
        answered.await.unwrap().unwrap();
        assert_eq!(copies(&simulation, &batch), 2);
        assert!(!batch.series.iter().any(|series| simulation.holders(&batch, series).contains(0)));
        // Nothing is left to do for the node that hangs.
        until(|| replicator.budget.used() == 0).await;
    }
}

#[tokio::test]
async fn a_late_answer_still_counts() {
    let (simulation, replicator) = start(Simulation::new(2, 2, 0, 5), QUICK);
    simulation.set_mood(1, Mood::Hangs);
    let batch = batch(0, 20, 0);
    let (delivery, mut answered) = replicator.prepare(batch.clone()).unwrap();
    let running = tokio::spawn(delivery.run());
    let mut metrics = String::new();
    until(|| simulation.calls() == 2).await;
    while !metrics.contains("marigram_insert_slow_calls_total{node=\"node-1\"} 1") {
        tokio::task::yield_now().await;
        metrics.clear();
        replicator.metrics.write(&mut metrics, &replicator.budget);
    }
    assert!(answered.try_recv().is_err());
    simulation.release();
    answered.await.unwrap().unwrap();
    running.await.unwrap();
    assert_eq!(copies(&simulation, &batch), 2);
}

#[tokio::test]
async fn a_write_without_a_quorum_is_refused_with_the_nodes_reasons() {
    let timing = Timing { write_max: Duration::from_millis(300), ..PATIENT };
    let (simulation, replicator) = start(Simulation::new(3, 3, 0, 6), timing);
    simulation.set_mood(0, Mood::Refuses);
    simulation.set_mood(1, Mood::Hangs);
    let refused = write(&replicator, &batch(0, 20, 0)).await.unwrap_err().to_string();
    assert_eq!(
        refused,
        "no write quorum: 2 copies on distinct disks are needed; node-0: the disk is full; node-1: has not answered"
    );
    simulation.set_live(0, false);
    simulation.set_live(2, false);
    let calls = simulation.calls();
    let refused = write(&replicator, &batch(0, 20, 0)).await.unwrap_err().to_string();
    let sentence =
        "1 of 3 listed members is live (node-1), 2 are needed; node-0: it was stopped; node-2: it was stopped";
    assert_eq!((refused.as_str(), simulation.calls()), (sentence, calls));
    until(|| replicator.budget.used() == 0).await;
    let mut metrics = String::new();
    replicator.metrics.write(&mut metrics, &replicator.budget);
    assert!(metrics.contains("marigram_insert_quorum_failures_total 2"), "{metrics}");
}

#[tokio::test]
async fn stand_ins_are_the_ones_that_the_ring_names() {
    let (simulation, replicator) = start(Simulation::new(6, 2, 3, 7), PATIENT);
    simulation.set_live(2, false);
    let batch = batch(0, 60, 0);
    write(&replicator, &batch).await.unwrap();
    let ring = &simulation.members().ring;
    let mut placer = ring.placer();
    for series in &batch.series {
        placer.turn_to(series.id);
        let expected = placer.place(simulation.live(simulation.members()), 2);
        assert_eq!(simulation.holders(&batch, series), expected);
    }
}
