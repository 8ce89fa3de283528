//! Whether the audit log is whole: each line's number and hash against the line before, from file to file, and the
//! last against the head.
//!
//! A line that a crash cut short was acknowledged to nobody and is no part of the chain; it is counted and shown.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::chain::{Head, hash};
use super::files::{Line, Lines};

/// Torn lines that are shown by their places.
const TORN_MAX: usize = 100;

/// A place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: PathBuf,
    /// From 1; 0 for the file as a whole.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        Ok(())
    }
}

/// A log that is whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whole {
    pub lines: u64,
    /// Numbers of the first and the last line. Where the first is not 1, older files are gone.
    pub first: u64,
    pub last: u64,
    /// SHA-256, hex, of the last line.
    pub hash: String,
    /// Lines that a crash cut short.
    pub torn: Vec<Place>,
    /// Whether the head was there to compare the end with.
    pub has_head: bool,
}

/// Why a log is not whole.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("{path}: {source}")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{0}: this is no line of an audit log")]
    Foreign(Place),
    #[error("{place}: line {found} of the log stands where line {expected} should")]
    Gap {
        place: Place,
        found: u64,
        expected: u64,
    },
    #[error("{0}: the line before this one was changed")]
    Changed(Place),
    #[error(
        "{place}: the log ends with its line {last}, and line {written} was written: lines are missing at the end"
    )]
    CutOff {
        place: Place,
        last: u64,
        written: u64,
    },
    #[error("{0}: the last line was changed")]
    LastChanged(Place),
}

/// The members that make the chain.
#[derive(Deserialize)]
struct Link {
    seq: u64,
    prev: Option<String>,
}

/// Verifies the files of a log, oldest first, and the end of the last against its head.
pub fn verify(files: &[PathBuf]) -> Result<Whole, Fault> {
    let mut chain = Chain::default();
    for file in files {
        let unreadable = |source| Fault::Unreadable {
            path: file.clone(),
            source,
        };
        let mut lines = match Lines::open(file) {
            // Just rotated, and nothing written since.
            Err(error) if error.kind() == io::ErrorKind::NotFound && files.len() > 1 => continue,
            opened => opened.map_err(unreadable)?,
        };
        while let Some(line) = lines.next().map_err(unreadable)? {
            chain.add(file, &line)?;
        }
    }
    match files.last() {
        Some(newest) => chain.end(newest),
        None => Ok(chain.whole),
    }
}

#[derive(Default)]
struct Chain {
    whole: Whole,
    last: Option<Place>,
}

impl Chain {
    fn add(&mut self, file: &Path, line: &Line) -> Result<(), Fault> {
        let place = Place {
            file: file.to_owned(),
            line: line.number,
        };
        let Ok(link) = serde_json::from_slice::<Link>(&line.bytes) else {
            let is_cut = line.bytes.starts_with(b"{") && !line.bytes.ends_with(b"}");
            if !is_cut {
                return Err(Fault::Foreign(place));
            }
            if self.whole.torn.len() < TORN_MAX {
                self.whole.torn.push(place);
            }
            return Ok(());
        };
        if self.last.is_some() {
            let expected = self.whole.last + 1;
            if link.seq != expected {
                return Err(Fault::Gap {
                    place,
                    found: link.seq,
                    expected,
                });
            }
            if link.prev.as_deref() != Some(&*self.whole.hash) {
                return Err(Fault::Changed(place));
            }
        } else {
            self.whole.first = link.seq;
            if (link.seq == 1) != link.prev.is_none() {
                return Err(Fault::Changed(place));
            }
        }
        self.whole.lines += 1;
        self.whole.last = link.seq;
        self.whole.hash = hash(&line.bytes);
        self.last = Some(place);
        Ok(())
    }

