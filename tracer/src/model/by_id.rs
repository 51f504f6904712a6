//! Things by their number: found fast, told in the order in which they were first seen.

use std::hash::Hash;

use ahash::AHashMap;

/// A map from numbers that are given out in ascending order.
#[derive(Debug, Clone)]
pub(crate) struct ById<I, T>(AHashMap<I, T>);

impl<I, T> Default for ById<I, T> {
    fn default() -> Self {
        Self(AHashMap::default())
    }
}

impl<I: Copy + Eq + Hash + Ord, T> ById<I, T> {
    pub(crate) fn insert(&mut self, id: I, thing: T) {
        self.0.insert(id, thing);
    }

    pub(crate) fn remove(&mut self, id: &I) -> Option<T> {
        self.0.remove(id)
    }

    pub(crate) fn get(&self, id: &I) -> Option<&T> {
        self.0.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: &I) -> Option<&mut T> {
        self.0.get_mut(id)
    }

    /// All of them, the lowest number first. Sorts.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        let mut all: Vec<(I, &T)> = self.0.iter().map(|(&id, thing)| (id, thing)).collect();
        all.sort_unstable_by_key(|&(id, _)| id);
        all.into_iter().map(|(_, thing)| thing)
    }
}
