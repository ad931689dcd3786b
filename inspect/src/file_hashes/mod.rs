//! Files that are known by their hash: lists of SHA-256, SHA-1 and MD5, and what becomes of a file that is on one.
//!
//! Protocol parsers hash what they find to be a file as it streams by ([`crate::protocol::File`]); the inspector looks
//! the hash up here. A [`FileChecks`] is immutable and shared by all workers, but for [`RecentPairs`], which remembers
//! between whom listed files were stopped: downloaders ask for the rest of a file that broke off, and a rest has no
//! hash.

mod list;
mod pairs;

use std::sync::Arc;

pub use list::{HashList, HashListBuilder, LineFault, Listed};
pub use pairs::RecentPairs;

/// The hashes of one file, as far as anybody wanted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    /// SHA-256.
    pub sha256: Option<[u8; 32]>,
    /// SHA-1.
    pub sha1: Option<[u8; 20]>,
    /// MD5.
    pub md5: Option<[u8; 16]>,
}

/// Which hashes of files are wanted, and of how much of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashesWanted {
    /// SHA-256.
    pub sha256: bool,
    /// SHA-1.
    pub sha1: bool,
    /// MD5.
    pub md5: bool,
    /// Bytes beyond which a file is not hashed any more.
    pub size_max: u64,
}

/// What becomes of a file that is on a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListAction {
    /// It is reported.
    Alert,
    /// The packet that completes it is dropped, and the rest of its flow.
    #[default]
    Drop,
}

/// What becomes of a file that cannot be judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unjudged {
    /// It passes, and is counted.
    #[default]
    Pass,
    /// Its flow is refused.
    Drop,
}

/// Bytes of a file that are hashed unless something else is configured: 1 GiB.
pub const SIZE_MAX_DEFAULT: u64 = 1 << 30;

/// What becomes of files that the lists cannot answer for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileLimits {
    /// Bytes of a file that are hashed at most.
    pub size_max: u64,
    /// A file with more.
    pub too_big: Unjudged,
    /// A part of a file (HTTP's ranges): it has another hash than the whole.
    pub partial: Unjudged,
}

impl Default for FileLimits {
    fn default() -> Self {
        Self { size_max: SIZE_MAX_DEFAULT, too_big: Unjudged::default(), partial: Unjudged::default() }
    }
}

/// What files are judged by.
#[derive(Clone, Debug, Default)]
pub struct FileChecks {
    lists: Vec<Arc<HashList>>,
    limits: FileLimits,
    pairs: Arc<RecentPairs>,
}

impl FileChecks {
    /// Checks by these lists, in this order.
    pub fn new(lists: Vec<HashList>, limits: FileLimits) -> Self {
        Self { lists: lists.into_iter().map(Arc::new).collect(), limits, pairs: Arc::default() }
    }

    /// The same checks, with what they have in common with `others` shared: equal lists are held once, and between whom
    /// listed files were stopped is not forgotten.
    #[must_use]
    pub fn sharing_with(&self, others: &FileChecks) -> Self {
        let shared = |list: &Arc<HashList>| {
            let same = others.lists.iter().find(|other| *other == list);
            Arc::clone(same.unwrap_or(list))
        };
        Self { lists: self.lists.iter().map(shared).collect(), limits: self.limits, pairs: Arc::clone(&others.pairs) }
    }

    /// Whether there is no list, so that no file need be hashed.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// The lists, in the order in which they are asked.
    pub fn lists(&self) -> &[Arc<HashList>] {
        &self.lists
    }

    /// What becomes of files that the lists cannot answer for.
    pub fn limits(&self) -> &FileLimits {
        &self.limits
    }

    /// Between whom listed files were stopped lately.
    pub fn pairs(&self) -> &RecentPairs {
        &self.pairs
    }

    /// The hashes that some list needs.
    pub fn wanted(&self) -> HashesWanted {
        let any = |has: fn(&HashList) -> bool| self.lists.iter().any(|list| has(list));
        HashesWanted {
            sha256: any(HashList::has_sha256),
            sha1: any(HashList::has_sha1),
            md5: any(HashList::has_md5),
            size_max: self.limits.size_max,
        }
    }

    /// The list that decides about a file with these hashes: the first that drops it, else the first that has it.
    pub fn find(&self, digests: &Digests) -> Option<(usize, &HashList)> {
        let mut having = self.lists.iter().enumerate().filter(|(_, list)| list.contains(digests));
        let first = having.next()?;
        let decides = match first.1.action() {
            ListAction::Drop => first,
            ListAction::Alert => having.find(|(_, list)| list.action() == ListAction::Drop).unwrap_or(first),
        };
        Some((decides.0, decides.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(name: &str, action: ListAction, lines: &[&str]) -> HashList {
        let mut builder = HashListBuilder::new(name, action);
        for line in lines {
            builder.line(line.as_bytes()).unwrap();
        }
        builder.build()
    }

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_list_that_drops_decides_before_one_that_alerts() {
        let digests = Digests { sha256: Some([0xba; 32]), ..Digests::default() };
        let hash = "ba".repeat(32);
        let watch = || list("watch", ListAction::Alert, &[&hash, ABC]);
        let stop = || list("stop", ListAction::Drop, &[&hash]);
        let decides = |lists| FileChecks::new(lists, FileLimits::default()).find(&digests).map(|(index, _)| index);
        assert_eq!(decides(vec![watch(), stop(), stop()]), Some(1));
        assert_eq!(decides(vec![stop(), watch()]), Some(0));
        assert_eq!(decides(vec![watch(), watch()]), Some(0));
        assert_eq!(decides(vec![list("other", ListAction::Drop, &[ABC])]), None);
        assert_eq!(decides(vec![]), None);
    }

    #[test]
    fn only_what_a_list_needs_is_wanted() {
        let wanted = |lists| FileChecks::new(lists, FileLimits::default()).wanted();
        let nothing = HashesWanted { size_max: SIZE_MAX_DEFAULT, ..HashesWanted::default() };
        assert_eq!(wanted(vec![]), nothing);
        assert_eq!(wanted(vec![list("a", ListAction::Drop, &[ABC])]), HashesWanted { sha256: true, ..nothing });
        let md5 = list("b", ListAction::Drop, &["900150983cd24fb0d6963f7d28e17f72"]);
        assert_eq!(wanted(vec![md5]), HashesWanted { md5: true, ..nothing });
    }

    #[test]
    fn equal_lists_are_held_once() {
        let old = FileChecks::new(vec![list("a", ListAction::Drop, &[ABC])], FileLimits::default());
        let lists = vec![list("b", ListAction::Drop, &[ABC]), list("a", ListAction::Drop, &[ABC])];
        let new = FileChecks::new(lists, FileLimits::default()).sharing_with(&old);
        assert!(Arc::ptr_eq(&new.lists[1], &old.lists[0]));
        assert!(!Arc::ptr_eq(&new.lists[0], &old.lists[0]), "a list has its name and action too");
        assert!(Arc::ptr_eq(&new.pairs, &old.pairs));
    }
}
