//! One parser of the protocol that a flow has turned out to speak.

use super::app_protocol::AppProtocol;
use super::dhcp::Dhcp;
use super::dns::Dns;
use super::ftp::{Ftp, FtpData};
use super::http1::Http1;
use super::settings::Settings;
use super::sink::Sink;
use super::smb::Smb;
use super::smtp::Smtp;
use super::ssh::Ssh;
use super::tls::Tls;
use crate::inspector::Direction;

/// What a parser made of its bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It wants more.
    More,
    /// It has seen all that there is to see.
    Opaque,
    /// The bytes break the protocol beyond repair.
    Broken,
    /// Another protocol begins after `used` of the bytes. `held` are client bytes that already belong to it.
    Switch {
        /// Bytes of the call that still belong to the old protocol.
        used: usize,
        /// Bytes of the client that came earlier and already belong to the new protocol.
        held: Vec<u8>,
    },
}

macro_rules! parsers {
    ($($variant:ident($state:ty)),* $(,)?) => {
        #[derive(Debug)]
        pub(super) enum Parser {
            $($variant(Box<$state>),)*
        }

        impl Parser {
            /// A parser for the protocol, where there is one.
            pub(super) fn new(protocol: AppProtocol, first_transaction: u32) -> Option<Self> {
                $(if protocol == AppProtocol::$variant {
                    return Some(Parser::$variant(Box::new(<$state>::new(first_transaction))));
                })*
                None
            }

            pub(super) fn protocol(&self) -> AppProtocol {
                match self {
                    $(Parser::$variant(_) => AppProtocol::$variant,)*
                }
            }

            /// The number that the next transaction of this flow would have.
            pub(super) fn next_transaction(&self) -> u32 {
                match self {
                    $(Parser::$variant(state) => state.next_transaction(),)*
                }
            }

            pub(super) fn stream(
                &mut self,
                side: Direction,
                bytes: &[u8],
                settings: &Settings,
                sink: &mut dyn Sink,
            ) -> Progress {
                match self {
                    $(Parser::$variant(state) => state.stream(side, bytes, settings, sink),)*
                }
            }

            pub(super) fn datagram(&mut self, side: Direction, bytes: &[u8], sink: &mut dyn Sink) {
                match self {
                    $(Parser::$variant(state) => state.datagram(side, bytes, sink),)*
                }
            }

            pub(super) fn gap(
                &mut self,
                side: Direction,
                length: u64,
                settings: &Settings,
                sink: &mut dyn Sink,
            ) -> Progress {
                match self {
                    $(Parser::$variant(state) => state.gap(side, length, settings, sink),)*
                }
            }

            pub(super) fn pause(&mut self, side: Direction, sink: &mut dyn Sink) {
                match self {
                    $(Parser::$variant(state) => state.pause(side, sink),)*
                }
            }

            pub(super) fn closed(&mut self, side: Direction, settings: &Settings, sink: &mut dyn Sink) -> Progress {
                match self {
                    $(Parser::$variant(state) => state.closed(side, settings, sink),)*
                }
            }
        }
    };
}

/// What every parser does; the defaults suit those without datagrams, gaps or an end of their own.
pub(super) trait Parse {
    fn next_transaction(&self) -> u32;
    fn stream(&mut self, side: Direction, bytes: &[u8], settings: &Settings, sink: &mut dyn Sink) -> Progress;
    fn datagram(&mut self, _side: Direction, _bytes: &[u8], _sink: &mut dyn Sink) {}
    fn gap(&mut self, _side: Direction, _length: u64, _settings: &Settings, _sink: &mut dyn Sink) -> Progress {
        Progress::Broken
    }
    /// The bytes of a packet are over: what its receiver has now may be all that it will ever get.
    fn pause(&mut self, _side: Direction, _sink: &mut dyn Sink) {}
    /// One side sends nothing more. What was held back until then can still break the protocol.
    fn closed(&mut self, _side: Direction, _settings: &Settings, _sink: &mut dyn Sink) -> Progress {
        Progress::More
    }
}

parsers! {
    Http1(Http1),
    Tls(Tls),
    Dns(Dns),
    Dhcp(Dhcp),
    Ssh(Ssh),
    Smtp(Smtp),
    Smb(Smb),
    Ftp(Ftp),
    FtpData(FtpData),
}
