//! Sealed tokens: what a store calls its uploads and its pages, given to a client and taken back.
//!
//! A store's own words may hold upstream names, and would open the same upload to whoever can reach the same bucket by
//! another way. Sealed, they say nothing, and open only for the repository, bucket and object that they were given out
//! for. Nothing is kept here: any node with the same master keys opens them. A key that may use a token is checked as
//! for any request; the token gives no right of its own.

use uuid::Uuid;

use crate::error::{Error, Kind, Result};
use crate::keys::seal::{Aad, MasterRing, PREFIX};
use crate::policy::route::Bucket;
use crate::storage::op::{CopyPiece, ListUploads, Operation, Start, UploadRef};
use crate::storage::reply::Reply;

/// What tokens are sealed with, and for whom.
#[derive(Clone, Copy)]
pub struct Tokens<'a> {
    pub ring: &'a MasterRing,
    pub repository: Uuid,
    pub bucket: &'a Bucket,
}

/// What a token stands for.
#[derive(Clone, Copy)]
enum Purpose {
    Page,
    Upload,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Upload => "upload",
        }
    }
}

impl Tokens<'_> {
    /// Puts the store's words in the place of the client's tokens.
    pub fn open(&self, op: &mut Operation) -> Result<()> {
        if let Operation::ListObjects(list) = op {
            if let Start::Page(token) = &mut list.start {
                *token = self.open_one(Purpose::Page, &list.prefix, token)?;
            }
        } else if let Operation::ListBuckets(list) = op {
            if let Some(page) = &mut list.page {
                *page = self.open_one(Purpose::Page, &list.prefix, page)?;
            }
        } else if let Operation::ListUploads(ListUploads {
            after: Some((key, Some(id))),
            ..
        }) = op
        {
            *id = self.open_one(Purpose::Upload, key, id)?;
        } else if let Some(upload) = upload_of(op) {
            upload.id = self.open_one(Purpose::Upload, &upload.key, &upload.id)?;
        }
        Ok(())
    }

    /// Puts tokens in the place of the store's words. One word has one token, whichever node gives it out.
    pub fn seal(&self, op: &Operation, reply: &mut Reply) -> Result<()> {
        if let (Reply::Objects(page), Operation::ListObjects(list)) = (&mut *reply, op) {
            if let Some(next) = &mut page.next {
                *next = self.seal_one(Purpose::Page, &list.prefix, next)?;
            }
        } else if let (Reply::Buckets(page), Operation::ListBuckets(list)) = (&mut *reply, op) {
            if let Some(next) = &mut page.next {
                *next = self.seal_one(Purpose::Page, &list.prefix, next)?;
            }
        } else if let (Reply::Upload(id), Some(key)) = (&mut *reply, op.key()) {
            *id = self.seal_one(Purpose::Upload, key, id)?;
        } else if let Reply::Uploads(page) = reply {
            for upload in &mut page.uploads {
                let sealed = self.seal_one(Purpose::Upload, &upload.key, &upload.id)?;
                upload.id = sealed;
            }
            if let Some((key, id)) = &mut page.next {
                *id = self.seal_one(Purpose::Upload, key, id)?;
            }
        }
        Ok(())
    }

    fn aad<'a>(&'a self, purpose: Purpose, of: &'a str) -> Aad<'a> {
        Aad::Token {
            purpose: purpose.name(),
            repository: self.repository,
            resource: self.bucket.resource.id,
            bucket: &self.bucket.exposed,
            of,
        }
    }

    fn seal_one(&self, purpose: Purpose, of: &str, plain: &str) -> Result<Box<str>> {
        let sealed = self
            .ring
            .seal_alike(self.aad(purpose, of), plain.as_bytes());
        let sealed = sealed.map_err(Error::internal)?;
        // A colon is no character of S3's own ids; neither part holds a tilde.
        let (master, body) = sealed
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once(':'))
            .ok_or_else(|| Error::internal("a sealed text of another form"))?;
        Ok([master, "~", body].concat().into())
    }

    fn open_one(&self, purpose: Purpose, of: &str, token: &str) -> Result<Box<str>> {
        let opened = token.split_once('~').and_then(|(master, body)| {
            let sealed = [PREFIX, master, ":", body].concat();
            let opened = self.ring.open(self.aad(purpose, of), &sealed).ok()?;
            std::str::from_utf8(opened.expose()).ok().map(Box::from)
        });
        opened.ok_or_else(|| match purpose {
            Purpose::Page => {
                let message = "The continuation token provided is incorrect";
                Error::new(Kind::InvalidArgument, message).with_param("continuation-token")
            }
            Purpose::Upload => {
                let message = "The specified multipart upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.";
                Error::new(Kind::UploadNotFound, message)
            }
        })
    }
}

