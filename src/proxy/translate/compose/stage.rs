//! Bytes on their way into blocks: one body, in as many requests as it takes, and never held.
//!
//! The body verifies as it is read and holds back its tail, so that the last block is not whole before everything checked
//! out; each block is compared with what the store says that it has. Blocks of a body that failed are part of nothing,
//! and the store clears them away.

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::error::{Error, Kind, Result};
use crate::message::body::{BodyStep, Chunks, End};
use crate::proxy::record::Record;
use crate::proxy::translate::Run;
use crate::proxy::upload::{ClientBody, Sender, Source};
use crate::storage::compose::blocks::{Attempt, UploadId, cut, whole};
use crate::storage::object::{Checksum, ChecksumKind, Digests};
use crate::storage::op::{Body, Operation, Piece, UploadPiece, UploadRef};

/// Bytes to be stored, from whoever sends them.
pub(super) struct Incoming<'a> {
    /// Verifies them.
    pub body: &'a mut ClientBody,
    sender: Sender<'a>,
    pub length: u64,
    /// What was declared of them beforehand.
    pub declared: &'a [Checksum],
    /// Released, and behind the end of a block.
    rest: Option<Bytes>,
}

/// What they were stored as.
pub(super) struct Staged {
    pub attempt: Attempt,
    pub blocks: u16,
}

impl Run<'_> {
    /// Stores the bytes as blocks of a part. All of them were verified when this is done.
    pub(super) async fn stage(
        &self,
        record: &mut Record,
        upload: &UploadRef,
        part: u16,
        from: &mut Incoming<'_>,
    ) -> Result<Staged> {
        let id = UploadId::parse(&upload.id)?;
        let attempt = Attempt(random()?);
        from.body.observe(from.digests());
        if from.length == 0 {
            // There are no empty blocks.
            from.body.read_empty(from.sender.by_ref()).await?;
            return Ok(Staged { attempt, blocks: 0 });
        }
        let capability = self.lane.codec.capability(self.lane.bucket);
        let most = capability.piece_bytes_max;
        let mut blocks = 0;
        for slice in cut(whole(from.length), most) {
            let length = slice.length();
            // What was declared is of the whole.
            let declared = from.declared.iter().filter(|_| length == from.length);
            let op = Operation::UploadPiece(Box::new(UploadPiece {
                upload: upload.clone(),
                piece: Piece::Block(id.block(part, blocks, attempt)),
                body: Body {
                    length: Some(length),
                    checksums: declared.cloned().collect(),
                },
                customer_key: None,
            }));
            let step: Box<dyn BodyStep> = Box::new(Verified);
            let mut body = ClientBody::new(Some(step), false, 0, u64::MAX, length);
            let mut slice = Slice { from, left: length };
            let sent = self
                .lane
                .exchange_from(record, &op, &mut body, &mut slice)
                .await;
            if let Err(error) = sent {
                return Err(self.not_staged(record, upload, error).await);
            }
            blocks += 1;
        }
        from.end().await?;
        Ok(Staged { attempt, blocks })
    }
}

impl<'a> Incoming<'a> {
    pub(super) fn new(
        body: &'a mut ClientBody,
        sender: Sender<'a>,
        length: u64,
        declared: &'a [Checksum],
    ) -> Self {
        Self {
            body,
            sender,
            length,
            declared,
            rest: None,
        }
    }

    /// The MD5 is the ETag, unless it was told; the CRC64 costs next to nothing, and those of parts add up.
    fn digests(&self) -> Digests {
        let told = self.declared.iter();
        let mut told = told.filter(|checksum| checksum.kind() == ChecksumKind::Md5);
        Digests {
            crc32c: false,
            crc64nvme: true,
            md5: told.next().is_none(),
        }
    }

    /// Reads the end of the message, where it was not read with its last bytes.
    async fn end(&mut self) -> Result<()> {
        let more =
            self.rest.is_some() || self.body.next_released(&mut self.sender).await?.is_some();
        if more {
            return Err(Error::internal("more bytes than were announced"));
        }
        Ok(())
    }
}

/// As much of a body as one block takes.
struct Slice<'s, 'a> {
    from: &'s mut Incoming<'a>,
    left: u64,
}

