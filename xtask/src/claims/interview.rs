//! The chapter's interview questions.
//!
//! In: the verdicts. Out: for each question sentences of an answer. A sentence stands only where the run bears it out: each names the
//! statements that it rests on and the verdicts that they must have.

use serde::{Deserialize, Serialize};

use crate::claims::record::OneClaim;

/// What is asked, and the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) question: String,
    pub(crate) sentences: Vec<Sentence>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sentence {
    pub(crate) text: String,
    /// Statements by their ids.
    pub(crate) rests_on: Vec<String>,
}

/// A sentence, and the statements with the verdicts that bear it out.
type Said = (&'static str, &'static [(&'static str, &'static str)]);

struct Question {
    asks: &'static str,
    says: &'static [Said],
}

const QUESTIONS: &[Question] = &[
    Question {
        asks: "What is ep_poll_callback, and when is it called?",
        says: &[
            (
                "It is the function of the entry that EPOLL_CTL_ADD hangs into a file's wait queue; every wakeup of that queue calls it.",
                &[("C18", "holds"), ("C21", "holds")],
            ),
            (
                "For a TCP byte that is in a softirq, below sock_def_readable; for a timer in an interrupt; \
                 for a pipe, a unix socket or an eventfd in the context of the task that writes.",
                &[("C20", "holds"), ("C27", "wrong")],
            ),
            (
                "It puts the item on the ready list, unless it is there already, and wakes a sleeper of epoll_wait.",
                &[("C30", "imprecise"), ("C10", "holds")],
            ),
        ],
    },
    Question {
        asks: "Why is epoll_wait O(k) and not O(n)?",
        says: &[
            (
                "A wait goes through the ready list, and asks as many files as are on it, whether 10 or 1000 are registered.",
                &[("C38", "holds"), ("C40", "holds")],
            ),
            ("poll and select ask every file in every call.", &[("C24", "holds"), ("C96", "holds")]),
            (
                "k also counts level-triggered items that were put back and turn out not to be ready.",
                &[("C35", "imprecise")],
            ),
        ],
    },
    Question {
        asks: "LT and ET: what happens when 50 of 100 bytes are read?",
        says: &[
            ("LT reports the file again.", &[("C41", "holds"), ("C42", "holds")]),
            (
                "ET reports it when something more arrives, and then the 50 bytes can be read as well: they are late, not lost.",
                &[("C45", "holds"), ("C46", "imprecise")],
            ),
            ("EPOLL_CTL_MOD reports them at once.", &[("C47", "imprecise")]),
        ],
    },
    Question {
        asks: "Why must an ET loop read until EAGAIN?",
        says: &[
            (
                "What is left is not reported until the next callback, which may never come.",
                &[("C45", "holds"), ("C74", "holds")],
            ),
            ("On a stream a read that gives less than it was asked for is enough.", &[("C48", "imprecise")]),
            (
                "The callback does not care whether the buffer was empty: more bytes are a report, also when the first were never read.",
                &[("C44", "wrong")],
            ),
        ],
    },
    Question {
        asks: "Which problem does EPOLLONESHOT solve?",
        says: &[
            (
                "One event goes to one thread, and no other gets the file until a MOD.",
                &[("C58", "holds"), ("C55", "holds"), ("C93", "holds")],
            ),
            (
                "Without it, level-triggered, every thread that waits for one eventpoll gets the same file.",
                &[("C59", "holds")],
            ),
            (
                "The MOD is a system call for each event, and the item stays registered meanwhile.",
                &[("C60", "holds"), ("C56", "wrong")],
            ),
        ],
    },
    Question {
        asks: "EPOLLEXCLUSIVE or SO_REUSEPORT?",
        says: &[
            (
                "EPOLLEXCLUSIVE: one socket, and a connection wakes one sleeper, in the order of \
                 registration: the first gets all while it sleeps in time.",
                &[("C63", "holds"), ("C65", "wrong")],
            ),
            ("Busy workers find the item on their ready list later, and nothing to accept.", &[("C64", "imprecise")]),
            (
                "SO_REUSEPORT: a socket each, chosen by a hash when the connection is made; nobody is woken \
                 in vain, and nobody can take over another's connections.",
                &[("C66", "imprecise")],
            ),
        ],
    },
    Question {
        asks: "epoll and io_uring: how many system calls for a request?",
        says: &[
            ("epoll, one request at a time: 3; with several ready in one wait fewer.", &[("C88", "holds")]),
            ("io_uring: 1 to 2.", &[("C89", "holds")]),
            (
                "With SQPOLL none, while the kernel's thread is awake; every user may have one.",
                &[("C87", "holds"), ("C97", "wrong")],
            ),
        ],
    },
    Question {
        asks: "Draw the chain from eventpoll to sk_wq.",
        says: &[
            (
                "eventpoll.rbr is the tree of items; an item points back to its \
                 eventpoll, and has an eppoll_entry for each wait queue of its file, whose function is ep_poll_callback.",
                &[("C2", "holds"), ("C15", "holds"), ("C17", "holds"), ("C18", "holds")],
            ),
            (
                "The key is the file's address, then the descriptor: a tree is not in the order of \
                 descriptors, and a duplicate is another item of the same file.",
                &[("C3", "holds"), ("C22", "wrong"), ("C13", "wrong")],
            ),
            ("The tree's lock is the mutex `mtx`; there is no `sem`.", &[("C8", "wrong")]),
        ],
    },
    Question {
        asks: "When would you use kqueue instead?",
        says: &[
            (
                "Not for want of process events: epoll reports the end of a process through a pidfd.",
                &[("C85", "wrong")],
            ),
            (
                "Descriptors of timers, signals, file changes and processes can be added like sockets.",
                &[("C84", "imprecise")],
            ),
        ],
    },
];

