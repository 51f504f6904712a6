//! The shape of an eventpoll's red-black tree, and whether it is one.
//!
//! In: the nodes in the order in which the kernel went through them. Out: who is whose child, colours, depths, and every rule that
//! does not hold. The walk goes down from the root by the nodes' own pointers and visits each node at most once.

use std::fmt;

use ahash::AHashMap;
use tracer_common::snapshot::Node;

/// The colour of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Colour {
    /// 0 in the kernel's word.
    #[default]
    Red,
    /// 1.
    Black,
}

impl Colour {
    /// The name in outputs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Black => "black",
        }
    }
}

/// A node's neighbours, by their place in the tree's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Link {
    /// Its colour.
    pub colour: Colour,
    /// The node above.
    pub parent: Option<usize>,
    /// The node below that comes before it.
    pub left: Option<usize>,
    /// The node below that comes after it.
    pub right: Option<usize>,
    /// Levels from the root to it, 1 for the root; 0 when no way leads to it.
    pub depth: usize,
}

/// A rule of red-black trees, or of this tree, that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The root is red.
    RedRoot,
    /// This red node has a red child.
    RedBelowRed(usize),
    /// Not all ways down have the same number of black nodes.
    BlackHeight(usize, usize),
    /// The walk by the nodes' pointers is not the kernel's: the first place that differs.
    Order(usize),
    /// This item is not greater than the one before it, by file and descriptor.
    Unsorted(usize),
    /// A child of this node names another node as its parent.
    Parent(usize),
    /// This node points to a node that was not told.
    Unknown(usize),
    /// Two ways lead to this node.
    Twice(usize),
    /// So many nodes are not below the root.
    Unreached(usize),
    /// `rb_leftmost` is not the first node.
    Leftmost,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RedRoot => out.write_str("the root is red"),
            Self::RedBelowRed(node) => write!(out, "item {node} is red and has a red child"),
            Self::BlackHeight(one, other) => write!(out, "one way down has {one} black nodes, another {other}"),
            Self::Order(place) => write!(out, "the walk by pointers leaves the kernel's order at item {place}"),
            Self::Unsorted(item) => write!(out, "item {item} is not greater than the one before it"),
            Self::Parent(node) => write!(out, "a child of item {node} names another parent"),
            Self::Unknown(node) => write!(out, "item {node} points to a node that is none of the items"),
            Self::Twice(node) => write!(out, "two ways lead to item {node}"),
            Self::Unreached(number) => write!(out, "{number} items are not below the root"),
            Self::Leftmost => out.write_str("the leftmost pointer is not the first item's"),
        }
    }
}

/// The most faults that are told.
const MAX_FAULTS: usize = 8;

/// A tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    /// The root's place.
    pub root: Option<usize>,
    /// Every node, in the tree's order.
    pub links: Vec<Link>,
    /// Levels.
    pub depth: usize,
    /// Black nodes on each way from the root down, the root included; `None` when they differ.
    pub black_height: Option<usize>,
    /// What does not hold; nothing for a sound tree.
    pub faults: Vec<Fault>,
}

/// The bits of `__rb_parent_color` that are no address, and the one that is set for a black node.
const FLAGS: u64 = 3;
const BLACK: u64 = 1;

impl Shape {
    /// Follows the pointers of `nodes` from `root` on.
    #[must_use]
    pub fn of(nodes: &[Node], root: u64, leftmost: u64) -> Self {
        let mut walk = Walk::new(nodes);
        walk.colours_and_order();
        let first = nodes.first().map_or(0, |node| node.node);
        if leftmost != first {
            walk.fault(Fault::Leftmost);
        }
        walk.shape.root = walk.by_address.get(&root).copied();
        if let Some(root) = walk.shape.root {
            walk.down_from(root);
        }
        let unreached = walk.shape.links.iter().filter(|link| link.depth == 0).count();
        if unreached > 0 {
            walk.fault(Fault::Unreached(unreached));
        }
        walk.shape
    }
}

struct Walk<'a> {
    nodes: &'a [Node],
    by_address: AHashMap<u64, usize>,
    shape: Shape,
}

