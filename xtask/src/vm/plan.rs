//! What the guest is to do: written by the host into the initramfs, read by the guest's init.

use serde::{Deserialize, Serialize};

/// Where the plan lies in the guest.
pub(crate) const PLAN_PATH: &str = "/plan.json";

/// Where the modules lie that the guest loads first.
pub(crate) const MODULES_PATH: &str = "/modules";

/// The jobs of one boot, run one after another.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) jobs: Vec<Job>,
}

/// One command in the guest.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Job {
    /// The name by which the host speaks of it.
    pub(crate) name: String,
    /// Program and arguments; the program is looked up on the guest's `PATH`.
    pub(crate) argv: Vec<String>,
    /// Variables on top of the guest's small environment.
    #[serde(default)]
    pub(crate) env: Vec<(String, String)>,
    /// The working directory, `/work` when empty; created when missing.
    #[serde(default)]
    pub(crate) cwd: String,
    /// After so many seconds the job is killed.
    pub(crate) timeout_s: u64,
    /// Files to send back when the job has ended; relative ones lie in the working directory.
    #[serde(default)]
    pub(crate) returns: Vec<String>,
}

impl Job {
    /// A job without returned files.
    pub(crate) fn new(name: &str, argv: &[&str], timeout_s: u64) -> Self {
        Self {
            name: name.to_owned(),
            argv: argv.iter().map(|&word| word.to_owned()).collect(),
            timeout_s,
            ..Self::default()
        }
    }

    /// The same job, with files to send back.
    pub(crate) fn returning(mut self, files: &[&str]) -> Self {
        self.returns = files.iter().map(|&file| file.to_owned()).collect();
        self
    }
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ending {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Signalled(i32),
    /// It outlived its time and was killed.
    TimedOut,
    /// It could not be started.
    NotStarted,
}

impl Ending {
    /// The code a shell would give.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Exited(code) => u8::try_from(code).unwrap_or(u8::MAX),
            Self::Signalled(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
            Self::TimedOut => 124,
            Self::NotStarted => 127,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Ending, Job, Plan};

    #[test]
    fn a_plan_survives_the_way_to_the_guest() {
        let plan = Plan { jobs: vec![Job::new("one", &["/bin/true", "x y"], 5).returning(&["out"])] };
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    }

    #[test]
    fn what_a_plan_leaves_out_is_empty() {
        let plan: Plan = serde_json::from_str(r#"{"jobs":[{"name":"a","argv":["b"],"timeout_s":1}]}"#).unwrap();
        assert!(plan.jobs[0].returns.is_empty() && plan.jobs[0].cwd.is_empty());
    }

    #[test]
    fn endings_have_the_codes_a_shell_gives() {
        assert_eq!(Ending::Exited(3).code(), 3);
        assert_eq!(Ending::Signalled(9).code(), 137);
        assert_eq!(Ending::TimedOut.code(), 124);
        assert_eq!(Ending::NotStarted.code(), 127);
    }
}
