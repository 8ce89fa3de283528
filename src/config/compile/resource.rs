//! Resources: origins, accounts, habits, and the defaults of all of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use toml::Spanned;
use uuid::Uuid;

use super::{Cx, ai_type};
use crate::config::address::Url;
use crate::config::check::{At, Checked, Resource as Written};
use crate::config::diagnostic::Problem;
use crate::config::model;
use crate::config::parse::Document;
use crate::config::units::Span;
use crate::config::words::{self, AiTypeWord, Provider, Usage};
use crate::keys::seal::Aad;
use crate::keys::signing::SigningCache;
use crate::policy::health::{BreakerRules, HealthRules, RetryRules};
use crate::policy::route::{
    Addressing, AiAccount, Origin, Resource, ResourceKind, S3Account, S3Quirks, Timeouts,
    UsageInjection,
};
use crate::protocol::Dialect;

/// The name space of ids that are made of resource names.
const RESOURCE_IDS: Uuid = Uuid::from_u128(0x6f1b_7a52_3c0e_4d1e_9d47_a9ed_0c70_0001);

const STORAGE_TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(3),
    tls: Duration::from_secs(5),
    first_byte: Duration::from_secs(30),
    idle: Duration::from_mins(1),
    pool_idle: Duration::from_mins(1),
};

const AI_TIMEOUTS: Timeouts = Timeouts {
    first_byte: Duration::from_mins(2),
    idle: Duration::from_mins(2),
    ..STORAGE_TIMEOUTS
};

const OPENAI_URL: &str = "https://api.openai.com/v1";

