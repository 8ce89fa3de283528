//! Problems of a config, each with its place, all of them at once.
//!
//! A problem holds the line it is about, already masked: a value is shown only where the field before it is known
//! and holds no secret, so neither a sealed text nor a secret pasted under a misspelt name is ever printed.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::mask;

/// Problems kept of one load: stops a generated file with a million mistakes from filling memory and log.
pub const PROBLEMS_MAX: usize = 500;

/// How far a problem reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The config is not applied.
    Error,
    /// One key file is left as it was; everything else is applied.
    Key,
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub severity: Severity,
    /// `E012`, `W003`: stable, for searching and for tests.
    pub code: &'static str,
    #[serde(flatten)]
    pub place: Place,
    pub message: String,
    pub hint: Option<String>,
    /// The other place, where there are two.
    pub related: Option<Related>,
}

/// A place in a file, with the line to show. Lines and columns count from 1; 0: the file as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Place {
    pub file: PathBuf,
    pub line: usize,
    pub col: usize,
    #[serde(skip)]
    excerpt: Option<Excerpt>,
}

/// The second place of a problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Related {
    #[serde(flatten)]
    pub place: Place,
    pub message: String,
}

/// A masked source line with the columns to underline.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Excerpt {
    line: String,
    carets: Range<usize>,
}

impl Place {
    pub fn file(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            line: 0,
            col: 0,
            excerpt: None,
        }
    }

    /// The place of the bytes `span` of `text`.
    pub fn at(file: &Path, text: &str, span: Range<usize>) -> Self {
        let start = floor(text, span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let end = floor(text, span.end).clamp(start, line_end.max(start));
        let masked = mask::line(text, line_start..line_end, start..end);
        Self {
            file: file.to_owned(),
            line: text[..line_start].matches('\n').count() + 1,
            col: text[line_start..start].chars().count() + 1,
            excerpt: Some(Excerpt {
                line: masked.line,
                carets: masked.carets,
            }),
        }
    }
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl Problem {
    pub fn new(
        severity: Severity,
        code: &'static str,
        place: Place,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            code,
            place,
            message: message.into(),
            hint: None,
            related: None,
        }
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn with_related(mut self, place: Place, message: impl Into<String>) -> Self {
        self.related = Some(Related {
            place,
            message: message.into(),
        });
        self
    }

    /// Adds "did you mean" if one of `known` is close to `written`.
    #[must_use]
    pub fn with_suggestion<'a>(
        self,
        written: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        match nearest(written, known) {
            Some(near) => self.with_hint(format!("did you mean `{near}`?")),
            None => self,
        }
    }
}

/// The name most like `written`, if any is like it.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Below this two names are simply different.
    const SIMILAR_MIN: f64 = 0.7;
    known
        .into_iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(written, name), name))
        .filter(|(similar, _)| *similar >= SIMILAR_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// Everything that a load found, errors first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    problems: Arc<Vec<Problem>>,
}

impl Report {
    pub fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| {
            let order = |p: &Problem| (p.severity as u8, p.place.file.clone(), p.place.line);
            order(a).cmp(&order(b)).then(a.place.col.cmp(&b.place.col))
        });
        problems.dedup();
        problems.truncate(PROBLEMS_MAX);
        Self {
            problems: Arc::new(problems),
        }
    }

    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Whether the config must not be applied.
    pub fn blocks(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// Whether `check` passes: warnings only.
    pub fn passes(&self) -> bool {
        !self.blocks() && self.count(Severity::Key) == 0
    }

    pub fn count(&self, severity: Severity) -> usize {
        self.problems
            .iter()
            .filter(|problem| problem.severity == severity)
            .count()
    }

    /// The report for programs: `{"ok": .., "problems": [..]}`.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "ok": self.passes(), "problems": *self.problems })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in self.problems.iter() {
            writeln!(f, "{problem}")?;
        }
        let errors = self.count(Severity::Error) + self.count(Severity::Key);
        let warnings = self.count(Severity::Warning);
        writeln!(f, "{errors} error(s), {warnings} warning(s)")
    }
}

impl std::error::Error for Report {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error | Severity::Key => "error",
            Severity::Warning => "warning",
        };
        writeln!(
            f,
            "{}: {severity}[{}]: {}",
            self.place, self.code, self.message
        )?;
        self.place.write_excerpt(f)?;
        if let Some(hint) = &self.hint {
            writeln!(f, "   = {hint}")?;
        }
        if self.severity == Severity::Key {
            let reach = match self.code {
                // Of reading and parsing: the last good parse of the file is used on.
                "E001" | "E002" | "E003" | "E004" | "E005" | "E006" | "E007" | "E008" => {
                    "the file's last good keys stay in use; everything else is applied"
                }
                _ => "the key is not in use; everything else is applied",
            };
            writeln!(f, "   = {reach}")?;
        }
        if let Some(related) = &self.related {
            writeln!(f, "  {}: {}", related.place, related.message)?;
            related.place.write_excerpt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.col)?;
        }
        Ok(())
    }
}

impl Place {
    fn write_excerpt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(excerpt) = &self.excerpt else {
            return Ok(());
        };
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        let indent = " ".repeat(excerpt.carets.start);
        let carets = "^".repeat(excerpt.carets.len().max(1));
        writeln!(f, " {number} | {}", excerpt.line)?;
        writeln!(f, " {gutter} | {indent}{carets}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_its_line_with_carets_a_hint_and_the_other_place() {
        let text = "[[s3]]\nname = \"a\"\nbuckt = \"x\"\n";
        let file = Path::new("conf.d/a.toml");
        let at = text.find("buckt").unwrap();
        let problem = Problem::new(
            Severity::Error,
            "E003",
            Place::at(file, text, at..at + 5),
            "unknown field `buckt`",
        )
        .with_suggestion("buckt", ["bucket", "region"])
        .with_related(Place::at(file, text, 0..6), "in this table");
        let shown = problem.to_string();
        let expected = "conf.d/a.toml:3:1: error[E003]: unknown field `buckt`\n \
                        3 | buckt = \"***\"\n   | ^^^^^\n   \
                        = did you mean `bucket`?\n  \
                        conf.d/a.toml:1:1: in this table\n \
                        1 | [[s3]]\n   | ^^^^^^\n";
        assert_eq!(shown, expected);
    }

    #[test]
    fn places_past_the_end_or_inside_a_character_do_not_panic() {
        let text = "é = \"ü\"";
        for start in 0..12 {
            for end in 0..12 {
                Place::at(Path::new("f"), text, start..end);
            }
        }
    }

    #[test]
    fn names_are_suggested_only_when_alike() {
        assert_eq!(nearest("regoin", ["region", "bucket"]), Some("region"));
        assert_eq!(nearest("zzz", ["region", "bucket"]), None);
    }
}
