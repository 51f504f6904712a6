//! The player's red-black tree, which is rebuilt from the trace, beside the kernel's own, which a snapshot reads: node by node the
//! same depth and the same colour.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{array, snapshots};
use crate::vm::session::JobResult;

/// Out: what the demo built, and a snapshot of it; the page of the recording.
pub(super) const PLAYED: &str = "
rm -f go said
mkfifo go
eptrace record -o played.arrow -- demos standing --json --items 50 < go > said 2> errors & tracer=$!
exec 3> go
until grep -q '}$' said; do kill -0 $tracer || { cat errors; exit 1; }; usleep 10000; done
demo=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/' said)
eptrace snapshot -p $demo --format json > snapshot || exit 1
echo >&3
wait $tracer || exit 1
cat said snapshot
eptrace report --format html -o played.html played.arrow || exit 1
rm -f played.arrow
";

pub(super) const PAGE: &str = "played.html";

/// In order of the keys: descriptor, depth below the root, whether it is red.
type Nodes = Vec<(i64, u64, bool)>;

pub(super) fn judge(result: &JobResult) -> Result<()> {
    let said = snapshots(result)?;
    let [_, snapshot] = said.as_slice() else { anyhow::bail!("{} lines of JSON and not 2", said.len()) };
    let (_, page) = result.files.iter().find(|(name, _)| name.ends_with(PAGE)).context("there is no page")?;
    let data = data(std::str::from_utf8(page).context("the page is not UTF-8")?)?;
    let drawn = drawn(&data)?;
    let mut compared = 0;
    for eventpoll in array(snapshot, "eventpolls")? {
        let real = real(eventpoll)?;
        ensure!(real.is_empty() || drawn.contains(&real), "the player never has the kernel's tree {real:?}");
        compared = compared.max(real.len());
    }
    ensure!(compared > 50, "the largest tree has {compared} items");
    Ok(())
}

/// The player's data in a page.
fn data(page: &str) -> Result<Value> {
    let begin = "<script id=\"data\" type=\"application/json\">";
    let (_, rest) = page.split_once(begin).context("the page has no data")?;
    let (data, _) = rest.split_once("</script>").context("the page's data has no end")?;
    serde_json::from_str(data).context("the page's data is no JSON")
}

/// Every tree that the player draws.
fn drawn(data: &Value) -> Result<Vec<Nodes>> {
    let parts = array(data, "parts")?;
    let steps = parts.iter().flat_map(|part| part["scenes"].as_array().into_iter().flatten());
    let steps = steps.flat_map(|scene| scene["steps"].as_array().into_iter().flatten());
    let node = |node: &Value| Some((node[1].as_i64()?, node[2].as_u64()?, node[3].as_bool()?));
    let tree = |tree: &Value| tree.as_array()?.iter().map(node).collect::<Option<Nodes>>();
    let trees = steps.filter(|step| step["p"].get("tree").is_some()).map(|step| tree(&step["p"]["tree"]));
    trees.collect::<Option<Vec<_>>>().context("a tree of the player is no list of nodes")
}

/// The tree of an eventpoll of a snapshot.
fn real(eventpoll: &Value) -> Result<Nodes> {
    let items = array(eventpoll, "items")?;
    let depth = |item: &Value| item["depth"].as_u64().context("an item without depth");
    let root = items.iter().map(depth).collect::<Result<Vec<_>>>()?.into_iter().min().unwrap_or(0);
    let node = |item: &Value| {
        let fd = item["fd"].as_i64().context("an item without a descriptor")?;
        Ok((fd, depth(item)? - root, item["colour"] == "red"))
    };
    items.iter().map(node).collect()
}

#[cfg(test)]
mod tests {
    use super::{data, drawn, real};
    use serde_json::json;

    #[test]
    fn the_trees_of_page_and_snapshot_are_read_alike() {
        let page = "<x><script id=\"data\" type=\"application/json\">{\"parts\": [{\"scenes\": [{\"steps\": [
            {\"p\": {}}, {\"p\": {\"tree\": [[1, 5, 1, true], [2, 7, 0, false]]}}]}]}]}</script>";
        let nodes = vec![(5, 1, true), (7, 0, false)];
        assert_eq!(drawn(&data(page).unwrap()).unwrap().concat(), nodes);
        let snapshot =
            json!({"items": [{"fd": 5, "depth": 2, "colour": "red"}, {"fd": 7, "depth": 1, "colour": "black"}]});
        assert_eq!(real(&snapshot).unwrap(), nodes);
        assert!(
            data("<html>").is_err()
                && drawn(&json!({"parts": [{"scenes": [{"steps": [{"p": {"tree": [1]}}]}]}]})).is_err()
        );
    }
}
