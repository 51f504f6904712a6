//! The red-black tree of an eventpoll's items (`eventpoll.rbr`), rebuilt from the order in which they came and went.
//!
//! The kernel's insertion and removal leave it no choice: the same calls in the same order give the same shape and the same colours
//! (`__rb_insert`, `__rb_erase_augmented` and `____rb_erase_color` of lib/rbtree.c and its header, 5.10 to 7.3). Keys are the file's
//! address, then the descriptor (`ep_cmp_ffd`, fs/eventpoll.c).

use std::collections::BTreeMap;

/// What the tree is sorted by: the address of the watched file, and the descriptor.
pub(super) type Key = (u64, i32);

/// Where a node lies.
type At = usize;

#[derive(Debug, Clone, Copy)]
struct Node {
    key: Key,
    parent: Option<At>,
    /// Left, then right.
    children: [Option<At>; 2],
    red: bool,
}

/// The tree; nodes that are free are used again.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    free: Vec<At>,
    root: Option<At>,
    places: BTreeMap<Key, At>,
}

/// A node as it is told: in the order of the keys, how deep it lies under the root, and its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) key: Key,
    pub(super) depth: u32,
    pub(super) red: bool,
}

const LEFT: usize = 0;
const RIGHT: usize = 1;

impl Tree {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// All nodes in the order of their keys.
    pub(super) fn told(&self) -> Vec<Told> {
        let depth = |at: &At| {
            let mut above = self.nodes[*at].parent;
            let mut depth = 0;
            while let Some(parent) = above {
                depth += 1;
                above = self.nodes[parent].parent;
            }
            depth
        };
        self.places.iter().map(|(key, at)| Told { key: *key, depth: depth(at), red: self.nodes[*at].red }).collect()
    }

    /// An item comes: `ep_rbtree_insert`. Returns whether it was new.
    pub(super) fn insert(&mut self, key: Key) -> bool {
        if self.places.contains_key(&key) {
            return false;
        }
        let mut parent = None;
        let mut side = LEFT;
        let mut below = self.root;
        while let Some(at) = below {
            parent = Some(at);
            side = if key > self.nodes[at].key { RIGHT } else { LEFT };
            below = self.nodes[at].children[side];
        }
        let node = Node { key, parent, children: [None; 2], red: true };
        let at = if let Some(at) = self.free.pop() {
            self.nodes[at] = node;
            at
        } else {
            self.nodes.push(node);
            self.nodes.len() - 1
        };
        self.places.insert(key, at);
        match parent {
            Some(parent) => self.nodes[parent].children[side] = Some(at),
            None => self.root = Some(at),
        }
        self.colour_after_insert(at);
        true
    }

    /// `__rb_insert`
    fn colour_after_insert(&mut self, mut node: At) {
        loop {
            let Some(mut parent) = self.nodes[node].parent else {
                self.nodes[node].red = false;
                return;
            };
            if !self.nodes[parent].red {
                return;
            }
            // A red node is not the root.
            let Some(grandparent) = self.nodes[parent].parent else { return };
            let side = self.side(grandparent, parent);
            let uncle = self.nodes[grandparent].children[1 - side];
            if let Some(uncle) = uncle.filter(|uncle| self.nodes[*uncle].red) {
                self.nodes[uncle].red = false;
                self.nodes[parent].red = false;
                self.nodes[grandparent].red = true;
                node = grandparent;
                continue;
            }
            if self.nodes[parent].children[1 - side] == Some(node) {
                self.rotate(parent, side);
                parent = node;
            }
            self.rotate(grandparent, 1 - side);
            self.nodes[parent].red = false;
            self.nodes[grandparent].red = true;
            return;
        }
    }

