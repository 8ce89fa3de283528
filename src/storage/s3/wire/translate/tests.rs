use super::*;
use crate::policy::route::Addressing;
use crate::storage::s3::tests_support::{bucket, owned};

fn outcome(method: &str, target: &str, prefix: &str, document: &str) -> Result<Outcome> {
    let copy = [("x-amz-copy-source", "/shown/s")];
    let headers: &[(&str, &str)] = if method == "PUT" { &copy } else { &[] };
    let request = owned(method, target, headers).decode().unwrap();
    let op = if method == "POST" && !target.contains("uploads") {
        request.with_body("<Delete><Object><Key>k</Key></Object></Delete>".into())
    } else {
        request.without_body()
    };
    let bucket = bucket("shown", "hidden", prefix, Addressing::Path);
    translate(
        &op.unwrap(),
        &bucket,
        "http://h/shown/k",
        document.to_owned().into(),
    )
}

fn check(method: &str, target: &str, prefix: &str, document: &str, expected: &str) {
    let Outcome::Document(translated) = outcome(method, target, prefix, document).unwrap() else {
        panic!("a document was expected");
    };
    assert_eq!(std::str::from_utf8(&translated).unwrap(), expected);
}

#[test]
fn listings_lose_the_prefix_and_keep_every_other_byte() {
    check(
        "GET",
        "/shown?prefix=a&marker=m&delimiter=/",
        "p&/",
        "<?xml version=\"1.0\"?>\n<ListBucketResult xmlns=\"x\"><Name>hidden</Name><Prefix>p&amp;/a</Prefix>\
         <Marker>p&amp;/m</Marker><NextMarker>p&#38;/z</NextMarker><!-- c --><IsTruncated>true</IsTruncated>\
         <Contents>\n <Key>p&amp;/a&lt;&#x1;</Key><ETag>&quot;e&quot;</ETag></Contents>\
         <CommonPrefixes><Prefix>p&amp;/ab/</Prefix></CommonPrefixes></ListBucketResult>",
        "<?xml version=\"1.0\"?>\n<ListBucketResult xmlns=\"x\"><Name>shown</Name><Prefix>a</Prefix>\
         <Marker>m</Marker><NextMarker>z</NextMarker><!-- c --><IsTruncated>true</IsTruncated>\
         <Contents>\n <Key>a&lt;&#x1;</Key><ETag>&quot;e&quot;</ETag></Contents>\
         <CommonPrefixes><Prefix>ab/</Prefix></CommonPrefixes></ListBucketResult>",
    );
}

#[test]
fn encoded_listings_are_read_as_encoded() {
    check(
        "GET",
        "/shown?list-type=2&encoding-type=url&prefix=a%20b&start-after=%26",
        "p /",
        "<R><Name>hidden</Name><Prefix>p+%2Fa+b</Prefix><StartAfter>p+/%26</StartAfter><KeyCount>1</KeyCount>\
         <EncodingType>url</EncodingType><Contents><Key>p%20/a+b%2Bc</Key></Contents></R>",
        "<R><Name>shown</Name><Prefix>a%20b</Prefix><StartAfter>%26</StartAfter><KeyCount>1</KeyCount>\
         <EncodingType>url</EncodingType><Contents><Key>a+b%2Bc</Key></Contents></R>",
    );
}

#[test]
fn empty_elements_are_filled_where_the_client_asked_for_something() {
    check(
        "GET",
        "/shown?marker=m",
        "p/",
        "<R><Name>hidden</Name><Prefix/><Marker/><Delimiter /></R>",
        "<R><Name>shown</Name><Prefix/><Marker>m</Marker><Delimiter /></R>",
    );
}

#[test]
fn without_a_prefix_the_store_repeats_the_request_in_its_own_way() {
    check(
        "GET",
        "/shown?encoding-type=url&prefix=%0A&marker=%0A",
        "",
        "<R><Name>hidden</Name><Prefix>&#10;</Prefix><Marker>%0A</Marker><EncodingType>url</EncodingType></R>",
        "<R><Name>shown</Name><Prefix>&#10;</Prefix><Marker>%0A</Marker><EncodingType>url</EncodingType></R>",
    );
}

#[test]
fn reserved_entries_are_hidden_and_not_counted() {
    let hidden = "<Contents><Key>.aqueduct/x</Key></Contents>";
    check(
        "GET",
        "/shown?list-type=2",
        "",
        &format!(
            "<R><KeyCount>3</KeyCount>{hidden}<Contents><Key>a</Key></Contents>\
             <CommonPrefixes><Prefix>.aqueduct/</Prefix></CommonPrefixes></R>"
        ),
        "<R><KeyCount>1</KeyCount><Contents><Key>a</Key></Contents></R>",
    );
    check(
        "GET",
        "/shown?list-type=2&encoding-type=url",
        "p/",
        "<R><EncodingType>url</EncodingType><Contents><Key>p%2F.aqueduct%2Fx</Key></Contents>\
         <Contents><Key>p%2Fa</Key></Contents><KeyCount>2</KeyCount></R>",
        "<R><EncodingType>url</EncodingType><Contents><Key>a</Key></Contents><KeyCount>1</KeyCount></R>",
    );
    // Without a last key to go on from, a listing by marker says where to go on.
    check(
        "GET",
        "/shown",
        "",
        &format!("<R><IsTruncated>true</IsTruncated>{hidden}</R>"),
        "<R><IsTruncated>true</IsTruncated><NextMarker>.aqueduct/x</NextMarker></R>",
    );
    check(
        "GET",
        "/shown?versions",
        "",
        "<R><Version><Key>.aqueduct/x</Key></Version><DeleteMarker><Key>.aqueduct/y</Key></DeleteMarker>\
         <Version><Key>a</Key><VersionId>1</VersionId></Version></R>",
        "<R><Version><Key>a</Key><VersionId>1</VersionId></Version></R>",
    );
}

