//! The demo `standing`: what it built is what three snapshots show.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{array, number, snapshots, tree};
use crate::vm::session::JobResult;

/// In: what the demo built, that its scan has gone on, and the snapshots from before, meanwhile and after.
pub(super) fn judge(result: &JobResult) -> Result<()> {
    let said = snapshots(result)?;
    let [demo, _, stuck, waiting, after] = said.as_slice() else {
        anyhow::bail!("{} lines of JSON, not 5", said.len())
    };
    for built in array(demo, "eventpolls")? {
        let what = || format!("the eventpoll {}", built["what"]);
        if built["what"] == "held" {
            scan_was_stuck(built, eventpoll(stuck, built)?).context("the stuck scan")?;
            scan_was_waited_for(built, eventpoll(waiting, built)?).context("the scan that was waited for")?;
            let over = eventpoll(after, built)?;
            ensure!(over["scan"].is_null(), "there is no scan any more: {}", over["scan"]);
            ready_are(over, array(built, "ready_after")?).context("after the scan")?;
        } else {
            as_built(built, eventpoll(stuck, built)?).with_context(what)?;
            as_built(built, eventpoll(after, built)?).with_context(what)?;
        }
    }
    Ok(())
}

/// The eventpoll of a snapshot that the demo means.
fn eventpoll<'a>(snapshot: &'a Value, built: &Value) -> Result<&'a Value> {
    let is_it = |eventpoll: &&Value| eventpoll["holders"][0]["epfd"] == built["epfd"];
    array(snapshot, "eventpolls")?.iter().find(is_it).with_context(|| format!("no eventpoll {}", built["epfd"]))
}

fn as_built(built: &Value, found: &Value) -> Result<()> {
    ensure!(found["consistent"] == true, "nothing changes, and yet it is torn: {}", found["torn"]);
    tree::sound(found)?;
    let holders: Vec<&Value> = array(found, "holders")?.iter().map(|holder| &holder["epfd"]).collect();
    let expected: Vec<&Value> = std::iter::once(&built["epfd"]).chain(array(built, "copies")?).collect();
    ensure!(holders == expected, "it is open as {holders:?}, not {expected:?}");

    let items = array(found, "items")?;
    ensure!(items.len() == array(built, "items")?.len(), "{} items", items.len());
    for wanted in array(built, "items")? {
        let item = item(found, &wanted["fd"])?;
        let data = format!("{:#x}", number(wanted, "data")?);
        ensure!(item["mask"] == wanted["events"] && item["data"] == data.as_str(), "{wanted} is shown as {item}");
        let gone = array(built, "gone")?.iter().find(|gone| gone[0] == wanted["fd"]);
        let (state, instead) = gone.map_or((json!("open"), json!([])), |gone| (gone[1].clone(), json!([gone[2]])));
        ensure!(item["descriptor"] == state && item["instead"] == instead, "it is {state} with {instead}: {item}");
    }
    ready_as_built(built, found)?;
    let asleep: Vec<&Value> = array(found, "waiters")?.iter().map(|waiter| &waiter["tid"]).collect();
    ensure!(asleep.iter().eq(&array(built, "asleep")?.iter().collect::<Vec<_>>()), "asleep are {asleep:?}");
    let exclusive = |waiter: &Value| waiter["exclusive"] == true;
    ensure!(array(found, "waiters")?.iter().all(exclusive), "not all that sleep are exclusive");
    if let Some([place, entries, exclusives]) = built["queue"].as_array().map(Vec::as_slice) {
        let entry = &items.first().context("no item")?["chain"][0];
        let same = entry["position"] == *place && entry["entries"] == *entries && entry["epolls"] == *entries;
        let is_exclusive = place.as_u64() >= Some(2);
        ensure!(
            same && entry["exclusive"] == *exclusives && entry["is_exclusive"] == is_exclusive,
            "its entry stands at {place} of {entries}: {entry}"
        );
    }
    if let Some(inner) = built["inner"].as_u64() {
        let item = item(found, &json!(inner))?;
        ensure!(item["file_kind"] == "epoll" && item["inner"].is_string(), "no eventpoll in {item}");
    }
    Ok(())
}

fn item<'a>(eventpoll: &'a Value, fd: &Value) -> Result<&'a Value> {
    array(eventpoll, "items")?.iter().find(|item| item["fd"] == *fd).with_context(|| format!("no item {fd}"))
}

/// The ready list is the demo's, and each item knows its place on it.
pub(super) fn ready_as_built(built: &Value, found: &Value) -> Result<()> {
    ready_are(found, array(built, "ready")?)
}

fn ready_are(found: &Value, expected: &[Value]) -> Result<()> {
    let ready = descriptors(found, array(found, "ready")?)?;
    ensure!(ready.iter().copied().eq(expected), "the ready list is {ready:?}, not {expected:?}");
    for (place, fd) in expected.iter().enumerate() {
        ensure!(item(found, fd)?["ready"] == place, "item {fd} does not know its place");
    }
    Ok(())
}

fn descriptors<'a>(eventpoll: &'a Value, places: &[Value]) -> Result<Vec<&'a Value>> {
    let items = array(eventpoll, "items")?;
    let descriptor = |place: &Value| {
        let item = usize::try_from(number(place, "item")?)?;
        Ok(&items.get(item).context("there is no such item")?["fd"])
    };
    places.iter().map(descriptor).collect()
}

/// The mutex cannot be had: what stands before it is shown, and whose it is.
fn scan_was_stuck(built: &Value, found: &Value) -> Result<()> {
    ensure!(found["torn"][0]["what"] == "held", "it is not held: {}", found["torn"]);
    ensure!(found["mutex_owner"]["tid"] == built["scans"], "the mutex is held by {}", found["mutex_owner"]);
    let overflow = array(&found["scan"], "overflow")?;
    ensure!(overflow.len() == array(built, "overflow")?.len(), "the overflow list is {overflow:?}");
    Ok(())
}

/// The scan went on while the snapshot waited: the tree is there, and what the overflow list was.
fn scan_was_waited_for(built: &Value, found: &Value) -> Result<()> {
    ensure!(found["consistent"] == true, "it is torn: {}", found["torn"]);
    tree::sound(found)?;
    ensure!(found["mutex_owner"]["tid"] == built["scans"], "the mutex was held by {}", found["mutex_owner"]);
    let overflow = descriptors(found, array(&found["scan"], "overflow")?)?;
    let expected = array(built, "overflow")?;
    ensure!(overflow.iter().copied().eq(expected), "the overflow list is {overflow:?}, not {expected:?}");
    Ok(())
}
