//! `cargo xtask vm`: one command on another kernel.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::progress;
use crate::setup::busybox;
use crate::vm::initramfs::Contents;
use crate::vm::kernel::{self, Selector};
use crate::vm::plan::{Ending, Job, Plan};
use crate::vm::protocol::Frame;
use crate::vm::session::{self, Shape};

const EXAMPLES: &str = "\
Examples:
  cargo xtask vm -- uname -a
  cargo xtask vm --kernel 6.12 -- sh -c 'ls /sys/kernel/tracing'
  cargo xtask vm --kernel 5.10 --kernel 7 --bin target/debug/prog -- prog --flag
  cargo xtask vm --bin /usr/bin/strace -- strace -f ls
  cargo xtask vm --file ./input.bin:/work/input.bin -- cat input.bin

The guest holds a static busybox (sh, cat, ls, ...), the programs given with --bin in /bin, and
nothing else. The command runs as root in /work. A COMMAND that is a file of this machine is
packed by itself. The exit status is the command's own; 124 when it ran out of time, 127 when it
could not be started. It is 2 when the virtual machine itself failed.";

/// Options that say how the virtual machine is made, shared by all commands that boot one.
#[derive(Debug, Clone, Args)]
pub(crate) struct MachineArgs {
    /// The QEMU to use instead of the one on PATH
    #[arg(long, value_name = "PATH")]
    pub(crate) qemu: Option<PathBuf>,
    /// The guest's memory
    #[arg(long, value_name = "MB", default_value_t = 1024)]
    pub(crate) memory: u32,
    /// The guest's processors
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) smp: u32,
}

impl MachineArgs {
    /// The machine's shape, with the ordinary clock.
    pub(crate) fn shape(&self) -> Shape {
        Shape { qemu: self.qemu.clone(), memory_mb: self.memory, processors: self.smp, ..Shape::default() }
    }
}

/// Run a command on a stock Debian kernel in a virtual machine
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct VmArgs {
    /// The kernel: a line such as 6.1, 6.12 or 7, `newest`, `default`, or the path of a vmlinuz (may be repeated)
    #[arg(long, value_name = "SELECTOR", default_value = "default")]
    kernel: Vec<Selector>,
    /// A file or directory for the guest, at the same absolute path unless GUESTPATH is given (may be repeated)
    #[arg(long, value_name = "HOSTPATH[:GUESTPATH]")]
    file: Vec<String>,
    /// A program for the guest's /bin, with the shared libraries it needs (may be repeated)
    #[arg(long, value_name = "HOSTPATH")]
    bin: Vec<PathBuf>,
    #[command(flatten)]
    machine: MachineArgs,
    /// Let the guest's clock tick one nanosecond an instruction (emulates a single processor)
    #[arg(long)]
    icount: bool,
    /// Give the guest a network card (eth0, not up), behind which there is an echo server at 10.0.2.100:7 and nothing else
    #[arg(long)]
    network: bool,
    /// After so many seconds the command is killed
    #[arg(long, value_name = "S", default_value_t = 300)]
    timeout: u64,
    /// The command and its arguments, after `--`
    #[arg(required = true, last = true)]
    command: Vec<String>,
}

/// Boots each kernel in turn; the first command that fails decides the exit status.
pub(crate) fn run(arguments: &VmArgs) -> Result<ExitCode> {
    let mut command = arguments.command.clone();
    let mut contents = Contents {
        programs: arguments.bin.clone(),
        files: arguments.file.iter().map(|text| file_pair(text)).collect::<Result<_>>()?,
        ..Contents::default()
    };
    let program = PathBuf::from(&command[0]);
    if command[0].contains('/') && program.is_file() && !contents.files.iter().any(|(_, guest)| *guest == command[0]) {
        command[0] = format!("/bin/{}", program.file_name().unwrap_or_default().to_string_lossy());
        contents.programs.push(program);
    }
    contents.busybox = busybox::busybox().map_or_else(
        |error| {
            progress::say(&format!("the guest has no shell: {error:#}"));
            None
        },
        Some,
    );
    let kernels = arguments.kernel.iter().map(kernel::resolve).collect::<Result<Vec<_>>>()?;
    contents.init = session::init()?;
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    let plan = Plan { jobs: vec![Job::new("command", &words, arguments.timeout)] };
    let shape = Shape { counting: arguments.icount, network: arguments.network, ..arguments.machine.shape() };
    let mut code = 0;
    for kernel in &kernels {
        progress::say(&format!("booting {}", kernel.name));
        let results = session::run(&shape, kernel, &contents, &plan, &mut |frame| show(frame)).into_whole()?;
        let ending = results.first().and_then(|result| result.ending).unwrap_or(Ending::NotStarted);
        if ending == Ending::TimedOut {
            progress::say(&format!("`{}` ran out of its {} s", words.join(" "), arguments.timeout));
        }
        if code == 0 {
            code = ending.code();
        }
    }
    Ok(ExitCode::from(code))
}

/// Passes the guest's output on. Where nobody reads ours any more, the guest's is lost as well.
fn show(frame: &Frame) {
    match frame {
        Frame::Stdout(_, bytes) => {
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(bytes).and_then(|()| out.flush());
        }
        Frame::Stderr(_, bytes) => {
            let _ = std::io::stderr().lock().write_all(bytes);
        }
        _ => {}
    }
}

/// `HOSTPATH[:GUESTPATH]` as two paths; a path that exists is never split.
fn file_pair(text: &str) -> Result<(PathBuf, String)> {
    let whole = PathBuf::from(text);
    if !whole.exists()
        && let Some((host, guest)) = text.rsplit_once(':')
    {
        return Ok((PathBuf::from(host), guest.to_owned()));
    }
    let guest = whole.canonicalize().with_context(|| format!("cannot read {text}"))?;
    Ok((whole, guest.to_string_lossy().into_owned()))
}

#[cfg(test)]
mod tests {
    use super::{VmArgs, file_pair};
    use crate::vm::qemu::ECHO_SERVER;
    use clap::Args as _;

    #[test]
    fn the_help_says_where_the_echo_server_is() {
        let help = VmArgs::augment_args(clap::Command::new("vm")).render_long_help().to_string();
        assert!(help.contains(ECHO_SERVER), "{help}");
    }

    #[test]
    fn a_file_goes_to_its_own_path_or_to_the_one_given() {
        let own = file_pair("/etc/../etc/hostname").unwrap();
        assert_eq!(own.1, "/etc/hostname");
        let given = file_pair("/etc/hostname:/work/x").unwrap();
        assert_eq!((given.0.to_str(), given.1.as_str()), (Some("/etc/hostname"), "/work/x"));
        assert!(file_pair("/no/such/file").is_err());
    }
}
