//! What a rule is.

use serde::Serialize;
use tracer_common::Hook;

use super::cases::Judged;
use super::report::Who;
use super::step::Step;
use crate::analysis::{build, source};
use crate::event::TraceInfo;
use crate::model::{EpId, FileId, Model, TaskId};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Something simpler or fairer would do.
    Note,
    /// Work for nothing.
    Warning,
    /// Data or connections wait for ever, or a processor is busy for nothing.
    Error,
}

impl Severity {
    /// The name that outputs use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What holds for a rule whatever the trace.
#[derive(Debug)]
pub struct About {
    /// Its name for good: `--allow`, `--deny`, `--explain`.
    pub id: &'static str,
    /// How much its findings matter.
    pub severity: Severity,
    /// What it finds, in a sentence.
    pub summary: &'static str,
    /// What happens, and why it is a pitfall.
    pub explain: &'static str,
    /// What to do.
    pub cure: &'static str,
    /// When it accuses: each threshold with its number.
    pub thresholds: &'static [(&'static str, u64)],
    /// Hooks without which it is blind.
    pub needs: &'static [Hook],
    /// It accuses of something that did not happen: an event that was lost could clear the accused.
    pub absence: bool,
}

/// The trace as far as it has been told.
pub(super) struct Scene<'a> {
    pub(super) model: &'a Model,
    pub(super) info: &'a TraceInfo,
}

impl Scene<'_> {
    /// What a descriptor is: `fd 7, tcp 127.0.0.1:80`.
    pub(super) fn descriptor(&self, file: FileId, fd: i32) -> String {
        let name = self.model.files().get(file).map(|file| source::name(file, self.info));
        match name {
            Some(name) if name.contains("(fd ") => name,
            Some(name) => format!("{name} (fd {fd})"),
            None => format!("file (fd {fd})"),
        }
    }

    /// What kind of file it is, by its operations: `pipe`, `eventpoll` and so on.
    pub(super) fn kind(&self, file: FileId) -> Option<&str> {
        let f_op = self.model.files().get(file)?.info?.f_op;
        self.info.file_kinds.get(&f_op).map(String::as_str)
    }

    /// The process of a task.
    pub(super) fn process(&self, task: Option<TaskId>) -> Option<u32> {
        self.model.tasks().get(task?).map(|task| task.pid)
    }

    /// What an eventpoll is called.
    pub(super) fn eventpoll(&self, ep: EpId) -> String {
        let known = self.model.eventpolls().get(ep);
        known.map_or_else(|| "an eventpoll".to_owned(), |ep| build::eventpoll_name(self.model, ep))
    }

    /// Who a task is.
    pub(super) fn who(&self, task: TaskId) -> Option<Who> {
        let task = self.model.tasks().get(task)?;
        Some(Who { pid: task.pid, tid: task.tid, comm: task.comm.clone() })
    }
}

/// A pitfall to look for.
pub(super) trait Rule {
    /// What holds whatever the trace.
    fn about(&self) -> &'static About;

    /// Takes in what happened next.
    fn see(&mut self, step: &Step, scene: &Scene<'_>);

    /// The trace is over: what was found, and what could not be judged.
    fn judge(&mut self, scene: &Scene<'_>, judged: &mut Judged);
}