    /// An item goes: `rb_erase`. Returns whether it was there.
    pub(super) fn erase(&mut self, key: Key) -> bool {
        let Some(node) = self.places.remove(&key) else { return false };
        let Node { parent, children, red, .. } = self.nodes[node];
        let rebalance = match children {
            [left, None] => self.splice(node, parent, left, red),
            [None, right] => self.splice(node, parent, right, red),
            [Some(left), Some(right)] => self.put_successor(node, left, right),
        };
        self.free.push(node);
        if let Some(parent) = rebalance {
            self.colour_after_erase(parent);
        }
        true
    }

    /// A node with one child at most: the child takes its place and colour. Returns where black is missing then.
    fn splice(&mut self, node: At, parent: Option<At>, child: Option<At>, red: bool) -> Option<At> {
        self.put_in_place(node, parent, child);
        match child {
            Some(child) => {
                self.nodes[child].red = red;
                None
            }
            None if red => None,
            None => parent,
        }
    }

    /// A node with two children: its successor takes its place and colour. Returns where black is missing then.
    fn put_successor(&mut self, node: At, left: At, right: At) -> Option<At> {
        let mut successor = right;
        while let Some(next) = self.nodes[successor].children[LEFT] {
            successor = next;
        }
        let orphan = self.nodes[successor].children[RIGHT];
        let was_red = self.nodes[successor].red;
        let mut above = successor;
        if successor != right {
            above = self.nodes[successor].parent.unwrap_or(right);
            self.nodes[above].children[LEFT] = orphan;
            self.nodes[successor].children[RIGHT] = Some(right);
            self.nodes[right].parent = Some(successor);
        }
        self.nodes[successor].children[LEFT] = Some(left);
        self.nodes[left].parent = Some(successor);
        let Node { parent, red, .. } = self.nodes[node];
        self.put_in_place(node, parent, Some(successor));
        self.nodes[successor].red = red;
        match orphan {
            Some(orphan) => {
                self.nodes[orphan].parent = Some(above);
                self.nodes[orphan].red = false;
                None
            }
            None if was_red => None,
            None => Some(above),
        }
    }

    /// `____rb_erase_color`: a black node is missing under `parent`, on its left if both sides are empty.
    fn colour_after_erase(&mut self, mut parent: At) {
        let mut node: Option<At> = None;
        loop {
            let side = usize::from(self.nodes[parent].children[LEFT] != node);
            let (near, far) = (side, 1 - side);
            let Some(mut sibling) = self.nodes[parent].children[far] else { return };
            if self.nodes[sibling].red {
                self.rotate(parent, near);
                self.nodes[sibling].red = false;
                self.nodes[parent].red = true;
                let Some(next) = self.nodes[parent].children[far] else { return };
                sibling = next;
            }
            let red = |child: Option<At>| child.is_some_and(|child| self.nodes[child].red);
            let [inner, outer] = [near, far].map(|side| self.nodes[sibling].children[side]);
            if !red(outer) {
                if !red(inner) {
                    self.nodes[sibling].red = true;
                    if self.nodes[parent].red {
                        self.nodes[parent].red = false;
                        return;
                    }
                    node = Some(parent);
                    let Some(above) = self.nodes[parent].parent else { return };
                    parent = above;
                    continue;
                }
                self.rotate(sibling, far);
                self.nodes[sibling].red = true;
                let Some(next) = self.nodes[parent].children[far] else { return };
                sibling = next;
            }
            self.rotate(parent, near);
            self.nodes[sibling].red = self.nodes[parent].red;
            self.nodes[parent].red = false;
            if let Some(outer) = self.nodes[sibling].children[far] {
                self.nodes[outer].red = false;
            }
            return;
        }
    }

    /// Which child of `parent` a node is.
    fn side(&self, parent: At, child: At) -> usize {
        usize::from(self.nodes[parent].children[LEFT] != Some(child))
    }

