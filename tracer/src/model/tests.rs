//! What the model makes of traces whose truth is known.

mod fanout;
mod hostile;
mod identity;
mod late;
mod membership;
