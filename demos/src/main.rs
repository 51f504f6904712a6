//! demos

fn main() {}
