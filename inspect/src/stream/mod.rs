//! TCP as a conversation: what a connection allows ([`tcp_state`]) and the bytes it carries ([`reassembly`]).
//!
//! For each segment the caller asks the flow's [`TcpState`] first. If it passes, the [`Stream`] of the other direction
//! forgets what is now acknowledged ([`TcpState::acknowledged`]), and the [`Stream`] of this direction takes the segment:
//!
//! ```
//! use inspect::inspector::Direction;
//! use inspect::stream::{Stream, StreamMemory, TcpState};
//! use inspect::wire::{Checksums, Packet, TcpFlags, emit};
//!
//! let (client, server) = (([10, 0, 0, 1], 1000), ([10, 0, 0, 2], 80));
//! let mut memory = StreamMemory::default();
//! let syn = emit::tcp(client, server).syn().seq(99).build();
//! let syn = Packet::parse(&syn, Checksums::Verify)?.tcp().unwrap();
//! let mut state = TcpState::open(&syn, 0)?;
//! let mut to_server = Stream::new(1, syn.seq.wrapping_add(1));
//! let answer = emit::tcp(server, client).syn_ack().seq(7).ack(100).build();
//! state.on_segment(Direction::ToClient, &Packet::parse(&answer, Checksums::Verify)?.tcp().unwrap(), 0)?;
//!
//! let data = emit::tcp(client, server).seq(100).ack(8).payload(b"GET /").build();
//! let packet = Packet::parse(&data, Checksums::Verify)?;
//! let tcp = packet.tcp().unwrap();
//! state.on_segment(Direction::ToServer, &tcp, packet.payload().len())?;
//! to_server.acknowledge(state.acknowledged(Direction::ToServer), &mut memory);
//! let mut read = Vec::new();
//! let has_fin = tcp.flags.contains(TcpFlags::FIN);
//! to_server.on_segment(tcp.seq, packet.payload(), has_fin, &mut memory, |_, bytes| read.extend_from_slice(bytes))?;
//! assert_eq!(read, b"GET /");
//! to_server.release(&mut memory);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod memory;
pub mod reassembly;
pub mod tcp_state;

pub use memory::{StreamBytes, StreamLimits, StreamMemory};
pub use reassembly::{Progress, Stream, StreamOffset, StreamRefused};
pub use tcp_state::{TcpPhase, TcpRefused, TcpState, Transition};
