//! The credentials of storage resources, and the servers that give out tokens for them.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use toml::Spanned;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::Cx;
use super::resource::{STORAGE_TIMEOUTS, id, origin, reach};
use crate::config::address::Url;
use crate::config::check::At;
use crate::config::diagnostic::{Problem, Severity};
use crate::config::model;
use crate::config::parse::Document;
use crate::config::secrets::SecretRef;
use crate::keys::rsa::RsaKey;
use crate::keys::seal::Aad;
use crate::message::escape::{self, Plus};
use crate::policy::credential::{
    AwsMachine, AwsRole, AwsWebIdentity, AzureMachine, AzureMachineService, ClientProof,
    Credential, EntraClient, Fetched, ReadyCredential, Role, RoleBase, Sas, ServiceAccount,
    SharedKey, SigningKeys, Source, TokenServer,
};
use crate::policy::health::HealthRules;
use crate::policy::route::{Origin, Reach, Resource, ResourceKind};
use crate::secret::Secret;

/// The metadata service of instances, at the address that all three clouds have it at.
const INSTANCE_URL: &str = "http://169.254.169.254";
/// That of containers at AWS.
const CONTAINER_URL: &str = "http://169.254.170.2";
const GOOGLE_TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
const ENTRA_URL: &str = "https://login.microsoftonline.com";
/// How the sessions of a role are named where config does not say.
const SESSION_NAME: &str = "aqueduct";
/// How long before its end a shared access signature is worth a warning.
const SAS_WARNING: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Whose credential is compiled.
struct Owner<'a> {
    document: &'a Document,
    name: &'a str,
    id: Uuid,
    reach: Reach,
    allow_http: bool,
    ca_file: Option<Box<str>>,
}

impl<'a> Owner<'a> {
    fn new(
        document: &'a Document,
        name: &'a Spanned<String>,
        given_id: Option<&Spanned<Uuid>>,
    ) -> Self {
        Self {
            document,
            name: name.get_ref(),
            id: id(given_id, name.get_ref()),
            reach: Reach::Public,
            allow_http: false,
            ca_file: None,
        }
    }

    fn fetched(&self, source: Source) -> Credential {
        Credential::Fetched(Arc::new(Fetched {
            owner: self.id,
            owner_name: self.name.into(),
            source,
        }))
    }

    /// A token server of the provider's own, at a place that config does not choose.
    fn known_server(&self, url: &str, reach: Reach) -> Option<TokenServer> {
        Some(self.server(origin(&Url::parse(url).ok()?, reach)?))
    }

    /// A token server that config names, which is reached under the resource's own rules.
    fn named_server(&self, url: &Url) -> Option<TokenServer> {
        Some(self.server(Origin {
            ca_file: self.ca_file.clone(),
            ..origin(url, self.reach)?
        }))
    }

    fn server(&self, origin: Origin) -> TokenServer {
        let place = format!(
            "tokens {}",
            String::from_utf8_lossy(origin.authority.as_bytes())
        );
        TokenServer(Arc::new(Resource {
            name: self.name.into(),
            id: Uuid::new_v5(&self.id, place.as_bytes()),
            origin,
            timeouts: STORAGE_TIMEOUTS,
            health_rules: HealthRules::default(),
            health: Arc::default(),
            kind: ResourceKind::Tokens,
            meters: Arc::default(),
        }))
    }
}

