//! The connecting side of the herd demo, a process of its own.
//!
//! In: the address, the workers' tasks, the rhythm. Out: one JSON array, the answers it got from each worker. It makes
//! connections and reads them to their end; it uses no epoll, so that it adds nothing to the truth.

use std::io::{ErrorKind, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::Args;

use super::Rhythm;
use super::sleepers::{Sleepers, Task};

/// How many connections burst rhythm keeps in flight.
const IN_FLIGHT: u32 = 32;

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[arg(long)]
    address: SocketAddr,

    #[arg(long)]
    connections: u32,

    #[arg(long, value_enum)]
    rhythm: Rhythm,

    #[arg(long)]
    pause: u32,

    /// The workers as PID:TID, in order of their index
    #[arg(long, value_delimiter = ',', required = true)]
    tasks: Vec<Task>,
}

/// Makes all connections and returns what it prints: how many answers came from each worker, and how many did not come.
pub(crate) fn run(options: &Options) -> Result<String> {
    nix::sys::prctl::set_name(c"herd-client").context("prctl(PR_SET_NAME)")?;
    let tally = match options.rhythm {
        Rhythm::Step => step(options),
        Rhythm::Burst => burst(options),
    }
    .context("client")?;
    serde_json::to_string(&tally).context("write the tally as JSON")
}

/// One connection at a time, each when all workers sleep; and again at the end, so that they also stop from sleep.
fn step(options: &Options) -> Result<Vec<u64>> {
    let mut tally = vec![0; options.tasks.len() + 1];
    let mut sleepers = Sleepers::open(&options.tasks)?;
    for _ in 0..options.connections {
        sleepers.wait()?;
        count(&mut tally, connect(options.address)?)?;
        pause(options);
    }
    sleepers.wait()?;
    Ok(tally)
}

fn pause(options: &Options) {
    if options.pause > 0 {
        thread::sleep(Duration::from_millis(options.pause.into()));
    }
}

fn burst(options: &Options) -> Result<Vec<u64>> {
    let taken = AtomicU32::new(0);
    let one_thread = || -> Result<Vec<u64>> {
        let mut tally = vec![0; options.tasks.len() + 1];
        while taken.fetch_add(1, Ordering::Relaxed) < options.connections {
            count(&mut tally, connect(options.address)?)?;
            pause(options);
        }
        Ok(tally)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..options.connections.min(IN_FLIGHT)).map(|_| scope.spawn(one_thread)).collect();
        let mut tally = vec![0; options.tasks.len() + 1];
        for handle in threads {
            let part = handle.join().map_err(|_| anyhow!("a connecting thread panicked"))??;
            for (sum, one) in tally.iter_mut().zip(part) {
                *sum += one;
            }
        }
        Ok(tally)
    })
}

/// Connects, reads to the end, and returns the index of the worker that answered.
///
/// Where this thread sleeps longer than the connection lives, `connect` itself tells of its end (`tcp_reset`, `net/ipv4/tcp_input.c`,
/// after the worker's FIN): it was made and served, but by whom is not known.
fn connect(address: SocketAddr) -> Result<Option<u8>> {
    let mut connection = match TcpStream::connect(address) {
        Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => return Ok(None),
        other => {
            other.with_context(|| format!("connect({address}); is the loopback interface up? (ip link set lo up)"))?
        }
    };
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).with_context(|| format!("read the answer from {address}"))?;
    match answer[..] {
        [worker] => Ok(Some(worker)),
        _ => bail!("a worker answered {} bytes instead of 1", answer.len()),
    }
}

fn count(tally: &mut [u64], worker: Option<u8>) -> Result<()> {
    let workers = tally.len() - 1;
    let worker = worker.map_or(workers, usize::from);
    let slot = tally.get_mut(worker);
    ensure!(slot.is_some(), "worker {worker} answered, but there are {workers}");
    if let Some(slot) = slot {
        *slot += 1;
    }
    Ok(())
}