#[test]
fn documents_of_one_object_name_it_as_the_client_did() {
    check(
        "POST",
        "/shown/k%26?uploads",
        "p/",
        "<I><Bucket>hidden</Bucket><Key>p/k&amp;</Key><UploadId>u</UploadId></I>",
        "<I><Bucket>shown</Bucket><Key>k&amp;</Key><UploadId>u</UploadId></I>",
    );
    check(
        "POST",
        "/shown/k?uploadId=u",
        "",
        "\n <C><Location>https://store.internal/hidden/k</Location><Bucket>hidden</Bucket><Key>k</Key></C>",
        "\n <C><Location>http://h/shown/k</Location><Bucket>shown</Bucket><Key>k</Key></C>",
    );
    check(
        "POST",
        "/shown?delete",
        "p/",
        "<D><Deleted><Key>p/k</Key></Deleted><Error><Key>p/l</Key><Code>x</Code></Error></D>",
        "<D><Deleted><Key>k</Key></Deleted><Error><Key>l</Key><Code>x</Code></Error></D>",
    );
}

#[test]
fn an_error_under_a_200_is_a_failure() {
    let document =
        "<?xml version=\"1.0\"?><Error><Code>InternalError</Code><Message>m</Message></Error>";
    for (method, target) in [("PUT", "/shown/k"), ("POST", "/shown/k?uploadId=u")] {
        let outcome = outcome(method, target, "", document).unwrap();
        let Outcome::Failure(failure) = outcome else {
            panic!("a failure was expected");
        };
        assert_eq!(failure.code, "InternalError");
        assert!(!failure.status.is_success());
    }
}

#[test]
fn documents_that_are_not_valid_are_refused() {
    for document in [
        "",
        "<R>",
        "<R><Contents><Key>outside</Key></Contents></R>",
        "<R><Contents><Key/></Contents></R>",
        "<!DOCTYPE R []><R/>",
        "<R><Contents><Key>p/&unknown;</Key></Contents></R>",
        "<R></S>",
    ] {
        let outcome = outcome("GET", "/shown", "p/", document);
        assert_eq!(
            outcome.unwrap_err().kind(),
            Kind::UpstreamBroken,
            "{document}"
        );
    }
    let deep = "<R>".repeat(100);
    assert!(outcome("GET", "/shown", "p/", &deep).is_err());
}

proptest::proptest! {
    #[test]
    fn keys_come_back_as_they_went(key in "([ -~]|[\u{e9}\u{1F980}\u{1}\r\n\t]){1,20}", prefix in "[ -~]{0,6}") {
        let mut document = String::from("<R><Name>hidden</Name><Contents><Key>");
        crate::storage::s3::wire::push_text(&mut document, &prefix);
        crate::storage::s3::wire::push_text(&mut document, &key);
        document.push_str("</Key></Contents></R>");
        let Outcome::Document(translated) = outcome("GET", "/shown", &prefix, &document).unwrap() else {
            panic!("a document was expected");
        };
        let mut found = None;
        crate::storage::s3::wire::walk(std::str::from_utf8(&translated).unwrap(), |node| {
            if let (["R", "Contents", "Key"], crate::storage::s3::wire::Part::Close(text)) = (node.path, node.part) {
                found = Some(text.into_owned());
            }
            Ok(())
        }).unwrap();
        proptest::prop_assert_eq!(found, Some(key));
    }

    #[test]
    fn any_document_is_answered_without_a_panic(document in "(<|>|/|R|Contents|Key|&|;|#x1|\\.aqueduct/| |-|!|\\[|CDATA){0,30}") {
        let _ = outcome("GET", "/shown", "p/", &document);
        let _ = outcome("GET", "/shown?list-type=2", "", &format!("<R>{document}</R>"));
    }
}

#[test]
fn refused_entries_are_told_with_the_others() {
    let entry =
        "<Object><Key>k</Key></Object><Object><Key>&lt;no</Key><VersionId>v</VersionId></Object>";
    let op = || {
        let request = owned("POST", "/shown?delete", &[]).decode().unwrap();
        let document = format!("<Delete>{entry}</Delete>");
        let mut op = request.with_body(document.into()).unwrap();
        let denied = || Error::new(Kind::AccessDenied, "Access Denied");
        op.refuse(|key| if key == "k" { Ok(()) } else { Err(denied()) });
        op
    };
    const TOLD: &str = "<Error><Key>&lt;no</Key><VersionId>v</VersionId><Code>AccessDenied</Code>\
                        <Message>Access Denied</Message></Error>";
    for (document, before, after) in [
        (
            "<R><Deleted><Key>p/k</Key></Deleted></R>",
            "<R><Deleted><Key>k</Key></Deleted>",
            "</R>",
        ),
        ("<R xmlns=\"x\"/>", "<R xmlns=\"x\">", "</R>"),
        (
            "<?xml version=\"1.0\"?>\n<R></R>\n",
            "<?xml version=\"1.0\"?>\n<R>",
            "</R>\n",
        ),
    ] {
        let bucket = bucket("shown", "hidden", "p/", Addressing::Path);
        let translated = translate(&op(), &bucket, "", document.to_owned().into()).unwrap();
        let expected = format!("{before}{TOLD}{after}");
        assert_eq!(translated, Outcome::Document(expected.into()), "{document}");
    }
    let own = crate::storage::s3::wire::delete_result(op().refused());
    assert!(
        std::str::from_utf8(&own)
            .unwrap()
            .ends_with(&format!("{TOLD}</DeleteResult>"))
    );
}