impl Cx<'_> {
    pub(super) fn s3_credential(&mut self, at: At<'_, Arc<model::S3>>) -> Option<Credential> {
        let written = at.written;
        let owner = Owner {
            reach: reach(written.allow_private == Some(true)),
            allow_http: written.allow_http == Some(true),
            ca_file: self.ca_file(written.ca_file.as_ref()),
            ..Owner::new(at.document, &written.name, written.id.as_ref())
        };
        let keys = match &written.access_key_id {
            Some(key) => {
                let secret = written.secret_access_key.as_ref()?;
                let secret = self.field(&owner, "secret_access_key", secret);
                let token = match &written.session_token {
                    Some(token) => Some(self.field(&owner, "session_token", token)?),
                    None => None,
                };
                Some(SigningKeys::new(key.get_ref().as_str(), secret?, token))
            }
            None => None,
        };
        let token = match &written.web_identity_token {
            Some(token) => Some(self.field(&owner, "web_identity_token", token)?),
            None => None,
        };
        let Some(arn) = &written.role_arn else {
            return match keys {
                Some(keys) => Some(Credential::Ready(ReadyCredential::S3(Arc::new(keys)))),
                None => Some(owner.fetched(Source::AwsMachine(self.aws_machine(&owner)?))),
            };
        };
        let text = |field: &Option<Spanned<String>>| -> Option<Box<str>> {
            Some(field.as_ref()?.get_ref().as_str().into())
        };
        let role = Role {
            arn: arn.get_ref().as_str().into(),
            session_name: text(&written.role_session_name).unwrap_or_else(|| SESSION_NAME.into()),
        };
        let region = written.region.get_ref().as_str();
        let sts = match &written.sts_endpoint {
            Some(url) => owner.named_server(&Url::parse(url.get_ref()).ok()?)?,
            None => owner.known_server(&sts_url(region), Reach::Public)?,
        };
        let source = match token {
            Some(token) => Source::AwsWebIdentity(AwsWebIdentity { sts, role, token }),
            None => Source::AwsRole(AwsRole {
                sts,
                region: region.into(),
                role,
                external_id: text(&written.external_id),
                base: match keys {
                    Some(keys) => RoleBase::Keys(Arc::new(keys)),
                    None => RoleBase::Machine(self.aws_machine(&owner)?),
                },
            }),
        };
        Some(owner.fetched(source))
    }

    /// What requests to Bedrock are signed with.
    pub(super) fn ai_credential(&mut self, at: At<'_, Arc<model::Ai>>) -> Option<Credential> {
        let written = at.written;
        let owner = Owner::new(at.document, &written.name, written.id.as_ref());
        let Some(key) = &written.access_key_id else {
            return Some(owner.fetched(Source::AwsMachine(self.aws_machine(&owner)?)));
        };
        let secret = self.field(
            &owner,
            "secret_access_key",
            written.secret_access_key.as_ref()?,
        )?;
        let token = match &written.session_token {
            Some(token) => Some(self.field(&owner, "session_token", token)?),
            None => None,
        };
        Some(Credential::Ready(ReadyCredential::s3(
            key.get_ref().as_str(),
            secret,
            token,
        )))
    }

    /// A container's role where the platform says that this is one, else the instance's.
    fn aws_machine(&self, owner: &Owner<'_>) -> Option<AwsMachine> {
        let env = self.inputs.env;
        let Some(target) = env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") else {
            let server = owner.known_server(INSTANCE_URL, Reach::Metadata)?;
            return Some(AwsMachine::Instance(server));
        };
        Some(AwsMachine::Container {
            server: owner.known_server(CONTAINER_URL, Reach::Metadata)?,
            target: target.expose_str()?.into(),
            authorization: env("AWS_CONTAINER_AUTHORIZATION_TOKEN"),
        })
    }

    /// The credential, and the project that it names.
    pub(super) fn gcs_credential(
        &mut self,
        at: At<'_, Arc<model::Gcs>>,
    ) -> Option<(Credential, Option<Box<str>>)> {
        let written = at.written;
        let owner = Owner {
            reach: reach(written.allow_private == Some(true)),
            allow_http: written.allow_http == Some(true),
            ca_file: self.ca_file(written.ca_file.as_ref()),
            ..Owner::new(at.document, &written.name, written.id.as_ref())
        };
        if let Some(field) = &written.credentials {
            let json = self.field(&owner, "credentials", field)?;
            return match service_account(&owner, &json) {
                Ok((account, project)) => {
                    let source = Source::GoogleServiceAccount(account);
                    Some((owner.fetched(source), project))
                }
                Err(why) => self.unusable(&owner, field, "credentials", why),
            };
        }
        if let Some(key) = &written.access_key_id {
            let secret = written.secret_access_key.as_ref()?;
            let secret = self.field(&owner, "secret_access_key", secret)?;
            let keys = SigningKeys::new(key.get_ref().as_str(), secret, None);
            let ready = ReadyCredential::Hmac(Arc::new(keys));
            return Some((Credential::Ready(ready), None));
        }
        let server = owner.known_server(INSTANCE_URL, Reach::Metadata)?;
        Some((owner.fetched(Source::GoogleMachine(server)), None))
    }

    pub(super) fn azure_credential(&mut self, at: At<'_, Arc<model::Azure>>) -> Option<Credential> {
        let written = at.written;
        let owner = Owner {
            reach: reach(written.allow_private == Some(true)),
            allow_http: written.allow_http == Some(true),
            ca_file: self.ca_file(written.ca_file.as_ref()),
            ..Owner::new(at.document, &written.name, written.id.as_ref())
        };
        if let Some(field) = &written.account_key {
            let key = self.field(&owner, "account_key", field)?;
            let Ok(key) = STANDARD.decode(key.expose()) else {
                return self.unusable(&owner, field, "account_key", "is not base64");
            };
            let key = Arc::new(SharedKey::new(Secret::new(key)));
            return Some(Credential::Ready(ReadyCredential::SharedKey(key)));
        }
        if let Some(field) = &written.sas {
            let text = self.field(&owner, "sas", field)?;
            let Some(sas) = sas(&text) else {
                let why = "is no shared access signature";
                return self.unusable(&owner, field, "sas", why);
            };
            self.warn_of_end(&owner, field, &sas);
            return Some(Credential::Ready(ReadyCredential::Sas(Arc::new(sas))));
        }
        let client_id = written
            .client_id
            .as_ref()
            .map(|it| it.get_ref().as_str().into());
        let secret = match &written.client_secret {
            Some(secret) => Some(self.field(&owner, "client_secret", secret)?),
            None => None,
        };
        let assertion = match &written.federated_token {
            Some(assertion) => Some(self.field(&owner, "federated_token", assertion)?),
            None => None,
        };
        let proof = match (secret, assertion) {
            (Some(secret), _) => ClientProof::Secret(secret),
            (None, Some(token)) => ClientProof::Assertion(token),
            (None, None) => {
                let machine = self.azure_machine(&owner, client_id)?;
                return Some(owner.fetched(Source::AzureMachine(machine)));
            }
        };
        let authority = match &written.authority {
            Some(url) => owner.named_server(&Url::parse(url.get_ref()).ok()?)?,
            None => owner.known_server(ENTRA_URL, Reach::Public)?,
        };
        Some(owner.fetched(Source::Entra(EntraClient {
            authority,
            tenant: written.tenant_id.as_ref()?.get_ref().as_str().into(),
            client_id: client_id?,
            proof,
        })))
    }

    /// App Service where the platform says that this is it, else the metadata service of virtual machines.
    fn azure_machine(
        &self,
        owner: &Owner<'_>,
        client_id: Option<Box<str>>,
    ) -> Option<AzureMachine> {
        let env = self.inputs.env;
        let (Some(endpoint), Some(header)) = (env("IDENTITY_ENDPOINT"), env("IDENTITY_HEADER"))
        else {
            return Some(AzureMachine {
                server: owner.known_server(INSTANCE_URL, Reach::Metadata)?,
                service: AzureMachineService::Instance,
                client_id,
            });
        };
        let url = endpoint.expose_str()?;
        let target = Url::parse(url).ok()?.base_path;
        Some(AzureMachine {
            server: owner.known_server(url, Reach::Metadata)?,
            service: AzureMachineService::App {
                target: target.into(),
                header,
            },
            client_id,
        })
    }

    fn field(
        &mut self,
        owner: &Owner<'_>,
        field: &str,
        written: &Spanned<SecretRef>,
    ) -> Option<Secret> {
        let name = owner.name;
        self.secret(owner.document, written, Some(Aad::Resource { name, field }))
    }

    /// Reports a secret that is not what it should be.
    fn unusable<T>(
        &mut self,
        owner: &Owner<'_>,
        at: &Spanned<SecretRef>,
        field: &str,
        why: &str,
    ) -> Option<T> {
        let document = owner.document;
        let place = document.place(at.span());
        let message = format!("`{field}` {why}");
        let problem = Problem::new(document.severity(), "E052", place, message);
        self.problems.push(problem);
        None
    }

    fn warn_of_end(&mut self, owner: &Owner<'_>, at: &Spanned<SecretRef>, sas: &Sas) {
        let Some(end) = sas.expires_at else { return };
        if end.duration_since(self.inputs.now) > SAS_WARNING {
            return;
        }
        let message = if end <= self.inputs.now {
            format!("`sas` ended at {end}")
        } else {
            format!("`sas` ends at {end}")
        };
        let place = owner.document.place(at.span());
        let problem = Problem::new(Severity::Warning, "W011", place, message);
        self.problems.push(problem);
    }
}

