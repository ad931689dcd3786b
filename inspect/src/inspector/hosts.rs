//! Who speaks with whom in a flow, and what one connection has announced of another.

use crate::announcements::{Announced, Announcements};
use crate::inspector::flow::Flow;
use crate::inspector::{Direction, Inspector, Look};
use crate::protocol::{Conversation, Expectation};
use crate::signature::Transports;

/// Who speaks with whom in a flow, and what was announced between them.
#[derive(Clone, Copy)]
pub(crate) struct Hosts<'a> {
    pub(super) announcements: &'a Announcements,
    /// What the flow itself was announced as.
    pub(super) announced: Option<&'a Announced>,
    pub(super) client: u128,
    pub(super) server: u128,
    pub(super) now_ms: u64,
}

impl Hosts<'_> {
    /// The name of the file that the flow was announced for, and whether it carries only a part of it.
    pub(super) fn announced_file(&self) -> Option<(Vec<u8>, bool)> {
        self.announcements.file(*self.announced?, self.now_ms)
    }

    /// A control connection announces another. Clients that do not believe addresses connect to the one that they know already.
    pub(super) fn expect(&self, expectation: &Expectation<'_>) {
        let Expectation { listener, address, port, file, is_part } = *expectation;
        let (known, connector) = match listener {
            Direction::ToServer => (self.server, self.client),
            Direction::ToClient => (self.client, self.server),
        };
        let told = address.map(u128::from_be_bytes).filter(|told| *told != known);
        for listener in [Some(known), told].into_iter().flatten() {
            self.announcements.announce(Announced { listener, port, connector }, (file, is_part), self.now_ms);
        }
    }
}

impl Look<'_> {
    /// Who speaks with whom in the flow of the packet.
    pub(super) fn hosts<'a>(&self, announcements: &'a Announcements, announced: Option<&'a Announced>) -> Hosts<'a> {
        let (source, destination) = (self.facts.source, self.facts.destination);
        let (client, server) = match self.view.direction {
            Direction::ToServer => (source, destination),
            Direction::ToClient => (destination, source),
        };
        Hosts { announcements, announced, client, server, now_ms: self.now_ms }
    }

    /// What the packet's flow would have been announced as.
    fn announced(&self) -> Announced {
        let facts = &self.facts;
        match self.view.direction {
            Direction::ToServer => {
                Announced { listener: facts.destination, port: facts.destination_port, connector: facts.source }
            }
            Direction::ToClient => {
                Announced { listener: facts.source, port: facts.source_port, connector: facts.destination }
            }
        }
    }
}

impl Inspector {
    /// A flow begins: one that was announced carries files.
    pub(super) fn meet_announced(&self, look: &Look<'_>, flow: &mut Flow) {
        let announced = look.announced();
        if look.facts.transport == Transports::TCP && self.announcements.is_announced(announced, look.now_ms) {
            flow.announced = Some(Box::new(announced));
            flow.conversation = Conversation::ftp_data();
        }
    }
}
