//! The files that two sets of documents differ in.

use std::path::Path;
use std::sync::Arc;

use crate::config::parse::Document;

/// What was there and is not, and what is and was not. A file that changed is in both.
#[derive(Debug, Default)]
pub struct Difference {
    pub gone: Vec<Arc<Document>>,
    pub came: Vec<Arc<Document>>,
}

impl Difference {
    /// Both sets are sorted by path, so this walks them side by side. A file that did not change is the same document:
    /// of most of them nothing but the pointer is looked at.
    pub fn between(before: &[Arc<Document>], after: &[Arc<Document>]) -> Self {
        let mut difference = Self::default();
        let mut before = before.iter().peekable();
        for document in after {
            let path = document.path.as_os_str();
            let is_same = |other: &&Arc<Document>| Arc::ptr_eq(other, document);
            if before.next_if(is_same).is_some() {
                continue;
            }
            while let Some(gone) = before.next_if(|it| it.path.as_os_str() < path) {
                difference.gone.push(Arc::clone(gone));
            }
            if before.next_if(is_same).is_some() {
                continue;
            }
            if let Some(gone) = before.next_if(|it| it.path.as_os_str() == path) {
                difference.gone.push(Arc::clone(gone));
            }
            difference.came.push(Arc::clone(document));
        }
        difference.gone.extend(before.map(Arc::clone));
        difference
    }

    pub fn documents(&self) -> impl Iterator<Item = &Arc<Document>> {
        self.gone.iter().chain(&self.came)
    }

    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.documents().map(|document| document.path.as_path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse::{self, Role};

    #[test]
    fn each_file_is_gone_or_came_or_both_or_the_same() {
        let one = |name: &str| {
            let (document, _) = parse::document(Path::new(name), Role::Part, "");
            Arc::new(document)
        };
        let all: Vec<_> = ["a", "b", "c", "d"].map(one).into();
        let names = |list: &[Arc<Document>]| -> String {
            let names = list.iter().map(|document| document.path.to_string_lossy());
            names.collect::<Vec<_>>().concat()
        };
        let check = |before: &[Arc<Document>], after: &[Arc<Document>], expected: (&str, &str)| {
            let Difference { gone, came } = Difference::between(before, after);
            assert_eq!((&*names(&gone), &*names(&came)), expected);
        };
        check(&all, &all, ("", ""));
        check(&[], &all, ("", "abcd"));
        check(&all, &[], ("abcd", ""));
        check(&all[1..3], &all, ("", "ad"));
        check(&all, &all[1..3], ("ad", ""));
        let changed = [one("a"), Arc::clone(&all[1]), one("cc"), one("d")];
        check(&all, &changed, ("acd", "accd"));
    }
}
