//! The settings of `aqueduct.toml`.

use std::collections::HashMap;

use toml::Spanned;

use super::{At, Cx, Unique};
use crate::config::address::{ListenAt, parse_net};
use crate::config::model::{Limits, Listen, Root};
use crate::config::parse::Document;
use crate::config::secrets::SecretRef;
use crate::config::snapshot::ListenAddress;
use crate::config::words::TlsVersion;
use crate::keys::hash;

/// The only version of the format.
const VERSION: i64 = 1;

/// Descriptors kept for files, logs and the admin listener.
const FD_RESERVE: u64 = 256;

pub(super) fn check(cx: &mut Cx<'_>, root: At<'_, Root>) {
    let At { document, written } = root;
    match &written.version {
        Some(version) if *version.get_ref() != VERSION => {
            let message = format!("version {} is not known", version.get_ref());
            cx.error(document, "E012", version.span(), message).hint =
                Some(format!("this version reads version = {VERSION}"));
        }
        Some(_) => {}
        None => {
            cx.error(document, "E012", 0..0, "`version` is missing")
                .hint = Some(format!("write version = {VERSION} at the top"));
        }
    }
    listeners(cx, document, written);
    tokens(cx, document, written);
    masters(cx, document, written);
    tls(cx, document, written);
    if let Some(cors) = &written.cors {
        for origin in &cors.allow_origins {
            let good = origin.get_ref() == "*"
                || origin
                    .get_ref()
                    .split_once("://")
                    .is_some_and(|(scheme, host)| {
                        !scheme.is_empty() && !host.is_empty() && !host.contains('/')
                    });
            if !good {
                let message = format!("`{}` is not an origin", origin.get_ref());
                cx.error(document, "E013", origin.span(), message).hint =
                    Some("write \"*\" or scheme://host[:port]".into());
            }
        }
    }
    if let Some(log) = &written.log
        && let Some(sample) = &log.success_sample
        && !(0.0..=1.0).contains(sample.get_ref())
    {
        cx.error(document, "E013", sample.span(), "must be from 0 to 1");
    }
    let per_key = written
        .metrics
        .as_ref()
        .and_then(|metrics| metrics.per_key.as_ref());
    if let Some(per_key) = per_key
        && *per_key.get_ref()
    {
        let message = "a `key` label is not served by this version";
        cx.warn(document, "W010", per_key.span(), message);
    }
    limits(cx, document, written.limits.as_ref());
}

fn listeners(cx: &mut Cx<'_>, document: &Document, root: &Root) {
    let Some(listen) = &root.listen else {
        cx.warn(
            document,
            "W001",
            0..0,
            "no [listen]: nothing is served but admin",
        );
        return;
    };
    let mut seen: HashMap<String, Vec<Listed<'_>>> = HashMap::new();
    for (front, addresses) in fronts(listen) {
        for text in addresses {
            match ListenAt::parse(text.get_ref()) {
                Err(message) => {
                    cx.error(document, "E014", text.span(), message);
                }
                Ok(at) => {
                    if front == "admin" {
                        admin_listener(cx, document, root, text, &at);
                    }
                    if at.tls && root.tls.as_ref().is_none_or(|tls| tls.certs.is_empty()) {
                        cx.error(
                            document,
                            "E015",
                            text.span(),
                            "a tls: listener needs tls.certs",
                        );
                    }
                    let ephemeral =
                        matches!(&at.address, ListenAddress::Tcp(address) if address.port() == 0);
                    if !ephemeral {
                        let place = format!("{:?}", at.address);
                        let listed = Listed {
                            front,
                            text,
                            tls: at.tls,
                        };
                        seen.entry(place).or_default().push(listed);
                    }
                }
            }
        }
    }
    for sharing in seen.values().filter(|sharing| sharing.len() > 1) {
        shared_listener(cx, document, listen, sharing);
    }
    for proxy in &listen.trusted_proxies {
        if parse_net(proxy.get_ref()).is_none() {
            let message = format!("`{}` is no network", proxy.get_ref());
            cx.error(document, "E013", proxy.span(), message).hint =
                Some("write it like \"10.0.0.0/8\"".into());
        }
    }
    for (_, domains) in base_domains(listen) {
        for domain in domains {
            let text = domain.get_ref();
            let good = !text.is_empty()
                && !text.starts_with('.')
                && text.bytes().all(|b| {
                    b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.'
                });
            if !good {
                let message = format!("`{text}` is no domain in lower case, without port");
                cx.error(document, "E013", domain.span(), message);
            }
        }
    }
}

fn admin_listener(
    cx: &mut Cx<'_>,
    document: &Document,
    root: &Root,
    text: &Spanned<String>,
    at: &ListenAt,
) {
    let ListenAddress::Tcp(address) = &at.address else {
        return;
    };
    if address.ip().is_loopback() {
        return;
    }
    let hosts = root
        .admin
        .as_ref()
        .and_then(|admin| admin.allow_hosts.as_ref());
    if !at.tls || hosts.is_none_or(Vec::is_empty) {
        let message = "an admin listener that others can reach needs TLS and admin.allow_hosts";
        cx.error(document, "E016", text.span(), message).hint = Some(format!(
            "write tls:{address} and set admin.allow_hosts, or listen on loopback"
        ));
    }
}

/// An address as one front lists it.
struct Listed<'a> {
    front: &'static str,
    text: &'a Spanned<String>,
    tls: bool,
}

