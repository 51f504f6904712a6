//! Trace files as the commands read them: for a report alone, or for a page with pictures, which reads the file twice: once to see
//! what there is, and once more to record what the page's player shows of it.

use std::path::Path;

use anyhow::Result;

use super::bounds::BoundsArgs;
use super::progress::Reading;
use super::say::say;
use crate::analysis::Report;
use crate::analysis::history::{History, Watch};
use crate::analysis::player::{Camera, Plan, Play};
use crate::event::{Event, TraceInfo};
use crate::model::Model;
use crate::output::{html, sanitize};
use crate::source::EventSource;
use crate::source::file::FileSource;

/// A report with everything that a page shows of it.
pub(super) struct Pictures {
    pub(super) report: Report,
    pub(super) history: History,
}

impl Pictures {
    pub(super) const fn pictured(&self) -> html::Pictured<'_> {
        html::Pictured { report: &self.report, history: &self.history }
    }
}

/// The report of a trace file; a torn tail is said on standard error.
pub(super) fn report(path: &Path, bounds: &BoundsArgs) -> Result<Report> {
    let mut model = bounds.model();
    let read = fold(path, &mut model, |_, _, _| {})?;
    Ok(read.report(&mut model))
}

/// The report of a trace file, and how it went over time.
pub(super) fn pictures(path: &Path, bounds: &BoundsArgs) -> Result<Pictures> {
    let mut model = bounds.model();
    model.keep_journal();
    let mut watch = Watch::new();
    let read = fold(path, &mut model, |event, model, _| watch.see(event, model))?;
    let report = read.report(&mut model);
    let history = watch.finish(&model, &read.info);
    Ok(Pictures { report, history })
}

/// The page of a trace file, and its report.
pub(super) fn page(path: &Path, bounds: &BoundsArgs) -> Result<(String, Report)> {
    let pictures = pictures(path, bounds)?;
    let play = play(path, bounds, &pictures.history)?;
    Ok((html::report(pictures.pictured(), &play), pictures.report))
}

/// What the player shows of a trace file.
fn play(path: &Path, bounds: &BoundsArgs, history: &History) -> Result<Play> {
    let mut model = bounds.model();
    model.keep_journal();
    let mut camera = Camera::new(Plan::of_history(history));
    fold(path, &mut model, |event, model, info| camera.see(event, model, info))?;
    Ok(camera.finish())
}

/// What is known of a file besides its events.
struct Read {
    info: TraceInfo,
    torn: Option<String>,
}

impl Read {
    fn report(&self, model: &mut Model) -> Report {
        model.finish();
        let mut report = Report::new(model, &self.info);
        if let Some(torn) = &self.torn {
            say(&format!("warning: {torn}"));
            report.complete = false;
            report.limits.insert(0, torn.clone());
        }
        report
    }
}

/// Folds the events of a trace file into a model, and shows each to `see` when the model has taken it in.
fn fold(path: &Path, model: &mut Model, mut see: impl FnMut(&Event, &Model, &TraceInfo)) -> Result<Read> {
    let mut source = FileSource::open(path)?;
    let mut events = Vec::new();
    let mut progress = Reading::new(source.bytes());
    loop {
        let more = source.next_events(&mut events)?;
        progress.at(source.bytes_read());
        for event in events.drain(..) {
            model.apply(&event);
            see(&event, model, source.info());
        }
        if !more {
            break;
        }
    }
    let torn = source.torn().map(|torn| sanitize::text(&torn.to_string()));
    Ok(Read { info: source.info().clone(), torn })
}
