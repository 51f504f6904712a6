//! One JSON object per line: what `eptrace trace --json` prints of a live trace.

use std::io::{self, Write};

use super::EventExport;
use crate::event::{Event, TraceInfo};
use crate::model::Model;
use crate::output::lines;

/// Writes JSON lines.
pub struct Jsonl<W> {
    out: W,
    info: TraceInfo,
    model: Model,
}

impl<W: Write> Jsonl<W> {
    /// Lines of the trace that `info` belongs to; `model` is empty and knows its limits.
    pub fn new(out: W, info: TraceInfo, model: Model) -> Self {
        Self { out, info, model }
    }
}

impl<W: Write> EventExport for Jsonl<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        self.model.apply(event);
        self.out.write_all(lines::json_line(event, &self.info, &self.model).as_bytes())
    }

    fn finish(&mut self, _torn: Option<&str>) -> io::Result<()> {
        self.out.flush()
    }
}
