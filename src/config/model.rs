//! The config as it is written: one type a table, field for field. Its doc comments are the reference manual.
//!
//! Nothing here is checked beyond a value's own form, and nothing outside `config` sees these types: what the
//! rest of the program uses is [`super::snapshot`]. Fields that other places refer to keep their position in the
//! file, so that a problem can show both. Unknown fields are refused; a field or table whose name starts with
//! `x-` is ignored, for whatever tools want to keep in the files.

use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;
use uuid::Uuid;

use super::units::{Rate, Size, Span, Time};
use super::words::{
    AccessWord, Addressing, AiTypeWord, Endpoint, FamilyWord, LogFormat, LogLevel, Mode, Payload,
    Provider, RoleWord, TlsVersion, Usage,
};

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
            /// Where Aqueduct keeps what it must remember: audit log, revoked ids, last good config.
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
            min_version: Option<TlsVersion>,
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
            per_key: Option<bool>,
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

section! {
    /// A bucket of AWS S3 or of a compatible store, with the credential that opens it.
    "[[s3]]" S3 {
        required {
            /// What repositories call it.
            name: Spanned<String>,
            bucket: Spanned<String>,
            region: Spanned<String>,
            access_key_id: Spanned<String>,
            /// `env:NAME`, `file:PATH`, `credential:NAME` or `sealed:...`.
            secret_access_key: Spanned<SecretRef>,
        }
        optional {
            /// Stable identity; by default made of the name.
            id: Option<Spanned<Uuid>>,
            /// URL of the store. Left out: AWS, in `region`.
            endpoint: Option<Spanned<String>>,
            /// `"virtual"` (the default on AWS) or `"path"` (the default elsewhere).
            addressing: Option<Addressing>,
            /// What the store is, which sets its habits: `aws`, `minio`, `seaweedfs`, `r2`, `other`.
            provider: Option<Provider>,
            /// The store compares a payload with its signed SHA-256 before it keeps it. Default: by provider.
            verifies_sha256: Option<bool>,
            /// The store takes checksums in trailers of unsigned bodies. Default: by provider.
            trailers: Option<bool>,
            timeouts: Timeouts,
            /// Allow an endpoint with a private address.
            allow_private: Option<bool>,
            /// Allow an `http:` endpoint.
            allow_http: Option<bool>,
            /// PEM bundle to trust instead of the system's.
            ca_file: Option<Spanned<String>>,
        }
        secret {
            /// For temporary credentials.
            session_token: Option<Spanned<SecretRef>>,
        }
    }
}

section! {
    /// Time limits towards one resource.
    #[derive(Copy, Default)]
    "timeouts" Timeouts {
        optional {
            /// Default `"3s"`.
            connect: Option<Span>,
            /// Default `"5s"`.
            tls: Option<Span>,
            /// From the end of the request to the response's head. Default `"30s"`, AI `"120s"`.
            first_byte: Option<Span>,
            /// Between two reads or writes of a body. Default `"60s"`, AI `"120s"`.
            idle: Option<Span>,
            /// How long an unused connection is kept. Default `"60s"`.
            pool_idle: Option<Span>,
        }
    }
}

section! {
    /// A bucket of Google Cloud Storage. Read and checked; not served by this version.
    "[[gcs]]" Gcs {
        required {
            name: Spanned<String>,
            bucket: Spanned<String>,
            /// Service account key, JSON.
            credentials: Spanned<SecretRef>,
        }
        optional {
            id: Option<Spanned<Uuid>>,
            endpoint: Option<Spanned<String>>,
            timeouts: Timeouts,
            allow_private: Option<bool>,
            allow_http: Option<bool>,
            ca_file: Option<Spanned<String>>,
        }
    }
}

section! {
    /// A container of Azure Blob Storage. Read and checked; not served by this version.
    "[[azure]]" Azure {
        required {
            name: Spanned<String>,
            account: Spanned<String>,
            container: Spanned<String>,
            account_key: Spanned<SecretRef>,
        }
        optional {
            id: Option<Spanned<Uuid>>,
            endpoint: Option<Spanned<String>>,
            timeouts: Timeouts,
            allow_private: Option<bool>,
            allow_http: Option<bool>,
            ca_file: Option<Spanned<String>>,
        }
    }
}

section! {
    /// An account at an AI provider, or a model server.
    "[[ai]]" Ai {
        required {
            name: Spanned<String>,
            /// `openai`, or `other` for any server with the same API. `anthropic`, `google` and `aws` are not
            /// served by this version.
            r#type: Spanned<AiTypeWord>,
        }
        optional {
            id: Option<Spanned<Uuid>>,
            /// Up to and including the version, such as `https://api.openai.com/v1`. Required for `other`.
            base_url: Option<Spanned<String>>,
            /// Names, or `{ alias = "fast", upstream = "gpt-4o-mini" }`. Left out: whatever the server has.
            models: Option<Vec<Spanned<Model>>>,
            /// Ask for token counts in streams that did not, and hide them again: `auto` (until the server
            /// refuses) or `never`. Default `auto`.
            usage_injection: Option<Usage>,
            /// The server has `/v1/responses`. Default: true for `openai`, else false.
            responses: Option<bool>,
            timeouts: Timeouts,
            allow_private: Option<bool>,
            allow_http: Option<bool>,
            ca_file: Option<Spanned<String>>,
        }
        secret {
            /// Left out for servers that ask for none.
            api_key: Option<Spanned<SecretRef>>,
        }
    }
}

/// An entry of `models`.
#[derive(Clone, Debug, PartialEq)]
pub enum Model {
    Name(String),
    Alias(ModelAlias),
}

section! {
    /// A model under a name of our own.
    "models" ModelAlias {
        required {
            /// What clients write.
            alias: String,
            /// What the provider calls it.
            upstream: String,
        }
    }
}