impl Cx<'_> {
    /// All that this version serves, by name.
    pub(super) fn resources(&mut self, checked: &Checked<'_>) -> HashMap<Arc<str>, Arc<Resource>> {
        let mut compiled = HashMap::with_capacity(checked.resources.len());
        for written in checked.resources.values() {
            let resource = match written {
                Written::S3(at) => self.s3(*at),
                Written::Ai(at) => self.ai(*at),
                Written::Gcs(_) | Written::Azure(_) => None,
            };
            let Some(resource) = resource else { continue };
            let name = Arc::clone(&resource.name);
            let resource = match self.inputs.memory.resources.get(&name) {
                Some(before) if is_same(before, &resource) => Arc::clone(before),
                Some(_) | None => Arc::new(resource),
            };
            compiled.insert(name, resource);
        }
        compiled
    }

    fn s3(&mut self, at: At<'_, Arc<model::S3>>) -> Option<Resource> {
        let At { document, written } = at;
        let name = written.name.get_ref().as_str();
        let region = written.region.get_ref().as_str();
        let url = match &written.endpoint {
            Some(endpoint) => Url::parse(endpoint.get_ref()).ok()?,
            None => aws_url(region),
        };
        let field = |field| Some(Aad::Resource { name, field });
        let secret_access_key = self.secret(
            document,
            &written.secret_access_key,
            field("secret_access_key"),
        );
        let session_token = match &written.session_token {
            Some(token) => Some(self.secret(document, token, field("session_token"))?),
            None => None,
        };
        let provider = written.provider.unwrap_or_else(|| provider_of(&url.host));
        let account = S3Account {
            region: region.into(),
            access_key_id: written.access_key_id.get_ref().as_str().into(),
            secret_access_key: secret_access_key?,
            session_token,
            addressing: addressing(written, provider),
            quirks: S3Quirks {
                verifies_sha256: written.verifies_sha256.unwrap_or(match provider {
                    Provider::Aws | Provider::Minio => true,
                    Provider::Seaweedfs | Provider::R2 | Provider::Other => false,
                }),
                trailers: written.trailers.unwrap_or(match provider {
                    Provider::Aws | Provider::Seaweedfs => true,
                    Provider::Minio | Provider::R2 | Provider::Other => false,
                }),
            },
            signing: SigningCache::new(),
        };
        let server_name = match account.addressing {
            Addressing::Path => url.host.clone(),
            Addressing::Virtual => format!("{}.{}", written.bucket.get_ref(), url.host),
        };
        let common = Common {
            name: &written.name,
            server_name: &server_name,
            id: written.id.as_ref(),
            timeouts: timeouts(written.timeouts, STORAGE_TIMEOUTS),
            health_rules: health_rules(&written.breaker, &written.retries),
            allow_private: written.allow_private == Some(true),
            ca_file: written.ca_file.as_ref(),
        };
        self.resource(document, &common, &url, ResourceKind::S3(account))
    }

    fn ai(&mut self, at: At<'_, Arc<model::Ai>>) -> Option<Resource> {
        let At { document, written } = at;
        let name = written.name.get_ref().as_str();
        let kind = *written.r#type.get_ref();
        match kind {
            AiTypeWord::OpenAi | AiTypeWord::Other => {}
            AiTypeWord::Anthropic | AiTypeWord::Google | AiTypeWord::Aws => return None,
        }
        let base_url = written.base_url.as_ref();
        let url = Url::parse(base_url.map_or(OPENAI_URL, |url| url.get_ref())).ok()?;
        let field = "api_key";
        let api_key = match &written.api_key {
            Some(key) => Some(self.secret(document, key, Some(Aad::Resource { name, field }))?),
            None => None,
        };
        let account = AiAccount {
            dialect: Dialect::OpenAi,
            provider: ai_type(kind),
            api_key,
            usage_injection: match written.usage_injection {
                None | Some(Usage::Auto) => UsageInjection::Auto,
                Some(Usage::Never) => UsageInjection::Never,
            },
            responses: written.responses.unwrap_or(kind == AiTypeWord::OpenAi),
        };
        let common = Common {
            name: &written.name,
            server_name: &url.host,
            id: written.id.as_ref(),
            timeouts: timeouts(written.timeouts, AI_TIMEOUTS),
            health_rules: health_rules(&written.breaker, &written.retries),
            allow_private: written.allow_private == Some(true),
            ca_file: written.ca_file.as_ref(),
        };
        self.resource(document, &common, &url, ResourceKind::Ai(account))
    }

    fn resource(
        &mut self,
        document: &Document,
        common: &Common<'_>,
        url: &Url,
        kind: ResourceKind,
    ) -> Option<Resource> {
        let name = common.name.get_ref().as_str();
        if let Some(ca_file) = common.ca_file
            && let Err(error) = self
                .resolver
                .references
                .content(model::Reference::File(ca_file.get_ref()))
        {
            let place = document.place(ca_file.span());
            self.problems
                .push(Problem::new(document.severity(), "E051", place, error));
        }
        let id = common.id.map_or_else(
            || Uuid::new_v5(&RESOURCE_IDS, name.as_bytes()),
            |id| *id.get_ref(),
        );
        let origin = Origin {
            tls: url.tls,
            host: url.host.as_str().into(),
            server_name: common.server_name.into(),
            port: url.port,
            authority: HeaderValue::try_from(url.authority()).ok()?,
            base_path: url.base_path.as_str().into(),
            allow_private: common.allow_private,
            ca_file: common.ca_file.and_then(|file| {
                let path = self
                    .resolver
                    .references
                    .path(model::Reference::File(file.get_ref()))?;
                Some(path.to_string_lossy().into())
            }),
        };
        // Another server is judged anew.
        let before = self.inputs.memory.resources_by_id.get(&id);
        let health = before
            .filter(|before| before.origin == origin)
            .map_or_else(Arc::default, |before| Arc::clone(&before.health));
        Some(Resource {
            name: name.into(),
            id,
            origin,
            timeouts: common.timeouts,
            health_rules: common.health_rules,
            health,
            kind,
            meters: self.inputs.metrics.resource(name),
        })
    }
}

/// The resource as buckets reach it that are not its own: by path, since its own may stand in its host's name.
pub(super) fn for_all_buckets(resource: &Arc<Resource>) -> Arc<Resource> {
    let ResourceKind::S3(account) = &resource.kind else {
        return Arc::clone(resource);
    };
    let Origin {
        tls,
        host,
        server_name: _,
        port,
        authority,
        base_path,
        allow_private,
        ca_file,
    } = &resource.origin;
    if account.addressing == Addressing::Path {
        return Arc::clone(resource);
    }
    Arc::new(Resource {
        name: Arc::clone(&resource.name),
        // Connections are kept by id, and these go to another name.
        id: Uuid::new_v5(&resource.id, b"all buckets"),
        origin: Origin {
            tls: *tls,
            host: host.clone(),
            server_name: host.clone(),
            port: *port,
            authority: authority.clone(),
            base_path: base_path.clone(),
            allow_private: *allow_private,
            ca_file: ca_file.clone(),
        },
        timeouts: resource.timeouts,
        health_rules: resource.health_rules,
        health: Arc::clone(&resource.health),
        kind: ResourceKind::S3(S3Account {
            region: account.region.clone(),
            access_key_id: account.access_key_id.clone(),
            secret_access_key: account.secret_access_key.clone(),
            session_token: account.session_token.clone(),
            addressing: Addressing::Path,
            quirks: account.quirks,
            signing: SigningCache::new(),
        }),
        meters: Arc::clone(&resource.meters),
    })
}

