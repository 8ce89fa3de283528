//! Forms: the signature is over their policy, and that alone says how long they are good.

use super::{ToSign, check_rule, decode, only_one_mechanism, prove, token_unsupported};
use crate::error::Result;
use crate::keys::Key;
use crate::policy::route::SignatureV2;
use crate::storage::s3::auth::{Payload, Verified};
use crate::storage::s3::form::{self, Fields};
use crate::storage::s3::names;

/// Whether a form is signed in this way, right or wrong.
pub(in crate::storage::s3::auth) fn is_used(fields: &Fields) -> bool {
    let own = [form::ACCESS_KEY_ID_V2, form::SIGNATURE_V2];
    own.iter().any(|name| fields.field(name).is_some())
}

/// Proves which key sent a form that [`is_used`] is true of.
pub(in crate::storage::s3::auth) fn authenticate<K: AsRef<Key>>(
    fields: &Fields,
    secure: bool,
    find: impl Fn(&str) -> Option<K>,
    rule: impl Fn(&K) -> SignatureV2,
) -> Result<Verified<K>> {
    let of_version_4 = [form::ALGORITHM, form::CREDENTIAL, form::SIGNATURE];
    if of_version_4.iter().any(|name| fields.field(name).is_some()) {
        return Err(only_one_mechanism());
    }
    if fields.field(names::SECURITY_TOKEN).is_some() {
        return Err(token_unsupported());
    }
    let field = |name: &str| fields.field(name).ok_or_else(|| form::missing(name));
    let found = find(field(form::ACCESS_KEY_ID_V2)?);
    if let Some(found) = &found {
        check_rule(rule(found), secure)?;
    }
    let signature = decode(field(form::SIGNATURE_V2)?);
    let key = prove(found, signature, &ToSign::whole(field(form::POLICY)?))?;
    Ok(Verified {
        key,
        payload: Payload::Unsigned,
        presigned: false,
    })
}
