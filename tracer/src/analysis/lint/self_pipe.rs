//! A process wakes itself through a pipe.

use tracer_common::Hook;

use super::cases::{Cases, Judged};
use super::rule::{About, Rule, Scene, Severity};
use super::step::{Did, Row, Step, What};
use super::table::Items;

/// So many times the process called its own pipe.
const CALLS: u64 = 32;

static ABOUT: About = About {
    id: "self-pipe",
    severity: Severity::Note,
    summary: "a process wakes its own epoll_wait through a pipe of single bytes, where an eventfd would do",
    explain: "A pipe to oneself takes two descriptors and a page or more, fills up when nobody reads, and every byte has to be read. \
              An eventfd is one descriptor with a counter: writes add up, and one read of eight bytes takes them all. It can be \
              written from a signal handler, too. If the bytes carry a meaning, a pipe is right.",
    cure: "Use eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), if the bytes say nothing but \"wake up\".",
    thresholds: &[(
        "callbacks of a pipe that its own reader's process made, with no more bytes read than callbacks",
        CALLS,
    )],
    needs: &[Hook::WaitExit, Hook::Callback, Hook::Io],
    absence: false,
};

/// Who wrote to a watched pipe, and what came out.
#[derive(Debug, Clone, Copy, Default)]
struct Piped {
    writer: Option<u32>,
    reader: Option<u32>,
    several: bool,
    calls: u64,
    bytes: u64,
    row: Row,
    /// Where it was read last.
    read: Row,
}

impl Piped {
    /// Whether the process is the only one so far.
    fn is_one(known: &mut Option<u32>, process: u32) -> bool {
        *known.get_or_insert(process) == process
    }
}

#[derive(Debug, Default)]
pub(super) struct SelfPipe {
    pipes: Items<Piped>,
    cases: Cases,
}

impl SelfPipe {
    fn over(&mut self, pipes: impl IntoIterator<Item = (super::step::Subject, Piped)>, scene: &Scene<'_>) {
        for (item, pipe) in pipes {
            let own = pipe.writer.is_some() && pipe.writer == pipe.reader && !pipe.several;
            if own && pipe.calls >= CALLS && pipe.bytes > 0 && pipe.bytes <= pipe.calls {
                self.cases.note_called(&item, (None, pipe.row, pipe.read), scene, || {
                    format!(
                        "{} callbacks, {} bytes read, all by process {}",
                        pipe.calls,
                        pipe.bytes,
                        pipe.writer.unwrap_or(0)
                    )
                });
            }
        }
    }
}

impl Rule for SelfPipe {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn see(&mut self, step: &Step, scene: &Scene<'_>) {
        match step.what {
            What::Called { item, .. } if scene.kind(item.file) == Some("pipe") => {
                let process = scene.process(step.task);
                let Some(pipe) = self.pipes.at(&item) else { return };
                // A writer that is not known is another.
                pipe.several |= !process.is_some_and(|process| Piped::is_one(&mut pipe.writer, process));
                pipe.calls = pipe.calls.saturating_add(1);
                pipe.row = step.row;
            }
            What::Io { file, did: Did::Read { ret, .. }, .. } => {
                let process = scene.process(step.task);
                for (_, pipe) in self.pipes.of_file(file) {
                    pipe.several |= !process.is_some_and(|process| Piped::is_one(&mut pipe.reader, process));
                    pipe.read = step.row;
                    pipe.bytes = pipe.bytes.saturating_add(u64::try_from(ret).unwrap_or(0));
                }
            }
            What::FileGone { file } => {
                let gone = self.pipes.forget_file(file);
                self.over(gone, scene);
            }
            What::EventpollGone { ep } => _ = self.pipes.forget_ep(ep),
            _ => {}
        }
    }

    fn judge(&mut self, scene: &Scene<'_>, judged: &mut Judged) {
        let pipes: Vec<_> = self.pipes.iter().map(|(item, pipe)| (item, *pipe)).collect();
        self.over(pipes, scene);
        self.cases.accuse(judged, |case| {
            format!(
                "{} serves its own process as a bell: an eventfd would do, if the bytes say nothing.",
                case.subject()
            )
        });
    }
}
