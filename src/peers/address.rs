//! Where storage nodes are looked for: `host:port`, `dns+host:port`, `dnssrv+name`.

use std::fmt;

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::RData;

/// An address as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    given: String,
    form: Form,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// `host:port`: one node, whatever address its name has when a connection is made.
    Fixed,
    /// `dns+host:port`: one node per address of the name.
    Addresses(String),
    /// `dnssrv+name`: one node per address of the names in its SRV records.
    Services(String),
}

impl Address {
    /// Checks the form.
    ///
    /// # Errors
    /// One line that names the flag.
    pub fn parse(given: &str) -> Result<Self, String> {
        let form = match given.split_once('+') {
            Some(("dns", rest)) if is_host_port(rest) => Form::Addresses(rest.to_owned()),
            Some(("dnssrv", rest)) if is_host(rest) => Form::Services(rest.to_owned()),
            None if is_host_port(given) => Form::Fixed,
            _ => {
                return Err(format!("--storage-node {given}: must be host:port, dns+host:port or dnssrv+name"));
            }
        };
        Ok(Address { given: given.to_owned(), form })
    }

    /// The text that was given.
    pub fn as_str(&self) -> &str {
        &self.given
    }

    /// The one address that it always stands for, if so.
    pub fn fixed(&self) -> Option<&str> {
        match self.form {
            Form::Fixed => Some(&self.given),
            _ => None,
        }
    }

    /// The addresses that it stands for now, sorted; at least one.
    ///
    /// # Errors
    /// A sentence that says what could not be found.
    pub async fn resolve(&self) -> Result<Vec<String>, String> {
        let mut found = match &self.form {
            Form::Fixed => vec![self.given.clone()],
            Form::Addresses(host_port) => self.addresses_of(host_port).await?,
            Form::Services(name) => self.services_of(name).await?,
        };
        found.sort_unstable();
        found.dedup();
        match found.is_empty() {
            false => Ok(found),
            true => Err(format!("{self}: the name has no addresses")),
        }
    }

    async fn addresses_of(&self, host_port: &str) -> Result<Vec<String>, String> {
        let found = tokio::net::lookup_host(host_port).await;
        let found = found.map_err(|error| format!("{self}: {host_port} cannot be resolved: {error}"))?;
        Ok(found.map(|address| address.to_string()).collect())
    }

    async fn services_of(&self, name: &str) -> Result<Vec<String>, String> {
        let failed = |error: &dyn fmt::Display| format!("{self}: the SRV records of {name} cannot be had: {error}");
        let resolver = TokioResolver::builder_tokio().and_then(|builder| builder.build());
        let resolver = resolver.map_err(|error| failed(&error))?;
        let records = resolver.srv_lookup(name).await.map_err(|error| failed(&error))?;
        let mut found = Vec::new();
        for record in records.answers() {
            if let RData::SRV(service) = &record.data {
                let target = service.target.to_utf8();
                let host_port = format!("{}:{}", target.trim_end_matches('.'), service.port);
                found.extend(self.addresses_of(&host_port).await?);
            }
        }
        Ok(found)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--storage-node {}", self.given)
    }
}

fn is_host_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// A name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(text: &str) -> bool {
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_and_nothing_else() {
        for good in ["a:1", "127.0.0.1:9292", "[::1]:9292", "dns+storage.example:9292", "dnssrv+_grpc._tcp.storage"] {
            assert_eq!(Address::parse(good).map(|address| address.as_str().to_owned()), Ok(good.to_owned()));
        }
        for bad in
            ["", "a", "a:", "a:0", "a:65536", ":1", "http://a:1", "::1:9292", "dns+a", "dnssrv+", "srv+a:1", "a b:1"]
        {
            let line = Address::parse(bad).unwrap_err();
            assert!(line.starts_with("--storage-node ") && line.contains("dns+host:port"), "{line}");
        }
    }

    #[tokio::test]
    async fn names_become_addresses_or_one_sentence() {
        let local = Address::parse("dns+localhost:9292").unwrap().resolve().await.unwrap();
        assert!(local.contains(&"127.0.0.1:9292".to_owned()), "{local:?}");
        let line = Address::parse("dns+no-such-host.invalid:9292").unwrap().resolve().await.unwrap_err();
        assert!(line.starts_with("--storage-node dns+no-such-host.invalid:9292: "), "{line}");
    }
}
