//! One request and one reply per connection, with a bound on everything that a client can make us keep or wait for.
//!
//! # Theory of operation
//! ```text
//!   accepted --> Reading --> (Waiting -->) Writing --> Draining --> closed
//! ```
//! A client is *Reading* until the caller finds a whole request in its bytes, *Waiting* while the reply takes time, *Writing*
//! until the reply is sent, and then
//! *Draining*: its sending side is shut down and what it still sends is thrown away, because closing a socket with unread
//! bytes resets the connection, and a reset can overtake the reply. Each state has a deadline; at most `clients_max` clients
//! exist at a time, and one that comes when all places are taken is closed at once. Memory is therefore bounded by
//! `clients_max * (input_max + one reply)`.
//!
//! Streams are registered once, edge-triggered, for both directions; [`Server::ready`] drives a client until it would block.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Interest, Registry, Token};

/// Bytes of a client's surplus input that are thrown away before its connection is closed regardless.
const DRAIN_MAX: usize = 256 * 1024;

/// What a server allows its clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Clients at a time.
    pub clients_max: usize,
    /// Bytes of a request.
    pub input_max: usize,
    /// Time for a client to send its request, and again for it to take the reply.
    pub deadline: Duration,
}

/// Where clients come from.
pub trait Listen: Source {
    /// A connection to a client.
    type Stream: Read + Write + Source;

    /// Takes the next waiting client.
    ///
    /// # Errors
    /// As `accept(2)`.
    fn accept(&self) -> io::Result<Self::Stream>;

    /// Whether this client may speak at all.
    fn admits(&self, stream: &Self::Stream) -> bool;

    /// Says that no more bytes will be sent to the client.
    ///
    /// # Errors
    /// As `shutdown(2)`.
    fn finish(stream: &Self::Stream) -> io::Result<()>;
}

impl Listen for TcpListener {
    type Stream = TcpStream;

    fn accept(&self) -> io::Result<TcpStream> {
        TcpListener::accept(self).map(|(stream, _)| stream)
    }

    fn admits(&self, _: &TcpStream) -> bool {
        true
    }

    fn finish(stream: &TcpStream) -> io::Result<()> {
        stream.shutdown(Shutdown::Write)
    }
}

impl Listen for UnixListener {
    type Stream = UnixStream;

    fn accept(&self) -> io::Result<UnixStream> {
        UnixListener::accept(self).map(|(stream, _)| stream)
    }

    /// Only root and the user that the switch runs as may speak. The socket's mode says the same; this holds even where
    /// somebody has loosened it.
    fn admits(&self, stream: &UnixStream) -> bool {
        let own = rustix::process::geteuid();
        rustix::net::sockopt::socket_peercred(stream).is_ok_and(|peer| peer.uid.is_root() || peer.uid == own)
    }

    fn finish(stream: &UnixStream) -> io::Result<()> {
        stream.shutdown(Shutdown::Write)
    }
}

/// What a client has sent so far.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Whether [`Limits::input_max`] is reached: no more will be read, so a request that is not whole yet never will be.
    pub is_full: bool,
}

/// What the caller makes of a whole request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// These bytes.
    Now(Vec<u8>),
    /// Bytes that [`Server::fulfil`] will be given under this ticket; the caller gives each ticket once.
    Later(u64),
}

/// How long a client may wait for a reply that takes time: as long as our own client does at most.
const LATER_MAX: Duration = Duration::from_secs(3600);

enum State {
    Reading(Vec<u8>),
    Waiting(u64),
    Writing { reply: Vec<u8>, sent: usize },
    Draining { left: usize },
}

struct Client<S> {
    stream: S,
    state: State,
    deadline: Instant,
}

/// A listener and its clients.
pub struct Server<L: Listen> {
    listener: L,
    first_token: usize,
    clients: Vec<Option<Client<L::Stream>>>,
    limits: Limits,
    turned_away: u64,
}

impl<L: Listen> Server<L> {
    /// Tokens that a server with these limits takes, counted from its first.
    pub fn token_count(limits: &Limits) -> usize {
        limits.clients_max + 1
    }

    /// Serves a listener. The tokens from `first_token` on, [`Server::token_count`] of them, belong to the server.
    ///
    /// # Errors
    /// The listener cannot be registered.
    pub fn new(mut listener: L, first_token: usize, limits: Limits, registry: &Registry) -> io::Result<Self> {
        registry.register(&mut listener, Token(first_token), Interest::READABLE)?;
        Ok(Self {
            listener,
            first_token,
            clients: (0..limits.clients_max).map(|_| None).collect(),
            limits,
            turned_away: 0,
        })
    }

    /// The listener.
    pub fn listener(&self) -> &L {
        &self.listener
    }

    /// Clients that were closed unheard: no place was left, or they may not speak.
    pub fn turned_away(&self) -> u64 {
        self.turned_away
    }

