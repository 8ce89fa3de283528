//! What a form claims about itself: a credential and a signature over its policy.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};

use super::parse::{
    Credential, malformed, mismatch, parse_credential, token_unsupported, unsupported_scheme,
};
use super::{ALGORITHM, PRESIGN_SECONDS_MAX, SKEW_MAX, canonical};
use crate::error::{Error, Kind, Result};
use crate::message::date::BasicDate;
use crate::storage::s3::form::{self, Fields};
use crate::storage::s3::names;

/// See the module's documentation.
pub(super) struct FormClaim<'a> {
    pub credential: Credential<'a>,
    pub date: BasicDate,
    at: Timestamp,
    pub signature: [u8; 32],
    /// As it was sent: the signature is over these very characters.
    pub policy: &'a str,
}

impl<'a> FormClaim<'a> {
    pub(super) fn parse(fields: &'a Fields) -> Result<Self> {
        if fields.field(names::SECURITY_TOKEN).is_some() {
            return Err(token_unsupported());
        }
        let all = [
            form::POLICY,
            form::ALGORITHM,
            form::CREDENTIAL,
            names::DATE,
            form::SIGNATURE,
        ];
        if all.iter().all(|name| fields.field(name).is_none()) {
            return Err(
                Error::new(Kind::AuthMissing, "Access Denied").with_detail("the form is anonymous")
            );
        }
        let field = |name: &str| fields.field(name).ok_or_else(|| form::missing(name));
        let policy = field(form::POLICY)?;
        let algorithm = field(form::ALGORITHM)?;
        if algorithm != ALGORITHM {
            return Err(unsupported_scheme(algorithm));
        }
        let (date, at) =
            BasicDate::parse(field(names::DATE)?).ok_or_else(|| malformed("X-Amz-Date"))?;
        let credential = Cow::Borrowed(field(form::CREDENTIAL)?);
        let signature = canonical::unhex(field(form::SIGNATURE)?.as_bytes());
        Ok(Self {
            credential: parse_credential(credential, date, "X-Amz-Credential")?,
            date,
            at,
            signature: signature.ok_or_else(mismatch)?,
            policy,
        })
    }

    /// How long a form is good its policy says, but no longer than any signature of ours.
    pub(super) fn check_times(&self, now: Timestamp) -> Result<()> {
        let age = now.duration_since(self.at);
        if age < -SKEW_MAX {
            return Err(Error::new(Kind::RequestExpired, "Request is not valid yet"));
        }
        if age > SignedDuration::from_secs(PRESIGN_SECONDS_MAX) {
            return Err(Error::new(Kind::RequestExpired, "Request has expired"));
        }
        Ok(())
    }
}
