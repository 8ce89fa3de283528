//! What is served: resources, repositories and keys.

use serde::Deserialize;
use toml::Spanned;
use uuid::Uuid;

use super::{Field, SecretRef, Section};
use crate::config::units::{Size, Span, Time};
use crate::config::words::{
    AccessWord, Addressing, AiTypeWord, Endpoint, FamilyWord, Mode, Payload, Provider,
    SignatureV2Word, UnsupportedWord, Usage, Wire,
};

section! {
    /// A bucket of AWS S3 or of a compatible store, with the credential that opens it: one of `access_key_id` with
    /// `secret_access_key`, `web_identity_token` with `role_arn`, and `machine_identity`.
    "[[s3]]" S3 {
        required {
            /// What repositories call it.
            name: Spanned<String>,
            bucket: Spanned<String>,
            region: Spanned<String>,
        }
        optional {
            /// Stable identity; by default made of the name.
            id: Option<Spanned<Uuid>>,
            access_key_id: Option<Spanned<String>>,
            /// The role to take, `arn:aws:iam::ACCOUNT:role/NAME`: with the access key, a web identity, or by default
            /// as the machine itself.
            role_arn: Option<Spanned<String>>,
            /// What the role's owner demands of those who take it for others.
            external_id: Option<Spanned<String>>,
            /// How the role's sessions are named in the provider's logs. Default `"aqueduct"`.
            role_session_name: Option<Spanned<String>>,
            /// URL of the token service. Default: that of AWS in `region`.
            sts_endpoint: Option<Spanned<String>>,
            /// Use the role of the machine: an EC2 instance's (metadata service, version 2) or an ECS task's.
            machine_identity: Option<Spanned<bool>>,
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
            breaker: Breaker,
            retries: Retries,
            /// Allow an endpoint with a private address.
            allow_private: Option<bool>,
            /// Allow an `http:` endpoint.
            allow_http: Option<bool>,
            /// PEM bundle to trust instead of the system's.
            ca_file: Option<Spanned<String>>,
        }
        secret {
            /// `env:NAME`, `file:PATH`, `credential:NAME` or `sealed:...`.
            secret_access_key: Option<Spanned<SecretRef>>,
            /// For temporary credentials.
            session_token: Option<Spanned<SecretRef>>,
            /// An `OpenID` token that `role_arn` trusts; a file is read again when it changes.
            web_identity_token: Option<Spanned<SecretRef>>,
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
    /// When a resource is not asked for a while. Like its attempts, counted over reloads.
    #[derive(Default)]
    "breaker" Breaker {
        optional {
            /// Default true.
            enabled: Option<bool>,
            /// Failures in a row that open it: no connection, no answer in time, a status of 500 and above that asks
            /// for no patience. Default 5.
            failures: Option<Spanned<u32>>,
            /// More failures than this share of a window's requests open it. Default 50.
            failures_percent: Option<Spanned<u32>>,
            /// Fewer requests in a window are no share. Default 20.
            requests_min: Option<Spanned<u32>>,
            /// Default `"10s"`.
            window: Option<Spanned<Span>>,
            /// How long it stays open before one request finds out; doubled each time in a row. Default `"5s"`.
            open: Option<Spanned<Span>>,
            /// Default `"60s"`.
            open_max: Option<Spanned<Span>>,
        }
    }
}

section! {
    /// Attempts after the first, where they are safe.
    #[derive(Default)]
    "retries" Retries {
        optional {
            /// Of one request. Default 2.
            attempts: Option<Spanned<u32>>,
            /// Of all requests in the breaker's window together. Default 20.
            budget_percent: Option<Spanned<u32>>,
            /// What the budget allows at least, a second. Default 3.
            per_second_min: Option<Spanned<u32>>,
        }
    }
}

section! {
    /// A bucket of Google Cloud Storage, with the credential that opens it: one of `credentials`, `access_key_id` with
    /// `secret_access_key`, and `machine_identity`.
    "[[gcs]]" Gcs {
        required {
            name: Spanned<String>,
            bucket: Spanned<String>,
        }
        optional {
            id: Option<Spanned<Uuid>>,
            /// URL of a compatible server. Left out: Google's.
            endpoint: Option<Spanned<String>>,
            /// Where buckets are made and listed. Default: the service account's.
            project: Option<Spanned<String>>,
            /// The id of an interoperability (HMAC) key, `GOOG...`.
            access_key_id: Option<Spanned<String>>,
            /// Use the service account of the machine, by its metadata server.
            machine_identity: Option<Spanned<bool>>,
            timeouts: Timeouts,
            breaker: Breaker,
            retries: Retries,
            allow_private: Option<bool>,
            allow_http: Option<bool>,
            ca_file: Option<Spanned<String>>,
        }
        secret {
            /// The key of a service account, JSON.
            credentials: Option<Spanned<SecretRef>>,
            /// The secret of an interoperability key.
            secret_access_key: Option<Spanned<SecretRef>>,
        }
    }
}

section! {
    /// A container of Azure Blob Storage, with the credential that opens it: one of `account_key`, `sas`,
    /// `client_secret` or `federated_token` with `tenant_id` and `client_id`, and `machine_identity`.
    "[[azure]]" Azure {
        required {
            name: Spanned<String>,
            account: Spanned<String>,
            container: Spanned<String>,
        }
        optional {
            id: Option<Spanned<Uuid>>,
            /// URL of the account. Default: `https://ACCOUNT.blob.core.windows.net`. Where the account stands in the
            /// path, it is part of it: `http://127.0.0.1:10000/devstoreaccount1`.
            endpoint: Option<Spanned<String>>,
            /// The tenant of an application of Entra ID.
            tenant_id: Option<Spanned<String>>,
            /// The application, or the user-assigned identity of the machine.
            client_id: Option<Spanned<String>>,
            /// URL of Entra ID. Default `https://login.microsoftonline.com`; other clouds have others.
            authority: Option<Spanned<String>>,
            /// Use the identity of the machine: a virtual machine's, or that of App Service.
            machine_identity: Option<Spanned<bool>>,
            timeouts: Timeouts,
            breaker: Breaker,
            retries: Retries,
            allow_private: Option<bool>,
            allow_http: Option<bool>,
            ca_file: Option<Spanned<String>>,
        }
        secret {
            account_key: Option<Spanned<SecretRef>>,
            /// A shared access signature: the parameters as the portal shows them.
            sas: Option<Spanned<SecretRef>>,
            client_secret: Option<Spanned<SecretRef>>,
            /// A token that the application trusts (workload identity); a file is read again when it changes.
            federated_token: Option<Spanned<SecretRef>>,
        }
    }
}

section! {
    /// An account at an AI provider, or a model server.
    "[[ai]]" Ai {
        required {
            name: Spanned<String>,
            /// `openai`, `anthropic`, `google`, `aws` (Bedrock), or `other` for any server with the same API as `openai`.
            r#type: Spanned<AiTypeWord>,
        }
        optional {
            id: Option<Spanned<Uuid>>,
            /// Up to and including the version, such as `https://api.openai.com/v1`. Required for `other`.
            base_url: Option<Spanned<String>>,
            /// Of Bedrock, as in `us-east-1`: required for `aws`, and for nothing else.
            region: Option<Spanned<String>>,
            /// For `aws`, with `secret_access_key`; `api_key` or `machine_identity` take its place.
            access_key_id: Option<Spanned<String>>,
            /// For `aws`: use the role of the machine, an instance's or a container's.
            machine_identity: Option<Spanned<bool>>,
            /// Which API of the provider is spoken: its own (`native`, the default), or the one it has for clients of
            /// `openai`.
            wire: Option<Wire>,
            /// Names, or `{ alias = "fast", upstream = "gpt-4o-mini" }`. Left out: whatever the server has.
            models: Option<Vec<Spanned<Model>>>,
            /// Ask for token counts in streams that did not, and hide them again: `auto` (until the server
            /// refuses) or `never`. Default `auto`.
            usage_injection: Option<Usage>,
            /// The server has `/v1/responses`. Default: true for `openai`, else false.
            responses: Option<bool>,
            timeouts: Timeouts,
            breaker: Breaker,
            retries: Retries,
            allow_private: Option<bool>,
            allow_http: Option<bool>,
            ca_file: Option<Spanned<String>>,
        }
        secret {
            /// Left out for servers that ask for none.
            api_key: Option<Spanned<SecretRef>>,
            secret_access_key: Option<Spanned<SecretRef>>,
            /// Of temporary keys.
            session_token: Option<Spanned<SecretRef>>,
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
            /// Whether clients may sign with Version 2, as old ones do: `refuse`, the default, `tls-only` or `allow`.
            signature_v2: Option<SignatureV2Word>,
            limits: RepositoryLimits,
            /// `/v1/...` paths beyond the supported ones that are forwarded as they are to the first `ai` resource.
            passthrough: Vec<Spanned<String>>,
            /// What to do about a parameter that a model's provider cannot take, where the answer is good without:
            /// `warn` leaves it out and names it in `x-aqueduct-dropped-params`, `strict` refuses. Default `warn`.
            unsupported_params: Option<UnsupportedWord>,
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
    /// Limits of one key.
    #[derive(Default)]
    "key.limits" KeyLimits {
        optional {
            /// Requests a second.
            rps: Option<Spanned<u32>>,
            /// Requests at once.
            concurrent: Option<Spanned<u32>>,
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
            limits: KeyLimits,
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