    /// Compares the end with the head beside the newest file.
    fn end(mut self, newest: &Path) -> Result<Whole, Fault> {
        let head = Head::beside(newest).map_err(|source| Fault::Unreadable {
            path: newest.to_owned(),
            source,
        })?;
        let Some(head) = head else {
            return Ok(self.whole);
        };
        self.whole.has_head = true;
        let place = self.last.unwrap_or(Place {
            file: newest.to_owned(),
            line: 0,
        });
        if head.seq > self.whole.last {
            return Err(Fault::CutOff {
                place,
                last: self.whole.last,
                written: head.seq,
            });
        }
        if head.seq == self.whole.last && head.hash != self.whole.hash {
            return Err(Fault::LastChanged(place));
        }
        Ok(self.whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::audit::{Actor, Audit, Outcome, Record};
    use jiff::Timestamp;
    use std::fs;

    fn write(audit: &Audit, count: usize) {
        for _ in 0..count {
            let record = Record {
                event: "apikey.created",
                context: "apikey",
                ..Record::default()
            };
            audit
                .write(
                    Timestamp::UNIX_EPOCH,
                    &Actor::default(),
                    &record,
                    Outcome::Ok,
                    None,
                )
                .unwrap();
        }
    }

    fn check(audit: &Audit) -> Result<Whole, Fault> {
        verify(&audit.files().unwrap())
    }

    #[test]
    fn a_log_is_whole_over_its_rotations() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::new(dir.path());
        write(&audit, 3);
        fs::rename(audit.path(), dir.path().join("audit.log.2")).unwrap();
        write(&audit, 2);
        fs::rename(audit.path(), dir.path().join("audit.log.1")).unwrap();
        // Just rotated, then written again.
        assert_eq!(check(&audit).unwrap().last, 5);
        write(&audit, 2);
        fs::write(dir.path().join("audit.log.3.gz"), [0x1f, 0x8b]).unwrap();
        let whole = check(&audit).unwrap();
        assert_eq!((whole.lines, whole.first, whole.last), (7, 1, 7));
        // The oldest was thrown away, which is what rotation is for.
        fs::remove_file(dir.path().join("audit.log.2")).unwrap();
        assert_eq!(check(&audit).unwrap().first, 4);
        // One in the middle was not.
        fs::write(dir.path().join("audit.log.1"), "").unwrap();
        assert_eq!(check(&audit).unwrap().first, 6);
    }

    /// What happens to the text of a log of five lines, and where it is found.
    #[test]
    fn each_way_to_bend_a_log_is_found_where_it_is() {
        type Bend = fn(&[&str]) -> String;
        let cases: &[(&str, Bend, &str)] = &[
            (
                "a line changed",
                |l| l.join("\n").replacen("\"seq\":2,", "\"seq\":2 ,", 1),
                ":3: the line before",
            ),
            (
                "a line removed",
                |l| [l[0], l[1], l[3], l[4]].join("\n"),
                ":3: line 4 of the log stands where line 3",
            ),
            (
                "two lines swapped",
                |l| [l[0], l[2], l[1], l[3], l[4]].join("\n"),
                ":2: line 3 of",
            ),
            (
                "a line repeated",
                |l| [l[0], l[1], l[1], l[2]].join("\n"),
                ":3: line 2 of",
            ),
            (
                "the end cut off",
                |l| l[..3].join("\n"),
                ":3: the log ends with its line 3, and line 5",
            ),
            (
                "the last line changed",
                |l| l.join("\n").replacen("\"seq\":5,", "\"seq\":5 ,", 1),
                ":5: the last line was",
            ),
            ("all of it gone", |_| String::new(), "line 5 was written"),
            (
                "the first line gone",
                |l| l[1..].join("\n").replacen("\"seq\":2,", "\"seq\":1,", 1),
                ":1: the line before",
            ),
            (
                "something else in it",
                |l| [l[0], "hello", l[1]].join("\n"),
                ":2: this is no line",
            ),
        ];
        for (what, bend, expected) in cases {
            let dir = tempfile::tempdir().unwrap();
            let audit = Audit::new(dir.path());
            write(&audit, 5);
            let text = fs::read_to_string(audit.path()).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            let mut bent = bend(&lines);
            if !bent.is_empty() {
                bent.push('\n');
            }
            fs::write(audit.path(), bent).unwrap();
            let fault = check(&audit).unwrap_err().to_string();
            assert!(fault.contains(expected), "{what}: {fault}");
        }
    }

    #[test]
    fn a_torn_line_is_no_fault_and_a_cut_stays_one() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::new(dir.path());
        write(&audit, 2);
        let text = fs::read_to_string(audit.path()).unwrap();
        fs::write(audit.path(), format!("{text}{{\"v\":1,\"seq\":3")).unwrap();
        for expected in [2, 3] {
            let whole = check(&audit).unwrap();
            assert_eq!((whole.last, whole.torn.len()), (expected, 1));
            write(&audit, 1);
        }
        // Cut off, and written on: what is missing stays missing.
        let text = fs::read_to_string(audit.path()).unwrap();
        let kept: Vec<&str> = text.lines().take(2).collect();
        fs::write(audit.path(), kept.join("\n") + "\n").unwrap();
        write(&audit, 3);
        let fault = check(&audit).unwrap_err().to_string();
        assert!(
            fault.contains(":3: line 5 of the log stands where line 3"),
            "{fault}"
        );
    }
}
