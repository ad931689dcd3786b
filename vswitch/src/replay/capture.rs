//! Captures: pcap and pcapng files, read packet by packet.
//!
//! Both formats come from elsewhere and may be damaged or hostile, so every length is checked against a bound before it is
//! believed, and one packet is in memory at a time.

use std::fmt;
use std::io::{self, Read};

/// Bytes of one packet: what capture programs take at most by default.
const PACKET_BYTES_MAX: u32 = 256 * 1024;

/// Interfaces of one pcapng section. Each takes a few bytes of memory.
const INTERFACES_MAX: usize = 4096;

/// Bytes of a pcapng block other than a packet's that are read rather than skipped.
const BLOCK_BYTES_MAX: u32 = 64 * 1024;

/// How a capture's packets begin: the numbers of the link-type registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkType(pub u16);

/// Where a packet is in time and what it begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    pub at_ns: u64,
    /// What the packet begins with.
    pub link: LinkType,
}

/// Why a capture cannot be read.
#[derive(Debug)]
pub enum CaptureError {
    /// Reading failed.
    Io(io::Error),
    /// The file begins like no capture.
    NotACapture,
    /// The file ends within a record.
    Truncated,
    /// A length says what cannot be.
    Length(u32),
    /// A packet names an interface that was not described.
    Interface(u32),
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot be read: {error}"),
            Self::NotACapture => f.write_str("is neither pcap nor pcapng"),
            Self::Truncated => f.write_str("ends within a packet"),
            Self::Length(length) => write!(f, "has a record of {length} bytes, which cannot be"),
            Self::Interface(number) => write!(f, "has a packet of interface {number}, which it does not describe"),
        }
    }
}

impl std::error::Error for CaptureError {}

impl From<io::Error> for CaptureError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::Truncated } else { Self::Io(error) }
    }
}

/// Which end of numbers comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }

    fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }
}

/// What is known of a pcapng interface.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: LinkType,
    ticks_per_second: u64,
}

#[derive(Debug)]
enum Format {
    Pcap { order: Order, ns_per_tick: u64, link: LinkType },
    Pcapng { order: Order, interfaces: Vec<Interface> },
}

/// A capture being read.
#[derive(Debug)]
pub struct Capture<R> {
    source: R,
    format: Format,
}

