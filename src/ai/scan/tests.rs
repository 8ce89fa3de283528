//! Bodies, whole and cut at every byte.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// One frame, frames of one byte, and every cut in two.
fn splits(body: &[u8]) -> Vec<Vec<Bytes>> {
    let copy = Bytes::copy_from_slice;
    let mut all = vec![vec![copy(body)], body.chunks(1).map(copy).collect()];
    all.extend((0..body.len()).map(|at| vec![copy(&body[..at]), Bytes::new(), copy(&body[at..])]));
    all
}

fn scan_all(inference: Inference, body: &[u8]) -> Result<Scan, (Kind, Option<String>)> {
    let mut answers = splits(body).into_iter().map(|frames| {
        scan(inference, &frames).map_err(|error| (error.kind(), error.param().map(str::to_owned)))
    });
    let first = answers.next().unwrap();
    for answer in answers {
        assert_eq!(answer, first, "{}", String::from_utf8_lossy(body));
    }
    first
}

#[track_caller]
fn chat(body: &str) -> Scan {
    scan_all(Inference::ChatCompletions, body.as_bytes()).unwrap()
}

#[track_caller]
fn check_refused(inference: Inference, body: impl AsRef<[u8]>, kind: Kind, param: Option<&str>) {
    let body = body.as_ref();
    assert_eq!(
        scan_all(inference, body).map(|_| ()),
        Err((kind, param.map(str::to_owned))),
        "{}",
        String::from_utf8_lossy(body)
    );
}

#[test]
fn members_are_found_wherever_they_stand() {
    for body in [
        r#"{"model":"m","stream":true,"messages":[]}"#,
        r#"{"messages":[{"role":"user","content":"{\"model\":\"x\"}"}],"stream":true,"model":"m"}"#,
        "\r\n { \"stream\" : true ,\t\"n\" : -0.5e+3 , \"model\" : \"m\" } \n",
        r#"{"nested":{"model":"x","stream":false,"a":[[],{},[{"b":[]}]]},"model":"m","stream":true}"#,
        r#"{"MODELS":"x","model":"m","stream":true}"#.replace("MODELS", "mode").as_str(),
    ] {
        let scan = chat(body);
        assert_eq!(&*scan.model.name, "m", "{body}");
        assert!(scan.stream, "{body}");
        assert_eq!(scan.len, body.len());
        assert_eq!(&body[scan.model.span.start..scan.model.span.end], "\"m\"");
        assert_eq!(&body[scan.open - 1..scan.open], "{");
    }
}