    /// `node` goes down on this side, its child of the other side takes its place.
    fn rotate(&mut self, node: At, side: usize) {
        let Some(riser) = self.nodes[node].children[1 - side] else { return };
        let moved = self.nodes[riser].children[side];
        let parent = self.nodes[node].parent;
        self.put_in_place(node, parent, Some(riser));
        self.nodes[riser].children[side] = Some(node);
        self.nodes[node].parent = Some(riser);
        self.nodes[node].children[1 - side] = moved;
        if let Some(moved) = moved {
            self.nodes[moved].parent = Some(node);
        }
    }

    /// What hung at `node` now has `other` in its place.
    fn put_in_place(&mut self, node: At, parent: Option<At>, other: Option<At>) {
        match parent {
            Some(parent) => {
                let side = self.side(parent, node);
                self.nodes[parent].children[side] = other;
            }
            None => self.root = other,
        }
        if let Some(other) = other {
            self.nodes[other].parent = parent;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{At, Key, Told, Tree};
    use proptest::prelude::*;

    fn shape(tree: &Tree) -> Vec<(i32, u32, bool)> {
        tree.told().iter().map(|Told { key, depth, red }| (key.1, *depth, *red)).collect()
    }

    fn of(keys: impl IntoIterator<Item = i32>) -> Tree {
        let mut tree = Tree::default();
        for key in keys {
            assert!(tree.insert((0, key)));
        }
        tree
    }

    #[test]
    fn ascending_keys_give_the_shape_of_the_kernels_own_algorithm() {
        // Worked out by hand along __rb_insert.
        assert_eq!(shape(&of([1])), [(1, 0, false)]);
        assert_eq!(shape(&of(1..=3)), [(1, 1, true), (2, 0, false), (3, 1, true)]);
        assert_eq!(
            shape(&of(1..=6)),
            [(1, 1, false), (2, 0, false), (3, 2, false), (4, 1, true), (5, 2, false), (6, 3, true)]
        );
    }

    #[test]
    fn a_node_with_two_children_gives_way_to_its_successor() {
        let mut tree = of(1..=6);
        assert!(tree.erase((0, 4)));
        assert_eq!(shape(&tree), [(1, 1, false), (2, 0, false), (3, 2, false), (5, 1, true), (6, 2, false)]);
        assert!(!tree.erase((0, 4)) && !tree.insert((0, 5)));
    }

    /// Black nodes on the way down, the same on all ways; `None` where the tree is broken.
    fn black_height(tree: &Tree, at: Option<At>, parent: Option<At>) -> Option<u32> {
        let Some(at) = at else { return Some(1) };
        let node = tree.nodes[at];
        let red_pair = node.red && parent.is_some_and(|parent| tree.nodes[parent].red);
        let [left, right] = node.children.map(|child| black_height(tree, child, Some(at)));
        let sorted = node.children[0].is_none_or(|left| tree.nodes[left].key < node.key)
            && node.children[1].is_none_or(|right| tree.nodes[right].key > node.key);
        let sound = node.parent == parent && !red_pair && sorted && left == right;
        left.filter(|_| sound).map(|height| height + u32::from(!node.red))
    }

    fn is_sound(tree: &Tree) -> bool {
        let root_is_black = tree.root.is_none_or(|root| !tree.nodes[root].red);
        root_is_black && black_height(tree, tree.root, None).is_some()
    }

    proptest! {
        #[test]
        fn whatever_comes_and_goes_it_stays_a_red_black_tree_of_what_is_there(
            calls in prop::collection::vec((any::<bool>(), 0_u64..4, 0_i32..40), 0..400)
        ) {
            let mut tree = Tree::default();
            let mut there = std::collections::BTreeSet::<Key>::new();
            for (insert, file, fd) in calls {
                let key = (file, fd);
                if insert {
                    prop_assert_eq!(tree.insert(key), there.insert(key));
                } else {
                    prop_assert_eq!(tree.erase(key), there.remove(&key));
                }
                prop_assert!(is_sound(&tree));
            }
            prop_assert!(tree.told().iter().map(|told| told.key).eq(there.iter().copied()));
            prop_assert_eq!(tree.len(), there.len());
        }
    }
}
