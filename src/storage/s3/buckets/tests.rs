use std::sync::Arc;

use super::*;
use crate::policy::route::Addressing;
use crate::storage::s3::tests_support::{bucket, owned};

const DATE: &str = "<CreationDate>1970-01-01T00:00:00.000Z</CreationDate>";

fn page(target: &str) -> Result<Page> {
    Page::of(&owned("GET", target, &[]).decode()?)
}

fn created() -> CreatedBuckets {
    let bucket = bucket("bkt", "up", "", Addressing::Path);
    CreatedBuckets {
        resource: Arc::clone(&bucket.resource),
        bucket_prefix: "own-".into(),
    }
}

/// What a store answers that has these buckets, and a token for more.
fn of_a_store(names: &[&str], token: Option<&str>) -> String {
    let buckets: Vec<String> = names
        .iter()
        .map(|name| {
            format!("<Bucket><Name>{name}</Name><CreationDate>2026</CreationDate></Bucket>")
        })
        .collect();
    let buckets = buckets.concat();
    let token = token.map_or_else(String::new, |token| {
        format!("<ContinuationToken>{token}</ContinuationToken>")
    });
    format!(
        "<?xml version=\"1.0\"?>\n<ListAllMyBucketsResult xmlns=\"x\"><Owner><ID>theirs</ID></Owner>\
         <Buckets>{buckets}</Buckets>{token}</ListAllMyBucketsResult>"
    )
}

fn listed(target: &str, store: Option<&str>) -> Result<String> {
    let names = ["a-1", "a-2", "b&c"];
    let configured = names.iter().enumerate().map(|(at, name)| ListedBucket {
        name,
        created_at: Timestamp::UNIX_EPOCH,
        region: if at == 1 { "r" } else { "" },
    });
    let store = store
        .map(|document| decode_listing(document.as_bytes(), &created()))
        .transpose()?;
    let may_see = |name: &str| name != "hidden" && !names.contains(&name);
    let document = list("me", &page(target)?, configured, store.as_ref(), may_see);
    let text = String::from_utf8(document.to_vec()).unwrap();
    Ok(text.split_once("<Owner>").unwrap().1.to_owned())
}

fn between<'t>(text: &'t str, from: &str) -> Vec<&'t str> {
    let open = format!("<{from}>");
    let parts = text.split(open.as_str()).skip(1);
    parts.map(|part| part.split_once('<').unwrap().0).collect()
}

#[test]
fn buckets_are_listed_in_pages() {
    const OWNER: &str = "<ID>me</ID><DisplayName>me</DisplayName></Owner>";
    let all = format!(
        "{OWNER}<Buckets><Bucket><Name>a-1</Name>{DATE}</Bucket>\
         <Bucket><Name>a-2</Name>{DATE}<BucketRegion>r</BucketRegion></Bucket>\
         <Bucket><Name>b&amp;c</Name>{DATE}</Bucket></Buckets></ListAllMyBucketsResult>"
    );
    assert_eq!(listed("/", None).unwrap(), all);
    let first = listed("/?max-buckets=1&prefix=a", None).unwrap();
    let token = between(&first, "ContinuationToken")[0];
    let second = format!("/?max-buckets=1&prefix=a&continuation-token={token}");
    let second = listed(&second, None).unwrap();
    assert_eq!(between(&second, "Name"), ["a-2"]);
    assert!(!second.contains("ContinuationToken"));
    assert!(listed("/?bucket-region=r", None).unwrap().contains("a-2"));
    for bad in [
        "/?max-buckets=0",
        "/?max-buckets=10001",
        "/?continuation-token=%21",
    ] {
        let kind = listed(bad, None).unwrap_err().kind();
        assert_eq!(kind, Kind::InvalidArgument, "{bad}");
    }
}

#[test]
fn created_buckets_are_merged_under_the_names_of_clients() {
    let names = [
        "other",
        "own-zzz",
        "own-a-2",
        "own-a-15",
        "own-hidden",
        "own-x",
        "own-Bad",
    ];
    let merged = listed("/", Some(&of_a_store(&names, None))).unwrap();
    assert_eq!(
        between(&merged, "Name"),
        ["a-1", "a-15", "a-2", "b&amp;c", "zzz"]
    );
    assert!(!merged.contains("theirs") && !merged.contains("own-"));
    assert!(
        merged
            .contains("<Name>zzz</Name><CreationDate>2026</CreationDate><BucketRegion>eu-west-1<")
    );
}

/// A store that keeps to pages: the smallest names that come after the token.
fn paging_store(names: &[&str], request: &UpstreamRequest) -> String {
    let query = request.head.target.split_once('?').unwrap().1;
    let value = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    };
    let after = value("continuation-token").unwrap_or_default();
    let most = value("max-buckets").map_or(1000, |most| most.parse().unwrap());
    let mut rest = names
        .iter()
        .copied()
        .filter(|name| name.starts_with(value("prefix").unwrap()) && *name > after);
    let page: Vec<&str> = rest.by_ref().take(most).collect();
    let more = rest.next().and(page.last().copied());
    of_a_store(&page, more)
}

