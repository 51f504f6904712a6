//! `eptrace top`: a live view in the terminal, of a running kernel or of a recording that is played again.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event as Input};

use super::bounds::BoundsArgs;
use super::follow::{Beside, Signals, Sink, follow};
use super::format::colour;
use super::held::Output;
use super::say::say;
use super::target::TargetArgs;
use crate::event::{Event, TraceInfo};
use crate::model::Model;
use crate::output::sanitize;
use crate::source::EventSource;
use crate::source::file::FileSource;
use crate::source::live::monotonic_ns;
use crate::top::view::{Theme, draw};
use crate::top::{Playing, State, keys};

/// How often there is a new picture.
const PICTURE_EVERY: Duration = Duration::from_secs(1);
/// How often keys are looked for while a recording is played.
const LOOK_EVERY: Duration = Duration::from_millis(30);
/// Events of a recording that are taken in before keys are looked for again.
const EVENTS_AT_MOST: usize = 1 << 16;

/// Arguments of `eptrace top`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  eptrace top                     every process
  eptrace top -p 1234
  eptrace top -- ./server         what it prints is thrown away
  eptrace top run.eptrace         play a recording; needs no privilege

Keys: q quit, p pause, s sort, / filter, Enter items, t tasks, Esc back, ? help.")]
pub(super) struct TopArgs {
    /// Play this recording, instead of tracing
    #[arg(conflicts_with_all = ["pids", "command", "duration", "audit"])]
    file: Option<PathBuf>,
    /// How many times as fast as it was a recording is played
    #[arg(long, default_value_t = 1.0, value_name = "TIMES", value_parser = speed, requires = "file")]
    speed: f64,
    /// Panic after the first picture: for the test that the terminal survives it
    #[arg(long, hide = true)]
    crash: bool,
    #[command(flatten)]
    bounds: BoundsArgs,
    #[command(flatten)]
    target: TargetArgs,
}

fn speed(text: &str) -> Result<f64, String> {
    let times: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.001..=1e6).contains(&times) { Ok(times) } else { Err("from 0.001 to 1000000".to_owned()) }
}

pub(super) fn run(args: &TopArgs, verbose: u8) -> Result<()> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        bail!("eptrace top needs a terminal; `eptrace herd` and `eptrace report` print elsewhere");
    }
    if let Some(file) = &args.file {
        return play(args, file);
    }
    let mut watching = Watching { args, view: None };
    let followed = follow(&args.target, Output::Nowhere, verbose, &mut watching);
    let asked = watching.view.as_ref().is_none_or(|view| view.asked);
    // The terminal is its own again before anything is said.
    drop(watching);
    followed?;
    if !asked && !args.target.command.is_empty() {
        say("the command has ended");
    }
    Ok(())
}

/// The terminal while it is ours. However this ends, it is given back: when dropped, and before a panic is reported.
struct View {
    terminal: DefaultTerminal,
    theme: Theme,
    state: State,
    crash: bool,
    drawn: Option<Instant>,
    /// Somebody wants to quit.
    asked: bool,
}

impl View {
    fn open(info: TraceInfo, model: Model, crash: bool) -> Result<Self> {
        let state = State::new(info, model);
        // It also has a panic give the terminal back, before it says what happened.
        let terminal = ratatui::try_init().context("cannot take the terminal")?;
        Ok(Self { terminal, theme: Theme { colour: colour(true) }, state, crash, drawn: None, asked: false })
    }

    /// Does what the keys say, and draws when there is something new; `now_ns` is the time of the events.
    fn look(&mut self, now_ns: u64) -> Result<()> {
        let mut new = false;
        while event::poll(Duration::ZERO).context("cannot read the terminal")? {
            new = true;
            if let Input::Key(key) = event::read().context("cannot read the terminal")?
                && let Some(action) = keys::action(&key, self.state.filter().1)
                && !self.state.act(action)
            {
                self.asked = true;
            }
        }
        if self.drawn.is_none_or(|drawn| drawn.elapsed() >= PICTURE_EVERY) {
            new = true;
            self.drawn = Some(Instant::now());
            self.state.tick(now_ns);
        }
        if new { self.draw() } else { Ok(()) }
    }

