//! What speaks for a finding, gathered while the trace goes on.

use std::collections::{BTreeMap, BTreeSet};

use super::report::{Finding, Who};
use super::rule::{About, Scene};
use super::stacks::Stacks;
use super::step::{Call, Row, Subject};
use crate::model::{EpId, FileId, TaskId};

/// Sightings, tasks and descriptors that are shown of a case.
const SHOWN: usize = 3;
/// Descriptors that are told apart in a case.
const MAX_DESCRIPTORS: usize = 4_096;
/// Eventpolls with a case of their own, for each rule.
const MAX_CASES: usize = 256;

/// What was seen in one eventpoll.
#[derive(Debug, Clone, Default)]
pub(super) struct Case {
    pub(super) times: u64,
    tasks: Vec<TaskId>,
    who: Vec<Who>,
    descriptors: Vec<String>,
    files: BTreeSet<(FileId, i32)>,
    first_rows: Vec<u64>,
    last_row: u64,
    call: Row,
    evidence: Vec<String>,
}

impl Case {
    /// Who did it, once each.
    pub(super) fn by(&mut self, task: Option<TaskId>, scene: &Scene<'_>) {
        let Some(task) = task.filter(|task| self.tasks.len() < SHOWN && !self.tasks.contains(task)) else { return };
        self.tasks.push(task);
        self.who.extend(scene.who(task));
    }

    /// To which descriptor, once each.
    pub(super) fn on(&mut self, file: FileId, fd: i32, scene: &Scene<'_>) {
        if self.files.len() < MAX_DESCRIPTORS && self.files.insert((file, fd)) && self.descriptors.len() < SHOWN {
            self.descriptors.push(scene.descriptor(file, fd));
        }
    }

    /// In which row, which tells the call that is accused.
    pub(super) fn at(&mut self, row: Row) {
        self.seen_at(row);
        self.called_in(row);
    }

    /// In which row.
    fn seen_at(&mut self, row: Row) {
        if self.first_rows.len() < SHOWN {
            self.first_rows.push(row.number);
        }
        self.last_row = row.number;
    }

    /// In which row the call is told that is accused, where that is another. A later one is known better: the collector learns while
    /// the trace goes on where the callers of functions are found.
    fn called_in(&mut self, row: Row) {
        let better = match row.call {
            Call::No => false,
            Call::Unknown => self.call.call == Call::No,
            Call::From(_) => true,
        };
        if better {
            self.call = row;
        }
    }

    /// In words, the first few times.
    pub(super) fn saying(&mut self, words: impl FnOnce() -> String) {
        if self.evidence.len() < SHOWN {
            self.evidence.push(words());
        }
    }

    /// Its descriptors, for a sentence: the only one by name, several by number.
    pub(super) fn subject(&self) -> String {
        match (self.files.len(), self.descriptors.first()) {
            (1, Some(only)) => only.clone(),
            (several, _) => format!("each of {several} descriptors"),
        }
    }
}

/// The cases of a rule, by eventpoll.
#[derive(Debug, Clone, Default)]
pub(super) struct Cases {
    by_ep: BTreeMap<EpId, Case>,
    beyond: u64,
}

impl Cases {
    /// The case of an eventpoll with one more time; `None` when there are too many.
    pub(super) fn again(&mut self, ep: EpId) -> Option<&mut Case> {
        if self.by_ep.len() >= MAX_CASES && !self.by_ep.contains_key(&ep) {
            self.beyond = self.beyond.saturating_add(1);
            return None;
        }
        let case = self.by_ep.entry(ep).or_default();
        case.times = case.times.saturating_add(1);
        Some(case)
    }

    /// One more time, of an item.
    pub(super) fn note(
        &mut self,
        item: &Subject,
        (task, row): (Option<TaskId>, Row),
        scene: &Scene<'_>,
        words: impl FnOnce() -> String,
    ) {
        self.note_called(item, (task, row, row), scene, words);
    }

    /// As [`Cases::note`], where the call is told in another row than what is seen of it.
    pub(super) fn note_called(
        &mut self,
        item: &Subject,
        (task, row, call): (Option<TaskId>, Row, Row),
        scene: &Scene<'_>,
        words: impl FnOnce() -> String,
    ) {
        if let Some(case) = self.again(item.ep) {
            case.by(task, scene);
            case.on(item.file, item.fd, scene);
            case.seen_at(row);
            case.called_in(call);
            case.saying(words);
        }
    }

    /// Takes back what was noted of an eventpoll.
    pub(super) fn acquit(&mut self, ep: EpId) {
        self.by_ep.remove(&ep);
    }

    /// Makes each case a finding.
    pub(super) fn accuse(&self, judged: &mut Judged, sentence: impl Fn(&Case) -> String) {
        self.accuse_some(judged, |_, _| true, sentence);
    }

    /// Makes each case that passes `grave` a finding.
    pub(super) fn accuse_some(
        &self,
        judged: &mut Judged,
        grave: impl Fn(EpId, &Case) -> bool,
        sentence: impl Fn(&Case) -> String,
    ) {
        for (ep, case) in self.by_ep.iter().filter(|(ep, case)| grave(**ep, case)) {
            judged.found(*ep, sentence(case), case.clone());
        }
        if self.beyond > 0 {
            judged.cannot(format!(
                "more eventpolls than {MAX_CASES} have a finding; {} sightings are not shown",
                self.beyond
            ));
        }
    }
}

/// A finding before it is put into words.
#[derive(Debug, Clone)]
pub(super) struct Found {
    ep: Option<EpId>,
    sentence: String,
    case: Case,
}

impl Found {
    pub(super) fn into_finding(self, about: &About, scene: &Scene<'_>, stacks: &Stacks) -> Finding {
        let case = self.case;
        let mut rows = case.first_rows;
        if rows.last().is_some_and(|last| *last < case.last_row) {
            rows.push(case.last_row);
        }
        Finding {
            rule: about.id,
            severity: about.severity,
            sentence: self.sentence,
            eventpoll: self.ep.map(|ep| scene.eventpoll(ep)).unwrap_or_default(),
            tasks: case.who,
            descriptors_total: u64::try_from(case.files.len().max(case.descriptors.len())).unwrap_or(u64::MAX),
            descriptors: case.descriptors,
            times: case.times,
            rows,
            evidence: case.evidence,
            stack: stacks.told(case.call.number, case.call.call, scene.info),
            cure: about.cure,
        }
    }
}

/// What a rule says at the end.
#[derive(Debug, Clone, Default)]
pub(super) struct Judged {
    found: Vec<Found>,
    unknown: Vec<String>,
}

impl Judged {
    /// Something was found in an eventpoll.
    pub(super) fn found(&mut self, ep: EpId, sentence: String, case: Case) {
        self.found.push(Found { ep: Some(ep), sentence, case });
    }

    /// Something was found of a source that several eventpolls watch.
    pub(super) fn found_of_source(&mut self, sentence: String, times: u64, source: String, evidence: Vec<String>) {
        let case = Case { times, descriptors: vec![source], evidence, ..Case::default() };
        self.found.push(Found { ep: None, sentence, case });
    }

    /// Something cannot be said.
    pub(super) fn cannot(&mut self, why: String) {
        self.unknown.push(why);
    }

    pub(super) const fn found_nothing(&self) -> bool {
        self.found.is_empty()
    }

    /// Takes the findings back; how many there were.
    pub(super) fn withhold(&mut self) -> usize {
        std::mem::take(&mut self.found).len()
    }

    pub(super) fn into_parts(self) -> (Vec<Found>, Vec<String>) {
        (self.found, self.unknown)
    }
}
