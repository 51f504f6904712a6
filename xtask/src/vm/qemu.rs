//! One run of QEMU: its command line, its console, and the frames its guest sends.
//!
//! QEMU gets the initramfs, the console log and its end of the frame channel as inherited descriptors, so nothing is
//! left on disk, and it dies with us.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use crate::exec;
use crate::vm::protocol::{Decoder, Frame};

/// A lockup ends the guest, and what each processor was doing then is on the console: warnings are shown for that.
const COMMAND_LINE: &str = "console=ttyS0 quiet loglevel=5 panic=-1 oops=panic mitigations=off no_timer_check softlockup_panic=1 \
                            softlockup_all_cpu_backtrace=1";

/// How the guest's processor is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accel {
    /// The machine's own processor.
    Kvm,
    /// Emulation by one host thread: the guest's processors take turns. With a thread for each, QEMU before 8.1 may translate an
    /// instruction while another processor patches it, and then runs the old bytes: a kernel that patches itself, as it does wherever
    /// probes come and go, dies of breakpoints that it has taken away. It would not be faster either: two guests run side by side.
    Tcg,
    /// Emulation of one processor whose clock ticks a nanosecond an instruction.
    Counting,
}

/// The machine to boot.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) qemu: PathBuf,
    pub(crate) accel: Accel,
    pub(crate) memory_mb: u32,
    pub(crate) processors: u32,
    /// Whether it has a network card.
    pub(crate) network: bool,
}

/// The echo server behind the network card, as a guest calls it: a process of its own for each connection.
pub(crate) const ECHO_SERVER: &str = "10.0.2.100:7";

impl Machine {
    fn arguments(&self, kernel: &Path, initramfs: RawFd, console: RawFd, port: RawFd) -> Vec<String> {
        let (accel, cpu) = match self.accel {
            Accel::Kvm => ("kvm", "host"),
            Accel::Tcg | Accel::Counting => ("tcg,thread=single", "max"),
        };
        let processors = if self.accel == Accel::Counting { 1 } else { self.processors };
        let network = if self.network {
            format!(
                "-netdev user,id=net,restrict=on,ipv6=off,guestfwd=tcp:{ECHO_SERVER}-cmd:cat \
                 -device virtio-net-pci,netdev=net,romfile="
            )
        } else {
            String::new()
        };
        let mut line = format!(
            "{network} -nodefaults -no-user-config -display none -no-reboot -nic none -accel {accel} -cpu {cpu} -smp {processors} -m {} \
             -chardev file,id=console,path=/proc/self/fd/{console} -serial chardev:console \
             -device virtio-serial-pci -chardev socket,id=frames,fd={port} \
             -device virtserialport,chardev=frames,name=eptrace -initrd /proc/self/fd/{initramfs}",
            self.memory_mb
        );
        if self.accel == Accel::Counting {
            line.push_str(" -icount shift=0,sleep=off");
        }
        let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        words.extend(["-kernel".to_owned(), kernel.display().to_string()]);
        words.extend(["-append".to_owned(), COMMAND_LINE.to_owned()]);
        words
    }

    /// Boots a kernel and hands every frame to `on_frame` until the guest is done.
    ///
    /// Fails, with the end of the console, when the guest panics, stops talking sense, or outlives `limit`.
    pub(crate) fn run(
        &self,
        kernel: &Path,
        initramfs: &File,
        limit: Duration,
        on_frame: &mut dyn FnMut(Frame) -> Result<()>,
    ) -> Result<()> {
        let console = tempfile::tempfile().context("cannot create a temporary file for the guest's console")?;
        let (ours, theirs) = UnixStream::pair().context("cannot create a socket pair")?;
        let words = self.arguments(kernel, initramfs.as_raw_fd(), console.as_raw_fd(), theirs.as_raw_fd());
        let mut command = Command::new(&self.qemu);
        command.args(&words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let theirs = OwnedFd::from(theirs);
        let inherited = [dup(initramfs)?, dup(&console)?, theirs];
        let kept: [RawFd; 3] = [initramfs.as_raw_fd(), console.as_raw_fd(), inherited[2].as_raw_fd()];
        inherit(&mut command, kept);
        let mut qemu = Running::start(&mut command)?;
        drop(inherited);
        let outcome = follow(&ours, limit, on_frame);
        let said = qemu.stop();
        outcome.map_err(|error| {
            let console = read(&console);
            let said = if said.trim().is_empty() { "(nothing)" } else { said.trim() };
            let end = exec::last_lines(&console, 40);
            anyhow!("{error:#}\n--- QEMU said ---\n{said}\n--- the guest's console ended with ---\n{end}")
        })
    }
}

fn dup(file: &File) -> Result<OwnedFd> {
    file.as_fd().try_clone_to_owned().context("cannot duplicate a descriptor")
}

/// Lets a child keep some descriptors, and has it killed when we die.
fn inherit(command: &mut Command, kept: [RawFd; 3]) {
    let setup = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        for fd in kept {
            // SAFETY: the descriptors are open in the parent until the child has been started.
            let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec only prctl and fcntl are called, which are async-signal-safe and allocate nothing.
    unsafe { command.pre_exec(setup) };
}

/// A QEMU that is killed and reaped when it is let go.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Result<Self> {
        command.spawn().map(Self).with_context(|| format!("cannot run `{}`", exec::shown(command)))
    }

