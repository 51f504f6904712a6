//! The pages in a real Chromium: they load without network and without a word on the console, the player shows what the model has,
//! names stay text, a large trace opens at once.
//!
//! In: the browser's path in `EPTRACE_CHROMIUM`, as `cargo xtask test` gives it; without it there is nothing to run. Out: the usual
//! lines of a test. Each test makes a trace, has the program write the page, and asks the browser.

mod chromium;
mod traces;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use eptrace::analysis::history::Watch;
use eptrace::analysis::player::{Camera, Plan, Play, State};
use eptrace::event::{Event, TraceInfo};
use eptrace::model::{EpId, Model};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};

use chromium::Chromium;
use traces::{HOSTILE_TARGET, Herd};

type Outcome = Result<(), Failed>;

/// A test: its name, and what it does with a browser.
type Test = (&'static str, fn(&Path) -> Outcome);

/// How long a page of a million events may take until one has stepped through it. Measured here: about half a second.
const USABLE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let Some(browser) = std::env::var_os("EPTRACE_CHROMIUM").map(PathBuf::from) else {
        eprintln!("EPTRACE_CHROMIUM does not name a browser: the pages are tested by `cargo xtask test`");
        return ExitCode::SUCCESS;
    };
    let tests: [Test; 8] = [
        ("browser::a_page_asks_for_nothing_and_has_no_errors", quiet),
        ("browser::a_comparison_asks_for_nothing_and_has_no_errors", quiet_comparison),
        ("browser::ten_states_of_the_player_are_those_of_the_model", ten_states),
        ("browser::hostile_names_stay_text_in_the_whole_page", hostile),
        ("browser::a_page_of_a_million_events_is_usable_within_five_seconds", million),
        ("browser::the_page_fits_the_width_of_a_phone", phone),
        ("browser::the_player_is_driven_by_the_keyboard", keyboard),
        ("browser::the_player_goes_on_with_steps_that_are_fed_to_it", fed),
    ];
    let trial = |(name, test): Test| {
        let browser = browser.clone();
        Trial::test(name, move || test(&browser))
    };
    libtest_mimic::run(&arguments, tests.into_iter().map(trial).collect()).exit_code()
}

/// Fails with what was found.
fn ensure(holds: bool, found: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(found().into()) }
}

/// A folder with a trace and its page.
struct Made {
    folder: tempfile::TempDir,
}

