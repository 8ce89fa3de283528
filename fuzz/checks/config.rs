//! What comes from files, and the first bytes of a connection.

use std::path::Path;
use std::sync::Arc;

use aqueduct::config::check;
use aqueduct::config::parse::{self, Role};
use aqueduct::config::source::{References, SourceSet};
use aqueduct::error::Kind;
use aqueduct::keys::seal::{Aad, MasterRing};
use aqueduct::proxy::intake::HeadScan;
use aqueduct::secret::Secret;

use super::{Source, pieces};

/// Any text gets a report or a config, and never neither.
pub(super) fn config(data: &[u8]) {
    let mut source = Source(data);
    let role = [Role::Root, Role::Part, Role::Keys][usize::from(source.byte() % 3)];
    let text = String::from_utf8_lossy(source.0);
    let (document, problems) = parse::document(Path::new("fuzz.toml"), role, &text);
    let read_problems = problems.len();
    let mut documents = vec![Arc::new(document)];
    if role != Role::Root {
        let (root, _) = parse::document(Path::new("root.toml"), Role::Root, "version = 1\n");
        documents.push(Arc::new(root));
    }
    let set = SourceSet {
        documents: documents.into(),
        problems,
        hash: "".into(),
        references: References::default(),
    };
    let (checked, problems) = check::check(&set);
    assert!(checked.is_some() || problems.len() + read_problems > 0);
}

const MASTER: [u8; 32] = [7; 32];
const NONCE: [u8; 24] = [9; 24];
const OWNER: Aad<'_> = Aad::Resource {
    name: "r",
    field: "f",
};
const OTHER: Aad<'_> = Aad::Resource {
    name: "r",
    field: "g",
};

/// What was not sealed does not open, and what was sealed opens for its owner alone.
pub(super) fn sealed(data: &[u8]) {
    let masters = vec![("m".to_owned(), Secret::new(MASTER))];
    let ring = MasterRing::new(masters).expect("one good master");
    let text = String::from_utf8_lossy(data);
    assert!(ring.open(OWNER, &text).is_err(), "{text} opened");
    let _form = MasterRing::check_form(&text);
    let Ok(sealed) = ring.seal(OWNER, data, NONCE) else {
        return;
    };
    let opened = ring.open(OWNER, &sealed).expect("what was sealed opens");
    assert_eq!(opened.expose(), data);
    assert!(ring.open(OTHER, &sealed).is_err());
    let at = data.first().map_or(0, |byte| usize::from(*byte)) % sealed.len();
    let mut bent = sealed.clone().into_bytes();
    bent[at] ^= 1;
    let bent = String::from_utf8_lossy(&bent);
    assert!(ring.open(OWNER, &bent).is_err(), "{at} of {sealed}");
}

const HEADER_BYTES_MAX: usize = 4096;

/// A head ends where a plain search for its empty line ends it, however it is cut.
pub(super) fn request_head(data: &[u8]) {
    let mut source = Source(data);
    let size = source.byte();
    let bytes = source.0;
    let whole = scan(std::iter::once(bytes.len()), bytes);
    let mut end = 0;
    let ends: Vec<usize> = pieces(bytes, size)
        .map(|piece| {
            end += piece.len();
            end
        })
        .collect();
    let cut = scan(ends.into_iter(), bytes);
    // A head that is too long may be refused for that before its end is seen to be wrong.
    assert!(
        whole == cut || (whole.is_err() && cut.is_err()),
        "{whole:?} {cut:?}"
    );
    if let Ok(Some(length)) = whole {
        let head = &bytes[..length];
        let text = head.strip_prefix(b"\r\n").unwrap_or(head);
        let text = text.strip_prefix(b"\r\n").unwrap_or(text);
        let plain = text.windows(4).position(|window| window == b"\r\n\r\n");
        assert_eq!(plain.map(|at| at + 4), Some(text.len()));
        let bare = |pair: &[u8]| pair[1] == b'\n' && pair[0] != b'\r';
        assert!(!head.windows(2).any(bare));
    }
}

fn scan(ends: impl Iterator<Item = usize>, bytes: &[u8]) -> Result<Option<usize>, Kind> {
    let mut scan = HeadScan::default();
    for end in ends {
        match scan.advance(&bytes[..end], HEADER_BYTES_MAX) {
            Ok(None) => {}
            Ok(found) => return Ok(found),
            Err(error) => return Err(error.kind()),
        }
    }
    Ok(None)
}
