//! Recorded traffic of real Prometheus servers, sent whole to the real binary, comes back bit for bit by remote read:
//! from the head, from blocks, after a restart, and after kills at random moments of the writing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use marigram_storage::env::SeededRandom;
use support::process::Folder;
use support::samples::Samples;
use support::single::Server;
use support::traffic::{Traffic, decode, recordings};
use support::{below, needs, pause, remote, seed, shuffle};

/// How often the server is killed.
const KILLS: usize = 10;

/// The store's samples of a range that is wider than what was sent by an hour on both sides.
fn read_back(server: &Server, sent: &Samples) -> Samples {
    let (first_ms, last_ms) = sent.range_ms();
    remote::read_all(server.http(), (first_ms - 3_600_000, last_ms + 3_600_000))
}

#[test]
fn all_of_it_comes_back_from_head_blocks_and_after_restarts() {
    let Some(dir) = needs::REAL_SCRAPES.path_or_skip("all_of_it_comes_back_from_head_blocks_and_after_restarts") else {
        return;
    };
    let folder = Folder::new("replay");
    let mut server = Server::start(folder.path());
    let mut sent = Samples::default();
    for path in recordings(&dir) {
        let traffic = Traffic::load(&path);
        remote::send_all(server.http(), &traffic.bodies);
        sent.merge(traffic.samples);
    }
    let (count, stale) = (sent.count(), sent.stale_count());
    eprintln!(
        "{count} samples of {} series, {stale} staleness markers, {} NaNs",
        sent.series_count(),
        sent.nan_count()
    );
    assert!(count > 3_000_000 && stale > 0, "the recordings are whole");

    sent.assert_equal(&read_back(&server, &sent), "from the head");
    server.restart();
    sent.assert_equal(&read_back(&server, &sent), "from the head, after a restart");
    server.seal();
    assert!(server.blocks() > 0, "there are blocks after a seal");
    sent.assert_equal(&read_back(&server, &sent), "from blocks");
    server.restart();
    sent.assert_equal(&read_back(&server, &sent), "from blocks, after a restart");
    server.kill();
    server.start_again();
    sent.assert_equal(&read_back(&server, &sent), "from blocks, after a kill");
    server.assert_sound();
}

#[test]
fn acknowledged_requests_survive_ten_kills() {
    let Some(dir) = needs::REAL_SCRAPES.path_or_skip("acknowledged_requests_survive_ten_kills") else { return };
    let random = SeededRandom::new(seed());
    let folder = Folder::new("kills");
    let mut server = Server::start(folder.path());
    let traffic = Traffic::load(&recordings(&dir)[0]);
    let bodies: Vec<&Vec<u8>> = traffic.bodies.iter().collect();
    let between_kills = bodies.len() / (KILLS + 1);
    let (mut must, mut may) = (Samples::default(), Samples::default());
    let mut next = 0;
    for kill in 1..=KILLS {
        let outcome = send_and_kill(&mut server, &bodies, next, &random, between_kills);
        server.start_again();
        for at in &outcome.acknowledged {
            must.add_request(&decode(bodies[*at]));
        }
        // What got no answer is not sent again: whether any of it is there stays open, and that is what is checked.
        for (at, _) in &outcome.broken {
            may.add_request(&decode(bodies[*at]));
        }
        let (acknowledged, broken) = (outcome.acknowledged.len(), outcome.broken.len());
        eprintln!("kill {kill}: {acknowledged} requests acknowledged, {broken} without an answer");
        let reached = outcome.acknowledged.iter().chain(outcome.broken.iter().map(|(at, _)| at)).max();
        next = reached.map_or(next, |at| at + 1);
        must.assert_bounds(&may, &read_back(&server, &traffic.samples), &format!("after kill {kill}"));
    }
    assert!(must.count() > 0 && may.count() > 0, "kills hit requests that were under way");
    let outcome = remote::send_until_broken(server.http(), &bodies, next, |_| ());
    assert!(outcome.broken.is_empty(), "{:?}", outcome.broken);
    for at in &outcome.acknowledged {
        must.add_request(&decode(bodies[*at]));
    }
    server.seal();
    must.assert_bounds(&may, &read_back(&server, &traffic.samples), "sealed in the end");
    server.assert_sound();
}

/// Sends until the server, at a random moment, is killed; sometimes while it seals.
fn send_and_kill(
    server: &mut Server,
    bodies: &[&Vec<u8>],
    from: usize,
    random: &SeededRandom,
    between: usize,
) -> remote::Outcome {
    let kill_after = 1 + below(random, between);
    let delay = Duration::from_micros(below(random, 20_000) as u64);
    let seals = below(random, 3) == 0;
    let http = server.http().clone();
    let (sender, moment) = mpsc::channel();
    let told = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            remote::send_until_broken(&http, bodies, from, |count| {
                if count >= kill_after && !told.swap(true, Ordering::SeqCst) {
                    let _ = sender.send(());
                }
            })
        });
        moment.recv().expect("the sending reaches the moment");
        if seals {
            let http = http.clone();
            scope.spawn(move || drop(http.post("/api/v1/admin/tsdb/seal", &[], b"")));
        }
        pause(delay);
        server.kill();
        sending.join().unwrap()
    })
}

#[test]
fn order_and_repetition_do_not_matter() {
    let Some(dir) = needs::REAL_SCRAPES.path_or_skip("order_and_repetition_do_not_matter") else { return };
    let random = SeededRandom::new(seed());
    let folder = Folder::new("shuffled");
    let mut server = Server::start(folder.path());
    let traffic = Traffic::load(&recordings(&dir)[1]);
    // Everything twice, in an order in which many a first copy comes after the seal as well as many a second one.
    let mut bodies: Vec<&Vec<u8>> = traffic.bodies.iter().chain(&traffic.bodies).collect();
    shuffle(&mut bodies, &random);
    let (before, after) = bodies.split_at(bodies.len() / 2);
    remote::send_all(server.http(), before.iter().copied());
    server.seal();
    remote::send_all(server.http(), after.iter().copied());
    let sent = &traffic.samples;
    sent.assert_equal(&read_back(&server, sent), "half in a block, half in the head");
    server.restart();
    sent.assert_equal(&read_back(&server, sent), "after a restart");
    server.seal();
    sent.assert_equal(&read_back(&server, sent), "in overlapping blocks");
    server.assert_sound();
}
