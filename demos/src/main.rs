//! `demos`: small programs that use epoll in known ways and count what they do.
//!
//! In: a demo's name and options. Out: one table, or one line of JSON, with the ground truth: every `epoll_ctl`,
//! `epoll_wait` and `accept` call the demo's processes made, counted by the very code that made it. A tracer that
//! watches the demo must arrive at the same numbers.

mod absent_page;
mod accept_once;
mod answers;
mod asleep;
mod blocking_et;
mod busy_poll;
mod child;
mod churn;
mod closed;
mod counted;
mod crew;
mod cycle;
mod drain;
mod echo;
mod ends;
mod epollout;
mod exclusive;
mod fds;
mod herd;
mod left;
mod life;
mod many;
mod nested;
mod oneshot;
mod pitfalls;
mod reactor;
mod ready;
mod registered;
mod release;
mod replaced;
mod reuseport;
mod shared;
mod sharing;
mod sources;
mod stalled;
mod standing;
mod stays;
mod story;
mod structures;
mod trigger;
mod truth;
mod wakeup;

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  demos trigger                  when a wait reports a file again: LT and ET
  demos drain --bursts 400,300   bytes that an edge-triggered loop leaves behind
  demos exclusive --workers 8    who of eight workers is woken
  demos echo --json              what a request costs each kind of server, as one line of JSON
  demos NAME --help              the options of one

Under eptrace: cargo xtask demo NAME";

/// Programs that use epoll in known ways and print what they did, counted by themselves.
///
/// Exit codes: 0 done, 2 an error.
#[derive(Debug, Parser)]
#[command(name = "demos", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    demo: Demo,
}

#[derive(Debug, Subcommand)]
enum Demo {
    Herd(herd::Options),
    /// The connecting side of `herd`, which starts it by itself
    #[command(hide = true)]
    HerdClient(herd::client::Options),
    Cycle(cycle::Options),
    Churn(churn::Options),
    Registered(registered::Options),
    Sources(sources::Options),
    Left(left::Options),
    Replaced(replaced::Options),
    Many(many::Options),
    Pitfalls(pitfalls::Options),
    Life(life::Options),
    BusyPoll(busy_poll::Options),
    Structures(structures::Options),
    Ready(ready::Options),
    Trigger(trigger::Options),
    Drain(drain::Options),
    AcceptOnce(accept_once::Options),
    Epollout(epollout::Options),
    BlockingEt(blocking_et::Options),
    Wakeup(wakeup::Options),
    Nested(nested::Options),
    Closed(closed::Options),
    Oneshot(oneshot::Options),
    Exclusive(exclusive::Options),
    Reuseport(reuseport::Options),
    Shared(shared::Options),
    Reactor(reactor::Options),
    Echo(echo::Options),
    Answers(answers::Options),
    Stalled(stalled::Options),
    Standing(standing::Options),
    Stays(stays::Options),
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demos: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let text = match &cli.demo {
        Demo::Herd(options) => herd::run(options)?,
        Demo::HerdClient(options) => herd::client::run(options)?,
        Demo::Cycle(options) => cycle::run(options)?,
        Demo::Churn(options) => churn::run(options)?,
        Demo::Registered(options) => registered::run(options)?,
        Demo::Sources(options) => sources::run(options)?,
        Demo::Left(options) => left::run(options)?,
        Demo::Replaced(options) => replaced::run(options)?,
        Demo::Many(options) => many::run(options)?,
        Demo::Pitfalls(options) => pitfalls::run(options)?,
        Demo::Life(options) => life::run(options)?,
        Demo::BusyPoll(options) => busy_poll::run(options)?,
        Demo::Structures(options) => structures::run(options)?,
        Demo::Ready(options) => ready::run(options)?,
        Demo::Trigger(options) => trigger::run(options)?,
        Demo::Drain(options) => drain::run(options)?,
        Demo::AcceptOnce(options) => accept_once::run(options)?,
        Demo::Epollout(options) => epollout::run(options)?,
        Demo::BlockingEt(options) => blocking_et::run(options)?,
        Demo::Wakeup(options) => wakeup::run(options)?,
        Demo::Nested(options) => nested::run(options)?,
        Demo::Closed(options) => closed::run(options)?,
        Demo::Oneshot(options) => oneshot::run(options)?,
        Demo::Exclusive(options) => exclusive::run(options)?,
        Demo::Reuseport(options) => reuseport::run(options)?,
        Demo::Shared(options) => shared::run(options)?,
        Demo::Reactor(options) => reactor::run(options)?,
        Demo::Echo(options) => echo::run(options)?,
        Demo::Answers(options) => answers::run(options)?,
        Demo::Stalled(options) => stalled::run(options)?,
        Demo::Standing(options) => standing::run(options)?,
        Demo::Stays(options) => stays::run(options)?,
    };
    match io::stdout().write_all(text.as_bytes()) {
        // The reader has seen enough: that is its right.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("write the result to stdout"),
    }
}
