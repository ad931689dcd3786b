//! TCP connections and their byte streams, tested from outside.

mod reassembly;
mod tcp_model;
mod tcp_state;