section! {
    /// One endpoint over many resources.
    "[[repository]]" Repository {
        required {
            /// A uuid, given once and kept: sealed keys are bound to it.
            id: Spanned<Uuid>,
            name: Spanned<String>,
            /// What clients speak: `S3`, or `OPENAI` for AI alone. `GCS` and `BLOB` are not served by this version.
            endpoint: Spanned<Endpoint>,
        }
        optional {
            /// `NORMAL`, the default. `MIRROR` is not served by this version.
            mode: Option<Spanned<Mode>>,
            buckets: Vec<BucketEntry>,
            /// Names of `[[ai]]` resources, first choice first. Adds an `OpenAI` endpoint to a storage repository.
            ai: Vec<Spanned<String>>,
            /// Where buckets that clients create are kept. Needs `bucket_prefix`.
            default_resource: Option<Spanned<String>>,
            /// Put before the names of buckets that clients create.
            bucket_prefix: Option<Spanned<String>>,
            /// Whether clients may leave payloads unsigned: `allow`, the default, or `tls-only`.
            unsigned_payload: Option<Payload>,
            limits: RepositoryLimits,
            /// `/v1/...` paths beyond the supported ones that are forwarded as they are to the first `ai` resource.
            passthrough: Vec<Spanned<String>>,
        }
    }
}

section! {
    /// A bucket of a repository.
    "buckets" BucketEntry {
        required {
            /// The name of an `[[s3]]`, `[[gcs]]` or `[[azure]]` resource.
            resource: Spanned<String>,
        }
        optional {
            /// The bucket name that clients see. Default: the upstream's.
            expose_as: Option<Spanned<String>>,
            /// Put before every key at the upstream. Also written `folder`.
            #[serde(alias = "folder")]
            prefix: Option<Spanned<String>>,
            /// The creation date that bucket lists show. Default: 2026-01-01.
            created_at: Option<Time>,
        }
    }
}

section! {
    /// Limits of one repository.
    #[derive(Default)]
    "repository.limits" RepositoryLimits {
        optional {
            /// Requests a second.
            rps: Option<Spanned<u32>>,
            /// Requests at once.
            concurrent: Option<Spanned<u32>>,
            /// Largest object or part. Default: what S3 itself takes, 10,000 parts of 5 GiB.
            max_object: Option<Spanned<Size>>,
        }
    }
}

section! {
    /// A key that clients use. `aqueduct key create` and the admin API write these, one a file, in `keys.d`.
    "[[key]]" Key {
        required {
            id: Spanned<Uuid>,
            /// The name of the repository that it opens.
            repository: Spanned<String>,
            /// Which of the repository's endpoints: `storage` or `ai`.
            family: Spanned<FamilyWord>,
            name: Spanned<String>,
        }
        optional {
            /// `READ`, `WRITE` or `ADMIN`. Default `READ`; an AI key is always `WRITE`.
            access: Option<Spanned<AccessWord>>,
            /// Narrows `WRITE` to puts, deletes and multipart.
            write_only: Option<Spanned<bool>>,
            /// The public part: the access key id.
            key: Option<Spanned<String>>,
            /// The provider that an AI key is labelled with.
            ai_type: Option<Spanned<AiTypeWord>>,
            /// Refuse resources of any other type than `ai_type`.
            restrict_to_type: Option<bool>,
            created_at: Option<Time>,
            created_by: Option<String>,
            not_before: Option<Time>,
            expires_at: Option<Time>,
            disabled: Option<bool>,
            /// Set when the key was deleted; the entry stays as a record.
            deleted_at: Option<Time>,
            /// Networks or addresses that may use the key.
            allow_ips: Vec<Spanned<String>>,
            /// Buckets, by the names that clients see.
            allow_buckets: Vec<Spanned<String>>,
            /// `bucket/prefix`, by the names that clients see.
            allow_prefixes: Vec<Spanned<String>>,
            /// Models, by the names that clients write.
            models: Vec<Spanned<String>>,
            /// `sha256:` and 64 hex digits: an AI key's bearer token, hashed.
            secret_sha256: Option<Spanned<String>>,
            /// PEM: the public half of a GCS key. Not served by this version.
            public_key: Option<Spanned<String>>,
        }
        secret {
            /// A storage key's secret.
            secret: Option<Spanned<SecretRef>>,
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            s3: Vec::new(),
            gcs: Vec::new(),
            azure: Vec::new(),
            ai: Vec::new(),
            admin: None,
            base_domains: BaseDomains::default(),
            trusted_proxies: Vec::new(),
        }
    }
}

impl<'de> Deserialize<'de> for Model {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Model;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a model's name, or { alias = \"...\", upstream = \"...\" }")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Model, E> {
                Ok(Model::Name(name.to_owned()))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Model, A::Error> {
                let map = serde::de::value::MapAccessDeserializer::new(map);
                ModelAlias::deserialize(map).map(Model::Alias)
            }
        }

        from.deserialize_any(Visitor)
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
    /// Every [`Reference`] of the file.
    pub fn references(&self) -> Vec<Reference<'_>> {
        let mut secrets: Vec<&SecretRef> = Vec::new();
        let mut files: Vec<&Spanned<String>> = Vec::new();
        for s3 in &self.s3 {
            secrets.push(s3.secret_access_key.get_ref());
            secrets.extend(s3.session_token.as_ref().map(Spanned::get_ref));
            files.extend(&s3.ca_file);
        }
        for gcs in &self.gcs {
            secrets.push(gcs.credentials.get_ref());
        }
        for azure in &self.azure {
            secrets.push(azure.account_key.get_ref());
        }
        for ai in &self.ai {
            secrets.extend(ai.api_key.as_ref().map(Spanned::get_ref));
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
