//! What opens a provider's account: where its credential comes from, and what one attempt is signed with.
//!
//! A [`Credential`] is compiled from config and immutable. Keys are ready as they are; a [`Source`] is asked for a
//! token, by `proxy::credential`, which keeps it while it is good. Either way a codec signs with a
//! [`ReadyCredential`] and knows nothing of where it came from.
//!
//! There is no source that runs a program, and none that reads a file which config does not name: a token in a file
//! (`web_identity_token`, `federated_token`) is a secret like any other, read with the config and again when it
//! changes, and sent to a server that the same config names.

use std::fmt;
use std::sync::Arc;

use http::HeaderValue;
use jiff::Timestamp;
use uuid::Uuid;

use crate::keys::rsa::RsaKey;
use crate::keys::signing::{HmacKey, SigningCache};
use crate::policy::route::Resource;
use crate::secret::Secret;

/// What a request is signed with. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub enum ReadyCredential {
    /// An Azure account's key.
    SharedKey(Arc<SharedKey>),
    /// Azure: parameters that are appended to the query as they are.
    Sas(Arc<Sas>),
    /// GCS and Azure: an access token.
    Bearer(Arc<Bearer>),
    /// GCS: interoperability keys, for the XML API alone.
    Hmac(Arc<SigningKeys>),
    /// S3: keys, temporary ones with their session token.
    S3(Arc<SigningKeys>),
}

impl ReadyCredential {
    /// The public part of a pair of keys.
    pub fn access_key_id(&self) -> Option<&str> {
        match self {
            Self::S3(keys) | Self::Hmac(keys) => Some(&keys.access_key_id),
            Self::SharedKey(_) | Self::Sas(_) | Self::Bearer(_) => None,
        }
    }

    /// Keys of an S3 account.
    pub fn s3(
        access_key_id: impl Into<Box<str>>,
        secret_access_key: Secret,
        session_token: Option<Secret>,
    ) -> Self {
        let keys = SigningKeys::new(access_key_id, secret_access_key, session_token);
        Self::S3(Arc::new(keys))
    }
}

/// An access key id and its secret.
pub struct SigningKeys {
    pub access_key_id: Box<str>,
    pub secret_access_key: Secret,
    /// Of temporary keys.
    pub session_token: Option<Secret>,
    /// Keys derived from the secret.
    pub signing: SigningCache,
}

impl SigningKeys {
    pub fn new(
        access_key_id: impl Into<Box<str>>,
        secret_access_key: Secret,
        session_token: Option<Secret>,
    ) -> Self {
        Self {
            access_key_id: access_key_id.into(),
            secret_access_key,
            session_token,
            signing: SigningCache::new(),
        }
    }
}

impl PartialEq for SigningKeys {
    fn eq(&self, other: &Self) -> bool {
        self.access_key_id == other.access_key_id
            && self.secret_access_key == other.secret_access_key
            && self.session_token == other.session_token
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKeys({}, ..)", self.access_key_id)
    }
}

/// An Azure account's key, decoded and scheduled.
#[derive(Debug)]
pub struct SharedKey {
    key: Secret,
    pub keyed: HmacKey,
}

impl SharedKey {
    pub fn new(key: Secret) -> Self {
        Self {
            keyed: HmacKey::new(key.expose()),
            key,
        }
    }
}

impl PartialEq for SharedKey {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

/// A shared access signature.
#[derive(Debug, PartialEq)]
pub struct Sas {
    /// The parameters, without a leading `?`.
    pub query: Secret,
    /// `se`, where it is a time that we can read.
    pub expires_at: Option<Timestamp>,
}

/// An access token as it stands in `Authorization`.
#[derive(PartialEq)]
pub struct Bearer {
    pub header: HeaderValue,
}

impl Bearer {
    /// `None` where the token cannot stand in a header.
    pub fn new(token: &str) -> Option<Self> {
        let mut header = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
        header.set_sensitive(true);
        Some(Self { header })
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(..)")
    }
}

/// A resource's credential.
#[derive(Clone, Debug, PartialEq)]
pub enum Credential {
    Ready(ReadyCredential),
    Fetched(Arc<Fetched>),
}

impl Credential {
    /// What needs not be fetched.
    pub fn ready(&self) -> Option<&ReadyCredential> {
        match self {
            Self::Ready(ready) => Some(ready),
            Self::Fetched(_) => None,
        }
    }

