//! Checking and compiling a set: whole, or what changed of the keys on top of what was built before.
//!
//! A set in which nothing but key files differs from the one that was built before needs no more than those files:
//! each key is checked on its own, against repositories that are the same, and against the others only for what must
//! be unique, of which [`Known`] keeps hashes. Whatever else differs (another file, a file that is referred to, an id
//! that is claimed twice) is built whole, by the same functions: a part is the whole with most keys taken as they
//! were. That both come to the same is tested with random changes (`tests/config_scale.rs`).
//!
//! Why: of 100,000 keys one changes. Checking and compiling all of them, and freeing what was, takes half a second;
//! one takes a millisecond. Rejected: making that pass fast enough, since every load would still touch each key's
//! memory several times, with nothing in the caches.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use super::writer::Prepared;
use crate::config::check::{Known, More, check, check_more};
use crate::config::compile::{Compiled, Inputs, KeyChange, compile, compile_more};
use crate::config::diagnostic::{PROBLEMS_MAX, Place, Problem, Report};
use crate::config::parse::Document;
use crate::config::snapshot::Snapshot;
use crate::config::source::{Difference, SourceSet};

/// What the next set can be built on: a set that was built, with what came of it.
#[derive(Debug)]
pub(super) struct Base {
    documents: Arc<[Arc<Document>]>,
    references: [u8; 32],
    known: Known,
    /// As it was compiled, before it was installed.
    snapshot: Snapshot,
    /// Of checking and compiling.
    problems: Vec<Problem>,
}

/// Checks and compiles. With errors, compilation is still tried for its own problems.
pub(super) fn build(
    set: &SourceSet,
    base: Option<&Base>,
    inputs: Inputs<'_>,
) -> Result<Prepared, Report> {
    if let Some(base) = base
        && let Some(difference) = base.difference(set)
        && let Some(prepared) = build_more(set, base, &difference, inputs)
    {
        return prepared;
    }
    build_whole(set, inputs)
}

fn build_whole(set: &SourceSet, inputs: Inputs<'_>) -> Result<Prepared, Report> {
    let (checked, mut problems) = check(set);
    let Some(checked) = checked else {
        problems.extend_from_slice(&set.problems);
        return Err(Report::new(problems));
    };
    let (compiled, more) = compile(set, &checked, inputs);
    add_news(&mut problems, more, &set.problems);
    finish(set, checked.known, problems, compiled)
}

/// `None`: the difference says too little.
fn build_more(
    set: &SourceSet,
    base: &Base,
    difference: &Difference,
    inputs: Inputs<'_>,
) -> Option<Result<Prepared, Report>> {
    let mut known = base.known.clone();
    let mut gone: HashSet<Uuid> = HashSet::new();
    for key in difference.gone.iter().flat_map(|it| &it.file.key) {
        known.claims.release(key);
        gone.insert(*key.id.get_ref());
    }
    let More { keys, mut problems } = check_more(&mut known, &difference.came)?;
    for key in &keys {
        gone.remove(key.written.id.get_ref());
    }
    let change = KeyChange {
        gone: &gone,
        came: &keys,
    };
    let (compiled, more) = compile_more(set, &base.snapshot, &change, inputs)?;
    add_news(&mut problems, more, &set.problems);
    let files: HashSet<&Path> = difference.paths().collect();
    let still = base.problems.iter();
    problems.extend(
        still
            .filter(|problem| !files.contains(&*problem.place.file))
            .cloned(),
    );
    Some(finish(set, known, problems, Some(compiled)))
}

fn finish(
    set: &SourceSet,
    known: Known,
    problems: Vec<Problem>,
    compiled: Option<Compiled>,
) -> Result<Prepared, Report> {
    let report = Report::new([&*set.problems, &*problems].concat());
    match compiled {
        Some(compiled) if !report.blocks() => Ok(Prepared {
            base: Base::of(set, known, &compiled.snapshot, problems),
            compiled,
            report,
            ahead: None,
        }),
        Some(_) | None => Err(report),
    }
}

/// Adds what compiling found. Where fault was found before, why a secret cannot be had is no news.
fn add_news(problems: &mut Vec<Problem>, more: Vec<Problem>, read: &[Problem]) {
    let known: HashSet<Place> = problems
        .iter()
        .chain(read)
        .map(|problem| problem.place.clone())
        .collect();
    let is_news = |problem: &Problem| problem.code != "E050" || !known.contains(&problem.place);
    problems.extend(more.into_iter().filter(is_news));
}

impl Base {
    /// `None` where one key's fate depends on another, or where more is wrong than is worth keeping.
    fn of(
        set: &SourceSet,
        known: Known,
        snapshot: &Snapshot,
        problems: Vec<Problem>,
    ) -> Option<Self> {
        let is_simple = !known.claims.is_contested() && problems.len() <= PROBLEMS_MAX;
        is_simple.then(|| Self {
            documents: Arc::clone(&set.documents),
            references: set.references.hash,
            known,
            snapshot: snapshot.clone(),
            problems,
        })
    }

    /// `None` if something else than key files differs.
    fn difference(&self, set: &SourceSet) -> Option<Difference> {
        if self.references != set.references.hash {
            return None;
        }
        let difference = Difference::between(&self.documents, &set.documents);
        let is_simple = difference.documents().all(|one| one.has_keys_alone);
        is_simple.then_some(difference)
    }
}