    /// Clients that are being served.
    pub fn client_count(&self) -> usize {
        self.clients.iter().flatten().count()
    }

    /// Handles readiness of one token; `false` when the token is not this server's. `answer` is asked for the reply to
    /// what a client has sent, and says `None` as long as that is no whole request; a client whose input is full without
    /// an answer is closed.
    pub fn ready(
        &mut self,
        token: Token,
        registry: &Registry,
        answer: &mut dyn FnMut(Input<'_>) -> Option<Reply>,
    ) -> bool {
        let Some(place) = token.0.checked_sub(self.first_token) else {
            return false;
        };
        if place == 0 {
            self.accept(registry, answer);
        } else if place <= self.clients.len() {
            self.drive(place - 1, answer);
        } else {
            return false;
        }
        true
    }

    /// Closes clients whose deadline has passed, and takes clients that an earlier failure to accept left waiting.
    pub fn tick(&mut self, registry: &Registry, answer: &mut dyn FnMut(Input<'_>) -> Option<Reply>) {
        let now = Instant::now();
        for place in &mut self.clients {
            place.take_if(|client| client.deadline <= now);
        }
        self.accept(registry, answer);
    }

    fn accept(&mut self, registry: &Registry, answer: &mut dyn FnMut(Input<'_>) -> Option<Reply>) {
        // A bound on the loop: a client that connects as fast as it is turned away must not keep us here.
        for _ in 0..2 * self.limits.clients_max {
            let mut stream = match self.listener.accept() {
                Ok(stream) => stream,
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // Would block, or out of descriptors: the next tick tries again.
                Err(_) => return,
            };
            let place = self.clients.iter().position(Option::is_none);
            let (Some(place), true) = (place, self.listener.admits(&stream)) else {
                self.turned_away += 1;
                continue;
            };
            let token = Token(self.first_token + 1 + place);
            if registry.register(&mut stream, token, Interest::READABLE.add(Interest::WRITABLE)).is_ok() {
                self.clients[place] = Some(Client {
                    stream,
                    state: State::Reading(Vec::new()),
                    deadline: Instant::now() + self.limits.deadline,
                });
                self.drive(place, answer);
            }
        }
    }

    /// Sends the reply that a ticket was given for, if its client is still there.
    pub fn fulfil(&mut self, ticket: u64, reply: Vec<u8>) {
        let waits = |client: &Client<L::Stream>| matches!(client.state, State::Waiting(own) if own == ticket);
        let Some(place) = self.clients.iter().position(|client| client.as_ref().is_some_and(waits)) else { return };
        if let Some(client) = &mut self.clients[place] {
            client.state = State::Writing { reply, sent: 0 };
            client.deadline = Instant::now() + self.limits.deadline;
        }
        self.drive(place, &mut |_| None);
    }

    fn drive(&mut self, place: usize, answer: &mut dyn FnMut(Input<'_>) -> Option<Reply>) {
        let Some(client) = &mut self.clients[place] else {
            return;
        };
        let stopped_by = loop {
            let step = match &mut client.state {
                State::Reading(input) => read_request(&mut client.stream, input, self.limits.input_max, answer),
                State::Waiting(_) => break ErrorKind::WouldBlock,
                State::Writing { reply, sent } => send::<L>(&mut client.stream, reply, sent),
                State::Draining { left } => Err(drain(&mut client.stream, left)),
            };
            match step {
                Ok(next) => {
                    match next {
                        State::Writing { .. } => client.deadline = Instant::now() + self.limits.deadline,
                        State::Waiting(_) => client.deadline = Instant::now() + LATER_MAX,
                        State::Reading(_) | State::Draining { .. } => {}
                    }
                    client.state = next;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break error.kind(),
            }
        };
        if stopped_by != ErrorKind::WouldBlock {
            self.clients[place] = None;
        }
    }
}

/// Reads until there is a whole request; the next state is then to write its reply.
fn read_request(
    stream: &mut impl Read,
    input: &mut Vec<u8>,
    input_max: usize,
    answer: &mut dyn FnMut(Input<'_>) -> Option<Reply>,
) -> io::Result<State> {
    let mut chunk = [0; 4096];
    loop {
        let room = (input_max - input.len()).min(chunk.len());
        let read = stream.read(&mut chunk[..room])?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        input.extend_from_slice(&chunk[..read]);
        let is_full = input.len() == input_max;
        let reply = answer(Input { bytes: input, is_full });
        match reply {
            Some(Reply::Now(reply)) => return Ok(State::Writing { reply, sent: 0 }),
            Some(Reply::Later(ticket)) => return Ok(State::Waiting(ticket)),
            None if is_full => return Err(ErrorKind::FileTooLarge.into()),
            None => {}
        }
    }
}

/// Sends what is left of the reply; the next state is then to drain.
fn send<L: Listen>(stream: &mut L::Stream, reply: &[u8], sent: &mut usize) -> io::Result<State> {
    while *sent < reply.len() {
        match stream.write(&reply[*sent..])? {
            0 => return Err(ErrorKind::WriteZero.into()),
            written => *sent += written,
        }
    }
    L::finish(stream)?;
    Ok(State::Draining { left: DRAIN_MAX })
}

/// Throws input away; answers why it stopped, which for a client that is done is the end of its stream.
fn drain(stream: &mut impl Read, left: &mut usize) -> io::Error {
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return ErrorKind::UnexpectedEof.into(),
            Ok(read) if read >= *left => return ErrorKind::FileTooLarge.into(),
            Ok(read) => *left -= read,
            Err(error) => return error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};
    use std::net::TcpStream as Peer;
    use std::net::{Ipv4Addr, SocketAddr};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread::JoinHandle;

    const LIMITS: Limits = Limits { clients_max: 4, input_max: 16, deadline: Duration::from_secs(1) };
    const REPLY_LEN: usize = 1 << 20;

    /// A server that answers a line with `REPLY_LEN` times its first byte, until it is dropped.
    struct Running {
        address: SocketAddr,
        stop: Arc<AtomicBool>,
        thread: Option<JoinHandle<u64>>,
    }

    impl Running {
        fn start() -> Self {
            let mut poll = Poll::new().expect("a poll");
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
            let address = listener.local_addr().expect("bound");
            let mut server = Server::new(listener, 10, LIMITS, poll.registry()).expect("a server");
            let stop = Arc::new(AtomicBool::new(false));
            let ordered = Arc::clone(&stop);
            let thread = std::thread::spawn(move || {
                let mut events = Events::with_capacity(8);
                let mut answer = |input: Input<'_>| {
                    (input.bytes.contains(&b'\n')).then(|| Reply::Now(vec![input.bytes[0]; REPLY_LEN]))
                };
                while !ordered.load(Ordering::Relaxed) {
                    poll.poll(&mut events, Some(Duration::from_millis(10))).expect("polled");
                    for event in &events {
                        assert!(server.ready(event.token(), poll.registry(), &mut answer));
                        assert!(server.client_count() <= LIMITS.clients_max);
                    }
                    server.tick(poll.registry(), &mut answer);
                }
                server.turned_away()
            });
            Self { address, stop, thread: Some(thread) }
        }

        fn connect(&self) -> Peer {
            let peer = Peer::connect(self.address).expect("connected");
            peer.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
            peer
        }

        /// What a client reads to the end after sending `request`; nothing if it was cut off.
        fn ask(&self, request: &[u8]) -> Vec<u8> {
            let mut peer = self.connect();
            let mut reply = Vec::new();
            if peer.write_all(request).is_ok() {
                // A reset counts as having been cut off, as an early end does.
                drop(peer.read_to_end(&mut reply));
            }
            reply
        }

        fn finish(mut self) -> u64 {
            self.stop.store(true, Ordering::Relaxed);
            self.thread.take().expect("running").join().expect("no panic")
        }
    }

    #[test]
    fn whole_requests_are_answered_whole() {
        let server = Running::start();
        assert_eq!(server.ask(b"x\n"), vec![b'x'; REPLY_LEN]);
        assert_eq!(server.ask(b"y\nsurplus"), vec![b'y'; REPLY_LEN]);
        let mut peer = server.connect();
        for byte in b"zz\n" {
            peer.write_all(&[*byte]).expect("open");
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut reply = Vec::new();
        peer.read_to_end(&mut reply).expect("open");
        assert_eq!(reply.len(), REPLY_LEN);
        assert_eq!(server.finish(), 0);
    }

    #[test]
    fn requests_that_never_end_are_cut_off() {
        let server = Running::start();
        assert!(server.ask(&[b'x'; 4 * LIMITS.input_max]).is_empty(), "too long");
        let started = Instant::now();
        assert!(server.ask(b"slow").is_empty(), "too slow");
        assert!(started.elapsed() >= LIMITS.deadline);
        assert_eq!(server.ask(b"x\n").len(), REPLY_LEN, "others are served");
        server.finish();
    }

    #[test]
    fn clients_that_take_no_reply_give_their_places_back() {
        let server = Running::start();
        let hogs: Vec<Peer> = (0..LIMITS.clients_max)
            .map(|_| {
                let mut peer = server.connect();
                peer.write_all(b"x\n").expect("open");
                peer
            })
            .collect();
        let deadline = Instant::now() + Duration::from_secs(20);
        while server.ask(b"y\n").len() != REPLY_LEN {
            assert!(Instant::now() < deadline, "the places were never given back");
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(hogs);
        server.finish();
    }

    #[test]
    fn clients_beyond_the_limit_are_turned_away() {
        let server = Running::start();
        let idle: Vec<Peer> = (0..LIMITS.clients_max).map(|_| server.connect()).collect();
        assert!(server.ask(b"x\n").is_empty());
        drop(idle);
        assert!(server.finish() >= 1);
    }
}