    /// Whether the provider takes both for the same one.
    pub fn acts_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ready(one), Self::Ready(other)) => match one.access_key_id() {
                Some(id) => other.access_key_id() == Some(id),
                None => one == other,
            },
            (Self::Fetched(one), Self::Fetched(other)) => one.source == other.source,
            (Self::Ready(_), Self::Fetched(_)) | (Self::Fetched(_), Self::Ready(_)) => false,
        }
    }
}

/// A credential that others give out, for some time.
#[derive(Debug, PartialEq)]
pub struct Fetched {
    /// The resource that it is for: what is kept for one is given to no other.
    pub owner: Uuid,
    pub owner_name: Arc<str>,
    pub source: Source,
}

/// Who is asked, with what.
#[derive(Debug, PartialEq)]
pub enum Source {
    AwsMachine(AwsMachine),
    AwsRole(AwsRole),
    AwsWebIdentity(AwsWebIdentity),
    GoogleMachine(TokenServer),
    GoogleServiceAccount(ServiceAccount),
    AzureMachine(AzureMachine),
    Entra(EntraClient),
}

/// A server that gives out tokens: a [`Resource`] of its own, so that it is reached by the one way out.
#[derive(Clone, Debug)]
pub struct TokenServer(pub Arc<Resource>);

impl PartialEq for TokenServer {
    fn eq(&self, other: &Self) -> bool {
        self.0.origin == other.0.origin
    }
}

/// What a machine at AWS is given.
#[derive(Debug, PartialEq)]
pub enum AwsMachine {
    /// The instance's role, by version 2 of the metadata service.
    Instance(TokenServer),
    /// A container's role.
    Container {
        server: TokenServer,
        target: Box<str>,
        authorization: Option<Secret>,
    },
}

/// `AssumeRole`.
#[derive(Debug, PartialEq)]
pub struct AwsRole {
    pub sts: TokenServer,
    pub region: Box<str>,
    pub role: Role,
    /// Demanded by the role's owner, so that nobody else makes us take it.
    pub external_id: Option<Box<str>>,
    pub base: RoleBase,
}

/// Which role, and under which name its sessions appear in the provider's logs.
#[derive(Debug, PartialEq)]
pub struct Role {
    pub arn: Box<str>,
    pub session_name: Box<str>,
}

/// Who takes a role.
#[derive(Debug, PartialEq)]
pub enum RoleBase {
    Keys(Arc<SigningKeys>),
    Machine(AwsMachine),
}

/// `AssumeRoleWithWebIdentity`.
#[derive(Debug, PartialEq)]
pub struct AwsWebIdentity {
    pub sts: TokenServer,
    pub role: Role,
    pub token: Secret,
}

/// A Google service account's key.
#[derive(Debug, PartialEq)]
pub struct ServiceAccount {
    pub email: Box<str>,
    pub key_id: Box<str>,
    pub key: RsaKey,
    /// Who exchanges a signed claim for a token, where the claim itself is not taken for one.
    pub server: TokenServer,
    /// That server's URL as the account's key names it: the claim's audience.
    pub token_uri: Box<str>,
}

/// An application of Entra ID.
#[derive(Debug, PartialEq)]
pub struct EntraClient {
    pub authority: TokenServer,
    pub tenant: Box<str>,
    pub client_id: Box<str>,
    pub proof: ClientProof,
}

/// How an application proves that it is the one.
#[derive(Debug, PartialEq)]
pub enum ClientProof {
    Secret(Secret),
    /// A token of another issuer that the application trusts (workload identity).
    Assertion(Secret),
}