/// A node on the way down: its place, and the black nodes above it.
type Step = (usize, usize);

impl<'a> Walk<'a> {
    fn new(nodes: &'a [Node]) -> Self {
        let by_address = nodes.iter().enumerate().map(|(place, node)| (node.node, place)).collect();
        let links = vec![Link::default(); nodes.len()];
        Self { nodes, by_address, shape: Shape { links, ..Shape::default() } }
    }

    fn fault(&mut self, fault: Fault) {
        if self.shape.faults.len() < MAX_FAULTS {
            self.shape.faults.push(fault);
        }
    }

    fn colours_and_order(&mut self) {
        let nodes = self.nodes;
        for (link, node) in self.shape.links.iter_mut().zip(nodes) {
            link.colour = if node.parent_color & BLACK == 0 { Colour::Red } else { Colour::Black };
        }
        for (place, pair) in nodes.windows(2).enumerate() {
            if let [before, after] = pair
                && (before.file, before.fd) >= (after.file, after.fd)
            {
                self.fault(Fault::Unsorted(place + 1));
            }
        }
    }

    /// In order: left, the node, right. Every node is entered at most once, so it ends.
    fn down_from(&mut self, root: usize) {
        if self.shape.links.get(root).is_some_and(|link| link.colour == Colour::Red) {
            self.fault(Fault::RedRoot);
        }
        if self.nodes.get(root).is_some_and(|node| node.parent_color & !FLAGS != 0) {
            self.fault(Fault::Parent(root));
        }
        let mut in_order = 0;
        let mut above: Vec<Step> = Vec::new();
        let mut next = self.enter(root, None, 0);
        while next.is_some() || !above.is_empty() {
            while let Some((place, blacks)) = next {
                above.push((place, blacks));
                next = self.child(place, blacks, false);
            }
            let Some((place, blacks)) = above.pop() else { break };
            if place != in_order {
                self.fault(Fault::Order(in_order));
            }
            in_order = place + 1;
            next = self.child(place, blacks, true);
        }
    }

    /// Marks a node as reached.
    fn enter(&mut self, place: usize, parent: Option<usize>, blacks: usize) -> Option<Step> {
        let depth = parent.and_then(|parent| self.shape.links.get(parent)).map_or(1, |parent| parent.depth + 1);
        let link = self.shape.links.get_mut(place)?;
        if link.depth != 0 {
            self.fault(Fault::Twice(place));
            return None;
        }
        (link.depth, link.parent) = (depth, parent);
        let black = usize::from(link.colour == Colour::Black);
        self.shape.depth = self.shape.depth.max(depth);
        Some((place, blacks + black))
    }

    /// The left or right child, entered; a way that ends here is counted.
    fn child(&mut self, place: usize, blacks: usize, right: bool) -> Option<Step> {
        let node = self.nodes.get(place)?;
        let address = if right { node.right } else { node.left };
        if address == 0 {
            self.end_of_way(blacks);
            return None;
        }
        let Some(&child) = self.by_address.get(&address) else {
            self.fault(Fault::Unknown(place));
            return None;
        };
        if self.nodes.get(child).is_some_and(|child| child.parent_color & !FLAGS != node.node) {
            self.fault(Fault::Parent(place));
        }
        let red = |shape: &Shape, at: usize| shape.links.get(at).is_some_and(|link| link.colour == Colour::Red);
        if red(&self.shape, place) && red(&self.shape, child) {
            self.fault(Fault::RedBelowRed(place));
        }
        let entered = self.enter(child, Some(place), blacks)?;
        let link = self.shape.links.get_mut(place)?;
        *(if right { &mut link.right } else { &mut link.left }) = Some(child);
        Some(entered)
    }

    fn end_of_way(&mut self, blacks: usize) {
        let differs = |fault: &Fault| matches!(fault, Fault::BlackHeight(..));
        match self.shape.black_height {
            Some(other) if other != blacks => {
                self.shape.black_height = None;
                self.fault(Fault::BlackHeight(other, blacks));
            }
            None if !self.shape.faults.iter().any(differs) => self.shape.black_height = Some(blacks),
            _ => {}
        }
    }
}
