//! Whether a snapshot's tree is a red-black tree, judged anew from its items, and whether it is the one that fdinfo lists.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{array, number, snapshots};
use crate::vm::session::JobResult;

/// Every rule of red-black trees, from the items of a snapshot that shows them all.
pub(super) fn sound(eventpoll: &Value) -> Result<()> {
    let items = array(eventpoll, "items")?;
    let tree = &eventpoll["tree"];
    ensure!(array(tree, "faults")?.is_empty(), "eptrace found faults: {tree}");
    ensure!(
        number(tree, "left_out")? == 0 && number(tree, "items")? == items.len() as u64,
        "items are left out: {tree}"
    );
    let Some(root) = tree["root"].as_u64() else {
        ensure!(items.is_empty(), "there are items and no root");
        return Ok(());
    };
    ensure!(is_black(items, root)?, "the root is red");
    let mut in_order = Vec::new();
    let height = below(items, root, None, &mut in_order)?;
    ensure!(in_order.iter().copied().eq(0..items.len() as u64), "the walk from the root is not the order of the items");
    ensure!(number(tree, "black_height")? == height, "the black height is {height}: {tree}");
    Ok(())
}

fn is_black(items: &[Value], item: u64) -> Result<bool> {
    match items.get(usize::try_from(item)?).context("there is no such item")?["colour"].as_str() {
        Some("black") => Ok(true),
        Some("red") => Ok(false),
        other => anyhow::bail!("item {item} has the colour {other:?}"),
    }
}

/// The black nodes on every way down from here; `in_order` grows by the items on the way.
fn below(items: &[Value], item: u64, parent: Option<u64>, in_order: &mut Vec<u64>) -> Result<u64> {
    ensure!(in_order.len() <= items.len(), "the tree has a circle");
    let row = &items[usize::try_from(item)?];
    ensure!(row["parent"].as_u64() == parent, "item {item} has another parent: {row}");
    let black = is_black(items, item)?;
    let way = |child: &Value, in_order: &mut Vec<u64>| -> Result<u64> {
        let Some(child) = child.as_u64() else { return Ok(0) };
        ensure!(black || is_black(items, child)?, "item {item} is red and has a red child");
        below(items, child, Some(item), in_order)
    };
    let left = way(&row["left"], in_order)?;
    in_order.push(item);
    let right = way(&row["right"], in_order)?;
    ensure!(left == right, "below item {item} one way has {left} black nodes, another {right}");
    Ok(left + u64::from(black))
}

/// In: the demo's line, the snapshot's, and the lines of fdinfo.
pub(super) fn judge(result: &JobResult) -> Result<()> {
    let said = snapshots(result)?;
    let [demo, snapshot] = said.as_slice() else { anyhow::bail!("{} lines of JSON and not 2", said.len()) };
    let [eventpoll] = array(snapshot, "eventpolls")?.as_slice() else { anyhow::bail!("not one eventpoll") };
    ensure!(eventpoll["consistent"] == true, "nothing changes, and yet it is torn: {}", eventpoll["torn"]);
    sound(eventpoll)?;
    let out = result.out();
    let fdinfo: Vec<&str> = out.lines().filter(|line| line.starts_with("tfd:")).collect();
    let items = array(eventpoll, "items")?;
    ensure!(items.len() == fdinfo.len() && items.len() > 10_000, "{} items, {} lines", items.len(), fdinfo.len());
    for (item, line) in items.iter().zip(fdinfo) {
        let data = item["data"].as_str().and_then(|data| data.strip_prefix("0x")).context("an item without data")?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let mask = format!("{:x}", number(item, "mask")?);
        let expected = ["tfd:", &item["fd"].to_string(), "events:", &mask, "data:", data].map(str::to_owned);
        ensure!(words.get(..6) == Some(&expected.each_ref().map(String::as_str)[..]), "{line} is shown as {item}");
    }
    super::standing::ready_as_built(&demo["eventpolls"][0], eventpoll)
}

#[cfg(test)]
mod tests {
    use super::sound;
    use serde_json::{Value, json};

    fn tree() -> Value {
        let item = |colour: &str, parent: Option<u64>, left: Option<u64>, right: Option<u64>| json!({"colour": colour, "parent": parent, "left": left, "right": right});
        json!({"tree": {"faults": [], "left_out": 0, "items": 4, "root": 1, "black_height": 2}, "items": [
            item("black", Some(1), None, None),
            item("black", None, Some(0), Some(2)),
            item("black", Some(1), None, Some(3)),
            item("red", Some(2), None, None)]})
    }

    #[test]
    fn every_rule_of_the_tree_is_judged_anew() {
        assert!(sound(&tree()).is_ok());
        for (path, value) in [
            ("/tree/faults", json!(["x"])),
            ("/tree/root", json!(0)),
            ("/tree/black_height", json!(3)),
            ("/tree/items", json!(5)),
            ("/items/1/colour", json!("red")),
            ("/items/2/colour", json!("red")),
            ("/items/3/colour", json!("black")),
            ("/items/3/parent", json!(1)),
            ("/items/1/left", json!(2)),
            ("/items/3/right", json!(1)),
        ] {
            let mut tree = tree();
            *tree.pointer_mut(path).unwrap() = value;
            assert!(sound(&tree).is_err(), "{path}");
        }
    }
}