    /// Ends QEMU and returns what it printed on stderr.
    fn stop(&mut self) -> String {
        // Failing to kill means that it has ended already.
        let _ = self.0.kill();
        let mut said = Vec::new();
        if let Some(mut stderr) = self.0.stderr.take() {
            let _ = stderr.read_to_end(&mut said);
        }
        let _ = self.0.wait();
        String::from_utf8_lossy(&said).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads frames until the guest is done.
fn follow(port: &UnixStream, limit: Duration, on_frame: &mut dyn FnMut(Frame) -> Result<()>) -> Result<()> {
    let deadline = Instant::now() + limit;
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            bail!("the guest was not done after {} s (--timeout gives it longer)", limit.as_secs());
        }
        port.set_read_timeout(Some(left)).context("cannot set a read timeout")?;
        let mut reader = port;
        let count = match reader.read(&mut buffer) {
            Ok(0) => bail!(
                "the guest stopped before it was done{}",
                if decoder.is_torn() { ", in the middle of a message" } else { "" }
            ),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                continue;
            }
            // QEMU's end of the pair vanished with unread bytes in it.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                bail!("QEMU ended before the guest was done")
            }
            Err(error) => return Err(error).context("cannot read from the guest"),
        };
        for frame in decoder.push(&buffer[..count])? {
            if frame == Frame::Done {
                return Ok(());
            }
            on_frame(frame)?;
        }
    }
}

/// All of the console.
fn read(console: &File) -> String {
    let mut bytes = Vec::new();
    let mut reader = console;
    if reader.rewind().and_then(|()| reader.read_to_end(&mut bytes)).is_err() {
        return "(the console cannot be read)".to_owned();
    }
    String::from_utf8_lossy(&bytes).replace('\r', "")
}

#[cfg(test)]
mod tests {
    use super::{Accel, Machine, follow};
    use crate::vm::protocol::Frame;
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;
    use std::path::Path;
    use std::time::Duration;

    fn line(accel: Accel) -> String {
        machine(accel, false).arguments(Path::new("/k"), 7, 8, 9).join(" ")
    }

    fn machine(accel: Accel, network: bool) -> Machine {
        Machine { qemu: "q".into(), accel, memory_mb: 512, processors: 2, network }
    }

    #[test]
    fn a_network_card_is_there_only_when_it_is_asked_for_and_leads_nowhere_else() {
        let with_card = machine(Accel::Tcg, true).arguments(Path::new("/k"), 7, 8, 9).join(" ");
        assert!(with_card.contains("restrict=on") && with_card.contains("virtio-net-pci"), "{with_card}");
        assert!(!line(Accel::Tcg).contains("netdev"));
    }

    #[test]
    fn the_counting_machine_has_one_processor_and_the_instruction_clock() {
        let counting = line(Accel::Counting);
        assert!(counting.contains("-smp 1 ") && counting.contains("-icount shift=0,sleep=off"), "{counting}");
        assert!(line(Accel::Tcg).contains("-smp 2 ") && !line(Accel::Tcg).contains("icount"));
        assert!(line(Accel::Kvm).contains("-cpu host"));
    }

    #[test]
    fn frames_are_followed_up_to_the_last() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&Frame::Start(1).encode().unwrap()).unwrap();
        theirs.write_all(&Frame::Done.encode().unwrap()).unwrap();
        let mut seen = Vec::new();
        follow(&ours, Duration::from_secs(5), &mut |frame| {
            seen.push(frame);
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, [Frame::Start(1)]);
    }

    #[test]
    fn a_guest_that_vanishes_or_stays_silent_is_an_error() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&Frame::Done.encode().unwrap()[..5]).unwrap();
        drop(theirs);
        let torn = follow(&ours, Duration::from_secs(5), &mut |_| Ok(())).unwrap_err();
        assert!(torn.to_string().contains("middle"), "{torn}");
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let late = follow(&ours, Duration::from_millis(20), &mut |_| Ok(())).unwrap_err();
        assert!(late.to_string().contains("not done"), "{late}");
    }
}
