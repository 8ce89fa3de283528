//! What is written is read back, whatever it is.

use proptest::prelude::*;

use super::*;
use crate::message::escape::{self, Plus};
use crate::storage::object::UserMetadata;

fn request(op: &Operation) -> Result<UpstreamRequest> {
    let bucket = bucket("own", "");
    Azure.encode(op, &target(&bucket))
}

/// What an object that was stored with these attributes tells of itself.
fn read_back(attributes: Attributes) -> ObjectMeta {
    let mut put = put();
    put.attributes = attributes;
    let head = request(&Operation::PutObject(Box::new(put))).unwrap().head;
    let mut headers = http::HeaderMap::new();
    for (name, value) in head.headers {
        if name.as_str().starts_with(names::META) {
            // The service refuses these, and folds those.
            let short = name.as_str().trim_start_matches(names::META);
            assert!(
                short
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'_')
            );
            assert!(!short.starts_with(|c: char| c.is_ascii_digit()));
            let text = value.to_str().unwrap();
            assert!(!text.is_empty() && text.trim() == text && !text.contains("  "));
            headers.append(name, value);
        }
    }
    let (status, told) = answer(
        200,
        &[
            ("content-length", "3"),
            ("etag", "\"0x8D1\""),
            ("last-modified", "Fri, 24 May 2013 00:00:00 GMT"),
        ],
    );
    headers.extend(told);
    let bucket = bucket("own", "");
    let head = ReplyHead {
        status,
        headers: &headers,
    };
    let op = Operation::HeadObject(Box::new(ReadObject::new("k")));
    let observed = Observed::default();
    let reply = Azure.decode_reply(&op, &target(&bucket), head, None, &observed);
    let Ok(Reply::Object(head)) = reply else {
        panic!("another reply");
    };
    head.meta
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9!#$%&'*+.^_`|~-]{1,12}".prop_filter("ours", |name| {
        !name.to_ascii_lowercase().starts_with("aqueduct_")
    })
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,20}",
        "[a \t\u{e4}\u{1F980}=?]{0,12}",
        Just("=?utf-8?B?dsOkbHVl?=".to_owned()),
        Just("=?UTF-8?Q?a?=".to_owned()),
    ]
}

proptest! {
    #[test]
    fn user_metadata_comes_back_as_it_was(
        entries in proptest::collection::btree_map(name(), value(), 0..6),
        redirect in "[!-~]{1,20}",
    ) {
        let mut user = UserMetadata::default();
        for (name, value) in &entries {
            user.insert(name, value).unwrap();
        }
        let redirect = HeaderValue::from_str(&redirect).unwrap();
        let told = read_back(Attributes {
            user: user.clone(),
            redirect: Some(redirect.clone()),
            ..Attributes::default()
        });
        prop_assert_eq!(told.user, user);
        prop_assert_eq!(told.redirect, Some(redirect));
    }

    #[test]
    fn any_key_is_refused_or_stands_in_the_path(key in "\\PC{1,40}|[a./\\\\%+ \u{1}\u{e4}\u{1F980}]{1,20}") {
        let read = Operation::GetObject(Box::new(ReadObject::new(&key)));
        match request(&read) {
            Ok(request) => {
                let target = &request.head.target;
                prop_assert!(target.bytes().all(|b| b.is_ascii_graphic() && b != b'?' && b != b'#'));
                let path = target.strip_prefix("/own/").unwrap();
                let decoded = escape::decode(path.as_bytes(), Plus::Literal).unwrap();
                prop_assert_eq!(decoded.as_ref(), key.as_bytes());
            }
            Err(error) => {
                prop_assert!(matches!(error.kind(), Kind::InvalidArgument | Kind::KeyTooLong));
                let is_odd = key.contains(|c: char| c == '\\' || c.is_control())
                    || key.split('/').any(|segment| segment.ends_with('.'));
                prop_assert!(is_odd);
            }
        }
    }

    #[test]
    fn part_sizes_come_back_as_they_were(sizes in proptest::collection::vec(0u64..4, 1..30)) {
        let made = Made {
            etag: ETag::of_parts([7; 16], sizes.len()),
            part_sizes: sizes.clone(),
        };
        let op = CompleteUpload { made: Some(made), ..complete() };
        let head = request(&Operation::CompleteUpload(Box::new(op))).unwrap().head;
        let text = head.header("x-ms-meta-aqueduct_parts").unwrap().to_str().unwrap();
        let size = sizes.iter().sum::<u64>().to_string();
        let (status, headers) = answer(200, &[
            ("content-length", &size),
            ("etag", "\"0x8D1\""),
            ("last-modified", "Fri, 24 May 2013 00:00:00 GMT"),
            ("x-ms-meta-aqueduct_parts", text),
        ]);
        let bucket = bucket("own", "");
        let head = ReplyHead { status, headers: &headers };
        let op = Operation::HeadObject(Box::new(ReadObject::new("k")));
        let observed = Observed::default();
        let Ok(Reply::Object(told)) =
            Azure.decode_reply(&op, &target(&bucket), head, None, &observed)
        else { panic!("another reply") };
        prop_assert_eq!(told.meta.part_sizes, sizes);
    }
}
