//! The red-black trees of the eventpolls under the camera, as far as the trace says how they came to be.
//!
//! In: each event, and the journal's registrations. Out: a tree's nodes, or that its shape is not known: items that were there before
//! the trace, or that came or went unseen, can lie anywhere in it.

use ahash::AHashMap;
use serde::Serialize;
use tracer_common::Hook;

use super::rbtree::{Key, Tree};
use crate::event::{Event, TraceInfo};
use crate::model::{EpId, ItemId, Model, Registered, Registration};

/// Nodes that are drawn at once.
const MAX_NODES: usize = 64;
/// `-ENOMEM`, `-EINVAL` and `-ENOSPC`: an ADD that fails with one of them may have put its item into the tree and taken it out again
/// (`ep_insert`, fs/eventpoll.c).
const PERHAPS_INSERTED: [i32; 3] = [-12, -22, -28];
/// `EPOLL_CTL_ADD`
const ADD: i32 = 1;

/// One node of a tree; in JSON the array `[item, fd, depth, red]`, since there are many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeNode {
    /// The item.
    pub item: u64,
    /// The descriptor it was registered with.
    pub fd: i32,
    /// How deep it lies under the root, which is at 0.
    pub depth: u32,
    /// Whether it is red, and not black.
    pub red: bool,
}

impl Serialize for TreeNode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.item, self.fd, self.depth, self.red).serialize(serializer)
    }
}

/// What is known of a tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// The nodes are all of it.
    Whole,
    /// It has more nodes than are drawn.
    Large,
    /// The trace does not say how it came to be.
    #[default]
    Unknown,
}

/// The trees.
#[derive(Debug, Default)]
pub(super) struct Trees {
    of: AHashMap<EpId, Grown>,
    /// Something was lost that any tree may depend on.
    lost: bool,
}

/// A tree that has grown so far.
#[derive(Debug, Default)]
struct Grown {
    tree: Tree,
    keys: AHashMap<ItemId, Key>,
    items: AHashMap<Key, ItemId>,
    /// Something of it was not seen.
    unseen: bool,
}

impl Trees {
    /// Learns from an event, which `model` has just taken in.
    pub(super) fn learn(&mut self, event: &Event, model: &Model, info: &TraceInfo) {
        match event {
            Event::Loss(loss) => {
                let about =
                    matches!(loss.hook, None | Some(Hook::Ctl | Hook::Hooked | Hook::Release | Hook::Inventory));
                self.lost |= about && loss.reason.loses_events(loss.hook);
            }
            Event::Ctl(ctl) if ctl.op == ADD && PERHAPS_INSERTED.contains(&ctl.ret) => {
                if let Some(ep) = model.eventpolls().live_at(ctl.ep) {
                    self.of.entry(ep.id).or_default().unseen = true;
                }
            }
            _ => {}
        }
        self.lost |= model.exceeded().items > 0 || !whole(info);
        let registrations = model.journal().registrations;
        for (at, Registration { ep, item, what }) in registrations.iter().enumerate() {
            let grown = self.of.entry(*ep).or_default();
            match what {
                Registered::Added | Registered::Found => {
                    grown.unseen |= *what == Registered::Found;
                    grown.add(*item, model);
                }
                Registered::Removed | Registered::Missed => {
                    // Of several items that go at once the trace does not say which went first.
                    let others = registrations[..at].iter().any(|other| other.ep == *ep && other.what == *what);
                    grown.unseen |= *what == Registered::Missed || others;
                    grown.remove(*item);
                }
            }
        }
        if let Event::EventpollGone(gone) = event
            && let Some(ep) = model.eventpolls().last_at(gone.ep)
        {
            self.of.remove(&ep.id);
        }
    }

    /// The tree of an eventpoll, its nodes in the order of their keys.
    pub(super) fn told(&self, ep: EpId) -> (Shape, Vec<TreeNode>) {
        let Some(grown) = self.of.get(&ep) else {
            return (if self.lost { Shape::Unknown } else { Shape::Whole }, Vec::new());
        };
        if self.lost || grown.unseen {
            return (Shape::Unknown, Vec::new());
        }
        if grown.tree.len() > MAX_NODES {
            return (Shape::Large, Vec::new());
        }
        let node = |told: super::rbtree::Told| {
            let item = grown.items.get(&told.key)?;
            Some(TreeNode { item: item.number(), fd: told.key.1, depth: told.depth, red: told.red })
        };
        (Shape::Whole, grown.tree.told().into_iter().filter_map(node).collect())
    }
}

impl Grown {
    fn add(&mut self, id: ItemId, model: &Model) {
        // What is gone again within the same event came and went unseen.
        let item = model.items().get(id);
        let file = item.and_then(|item| model.files().get(item.file));
        let (Some(item), Some(file)) = (item, file) else {
            self.unseen = true;
            return;
        };
        let key = (file.address, item.fd);
        self.unseen |= !self.tree.insert(key);
        self.keys.insert(id, key);
        self.items.insert(key, id);
    }

    fn remove(&mut self, id: ItemId) {
        if let Some(key) = self.keys.remove(&id) {
            self.items.remove(&key);
            self.tree.erase(key);
        } else {
            self.unseen = true;
        }
    }
}

/// Whether no item can be there that the trace does not tell of: a COMMAND was traced from its start, or all that was there was read.
fn whole(info: &TraceInfo) -> bool {
    let read = |hook: &&crate::event::HookInfo| hook.hook == Hook::Inventory.name() && hook.missing.is_empty();
    info.target.starts_with("-- ") || info.hooks.iter().any(|hook| read(&hook))
}