impl Made {
    fn page(herd: &Herd) -> Result<Self, Failed> {
        let made = Self { folder: tempfile::tempdir()? };
        herd.write(&made.path("trace"))?;
        made.eptrace(&["report", "--format", "html", "-o", "page.html", "trace"])?;
        Ok(made)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn eptrace(&self, arguments: &[&str]) -> Outcome {
        let output =
            Command::new(env!("CARGO_BIN_EXE_eptrace")).args(arguments).current_dir(self.folder.path()).output()?;
        ensure(output.status.success(), || String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn open(&self, browser: &Path) -> Result<Chromium, Failed> {
        Ok(Chromium::open(browser, &self.path("page.html"))?)
    }
}

/// The page was all that the browser asked for, and it had nothing to say.
fn is_quiet(chromium: &Chromium) -> Outcome {
    ensure(chromium.said().is_empty(), || format!("the console says {:?}", chromium.said()))?;
    let [page] = chromium.requests() else { return Err(format!("asked for {:?}", chromium.requests()).into()) };
    ensure(page.starts_with("file://"), || page.clone())
}

fn quiet(browser: &Path) -> Outcome {
    let made = Made::page(&Herd::new(4, 30))?;
    for dark in [false, true] {
        let mut chromium = made.open(browser)?;
        chromium.dark(dark)?;
        let steps =
            chromium.ask("document.querySelectorAll('button').forEach((b) => b.click()); eptrace.parts().length")?;
        ensure(steps == json!(4), || format!("{steps} eventpolls"))?;
        is_quiet(&chromium)?;
    }
    Ok(())
}

fn quiet_comparison(browser: &Path) -> Outcome {
    let made = Made { folder: tempfile::tempdir()? };
    Herd::new(4, 30).write(&made.path("before"))?;
    Herd::new(1, 30).write(&made.path("after"))?;
    made.eptrace(&["compare", "--format", "html", "-o", "page.html", "before", "after"])?;
    let mut chromium = made.open(browser)?;
    let head = chromium.ask("document.querySelector('h1').innerText")?;
    ensure(head.as_str().is_some_and(|head| head.contains("3.00 → 0.00")), || head.to_string())?;
    is_quiet(&chromium)
}

fn info() -> TraceInfo {
    TraceInfo { target: "-- herd".to_owned(), ..TraceInfo::default() }
}

/// What the program's own player has of these events.
fn play(events: &[Event]) -> Play {
    let (mut model, mut watch) = (Model::new(), Watch::new());
    model.keep_journal();
    for event in events {
        model.apply(event);
        watch.see(event, &model);
    }
    model.finish();
    let plan = Plan::of_history(&watch.finish(&model, &info()));
    let (mut model, mut camera) = (Model::new(), Camera::new(plan));
    model.keep_journal();
    for event in events {
        model.apply(event);
        camera.see(event, &model, &info());
    }
    camera.finish()
}

/// An eventpoll as the model has it: descriptors on its lists in their order, and the tasks that wait.
fn model_says(model: &Model, ep: EpId) -> Value {
    let fd = |id: &eptrace::model::ItemId| model.items().get(*id).map(|item| item.fd);
    let lists = model.lists(ep, 1_000).unwrap_or_default();
    let tasks = model.waiting_tasks(ep).into_iter().filter_map(|waiter| {
        let task = model.tasks().get(waiter.task)?;
        Some(json!([task.tid, waiter.woken]))
    });
    json!({
        "items": model.first_items(ep, 1_000).map(|item| json!([item.fd, item.events])).collect::<Vec<_>>(),
        "ready": lists.ready.iter().map(fd).collect::<Vec<_>>(),
        "overflow": lists.overflow.iter().map(fd).collect::<Vec<_>>(),
        "tasks": tasks.collect::<Vec<_>>(),
    })
}

/// The same of the page's state.
const PAGE_SAYS: &str = "(() => { const s = eptrace.state(INDEX); return {
    items: Object.values(s.items).map((i) => [i.fd, i.events]),
    ready: s.ready.map((id) => s.items[id].fd), overflow: s.overflow.map((id) => s.items[id].fd),
    tasks: s.tasks.map((t) => [Number(t.name.split('/').at(-1)), t.woken]) }; })()";

/// The nodes of the tree that is drawn: descriptor, and whether it is red.
const DRAWN: &str = "[...document.querySelectorAll('#d-tree g')].map(
    (node) => [node.querySelector('text').textContent, node.classList.contains('red')])";

fn ten_states(browser: &Path) -> Outcome {
    let herd = Herd::new(4, 40);
    let events = herd.events();
    let play = play(&events);
    let made = Made::page(&herd)?;
    let mut chromium = made.open(browser)?;
    let mut compared = 0;
    for (ep, part) in &play.parts {
        let steps: Vec<_> = part.scenes.iter().flat_map(|scene| &scene.steps).collect();
        let which = format!("eptrace.select(eptrace.parts().findIndex((part) => part.ep === {}))", ep.number());
        chromium.ask(&which)?;
        // Three steps of each eventpoll, spread over all of them: twelve.
        for at in [steps.len() / 5, steps.len() / 2, steps.len() - 1] {
            let mut model = Model::new();
            let reached = events.iter().position(|event| *event == steps[at].event).ok_or("no such event")?;
            events[..=reached].iter().for_each(|event| model.apply(event));
            let shown = chromium.ask(&PAGE_SAYS.replace("INDEX", &at.to_string()))?;
            let expected = model_says(&model, *ep);
            ensure(shown == expected, || format!("step {at} of {ep:?}: the page has {shown}, the model {expected}"))?;
            let mut state = State::default();
            steps[..=at].iter().for_each(|step| step.patch.apply(&mut state));
            let drawn = chromium.ask(&format!("eptrace.go({at}); {DRAWN}"))?;
            let tree: Vec<_> = state.tree.iter().map(|node| json!([node.fd.to_string(), node.red])).collect();
            ensure(!tree.is_empty() && drawn == json!(tree), || format!("step {at}: drawn {drawn}, not {tree:?}"))?;
            compared += 1;
        }
    }
    ensure(compared >= 10, || format!("only {compared} states"))
}