fn upload_of(op: &mut Operation) -> Option<&mut UploadRef> {
    match op {
        Operation::UploadPiece(piece) => Some(&mut piece.upload),
        Operation::CopyPiece(piece) => {
            let CopyPiece { upload, .. } = &mut **piece;
            Some(upload)
        }
        Operation::ListPieces(list) => Some(&mut list.upload),
        Operation::CompleteUpload(complete) => Some(&mut complete.upload),
        Operation::AbortUpload(upload) => Some(upload),
        Operation::ListBuckets(_)
        | Operation::HeadBucket
        | Operation::CreateBucket(_)
        | Operation::DeleteBucket
        | Operation::ListObjects(_)
        | Operation::GetObject(_)
        | Operation::HeadObject(_)
        | Operation::PutObject(_)
        | Operation::CopyObject(_)
        | Operation::SetAttributes(_)
        | Operation::DeleteObject(_)
        | Operation::DeleteObjects(_)
        | Operation::GetTags(_)
        | Operation::PutTags(_)
        | Operation::CreateUpload(_)
        | Operation::ListUploads(_)
        | Operation::NoteUpload(_)
        | Operation::Journal(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::storage::gcs::tests_support::bucket;
    use crate::storage::op::{CreateUpload, ListObjects};
    use crate::storage::reply::ObjectPage;

    fn ring() -> MasterRing {
        MasterRing::new(vec![("m".to_owned(), Secret::new([7; 32]))]).unwrap()
    }

    fn listing(prefix: &str, start: Start) -> Operation {
        Operation::ListObjects(ListObjects {
            prefix: prefix.into(),
            start,
            ..ListObjects::default()
        })
    }

    #[test]
    fn a_page_token_opens_where_it_was_given_out_and_nowhere_else() {
        let (ring, bucket) = (ring(), bucket("up", "secret-prefix/"));
        let tokens = Tokens {
            ring: &ring,
            repository: Uuid::nil(),
            bucket: &bucket,
        };
        let mut reply = Reply::Objects(ObjectPage {
            next: Some("secret-prefix/last".into()),
            ..ObjectPage::default()
        });
        let first = listing("a/", Start::First);
        tokens.seal(&first, &mut reply).unwrap();
        let Reply::Objects(page) = reply else {
            panic!()
        };
        let token = page.next.unwrap();
        assert!(
            token
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_~.".contains(&b))
        );
        let mut again = listing("a/", Start::Page(token.clone()));
        tokens.open(&mut again).unwrap();
        assert_eq!(
            again,
            listing("a/", Start::Page("secret-prefix/last".into()))
        );
        let elsewhere = Tokens {
            repository: Uuid::max(),
            ..tokens
        };
        for (tokens, prefix, token) in [
            (tokens, "b/", &*token),
            (elsewhere, "a/", &token),
            (tokens, "a/", &token[..token.len() - 1]),
            (tokens, "a/", "m~"),
            (tokens, "a/", ""),
        ] {
            let mut other = listing(prefix, Start::Page(token.into()));
            let refused = tokens.open(&mut other).unwrap_err();
            assert_eq!(refused.kind(), Kind::InvalidArgument);
        }
    }

    fn sealed_upload(tokens: &Tokens<'_>, create: &Operation) -> Box<str> {
        let mut reply = Reply::Upload("store's id".into());
        tokens.seal(create, &mut reply).unwrap();
        let Reply::Upload(id) = reply else { panic!() };
        id
    }

    #[test]
    fn an_upload_id_belongs_to_its_object() {
        let (ring, bucket) = (ring(), bucket("up", ""));
        let tokens = Tokens {
            ring: &ring,
            repository: Uuid::nil(),
            bucket: &bucket,
        };
        let create = Operation::CreateUpload(Box::new(CreateUpload {
            key: "k".into(),
            attributes: crate::storage::object::Attributes::default(),
            checksum: None,
            conditions: crate::storage::condition::Preconditions::default(),
        }));
        let (id, again) = (
            sealed_upload(&tokens, &create),
            sealed_upload(&tokens, &create),
        );
        assert_eq!(id, again, "clients compare ids");
        let abort = |key: &str, id: &str| {
            Operation::AbortUpload(UploadRef {
                key: key.into(),
                id: id.into(),
            })
        };
        let mut op = abort("k", &id);
        tokens.open(&mut op).unwrap();
        assert_eq!(op, abort("k", "store's id"));
        for mut op in [abort("other", &id), abort("k", "store's id")] {
            assert_eq!(
                tokens.open(&mut op).unwrap_err().kind(),
                Kind::UploadNotFound
            );
        }
    }
}
