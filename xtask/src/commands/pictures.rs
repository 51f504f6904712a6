//! `cargo xtask pictures`: the pictures of the README, made anew: a herd, its cure and the comparison, recorded on a real kernel,
//! and shown by a real browser.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::commands::vm::MachineArgs;
use crate::herd::outcome::succeeded;
use crate::herd::spec::{Backend, Mode, Rhythm, Spec};
use crate::setup::guest_build::{self, workspace};
use crate::setup::tools::{CHROMIUM, find_or_install};
use crate::vm::initramfs::Contents;
use crate::vm::kernel::{self, Selector};
use crate::vm::place::Place;
use crate::vm::plan::Job;
use crate::vm::session;
use crate::{exec, progress};

/// Where the pictures are.
const FOLDER: &str = "docs/pictures";
const TIMEOUT_S: u64 = 300;

/// What a browser needs to take a picture of a page, and nothing of the network.
const OPTIONS: [&str; 10] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--virtual-time-budget=5000",
];

/// Leaves the player alone on a page, and opens it at the moment that the page names first.
const ONLY_PLAYER: &str =
    "header, footer, main > :not(#player) { display: none } #player { border: 0; margin: 0 }</style>";

/// Record the herd demo on a real kernel and make the pictures of its pages for the README
#[derive(Debug, Args)]
pub(crate) struct PicturesArgs {
    /// The kernel: a line such as 6.1, 6.12 or 7, `newest`, `default`, or the path of a vmlinuz
    #[arg(long, value_name = "SELECTOR", default_value = "default")]
    kernel: Selector,
    #[command(flatten)]
    machine: MachineArgs,
}

/// One picture: its name, its page, and the browser's window.
struct Picture {
    name: &'static str,
    page: &'static str,
    size: (u32, u32),
    at: Option<String>,
}

pub(crate) fn run(arguments: &PicturesArgs) -> Result<ExitCode> {
    let chromium = find_or_install(&CHROMIUM, "")?;
    let kernel = kernel::resolve(&arguments.kernel)?;
    let shape = arguments.machine.shape();
    session::qemu(shape.qemu.as_ref())?;
    let programs = guest_build::programs()?;
    let contents = Contents {
        init: programs.join("xtask"),
        programs: vec![programs.join("eptrace"), programs.join("demos")],
        ..Contents::default()
    };
    let specs = [Mode::Lt, Mode::Exclusive].map(spec);
    let jobs = specs.map(|spec| {
        let trace = spec.trace();
        let job = Job { name: trace.clone(), argv: spec.record(&trace), timeout_s: TIMEOUT_S, ..Job::default() };
        job.returning(&[&trace])
    });
    progress::say(&format!("recording the herd demo on {}", kernel.name));
    let place = Place::Guest { shape: &shape, kernel: &kernel, contents: &contents };
    let results = place.run(&jobs, &mut |_| {})?;
    let scratch = tempfile::tempdir().context("cannot make a folder for the pages")?;
    for result in &results {
        succeeded(result, "eptrace record")?;
        for (name, bytes) in &result.files {
            fs::write(scratch.path().join(name), bytes).with_context(|| format!("cannot write {name}"))?;
        }
    }
    pages(&programs.join("eptrace"), scratch.path(), &specs)?;
    let folder = workspace().join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for picture in pictures(scratch.path())? {
        take(&chromium, scratch.path(), &folder, &picture)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn spec(mode: Mode) -> Spec {
    Spec { mode, backend: Backend::Auto, rhythm: Rhythm::Step, workers: 4, connections: 200, processes: false }
}

/// The pages of the recordings.
fn pages(eptrace: &Path, scratch: &Path, specs: &[Spec; 2]) -> Result<()> {
    let [lt, exclusive] = specs.map(|spec| spec.trace());
    let lines: [&[&str]; 3] = [
        &["report", "--format", "html", "-o", "lt.html", &lt],
        &["report", "--format", "html", "-o", "exclusive.html", &exclusive],
        &["compare", "--format", "html", "-o", "compare.html", &lt, &exclusive],
    ];
    for line in lines {
        exec::run(Command::new(eptrace).args(line).current_dir(scratch))?;
    }
    let page = scratch.join("lt.html");
    let whole = fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
    fs::write(scratch.join("player.html"), whole.replacen("</style>", ONLY_PLAYER, 1)).context("cannot write a page")
}

fn pictures(scratch: &Path) -> Result<[Picture; 4]> {
    let page = fs::read_to_string(scratch.join("lt.html")).context("cannot read a page")?;
    // The first moment that the page links to.
    let at = page
        .split_once("<a href=\"#")
        .and_then(|(_, rest)| rest.split_once('"'))
        .map(|(at, _)| at.replace("&amp;", "&"));
    ensure!(at.is_some(), "the page of the herd names no moment");
    let picture = |name, page, size| Picture { name, page, size, at: None };
    Ok([
        picture("herd-lt.png", "lt.html", (1000, 1180)),
        picture("herd-exclusive.png", "exclusive.html", (1000, 1100)),
        picture("compare.png", "compare.html", (1000, 900)),
        Picture { at, ..picture("player.png", "player.html", (1000, 900)) },
    ])
}

fn take(chromium: &Path, scratch: &Path, folder: &Path, picture: &Picture) -> Result<()> {
    let profile = tempfile::tempdir().context("cannot make a folder for the browser")?;
    let to = folder.join(picture.name);
    let at = picture.at.as_ref().map(|at| format!("#{at}")).unwrap_or_default();
    let mut command = Command::new(chromium);
    command
        .args(OPTIONS)
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--window-size={},{}", picture.size.0, picture.size.1))
        .arg(format!("--screenshot={}", to.display()))
        .arg(format!("file://{}{at}", scratch.join(picture.page).display()));
    exec::output(&mut command)?;
    let bytes = fs::metadata(&to).with_context(|| format!("the browser made no {}", to.display()))?.len();
    progress::say(&format!("{} ({} kB)", to.display(), bytes / 1_000));
    Ok(())
}
