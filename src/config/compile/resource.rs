//! Resources: origins, accounts, habits, and the defaults of all of them.

use std::borrow::Cow;
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
use crate::config::words::{self, AiTypeWord, Provider, Usage, Wire};
use crate::keys::seal::Aad;
use crate::policy::health::{BreakerRules, HealthRules, RetryRules};
use crate::policy::route::{
    Addressing, AiAccount, AzureAccount, GcsAccount, Origin, Reach, Resource, ResourceKind,
    S3Account, S3Quirks, Signing, Timeouts, UsageInjection,
};
use crate::protocol::Dialect;

/// The name space of ids that are made of resource names.
const RESOURCE_IDS: Uuid = Uuid::from_u128(0x6f1b_7a52_3c0e_4d1e_9d47_a9ed_0c70_0001);

pub(super) const STORAGE_TIMEOUTS: Timeouts = Timeouts {
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
const ANTHROPIC_URL: &str = "https://api.anthropic.com/v1";
const GOOGLE_URL: &str = "https://generativelanguage.googleapis.com/v1beta";
const GOOGLE_OPENAI_URL: &str = "https://generativelanguage.googleapis.com/v1beta/openai";
const GCS_URL: &str = "https://storage.googleapis.com";

impl Cx<'_> {
    /// All that this version serves, by name.
    pub(super) fn resources(&mut self, checked: &Checked<'_>) -> HashMap<Arc<str>, Arc<Resource>> {
        let mut compiled = HashMap::with_capacity(checked.resources.len());
        for written in checked.resources.values() {
            let resource = match written {
                Written::S3(at) => self.s3(*at),
                Written::Ai(at) => self.ai(*at),
                Written::Gcs(at) => self.gcs(*at),
                Written::Azure(at) => self.azure(*at),
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
        let region = written.region.get_ref().as_str();
        let url = match &written.endpoint {
            Some(endpoint) => Url::parse(endpoint.get_ref()).ok()?,
            None => aws_url(region),
        };
        let credential = self.s3_credential(at);
        let provider = written.provider.unwrap_or_else(|| provider_of(&url.host));
        let account = S3Account {
            bucket: written.bucket.get_ref().as_str().into(),
            region: region.into(),
            credential: credential?,
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

    fn gcs(&mut self, at: At<'_, Arc<model::Gcs>>) -> Option<Resource> {
        let At { document, written } = at;
        let endpoint = written.endpoint.as_ref();
        let url = Url::parse(endpoint.map_or(GCS_URL, |url| url.get_ref())).ok()?;
        let (credential, project) = self.gcs_credential(at)?;
        let named = written
            .project
            .as_ref()
            .map(|it| it.get_ref().as_str().into());
        let account = GcsAccount {
            bucket: written.bucket.get_ref().as_str().into(),
            credential,
            project: named.or(project),
        };
        let common = Common {
            name: &written.name,
            server_name: &url.host,
            id: written.id.as_ref(),
            timeouts: timeouts(written.timeouts, STORAGE_TIMEOUTS),
            health_rules: health_rules(&written.breaker, &written.retries),
            allow_private: written.allow_private == Some(true),
            ca_file: written.ca_file.as_ref(),
        };
        self.resource(document, &common, &url, ResourceKind::Gcs(account))
    }

    fn azure(&mut self, at: At<'_, Arc<model::Azure>>) -> Option<Resource> {
        let At { document, written } = at;
        let account = written.account.get_ref().as_str();
        let url = match &written.endpoint {
            Some(endpoint) => Url::parse(endpoint.get_ref()).ok()?,
            None => azure_url(account),
        };
        let account = AzureAccount {
            container: written.container.get_ref().as_str().into(),
            account: account.into(),
            credential: self.azure_credential(at)?,
        };
        let common = Common {
            name: &written.name,
            server_name: &url.host,
            id: written.id.as_ref(),
            timeouts: timeouts(written.timeouts, STORAGE_TIMEOUTS),
            health_rules: health_rules(&written.breaker, &written.retries),
            allow_private: written.allow_private == Some(true),
            ca_file: written.ca_file.as_ref(),
        };
        self.resource(document, &common, &url, ResourceKind::Azure(account))
    }

    fn ai(&mut self, at: At<'_, Arc<model::Ai>>) -> Option<Resource> {
        let At { document, written } = at;
        let name = written.name.get_ref().as_str();
        let kind = *written.r#type.get_ref();
        let dialect = match (kind, written.wire) {
            (AiTypeWord::OpenAi | AiTypeWord::Other, _) | (_, Some(Wire::OpenAi)) => {
                Dialect::OpenAi
            }
            (AiTypeWord::Anthropic, None | Some(Wire::Native)) => Dialect::Anthropic,
            (AiTypeWord::Google, None | Some(Wire::Native)) => Dialect::Google,
            (AiTypeWord::Aws, None | Some(Wire::Native)) => Dialect::Bedrock,
        };
        let region = written
            .region
            .as_ref()
            .map(|region| region.get_ref().as_str());
        let url = match &written.base_url {
            Some(url) => Url::parse(url.get_ref()).ok()?,
            None => Url::parse(&provider_url(kind, dialect, region)?).ok()?,
        };
        let field = "api_key";
        let api_key = match &written.api_key {
            Some(key) => Some(self.secret(document, key, Some(Aad::Resource { name, field }))?),
            None => None,
        };
        let account = AiAccount {
            dialect,
            signing: match dialect {
                Dialect::Bedrock if api_key.is_none() => Some(Signing {
                    region: region?.into(),
                    credential: self.ai_credential(at)?,
                }),
                Dialect::Anthropic | Dialect::Bedrock | Dialect::Google | Dialect::OpenAi => None,
            },
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

    /// The path of a bundle of certificates, which was read with the config.
    pub(super) fn ca_file(&self, written: Option<&Spanned<String>>) -> Option<Box<str>> {
        let file = model::Reference::File(written?.get_ref());
        let path = self.resolver.references.path(file)?;
        Some(path.to_string_lossy().into())
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
        let id = id(common.id, name);
        let origin = Origin {
            server_name: common.server_name.into(),
            ca_file: self.ca_file(common.ca_file),
            ..origin(url, reach(common.allow_private))?
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

/// A resource's identity: given, or made of its name.
pub(super) fn id(given: Option<&Spanned<Uuid>>, name: &str) -> Uuid {
    given.map_or_else(
        || Uuid::new_v5(&RESOURCE_IDS, name.as_bytes()),
        |id| *id.get_ref(),
    )
}

pub(super) fn origin(url: &Url, reach: Reach) -> Option<Origin> {
    Some(Origin {
        tls: url.tls,
        host: url.host.as_str().into(),
        server_name: url.host.as_str().into(),
        port: url.port,
        authority: HeaderValue::try_from(url.authority()).ok()?,
        base_path: url.base_path.as_str().into(),
        reach,
        ca_file: None,
    })
}

pub(super) fn reach(allow_private: bool) -> Reach {
    if allow_private {
        Reach::Private
    } else {
        Reach::Public
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
        reach,
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
            reach: *reach,
            ca_file: ca_file.clone(),
        },
        timeouts: resource.timeouts,
        health_rules: resource.health_rules,
        health: Arc::clone(&resource.health),
        kind: ResourceKind::S3(S3Account {
            bucket: account.bucket.clone(),
            region: account.region.clone(),
            credential: account.credential.clone(),
            addressing: Addressing::Path,
            quirks: account.quirks,
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

/// Where a provider is, unless config says otherwise; `None` where nobody can know.
fn provider_url(
    kind: AiTypeWord,
    dialect: Dialect,
    region: Option<&str>,
) -> Option<Cow<'static, str>> {
    let url = match (kind, dialect) {
        (AiTypeWord::OpenAi, _) => OPENAI_URL,
        (AiTypeWord::Anthropic, _) => ANTHROPIC_URL,
        (AiTypeWord::Google, Dialect::OpenAi) => GOOGLE_OPENAI_URL,
        (AiTypeWord::Google, _) => GOOGLE_URL,
        (AiTypeWord::Aws, dialect) => {
            let path = if dialect == Dialect::OpenAi {
                "/openai/v1"
            } else {
                ""
            };
            return Some(format!("https://bedrock-runtime.{}.amazonaws.com{path}", region?).into());
        }
        (AiTypeWord::Other, _) => return None,
    };
    Some(url.into())
}

fn azure_url(account: &str) -> Url {
    Url {
        tls: true,
        host: format!("{account}.blob.core.windows.net"),
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
            (ResourceKind::S3(a), ResourceKind::S3(b)) => a == b,
            (ResourceKind::Gcs(a), ResourceKind::Gcs(b)) => a == b,
            (ResourceKind::Azure(a), ResourceKind::Azure(b)) => a == b,
            (ResourceKind::Ai(a), ResourceKind::Ai(b)) => a == b,
            (
                ResourceKind::S3(_)
                | ResourceKind::Gcs(_)
                | ResourceKind::Azure(_)
                | ResourceKind::Ai(_)
                | ResourceKind::Tokens,
                _,
            ) => false,
        }
}