fn sts_url(region: &str) -> String {
    let suffix = if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    };
    format!("https://sts.{region}.{suffix}")
}

/// The file that Google makes for a service account's key, as far as we need it.
#[derive(Deserialize)]
struct ServiceAccountFile {
    client_email: String,
    private_key: String,
    #[serde(default)]
    private_key_id: String,
    token_uri: Option<String>,
    project_id: Option<String>,
}

/// The account, and its project. The failure tells nothing of the file's content.
fn service_account(
    owner: &Owner<'_>,
    json: &Secret,
) -> Result<(ServiceAccount, Option<Box<str>>), &'static str> {
    #[derive(Deserialize)]
    struct Kind {
        r#type: String,
    }
    let kind: Kind = serde_json::from_slice(json.expose())
        .map_err(|_| "is not the JSON of a service account's key")?;
    if kind.r#type != "service_account" {
        return Err("is of another type than `service_account`");
    }
    let file: ServiceAccountFile = serde_json::from_slice(json.expose())
        .map_err(|_| "lacks a member of a service account's key")?;
    let pem = Zeroizing::new(file.private_key);
    let key = RsaKey::from_pem(pem.as_bytes())?;
    let token_uri = file.token_uri.as_deref().unwrap_or(GOOGLE_TOKEN_URI);
    let url = Url::parse(token_uri).map_err(|_| "has a `token_uri` that is no URL")?;
    if !url.tls && !owner.allow_http {
        return Err("has a `token_uri` without TLS, and the resource no `allow_http`");
    }
    let account = ServiceAccount {
        email: file.client_email.into(),
        key_id: file.private_key_id.into(),
        key,
        server: owner
            .named_server(&url)
            .ok_or("has a `token_uri` that is no URL")?,
        token_uri: token_uri.into(),
    };
    Ok((account, file.project_id.map(Into::into)))
}

fn sas(text: &Secret) -> Option<Sas> {
    let query = text.expose_str()?;
    let query = query.strip_prefix('?').unwrap_or(query);
    let is_sound = query
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'#');
    let has = |name: &str| query.split('&').any(|pair| pair.starts_with(name));
    if !is_sound || !has("sig=") || !has("sv=") {
        return None;
    }
    Some(Sas {
        query: Secret::new(query),
        expires_at: query.split('&').find_map(end),
    })
}

/// The time in a parameter `se`.
fn end(pair: &str) -> Option<Timestamp> {
    let value = pair.strip_prefix("se=")?;
    let value = escape::decode(value.as_bytes(), Plus::Literal).ok()?;
    std::str::from_utf8(&value).ok()?.parse().ok()
}