#[test]
fn every_bucket_is_listed_once_whatever_the_pages() {
    let sets: [&[&str]; 5] = [
        &[],
        &["own-a-0", "own-a-11", "own-a-12", "own-c-1", "own-c-2"],
        &["own-000", "own-001", "own-002"],
        &["own-zz1", "own-zz2", "own-zz3", "own-zz4"],
        &["own-a-1", "own-a-2", "own-hidden", "own-z-1"],
    ];
    for names in sets {
        let mut expected: Vec<&str> = vec!["a-1", "a-2", "b&amp;c"];
        let visible = names.iter().filter_map(|name| name.strip_prefix("own-"));
        expected.extend(visible.filter(|name| !["a-1", "a-2", "hidden"].contains(name)));
        expected.sort_unstable();
        for most in 1..6 {
            let mut found = Vec::new();
            let mut token = String::new();
            for _ in 0..20 {
                let target = format!("/?max-buckets={most}&continuation-token={token}");
                let request = encode_listing(&page(&target).unwrap(), &created()).unwrap();
                let answer = listed(&target, Some(&paging_store(names, &request))).unwrap();
                let page = between(&answer, "Name");
                assert!(page.len() <= most);
                found.extend(page.into_iter().map(str::to_owned));
                token = between(&answer, "ContinuationToken")
                    .first()
                    .map_or("", |token| token)
                    .to_owned();
                if token.is_empty() {
                    break;
                }
            }
            assert_eq!(found, expected, "{names:?} by {most}");
        }
    }
}

#[test]
fn a_store_that_repeats_its_token_ends_the_listing() {
    let store = of_a_store(&["own-c-1"], Some("own-c-1"));
    let first = listed("/", Some(&store)).unwrap();
    let token = between(&first, "ContinuationToken")[0];
    let second = listed(&format!("/?continuation-token={token}"), Some(&store)).unwrap();
    assert!(!second.contains("ContinuationToken"), "{second}");
}

#[test]
fn the_store_is_asked_for_its_own_names() {
    for (target, expected) in [
        ("/", "/?prefix=own-"),
        (
            "/?prefix=a%26b&max-buckets=7",
            "/?max-buckets=7&prefix=own-a%26b",
        ),
    ] {
        let request = encode_listing(&page(target).unwrap(), &created()).unwrap();
        assert_eq!(request.head.target, expected);
    }
}

#[test]
fn what_is_no_list_is_not_shown() {
    for bad in [
        "",
        "<Error/><Error/>",
        "not XML",
        "<ListAllMyBucketsResult>",
    ] {
        let kind = listed("/", Some(bad)).unwrap_err().kind();
        assert_eq!(kind, Kind::UpstreamBroken, "{bad}");
    }
}

fn made(document: &str, host: &str, region: &str) -> Result<Option<String>, Kind> {
    let mut bucket = bucket("bkt", "up", "", Addressing::Path);
    let resource = Arc::get_mut(&mut bucket.resource).unwrap();
    resource.origin.host = host.into();
    let crate::policy::route::ResourceKind::S3(account) = &mut resource.kind else {
        panic!("an S3 resource");
    };
    account.region = region.into();
    let made =
        configuration(document.as_bytes(), &bucket.resource).map_err(|error| error.kind())?;
    let text = made.map(|document| String::from_utf8(document.to_vec()).unwrap());
    Ok(text.map(|text| between(&text, "LocationConstraint")[0].to_owned()))
}

#[test]
fn a_bucket_is_made_where_the_resource_is_or_not_at_all() {
    const AWS: &str = "s3.any.amazonaws.com";
    const OWN: &str = "store.internal";
    const ELSEWHERE: Result<Option<&str>, Kind> = Err(Kind::LocationRefused);
    for (wanted, host, region, expected) in [
        ("", AWS, "eu-west-1", Ok(Some("eu-west-1"))),
        ("", AWS, "us-east-1", Ok(None)),
        ("", OWN, "eu-west-1", Ok(None)),
        ("eu-west-1", OWN, "eu-west-1", Ok(Some("eu-west-1"))),
        ("EU", AWS, "eu-west-1", Ok(Some("eu-west-1"))),
        ("EU", AWS, "us-east-1", ELSEWHERE),
        ("us-east-1", OWN, "us-east-1", Ok(None)),
        ("eu-west-1", OWN, "us-east-1", ELSEWHERE),
    ] {
        let document = format!(
            "<CreateBucketConfiguration xmlns=\"x\"><LocationConstraint>{wanted}</LocationConstraint>\
             </CreateBucketConfiguration>"
        );
        let expected = expected.map(|place| place.map(str::to_owned));
        assert_eq!(
            made(&document, host, region),
            expected,
            "{wanted} at {host}, {region}"
        );
        if wanted.is_empty() {
            assert_eq!(
                made("", host, region),
                expected,
                "nothing at {host}, {region}"
            );
        }
    }
    for (document, kind) in [
        (
            "<CreateBucketConfiguration><Bucket/></CreateBucketConfiguration>",
            Kind::Unsupported,
        ),
        ("<Other/>", Kind::MalformedBody),
        ("<", Kind::MalformedBody),
    ] {
        assert_eq!(made(document, OWN, "us-east-1"), Err(kind), "{document}");
    }
}
