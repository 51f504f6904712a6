//! eptrace.

fn main() {}
