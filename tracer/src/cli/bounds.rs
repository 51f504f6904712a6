//! How much is remembered at once.

use clap::Args;

use crate::model::{Limits, Model};

/// Bounds of what is kept in memory.
#[derive(Debug, Clone, Args)]
pub(super) struct BoundsArgs {
    /// Live items, files, eventpolls, tasks and open wakeups (each) that are remembered at once; what does not fit is counted
    #[arg(long, default_value_t = Limits::DEFAULT_LIVE, value_name = "N", value_parser = clap::value_parser!(u32).range(64..=16_777_216))]
    max_live: u32,
}

impl BoundsArgs {
    /// An empty model with these bounds.
    pub(super) fn model(&self) -> Model {
        Model::with_limits(Limits::live(self.max_live))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use tracer_common::events::MAX_FRAMES;
    use tracer_common::{MAX_RETURNED, MAX_WALKED, snapshot};

    use crate::cli::Cli;
    use crate::decode::WINDOW_NS;
    use crate::model::Limits;
    use crate::output::MAX_ROWS;
    use crate::snapshot::MAX_ITEMS_READ;
    use crate::source::live::HELD_AT_MOST;

    const README: &str = include_str!("../../../README.md");

    /// What an option of a command is unless it is given, as `--help` says.
    fn default_of(command: &str, option: &str) -> String {
        let cli = Cli::command();
        let command = cli.find_subcommand(command).unwrap();
        let argument = command.get_arguments().find(|argument| argument.get_long() == Some(option)).unwrap();
        let [value] = argument.get_default_values() else { panic!("--{option} has not one default") };
        value.to_str().unwrap().to_owned()
    }

    #[test]
    fn the_table_of_bounds_in_the_readme_is_that_of_the_code() {
        let table: Vec<(String, String)> = README
            .lines()
            .skip_while(|line| !line.starts_with("| what is bounded |"))
            .skip(2)
            .take_while(|line| line.starts_with('|'))
            .map(|line| {
                let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
                assert!(cells.len() == 4 && !cells[0].is_empty() && !cells[3].is_empty(), "{line}");
                (cells[1].replace('`', ""), cells[2].to_owned())
            })
            .collect();
        let limits = Limits::default();
        let option = |command: &str, option: &str, shown: &str, unit: &str| {
            (format!("--{option} {shown}"), format!("{}{unit}", default_of(command, option)))
        };
        let fixed = |value: String| ("fixed".to_owned(), value);
        let code = vec![
            option("record", "buffer", "MIB", " MiB"),
            option("record", "max-tracked", "N", ""),
            option("report", "max-live", "N", ""),
            option("snapshot", "max-items", "N", ""),
            fixed(format!("{} ms", WINDOW_NS / 1_000_000)),
            fixed(MAX_RETURNED.to_string()),
            fixed(MAX_WALKED.to_string()),
            fixed(HELD_AT_MOST.to_string()),
            fixed(MAX_FRAMES.to_string()),
            fixed(limits.batch.to_string()),
            fixed(limits.latencies.to_string()),
            fixed(limits.retired.to_string()),
            fixed(MAX_ROWS.to_string()),
            fixed(snapshot::MAX_WAITERS.to_string()),
            fixed(MAX_ITEMS_READ.to_string()),
        ];
        assert_eq!(table, code);
    }

    #[test]
    fn every_command_that_has_a_bound_has_the_same_default() {
        for option in ["buffer", "max-tracked", "max-live"] {
            let cli = Cli::command();
            let having = cli
                .get_subcommands()
                .filter(|command| command.get_arguments().any(|argument| argument.get_long() == Some(option)));
            let defaults: Vec<String> = having.map(|command| default_of(command.get_name(), option)).collect();
            assert!(defaults.len() > 1 && defaults.windows(2).all(|pair| pair[0] == pair[1]), "{option}: {defaults:?}");
        }
    }
}