impl Slice<'_, '_> {
    async fn read(&mut self) -> Result<Option<Bytes>> {
        if self.left == 0 {
            return Ok(None);
        }
        let from = &mut *self.from;
        let next = match from.rest.take() {
            Some(rest) => Some(rest),
            None => from.body.next_released(&mut from.sender).await?,
        };
        let Some(mut chunk) = next else {
            let message = "The body is shorter than it was announced to be.";
            return Err(Error::new(Kind::IncompleteBody, message));
        };
        let fits = usize::try_from(self.left).unwrap_or(usize::MAX);
        if chunk.len() > fits {
            from.rest = Some(chunk.split_off(fits));
        }
        self.left -= chunk.len() as u64;
        Ok(Some(chunk))
    }
}

impl Source for Slice<'_, '_> {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>>> {
        Box::pin(self.read())
    }

    fn is_done(&self) -> bool {
        self.left == 0
    }

    fn refused(&mut self, _error: &Error) {
        // It was verified before it came here.
    }
}

/// Hands on what was verified before: that is what its bytes cost.
struct Verified;

impl BodyStep for Verified {
    fn push(&mut self, input: Bytes, out: &mut Chunks) -> Result<()> {
        out.push(input);
        Ok(())
    }

    fn finish(&mut self, end: End, _out: &mut Chunks) -> Result<()> {
        match end {
            End::Clean => Ok(()),
            End::Cut(error) => Err(error),
        }
    }
}

/// A fresh random number.
pub(super) fn random() -> Result<u32> {
    getrandom::u32().map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pieces of a body, one behind the other.
    struct Pieces(std::collections::VecDeque<Bytes>);

    impl Source for Pieces {
        fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>>> {
            let next = self.0.pop_front();
            Box::pin(async move { Ok(next) })
        }

        fn is_done(&self) -> bool {
            self.0.is_empty()
        }

        fn refused(&mut self, _error: &Error) {}
    }

    /// Lets the last bytes go when all has come, unless it does not check out.
    struct HoldsBack {
        held: Option<Bytes>,
        good: bool,
    }

    impl BodyStep for HoldsBack {
        fn push(&mut self, input: Bytes, out: &mut Chunks) -> Result<()> {
            out.extend(self.held.replace(input));
            Ok(())
        }

        fn finish(&mut self, _end: End, out: &mut Chunks) -> Result<()> {
            if !self.good {
                return Err(Error::new(Kind::DigestMismatch, "not what was declared"));
            }
            out.extend(self.held.take());
            Ok(())
        }
    }

    /// What each block was made of, and how it ended.
    fn sliced(pieces: &[Vec<u8>], good: bool, most: u64) -> (Vec<Vec<u8>>, Result<()>) {
        let length = pieces.iter().map(Vec::len).sum::<usize>() as u64;
        let step: Box<dyn BodyStep> = Box::new(HoldsBack { held: None, good });
        let mut body = ClientBody::new(Some(step), false, 0, u64::MAX, length);
        let all = pieces.iter().map(|piece| Bytes::from(piece.clone()));
        let mut source = Pieces(all.collect());
        let sender = Sender::Upstream(&mut source);
        let mut from = Incoming::new(&mut body, sender, length, &[]);
        from.body.observe(from.digests());
        let mut blocks = Vec::new();
        let read = async {
            for span in cut(whole(length), most) {
                let left = span.length();
                let mut slice = Slice {
                    from: &mut from,
                    left,
                };
                let mut block = Vec::new();
                while let Some(chunk) = slice.next().await? {
                    assert!(!chunk.is_empty());
                    block.extend_from_slice(&chunk);
                }
                assert!(slice.is_done());
                blocks.push(block);
            }
            from.end().await
        };
        let ended = futures_util::future::FutureExt::now_or_never(read).unwrap();
        (blocks, ended)
    }

    proptest! {
        #[test]
        fn blocks_are_the_body_in_order_and_none_is_too_large(
            pieces in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 1..20), 1..20),
            most in 1u64..40,
        ) {
            let (blocks, ended) = sliced(&pieces, true, most);
            prop_assert!(ended.is_ok());
            prop_assert_eq!(blocks.concat(), pieces.concat());
            let most = usize::try_from(most).unwrap();
            let (last, front) = blocks.split_last().unwrap();
            prop_assert!(front.iter().all(|block| block.len() == most));
            prop_assert!((1..=most).contains(&last.len()));
        }

        #[test]
        fn the_last_block_of_a_body_that_does_not_check_out_is_never_whole(
            pieces in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 1..20), 1..20),
            most in 1u64..40,
        ) {
            let (blocks, ended) = sliced(&pieces, false, most);
            prop_assert_eq!(ended.unwrap_err().kind(), Kind::DigestMismatch);
            prop_assert!(blocks.concat().len() < pieces.concat().len());
        }
    }
}
