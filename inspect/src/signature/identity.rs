//! What a rule and a name are known by in every rule set: hashes of what was written, so that a rule set that is compiled
//! later, from other files and in another order, knows them again without a table that it would have to inherit.

use std::hash::{DefaultHasher, Hash, Hasher};

use sha2::{Digest, Sha256};

use super::compile::Ends;
use super::memory_test::NameId;

/// Stands for a rule's text; what is compiled from equal texts is equal, but for what variables make of its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TextKey([u8; 16]);

impl TextKey {
    pub(crate) fn of(text: &str) -> Self {
        let mut key = [0; 16];
        key.copy_from_slice(&Sha256::digest(text.as_bytes())[..16]);
        Self(key)
    }

    /// The identity of the signature that the text has become, between these ends.
    pub(crate) fn identity(&self, ends: &Ends) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self, ends).hash(&mut hasher);
        hasher.finish()
    }
}

/// The number of a bit, or of a number, of this kind and name.
pub(crate) fn name_id(kind: &str, name: &str) -> NameId {
    let mut hasher = DefaultHasher::new();
    (kind, name).hash(&mut hasher);
    hasher.finish()
}
