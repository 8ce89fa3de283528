//! Which part of the crate may import which: the table of the architecture, held by a test.
//!
//! It reads paths, not types: `crate::x`, grouped imports of `crate::{..}`, and `super::x` where that climbs to
//! the crate's root. Comments are left out of account.

use std::fs;
use std::path::{Path, PathBuf};

/// A part of `src/`, and what it may import besides itself.
struct Layer {
    part: &'static str,
    may: &'static [&'static str],
}

const LEAVES: &[&str] = &["error", "protocol", "sabotage", "secret"];
const ALL: &[&str] = &[
    "admin",
    "ai",
    "app",
    "cli",
    "clock",
    "config",
    "demo",
    "keys",
    "message",
    "pipeline",
    "policy",
    "proxy",
    "storage",
    "telemetry",
];

/// Every part has a line; the leaves are open to all but themselves.
const LAYERS: &[Layer] = &[
    Layer {
        part: "error",
        may: &[],
    },
    Layer {
        part: "protocol",
        may: &[],
    },
    Layer {
        part: "sabotage",
        may: &[],
    },
    Layer {
        part: "secret",
        may: &[],
    },
    Layer {
        part: "message",
        may: &[],
    },
    Layer {
        part: "telemetry",
        may: &[],
    },
    Layer {
        part: "keys",
        may: &[],
    },
    Layer {
        part: "policy",
        may: &["keys", "message", "telemetry"],
    },
    Layer {
        part: "storage",
        may: &["policy", "keys", "message", "telemetry"],
    },
    Layer {
        part: "ai",
        may: &["policy", "keys", "message", "telemetry"],
    },
    Layer {
        part: "config",
        may: &["policy", "keys", "message", "telemetry"],
    },
    Layer {
        part: "pipeline",
        may: &[
            "config::snapshot",
            "storage",
            "ai",
            "policy",
            "keys",
            "message",
            "telemetry",
        ],
    },
    Layer {
        part: "proxy",
        may: &[
            "pipeline",
            // Whose pure answers it puts on the wire: only `proxy` and `app` know Pingora.
            "admin",
            "config::snapshot",
            // The handle that gives a request its snapshot.
            "config::live",
            "storage",
            "ai",
            "policy",
            "keys",
            "message",
            "telemetry",
        ],
    },
    Layer {
        part: "admin",
        may: &["config", "policy", "keys", "message", "telemetry"],
    },
    Layer {
        part: "app",
        may: ALL,
    },
    Layer {
        part: "demo",
        may: ALL,
    },
    Layer {
        part: "cli",
        may: &["app", "config", "demo", "keys", "telemetry"],
    },
];

/// The only parts that know Pingora.
const KNOW_PINGORA: &[&str] = &["app", "proxy"];
/// Folders whose folders are protocols or dialects: no such folder imports a sibling.
const OF_SIBLINGS: &[&str] = &["ai", "storage"];

#[test]
fn every_import_points_down() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for file in rust_files(&root) {
        let text = fs::read_to_string(&file).unwrap();
        let path = file.strip_prefix(&root).unwrap();
        found.extend(violations(path, &text, &siblings(&root, path)));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The model that stands between the protocols, and words that belong to one of them.
const MODEL: &[&str] = &[
    "capability",
    "codec",
    "condition",
    "object",
    "op",
    "plan",
    "reply",
];
const OF_PROVIDERS: &[&str] = &[
    "amz", "aws", "azure", "blob", "gcs", "goog", "s3::", "x-ms-",
];

#[test]
fn the_model_names_no_provider() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/storage");
    let mut seen = 0;
    for file in rust_files(&root) {
        let path = file.strip_prefix(&root).unwrap();
        let is_model = MODEL.contains(&part_of(path).as_str()) && !path.ends_with("tests.rs");
        if !is_model {
            continue;
        }
        seen += 1;
        let code = without_comments(&fs::read_to_string(&file).unwrap()).to_lowercase();
        for word in OF_PROVIDERS {
            assert!(!code.contains(word), "{}: `{word}`", path.display());
        }
    }
    assert!(seen >= MODEL.len());
}

