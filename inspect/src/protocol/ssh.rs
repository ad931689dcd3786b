//! SSH: banners and the algorithm lists of the key exchange (RFC 4253 sections 4.2, 6 and 7.1). What follows is encrypted.

use super::anomaly::Anomaly;
use super::buffer::Buffer;
use super::parser::{Parse, Progress};
use super::settings::Settings;
use super::sink::{Piece, Sink, Stage};
use super::tls::md5_hex;
use crate::inspector::Direction;

/// RFC 4253 section 4.2.
const BANNER_BYTES_MAX: usize = 255;

/// Lines that a server may send before its banner.
const LINES_BEFORE_BANNER_MAX: usize = 64;

/// RFC 4253 section 6.1; implementations accept up to 256 KiB.
const PACKET_BYTES_MAX: usize = 256 * 1024;

/// Bytes of a key exchange that are kept; real ones take some 2 KiB, RFC 4253 allows 35,000.
const KEXINIT_BYTES_MAX: usize = 35_000;

const KEXINIT: u8 = 20;
const NEWKEYS: u8 = 21;
const PACKET_HEADER_BYTES: usize = 6;

#[derive(Debug, Default)]
struct Half {
    state: State,
    kept: Vec<u8>,
    lines_before_banner: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Banner,
    Packet,
    /// Bytes left of a packet that is not kept.
    Skip(usize),
    /// After NEWKEYS.
    Over,
}

/// The SSH of one connection.
#[derive(Debug)]
pub(super) struct Ssh {
    transaction: u32,
    halves: [Half; 2],
}

struct Broken;

impl Ssh {
    pub(super) fn new(first_transaction: u32) -> Self {
        Ssh { transaction: first_transaction, halves: Default::default() }
    }

    fn bytes(&mut self, side: Direction, mut input: &[u8], sink: &mut dyn Sink) -> Result<(), Broken> {
        while !input.is_empty() {
            let half = &mut self.halves[side as usize];
            match half.state {
                State::Over => return Ok(()),
                State::Skip(left) => {
                    let count = left.min(input.len());
                    input = &input[count..];
                    half.state = if count == left { State::Packet } else { State::Skip(left - count) };
                }
                State::Banner => self.banner_line(side, &mut input, sink)?,
                State::Packet => self.packet(side, &mut input, sink)?,
            }
        }
        Ok(())
    }

    fn banner_line(&mut self, side: Direction, input: &mut &[u8], sink: &mut dyn Sink) -> Result<(), Broken> {
        let half = &mut self.halves[side as usize];
        let end = memchr::memchr(b'\n', input);
        let (piece, rest) = input.split_at(end.map_or(input.len(), |at| at + 1));
        *input = rest;
        let room = (BANNER_BYTES_MAX + 2).saturating_sub(half.kept.len());
        half.kept.extend_from_slice(&piece[..piece.len().min(room)]);
        if end.is_none() && room > piece.len() {
            return Ok(());
        }
        let is_long = piece.len() > room || (end.is_none() && room == piece.len());
        let line = std::mem::take(&mut half.kept);
        let line = line.trim_ascii_end();
        let Some(text) = line.strip_prefix(b"SSH-") else {
            half.lines_before_banner += 1;
            sink.anomaly(self.transaction, side, Anomaly::SshInvalidBanner);
            return if half.lines_before_banner > LINES_BEFORE_BANNER_MAX { Err(Broken) } else { Ok(()) };
        };
        half.state = State::Packet;
        if is_long {
            sink.anomaly(self.transaction, side, Anomaly::SshLongBanner);
        }
        let dash = text.iter().position(|&byte| byte == b'-');
        let (proto, software) = match dash {
            Some(at) => (&text[..at], &text[at + 1..]),
            None => (text, &text[text.len()..]),
        };
        let software = &software[..software.iter().position(|&byte| byte == b' ').unwrap_or(software.len())];
        for (buffer, bytes) in [(Buffer::SshProto, proto), (Buffer::SshSoftware, software)] {
            if !bytes.is_empty() {
                sink.buffer(self.transaction, side, buffer, Piece::WHOLE, bytes);
            }
        }
        sink.stage(self.transaction, side, Stage::Line);
        if is_long && end.is_none() {
            return Err(Broken);
        }
        Ok(())
    }

    fn packet(&mut self, side: Direction, input: &mut &[u8], sink: &mut dyn Sink) -> Result<(), Broken> {
        let half = &mut self.halves[side as usize];
        let wanted = match half.kept.first_chunk::<4>() {
            Some(length) if half.kept.len() >= PACKET_HEADER_BYTES => 4 + u32::from_be_bytes(*length) as usize,
            Some(_) | None => PACKET_HEADER_BYTES,
        };
        let (taken, rest) = input.split_at((wanted - half.kept.len()).min(input.len()));
        half.kept.extend_from_slice(taken);
        *input = rest;
        if half.kept.len() < wanted {
            return Ok(());
        }
        let [a, b, c, d, padding, code, body @ ..] = &half.kept[..] else {
            return Ok(());
        };
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        if !(2..=PACKET_BYTES_MAX).contains(&length) || usize::from(*padding) + 1 > length {
            sink.anomaly(self.transaction, side, Anomaly::SshInvalidRecord);
            return Err(Broken);
        }
        let left = length + 4 - half.kept.len();
        match *code {
            KEXINIT if left > 0 && length <= KEXINIT_BYTES_MAX => return Ok(()),
            KEXINIT if left == 0 => hassh(self.transaction, side, body, sink),
            NEWKEYS => {
                half.state = State::Over;
                half.kept = Vec::new();
                sink.stage(self.transaction, side, Stage::Complete);
                return Ok(());
            }
            _ => {}
        }
        let half = &mut self.halves[side as usize];
        half.kept = Vec::new();
        half.state = if left == 0 { State::Packet } else { State::Skip(left) };
        Ok(())
    }
}

