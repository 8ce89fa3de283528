//! XML documents of the protocol: written for Azure, and read from it.

mod listing;

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

pub(super) use listing::{Entry, blobs, containers, md5};

use crate::error::Result;
use crate::message::xml::{self, Node, Part};
pub(super) use crate::storage::codec::broken;
use crate::storage::object::Tags;
use crate::storage::op::{BlockId, BlockState};

const DECLARATION: &str = r#"<?xml version="1.0" encoding="utf-8"?>"#;

/// The service puts a byte order mark before its documents.
pub(super) fn without_mark(text: &str) -> &str {
    text.trim_start_matches(|c: char| c == '\u{FEFF}' || c.is_whitespace())
}

/// Reads a document of the store's, which must have this root.
fn read<'a>(
    document: &'a [u8],
    root: &str,
    mut visit: impl FnMut(Node<'_, 'a>) -> Result<()>,
) -> Result<()> {
    let text = std::str::from_utf8(document).map_err(broken)?;
    let mut found = false;
    xml::walk(without_mark(text), |node| {
        if node.path.len() == 1 {
            found |= node.path == [root];
        }
        visit(node)
    })
    .map_err(broken)?;
    if found {
        Ok(())
    } else {
        Err(broken("another document"))
    }
}

pub(super) fn put_tags(tags: &Tags) -> Bytes {
    let mut out = format!("{DECLARATION}<Tags><TagSet>");
    for (key, value) in tags.iter() {
        out.push_str("<Tag>");
        xml::push_element(&mut out, "Key", key);
        xml::push_element(&mut out, "Value", value);
        out.push_str("</Tag>");
    }
    out.push_str("</TagSet></Tags>");
    out.into()
}

pub(super) fn tags(document: &[u8]) -> Result<Tags> {
    let mut tags = Tags::default();
    let (mut key, mut value) = (Cow::default(), Cow::default());
    read(document, "Tags", |node| {
        match (node.path, node.part) {
            (["Tags", "TagSet", "Tag", "Key"], Part::Close(text)) => key = text,
            (["Tags", "TagSet", "Tag", "Value"], Part::Close(text)) => value = text,
            (["Tags", "TagSet", "Tag"], Part::Close(_)) => {
                tags.insert(&key, &value).map_err(broken)?;
                (key, value) = (Cow::default(), Cow::default());
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(tags)
}

/// A block's name as it stands in documents and queries.
pub(super) fn block_name(BlockId(id): &BlockId) -> String {
    STANDARD.encode(id)
}

/// What a blob is made of, in order.
pub(super) fn block_list<'a>(blocks: impl Iterator<Item = (&'a BlockId, BlockState)>) -> Bytes {
    let mut out = format!("{DECLARATION}<BlockList>");
    for (id, state) in blocks {
        let name = match state {
            BlockState::Committed => "Committed",
            BlockState::Uncommitted => "Uncommitted",
            BlockState::Latest => "Latest",
        };
        xml::push_element(&mut out, name, &block_name(id));
    }
    out.push_str("</BlockList>");
    out.into()
}
