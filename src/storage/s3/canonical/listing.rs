//! Pages: of objects, of uploads, of parts.
//!
//! What a page shows is the model's; how it is written is the answer's. A page of no entries is asked for by nobody
//! but tests of S3: [`super::super::answer`] knows it without asking.

use super::given::Given;
use super::{invalid, multipart};
use crate::error::{Error, Kind, Result};
use crate::storage::object::VersionId;
use crate::storage::op::{ListObjects, ListPieces, ListUploads, Start, Which};
use crate::storage::s3::route::{Op, WholeOp};

/// The largest page that S3 gives, and the one that it gives unasked.
const PAGE_MAX: u32 = 1000;

pub(super) fn objects(op: &WholeOp, given: &mut Given<'_>) -> Result<ListObjects> {
    let request = op.request();
    let asks = |name| request.query(name).is_some_and(|value| !value.is_empty());
    if request.query("allow-unordered") == Some("true") && asks("delimiter") {
        let message = "Unordered listings with a delimiter are not supported.";
        return Err(Error::new(Kind::InvalidArgument, message));
    }
    let which = if op.op() == Op::ListObjectVersions {
        Which::Versions
    } else {
        Which::Current
    };
    let start = match which {
        Which::Versions => versions_start(given)?,
        Which::Current => {
            let after = given.query("start-after").or_else(|| given.query("marker"));
            match given.query("continuation-token") {
                Some(token) => Start::Page(token.into()),
                None => after.map_or(Start::First, |key| Start::After(key.into())),
            }
        }
    };
    Ok(ListObjects {
        which,
        prefix: given.query("prefix").unwrap_or_default().into(),
        delimiter: given.query("delimiter").map(Box::from),
        start,
        max: max(given, "max-keys")?,
    })
}

fn versions_start(given: &mut Given<'_>) -> Result<Start> {
    let key = given.query("key-marker");
    let version = given.query("version-id-marker");
    match (key, version) {
        (None, None) => Ok(Start::First),
        (Some(key), None) => Ok(Start::After(key.into())),
        (Some(key), Some(version)) => {
            Ok(Start::AfterVersion(key.into(), VersionId(version.into())))
        }
        (None, Some(_)) => Err(Error::new(
            Kind::InvalidArgument,
            "A version-id marker cannot be specified without a key marker.",
        )),
    }
}

pub(super) fn uploads(given: &mut Given<'_>) -> Result<ListUploads> {
    let key = given.query("key-marker");
    // Without a key it means nothing, and S3 says so.
    let upload = given.query("upload-id-marker").filter(|_| key.is_some());
    Ok(ListUploads {
        prefix: given.query("prefix").unwrap_or_default().into(),
        delimiter: given.query("delimiter").map(Box::from),
        after: key.map(|key| (key.into(), upload.map(Box::from))),
        max: max(given, "max-uploads")?,
    })
}

pub(super) fn parts(op: &WholeOp, given: &mut Given<'_>) -> Result<ListPieces> {
    // Behind the last there are none; S3 takes any number.
    let after = given.number("part-number-marker")?;
    Ok(ListPieces {
        upload: multipart::reference(op, given)?,
        after: after.map(|number| u16::try_from(number).unwrap_or(u16::MAX)),
        max: max(given, "max-parts")?,
    })
}

/// The page's size; what is asked for above S3's own is that.
fn max(given: &mut Given<'_>, name: &'static str) -> Result<Option<u32>> {
    let max = given.number(name)?.unwrap_or(PAGE_MAX);
    if max == 0 && name != "max-keys" {
        return Err(invalid(name));
    }
    Ok(Some(max.min(PAGE_MAX)))
}
