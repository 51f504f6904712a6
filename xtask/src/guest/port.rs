//! The guest's end of the virtio serial port.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::vm::protocol::Frame;

/// The driver announces its port a moment after init has started; one that never comes is an error.
const APPEARS_WITHIN: Duration = Duration::from_secs(30);

/// Sends frames whole, from any thread.
pub(super) struct Port {
    device: Mutex<File>,
}

impl Port {
    /// Opens the port as soon as the kernel shows it.
    pub(super) fn open() -> Result<Self> {
        let path = wait_for_device()?;
        let device =
            OpenOptions::new().write(true).open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { device: Mutex::new(device) })
    }

    /// Sends one frame; returns when the host has it.
    pub(super) fn send(&self, frame: &Frame) -> Result<()> {
        let bytes = frame.encode()?;
        let mut device = self.device.lock().map_err(|_| anyhow!("a thread failed while it was sending"))?;
        device.write_all(&bytes).context("cannot write to the virtio serial port")
    }
}

fn wait_for_device() -> Result<PathBuf> {
    let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).context("inotify_init failed")?;
    watch.add_watch("/dev", AddWatchFlags::IN_CREATE).context("cannot watch /dev")?;
    let deadline = Instant::now() + APPEARS_WITHIN;
    loop {
        // Looked for after the watch was set, so that no creation falls between.
        if let Some(path) = find_device()? {
            return Ok(path);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            bail!(
                "no virtio serial port appeared in /dev: the kernel needs virtio_pci and virtio_console, built in or as modules"
            );
        }
        let mut ready = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
        poll(&mut ready, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)).context("poll failed")?;
        // What was created does not matter, only that something was.
        let _ = watch.read_events();
    }
}

fn find_device() -> Result<Option<PathBuf>> {
    for entry in fs::read_dir("/dev").context("cannot list /dev")? {
        let entry = entry.context("cannot list /dev")?;
        if entry.file_name().to_string_lossy().starts_with("vport") {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}
