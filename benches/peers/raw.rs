//! A client that takes answers as they come over the wire, over one kept-alive connection. What a client makes of them,
//! decompression included, is not the server's time.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::support::http::form;

/// Asks one server.
pub(crate) struct Raw {
    stream: BufReader<TcpStream>,
}

/// An answer as it came.
pub(crate) struct Received {
    pub(crate) status: u16,
    is_gzip: bool,
    body: Vec<u8>,
}

impl Raw {
    /// Connects.
    pub(crate) fn connect(address: &str) -> Raw {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Raw { stream: BufReader::with_capacity(1 << 20, stream) }
    }

    /// GET with parameters, as Grafana asks: gzip is taken.
    pub(crate) fn get(&mut self, path: &str, parameters: &[(&str, &str)]) -> Received {
        let target = format!("{path}?{}", form(parameters));
        let request = format!("GET {target} HTTP/1.1\r\nHost: bench\r\nAccept-Encoding: gzip\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        let status = self.line().split(' ').nth(1).unwrap().parse().unwrap();
        let (mut length, mut is_chunked, mut is_gzip) = (0, false, false);
        loop {
            let line = self.line().to_ascii_lowercase();
            match line.split_once(':').map(|(name, value)| (name, value.trim())) {
                None => break,
                Some(("content-length", value)) => length = value.parse().unwrap(),
                Some(("transfer-encoding", value)) => is_chunked = value == "chunked",
                Some(("content-encoding", value)) => is_gzip = value == "gzip",
                Some(_) => {}
            }
        }
        let mut body = Vec::new();
        if !is_chunked {
            self.append(length, &mut body);
        }
        while is_chunked {
            let size = usize::from_str_radix(&self.line(), 16).unwrap();
            self.append(size, &mut body);
            assert_eq!(self.line(), "");
            is_chunked = size > 0;
        }
        Received { status, is_gzip, body }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn append(&mut self, bytes: usize, body: &mut Vec<u8>) {
        let from = body.len();
        body.resize(from + bytes, 0);
        self.stream.read_exact(&mut body[from..]).unwrap();
    }
}

impl Received {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        let parsed = match self.is_gzip {
            true => serde_json::from_reader(BufReader::new(flate2::read::MultiGzDecoder::new(&self.body[..]))),
            false => serde_json::from_slice(&self.body),
        };
        parsed.unwrap_or_else(|error| panic!("{error} in an answer of {}", self.status))
    }
}