fn hostile(browser: &Path) -> Outcome {
    let made = Made::page(&Herd::hostile())?;
    let mut chromium = made.open(browser)?;
    let steps = "for (let p = 0; p < eptrace.parts().length; p += 1) { eptrace.select(p);
        for (let i = 0; i < eptrace.parts()[p].steps; i += 1) eptrace.go(i); }";
    chromium.ask(steps)?;
    let found = chromium.ask(
        "[document.scripts.length, document.images.length, document.querySelectorAll('b[hostile]').length,
          window.owned === undefined, document.title]",
    )?;
    ensure(found == json!([2, 0, 0, true, "eptrace report"]), || found.to_string())?;
    let text = chromium.ask("document.body.textContent")?;
    let text = text.as_str().unwrap_or_default();
    ensure(text.contains(HOSTILE_TARGET), || "the target is not shown as it is".to_owned())?;
    ensure(text.contains("<script>owned=") && text.contains("\\u{1b}]0;x"), || "the names are not shown".to_owned())?;
    ensure(!text.contains('\u{1b}'), || "an escape character is in the page".to_owned())?;
    is_quiet(&chromium)
}

fn million(browser: &Path) -> Outcome {
    let herd = Herd::new(4, 50_000);
    let number = herd.events().len();
    ensure(number >= 1_000_000, || format!("only {number} events"))?;
    let made = Made::page(&herd)?;
    let size = std::fs::metadata(made.path("page.html"))?.len();
    ensure(size < 8 << 20, || format!("the page has {size} bytes"))?;
    let mut chromium = Chromium::start(browser)?;
    let begun = Instant::now();
    chromium.navigate(&made.path("page.html"))?;
    let line = chromium.ask(
        "eptrace.go(20); document.querySelector('.moments a').click(); document.querySelector('#p-next').click();
        document.querySelector('#p-line').innerText",
    )?;
    let took = begun.elapsed();
    ensure(line.as_str().is_some_and(|line| !line.is_empty()), || line.to_string())?;
    let said = chromium.ask("document.querySelector('#player .hint').innerText")?;
    ensure(said.as_str().is_some_and(|said| said.contains("steps are in this page")), || said.to_string())?;
    println!("{number} events: {size} bytes, usable after {} ms", took.as_millis());
    ensure(took < USABLE, || format!("usable only after {took:?}"))
}

fn phone(browser: &Path) -> Outcome {
    let made = Made::page(&Herd::new(4, 30))?;
    let mut chromium = made.open(browser)?;
    chromium.size(390, 844)?;
    let width = chromium.ask("document.documentElement.scrollWidth")?;
    ensure(width.as_u64().is_some_and(|width| width <= 390), || format!("{width} pixels wide"))
}

fn keyboard(browser: &Path) -> Outcome {
    let made = Made::page(&Herd::new(2, 30))?;
    let mut chromium = made.open(browser)?;
    chromium.ask("document.querySelector('#player-body').focus()")?;
    let mut places = Vec::new();
    for key in ["ArrowRight", "ArrowRight", "ArrowLeft", "End", "Home"] {
        chromium.press(key)?;
        places.push(chromium.ask("eptrace.now().index")?);
    }
    let last = chromium.ask("eptrace.parts()[0].steps - 1")?;
    ensure(places == [json!(1), json!(2), json!(1), last, json!(0)], || format!("{places:?}"))
}

fn fed(browser: &Path) -> Outcome {
    let made = Made::page(&Herd::new(2, 3))?;
    let mut chromium = made.open(browser)?;
    let found = chromium.ask(
        "(() => { const last = eptrace.parts()[0].steps; const before = eptrace.state(last - 1);
            eptrace.feed(0, { t: 9e9, k: 'callback', l: 'a step from elsewhere', p: { ready: [], ready_total: 0, items: { 99: { fd: 77, events: 1 } } } });
            eptrace.go(last);
            const after = eptrace.state(last);
            return [after.items['99'].fd, after.ready_total, after.items_total === before.items_total, document.querySelector('#p-line').innerText]; })()",
    )?;
    ensure(found == json!([77, 0, true, "a step from elsewhere"]), || found.to_string())
}
