//! What the model makes of traces whose truth is known.

mod audit;
mod bounds;
mod fanout;
mod hostile;
mod identity;
mod kernel;
mod late;
mod latency;
mod membership;
mod missing;
mod order;
