//! Where we listen and where resources are: the forms that addresses are written in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use http::Uri;
use ipnet::IpNet;

use super::snapshot::ListenAddress;

/// An entry of `[listen]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAt {
    pub address: ListenAddress,
    pub tls: bool,
}

impl ListenAt {
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            if !path.starts_with('/') {
                return Err("the path after `unix:` must be absolute".into());
            }
            return Ok(Self {
                address: ListenAddress::Unix(PathBuf::from(path)),
                tls: false,
            });
        }
        if let Some(name) = text.strip_prefix("fd:") {
            if name.is_empty() {
                return Err("`fd:` needs the name of a systemd socket".into());
            }
            return Ok(Self {
                address: ListenAddress::Fd(name.into()),
                tls: false,
            });
        }
        let (tls, address) = match text.strip_prefix("tls:") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        match address.parse() {
            Ok(address) => Ok(Self {
                address: ListenAddress::Tcp(address),
                tls,
            }),
            Err(_) => Err(format!(
                "`{text}` is none of HOST:PORT with a numeric host, tls:HOST:PORT, unix:PATH, fd:NAME"
            )),
        }
    }
}

/// A resource's URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub tls: bool,
    /// Without brackets.
    pub host: String,
    pub port: u16,
    /// Without a trailing `/`.
    pub base_path: String,
}

impl Url {
    pub fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|_| "is not valid".to_owned())?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) | None => return Err("must start with https:// or http://".into()),
        };
        let authority = uri.authority().ok_or("has no host")?;
        if authority.as_str().contains('@') {
            return Err("must hold no user or password".into());
        }
        if uri.query().is_some() {
            return Err("must hold no query".into());
        }
        let host = authority.host().trim_matches(['[', ']']);
        if host.is_empty() {
            return Err("has no host".into());
        }
        if authority.port().is_some() && authority.port_u16().is_none_or(|port| port == 0) {
            return Err("has no valid port".into());
        }
        Ok(Self {
            tls,
            host: host.to_ascii_lowercase(),
            port: authority.port_u16().unwrap_or(default_port(tls)),
            base_path: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// `Host` as requests carry it: the port is left out when it is the scheme's own.
    pub fn authority(&self) -> String {
        let host = match self.host.parse::<Ipv6Addr>() {
            Ok(address) => format!("[{address}]"),
            Err(_) => self.host.clone(),
        };
        if self.port == default_port(self.tls) {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }

    /// Whether the host is written as an address that is not public, or as `localhost`.
    pub fn is_private(&self) -> bool {
        self.host == "localhost"
            || self.host.ends_with(".localhost")
            || self.host.parse().is_ok_and(is_private)
    }
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

/// Whether an address is not on the public internet.
pub fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_private_v4(v4),
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
        }
    }
}

fn is_private_v4(v4: Ipv4Addr) -> bool {
    let [a, b, ..] = v4.octets();
    v4.is_loopback()
        || v4.is_private()
        || v4.is_link_local()
        || v4.is_multicast()
        || v4.is_broadcast()
        || a == 0
        || (a == 100 && (64..128).contains(&b))
        || (a == 198 && (b == 18 || b == 19))
        || a >= 240
}

/// A network, or one address of it.
pub fn parse_net(text: &str) -> Option<IpNet> {
    text.parse()
        .ok()
        .or_else(|| Some(IpNet::from(text.parse::<IpAddr>().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_addresses_have_four_forms() {
        let good = [
            ("127.0.0.1:9000", false),
            ("[::]:0", false),
            ("tls:0.0.0.0:443", true),
            ("unix:/run/a.sock", false),
            ("fd:s3", false),
        ];
        for (text, tls) in good {
            assert_eq!(ListenAt::parse(text).map(|at| at.tls), Ok(tls), "{text}");
        }
        for text in [
            "",
            "localhost:1",
            "9000",
            "unix:a",
            "fd:",
            "tls:unix:/a",
            "1.2.3.4:99999",
        ] {
            assert!(ListenAt::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn urls_are_taken_apart_and_odd_ones_refused() {
        let cases = [
            (
                "https://s3.example.net",
                Some(("s3.example.net", 443, "", "s3.example.net")),
            ),
            ("http://[::1]:9000/", Some(("::1", 9000, "", "[::1]:9000"))),
            ("https://H:443/v1/", Some(("h", 443, "/v1", "h"))),
            ("http://h:443", Some(("h", 443, "", "h:443"))),
            ("ftp://h", None),
            ("h:80", None),
            ("https://u:p@h", None),
            ("https://h/?a", None),
            ("https://h:0", None),
            ("/path", None),
        ];
        for (text, expected) in cases {
            let url = Url::parse(text).ok();
            let authority = url.as_ref().map(Url::authority);
            let got = url.as_ref().map(|url| {
                (
                    url.host.as_str(),
                    url.port,
                    url.base_path.as_str(),
                    authority.as_deref().unwrap_or_default(),
                )
            });
            assert_eq!(got, expected, "{text}");
        }
    }

    #[test]
    fn private_addresses_are_known_in_every_spelling() {
        let private = [
            "http://127.0.0.1",
            "http://10.1.1.1",
            "http://169.254.169.254",
            "http://[::1]",
            "http://[fd00::1]",
            "http://[::ffff:10.0.0.1]",
            "http://localhost:1",
            "http://100.64.0.1",
            "http://0.0.0.0",
        ];
        for text in private {
            assert!(Url::parse(text).unwrap().is_private(), "{text}");
        }
        for text in [
            "http://8.8.8.8",
            "http://[2606::1]",
            "http://example.net",
            "http://100.128.0.1",
        ] {
            assert!(!Url::parse(text).unwrap().is_private(), "{text}");
        }
    }
}
