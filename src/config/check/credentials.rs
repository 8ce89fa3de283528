//! The credential of a storage resource: that there is one, whole, and no more than one.

use std::ops::Range;

use toml::Spanned;

use super::Cx;
use super::resources::text;
use crate::config::model::{Ai, Azure, Gcs, S3, SecretRef};
use crate::config::parse::Document;
use crate::config::words::{AiTypeWord, Wire};

/// A field with where it was written, if it was.
type Written = (&'static str, Option<Range<usize>>);

pub(super) fn s3(cx: &mut Cx<'_>, document: &Document, written: &S3) {
    secret(
        cx,
        document,
        "secret_access_key",
        written.secret_access_key.as_ref(),
    );
    secret(
        cx,
        document,
        "session_token",
        written.session_token.as_ref(),
    );
    secret(
        cx,
        document,
        "web_identity_token",
        written.web_identity_token.as_ref(),
    );
    for (field, value) in [
        ("external_id", &written.external_id),
        ("role_session_name", &written.role_session_name),
    ] {
        if let Some(value) = value {
            text(cx, document, field, value);
        }
    }
    if !cx.is_broken(written.name.get_ref()) {
        s3_kinds(cx, document, written);
    }
    if let Some(arn) = &written.role_arn {
        role_arn(cx, document, arn);
    }
    match &written.access_key_id {
        Some(id) if id.get_ref().starts_with("arn:") => {
            let message = "a role is no access key";
            cx.error(document, "E013", id.span(), message).hint =
                Some("write `role_arn`, and what you had as its secret as `external_id`".into());
        }
        Some(id) => text(cx, document, "access_key_id", id),
        None => {}
    }
}

/// What goes with what.
fn s3_kinds(cx: &mut Cx<'_>, document: &Document, written: &S3) {
    let key = ("access_key_id", span(written.access_key_id.as_ref()));
    let secret = (
        "secret_access_key",
        span(written.secret_access_key.as_ref()),
    );
    let role = ("role_arn", span(written.role_arn.as_ref()));
    let token = (
        "web_identity_token",
        span(written.web_identity_token.as_ref()),
    );
    let external = ("external_id", span(written.external_id.as_ref()));
    let machine = machine(written.machine_identity.as_ref());
    let kinds = [key.clone(), token.clone(), machine];
    // A role may be taken as the machine itself.
    if role.1.is_none() {
        at_least_one(cx, document, &written.name, &kinds);
    }
    at_most_one(cx, document, &kinds);
    at_most_one(cx, document, &[external.clone(), token.clone()]);
    for (one, other) in [
        (&key, &secret),
        (&secret, &key),
        (
            &("session_token", span(written.session_token.as_ref())),
            &key,
        ),
        (&token, &role),
        (&external, &role),
        (
            &(
                "role_session_name",
                span(written.role_session_name.as_ref()),
            ),
            &role,
        ),
        (
            &("sts_endpoint", span(written.sts_endpoint.as_ref())),
            &role,
        ),
    ] {
        needs(cx, document, one, other);
    }
}

fn role_arn(cx: &mut Cx<'_>, document: &Document, arn: &Spanned<String>) {
    let mut parts = arn.get_ref().splitn(6, ':');
    let is_role = parts.next() == Some("arn")
        && parts
            .next()
            .is_some_and(|partition| partition.starts_with("aws"))
        && parts.next() == Some("iam")
        && parts.next() == Some("")
        && parts.next().is_some_and(|account| !account.is_empty())
        && parts.next().is_some_and(|role| role.starts_with("role/"));
    if !is_role {
        let message = format!("`{}` is no role", arn.get_ref());
        cx.error(document, "E013", arn.span(), message).hint =
            Some("a role is written arn:aws:iam::ACCOUNT:role/NAME".into());
    }
}

pub(super) fn gcs(cx: &mut Cx<'_>, document: &Document, written: &Gcs) {
    secret(cx, document, "credentials", written.credentials.as_ref());
    secret(
        cx,
        document,
        "secret_access_key",
        written.secret_access_key.as_ref(),
    );
    for (field, value) in [
        ("access_key_id", &written.access_key_id),
        ("project", &written.project),
    ] {
        if let Some(value) = value {
            text(cx, document, field, value);
        }
    }
    if cx.is_broken(written.name.get_ref()) {
        return;
    }
    let key = ("access_key_id", span(written.access_key_id.as_ref()));
    let secret = (
        "secret_access_key",
        span(written.secret_access_key.as_ref()),
    );
    let kinds = [
        ("credentials", span(written.credentials.as_ref())),
        key.clone(),
        machine(written.machine_identity.as_ref()),
    ];
    at_least_one(cx, document, &written.name, &kinds);
    at_most_one(cx, document, &kinds);
    needs(cx, document, &key, &secret);
    needs(cx, document, &secret, &key);
}

pub(super) fn azure(cx: &mut Cx<'_>, document: &Document, written: &Azure) {
    for (field, value) in [
        ("account_key", &written.account_key),
        ("sas", &written.sas),
        ("client_secret", &written.client_secret),
        ("federated_token", &written.federated_token),
    ] {
        secret(cx, document, field, value.as_ref());
    }
    for (field, value) in [
        ("tenant_id", &written.tenant_id),
        ("client_id", &written.client_id),
    ] {
        if let Some(value) = value {
            text(cx, document, field, value);
        }
    }
    if cx.is_broken(written.name.get_ref()) {
        return;
    }
    let client_secret = ("client_secret", span(written.client_secret.as_ref()));
    let federated = ("federated_token", span(written.federated_token.as_ref()));
    let tenant = ("tenant_id", span(written.tenant_id.as_ref()));
    let client = ("client_id", span(written.client_id.as_ref()));
    let machine = machine(written.machine_identity.as_ref());
    let kinds = [
        ("account_key", span(written.account_key.as_ref())),
        ("sas", span(written.sas.as_ref())),
        client_secret.clone(),
        federated.clone(),
        machine.clone(),
    ];
    at_least_one(cx, document, &written.name, &kinds);
    at_most_one(cx, document, &kinds);
    for proof in [&client_secret, &federated] {
        needs(cx, document, proof, &tenant);
        needs(cx, document, proof, &client);
    }
    let proof = client_secret.1.or(federated.1);
    needs(cx, document, &tenant, &("client_secret", proof.clone()));
    let authority = ("authority", span(written.authority.as_ref()));
    needs(cx, document, &authority, &("client_secret", proof.clone()));
    needs(
        cx,
        document,
        &client,
        &("client_secret", proof.or(machine.1)),
    );
}

/// Bedrock's requests are signed, or bear an API key; everybody else's bear one or none.
pub(super) fn ai(cx: &mut Cx<'_>, document: &Document, written: &Ai) {
    for (field, value) in [
        ("api_key", &written.api_key),
        ("secret_access_key", &written.secret_access_key),
        ("session_token", &written.session_token),
    ] {
        secret(cx, document, field, value.as_ref());
    }
    for (field, value) in [
        ("region", &written.region),
        ("access_key_id", &written.access_key_id),
    ] {
        if let Some(value) = value {
            text(cx, document, field, value);
        }
    }
    let api_key = ("api_key", span(written.api_key.as_ref()));
    let key = ("access_key_id", span(written.access_key_id.as_ref()));
    let secret = (
        "secret_access_key",
        span(written.secret_access_key.as_ref()),
    );
    let token = ("session_token", span(written.session_token.as_ref()));
    let machine = machine(written.machine_identity.as_ref());
    if *written.r#type.get_ref() == AiTypeWord::Aws && written.wire != Some(Wire::OpenAi) {
        if !cx.is_broken(written.name.get_ref()) {
            let kinds = [api_key, key.clone(), machine];
            at_least_one(cx, document, &written.name, &kinds);
            at_most_one(cx, document, &kinds);
        }
        needs(cx, document, &key, &secret);
        needs(cx, document, &secret, &key);
        needs(cx, document, &token, &key);
        return;
    }
    for (field, place) in [key, secret, token, machine] {
        if let Some(place) = place {
            let message = format!("`{field}` is for `type = \"aws\"`");
            cx.error(document, "E038", place, message);
        }
    }
}

