//! TCP as a conversation: what a connection allows ([`tcp_state`]) and the bytes it carries ([`reassembly`]).

pub mod tcp_state;

pub use tcp_state::{TcpPhase, TcpRefused, TcpState, Transition};
