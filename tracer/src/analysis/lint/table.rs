//! What a rule remembers of items and tasks, in bounds.

use std::collections::BTreeMap;

use super::step::Subject;
use crate::model::{EpId, FileId, Ranged as _, TaskId};

/// Items, or tasks, that a rule remembers at once.
const MAX_ROWS: usize = 65_536;

/// Something remembered of each item, by file, eventpoll and descriptor.
#[derive(Debug, Clone)]
pub(super) struct Items<V> {
    rows: BTreeMap<(FileId, EpId, i32), V>,
}

impl<V> Default for Items<V> {
    fn default() -> Self {
        Self { rows: BTreeMap::new() }
    }
}

impl<V: Default> Items<V> {
    /// What is remembered of an item, made now if there is room.
    pub(super) fn at(&mut self, item: &Subject) -> Option<&mut V> {
        let key = (item.file, item.ep, item.fd);
        if self.rows.len() >= MAX_ROWS && !self.rows.contains_key(&key) {
            return None;
        }
        Some(self.rows.entry(key).or_default())
    }

    /// What is remembered of an item, if anything is.
    pub(super) fn known(&mut self, item: &Subject) -> Option<&mut V> {
        self.rows.get_mut(&(item.file, item.ep, item.fd))
    }

    /// What is remembered of each item of a file.
    pub(super) fn of_file(&mut self, file: FileId) -> impl Iterator<Item = (Subject, &mut V)> {
        let (least, greatest) = EpId::ALL;
        let range = (file, least, i32::MIN)..=(file, greatest, i32::MAX);
        self.rows.range_mut(range).map(|(key, value)| (subject(*key), value))
    }

    /// Forgets an item.
    pub(super) fn forget(&mut self, item: &Subject) -> Option<V> {
        self.rows.remove(&(item.file, item.ep, item.fd))
    }

    /// Forgets every item of a file.
    pub(super) fn forget_file(&mut self, file: FileId) -> Vec<(Subject, V)> {
        let (least, greatest) = EpId::ALL;
        let range = (file, least, i32::MIN)..=(file, greatest, i32::MAX);
        let keys: Vec<_> = self.rows.range(range).map(|(key, _)| *key).collect();
        keys.into_iter().filter_map(|key| Some((subject(key), self.rows.remove(&key)?))).collect()
    }

    /// Forgets every item of an eventpoll.
    pub(super) fn forget_ep(&mut self, ep: EpId) -> Vec<(Subject, V)> {
        self.rows.extract_if(.., |key, _| key.1 == ep).map(|(key, value)| (subject(key), value)).collect()
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Subject, &V)> {
        self.rows.iter().map(|(key, value)| (subject(*key), value))
    }

    /// What is remembered of each of them.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.rows.values_mut()
    }
}

const fn subject((file, ep, fd): (FileId, EpId, i32)) -> Subject {
    Subject { ep, file, fd }
}

/// Something remembered of each task.
#[derive(Debug, Clone)]
pub(super) struct Tasks<V> {
    rows: BTreeMap<TaskId, V>,
}

impl<V> Default for Tasks<V> {
    fn default() -> Self {
        Self { rows: BTreeMap::new() }
    }
}

impl<V: Default> Tasks<V> {
    /// What is remembered of a task, made now if there is room.
    pub(super) fn at(&mut self, task: TaskId) -> Option<&mut V> {
        if self.rows.len() >= MAX_ROWS && !self.rows.contains_key(&task) {
            return None;
        }
        Some(self.rows.entry(task).or_default())
    }

    /// What is remembered of a task, if anything is.
    pub(super) fn known(&self, task: TaskId) -> Option<&V> {
        self.rows.get(&task)
    }

    /// Forgets a task.
    pub(super) fn forget(&mut self, task: TaskId) -> Option<V> {
        self.rows.remove(&task)
    }

    /// All of them.
    pub(super) fn tasks(&self) -> Vec<TaskId> {
        self.rows.keys().copied().collect()
    }
}