/// The answers that the verdicts bear out.
pub(crate) fn answers(claims: &[OneClaim]) -> Vec<Answer> {
    let borne = |rests: &[(&str, &str)]| {
        rests.iter().all(|(id, verdict)| claims.iter().any(|claim| claim.id == *id && claim.verdict == *verdict))
    };
    let answer = |question: &Question| Answer {
        question: question.asks.to_owned(),
        sentences: question
            .says
            .iter()
            .filter(|(_, rests)| borne(rests))
            .map(|(text, rests)| Sentence {
                text: (*text).to_owned(),
                rests_on: rests.iter().map(|(id, _)| (*id).to_owned()).collect(),
            })
            .collect(),
    };
    QUESTIONS.iter().map(answer).filter(|answer| !answer.sentences.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::{QUESTIONS, answers};
    use crate::claims::judges;
    use crate::claims::record::OneClaim;

    fn claims(verdict: &str) -> Vec<OneClaim> {
        let claim = |id: &str| OneClaim {
            id: id.to_owned(),
            section: String::new(),
            statement: String::new(),
            verdict: verdict.to_owned(),
            command: None,
            not_run: None,
            kernels: Vec::new(),
        };
        judges::all().map(|other| claim(other.id)).collect()
    }

    #[test]
    fn a_sentence_stands_only_where_the_run_bears_it_out() {
        let holding = answers(&claims("holds"));
        let said = |text: &str| {
            holding.iter().flat_map(|answer| &answer.sentences).any(|sentence| sentence.text.contains(text))
        };
        assert!(said("LT reports the file again") && !said("late, not lost"));
        assert!(answers(&claims("not run")).is_empty());
    }

    #[test]
    fn sentences_rest_on_statements_that_there_are() {
        let rests = QUESTIONS.iter().flat_map(|question| question.says).flat_map(|(_, rests)| *rests);
        for (id, verdict) in rests {
            assert!(judges::all().any(|claim| claim.id == *id), "{id}");
            assert!(["holds", "imprecise", "wrong"].contains(verdict), "{id}");
        }
    }
}
