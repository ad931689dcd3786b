//! Keywords about a packet's headers and its flow.

use super::super::cause::Cause;
use super::super::program::{PacketTest, StreamSide, StreamSize};
use super::Draft;
use super::values::{flags, interval, needed, none, number};
use crate::inspector::Direction;

impl Draft<'_> {
    /// Reads the option when it is one of these; `false` when it is not.
    pub(super) fn header(&mut self, name: &str, value: Option<&str>) -> Result<bool, Cause> {
        if name == "flow" {
            return self.flow(needed(name, value)?).map(|()| true);
        }
        let Some(test) = header_test(name, value)? else {
            return Ok(false);
        };
        // Only a packet has a size and flags of its own.
        if matches!(test, PacketTest::PayloadSize(_) | PacketTest::TcpFlags(_)) {
            self.needs.packet = true;
        }
        self.tests.push(test);
        Ok(true)
    }

    fn flow(&mut self, value: &str) -> Result<(), Cause> {
        const NAME: &str = "flow";
        for word in value.split(',').map(str::trim) {
            match word.to_ascii_lowercase().as_str() {
                "to_server" | "from_client" => self.direction(Direction::ToServer)?,
                "to_client" | "from_server" => self.direction(Direction::ToClient)?,
                "established" => self.established(true)?,
                "not_established" => self.established(false)?,
                "stateless" => {}
                "only_stream" => self.only_stream = true,
                "no_stream" => self.no_stream = true,
                _ => return Err(Cause::value(NAME, "to_server, to_client, established, ...")),
            }
        }
        if self.only_stream && self.no_stream {
            return Err(Cause::context(NAME, "only_stream and no_stream exclude each other"));
        }
        Ok(())
    }

    fn direction(&mut self, direction: Direction) -> Result<(), Cause> {
        match self.flow.direction.replace(direction) {
            Some(other) if other != direction => Err(Cause::context("flow", "two directions exclude each other")),
            _ => Ok(()),
        }
    }

    fn established(&mut self, established: bool) -> Result<(), Cause> {
        match self.flow.established.replace(established) {
            Some(other) if other != established => {
                Err(Cause::context("flow", "established and not_established exclude each other"))
            }
            _ => Ok(()),
        }
    }
}