/// Several fronts on one address are told apart by their base domains.
fn shared_listener(cx: &mut Cx<'_>, document: &Document, listen: &Listen, sharing: &[Listed<'_>]) {
    let [first, rest @ ..] = sharing else {
        return;
    };
    for other in rest {
        let (first_front, front) = (first.front, other.front);
        let message = if front == first_front {
            "this address is listed twice".to_owned()
        } else if first.tls != other.tls {
            "this address is listed with and without tls:".to_owned()
        } else if front == "admin" || first_front == "admin" {
            "the admin listener shares its address with nothing".to_owned()
        } else {
            let without = base_domains(listen).into_iter().find(|(name, domains)| {
                (*name == front || *name == first_front) && domains.is_empty()
            });
            match without {
                Some((name, _)) => {
                    format!(
                        "`{first_front}` and `{front}` share this address, so `{name}` needs listen.base_domains"
                    )
                }
                None => continue,
            }
        };
        let place = document.place(first.text.span());
        let problem = cx.error(document, "E017", other.text.span(), message);
        *problem = problem.clone().with_related(place, "the other one");
    }
}

pub(in crate::config) fn fronts(listen: &Listen) -> [(&'static str, &[Spanned<String>]); 5] {
    [
        ("s3", &listen.s3),
        ("gcs", &listen.gcs),
        ("azure", &listen.azure),
        ("ai", &listen.ai),
        ("admin", listen.admin.as_deref().unwrap_or_default()),
    ]
}

pub(in crate::config) fn base_domains(listen: &Listen) -> [(&'static str, &[Spanned<String>]); 5] {
    let domains = &listen.base_domains;
    [
        ("s3", &domains.s3),
        ("gcs", &domains.gcs),
        ("azure", &domains.azure),
        ("ai", &domains.ai),
        ("admin", &domains.admin),
    ]
}

fn tokens(cx: &mut Cx<'_>, document: &Document, root: &Root) {
    let mut names = Unique::new("admin token");
    for token in root.admin.iter().flat_map(|admin| &admin.token) {
        let name = &token.name;
        names.insert(cx, document, name.get_ref().as_str(), name.span());
        if hash::parse(token.token_sha256.get_ref()).is_none() {
            cx.error(
                document,
                "E018",
                token.token_sha256.span(),
                "`token_sha256` is not `sha256:` and 64 hex digits",
            )
            .hint =
                Some("`aqueduct admin-token create` makes one, `aqueduct hash` hashes one".into());
        }
    }
}

fn masters(cx: &mut Cx<'_>, document: &Document, root: &Root) {
    let mut ids = Unique::new("master key");
    for master in root.secrets.iter().flat_map(|secrets| &secrets.master) {
        ids.insert(cx, document, master.id.get_ref().as_str(), master.id.span());
        match master.source.get_ref() {
            SecretRef::Sealed(_) => {
                cx.error(
                    document,
                    "E020",
                    master.source.span(),
                    "a master key cannot be sealed itself",
                );
            }
            SecretRef::Env(_)
            | SecretRef::File(_)
            | SecretRef::Credential(_)
            | SecretRef::Plain(_)
            | SecretRef::Bare => cx.secret(document, "source", &master.source),
        }
    }
}

fn tls(cx: &mut Cx<'_>, document: &Document, root: &Root) {
    let minimum = root.tls.as_ref().and_then(|tls| tls.min_version.as_ref());
    if let Some(version) = minimum
        && *version.get_ref() == TlsVersion::V1_3
    {
        // An error and no warning: the listeners would go on to speak TLS 1.2.
        let message = "leaving TLS 1.2 out is not served by this version";
        cx.error(document, "E026", version.span(), message);
    }
    for cert in root.tls.iter().flat_map(|tls| &tls.certs) {
        match &cert.key {
            Some(key) => cx.secret(document, "key", key),
            None => {
                cx.error(
                    document,
                    "E004",
                    cert.cert.span(),
                    "a certificate needs its `key`",
                );
            }
        }
    }
}

fn limits(cx: &mut Cx<'_>, document: &Document, limits: Option<&Limits>) {
    /// Smaller heads would refuse ordinary signed requests.
    const HEADER_BYTES: std::ops::RangeInclusive<u64> = 4096..=1 << 20;
    let Some(limits) = limits else { return };
    if let Some(size) = &limits.header_bytes
        && !HEADER_BYTES.contains(&size.get_ref().0)
    {
        cx.error(document, "E013", size.span(), "must be from 4KiB to 1MiB");
    }
    for count in [
        &limits.max_connections,
        &limits.max_connections_per_ip,
        &limits.rps,
        &limits.concurrent,
    ] {
        if let Some(count) = count
            && *count.get_ref() == 0
        {
            cx.error(document, "E013", count.span(), "must be at least 1");
        }
    }
    for size in [&limits.ai_body_bytes, &limits.ai_body_bytes_total] {
        if let Some(size) = size
            && !(1..=1 << 40).contains(&size.get_ref().0)
        {
            cx.error(document, "E013", size.span(), "must be from 1 byte to 1TiB");
        }
    }
    if let (Some(one), Some(total)) = (&limits.ai_body_bytes, &limits.ai_body_bytes_total)
        && one.get_ref().0 > total.get_ref().0
    {
        cx.error(
            document,
            "E013",
            one.span(),
            "larger than ai_body_bytes_total: such a body could never be read",
        );
    }
    if let Some(connections) = &limits.max_connections {
        descriptors(cx, document, connections);
    }
}

fn descriptors(cx: &mut Cx<'_>, document: &Document, connections: &Spanned<u32>) {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let needed = u64::from(*connections.get_ref()) * 2 + FD_RESERVE;
    if let Some(limit) = limit.filter(|limit| needed > *limit) {
        let message = format!(
            "{} connections may need {needed} file descriptors, and the limit is {limit}",
            connections.get_ref()
        );
        cx.warn(document, "W002", connections.span(), message).hint =
            Some("raise LimitNOFILE= (ulimit -n), or lower max_connections".into());
    }
}
