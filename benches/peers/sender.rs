//! Sends prepared requests over a few kept-alive connections, one request under way on each.
//!
//! 1. Request k of a round always goes over connection k modulo their number, so that the samples of a series arrive in
//!    order.
//! 2. No connection begins a round before all others have begun the one before the last: the rounds stay together.
//! 3. The bytes on the wire, HTTP header included, were put together before; the sender writes and waits.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// Connections of a sender.
pub(crate) const CONNECTIONS: usize = 4;
/// An answer that takes longer is a hang.
const PATIENCE: Duration = Duration::from_secs(300);

/// A request as it goes over the wire.
pub(crate) struct Request {
    /// Header and body.
    bytes: Box<[u8]>,
    /// Where the body begins.
    body_at: usize,
    /// Samples in it.
    pub(crate) samples: u64,
}

impl Request {
    /// A remote-write request with this Snappy-compressed body. All three systems take it at the same path.
    pub(crate) fn new(body: &[u8], samples: u64) -> Request {
        let mut bytes = format!(
            "POST /api/v1/write HTTP/1.1\r\nHost: bench\r\nUser-Agent: Prometheus/2.42.0\r\nContent-Length: {}\r\n\
             Content-Encoding: snappy\r\nContent-Type: application/x-protobuf\r\n\
             X-Prometheus-Remote-Write-Version: 0.1.0\r\n\r\n",
            body.len()
        )
        .into_bytes();
        let body_at = bytes.len();
        bytes.extend_from_slice(body);
        Request { bytes: bytes.into(), body_at, samples }
    }

    /// The body, compressed.
    #[allow(dead_code, reason = "used by the benchmarks in memory")]
    pub(crate) fn body(&self) -> &[u8] {
        &self.bytes[self.body_at..]
    }
}

/// When a request was sent and when its answer had come.
pub(crate) type Span = (Instant, Instant);

/// What came of a sending.
#[derive(Default)]
pub(crate) struct Sent {
    /// From the first byte to the last answer.
    pub(crate) wall: Duration,
    /// Samples that were acknowledged.
    pub(crate) samples: u64,
    /// Of every request.
    pub(crate) spans: Vec<Span>,
}

impl Sent {
    /// Adds what was sent after it.
    pub(crate) fn add(&mut self, other: Sent) {
        self.wall += other.wall;
        self.samples += other.samples;
        self.spans.extend(other.spans);
    }

    /// Latencies in ms, sorted.
    pub(crate) fn latencies_ms(&self) -> Vec<f64> {
        sorted_ms(self.spans.iter())
    }

    /// Latencies of the requests that were under way at some moment of `span`, in ms, sorted.
    pub(crate) fn latencies_during_ms(&self, span: Span) -> Vec<f64> {
        sorted_ms(self.spans.iter().filter(|(begin, end)| *begin <= span.1 && *end >= span.0))
    }
}

fn sorted_ms<'a>(spans: impl Iterator<Item = &'a Span>) -> Vec<f64> {
    let mut latencies: Vec<f64> = spans.map(|(begin, end)| (*end - *begin).as_secs_f64() * 1e3).collect();
    latencies.sort_by(f64::total_cmp);
    latencies
}

/// How far each connection is.
struct Pace {
    rounds: Mutex<[usize; CONNECTIONS]>,
    moved: Condvar,
}

impl Pace {
    fn begin(&self, connection: usize, round: usize) {
        let mut rounds = self.rounds.lock().unwrap();
        rounds[connection] = round;
        self.moved.notify_all();
        while rounds.iter().any(|other| other.saturating_add(1) < round) {
            rounds = self.moved.wait(rounds).unwrap();
        }
    }

    fn finish(&self, connection: usize) {
        self.rounds.lock().unwrap()[connection] = usize::MAX;
        self.moved.notify_all();
    }
}

/// Sends rounds of requests to the server at `address`. Every one must be taken: anything but 2xx is a failure.
pub(crate) fn send(address: &str, rounds: &[Vec<Request>]) -> Sent {
    let pace = Pace { rounds: Mutex::new([0; CONNECTIONS]), moved: Condvar::new() };
    let begin = now();
    let mut sent = Sent::default();
    std::thread::scope(|scope| {
        let spawn = |connection| {
            let pace = &pace;
            scope.spawn(move || send_over_one(address, rounds, connection, pace))
        };
        let threads: Vec<_> = (0..CONNECTIONS).map(spawn).collect();
        for thread in threads {
            let (samples, spans) = thread.join().unwrap();
            sent.samples += samples;
            sent.spans.extend(spans);
        }
    });
    sent.wall = begin.elapsed();
    sent
}

fn send_over_one(address: &str, rounds: &[Vec<Request>], connection: usize, pace: &Pace) -> (u64, Vec<Span>) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut samples, mut spans, mut answer) = (0, vec![], vec![]);
    for (round, requests) in rounds.iter().enumerate() {
        pace.begin(connection, round);
        for request in requests.iter().skip(connection).step_by(CONNECTIONS) {
            let begin = now();
            stream.write_all(&request.bytes).unwrap();
            let status = read_answer(&mut stream, &mut answer);
            spans.push((begin, now()));
            assert!((200..300).contains(&status), "write: {status} {}", String::from_utf8_lossy(&answer));
            samples += request.samples;
        }
    }
    pace.finish(connection);
    (samples, spans)
}

/// Reads one answer and gives its status; `answer` holds its bytes then.
fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> u16 {
    answer.clear();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the server closed the connection: {}", String::from_utf8_lossy(answer));
        answer.extend_from_slice(&buffer[..count]);
        if let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
            let status: u16 = text.split_whitespace().nth(1).unwrap().parse().unwrap();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
            if answer.len() >= head + 4 + length {
                return status;
            }
        }
    }
}

/// The machine's clock.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