fn header_test(name: &str, value: Option<&str>) -> Result<Option<PacketTest>, Cause> {
    let byte = |value| interval(name, value, 255);
    let word = |value| interval(name, value, 65_535);
    let test = match name {
        "dsize" => PacketTest::PayloadSize(word(needed(name, value)?)?),
        "flags" | "tcp.flags" => PacketTest::TcpFlags(flags(name, needed(name, value)?, tcp_flag)?),
        "seq" | "tcp.seq" => PacketTest::TcpSequence(number(name, needed(name, value)?)?),
        "ack" | "tcp.ack" => PacketTest::TcpAcknowledgement(number(name, needed(name, value)?)?),
        "window" | "tcp.window" => PacketTest::TcpWindow(word(needed(name, value)?)?),
        "itype" => PacketTest::IcmpType(byte(needed(name, value)?)?),
        "icode" => PacketTest::IcmpCode(byte(needed(name, value)?)?),
        "icmp_id" => PacketTest::IcmpIdentifier(number(name, unquoted(needed(name, value)?))?),
        "icmp_seq" => PacketTest::IcmpSequence(number(name, unquoted(needed(name, value)?))?),
        "ttl" => PacketTest::Ttl(byte(needed(name, value)?)?),
        "id" => PacketTest::IpIdentification(number(name, needed(name, value)?)?),
        "tos" => {
            // Suricata reads hexadecimal after a bare x here.
            let value = needed(name, value)?.replace(['x', 'X'], "0x").replace("00x", "0x");
            PacketTest::Tos(byte(&value)?)
        }
        "ip_proto" => PacketTest::IpProtocol(ip_protocol(name, needed(name, value)?)?),
        "sameip" => {
            none(name, value)?;
            PacketTest::SameAddress
        }
        "fragbits" => PacketTest::FragmentBits(flags(name, needed(name, value)?, fragment_bit)?),
        "fragoffset" => PacketTest::FragmentOffset(word(needed(name, value)?)?),
        "ipopts" => PacketTest::IpOption(ip_option(name, needed(name, value)?)?),
        "stream_size" => PacketTest::StreamSize(per_side(name, needed(name, value)?)?),
        "flow.age" => PacketTest::FlowAge(interval(name, needed(name, value)?, u64::from(u32::MAX))?),
        "flow.pkts" => PacketTest::FlowPackets(per_side(name, needed(name, value)?)?),
        "flow.bytes" => PacketTest::FlowBytes(per_side(name, needed(name, value)?)?),
        "flow.pkts_toserver" | "flow.pkts_toclient" | "flow.bytes_toserver" | "flow.bytes_toclient" => {
            let side = if name.ends_with("toserver") { StreamSide::Client } else { StreamSide::Server };
            let size = interval(name, needed(name, value)?, u64::from(u32::MAX))?;
            let wanted = StreamSize { side, size };
            if name.starts_with("flow.pkts") { PacketTest::FlowPackets(wanted) } else { PacketTest::FlowBytes(wanted) }
        }
        _ => return Ok(None),
    };
    Ok(Some(test))
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

fn tcp_flag(letter: char) -> Option<u8> {
    match letter {
        'F' => Some(0x01),
        'S' => Some(0x02),
        'R' => Some(0x04),
        'P' => Some(0x08),
        'A' => Some(0x10),
        'U' => Some(0x20),
        '2' | 'E' => Some(0x40),
        '1' | 'C' => Some(0x80),
        _ => None,
    }
}

fn fragment_bit(letter: char) -> Option<u8> {
    match letter {
        'R' => Some(4),
        'D' => Some(2),
        'M' => Some(1),
        _ => None,
    }
}

/// A protocol number or one of the common names.
fn ip_protocol(keyword: &str, value: &str) -> Result<super::super::program::Interval, Cause> {
    let (sign, word) = match value.find(|character: char| !matches!(character, '!' | '<' | '>' | '=')) {
        Some(start) => value.split_at(start),
        None => ("", value),
    };
    let named = match word.trim().to_ascii_lowercase().as_str() {
        "ip" => Some(0),
        "icmp" => Some(1),
        "igmp" => Some(2),
        "ipip" => Some(4),
        "tcp" => Some(6),
        "egp" => Some(8),
        "igp" => Some(9),
        "udp" => Some(17),
        "rsvp" => Some(46),
        "gre" => Some(47),
        "esp" => Some(50),
        "ah" => Some(51),
        "ipv6-icmp" => Some(58),
        "ospf" => Some(89),
        "pim" => Some(103),
        "sctp" => Some(132),
        _ => None,
    };
    match named {
        Some(number) => interval(keyword, &format!("{sign}{number}"), 255),
        None => interval(keyword, value, 255),
    }
}

fn ip_option(keyword: &str, value: &str) -> Result<Option<u8>, Cause> {
    Ok(Some(match value {
        "any" => return Ok(None),
        "eol" => 0,
        "nop" => 1,
        "rr" => 7,
        "qs" => 25,
        "ts" => 68,
        "sec" => 130,
        "lsrr" => 131,
        "esec" => 133,
        "cipso" => 134,
        "satid" => 136,
        "ssrr" => 137,
        "rtralt" => 148,
        _ => return Err(Cause::value(keyword, "the name of an IPv4 option")),
    }))
}

/// `side,comparison,number`, or `side,comparison and number` in one.
fn per_side(keyword: &str, value: &str) -> Result<StreamSize, Cause> {
    let error = || Cause::value(keyword, "server|client|both|either, a comparison and a number");
    let mut parts = value.split(',').map(str::trim);
    let side = match parts.next() {
        // Of a flow, what goes to the server is what the client sends.
        Some("server" | "toclient") => StreamSide::Server,
        Some("client" | "toserver") => StreamSide::Client,
        Some("both") => StreamSide::Both,
        Some("either") => StreamSide::Either,
        _ => return Err(error()),
    };
    let comparison = parts.next().ok_or_else(error)?;
    let text = match parts.next() {
        Some(count) => format!("{comparison}{count}"),
        None => comparison.to_owned(),
    };
    let size = interval(keyword, &text, u64::from(u32::MAX))?;
    match parts.next() {
        None => Ok(StreamSize { side, size }),
        Some(_) => Err(error()),
    }
}
