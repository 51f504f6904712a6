//! From a finished model to its report.

use std::collections::BTreeMap;

use tracer_common::Hook;

use super::herd::herd;
use super::latency::LatencyRow;
use super::report::{
    AuditRow, DifferenceRow, EventpollRow, Lost, LostRow, Report, SCHEMA_VERSION, SourceRow, TaskRow, Totals,
};
use super::source::{Source, sources};
use super::spread::Spread;
use crate::event::TraceInfo;
use crate::model::{Eventpoll, Latencies, Latency, Losses, Model, TaskId};

impl Report {
    /// Asks a finished model everything. For a report in the middle of a trace, finish a clone of the model.
    #[must_use]
    pub fn new(model: &Model, info: &TraceInfo) -> Self {
        let sources = sources(model, info);
        let herd = herd(model, info, &sources);
        Self {
            schema_version: SCHEMA_VERSION,
            kind: "report",
            eptrace: info.eptrace.clone(),
            kernel: info.kernel.clone(),
            machine: info.machine.clone(),
            target: info.target.clone(),
            backend: info.backend().to_owned(),
            started: started(model, info),
            duration_ns: model.span().duration(),
            hooks: info.hooks.clone(),
            limits: info.limits.clone(),
            complete: model.complete() && !model.exceeded().touches_numbers(),
            lost: lost(model.losses()),
            exceeded: *model.exceeded(),
            events: model.events(),
            totals: totals(model, &sources),
            herd,
            tasks: tasks(model, &sources),
            eventpolls: model.eventpolls().iter().map(|eventpoll| eventpoll_row(model, eventpoll)).collect(),
            sources: sources.iter().map(source_row).collect(),
            ready_list: *model.ready_list(),
            audit: info
                .hooks
                .iter()
                .any(|hook| hook.hook == Hook::Audit.name() && hook.missing.is_empty())
                .then(|| audit(model)),
        }
    }
}

fn audit(model: &Model) -> AuditRow {
    let audit = model.audit();
    let item = |(epi, fd): &(u64, Option<i32>)| match fd {
        Some(fd) => format!("fd {fd} (epitem {epi:#x})"),
        None => format!("an unknown item (epitem {epi:#x})"),
    };
    AuditRow {
        comparisons: audit.comparisons,
        differences: audit.differences,
        contended: audit.contended,
        raced: audit.raced,
        truncated: audit.truncated,
        incomplete: audit.incomplete,
        doubtful: audit.doubtful,
        first: audit
            .first
            .iter()
            .map(|difference| DifferenceRow {
                at_ns: difference.ts_ns.saturating_sub(model.span().origin()),
                eventpoll: model
                    .eventpolls()
                    .get(difference.ep)
                    .map_or_else(|| "an eventpoll that is gone".to_owned(), |ep| eventpoll_name(model, ep)),
                what: difference.what,
                contended: difference.contended,
                missing: difference.missing.iter().map(item).collect(),
                surplus: difference.surplus.iter().map(item).collect(),
            })
            .collect(),
    }
}

/// What an eventpoll is called: `comm/pid:epfd`.
#[must_use]
pub(crate) fn eventpoll_name(model: &Model, eventpoll: &Eventpoll) -> String {
    let Some((pid, epfd)) = eventpoll.seen_as else {
        return format!("eventpoll {:#x}", eventpoll.address);
    };
    let comm = model.tasks().process(pid).map_or("?", |task| if task.comm.is_empty() { "?" } else { &task.comm });
    format!("{comm}/{pid}:{epfd}")
}

fn started(model: &Model, info: &TraceInfo) -> String {
    if info.realtime_ns == 0 {
        return String::new();
    }
    let since = i128::from(model.span().origin()) - i128::from(info.monotonic_ns);
    let moment = jiff::Timestamp::from_nanosecond(i128::from(info.realtime_ns) + since);
    moment.map_or_else(|_| String::new(), |moment| moment.to_string())
}

fn lost(losses: &Losses) -> Lost {
    let by = losses.iter().map(|((hook, cpu, reason), count)| LostRow {
        hook: hook.map(tracer_common::Hook::name),
        cpu,
        reason: reason.name(),
        count,
        loses_events: reason.loses_events(hook),
    });
    Lost { total: losses.total(), events: losses.events(), by: by.collect() }
}

fn totals(model: &Model, sources: &[Source]) -> Totals {
    let sum = |of: &dyn Fn(&Source) -> u64| sources.iter().map(of).fold(0, u64::saturating_add);
    Totals {
        counts: *model.totals(),
        wasted: sum(&|source| {
            if source.listening { source.stats.wasted.total } else { 0 }
        }),
        wakeups: sum(&|source| source.stats.wakeups),
        callbacks: sum(&|source| source.stats.outcomes.total()),
        nested: model.nested(),
        scans: model.scans(),
    }
}

fn tasks(model: &Model, sources: &[Source]) -> Vec<TaskRow> {
    let mut wasted: BTreeMap<TaskId, u64> = BTreeMap::new();
    for file in sources.iter().filter(|source| source.listening).flat_map(|source| &source.files) {
        for (task, share) in model.shares(*file) {
            let sum = wasted.entry(task).or_default();
            *sum = sum.saturating_add(share.woken.saturating_sub(share.useful));
        }
    }
    let did_something = model.tasks().iter().filter(|task| !task.counts.is_zero());
    let mut rows: Vec<TaskRow> = did_something
        .map(|task| TaskRow {
            pid: task.pid,
            tid: task.tid,
            comm: task.comm.clone(),
            ns_pid: task.in_namespace.map(|(pid, _)| pid),
            ns_tid: task.in_namespace.map(|(_, tid)| tid),
            alive: task.alive,
            counts: task.counts,
            wasted: wasted.get(&task.id).copied().unwrap_or(0),
        })
        .collect();
    rows.sort_by_key(|row| (row.pid, row.tid));
    rows
}

fn eventpoll_row(model: &Model, eventpoll: &Eventpoll) -> EventpollRow {
    let latency = |of: fn(&Latencies) -> &Latency| {
        model.latencies(eventpoll.id).map(of).map(LatencyRow::from).unwrap_or_default()
    };
    EventpollRow {
        name: eventpoll_name(model, eventpoll),
        generation: eventpoll.generation,
        alive: eventpoll.alive,
        items: eventpoll.items,
        items_ever: eventpoll.items_ever,
        tasks: model.waiters_ever(eventpoll.id),
        callback_to_return: latency(|known| &known.callback_to_return),
        callback_to_wake: latency(|known| &known.callback_to_wake),
        woken_to_return: latency(|known| &known.woken_to_return),
    }
}

fn source_row(source: &Source) -> SourceRow {
    let stats = &source.stats;
    let judged = |histogram| source.listening.then(|| Spread::from(histogram));
    SourceRow {
        name: source.name.clone(),
        kind: source.kind.clone(),
        listening: source.listening,
        alive: source.alive,
        files: source.files.len(),
        wakeups: stats.wakeups,
        callbacks: stats.outcomes,
        called: Spread::from(&stats.called),
        woken: Spread::from(&stats.woken),
        returned: Spread::from(&stats.returned),
        useful: judged(&stats.useful),
        wasted: judged(&stats.wasted),
        swallowed: stats.swallowed,
        chained: stats.chained,
        already_running: stats.already_running,
        nested: stats.nested,
        flags: stats.flags,
    }
}
