//! Pairs of two kinds of things, found from either side: so that what one of them has goes with it, and memory depends on what is kept.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};

use super::ids::Ranged;
use super::limits::bump;

/// Pairs, and what is known of each.
#[derive(Debug, Clone)]
pub(crate) struct Pairs<A, B, V = ()> {
    forward: BTreeMap<(A, B), V>,
    back: BTreeSet<(B, A)>,
}

impl<A, B, V> Default for Pairs<A, B, V> {
    fn default() -> Self {
        Self { forward: BTreeMap::new(), back: BTreeSet::new() }
    }
}

impl<A: Ranged, B: Ranged, V: Default> Pairs<A, B, V> {
    /// What is known of a pair, which is noted unless there are `cap` of them; counts what does not fit.
    pub(crate) fn note(&mut self, pair: (A, B), cap: usize, exceeded: &mut u64) -> Option<&mut V> {
        let room = self.forward.len() < cap;
        match self.forward.entry(pair) {
            Entry::Occupied(known) => Some(known.into_mut()),
            Entry::Vacant(vacant) if room => {
                self.back.insert((pair.1, pair.0));
                Some(vacant.insert(V::default()))
            }
            Entry::Vacant(_) => {
                bump(exceeded);
                None
            }
        }
    }

    /// The pairs that begin with this one.
    pub(crate) fn of(&self, first: A) -> impl Iterator<Item = (B, &V)> {
        let (least, greatest) = B::ALL;
        self.forward.range((first, least)..=(first, greatest)).map(|(&(_, second), known)| (second, known))
    }

    /// What is known of a pair that was noted.
    pub(crate) fn get_mut(&mut self, pair: (A, B)) -> Option<&mut V> {
        self.forward.get_mut(&pair)
    }

    /// Forgets a pair.
    pub(crate) fn remove(&mut self, pair: (A, B)) {
        self.forward.remove(&pair);
        self.back.remove(&(pair.1, pair.0));
    }

    /// Forgets the pairs that begin with this one.
    pub(crate) fn remove_first(&mut self, first: A) {
        let gone: Vec<B> = self.of(first).map(|(second, _)| second).collect();
        for second in gone {
            self.remove((first, second));
        }
    }

    /// Forgets the pairs that end with this one; says with what they begin.
    pub(crate) fn remove_second(&mut self, second: B) -> Vec<A> {
        let (least, greatest) = A::ALL;
        let gone: Vec<A> = self.back.range((second, least)..=(second, greatest)).map(|&(_, first)| first).collect();
        for first in &gone {
            self.remove((*first, second));
        }
        gone
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        assert_eq!(self.forward.len(), self.back.len());
        self.forward.len()
    }
}
