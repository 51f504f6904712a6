//! How many events a second the collector takes: made-up records of one callback, wait, scan and event each, through decoding,
//! ordering and the trace file or the model.
//!
//! `cargo run --release --example collector -- record 1000000`

use std::time::Instant;

use anyhow::{Context, Result, bail};
use eptrace::decode::{Sequencer, decode};
use eptrace::event::TraceInfo;
use eptrace::model::Model;
use eptrace::trace_file::Writer;
use tracer_common::Kind;
use tracer_common::events::record_bytes;

/// Nanoseconds between two records, and between two looks at the ring buffer.
const STEP_NS: u64 = 2_000;
const LOOK_NS: u64 = 20_000_000;

/// The records of one cycle, whose times follow each other.
fn cycle(ts: u64) -> impl Iterator<Item = (Kind, u64)> {
    [Kind::Callback, Kind::WaitEnter, Kind::Scan, Kind::WaitExit, Kind::Returned].into_iter().zip([
        ts,
        ts + STEP_NS,
        ts + 2 * STEP_NS,
        ts + 3 * STEP_NS,
        ts + 3 * STEP_NS,
    ])
}

fn record(kind: Kind, ts: u64, bytes: &mut Vec<u8>) -> Result<()> {
    bytes.clear();
    bytes.extend((kind as u16).to_ne_bytes());
    bytes.extend(u16::try_from(record_bytes(kind))?.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend(ts.to_ne_bytes());
    bytes.extend(100_u32.to_ne_bytes());
    bytes.extend(101_u32.to_ne_bytes());
    for word in 0..(record_bytes(kind) - bytes.len()) / 8 {
        let value = if word < 2 { 0xffff_9000_0000_0000 + u64::try_from(word)? } else { 1 };
        bytes.extend(value.to_ne_bytes());
    }
    Ok(())
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().context("record or model?")?;
    let count: u64 = arguments.next().context("how many events?")?.parse()?;
    let path = std::env::temp_dir().join(format!("eptrace-collector-{}", std::process::id()));
    let mut writer = (what == "record").then(|| Writer::create(&path, &TraceInfo::default())).transpose()?;
    let mut model = (what == "model").then(Model::new);
    if writer.is_none() && model.is_none() && what != "order" {
        bail!("record, model or order, not {what}");
    }
    let (mut sequencer, mut events, mut bytes) = (Sequencer::default(), Vec::new(), Vec::new());
    let (mut looked, mut handled) = (0, 0_usize);
    let began = Instant::now();
    for ts in (0..count / 5).map(|index| index * 5 * STEP_NS) {
        for (kind, ts) in cycle(ts) {
            record(kind, ts, &mut bytes)?;
            sequencer.push(decode(&bytes)?);
        }
        if ts - looked >= LOOK_NS || ts + 5 * STEP_NS >= count * STEP_NS {
            looked = ts;
            sequencer.release(ts, &mut events);
            if ts + 5 * STEP_NS >= count * STEP_NS {
                sequencer.release_all(&mut events);
            }
            for event in &events {
                if let Some(writer) = &mut writer {
                    writer.push(event)?;
                }
                if let Some(model) = &mut model {
                    model.apply(event);
                }
            }
            handled += events.len();
            events.clear();
        }
    }
    let size = writer.map(Writer::finish).transpose()?.map_or(0, |totals| totals.bytes);
    let seconds = began.elapsed().as_secs_f64();
    let handled = u32::try_from(handled)?;
    println!("{what}: {handled} events, {:.0} events/s", f64::from(handled) / seconds);
    if size > 0 {
        println!("{:.1} bytes an event", f64::from(u32::try_from(size)?) / f64::from(handled));
        std::fs::remove_file(&path)?;
    }
    Ok(())
}
