//! What a run on one kernel gave, as the judges ask for it.
//!
//! In: demos as they told themselves, beside what was traced of them, and single numbers that other tools gave; or what an earlier
//! run was asked for. Out: numbers and words by name; every answer is kept under its name, so that a verdict and all that it
//! rests on stay together, and can be judged again.

use std::cell::RefCell;
use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

/// How the error begins that says that no tool told something.
pub(crate) const NOT_TOLD: &str = "nothing told ";

/// What one kernel gave.
#[derive(Debug, Default, Clone)]
pub(crate) struct Measured {
    /// For each demo its steps: `scene`, `did`, `saw` (the program) and `kernel` (the trace).
    pub(crate) demos: BTreeMap<String, Vec<Value>>,
    /// Everything else, by name.
    pub(crate) others: BTreeMap<String, Value>,
}

#[derive(Debug)]
enum Source<'a> {
    Run(&'a Measured),
    /// Answers of an earlier run, by their names.
    Answers(BTreeMap<String, Value>),
}

/// Answers the judges, and remembers what was asked.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    source: Source<'a>,
    asked: RefCell<BTreeMap<String, Value>>,
}

/// Which steps of a demo: those whose scene and doing begin like this.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steps {
    pub(crate) demo: &'static str,
    pub(crate) scene: &'static str,
    pub(crate) did: &'static str,
}

pub(crate) const fn steps(demo: &'static str, scene: &'static str, did: &'static str) -> Steps {
    Steps { demo, scene, did }
}

impl<'a> Facts<'a> {
    pub(crate) fn of(measured: &'a Measured) -> Self {
        Self { source: Source::Run(measured), asked: RefCell::default() }
    }

    /// The answers of an earlier run stand for the run.
    pub(crate) fn again(answers: BTreeMap<String, Value>) -> Facts<'static> {
        Facts { source: Source::Answers(answers), asked: RefCell::default() }
    }

    /// All that was asked so far, with the answers.
    pub(crate) fn asked(self) -> BTreeMap<String, Value> {
        self.asked.into_inner()
    }

    /// The sum over all these steps of something that they count, `saw.KEY` or `kernel.KEY`. What a step does not mention it
    /// counted as zero.
    pub(crate) fn sum(&self, which: Steps, key: &'static str) -> Result<u64> {
        let number = self.answer(&name(which, "sum", key), |run| {
            let numbers = run.steps(which)?.into_iter().map(|step| count(step, key));
            Ok(json!(numbers.sum::<Result<u64>>()?))
        })?;
        number.as_u64().with_context(|| format!("{key} of {which:?} is {number}"))
    }

    /// The sum of several counts.
    pub(crate) fn sums(&self, which: Steps, keys: &[&'static str]) -> Result<u64> {
        keys.iter().map(|key| self.sum(which, key)).sum()
    }

    /// What the first of these steps tells.
    pub(crate) fn first(&self, which: Steps, key: &'static str) -> Result<Value> {
        self.answer(&name(which, "first", key), |run| told(run.steps(which)?.first().copied(), which, key))
    }

    /// What the last of these steps tells.
    pub(crate) fn last(&self, which: Steps, key: &'static str) -> Result<Value> {
        self.answer(&name(which, "last", key), |run| told(run.steps(which)?.last().copied(), which, key))
    }

    pub(crate) fn last_number(&self, which: Steps, key: &'static str) -> Result<u64> {
        let value = self.last(which, key)?;
        value.as_u64().with_context(|| format!("{key} of {which:?} is {value}"))
    }

    /// Something that no demo tells.
    pub(crate) fn other(&self, name: &str) -> Result<Value> {
        self.answer(name, |run| run.others.get(name).cloned().with_context(|| format!("{NOT_TOLD}{name}")))
    }

    pub(crate) fn other_number(&self, name: &str) -> Result<u64> {
        let value = self.other(name)?;
        value.as_u64().with_context(|| format!("{name} is {value}"))
    }

    fn answer(&self, name: &str, measure: impl FnOnce(&Measured) -> Result<Value>) -> Result<Value> {
        let value = match &self.source {
            Source::Run(run) => measure(run)?,
            Source::Answers(answers) => {
                answers.get(name).cloned().with_context(|| format!("nobody asked for {name}"))?
            }
        };
        self.asked.borrow_mut().insert(name.to_owned(), value.clone());
        Ok(value)
    }
}

