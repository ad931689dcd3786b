//! Tests of guest ports, from single rings to real guests.

mod guest;
mod rings;