/// What resources of every kind have.
struct Common<'a> {
    name: &'a Spanned<String>,
    server_name: &'a str,
    id: Option<&'a Spanned<Uuid>>,
    timeouts: Timeouts,
    health_rules: HealthRules,
    allow_private: bool,
    ca_file: Option<&'a Spanned<String>>,
}

fn aws_url(region: &str) -> Url {
    let suffix = if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    };
    Url {
        tls: true,
        host: format!("s3.{region}.{suffix}"),
        port: 443,
        base_path: String::new(),
    }
}

fn provider_of(host: &str) -> Provider {
    if host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn") {
        Provider::Aws
    } else if host.ends_with(".r2.cloudflarestorage.com") {
        Provider::R2
    } else {
        Provider::Other
    }
}

fn addressing(written: &model::S3, provider: Provider) -> Addressing {
    match (written.addressing, provider) {
        (Some(words::Addressing::Path), _) => Addressing::Path,
        (Some(words::Addressing::Virtual), _) => Addressing::Virtual,
        // A wildcard certificate covers one label: dotted buckets only work by path.
        (None, Provider::Aws) if !written.bucket.get_ref().contains('.') => Addressing::Virtual,
        (
            None,
            Provider::Aws | Provider::Minio | Provider::Seaweedfs | Provider::R2 | Provider::Other,
        ) => Addressing::Path,
    }
}

fn health_rules(breaker: &model::Breaker, retries: &model::Retries) -> HealthRules {
    let default = HealthRules::default();
    let count = |written: &Option<Spanned<u32>>, default| {
        written.as_ref().map_or(default, |count| *count.get_ref())
    };
    let span = |written: &Option<Spanned<Span>>, default| {
        written.as_ref().map_or(default, |span| span.get_ref().0)
    };
    let open = span(&breaker.open, default.breaker.open);
    HealthRules {
        breaker: BreakerRules {
            enabled: breaker.enabled.unwrap_or(default.breaker.enabled),
            failures: count(&breaker.failures, default.breaker.failures),
            failures_percent: count(&breaker.failures_percent, default.breaker.failures_percent),
            requests_min: count(&breaker.requests_min, default.breaker.requests_min),
            window: span(&breaker.window, default.breaker.window),
            open,
            open_max: span(&breaker.open_max, default.breaker.open_max).max(open),
        },
        retries: RetryRules {
            attempts: count(&retries.attempts, default.retries.attempts),
            budget_percent: count(&retries.budget_percent, default.retries.budget_percent),
            per_second_min: count(&retries.per_second_min, default.retries.per_second_min),
        },
    }
}

fn timeouts(written: model::Timeouts, default: Timeouts) -> Timeouts {
    let or = |written: Option<Span>, default| written.map_or(default, |span| span.0);
    Timeouts {
        connect: or(written.connect, default.connect),
        tls: or(written.tls, default.tls),
        first_byte: or(written.first_byte, default.first_byte),
        idle: or(written.idle, default.idle),
        pool_idle: or(written.pool_idle, default.pool_idle),
    }
}

/// Whether a resource may go on as it is, with its caches.
fn is_same(before: &Resource, after: &Resource) -> bool {
    before.id == after.id
        && before.origin == after.origin
        && before.timeouts == after.timeouts
        && before.health_rules == after.health_rules
        && match (&before.kind, &after.kind) {
            (ResourceKind::S3(a), ResourceKind::S3(b)) => {
                a.region == b.region
                    && a.access_key_id == b.access_key_id
                    && a.secret_access_key == b.secret_access_key
                    && a.session_token == b.session_token
                    && a.addressing == b.addressing
                    && a.quirks == b.quirks
            }
            (ResourceKind::Ai(a), ResourceKind::Ai(b)) => {
                a.dialect == b.dialect
                    && a.provider == b.provider
                    && a.api_key == b.api_key
                    && a.usage_injection == b.usage_injection
                    && a.responses == b.responses
            }
            (ResourceKind::S3(_), ResourceKind::Ai(_))
            | (ResourceKind::Ai(_), ResourceKind::S3(_)) => false,
        }
}