/// What a machine at Azure is given.
#[derive(Debug, PartialEq)]
pub struct AzureMachine {
    pub server: TokenServer,
    pub service: AzureMachineService,
    /// Of a user-assigned identity.
    pub client_id: Option<Box<str>>,
}

#[derive(Debug, PartialEq)]
pub enum AzureMachineService {
    /// The metadata service of virtual machines.
    Instance,
    /// App Service and Functions.
    App { target: Box<str>, header: Secret },
}

impl Fetched {
    /// Whether a token that `before` was given may go on to be used: the same account asks, in the same way, even
    /// if the short-lived proof that it showed has been replaced.
    pub fn continues(&self, before: &Self) -> bool {
        if self.owner != before.owner {
            return false;
        }
        match (&self.source, &before.source) {
            (Source::AwsWebIdentity(now), Source::AwsWebIdentity(then)) => {
                now.sts == then.sts && now.role == then.role
            }
            (Source::Entra(now), Source::Entra(then)) => {
                let both_federated = matches!(
                    (&now.proof, &then.proof),
                    (ClientProof::Assertion(_), ClientProof::Assertion(_))
                );
                now.authority == then.authority
                    && now.tenant == then.tenant
                    && now.client_id == then.client_id
                    && (both_federated || now.proof == then.proof)
            }
            (now, then) => now == then,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests_support {
    //! A token server for unit tests, which ask none.

    use std::time::Duration;

    use super::*;
    use crate::policy::health::HealthRules;
    use crate::policy::route::{Origin, Reach, ResourceKind, Timeouts};

    pub(crate) fn server(base_path: &str) -> TokenServer {
        let second = Duration::from_secs(1);
        TokenServer(Arc::new(Resource {
            name: "r".into(),
            id: Uuid::nil(),
            origin: Origin {
                tls: true,
                host: "tokens.example".into(),
                server_name: "tokens.example".into(),
                port: 443,
                authority: HeaderValue::from_static("tokens.example"),
                base_path: base_path.into(),
                reach: Reach::Public,
                ca_file: None,
            },
            timeouts: Timeouts {
                connect: second,
                tls: second,
                first_byte: second,
                idle: second,
                pool_idle: second,
            },
            health_rules: HealthRules::default(),
            health: Arc::default(),
            kind: ResourceKind::Tokens,
            meters: Arc::default(),
        }))
    }

    fn web_identity(role: &str, token: &str) -> Fetched {
        Fetched {
            owner: Uuid::nil(),
            owner_name: "r".into(),
            source: Source::AwsWebIdentity(AwsWebIdentity {
                sts: server(""),
                role: Role {
                    arn: role.into(),
                    session_name: "aqueduct".into(),
                },
                token: Secret::new(token),
            }),
        }
    }

    #[test]
    fn a_new_proof_of_the_same_account_keeps_its_token() {
        let before = web_identity("a", "one");
        assert!(web_identity("a", "two").continues(&before));
        assert!(!web_identity("b", "one").continues(&before));
        let mut other = web_identity("a", "one");
        other.owner = Uuid::max();
        assert!(!other.continues(&before));
        let machine = Fetched {
            source: Source::GoogleMachine(server("")),
            ..web_identity("a", "one")
        };
        assert!(!machine.continues(&before));
    }

    #[test]
    fn debug_shows_no_secret() {
        let keys = SigningKeys::new(
            "AKIA",
            Secret::new(*b"CANARY"),
            Some(Secret::new(*b"CANARY")),
        );
        let key = SharedKey::new(Secret::new(*b"CANARY"));
        let all = [
            ReadyCredential::S3(Arc::new(keys)),
            ReadyCredential::SharedKey(Arc::new(key)),
            ReadyCredential::Bearer(Arc::new(Bearer::new("CANARY").unwrap())),
            ReadyCredential::Sas(Arc::new(Sas {
                query: Secret::new(*b"CANARY"),
                expires_at: None,
            })),
        ];
        let shown = format!("{all:?} {:?}", web_identity("a", "CANARY"));
        assert!(!shown.contains("CANARY"), "{shown}");
    }
}
