#![no_std]
//! Shared by both sides.
