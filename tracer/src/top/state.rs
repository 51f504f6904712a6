//! What is looked at, and how: everything of the view that is not drawing.

use ahash::AHashMap;

use super::rows::{Key, Rates, Row, Sort, task_row};
use super::{Meter, Window};
use crate::analysis::eventpoll_name;
use crate::event::{Event, TraceInfo};
use crate::model::{Counts, EpId, Model};

/// The most rows that are kept; there is no terminal for more.
const MAX_ROWS: usize = 1_000;

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// End.
    Quit,
    /// Hold the picture still, or let it go on.
    Pause,
    /// Sort by the next column.
    NextSort,
    /// Sort the other way round.
    Reverse,
    /// Begin to type a filter.
    StartFilter,
    /// A letter of the filter.
    Type(char),
    /// One letter less.
    Untype,
    /// The filter is typed.
    KeepFilter,
    /// No filter any more.
    ClearFilter,
    /// The items of the selected eventpoll.
    Items,
    /// The tasks of the selected eventpoll or process.
    Tasks,
    /// What the keys do.
    Help,
    /// Back to where one came from.
    Back,
    /// Select a row further down, or up.
    Move(isize),
}

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screen {
    /// Processes and their eventpolls.
    Eventpolls,
    /// The items of one eventpoll.
    Items(EpId),
    /// The tasks that wait on one eventpoll.
    Tasks(EpId),
    /// The tasks of one process.
    Process(u32),
    /// What the keys do.
    Help,
}

/// What can be seen at all: a hook that is missing is not a zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Callbacks.
    pub callbacks: bool,
    /// Ends of waits.
    pub waits: bool,
    /// Wakes.
    pub wakes: bool,
}

/// Whether time goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Playing {
    /// Events come.
    #[default]
    On,
    /// The picture is held still; events are still counted.
    Paused,
    /// There will be no more events.
    Ended,
}

/// All that the view knows.
#[derive(Debug, Clone, Default)]
pub struct State {
    info: TraceInfo,
    pub(super) meter: Meter,
    pub(super) windows: AHashMap<EpId, Window>,
    pub(super) seconds: f64,
    ticked_ns: Option<u64>,
    screens: Vec<Screen>,
    pub(super) sort: Sort,
    pub(super) reversed: bool,
    pub(super) filter: String,
    typing: bool,
    playing: Playing,
    rows: Vec<Row>,
    left_out: usize,
    selected: Option<Key>,
    totals: Counts,
    /// Shown together with the rows, so that a paused picture is one.
    lost: Vec<(String, u64)>,
    ended: bool,
}

impl State {
    /// Nothing yet of the trace that `info` belongs to; `model` is empty and knows its limits.
    #[must_use]
    pub fn new(info: TraceInfo, model: Model) -> Self {
        Self { info, meter: Meter::new(model), ..Self::default() }
    }

    /// Takes in an event.
    pub fn apply(&mut self, event: &Event) {
        self.meter.apply(event);
    }

    /// A new picture: `now_ns` is the time of the events.
    #[expect(clippy::cast_precision_loss, reason = "seconds are shown with three digits")]
    pub fn tick(&mut self, now_ns: u64) {
        if self.playing == Playing::Paused {
            return;
        }
        let since = self.ticked_ns.replace(now_ns).unwrap_or(self.meter.model().span().origin());
        self.seconds = now_ns.saturating_sub(since) as f64 / 1e9;
        self.windows = self.meter.take();
        self.totals = *self.meter.model().totals();
        self.lost = losses(self.meter.model());
        self.refresh();
    }

    /// There will be no more events.
    pub fn end(&mut self, now_ns: u64) {
        self.tick(now_ns);
        self.ended = true;
        if self.playing == Playing::On {
            self.playing = Playing::Ended;
        }
    }

    /// Does what a key asks for; `false` when that is to end.
    pub fn act(&mut self, action: Action) -> bool {
        match action {
            Action::Quit => return false,
            Action::Pause => {
                self.playing = match self.playing {
                    Playing::On => Playing::Paused,
                    Playing::Paused if self.ended => Playing::Ended,
                    Playing::Paused => Playing::On,
                    Playing::Ended => Playing::Ended,
                }
            }
            Action::NextSort => self.sort = self.sort.next(),
            Action::Reverse => self.reversed = !self.reversed,
            Action::StartFilter => self.typing = true,
            Action::Type(c) if !c.is_control() && self.filter.len() < 64 => self.filter.push(c),
            Action::Type(_) => {}
            Action::Untype => _ = self.filter.pop(),
            Action::KeepFilter => self.typing = false,
            Action::ClearFilter => {
                self.typing = false;
                self.filter.clear();
            }
            Action::Items => match (self.screen(), self.selected) {
                (Screen::Eventpolls, Some(Key::Eventpoll(id))) => self.enter(Screen::Items(id)),
                (Screen::Eventpolls, Some(Key::Process(pid))) => self.enter(Screen::Process(pid)),
                _ => {}
            },
            Action::Tasks => match (self.screen(), self.selected) {
                (Screen::Eventpolls, Some(Key::Eventpoll(id))) | (Screen::Items(id), _) => {
                    self.enter(Screen::Tasks(id));
                }
                (Screen::Eventpolls, Some(Key::Process(pid))) => self.enter(Screen::Process(pid)),
                _ => {}
            },
            Action::Help if self.screen() == Screen::Help => self.leave(),
            Action::Help => self.enter(Screen::Help),
            Action::Back => self.leave(),
            Action::Move(by) => self.move_by(by),
        }
        if !matches!(action, Action::Move(_) | Action::Pause) {
            self.refresh();
        }
        true
    }

