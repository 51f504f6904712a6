//! What the probes log, on standard error. Only an object built with the feature `log` says something.

use std::io::Write;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Prints each message as a line.
struct ToStderr;

impl ::log::Log for ToStderr {
    fn enabled(&self, _: &::log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &::log::Record<'_>) {
        let _ = writeln!(std::io::stderr(), "eptrace: probe: {}: {}", record.level(), record.args());
    }

    fn flush(&self) {}
}

/// Shows messages until the runtime ends.
///
/// # Errors
/// When the object's log cannot be read.
pub(super) fn show(ebpf: &mut Ebpf) -> Result<()> {
    if ebpf.map("AYA_LOGS").is_none() {
        let _ = writeln!(
            std::io::stderr(),
            "eptrace: the probes were built without log messages; `cargo xtask ebpf --log` builds some that log, to load with --object"
        );
        return Ok(());
    }
    let logger = EbpfLogger::init_with_logger(ebpf, ToStderr).context("cannot read the log of the probes")?;
    // SAFETY: the logger owns its descriptor until it is dropped with the registration.
    let logger = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) };
    let mut logger = logger.context("cannot watch the log of the probes")?;
    tokio::spawn(async move {
        while let Ok(mut guard) = logger.readable_mut().await {
            guard.get_inner_mut().flush();
            guard.clear_ready();
        }
    });
    Ok(())
}
