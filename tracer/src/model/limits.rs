//! How much the model remembers. A trace file is not trusted: whatever it says, memory stays within these numbers, and what
//! does not fit is counted and shown.

use serde::Serialize;

/// The largest sizes of the model's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Live eventpolls.
    pub eventpolls: usize,
    /// Live items.
    pub items: usize,
    /// Live files.
    pub files: usize,
    /// Live tasks.
    pub tasks: usize,
    /// Source wakeups that are not finished.
    pub wakeups: usize,
    /// Pairs of each kind: task and eventpoll, file and eventpoll, file and task.
    pub pairs: usize,
    /// Ended eventpolls, files and tasks (each) that are still shown one by one.
    pub retired: usize,
    /// Eventpolls of which it is counted how long their returns took.
    pub latencies: usize,
    /// CPUs.
    pub cpus: usize,
    /// Wait queue entries remembered of one walk.
    pub walk_entries: usize,
    /// Wait queue entries remembered of all open walks.
    pub all_walk_entries: usize,
    /// Items followed through one scan.
    pub batch: usize,
    /// Items followed through all scans.
    pub all_batches: usize,
    /// Pairs of hook, CPU and reason in the table of losses.
    pub losses: usize,
}

impl Limits {
    /// How many of each live thing are remembered unless something else is asked for.
    pub const DEFAULT_LIVE: u32 = 262_144;

    /// At most `live` eventpolls, items, files, tasks and open wakeups (each), and four times as many pairs.
    #[must_use]
    pub fn live(live: u32) -> Self {
        let live = usize::try_from(live).unwrap_or(usize::MAX);
        Self {
            eventpolls: live,
            items: live,
            files: live,
            tasks: live,
            wakeups: live,
            pairs: live.saturating_mul(4),
            retired: 4_096,
            latencies: live.min(16_384),
            cpus: 4_096,
            walk_entries: 4_096,
            all_walk_entries: 1 << 20,
            batch: 4_096,
            all_batches: 262_144,
            losses: 16_384,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::live(Self::DEFAULT_LIVE)
    }
}

/// What did not fit into [`Limits`], counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Exceeded {
    /// Sightings of eventpolls that were not followed.
    pub eventpolls: u64,
    /// Sightings of items that were not followed.
    pub items: u64,
    /// Sightings of files that were not followed.
    pub files: u64,
    /// Sightings of tasks that were not followed.
    pub tasks: u64,
    /// Source wakeups that were closed before their tasks had finished.
    pub wakeups: u64,
    /// Pairs that were not noted.
    pub pairs: u64,
    /// Callbacks on CPUs that were not followed.
    pub cpus: u64,
    /// Wait queue entries that were not remembered: such walks may have been merged.
    pub walk_entries: u64,
    /// Scans of which not all items were followed, and items of which it was not followed that they were put back.
    pub batches: u64,
    /// Returns of which it was not counted how long they took: those of eventpolls for which there was no more room.
    pub latencies: u64,
    /// Ended eventpolls that are no longer shown one by one.
    pub ended_eventpolls: u64,
    /// Ended files that are no longer shown one by one.
    pub ended_files: u64,
    /// Ended tasks that are no longer shown one by one.
    pub ended_tasks: u64,
}

impl Exceeded {
    /// Whether a number of the report could differ because something did not fit.
    #[must_use]
    pub const fn touches_numbers(&self) -> bool {
        self.eventpolls > 0
            || self.items > 0
            || self.files > 0
            || self.tasks > 0
            || self.wakeups > 0
            || self.pairs > 0
            || self.cpus > 0
            || self.walk_entries > 0
            || self.batches > 0
    }
}

/// Adds one, and stays at the end of the range.
pub(crate) const fn bump(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}
