//! What each lane does with each parameter and kind of content, as the README shows it: asked of the lanes themselves.

use std::fmt::Write;

use crate::ai::lane::{self, Lane};
use crate::ai::openai::request;
use crate::ai::param::{Fate, Param};
use crate::error::Result;
use crate::policy::route::UnsupportedParams;
use crate::protocol::Dialect;

/// The lanes, and a model of each that is asked.
const LANES: [(&str, Dialect, &str); 3] = [
    ("Anthropic", Dialect::Anthropic, "claude-sonnet-4-5"),
    ("Google", Dialect::Google, "gemini-2.5-flash"),
    ("Bedrock", Dialect::Bedrock, "amazon.nova-pro-v1:0"),
];

/// Kinds of content, each with a part that has it.
const CONTENT: [(&str, &str); 6] = [
    ("text", r#"{"type":"text","text":"x"}"#),
    (
        "`image_url` with `data:`",
        r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,QQ=="}}"#,
    ),
    (
        "`image_url` with `https:`",
        r#"{"type":"image_url","image_url":{"url":"https://example.com/a.png"}}"#,
    ),
    (
        "`input_audio`",
        r#"{"type":"input_audio","input_audio":{"data":"QQ==","format":"wav"}}"#,
    ),
    (
        "`file` with a PDF",
        r#"{"type":"file","file":{"file_data":"data:application/pdf;base64,QQ=="}}"#,
    ),
    (
        "`file` with an id",
        r#"{"type":"file","file":{"file_id":"f"}}"#,
    ),
];

/// The table, as Markdown.
pub fn table() -> String {
    let lanes: Vec<(&str, &'static dyn Lane, &str)> = LANES
        .into_iter()
        .filter_map(|(name, dialect, model)| Some((name, lane::lane(dialect)?, model)))
        .collect();
    let mut table = String::from("| |");
    for (name, ..) in &lanes {
        push(&mut table, format_args!(" {name} |"));
    }
    table.push_str("\n|---|");
    table.push_str(&"---|".repeat(lanes.len()));
    for (name, part) in CONTENT {
        push(&mut table, format_args!("\n| {name} |"));
        for (_, lane, model) in &lanes {
            let word = if carries(*lane, model, part).is_ok() {
                "yes"
            } else {
                "refused"
            };
            push(&mut table, format_args!(" {word} |"));
        }
    }
    for param in Param::ALL {
        push(&mut table, format_args!("\n| `{}` |", param.name()));
        for (_, lane, _) in &lanes {
            push(&mut table, format_args!(" {} |", word(lane.fate(*param))));
        }
    }
    table.push('\n');
    table
}

fn carries(lane: &dyn Lane, model: &str, part: &str) -> Result<()> {
    let body = format!(r#"{{"messages":[{{"role":"user","content":[{part}]}}]}}"#);
    let decoded = request::decode(body.as_bytes())?;
    lane::encode(lane, &decoded, model, UnsupportedParams::Strict).map(drop)
}

fn word(fate: Fate) -> &'static str {
    match fate {
        Fate::Passed => "passed",
        Fate::Mapped => "mapped",
        Fate::Dropped => "dropped",
        Fate::Refused => "refused",
    }
}

fn push(table: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _written = table.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// To renew it: `UPDATE_README=1 cargo test --lib ai::matrix`.
    #[test]
    fn the_readme_shows_what_the_lanes_do() {
        const BEGIN: &str = "<!-- lanes: made by src/ai/matrix.rs -->\n";
        const END: &str = "<!-- lanes: end -->";
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
        let readme = std::fs::read_to_string(path).unwrap();
        let (before, rest) = readme.split_once(BEGIN).unwrap();
        let (shown, after) = rest.split_once(END).unwrap();
        if std::env::var_os("UPDATE_README").is_some() {
            std::fs::write(path, format!("{before}{BEGIN}{}{END}{after}", table())).unwrap();
            return;
        }
        assert_eq!(shown, table());
    }
}