#[test]
fn model_names_are_unescaped() {
    for (written, name) in [
        (r"gpt-4o", "gpt-4o"),
        (r"a\/b\u002dc", "a/b-c"),
        ("caf\u{e9}/\u{1f600}", "caf\u{e9}/\u{1f600}"),
        (r"\ud83d\ude00", "\u{1f600}"),
    ] {
        let scan = chat(&format!(r#"{{"model":"{written}"}}"#));
        assert_eq!(&*scan.model.name, name);
    }
}

#[test]
fn unusable_models_are_refused() {
    for value in [
        "null",
        "1",
        "[]",
        "{}",
        r#""""#,
        r#""a\nb""#,
        r#""\ud83d""#,
        r#""\ud83d\u0041""#,
        r#""a\u0000""#,
    ] {
        let body = format!(r#"{{"model":{value}}}"#);
        check_refused(
            Inference::ChatCompletions,
            body,
            Kind::InvalidRequest,
            Some("model"),
        );
    }
    for body in ["{}", r#"{"messages":[]}"#] {
        check_refused(
            Inference::ChatCompletions,
            body,
            Kind::InvalidRequest,
            Some("model"),
        );
    }
    let long = format!(r#"{{"model":"{}"}}"#, "m".repeat(2000));
    let error = scan(Inference::Embeddings, &[long.into()]).unwrap_err();
    assert_eq!(error.param(), Some("model"));
}

#[test]
fn a_member_that_decides_stands_once_and_plainly() {
    for (body, param) in [
        (r#"{"model":"cheap","model":"dear"}"#, "model"),
        (r#"{"model":"cheap","\u006dodel":"dear"}"#, "model"),
        (r#"{"\u006dodel":"dear"}"#, "model"),
        (r#"{"mod\u0065l":"dear","model":"cheap"}"#, "model"),
        (r#"{"model":"cheap","Model":"dear"}"#, "model"),
        (r#"{"model":"cheap","MODEL":"dear"}"#, "model"),
        (r#"{"model":"m","stream":true,"stream":false}"#, "stream"),
        (r#"{"model":"m","\u0073tream":false}"#, "stream"),
        ("{\"model\":\"m\",\"\u{17f}tream\":false}", "stream"),
        (r#"{"model":"m","\u017ftream":false}"#, "stream"),
        (
            r#"{"model":"m","stream_options":{},"stream_options":null}"#,
            "stream_options",
        ),
        (
            r#"{"model":"m","stream_options":null,"stream_options":{}}"#,
            "stream_options",
        ),
        (
            r#"{"model":"m","stream_options":{"include_usage":true,"include_usage":false}}"#,
            "stream_options.include_usage",
        ),
        (
            r#"{"model":"m","stream_options":{"include\u005fusage":true}}"#,
            "stream_options.include_usage",
        ),
        (r#"{"model":"m","stream":1}"#, "stream"),
        (r#"{"model":"m","stream":"true"}"#, "stream"),
        (r#"{"model":"m","stream_options":[]}"#, "stream_options"),
        (
            r#"{"model":"m","stream_options":{"include_usage":0}}"#,
            "stream_options.include_usage",
        ),
    ] {
        check_refused(
            Inference::ChatCompletions,
            body,
            Kind::InvalidRequest,
            Some(param),
        );
    }
}

#[test]
fn a_client_cannot_choose_the_upstream() {
    for name in REFUSED {
        for written in [
            name.to_owned(),
            format!("\\u{:04x}{}", name.as_bytes()[0], &name[1..]),
        ] {
            for inference in [Inference::Embeddings, Inference::Responses] {
                let body = format!(r#"{{"model":"m","{written}":null}}"#);
                let error = scan_all(inference, body.as_bytes()).unwrap_err();
                assert_eq!(error.1.as_deref(), Some(name));
            }
        }
    }
    chat(r#"{"model":"m","metadata":{"api_base":"x","organization":"y"}}"#);
}

#[test]
fn stateful_responses_are_refused() {
    for (body, param) in [
        (r#"{"model":"m","store":true}"#, "store"),
        (r#"{"model":"m","background":true}"#, "background"),
        (
            r#"{"model":"m","previous_response_id":"resp_1"}"#,
            "previous_response_id",
        ),
        (
            r#"{"model":"m","conversation":{"id":"conv_1"}}"#,
            "conversation",
        ),
        (r#"{"model":"m","prompt":{"id":"pmpt_1"}}"#, "prompt"),
        (
            r#"{"model":"m","input":[{"type":"item_reference","id":"msg_1"}]}"#,
            "type",
        ),
        (
            r#"{"model":"m","tools":[{"type":"file_search","vector_store_ids":["vs_1"]}]}"#,
            "vector_store_ids",
        ),
        (
            r#"{"model":"m","tools":[{"type":"code_interpreter","container":"cntr_1"}]}"#,
            "container",
        ),
        (
            r#"{"model":"m","tools":[{"container":{"type":"auto","file_ids":["file-1"]}}]}"#,
            "file_ids",
        ),
        (
            r#"{"model":"m","input":[{"content":[{"type":"input_file","file_\u0069d":"file-1"}]}]}"#,
            "file_id",
        ),
    ] {
        check_refused(
            Inference::Responses,
            body,
            Kind::InvalidArgument,
            Some(param),
        );
    }
    for (body, param) in [
        (r#"{"model":"m","store":false,"store":false}"#, "store"),
        (r#"{"model":"m","Store":false}"#, "store"),
    ] {
        check_refused(
            Inference::Responses,
            body,
            Kind::InvalidRequest,
            Some(param),
        );
    }
    for body in [
        r#"{"model":"m","store":false,"background":false,"previous_response_id":null,"conversation":null}"#,
        r#"{"model":"m","input":"item_reference"}"#,
    ] {
        scan_all(Inference::Responses, body.as_bytes()).unwrap();
    }
}

#[test]
fn what_is_state_in_responses_is_none_in_chat() {
    chat(
        r#"{"model":"m","store":true,"metadata":{"file_id":"file-1"},"previous_response_id":"x"}"#,
    );
    chat(
        r#"{"model":"m","tools":[{"type":"function","function":{"parameters":{"properties":{"file_id":{},"file_ids":[],"container":"x"}}}}]}"#,
    );
    scan_all(Inference::Completions, br#"{"model":"m","prompt":"text"}"#).unwrap();
    check_refused(
        Inference::ChatCompletions,
        r#"{"model":"m","messages":[{"content":[{"type":"file","file":{"file_id":"file-1"}}]}]}"#,
        Kind::InvalidArgument,
        Some("file_id"),
    );
}

#[test]
fn what_is_not_strict_json_is_refused() {
    let deep = |depth: usize| {
        format!(
            r#"{{"model":"m","a":{}{}}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        )
    };
    scan(Inference::Embeddings, &[deep(128).into()]).unwrap();
    let mut bodies: Vec<Vec<u8>> = vec![deep(129).into()];
    for body in [
        "",
        " ",
        "{",
        "}",
        "[]",
        "null",
        "\"model\"",
        "{\"model\":\"m\"",
        "{\"model\":\"m\"}x",
        "{\"model\":\"m\"}{}",
        "{\"model\":\"m\",}",
        "{,\"model\":\"m\"}",
        "{\"model\" \"m\"}",
        "{\"model\":\"m\" \"a\":1}",
        "{'model':'m'}",
        "{model:\"m\"}",
        "\u{feff}{\"model\":\"m\"}",
        "// x\n{\"model\":\"m\"}",
    ] {
        bodies.push(body.into());
    }
    for body in bodies {
        check_refused(Inference::ChatCompletions, body, Kind::MalformedBody, None);
    }
}

#[test]
fn values_that_are_not_strict_json_are_refused() {
    let mut bodies: Vec<Vec<u8>> = Vec::new();
    for value in [
        "01",
        "1.",
        ".5",
        "-",
        "+1",
        "1e",
        "1e+",
        "0x1",
        "NaN",
        "Infinity",
        "tru",
        "nul",
        "True",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "[}",
        "{]",
        "\"a\nb\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"",
        "[",
        "{\"a\":[}",
        "1 2",
        "\"\t\"",
        "",
    ] {
        bodies.push(format!(r#"{{"model":"m","a":{value}}}"#).into());
    }
    for bytes in [
        &b"\xff"[..],
        b"\xc3",
        b"\xed\xa0\x80",
        b"\xf0\x9f\x98",
        b"\xc0\xaf",
    ] {
        let mut body = br#"{"model":"m","a":""#.to_vec();
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\"}");
        bodies.push(body);
    }
    for body in bodies {
        check_refused(Inference::ChatCompletions, body, Kind::MalformedBody, None);
    }
}

#[test]
fn legal_oddities_pass() {
    for value in [
        r#""\ud83d""#,
        r#""\udc00 \ud83dx""#,
        "-0",
        "1E+400",
        "123456789012345678901234567890",
        "0.1e-5",
        r#""\"\\\/\b\f\n\r\t\u00e9""#,
        "\"\u{7f}\u{80}\u{2028}\"",
        "[ ]",
        "{ }",
        r#"{"":{"":[]}}"#,
        r#"{"a":1,"a":2}"#,
    ] {
        chat(&format!(r#"{{"a":{value},"model":"m"}}"#));
    }
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        any::<f64>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        ".{0,40}".prop_map(|value| json!(value)),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
            prop::collection::hash_map("[a-z\"\\\\é]{0,9}", inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_document_is_read_however_it_is_cut(value in any_json(), cut in any::<prop::sample::Index>()) {
        let body = json!({"x": value, "model": "m", "y": value}).to_string();
        let at = cut.index(body.len());
        let whole = Bytes::from(body);
        let frames = [whole.slice(..at), whole.slice(at..)];
        let found = scan(Inference::ChatCompletions, &frames).unwrap();
        prop_assert_eq!(&*found.model.name, "m");
        prop_assert_eq!(found, scan(Inference::ChatCompletions, &[whole]).unwrap());
    }

    // What we take for JSON a strict parser must take too, or it could see other members than we did.
    #[test]
    fn nothing_is_accepted_that_a_parser_refuses(
        value in any_json(),
        at in any::<prop::sample::Index>(),
        put in prop_oneof![any::<u8>(), prop::sample::select(b"{}[]\",:\\\x00 0e".to_vec())],
        remove in any::<bool>(),
    ) {
        let mut body = json!({"model": "m", "x": value}).to_string().into_bytes();
        let at = at.index(body.len());
        if remove { body.remove(at); } else { body[at] = put; }
        let accepted = scan(Inference::ChatCompletions, &[body.clone().into()]);
        let parsed = serde_json::from_slice::<serde_json::Value>(&body);
        match (&accepted, &parsed) {
            (Ok(_), Err(error)) => {
                // Two things are legal JSON that this parser does not represent.
                let text = error.to_string();
                prop_assert!(text.contains("surrogate") || text.contains("number out of range") || text.contains("hex escape"), "{}", text);
            }
            (Err(error), Ok(_)) => prop_assert!(error.kind() != Kind::MalformedBody, "{}", error),
            (Ok(found), Ok(value)) => prop_assert_eq!(Some(&*found.model.name), value["model"].as_str()),
            (Err(_), Err(_)) => {}
        }
    }
}