    fn enter(&mut self, screen: Screen) {
        self.screens.push(screen);
        self.selected = None;
    }

    fn leave(&mut self) {
        match self.screens.pop() {
            Some(Screen::Items(id) | Screen::Tasks(id)) => self.selected = Some(Key::Eventpoll(id)),
            Some(Screen::Process(pid)) => self.selected = Some(Key::Process(pid)),
            Some(Screen::Help | Screen::Eventpolls) | None => {}
        }
    }

    fn move_by(&mut self, by: isize) {
        let last = self.rows.len().saturating_sub(1);
        let to = self.selected_row().unwrap_or(0).saturating_add_signed(by).min(last);
        self.selected = self.rows.get(to).map(Row::key);
    }

    /// Makes the rows of the screen anew.
    fn refresh(&mut self) {
        let model = self.meter.model();
        let mut rows = match self.screen() {
            Screen::Eventpolls => self.processes(),
            Screen::Items(id) => self.items(id),
            Screen::Tasks(id) => model.waiters(id).filter_map(|id| model.tasks().get(id)).map(task_row).collect(),
            Screen::Process(pid) => model.tasks().iter().filter(|task| task.pid == pid).map(task_row).collect(),
            Screen::Help => Vec::new(),
        };
        if !matches!(self.screen(), Screen::Eventpolls | Screen::Help) {
            rows.retain(|row| self.passes(row));
            self.order(&mut rows);
        }
        self.left_out = rows.len().saturating_sub(MAX_ROWS);
        rows.truncate(MAX_ROWS);
        self.rows = rows;
        if self.selected_row().is_none() {
            self.selected = self.rows.first().map(Row::key);
        }
    }

    /// The facts about the trace.
    #[must_use]
    pub const fn info(&self) -> &TraceInfo {
        &self.info
    }

    /// The model behind it all.
    #[must_use]
    pub const fn model(&self) -> &Model {
        self.meter.model()
    }

    /// What is shown.
    #[must_use]
    pub fn screen(&self) -> Screen {
        self.screens.last().copied().unwrap_or(Screen::Eventpolls)
    }

    /// The rows that are shown.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Rows that there is no room for.
    #[must_use]
    pub const fn left_out(&self) -> usize {
        self.left_out
    }

    /// Which row is selected.
    #[must_use]
    pub fn selected_row(&self) -> Option<usize> {
        let selected = self.selected?;
        self.rows.iter().position(|row| row.key() == selected)
    }

    /// What the rows are sorted by, and whether the other way round.
    #[must_use]
    pub const fn sort(&self) -> (Sort, bool) {
        (self.sort, self.reversed)
    }

    /// The filter, and whether it is being typed.
    #[must_use]
    pub fn filter(&self) -> (&str, bool) {
        (&self.filter, self.typing)
    }

    /// Whether time goes on.
    #[must_use]
    pub const fn playing(&self) -> Playing {
        self.playing
    }

    /// The counts of the whole trace: those of the report.
    #[must_use]
    pub const fn totals(&self) -> &Counts {
        &self.totals
    }

    /// What was lost, by reason: the most first.
    #[must_use]
    pub fn lost(&self) -> &[(String, u64)] {
        &self.lost
    }

    /// What happened at all eventpolls together.
    #[must_use]
    pub fn all(&self) -> Rates {
        let mut sum = Window::default();
        for window in self.windows.values() {
            sum.flow.add(&window.flow);
            sum.latency.merge(&window.latency);
            sum.accepts |= window.accepts;
        }
        Rates::of(&sum, self.seconds)
    }

    /// Nanoseconds from the beginning of the trace to the picture.
    #[must_use]
    pub fn elapsed_ns(&self) -> u64 {
        self.ticked_ns.unwrap_or_default().saturating_sub(self.model().span().origin())
    }

    /// The name of an eventpoll.
    #[must_use]
    pub fn name(&self, id: EpId) -> String {
        let model = self.model();
        model.eventpolls().get(id).map_or_else(|| "closed".to_owned(), |ep| eventpoll_name(model, ep))
    }

    /// What can be seen.
    #[must_use]
    pub fn seen(&self) -> Seen {
        let seen = |name: &str| !self.info.hooks.iter().any(|hook| hook.hook == name && hook.backend.is_empty());
        Seen { callbacks: seen("callback"), waits: seen("wait-exit"), wakes: seen("wake") }
    }
}

fn losses(model: &Model) -> Vec<(String, u64)> {
    let mut by: AHashMap<&'static str, u64> = AHashMap::new();
    for ((_, _, reason), count) in model.losses().iter().filter(|((hook, _, reason), _)| reason.loses_events(*hook)) {
        let sum = by.entry(reason.name()).or_default();
        *sum = sum.saturating_add(count);
    }
    let mut by: Vec<(String, u64)> = by.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
    by.sort_by(|(one, few), (other, many)| many.cmp(few).then_with(|| one.cmp(other)));
    by
}