/// Delivers the fingerprint of a side's algorithm lists: key exchange; then encryption, MAC and compression towards the
/// other side.
fn hassh(transaction: u32, side: Direction, body: &[u8], sink: &mut dyn Sink) {
    let mut rest = body.get(16..).unwrap_or_default();
    let mut lists: [&[u8]; 8] = [&[]; 8];
    for list in &mut lists {
        let Some((length, after)) = rest.split_first_chunk::<4>() else {
            break;
        };
        let length = (u32::from_be_bytes(*length) as usize).min(after.len());
        (*list, rest) = after.split_at(length);
    }
    let (wanted, string, hash) = match side {
        Direction::ToServer => ([0, 2, 4, 6], Buffer::SshHasshString, Buffer::SshHassh),
        Direction::ToClient => ([0, 3, 5, 7], Buffer::SshHasshServerString, Buffer::SshHasshServer),
    };
    let text = wanted.map(|which| lists[which]).join(&b';');
    sink.buffer(transaction, side, string, Piece::WHOLE, &text);
    sink.buffer(transaction, side, hash, Piece::WHOLE, md5_hex(&text).as_bytes());
    sink.stage(transaction, side, Stage::Headers);
}

impl Parse for Ssh {
    fn next_transaction(&self) -> u32 {
        self.transaction.wrapping_add(1)
    }

    fn stream(&mut self, side: Direction, bytes: &[u8], _settings: &Settings, sink: &mut dyn Sink) -> Progress {
        match self.bytes(side, bytes, sink) {
            Err(Broken) => Progress::Broken,
            Ok(()) if self.halves.iter().all(|half| half.state == State::Over) => Progress::Opaque,
            Ok(()) => Progress::More,
        }
    }

    fn closed(&mut self, side: Direction, _settings: &Settings, sink: &mut dyn Sink) -> Progress {
        let half = &mut self.halves[side as usize];
        if half.state != State::Over {
            half.state = State::Over;
            sink.stage(self.transaction, side, Stage::Complete);
        }
        Progress::More
    }
}

#[cfg(test)]
mod tests {
    use super::super::recorder::{Case, check_stream, check_stream_for};
    use super::*;
    use Direction::{ToClient, ToServer};

    fn packet(code: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() + 2 + 4) as u32;
        [&length.to_be_bytes(), &[4, code][..], body, &[0; 4]].concat()
    }

    fn kexinit() -> Vec<u8> {
        let mut body = vec![0; 16];
        for list in ["kex", "key", "ec", "es", "mc", "ms", "cc", "cs", "", ""] {
            body.extend_from_slice(&(list.len() as u32).to_be_bytes());
            body.extend_from_slice(list.as_bytes());
        }
        body.extend_from_slice(&[0; 5]);
        packet(KEXINIT, &body)
    }

    #[test]
    fn banners_and_algorithms_are_told() {
        let client =
            [b"SSH-2.0-Open_1 comment\r\n".to_vec(), kexinit(), packet(30, b"dh"), packet(NEWKEYS, b"")].concat();
        let server = [b"SSH-1.99-Srv\n".to_vec(), kexinit(), packet(NEWKEYS, b""), b"encrypted".to_vec()].concat();
        let expected = format!(
            "0> ssh.proto[2.0]|0> ssh.software[Open_1]|0> Line|0> ssh.hassh.string[kex;ec;mc;cc]|0> ssh.hassh[{}]\
             |0> Headers|0> Complete|0< ssh.proto[1.99]|0< ssh.software[Srv]|0< Line\
             |0< ssh.hassh.server.string[kex;es;ms;cs]|0< ssh.hassh.server[{}]|0< Headers|0< Complete",
            md5_hex(b"kex;ec;mc;cc"),
            md5_hex(b"kex;es;ms;cs")
        );
        check_stream(&[Case(ToServer, &client), Case(ToClient, &server)], &expected);
    }

    #[test]
    fn impossible_packets_and_long_banners_are_anomalies() {
        let long = [b"SSH-2.0-".as_slice(), &[b'a'; 300]].concat();
        check_stream_for(&[Case(ToServer, &long)], &["anomaly"], "0> !ssh.long_banner");
        check_stream_for(&[Case(ToServer, b"SSH-2.0-x\r\n\0\0\0\x01\x00\x14")], &["anomaly"], "0> !ssh.invalid_record");
    }
}