fn span<T>(field: Option<&Spanned<T>>) -> Option<Range<usize>> {
    field.map(Spanned::span)
}

fn machine(written: Option<&Spanned<bool>>) -> Written {
    let written = written.filter(|is_meant| *is_meant.get_ref());
    ("machine_identity", written.map(Spanned::span))
}

fn secret(cx: &mut Cx<'_>, document: &Document, field: &str, secret: Option<&Spanned<SecretRef>>) {
    if let Some(secret) = secret {
        cx.secret(document, field, secret);
    }
}

fn at_least_one(cx: &mut Cx<'_>, document: &Document, name: &Spanned<String>, kinds: &[Written]) {
    if kinds.iter().all(|(_, span)| span.is_none()) {
        let message = format!("`{}` has no credential", name.get_ref());
        let fields: Vec<String> = kinds
            .iter()
            .map(|(field, _)| format!("`{field}`"))
            .collect();
        cx.error(document, "E004", name.span(), message).hint =
            Some(format!("set one of {}", fields.join(", ")));
    }
}

fn at_most_one(cx: &mut Cx<'_>, document: &Document, kinds: &[Written]) {
    let mut given = kinds
        .iter()
        .filter_map(|(field, span)| Some((field, span.clone()?)));
    let Some((first, first_span)) = given.next() else {
        return;
    };
    for (other, span) in given {
        let message = format!("`{other}` and `{first}` do not go together");
        let place = document.place(first_span.clone());
        let problem = cx.error(document, "E038", span, message);
        *problem = problem.clone().with_related(place, "the other one");
    }
}

fn needs(cx: &mut Cx<'_>, document: &Document, one: &Written, other: &Written) {
    if let (Some(span), None) = (&one.1, &other.1) {
        let message = format!("`{}` needs `{}`", one.0, other.0);
        cx.error(document, "E004", span.clone(), message);
    }
}
