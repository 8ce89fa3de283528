use super::*;

#[test]
fn ranges_are_one_or_none() {
    for (text, expected) in [
        ("bytes=0-4", Some(ByteRange::Span { first: 0, last: 4 })),
        ("Bytes = 0 - 4", Some(ByteRange::Span { first: 0, last: 4 })),
        ("bytes=5-", Some(ByteRange::From(5))),
        ("bytes=-5", Some(ByteRange::Last(5))),
        (
            "bytes=1-99999999999999999999999",
            Some(ByteRange::Span {
                first: 1,
                last: u64::MAX,
            }),
        ),
        ("bytes=5-4", None),
        ("bytes=0-1,3-4", None),
        ("bytes=-", None),
        ("bytes=+1-2", None),
        ("bytes", None),
        ("items=0-1", None),
        ("", None),
    ] {
        assert_eq!(ByteRange::parse(text), expected, "{text}");
    }
}

#[test]
fn ranges_are_cut_at_the_objects_end() {
    let span = |first, last| Some(Span { first, last });
    for (range, size, expected) in [
        (ByteRange::Span { first: 2, last: 4 }, 10, span(2, 4)),
        (ByteRange::Span { first: 2, last: 99 }, 10, span(2, 9)),
        (
            ByteRange::Span {
                first: 10,
                last: 11,
            },
            10,
            None,
        ),
        (ByteRange::From(9), 10, span(9, 9)),
        (ByteRange::From(10), 10, None),
        (ByteRange::Last(3), 10, span(7, 9)),
        (ByteRange::Last(30), 10, span(0, 9)),
        (ByteRange::Last(0), 10, None),
        (ByteRange::Last(3), 0, None),
        (ByteRange::From(0), 0, None),
    ] {
        assert_eq!(range.within(size), expected, "{range:?} of {size}");
        assert_eq!(ByteRange::parse(&range.header()), Some(range));
    }
}

#[test]
fn tags_are_read_with_or_without_quotes() {
    let tags = |tags: &[&str]| {
        let tags = tags.iter().map(|tag| ETag::parse(tag).unwrap());
        Some(TagMatch::Tags(tags.collect()))
    };
    for (text, expected) in [
        ("*", Some(TagMatch::Any)),
        ("abc", tags(&["abc"])),
        ("\"abc\"", tags(&["abc"])),
        ("W/\"abc\"", tags(&["abc"])),
        ("\"a,b\" , c", tags(&["\"a,b\"", "c"])),
        ("\"a\" \"b\"", None),
        ("\"a", None),
        ("", None),
        ("a b", None),
    ] {
        assert_eq!(TagMatch::parse(text), expected, "{text}");
    }
    let many = vec!["a"; TAGS_MAX + 1].join(",");
    assert_eq!(TagMatch::parse(&many), None);
}

#[test]
fn conditions_are_decided_in_the_order_of_http() {
    let found = ObjectMeta::new(
        10,
        ETag::parse("aa").unwrap(),
        "2013-05-24T00:00:00.7Z".parse().unwrap(),
    );
    let at = |second: &str| Some(format!("2013-05-24T00:00:{second}Z").parse().unwrap());
    let none = Preconditions::default;
    let tags = |if_match: &str, if_none_match: &str| Preconditions {
        if_match: TagMatch::parse(if_match),
        if_none_match: TagMatch::parse(if_none_match),
        ..none()
    };
    let dates = |if_modified_since, if_unmodified_since| Preconditions {
        if_modified_since,
        if_unmodified_since,
        ..none()
    };
    let failed = Verdict::Fails;
    for (conditions, read, write) in [
        (none(), Verdict::Holds, Verdict::Holds),
        // Dates are not looked at beside tags.
        (
            Preconditions {
                if_unmodified_since: "2000-01-01T00:00:00Z".parse().ok(),
                ..tags("aa", "")
            },
            Verdict::Holds,
            Verdict::Holds,
        ),
        (
            Preconditions {
                if_modified_since: at("59"),
                ..tags("", "bb")
            },
            Verdict::Holds,
            Verdict::Holds,
        ),
        (tags("bb, cc", ""), failed("If-Match"), failed("If-Match")),
        (tags("", "*"), Verdict::NotModified, failed("If-None-Match")),
        // Dates have no fractions.
        (dates(None, at("00")), Verdict::Holds, Verdict::Holds),
        (
            dates(at("00"), None),
            Verdict::NotModified,
            failed("If-None-Match"),
        ),
        (
            Preconditions {
                if_size: Some(11),
                ..none()
            },
            failed("If-Match-Size"),
            failed("If-Match-Size"),
        ),
    ] {
        assert_eq!(
            conditions.check(Some(&found), Use::Read),
            read,
            "{conditions:?}"
        );
        assert_eq!(
            conditions.check(Some(&found), Use::Write),
            write,
            "{conditions:?}"
        );
    }
}

#[test]
fn conditions_on_nothing_ask_for_something_or_nothing() {
    let none = Preconditions::default;
    let wants = Preconditions {
        if_match: TagMatch::parse("*"),
        ..none()
    };
    assert_eq!(wants.check(None, Use::Write), Verdict::Missing);
    let absent = Preconditions {
        if_none_match: TagMatch::parse("*"),
        ..none()
    };
    assert_eq!(absent.check(None, Use::Write), Verdict::Holds);
}
