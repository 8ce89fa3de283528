//! The settings of the process, with their defaults.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use toml::Spanned;
use tracing::level_filters::LevelFilter;

use super::Cx;
use crate::config::address::{ListenAt, parse_net};
use crate::config::check::At;
use crate::config::check::process::{base_domains, fronts};
use crate::config::diagnostic::Problem;
use crate::config::model::{self, Reference, Root};
use crate::config::snapshot::table::Table;
use crate::config::snapshot::{
    AdminSettings, AdminToken, Certificate, Cors, GlobalLimits, Listen, ListenAddress, LogSettings,
    ProcessSettings, Role, Snapshot, TlsSettings,
};
use crate::config::source::SourceSet;
use crate::config::units::{Rate, Size, Span};
use crate::config::words::{LogFormat, LogLevel, RoleWord};
use crate::keys::hash;
use crate::policy::limit::{Limiter, Rules};
use crate::protocol::{Front, Protocol};

const STATE_DIR: &str = "/var/lib/aqueduct";

const ADMIN_ADDRESS: &str = "127.0.0.1:9901";

/// A snapshot with everything but certificates, resources, repositories and keys.
pub(super) fn snapshot(
    root: &Root,
    set: &SourceSet,
    limiter: Arc<Limiter>,
    now: Timestamp,
) -> Snapshot {
    let listen = listen(root);
    Snapshot {
        generation: 0,
        hash: set.hash.clone(),
        loaded_at: now,
        process: process(root),
        base_domains: domains(root),
        trusted_proxies: root
            .listen
            .iter()
            .flat_map(|listen| &listen.trusted_proxies)
            .filter_map(|net| parse_net(net.get_ref()))
            .collect(),
        tls: TlsSettings {
            certificates: Vec::new(),
        },
        cors: root.cors.as_ref().map(cors),
        log: log(root.log.as_ref()),
        gen_ai_metrics: root.metrics.as_ref().and_then(|it| it.gen_ai) != Some(false),
        limits: limits(root.limits.clone().unwrap_or_default()),
        limiter,
        admin: admin(root, &listen),
        listen,
        repositories: Vec::new(),
        resources: Vec::new(),
        s3_keys: Table::default(),
        ai_keys: Table::default(),
        keys_by_id: Table::default(),
    }
}

pub(in crate::config) fn process(root: &Root) -> ProcessSettings {
    let process = root.process.as_ref();
    ProcessSettings {
        state_dir: process
            .and_then(|it| it.state_dir.as_ref())
            .map_or_else(|| PathBuf::from(STATE_DIR), |it| it.get_ref().into()),
        worker_threads: process
            .and_then(|it| it.worker_threads.as_ref())
            .map_or(0, |it| usize::from(*it.get_ref())),
    }
}

fn front(name: &str) -> Front {
    match name {
        "s3" => Front::Storage(Protocol::S3),
        "gcs" => Front::Storage(Protocol::Gcs),
        "azure" => Front::Storage(Protocol::Azure),
        "ai" => Front::Ai,
        _ => Front::Admin,
    }
}

fn listen(root: &Root) -> Vec<Listen> {
    let default = model::Listen::default();
    let written = root.listen.as_ref().unwrap_or(&default);
    let mut all: Vec<Listen> = Vec::new();
    let mut add = |front: Front, at: ListenAt| {
        let ephemeral = matches!(&at.address, ListenAddress::Tcp(it) if it.port() == 0);
        match all.iter_mut().find(|it| it.address == at.address) {
            Some(shared) if !ephemeral => shared.fronts.push(front),
            Some(_) | None => all.push(Listen {
                address: at.address,
                tls: at.tls,
                fronts: vec![front],
            }),
        }
    };
    for (name, addresses) in fronts(written) {
        let addresses = addresses.iter();
        for at in addresses.filter_map(|text| ListenAt::parse(text.get_ref()).ok()) {
            add(front(name), at);
        }
    }
    if written.admin.is_none()
        && let Ok(at) = ListenAt::parse(ADMIN_ADDRESS)
    {
        add(Front::Admin, at);
    }
    all
}

fn domains(root: &Root) -> Vec<(Front, Box<str>)> {
    let Some(listen) = &root.listen else {
        return Vec::new();
    };
    base_domains(listen)
        .into_iter()
        .flat_map(|(name, domains)| {
            domains
                .iter()
                .map(move |domain| (front(name), domain.get_ref().as_str().into()))
        })
        .collect()
}

fn cors(written: &model::Cors) -> Cors {
    let boxed = |list: Option<&Vec<String>>, default: &[&str]| -> Vec<Box<str>> {
        match list {
            Some(list) => list.iter().map(|it| it.as_str().into()).collect(),
            None => default.iter().map(|it| (*it).into()).collect(),
        }
    };
    Cors {
        allow_origins: written
            .allow_origins
            .iter()
            .map(|origin| origin.get_ref().as_str().into())
            .collect(),
        allow_methods: boxed(
            written.allow_methods.as_ref(),
            &["GET", "HEAD", "PUT", "POST", "DELETE"],
        ),
        allow_headers: boxed(written.allow_headers.as_ref(), &["*"]),
        expose_headers: boxed(
            written.expose_headers.as_ref(),
            &["ETag", "x-amz-request-id", "x-request-id"],
        ),
        max_age: duration(written.max_age, 3600),
    }
}

