//! Which hosts a request may name.
//!
//! A site can let its own name point to this machine (DNS rebinding). A browser then takes what is served here for that
//! site's, and lets its scripts read it. Such a request still names the site in `Host`.

use std::net::IpAddr;

use hyper::http::uri::Authority;
use hyper::{Request, header};

/// The hosts that are meant.
#[derive(Clone, Debug)]
pub struct Hosts {
    /// Only this machine can connect.
    loopback: bool,
    names: Vec<String>,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// None, more than one, or one that is no host.
    Malformed,
    Unknown(String),
}

impl Hosts {
    /// The hosts of who listens at `ip`, and these names.
    pub fn new(ip: IpAddr, names: impl IntoIterator<Item = String>) -> Self {
        Self { loopback: ip.is_loopback(), names: names.into_iter().map(|name| plain(&name)).collect() }
    }

    /// Whether the request names a host that is meant. The port is not looked at: a tunnel has one of its own, and who
    /// rebinds a name cannot change the name.
    pub fn check<B>(&self, request: &Request<B>) -> Result<(), Refused> {
        let mut headers = request.headers().get_all(header::HOST).iter();
        let (header, more) = (headers.next(), headers.next());
        // An absolute address in the request line goes before the header.
        let named = match (request.uri().authority(), header, more) {
            (Some(authority), _, None) => authority.clone(),
            (None, Some(header), None) => Authority::try_from(header.as_bytes()).map_err(|_| Refused::Malformed)?,
            _ => return Err(Refused::Malformed),
        };
        if named.as_str().contains('@') {
            return Err(Refused::Malformed);
        }
        if self.allows(named.host()) { Ok(()) } else { Err(Refused::Unknown(plain(named.host()))) }
    }

    /// Addresses cannot be rebound: a page at one was loaded from there.
    fn allows(&self, host: &str) -> bool {
        let host = plain(host);
        match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(ip) => ip.is_loopback() || !self.loopback || self.names.contains(&host),
            Err(_) => host == "localhost" || self.names.contains(&host),
        }
    }
}

/// A name as it is compared.
fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(hosts: &Hosts, target: &str, host: Option<&str>) -> Result<(), Refused> {
        let mut request = Request::builder().uri(target);
        if let Some(host) = host {
            request = request.header(header::HOST, host);
        }
        hosts.check(&request.body(()).expect("a request"))
    }

    #[test]
    fn names_of_other_sites_are_refused() {
        let unknown = |name: &str| Err(Refused::Unknown(name.to_owned()));
        let loopback = Hosts::new([127, 0, 0, 1].into(), ["My.Box".to_owned()]);
        let open = Hosts::new([0, 0, 0, 0].into(), ["my.box".to_owned()]);
        for hosts in [&loopback, &open] {
            for host in ["localhost", "LOCALHOST:8080", "localhost.", "127.0.0.1:1", "[::1]:8080", "[::1]", "my.box:80"]
            {
                assert_eq!(check(hosts, "/", Some(host)), Ok(()), "{host}");
            }
            for host in ["evil.example", "localhost.evil.example:8080", "127.0.0.1.evil.example", "my.box.evil.example"]
            {
                assert_eq!(check(hosts, "/", Some(host)), unknown(host.split(':').next().unwrap_or(host)), "{host}");
            }
            for host in ["", "a b", "localhost@evil.example", "evil.example@localhost", "localhost/", "[::1"] {
                assert_eq!(check(hosts, "/", Some(host)), Err(Refused::Malformed), "{host:?}");
            }
            assert_eq!(check(hosts, "/", None), Err(Refused::Malformed));
            assert_eq!(check(hosts, "http://evil.example/", Some("localhost")), unknown("evil.example"));
            assert_eq!(check(hosts, "http://localhost/", Some("evil.example")), Ok(()));
        }
        assert_eq!(check(&loopback, "/", Some("192.168.0.9:80")), unknown("192.168.0.9"));
        assert_eq!(check(&open, "/", Some("192.168.0.9:80")), Ok(()));
        assert_eq!(check(&open, "/", Some("[fe80::1]:80")), Ok(()));
    }
}
