//! The verdicts of a run, as they are kept: `docs/claims.json`.
//!
//! In: what each kernel gave. Out: for every statement the verdict over all kernels, and for each kernel the verdict, the points and
//! every number that was asked for, so that all of it can be judged again without a kernel.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::claims::facts::Facts;
use crate::claims::interview::{self, Answer};
use crate::claims::judge::{Point, Verdict, overall};
use crate::claims::runs::Kernel;
use crate::claims::{Claim, How, judges};

const SCHEMA_VERSION: u32 = 1;

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) schema_version: u32,
    pub(crate) kind: String,
    /// When it began, UTC.
    pub(crate) started: String,
    pub(crate) kernels: Vec<OneKernel>,
    pub(crate) claims: Vec<OneClaim>,
    pub(crate) interview: Vec<Answer>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct OneKernel {
    pub(crate) release: String,
    pub(crate) version: String,
    /// Records that the trace lost. Verdicts are those of a run that lost none, unless this says otherwise.
    pub(crate) lost: u64,
    /// What could not be measured.
    pub(crate) troubles: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct OneClaim {
    pub(crate) id: String,
    pub(crate) section: String,
    pub(crate) statement: String,
    pub(crate) verdict: String,
    pub(crate) command: Option<String>,
    pub(crate) not_run: Option<String>,
    /// In the order of the record's kernels.
    pub(crate) kernels: Vec<OnKernel>,
}

/// A statement on one kernel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct OnKernel {
    pub(crate) verdict: Verdict,
    pub(crate) points: Vec<Point>,
    /// All that was asked, with the answers.
    pub(crate) numbers: BTreeMap<String, Value>,
    pub(crate) not_run: Option<String>,
}

impl Record {
    /// Judges the statements that `chosen` wants.
    pub(crate) fn of(
        kernels: &[Kernel],
        releases: &[String],
        started: String,
        chosen: &dyn Fn(&Claim) -> bool,
    ) -> Self {
        let named = kernels.iter().zip(releases).map(|(kernel, release)| OneKernel {
            release: release.clone(),
            version: kernel.version.clone(),
            lost: kernel.lost,
            troubles: kernel.troubles.clone(),
        });
        let judge =
            |claim: &Claim| kernels.iter().map(|kernel| OnKernel::of(claim, Facts::of(&kernel.measured))).collect();
        Self::judged(started, named.collect(), chosen, &judge)
    }

    /// Judges the numbers of an earlier run again.
    pub(crate) fn again(&self) -> Self {
        let judge = |claim: &Claim| {
            let written = self.claims.iter().find(|written| written.id == claim.id);
            let numbers = |place: usize| {
                let on = written.and_then(|written| written.kernels.get(place));
                on.map(|on| on.numbers.clone()).unwrap_or_default()
            };
            (0..self.kernels.len()).map(|place| OnKernel::of(claim, Facts::again(numbers(place)))).collect()
        };
        Self::judged(self.started.clone(), self.kernels.clone(), &|_| true, &judge)
    }

    fn judged(
        started: String,
        kernels: Vec<OneKernel>,
        chosen: &dyn Fn(&Claim) -> bool,
        judge: &dyn Fn(&Claim) -> Vec<OnKernel>,
    ) -> Self {
        let claims: Vec<OneClaim> = judges::all()
            .filter(|claim| chosen(claim))
            .map(|claim| OneClaim::of(claim, judge(claim), &kernels))
            .collect();
        let interview = interview::answers(&claims);
        Self { schema_version: SCHEMA_VERSION, kind: "claims".to_owned(), started, kernels, claims, interview }
    }
}

impl OneClaim {
    fn of(claim: &Claim, on: Vec<OnKernel>, kernels: &[OneKernel]) -> Self {
        let versions = kernels.iter().map(|kernel| kernel.version.as_str());
        Self {
            id: claim.id.to_owned(),
            section: claim.section.to_owned(),
            statement: claim.says.to_owned(),
            verdict: overall(versions.zip(on.iter().map(|on| on.verdict))),
            command: claim.command(),
            not_run: match claim.how {
                How::NotRun(why) => Some(why.to_owned()),
                How::Run { .. } => None,
            },
            kernels: on,
        }
    }
}

impl OnKernel {
    /// What the facts say of the statement.
    pub(crate) fn of(claim: &Claim, facts: Facts<'_>) -> Self {
        let (points, not_run) = match claim.how {
            How::NotRun(why) => (Vec::new(), Some(why.to_owned())),
            How::Run { judge, .. } => match judge(&facts) {
                Ok(points) => (points, None),
                Err(error) => (Vec::new(), Some(format!("{error:#}"))),
            },
        };
        Self { verdict: Verdict::of(&points), points, numbers: facts.asked(), not_run }
    }
}