fn log(written: Option<&model::Log>) -> LogSettings {
    let level = written.and_then(|it| it.level).unwrap_or(LogLevel::Info);
    LogSettings {
        level: match level {
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        },
        json: written.and_then(|it| it.format) != Some(LogFormat::Text),
        access: written.and_then(|it| it.access) != Some(false),
        success_sample: written
            .and_then(|it| it.success_sample.as_ref())
            .map_or(1.0, |sample| *sample.get_ref()),
        slow: duration(written.and_then(|it| it.slow), 1),
    }
}

fn limits(written: model::Limits) -> GlobalLimits {
    let bytes = |size: Option<Spanned<Size>>, default: usize| {
        size.map_or(default, |size| {
            usize::try_from(size.into_inner().0).unwrap_or(usize::MAX)
        })
    };
    let count = |count: Option<Spanned<u32>>, default: usize| {
        count.map_or(default, |count| {
            usize::try_from(count.into_inner()).unwrap_or(usize::MAX)
        })
    };
    GlobalLimits {
        header_bytes: bytes(written.header_bytes, 64 << 10),
        header_deadline: duration(written.header_deadline, 10),
        keep_alive: duration(written.keep_alive, 75),
        max_connections: count(written.max_connections, 20_000),
        max_connections_per_ip: count(written.max_connections_per_ip, 512),
        min_body_rate: written.min_body_rate.unwrap_or(Rate(1024)).0,
        drain: duration(written.drain, 120),
        ai_body_bytes: bytes(written.ai_body_bytes, 32 << 20),
        ai_body_bytes_total: bytes(written.ai_body_bytes_total, 512 << 20),
        requests: Rules {
            rps: written.rps.map(Spanned::into_inner),
            concurrent: written.concurrent.map(Spanned::into_inner),
        },
    }
}

fn duration(written: Option<Span>, default_s: u64) -> Duration {
    written.map_or(Duration::from_secs(default_s), |span| span.0)
}

fn admin(root: &Root, listen: &[Listen]) -> AdminSettings {
    let written = root.admin.as_ref();
    AdminSettings {
        allow_hosts: match written.and_then(|it| it.allow_hosts.as_ref()) {
            Some(hosts) => hosts
                .iter()
                .map(|it| it.get_ref().as_str().into())
                .collect(),
            None => loopback_hosts(listen),
        },
        metrics_public: written.is_some_and(|it| it.metrics_public == Some(true)),
        tokens: written
            .iter()
            .flat_map(|admin| &admin.token)
            .filter_map(|token| {
                Some(AdminToken {
                    name: token.name.get_ref().as_str().into(),
                    role: match token.role {
                        RoleWord::Admin => Role::Admin,
                        RoleWord::Operator => Role::Operator,
                        RoleWord::Viewer => Role::Viewer,
                        RoleWord::Metrics => Role::Metrics,
                    },
                    sha256: hash::parse(token.token_sha256.get_ref())?,
                })
            })
            .collect(),
    }
}

/// The names of this machine to itself, with the ports of the admin listeners. A port that the system chooses is
/// not known here: then the names stand alone, and mean any port.
fn loopback_hosts(listen: &[Listen]) -> Vec<Box<str>> {
    let mut hosts = Vec::new();
    for at in listen.iter().filter(|at| at.fronts.contains(&Front::Admin)) {
        let port = match &at.address {
            ListenAddress::Tcp(address) if address.port() != 0 => format!(":{}", address.port()),
            ListenAddress::Tcp(_) | ListenAddress::Unix(_) | ListenAddress::Fd(_) => String::new(),
        };
        for name in ["localhost", "127.0.0.1", "[::1]"] {
            let host: Box<str> = format!("{name}{port}").into();
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
    }
    hosts
}

/// Reads the certificates' content out of the set.
pub(super) fn certificates(
    cx: &mut Cx<'_>,
    root: At<'_, Root>,
    set: &SourceSet,
) -> Vec<Certificate> {
    let At { document, written } = root;
    let mut certificates = Vec::new();
    for cert in written.tls.iter().flat_map(|tls| &tls.certs) {
        let reference = Reference::File(cert.cert.get_ref());
        let chain = match set.references.content(reference) {
            Ok(chain) => chain,
            Err(error) => {
                let place = document.place(cert.cert.span());
                cx.problems
                    .push(Problem::new(document.severity(), "E051", place, error));
                continue;
            }
        };
        let key = cert.key.as_ref();
        if let Some(key_pem) = key.and_then(|key| cx.secret(document, key, None)) {
            certificates.push(Certificate {
                path: set.references.path(reference).unwrap_or_default(),
                chain_pem: chain.expose().to_vec(),
                key_pem,
            });
        }
    }
    certificates
}
