//! The config as it is written: one type a table, field for field. Its doc comments are the reference manual.
//!
//! Nothing here is checked beyond a value's own form, and nothing outside `config` sees these types: what the
//! rest of the program uses is [`super::snapshot`]. Fields that other places refer to keep their position in the
//! file, so that a problem can show both. Unknown fields are refused; a field or table whose name starts with
//! `x-` is ignored, for whatever tools want to keep in the files.

use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;

use super::units::{Rate, Size, Span};
use super::words::{LogFormat, LogLevel, RoleWord, TlsVersion};

pub use super::secrets::SecretRef;

/// A field of a table, for suggestions, masking and the test of the example config.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub name: &'static str,
    pub required: bool,
    pub secret: bool,
}

/// A table of the config.
pub trait Section {
    /// The table's path as people write it, such as `[[s3]]` or `[limits]`.
    const HEADER: &'static str;
    const FIELDS: &'static [Field];
}

macro_rules! section {
    (
        $(#[$meta:meta])*
        $header:literal $name:ident {
            $(required { $($(#[$r_meta:meta])* $required:ident: $r_type:ty,)* })?
            $(optional { $($(#[$o_meta:meta])* $optional:ident: $o_type:ty,)* })?
            $(secret { $($(#[$s_meta:meta])* $secret:ident: $s_type:ty,)* })?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($($(#[$r_meta])* pub $required: $r_type,)*)?
            $($($(#[$o_meta])* #[serde(default)] pub $optional: $o_type,)*)?
            $($($(#[$s_meta])* #[serde(default)] pub $secret: $s_type,)*)?
        }

        impl Section for $name {
            const HEADER: &'static str = $header;
            const FIELDS: &'static [Field] = &[
                $($(Field { name: stringify!($required), required: true, secret: false },)*)?
                $($(Field { name: stringify!($optional), required: false, secret: false },)*)?
                $($(Field { name: stringify!($secret), required: false, secret: true },)*)?
            ];
        }
    };
}

mod workload;

pub use workload::{
    Ai, Azure, Breaker, BucketEntry, Gcs, Key, KeyLimits, Model, ModelAlias, Repository,
    RepositoryLimits, Retries, S3, Timeouts,
};

/// What one file holds. Any file may hold any of it but [`Process`], which is `aqueduct.toml`'s alone.
#[derive(Clone, Debug, Default)]
pub struct File {
    pub root: Root,
    pub s3: Vec<Arc<S3>>,
    pub gcs: Vec<Arc<Gcs>>,
    pub azure: Vec<Arc<Azure>>,
    pub ai: Vec<Arc<Ai>>,
    pub repository: Vec<Arc<Repository>>,
    pub key: Vec<Arc<Key>>,
}

/// Process-level settings: the part of a file that only `aqueduct.toml` may hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Root {
    pub version: Option<Spanned<i64>>,
    pub process: Option<Process>,
    pub listen: Option<Listen>,
    pub tls: Option<Tls>,
    pub cors: Option<Cors>,
    pub admin: Option<Admin>,
    pub secrets: Option<Secrets>,
    pub limits: Option<Limits>,
    pub metrics: Option<Metrics>,
    pub log: Option<Log>,
}

section! {
    /// Read at start only.
    "[process]" Process {
        optional {
            /// Where Aqueduct keeps what it must remember: audit log, revoked ids, ledger, last good config.
            /// Default `/var/lib/aqueduct`.
            state_dir: Option<Spanned<String>>,
            /// Threads of the data plane; 0, the default: one a core.
            worker_threads: Option<Spanned<u16>>,
            /// Accept secrets written as `plain:...`. Default false.
            allow_plaintext_secrets: Option<bool>,
        }
    }
}

section! {
    #[derive(Default)]
    /// Addresses to listen on, by what is spoken there: `HOST:PORT`, `tls:HOST:PORT`, `unix:PATH`, `fd:NAME` (a
    /// socket passed by systemd). An address listed under several protocols is shared, and `base_domains` tells
    /// them apart. Read at start only, except `base_domains` and `trusted_proxies`.
    "[listen]" Listen {
        optional {
            s3: Vec<Spanned<String>>,
            gcs: Vec<Spanned<String>>,
            azure: Vec<Spanned<String>>,
            ai: Vec<Spanned<String>>,
            /// Loopback unless TLS and `admin.allow_hosts` are set. Default `127.0.0.1:9901`.
            admin: Option<Vec<Spanned<String>>>,
            base_domains: BaseDomains,
            /// Networks of proxies whose `X-Forwarded-For` is believed.
            trusted_proxies: Vec<Spanned<String>>,
        }
    }
}

section! {
    /// Host names under which each protocol is reached: `<bucket>.<base domain>` addresses a bucket.
    #[derive(Default)]
    "listen.base_domains" BaseDomains {
        optional {
            s3: Vec<Spanned<String>>,
            gcs: Vec<Spanned<String>>,
            azure: Vec<Spanned<String>>,
            ai: Vec<Spanned<String>>,
            admin: Vec<Spanned<String>>,
        }
    }
}

section! {
    /// Certificates of the `tls:` listeners. Read again when they change.
    "[tls]" Tls {
        optional {
            /// `"1.2"`, the default, or `"1.3"`.
            min_version: Option<Spanned<TlsVersion>>,
            /// The first is used where no name matches.
            certs: Vec<Cert>,
        }
    }
}

section! {
    /// One certificate.
    "tls.certs" Cert {
        required {
            /// PEM file: the certificate, then its chain.
            cert: Spanned<String>,
        }
        secret {
            /// The private key, PEM: `file:`, `credential:` or `env:`.
            key: Option<Spanned<SecretRef>>,
        }
    }
}

section! {
    /// Answers to browsers' preflights on the data listeners. Without it they are refused.
    "[cors]" Cors {
        required {
            /// Origins, or `"*"`.
            allow_origins: Vec<Spanned<String>>,
        }
        optional {
            /// Default: GET, HEAD, PUT, POST, DELETE.
            allow_methods: Option<Vec<String>>,
            /// Default `"*"`.
            allow_headers: Option<Vec<String>>,
            /// Default: `ETag`, `x-amz-request-id`, `x-request-id`.
            expose_headers: Option<Vec<String>>,
            /// How long a browser may remember the answer. Default `"1h"`.
            max_age: Option<Span>,
        }
    }
}

section! {
    /// The admin listener.
    "[admin]" Admin {
        optional {
            /// `Host` values that are answered; others get 421. Default: the loopback names with the listeners'
            /// ports.
            allow_hosts: Option<Vec<Spanned<String>>>,
            /// Serve `/metrics` without a token. Default false.
            metrics_public: Option<bool>,
            /// `aqueduct admin-token create` writes these.
            token: Vec<AdminToken>,
        }
    }
}

section! {
    /// A bearer token of the admin API.
    "[[admin.token]]" AdminToken {
        required {
            /// Who it was made for; the audit log says it.
            name: Spanned<String>,
            /// `metrics`: `/metrics` only. `viewer`: GETs. `operator`: viewer, keys and reload. `admin`: all.
            role: RoleWord,
            /// `sha256:` and 64 hex digits: the token's SHA-256, as `aqueduct hash` prints it.
            token_sha256: Spanned<String>,
        }
    }
}

section! {
    /// Secrets that open other secrets.
    #[derive(Default)]
    "[secrets]" Secrets {
        optional {
            master: Vec<Master>,
        }
    }
}

section! {
    /// A master key (`aqueduct keygen` makes one). The first seals, all of them open.
    "[[secrets.master]]" Master {
        required {
            /// The name that sealed texts carry.
            id: Spanned<String>,
            /// `env:NAME`, `file:PATH` or `credential:NAME`, holding the 32 bytes as printed by `keygen`.
            source: Spanned<SecretRef>,
        }
    }
}

section! {
    /// Limits of the whole process.
    #[derive(Default)]
    "[limits]" Limits {
        optional {
            /// Largest request head. Default `"64KiB"`.
            header_bytes: Option<Spanned<Size>>,
            /// Time for a request head, first byte to last. Default `"10s"`.
            header_deadline: Option<Span>,
            /// How long an idle client connection is kept. Default `"75s"`.
            keep_alive: Option<Span>,
            /// Default 20000.
            max_connections: Option<Spanned<u32>>,
            /// Default 512.
            max_connections_per_ip: Option<Spanned<u32>>,
            /// Requests a second, of all clients together. Default: no limit.
            rps: Option<Spanned<u32>>,
            /// Requests at once, of all clients together. Default: no limit.
            concurrent: Option<Spanned<u32>>,
            /// What a request body must keep up after 10 s of grace; 0 for none. Default `"1KiB/s"`.
            min_body_rate: Option<Rate>,
            /// Longest wait for requests in flight at shutdown. Default `"120s"`.
            drain: Option<Span>,
            /// Largest AI request body. Default `"32MiB"`.
            ai_body_bytes: Option<Spanned<Size>>,
            /// All AI request bodies held at one time. Default `"512MiB"`.
            ai_body_bytes_total: Option<Spanned<Size>>,
        }
    }
}

section! {
    #[derive(Default)]
    "[metrics]" Metrics {
        optional {
            /// Add a `key` label to the token counters. Default false.
            per_key: Option<Spanned<bool>>,
            /// Count calls of models under the names of OpenTelemetry too (`gen_ai_*`). Default true.
            gen_ai: Option<bool>,
        }
    }
}

section! {
    #[derive(Default)]
    "[log]" Log {
        optional {
            /// `error`, `warn`, `info` (the default), `debug` or `trace`.
            level: Option<LogLevel>,
            /// `json`, the default, or `text`.
            format: Option<LogFormat>,
            /// Write a line for each request. Default true.
            access: Option<bool>,
            /// The share of successful requests that get their line, 0 to 1; failed and slow ones always do.
            /// Default 1.0.
            success_sample: Option<Spanned<f64>>,
            /// A request that takes longer counts as slow. Default `"1s"`.
            slow: Option<Span>,
        }
    }
}

/// Something outside the config's own files whose content is part of the config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference<'a> {
    File(&'a str),
    /// A file in `$CREDENTIALS_DIRECTORY`.
    Credential(&'a str),
}

impl File {
    /// Whether there is nothing but keys in it, leaving aside what only `aqueduct.toml` may hold.
    pub fn has_keys_alone(&self) -> bool {
        let Self {
            s3,
            gcs,
            azure,
            ai,
            repository,
            key: _,
            root: _,
        } = self;
        s3.is_empty()
            && gcs.is_empty()
            && azure.is_empty()
            && ai.is_empty()
            && repository.is_empty()
    }

    /// Every [`Reference`] of the file.
    pub fn references(&self) -> Vec<Reference<'_>> {
        let mut secrets: Vec<&SecretRef> = Vec::new();
        let mut files: Vec<&Spanned<String>> = Vec::new();
        for s3 in &self.s3 {
            let written = [
                &s3.secret_access_key,
                &s3.session_token,
                &s3.web_identity_token,
            ];
            secrets.extend(written.into_iter().flatten().map(Spanned::get_ref));
            files.extend(&s3.ca_file);
        }
        for gcs in &self.gcs {
            let written = [&gcs.credentials, &gcs.secret_access_key];
            secrets.extend(written.into_iter().flatten().map(Spanned::get_ref));
            files.extend(&gcs.ca_file);
        }
        for azure in &self.azure {
            let written = [
                &azure.account_key,
                &azure.sas,
                &azure.client_secret,
                &azure.federated_token,
            ];
            secrets.extend(written.into_iter().flatten().map(Spanned::get_ref));
            files.extend(&azure.ca_file);
        }
        for ai in &self.ai {
            let written = [&ai.api_key, &ai.secret_access_key, &ai.session_token];
            secrets.extend(written.into_iter().flatten().map(Spanned::get_ref));
            files.extend(&ai.ca_file);
        }
        for key in &self.key {
            secrets.extend(key.secret.as_ref().map(Spanned::get_ref));
        }
        for master in self.root.secrets.iter().flat_map(|secrets| &secrets.master) {
            secrets.push(master.source.get_ref());
        }
        for cert in self.root.tls.iter().flat_map(|tls| &tls.certs) {
            secrets.extend(cert.key.as_ref().map(Spanned::get_ref));
            files.push(&cert.cert);
        }
        let secrets = secrets.into_iter().filter_map(SecretRef::reference);
        let files = files
            .into_iter()
            .map(|file| Reference::File(file.get_ref().as_str()));
        secrets.chain(files).collect()
    }
}
