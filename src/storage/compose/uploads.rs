//! Listings of uploads under way, from their journals, which come in no order that clients know.
//!
//! All of them are looked through, and of those behind the marker the first are kept: as many as a page holds, whatever
//! there are.

use std::collections::BTreeMap;

use crate::storage::op::ListUploads;
use crate::storage::reply::{ListedUpload, UploadPage};

/// Uploads and common prefixes of one page.
const PAGE_MAX: usize = 1000;

/// A page that is being looked for.
pub struct Search<'a> {
    list: &'a ListUploads,
    most: usize,
    /// By key and id. A common prefix has neither an id nor an upload.
    kept: BTreeMap<(Box<str>, Box<str>), Option<ListedUpload>>,
}

impl<'a> Search<'a> {
    pub fn new(list: &'a ListUploads) -> Self {
        let most = list.max.and_then(|max| usize::try_from(max).ok());
        Self {
            list,
            most: most.map_or(PAGE_MAX, |max| max.min(PAGE_MAX)),
            kept: BTreeMap::new(),
        }
    }

    /// Looks at one upload.
    pub fn see(&mut self, upload: ListedUpload) {
        if !upload.key.starts_with(&*self.list.prefix) || self.is_before(&upload) {
            return;
        }
        match self.common_prefix(&upload.key) {
            Some(prefix) if self.has_had(prefix) => {}
            Some(prefix) => {
                self.kept.insert((prefix.into(), Box::default()), None);
            }
            None => {
                let at = (upload.key.clone(), upload.id.clone());
                self.kept.insert(at, Some(upload));
            }
        }
        // One more than is shown tells that there are more.
        if self.kept.len() > self.most + 1 {
            self.kept.pop_last();
        }
    }

    /// The page, once all were seen.
    pub fn page(mut self) -> UploadPage {
        let more = self.kept.len() > self.most;
        if more {
            self.kept.pop_last();
        }
        let last = self.kept.last_key_value();
        let mut page = UploadPage {
            next: last.map(|(at, _)| at.clone()).filter(|_| more),
            ..UploadPage::default()
        };
        for ((key, _), upload) in self.kept {
            match upload {
                Some(upload) => page.uploads.push(upload),
                None => page.prefixes.push(key),
            }
        }
        page
    }

    /// Whether an earlier page had it.
    fn is_before(&self, upload: &ListedUpload) -> bool {
        let Some((key, id)) = &self.list.after else {
            return false;
        };
        match id {
            Some(id) => (&*upload.key, &*upload.id) <= (&**key, &**id),
            None => *upload.key <= **key,
        }
    }

    /// A page that ended with a common prefix had all that is under it.
    fn has_had(&self, prefix: &str) -> bool {
        let after = self.list.after.as_ref();
        after.is_some_and(|(key, _)| **key == *prefix)
    }

    fn common_prefix<'k>(&self, key: &'k str) -> Option<&'k str> {
        let delimiter = self.list.delimiter.as_deref()?;
        let rest = key.get(self.list.prefix.len()..)?;
        let at = rest.find(delimiter)?;
        key.get(..self.list.prefix.len() + at + delimiter.len())
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn upload(key: &str, id: &str) -> ListedUpload {
        ListedUpload {
            key: key.into(),
            id: id.into(),
            initiated: Timestamp::UNIX_EPOCH,
            class: None,
        }
    }

    fn page(list: &ListUploads, uploads: &[(String, String)]) -> UploadPage {
        let mut search = Search::new(list);
        for (key, id) in uploads {
            search.see(upload(key, id));
        }
        search.page()
    }

    /// All pages one behind the other, as a client asks for them.
    fn all(mut list: ListUploads, uploads: &[(String, String)]) -> Vec<String> {
        let mut shown = Vec::new();
        loop {
            let page = page(&list, uploads);
            let max = list.max.map(|max| usize::try_from(max).unwrap());
            assert!(page.uploads.len() + page.prefixes.len() <= max.unwrap());
            let mut names: Vec<String> = page.prefixes.iter().map(ToString::to_string).collect();
            let uploads_of = page
                .uploads
                .iter()
                .map(|it| format!("{} {}", it.key, it.id));
            names.extend(uploads_of);
            names.sort();
            shown.extend(names);
            let Some((key, id)) = page.next else {
                return shown;
            };
            list.after = Some((key, Some(id)));
        }
    }

    #[test]
    fn a_marker_without_an_id_passes_over_all_uploads_of_its_key() {
        let uploads = [("a", "1"), ("a", "2"), ("b", "1")].map(|(k, i)| (k.into(), i.into()));
        let mut list = ListUploads {
            after: Some(("a".into(), None)),
            ..ListUploads::default()
        };
        assert_eq!(page(&list, &uploads).uploads, [upload("b", "1")]);
        list.after = Some(("a".into(), Some("1".into())));
        assert_eq!(
            page(&list, &uploads).uploads,
            [upload("a", "2"), upload("b", "1")]
        );
    }

    proptest! {
        #[test]
        fn pages_show_each_upload_once_in_order(
            uploads in proptest::collection::btree_set(("[ab/]{1,4}", "[0-9a-f]{2}"), 0..40),
            prefix in "[ab/]{0,2}", delimiter in proptest::option::of("/"), max in 1u32..6,
        ) {
            let list = ListUploads {
                prefix: prefix.as_str().into(),
                delimiter: delimiter.as_deref().map(Box::from),
                after: None,
                max: Some(max),
            };
            let mut expected: Vec<String> = uploads
                .iter()
                .filter(|(key, _)| key.starts_with(&prefix))
                .map(|(key, id)| {
                    let rest = &key[prefix.len()..];
                    match delimiter.as_deref().and_then(|delimiter| rest.find(delimiter)) {
                        Some(at) => key[..=prefix.len() + at].to_owned(),
                        None => format!("{key} {id}"),
                    }
                })
                .collect();
            expected.dedup();
            let uploads: Vec<_> = uploads.into_iter().rev().collect();
            let mut shown = all(list, &uploads);
            prop_assert!(shown.iter().collect::<std::collections::BTreeSet<_>>().len() == shown.len());
            shown.sort();
            expected.sort();
            expected.dedup();
            prop_assert_eq!(shown, expected);
        }
    }
}