fn read_array<const N: usize>(source: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    source.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Reads the first bytes of a record; `None` at the end of the file.
fn read_start<const N: usize>(source: &mut impl Read) -> Result<Option<[u8; N]>, CaptureError> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        match source.read(&mut bytes[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(CaptureError::Truncated),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(bytes))
}

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
const OPTION_TIME_RESOLUTION: u16 = 9;

impl<R: Read> Capture<R> {
    /// Begins to read.
    ///
    /// # Errors
    /// The source is no capture, or cannot be read.
    pub fn open(mut source: R) -> Result<Self, CaptureError> {
        let magic = read_start::<4>(&mut source)?.ok_or(CaptureError::NotACapture)?;
        let (order, ns_per_tick) = match u32::from_be_bytes(magic) {
            0xa1b2_c3d4 => (Order::Big, 1_000),
            0xd4c3_b2a1 => (Order::Little, 1_000),
            0xa1b2_3c4d => (Order::Big, 1),
            0x4d3c_b2a1 => (Order::Little, 1),
            SECTION_HEADER => {
                let order = read_section(&mut source)?;
                return Ok(Self { source, format: Format::Pcapng { order, interfaces: Vec::new() } });
            }
            _ => return Err(CaptureError::NotACapture),
        };
        let rest = read_array::<20>(&mut source)?;
        // The upper bits say how frame check sequences are kept.
        let link = LinkType(order.u32([rest[16], rest[17], rest[18], rest[19]]) as u16);
        Ok(Self { source, format: Format::Pcap { order, ns_per_tick, link } })
    }

    /// Reads the next packet into `packet`, in place of what it held; `None` at the end.
    ///
    /// # Errors
    /// The file is damaged or cannot be read on.
    pub fn next(&mut self, packet: &mut Vec<u8>) -> Result<Option<Stamp>, CaptureError> {
        packet.clear();
        match &mut self.format {
            Format::Pcap { order, ns_per_tick, link } => {
                let Some(header) = read_start::<16>(&mut self.source)? else { return Ok(None) };
                let word = |at: usize| order.u32([header[at], header[at + 1], header[at + 2], header[at + 3]]);
                let at_ns = u64::from(word(0)) * 1_000_000_000 + u64::from(word(4)) * *ns_per_tick;
                read_packet(&mut self.source, word(8), packet)?;
                Ok(Some(Stamp { at_ns, link: *link }))
            }
            Format::Pcapng { order, interfaces } => loop {
                let Some(start) = read_start::<8>(&mut self.source)? else { return Ok(None) };
                let (kind, length) =
                    (order.u32([start[0], start[1], start[2], start[3]]), [start[4], start[5], start[6], start[7]]);
                if kind == SECTION_HEADER {
                    *order = read_section_body(&mut self.source, length)?;
                    interfaces.clear();
                    continue;
                }
                let length = order.u32(length);
                let body = length.checked_sub(12).filter(|_| length % 4 == 0).ok_or(CaptureError::Length(length))?;
                if let Some(stamp) = read_block(&mut self.source, *order, kind, body, interfaces, packet)? {
                    return Ok(Some(stamp));
                }
            },
        }
    }
}

fn read_packet(source: &mut impl Read, length: u32, packet: &mut Vec<u8>) -> Result<(), CaptureError> {
    if length > PACKET_BYTES_MAX {
        return Err(CaptureError::Length(length));
    }
    packet.resize(length as usize, 0);
    source.read_exact(packet)?;
    Ok(())
}

fn skip(source: &mut impl Read, count: u32) -> Result<(), CaptureError> {
    let skipped = io::copy(&mut source.by_ref().take(u64::from(count)), &mut io::sink())?;
    if skipped == u64::from(count) { Ok(()) } else { Err(CaptureError::Truncated) }
}

/// Reads the section header behind its type.
fn read_section(source: &mut impl Read) -> Result<Order, CaptureError> {
    let length = read_array::<4>(source)?;
    read_section_body(source, length)
}

fn read_section_body(source: &mut impl Read, length: [u8; 4]) -> Result<Order, CaptureError> {
    let order = match u32::from_be_bytes(read_array(source)?) {
        0x1a2b_3c4d => Order::Big,
        0x4d3c_2b1a => Order::Little,
        _ => return Err(CaptureError::NotACapture),
    };
    let length = order.u32(length);
    let rest = length.checked_sub(12).filter(|_| length % 4 == 0).ok_or(CaptureError::Length(length))?;
    skip(source, rest)?;
    Ok(order)
}

/// Reads one block of `body` bytes and its closing length; gives the packet's stamp if it is a packet.
fn read_block(
    source: &mut impl Read,
    order: Order,
    kind: u32,
    body: u32,
    interfaces: &mut Vec<Interface>,
    packet: &mut Vec<u8>,
) -> Result<Option<Stamp>, CaptureError> {
    let too_short = CaptureError::Length(body);
    let (stamp, left) = match kind {
        ENHANCED_PACKET | OLD_PACKET => {
            let left = body.checked_sub(20).ok_or(too_short)?;
            let head = read_array::<20>(source)?;
            let word = |at: usize| order.u32([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            let number = if kind == OLD_PACKET { u32::from(order.u16([head[0], head[1]])) } else { word(0) };
            let interface = interfaces.get(number as usize).ok_or(CaptureError::Interface(number))?;
            let ticks = u64::from(word(4)) << 32 | u64::from(word(8));
            let length = word(12);
            if length > left {
                return Err(CaptureError::Length(length));
            }
            read_packet(source, length, packet)?;
            (Some(Stamp { at_ns: nanoseconds(ticks, interface.ticks_per_second), link: interface.link }), left - length)
        }
        SIMPLE_PACKET => {
            let left = body.checked_sub(4).ok_or(too_short)?;
            let length = order.u32(read_array(source)?).min(left);
            let interface = interfaces.first().ok_or(CaptureError::Interface(0))?;
            read_packet(source, length, packet)?;
            (Some(Stamp { at_ns: 0, link: interface.link }), left - length)
        }
        INTERFACE_DESCRIPTION => {
            if !(8..=BLOCK_BYTES_MAX).contains(&body) || interfaces.len() >= INTERFACES_MAX {
                return Err(CaptureError::Length(body));
            }
            let mut bytes = vec![0; body as usize];
            source.read_exact(&mut bytes)?;
            interfaces.push(interface(order, &bytes));
            (None, 0)
        }
        _ => (None, body),
    };
    skip(source, left)?;
    read_array::<4>(source)?;
    Ok(stamp)
}

fn interface(order: Order, body: &[u8]) -> Interface {
    let mut interface = Interface { link: LinkType(order.u16([body[0], body[1]])), ticks_per_second: 1_000_000 };
    let mut options = &body[8..];
    while let [a, b, c, d, rest @ ..] = options {
        let (code, length) = (order.u16([*a, *b]), usize::from(order.u16([*c, *d])));
        if code == OPTION_TIME_RESOLUTION
            && let Some(&resolution) = rest.first()
        {
            let exponent = u32::from(resolution & 0x7f);
            let base: u64 = if resolution & 0x80 == 0 { 10 } else { 2 };
            interface.ticks_per_second = base.checked_pow(exponent).unwrap_or(1_000_000);
        }
        options = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    interface
}

fn nanoseconds(ticks: u64, ticks_per_second: u64) -> u64 {
    let nanoseconds = u128::from(ticks) * 1_000_000_000 / u128::from(ticks_per_second);
    u64::try_from(nanoseconds).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<Vec<(u64, u16, Vec<u8>)>, String> {
        let mut capture = Capture::open(bytes).map_err(|error| error.to_string())?;
        let (mut found, mut packet) = (Vec::new(), Vec::new());
        while let Some(stamp) = capture.next(&mut packet).map_err(|error| error.to_string())? {
            found.push((stamp.at_ns, stamp.link.0, packet.clone()));
        }
        Ok(found)
    }

    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u32 + 12).to_be_bytes();
        [&kind.to_be_bytes(), &length, body, &length].concat()
    }

    #[test]
    fn pcap_is_read_in_either_order_and_resolution() {
        let little = b"\xd4\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0\0\0\0\0\xff\xff\0\0\x01\0\0\0\
            \x01\0\0\0\x02\0\0\0\x03\0\0\0\x03\0\0\0abc";
        assert_eq!(read(little), Ok(vec![(1_000_002_000, 1, b"abc".to_vec())]));
        let big = b"\xa1\xb2\x3c\x4d\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\xff\xff\0\0\0\x65\
            \0\0\0\x01\0\0\0\x02\0\0\0\x01\0\0\0\x01z";
        assert_eq!(read(big), Ok(vec![(1_000_000_002, 101, b"z".to_vec())]));
    }

    #[test]
    fn pcapng_is_read_with_its_interfaces() {
        let section = block(SECTION_HEADER, b"\x1a\x2b\x3c\x4d\0\x01\0\0\xff\xff\xff\xff\xff\xff\xff\xff");
        let bytes = [
            section.clone(),
            block(INTERFACE_DESCRIPTION, b"\0\x01\0\0\0\0\0\0\0\x09\0\x01\x09\0\0\0"),
            block(INTERFACE_DESCRIPTION, b"\0\x65\0\0\0\0\0\0"),
            block(4, b"ignored."),
            block(ENHANCED_PACKET, b"\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\0\x03\0\0\0\x03abc\0"),
            block(ENHANCED_PACKET, b"\0\0\0\x01\0\0\0\0\0\0\0\x07\0\0\0\x01\0\0\0\x01z\0\0\0"),
            block(SIMPLE_PACKET, b"\0\0\0\x02xy\0\0"),
        ]
        .concat();
        // The packet of two bytes stands in a block of four: only the block bounds it.
        let expected = vec![(7, 1, b"abc".to_vec()), (7_000, 101, b"z".to_vec()), (0, 1, b"xy".to_vec())];
        assert_eq!(read(&bytes), Ok(expected));
        let lost = [section, block(ENHANCED_PACKET, &[0; 20])].concat();
        assert!(read(&lost).is_err());
    }

    #[test]
    fn damage_is_told() {
        assert!(read(b"").is_err() && read(b"GIF89a").is_err());
        let header = b"\xd4\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0\0\0\0\0\xff\xff\0\0\x01\0\0\0";
        assert_eq!(read(header), Ok(Vec::new()));
        assert!(read(&[&header[..], &[0; 7]].concat()).unwrap_err().contains("within a packet"));
        assert!(read(&[&header[..], &[0xff; 16]].concat()).unwrap_err().contains("cannot be"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(kind in 0usize..3, bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let starts: [&[u8]; 3] = [
                b"\xd4\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0\0\0\0\0\xff\xff\0\0\x01\0\0\0",
                b"\x0a\x0d\x0d\x0a\0\0\0\x1c\x1a\x2b\x3c\x4d\0\x01\0\0\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\x1c",
                b"",
            ];
            let _ = read(&[starts[kind], &bytes].concat());
        }
    }
}
