//! eptrace library.