impl Measured {
    fn steps(&self, which: Steps) -> Result<Vec<&Value>> {
        let steps = self.demos.get(which.demo).with_context(|| format!("the demo {} did not run", which.demo))?;
        let begins =
            |step: &Value, key: &str, with: &str| step[key].as_str().is_some_and(|text| text.starts_with(with));
        let found: Vec<&Value> =
            steps.iter().filter(|step| begins(step, "scene", which.scene) && begins(step, "did", which.did)).collect();
        ensure!(!found.is_empty(), "the demo {} has no step `{}: {}`", which.demo, which.scene, which.did);
        Ok(found)
    }
}

fn name(which: Steps, how: &str, key: &str) -> String {
    let Steps { demo, scene, did } = which;
    let did = if did.is_empty() { "all" } else { did };
    let scene = if scene.is_empty() { "all" } else { scene };
    format!("{demo} / {scene} / {did} / {how} of {key}")
}

/// The value at `a.b.c`.
fn at<'v>(step: &'v Value, key: &str) -> Option<&'v Value> {
    key.split('.').try_fold(step, |value, part| value.get(part))
}

/// A count that is not there is zero; that of a part of something which is not there at all is unknown.
fn count(step: &Value, key: &str) -> Result<u64> {
    if let Some(value) = at(step, key) {
        return value.as_u64().with_context(|| format!("{key} is {value}"));
    }
    if let Some((whole, _)) = key.rsplit_once('.')
        && at(step, whole).is_none_or(Value::is_null)
    {
        bail!("{whole} was not counted");
    }
    Ok(0)
}

fn told(step: Option<&Value>, which: Steps, key: &str) -> Result<Value> {
    let value = step.and_then(|step| at(step, key)).filter(|value| !value.is_null());
    value.cloned().with_context(|| format!("{which:?} does not tell {key}"))
}

#[cfg(test)]
mod tests {
    use super::{Facts, Measured, steps};
    use serde_json::json;

    fn measured() -> Measured {
        let mut measured = Measured::default();
        let step = |did: &str, events: u64| json!({"scene": "a, b", "did": did, "saw": {"events": events, "left": 5}, "kernel": {"woken": 1}});
        measured.demos.insert("d".into(), vec![step("wait", 1), step("wait again", 2)]);
        measured.others.insert("type".into(), json!("x"));
        measured
    }

    #[test]
    fn steps_are_found_by_how_they_begin_and_their_counts_summed() {
        let measured = measured();
        let facts = Facts::of(&measured);
        assert_eq!(facts.sum(steps("d", "a", "wait"), "saw.events").unwrap(), 3);
        assert_eq!(facts.sum(steps("d", "", "wait again"), "saw.events").unwrap(), 2);
        assert_eq!(facts.sum(steps("d", "a", ""), "kernel.linked").unwrap(), 0);
        assert_eq!(facts.last_number(steps("d", "", ""), "saw.left").unwrap(), 5);
        assert!(facts.sum(steps("d", "a", "read"), "saw.events").is_err());
        assert!(facts.sum(steps("d", "a", ""), "saw.system_calls.read").is_err());
        assert!(facts.last(steps("d", "a", ""), "saw.mask").is_err());
        assert!(facts.other("nothing").is_err());
    }

    #[test]
    fn what_was_asked_answers_the_same_questions_again() {
        let measured = measured();
        let facts = Facts::of(&measured);
        let ask = |facts: &Facts<'_>| {
            (facts.sum(steps("d", "a", "wait"), "saw.events").unwrap(), facts.other("type").unwrap())
        };
        let first = ask(&facts);
        let again = Facts::again(facts.asked());
        assert_eq!(ask(&again), first);
        assert!(again.sum(steps("d", "a", ""), "kernel.woken").is_err());
    }
}
