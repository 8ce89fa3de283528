//! `POST /systemevent`.

use super::*;

fn make_and_bend(bench: &Bench) -> String {
    let key = |name: &str| json!({"name": name, "accessType": "READ"});
    let (_, made) = bench.ask(&request("POST", &storage_path(), Some(&key("one"))));
    let one = format!("{}/{}", storage_path(), made["id"].as_str().unwrap());
    bench.ask(&request("PUT", &one, Some(&json!({"name": "two"}))));
    let ai = json!({"name": "ai", "aiType": "OPENAI"});
    bench.ask(&request("POST", &ai_path(), Some(&ai)));
    // Refused and failed: on record, and no events.
    bench.ask(&with(
        request("PUT", &one, Some(&json!({"name": "x"}))),
        "if-match",
        "\"no\"",
    ));
    bench.ask(&as_role(request("DELETE", &one, None), "viewer"));
    bench.ask(&request("DELETE", &one, None));
    bench.ask(&request("POST", "/-/reload", None));
    made["id"].as_str().unwrap().to_owned()
}

/// Each event as `context event`.
fn named(answer: &Value) -> Vec<String> {
    let text = |event: &Value, name: &str| event[name].as_str().unwrap().to_owned();
    let events = answer["events"].as_array().unwrap().iter();
    events
        .map(|event| format!("{} {}", text(event, "context"), text(event, "event")))
        .collect()
}

#[test]
fn changes_come_newest_first_and_by_what_is_asked_for() {
    let bench = bench();
    let id = make_and_bend(&bench);
    let all = [
        "flashbacknode updated",
        "apikey deleted",
        "aillmapikey created",
        "apikey updated",
        "apikey created",
    ];
    let cases: &[(Value, &[&str])] = &[
        (json!({"skip": 0, "take": 20}), &all),
        (json!({}), &all),
        (json!({"skip": 1, "take": 2}), &all[1..3]),
        (json!({"skip": 5, "take": 20}), &[]),
        (
            json!({"contextId": id}),
            &["apikey deleted", "apikey updated", "apikey created"],
        ),
        (json!({"context": 12}), &["aillmapikey created"]),
        (json!({"context": 6, "event": 2}), &["apikey deleted"]),
        (
            json!({"event": 1}),
            &["flashbacknode updated", "apikey updated"],
        ),
        (json!({"userId": "token:operator-token"}), &all),
        (json!({"userId": "token:nobody"}), &[]),
        (json!({"workspaceId": "undefined", "contextId": null}), &all),
        (json!({"to_timestamp": "2026-11-20T00:00:00.000Z"}), &[]),
        (
            json!({"from_timestamp": "2026-11-20T00:00:00.000Z", "to_timestamp": "2026-11-22T00:00:00Z"}),
            &all,
        ),
    ];
    for (body, expected) in cases {
        let (status, answer) = bench.ask(&request("POST", "/systemevent", Some(body)));
        assert_eq!(status, 200, "{body} {answer}");
        assert_eq!(named(&answer), *expected, "{body}");
        assert_eq!(answer["truncated"], false);
    }
    let page = json!({"skip": 1, "take": 2});
    let (_, answer) = bench.ask(&request("POST", "/systemevent", Some(&page)));
    assert_eq!(
        (&answer["total"], &answer["skip"], &answer["take"]),
        (&json!(5), &json!(1), &json!(2))
    );
    let event = &answer["events"][0];
    assert_eq!(event["contextId"], id.as_str());
    assert_eq!(event["userName"], "token:operator-token");
    assert_eq!(event["timestamp"], "2026-11-21T00:00:00.000Z");
    assert!(event["id"].is_u64() && event["jsonData"].as_str().unwrap().contains(REPOSITORY));
    for canary in CANARIES {
        assert!(!answer.to_string().contains(canary));
    }
}

#[test]
fn wrong_wishes_are_refused() {
    let bench = bench();
    for body in [
        json!({"take": 0}),
        json!({"take": 101}),
        json!({"skip": -1}),
        json!({"context": 14}),
        json!({"event": 3}),
        json!({"event": "created"}),
        json!({"from_timestamp": "yesterday"}),
        json!({"from_timestamp": "2026-11-22T00:00:00Z", "to_timestamp": "2026-11-21T00:00:00Z"}),
        json!([]),
    ] {
        let code = bench.code(&request("POST", "/systemevent", Some(&body)));
        assert_eq!(code, (400, "INVALID_REQUEST".to_owned()), "{body}");
    }
    let viewer = as_role(request("POST", "/systemevent", Some(&json!({}))), "viewer");
    assert_eq!(bench.ask(&viewer).0, 200);
    let metrics = as_role(request("POST", "/systemevent", Some(&json!({}))), "metrics");
    assert_eq!(bench.ask(&metrics).0, 403);
}