#[test]
fn planted_violations_are_caught() {
    let check = |path: &str, text: &str| {
        violations(Path::new(path), text, &["gcs".to_owned(), "s3".to_owned()])
    };
    for (path, text, expected) in [
        (
            "keys/seal.rs",
            "use crate::policy::route::Resource;",
            "policy",
        ),
        (
            "keys/seal.rs",
            "use crate::{\n    error::Result,\n    policy::{route, limit},\n};",
            "policy",
        ),
        (
            "policy/mod.rs",
            "fn f() { crate::config::load() }",
            "config",
        ),
        ("error.rs", "use crate::secret::Secret;", "secret"),
        (
            "proxy/relay.rs",
            "use crate::config::watch::Watch;",
            "config::watch",
        ),
        (
            "storage/gcs/auth.rs",
            "use crate::storage::s3::auth;",
            "storage::s3",
        ),
        (
            "storage/gcs/auth.rs",
            "use super::super::s3;",
            "super::super",
        ),
        (
            "storage/plan.rs",
            "use pingora::http::RequestHeader;",
            "pingora",
        ),
        ("policy/mod.rs", "use super::config;", "config"),
        ("novel/mod.rs", "", "novel"),
    ] {
        let found = check(path, text);
        assert_eq!(found.len(), 1, "{path}: {text}: {found:?}");
        assert!(found[0].contains(expected), "{found:?}");
    }
    for (path, text) in [
        (
            "keys/seal.rs",
            "//! Unlike [`crate::policy`].\nuse crate::error::Result; // not crate::config",
        ),
        (
            "proxy/relay.rs",
            "use crate::config::snapshot::Snapshot;\nuse pingora::proxy::Session;",
        ),
        (
            "storage/gcs/auth.rs",
            "use crate::storage::model::Object;\nuse super::names;",
        ),
        ("storage/mod.rs", "use crate::storage::s3::auth;"),
        ("policy/mod.rs", "mod tests { use super::*; }"),
        ("app.rs", "use crate::{admin, proxy::relay};"),
    ] {
        assert_eq!(check(path, text), Vec::<String>::new(), "{path}: {text}");
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The folders next to the one that `path` is in, where those are protocols or dialects.
fn siblings(root: &Path, path: &Path) -> Vec<String> {
    let part = part_of(path);
    if !OF_SIBLINGS.contains(&part.as_str()) {
        return Vec::new();
    }
    let folders = fs::read_dir(root.join(part))
        .unwrap()
        .map(|entry| entry.unwrap());
    folders
        // A folder beside a file of its name holds that module's parts, not a dialect.
        .filter(|entry| entry.path().join("mod.rs").is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

/// `keys/seal.rs` and `keys.rs` belong to `keys`.
fn part_of(path: &Path) -> String {
    let first = path
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_str()
        .unwrap();
    first.trim_end_matches(".rs").to_owned()
}

fn violations(path: &Path, text: &str, siblings: &[String]) -> Vec<String> {
    let part = part_of(path);
    if part == "lib" || part == "main" {
        return Vec::new();
    }
    let shown = path.display();
    let Some(layer) = LAYERS.iter().find(|layer| layer.part == part) else {
        return vec![format!(
            "{shown}: `{part}` has no line in the table of layers"
        )];
    };
    let code = without_comments(text);
    let mut found = Vec::new();
    if code.contains("super::super") {
        found.push(format!(
            "{shown}: `super::super` instead of a path from `crate`"
        ));
    }
    if code.contains("pingora") && !KNOW_PINGORA.contains(&part.as_str()) {
        found.push(format!("{shown}: only {KNOW_PINGORA:?} know pingora"));
    }
    for import in imports(path, &code) {
        if !allowed(layer, path, &import, siblings) {
            found.push(format!("{shown}: `{part}` may not import `{import}`"));
        }
    }
    found
}

fn allowed(layer: &Layer, path: &Path, import: &str, siblings: &[String]) -> bool {
    let (top, rest) = import.split_once("::").unwrap_or((import, ""));
    if top == layer.part {
        let folder = path
            .components()
            .nth(1)
            .and_then(|part| part.as_os_str().to_str());
        let own = path.components().count() > 2
            && folder.is_some_and(|own| siblings.iter().any(|s| s == own));
        return !own || folder == Some(rest) || !siblings.iter().any(|sibling| sibling == rest);
    }
    if LEAVES.contains(&top) {
        return !LEAVES.contains(&layer.part);
    }
    // Macros and items of the crate's root stand above all parts.
    let is_part = LAYERS.iter().any(|layer| layer.part == top);
    !is_part || layer.may.iter().any(|may| *may == top || *may == import)
}

/// The first two segments of every path that starts at the crate's root.
fn imports(path: &Path, code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        found.extend(heads(&code[at + "crate::".len()..]));
    }
    let is_root_of_part = path.components().count() == 1
        || path.ends_with("mod.rs") && path.components().count() == 2;
    if is_root_of_part {
        for (at, _) in code.match_indices("super::") {
            let heads = heads(&code[at + "super::".len()..]);
            found.extend(heads.into_iter().filter(|head| {
                let top = head.split("::").next().unwrap_or_default();
                LAYERS.iter().any(|layer| layer.part == top) && !LEAVES.contains(&top)
            }));
        }
    }
    found
}

/// `a::b::c` gives `a::b`; `{a::b, c}` gives `a::b` and `c`.
fn heads(text: &str) -> Vec<String> {
    let Some(group) = text.strip_prefix('{') else {
        let end = text
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
            .unwrap_or(text.len());
        let mut segments = text[..end]
            .split("::")
            .filter(|segment| !segment.is_empty());
        return match (segments.next(), segments.next()) {
            (Some(one), Some(two)) => vec![format!("{one}::{two}")],
            (Some(one), None) => vec![one.to_owned()],
            (None, _) => Vec::new(),
        };
    };
    let mut depth = 1;
    let mut start = 0;
    let mut found = Vec::new();
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || depth == 1 && c == ',' {
            found.extend(heads(group[start..at].trim()));
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    found
}

fn without_comments(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    for line in text.lines() {
        // `://` stands in URLs within strings.
        let cut = line
            .match_indices("//")
            .find(|(at, _)| !line[..*at].ends_with(':'))
            .map_or(line.len(), |(at, _)| at);
        code.push_str(&line[..cut]);
        code.push('\n');
    }
    code
}
