//! Tests of guest ports, from single rings to whole connections.

mod chains;
mod connections;
mod front_end;
mod guest;
mod hostile;
mod lone;
mod rings;
mod switch;
