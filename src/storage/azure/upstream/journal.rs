//! Journals of uploads, as append blobs beside the objects: one atomic append a record, and deleted as a whole.
//!
//! They lie under our own prefix, which clients neither see nor name, below that of the bucket. A name is made of a
//! digest of the key, which could be too long for one, and the upload's id; the key is in the metadata, where a listing
//! finds it.

use bytes::Bytes;
use http::Method;
use sha2::{Digest, Sha256};

use super::blocks;
use super::draft::Draft;
use super::headers::metadata::{self, Metadata};
use super::headers::push;
use crate::error::Result;
use crate::policy::route::Bucket;
use crate::storage::azure::{names, wire};
use crate::storage::canonical;
use crate::storage::codec::UpstreamRequest;
use crate::storage::object::RESERVED_PREFIX;
use crate::storage::op::{CreateJournal, Journal, UploadRef};
use crate::storage::reply::{JournalPage, ListedUpload, Reply};

const FOLDER: &str = "uploads/";
/// Hexadecimal digits of a key's digest.
const DIGEST_DIGITS: usize = 32;

pub(super) fn request(journal: &Journal, bucket: &Bucket) -> Result<UpstreamRequest> {
    match journal {
        Journal::Create(create) => self::create(create, bucket),
        Journal::Append { upload, records } => append(upload, records, bucket),
        Journal::Read(upload) => Ok(draft(upload, bucket)?.empty(Method::GET)),
        Journal::Delete(upload) => Ok(draft(upload, bucket)?.empty(Method::DELETE)),
        Journal::List(page) => list(page.as_deref(), bucket),
    }
}

fn draft(upload: &UploadRef, bucket: &Bucket) -> Result<Draft> {
    let digest = canonical::hex(&Sha256::digest(upload.key.as_bytes()).into());
    let digest = String::from_utf8_lossy(&digest[..DIGEST_DIGITS]);
    let name = format!("{RESERVED_PREFIX}{FOLDER}{digest}/{}", upload.id);
    Draft::blob(bucket, &name)
}

fn create(create: &CreateJournal, bucket: &Bucket) -> Result<UpstreamRequest> {
    let CreateJournal { upload, attributes } = create;
    blocks::check(attributes, upload, bucket)?;
    let mut draft = draft(upload, bucket)?;
    let head = &mut draft.head;
    push(head, names::BLOB_TYPE, "AppendBlob")?;
    push(head, "if-none-match", "*")?;
    let mut metadata = Metadata::new(head);
    metadata.push(names::JOURNAL_KEY, &upload.key)?;
    if let Some(class) = attributes.class {
        metadata.push(names::JOURNAL_TIER, names::tier(class))?;
    }
    Ok(draft.empty(Method::PUT))
}

fn append(upload: &UploadRef, records: &Bytes, bucket: &Bucket) -> Result<UpstreamRequest> {
    let mut draft = draft(upload, bucket)?;
    draft.query("comp", "appendblock");
    Ok(draft.bytes(Method::PUT, records.clone()))
}

fn list(page: Option<&str>, bucket: &Bucket) -> Result<UpstreamRequest> {
    let mut draft = Draft::container(bucket);
    draft.query("comp", "list");
    draft.query("include", "metadata");
    draft.query_name("prefix", bucket, &[RESERVED_PREFIX, FOLDER].concat())?;
    if let Some(page) = page {
        draft.query("marker", page);
    }
    Ok(draft.empty(Method::GET))
}

pub(super) fn reply(journal: &Journal, document: &[u8]) -> Result<Reply> {
    Ok(match journal {
        Journal::Create(_) | Journal::Append { .. } | Journal::Delete(_) => Reply::Done,
        Journal::Read(_) => Reply::Journal(Bytes::copy_from_slice(document)),
        Journal::List(_) => Reply::Journals(self::page(document)?),
    })
}

fn page(document: &[u8]) -> Result<JournalPage> {
    let listing = wire::blobs(document, &[names::JOURNAL_KEY, names::JOURNAL_TIER])?;
    let mut uploads = Vec::with_capacity(listing.entries.len());
    for entry in listing.entries {
        let [key, tier] = entry.kept;
        // Whatever else is there is none of ours.
        let (Some(key), Some((_, id))) = (key, entry.name.rsplit_once('/')) else {
            continue;
        };
        uploads.push(ListedUpload {
            key: metadata::text(&key).into(),
            id: id.into(),
            initiated: entry.created.unwrap_or(entry.last_modified),
            class: tier.and_then(|tier| names::class(&tier)),
        });
    }
    Ok(JournalPage {
        uploads,
        next: listing.next,
    })
}
