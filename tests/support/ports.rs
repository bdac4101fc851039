//! Ports for processes that must be found at the same place after a restart.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Mutex;

use marigram_storage::env::OsRandom;

use super::below;

/// Below the ports that the kernel gives to outgoing connections: one of those could take the place of a server that is
/// down for a moment.
const FIRST: u16 = 12_000;
const COUNT: usize = 20_000;

static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// `127.0.0.1:PORT`, where nobody listens.
pub(crate) fn free_address() -> String {
    loop {
        let port = FIRST + below(&OsRandom, COUNT) as u16;
        let address = format!("127.0.0.1:{port}");
        if GIVEN.lock().unwrap().insert(port) && TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}
