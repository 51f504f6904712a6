//! Stays on ready lists, in words.

use super::layout::count;
use crate::model::Memberships;

/// Why they began and ended; and, where it happened, how often the program's array could not be written.
pub(super) fn lines(stays: &Memberships) -> Vec<String> {
    let (came, went) = (&stays.came, &stays.went);
    let list = |parts: &[(u64, &str)]| {
        let parts: Vec<_> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
    };
    let came = list(&[
        (came.callback, "by callback"),
        (came.overflow, "from the overflow list"),
        (came.ready_at_add, "ready when added"),
        (came.ready_at_mod, "ready when modified"),
        (came.requeue, "requeued"),
        (came.carried_over, "carried over"),
        (came.before, "there before"),
        (came.unknown, "unseen"),
    ]);
    let went = list(&[
        (went.delivered, "delivered"),
        (went.oneshot, "disabled by EPOLLONESHOT"),
        (went.not_ready, "found not ready"),
        (went.carried_over, "carried over"),
        (went.deleted, "deleted"),
        (went.closed, "closed"),
        (went.unknown, "unseen"),
        (went.still_there, "still there"),
    ]);
    let mut lines = vec![format!("ready list: came {came}; went {went}")];
    if stays.faults > 0 {
        let scans = count(stays.faults, "scan");
        lines.push(format!(
            "ready list: {scans} ended early, since the program's array could not be written (EFAULT); what was left stayed"
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::lines;
    use crate::model::{CameCounts, Memberships, WentCounts};

    #[test]
    fn only_reasons_that_occurred_are_told_and_faults_in_a_line_of_their_own() {
        let mut stays = Memberships::default();
        assert_eq!(lines(&stays), ["ready list: came none; went none"]);
        stays.came = CameCounts { callback: 2, carried_over: 1, ..CameCounts::default() };
        stays.went = WentCounts { delivered: 2, carried_over: 1, ..WentCounts::default() };
        let reasons = "ready list: came 2 by callback, 1 carried over; went 2 delivered, 1 carried over";
        assert_eq!(lines(&stays), [reasons]);
        stays.faults = 1;
        let [first, second] = lines(&stays).try_into().unwrap();
        assert_eq!(first, reasons);
        assert!(second.contains("1 scan ended early") && second.contains("EFAULT"), "{second}");
    }
}