    fn draw(&mut self) -> Result<()> {
        let (state, theme) = (&self.state, self.theme);
        self.terminal.draw(|frame| draw(frame, state, theme)).context("cannot write to the terminal")?;
        assert!(!self.crash, "asked to panic, to see that the terminal survives it");
        Ok(())
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = self.terminal.show_cursor();
        let _ = ratatui::try_restore();
    }
}

struct Watching<'a> {
    args: &'a TopArgs,
    view: Option<View>,
}

impl Sink for Watching<'_> {
    fn start(&mut self, info: &TraceInfo) -> Result<()> {
        self.view = Some(View::open(info.clone(), self.args.bounds.model(), self.args.crash)?);
        Ok(())
    }

    fn take(&mut self, events: &[Event]) -> Result<()> {
        let view = self.view.as_mut().context("the view is not open")?;
        for event in events {
            view.state.apply(event);
        }
        view.look(monotonic_ns())
    }

    fn beside(&self) -> Beside {
        Beside::Nothing
    }

    fn done(&self) -> bool {
        self.view.as_ref().is_some_and(|view| view.asked)
    }
}

/// Plays a recording.
fn play(args: &TopArgs, file: &Path) -> Result<()> {
    let mut source = FileSource::open(file)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    let played = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let mut view = View::open(source.info().clone(), args.bounds.model(), args.crash)?;
        let mut player = Player::default();
        while !view.asked {
            player.go_on(&mut source, &mut view.state, args.speed)?;
            if player.over && !player.ended {
                player.ended = true;
                view.state.end(player.now_ns());
                view.draw()?;
            }
            view.look(player.now_ns())?;
            tokio::select! {
                () = signals.any() => break,
                () = tokio::time::sleep(LOOK_EVERY), if !player.behind => {}
                () = tokio::task::yield_now(), if player.behind => {}
            }
        }
        Ok(())
    });
    if let Some(torn) = source.torn() {
        say(&format!("warning: {}", sanitize::text(&torn.to_string())));
    }
    played
}

/// How far a recording is played.
#[derive(Default)]
struct Player {
    /// Events that were read and are not due.
    waiting: std::collections::VecDeque<Event>,
    /// When the first event was.
    origin_ns: Option<u64>,
    /// Time of the recording since then.
    played: Duration,
    looked: Option<Instant>,
    /// All events are taken in.
    over: bool,
    /// The view knows.
    ended: bool,
    /// There are more events that are due.
    behind: bool,
}

impl Player {
    fn now_ns(&self) -> u64 {
        let played = u64::try_from(self.played.as_nanos()).unwrap_or(u64::MAX);
        self.origin_ns.unwrap_or_default().saturating_add(played)
    }

    /// Takes in what is due by now. Time stands still while the picture does.
    fn go_on(&mut self, source: &mut FileSource, state: &mut State, speed: f64) -> Result<()> {
        let now = Instant::now();
        let since = self.looked.replace(now).unwrap_or(now);
        if state.playing() == Playing::Paused || self.over {
            self.behind = false;
            return Ok(());
        }
        self.played = self.played.saturating_add((now - since).mul_f64(speed));
        let mut batch = Vec::new();
        for _ in 0..EVENTS_AT_MOST {
            while self.waiting.is_empty() && !self.over {
                self.over = !source.next_events(&mut batch)?;
                self.waiting.extend(batch.drain(..));
            }
            let Some(next) = self.waiting.front() else { break };
            self.origin_ns.get_or_insert(next.ts_ns());
            if next.ts_ns() > self.now_ns() {
                // The last events may be read already, but not be due.
                self.behind = false;
                self.over = false;
                return Ok(());
            }
            state.apply(next);
            self.waiting.pop_front();
        }
        self.over &= self.waiting.is_empty();
        self.behind = !self.over;
        Ok(())
    }
}
