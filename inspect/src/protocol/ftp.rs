//! FTP's control connection (RFC 959) and the data connections it announces.
//!
//! A command and its replies are one transaction. `PORT`, `EPRT` and the replies to `PASV` and `EPSV` announce a data
//! connection, and the command that uses it names its file.

use super::anomaly::Anomaly;
use super::buffer::Buffer;
use super::file::FileStream;
use super::line::{Lines, split_word};
use super::parser::{Parse, Progress};
use super::settings::Settings;
use super::sink::{Expectation, Piece, Sink, Stage};
use crate::inspector::Direction;
use crate::record::Detail;
use std::collections::VecDeque;

/// Bytes of a command or reply line; Suricata's default.
const LINE_BYTES_MAX: usize = 4096;

/// Commands that wait for replies. RFC 959 wants a client to wait for each, and those who do not send some few at once; of more,
/// the oldest goes without its reply.
const COMMANDS_MAX: usize = 32;

/// The FTP of one control connection.
#[derive(Debug)]
pub(super) struct Ftp {
    next: u32,
    lines: [Lines; 2],
    /// The transactions that have no reply yet, or only a part of it, and what it may mean: replies come in the order of the
    /// commands.
    waiting: VecDeque<(u32, Pending)>,
    /// Listener, address and port of the data connection that was announced last, until a command uses it.
    announced: Option<(Direction, Option<[u8; 16]>, u16)>,
    /// The next file begins behind its beginning (REST).
    is_rest: bool,
    /// The code of a reply of several lines (`123-`), until its last line.
    multiline: Option<[u8; 3]>,
}

/// What the reply to the last command may mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pending {
    Nothing,
    Passive,
    ExtendedPassive,
    Tls,
}

impl Ftp {
    pub(super) fn new(first_transaction: u32) -> Self {
        Ftp {
            next: first_transaction,
            lines: Default::default(),
            waiting: VecDeque::new(),
            announced: None,
            is_rest: false,
            multiline: None,
        }
    }

    /// A data connection is announced.
    fn announce(&mut self, listener: Direction, address: Option<[u8; 16]>, port: u16, sink: &mut dyn Sink) {
        self.announced = Some((listener, address, port));
        sink.expect(&Expectation { listener, address, port, file: b"", is_part: false });
    }

    /// A command says what the data connection is for.
    fn use_announced(&mut self, file: &[u8], is_part: bool, sink: &mut dyn Sink) {
        let is_part = std::mem::take(&mut self.is_rest) || is_part;
        if let Some((listener, address, port)) = self.announced.take()
            && !file.is_empty()
        {
            sink.expect(&Expectation { listener, address, port, file, is_part });
        }
    }

    /// Begins a transaction that waits for a reply.
    fn begin(&mut self, pending: Pending) -> u32 {
        let transaction = self.next;
        self.next = self.next.wrapping_add(1);
        if self.waiting.len() >= COMMANDS_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back((transaction, pending));
        transaction
    }

    fn command(&mut self, line: &[u8], is_cut: bool, sink: &mut dyn Sink) {
        if line.is_empty() {
            return;
        }
        let side = Direction::ToServer;
        let (verb, argument) = split_word(line);
        let is = |name: &[u8]| verb.eq_ignore_ascii_case(name);
        let is_tls = is(b"AUTH") && (argument.eq_ignore_ascii_case(b"TLS") || argument.eq_ignore_ascii_case(b"SSL"));
        let transaction = self.begin(match () {
            () if is(b"PASV") => Pending::Passive,
            () if is(b"EPSV") => Pending::ExtendedPassive,
            () if is_tls => Pending::Tls,
            () => Pending::Nothing,
        });
        for (buffer, bytes) in [(Buffer::FtpCommand, verb), (Buffer::FtpCommandData, argument)] {
            if !bytes.is_empty() {
                sink.buffer(transaction, side, buffer, Piece::WHOLE, bytes);
            }
        }
        if is_cut {
            sink.anomaly(transaction, side, Anomaly::FtpCommandTooLong);
        }
        if is(b"PORT") || is(b"EPRT") {
            let announced = if is(b"PORT") { host_port(argument) } else { extended_port(argument) };
            if let Some((address, port)) = announced {
                self.announce(Direction::ToClient, Some(address), port, sink);
            }
            let port = announced.map(|(_, port)| port);
            sink.detail(transaction, &Detail::FtpPort { is_active: true, port });
        } else if is(b"PASV") || is(b"EPSV") {
            sink.detail(transaction, &Detail::FtpPort { is_active: false, port: None });
        } else if is(b"REST") {
            self.is_rest = argument != b"0";
        } else if is(b"RETR") || is(b"STOR") || is(b"APPE") || is(b"STOU") {
            self.use_announced(argument, is(b"APPE"), sink);
        } else if is(b"LIST") || is(b"NLST") || is(b"MLSD") {
            self.use_announced(b"", false, sink);
        }
        sink.stage(transaction, side, Stage::Complete);
    }

    /// Takes a reply line; gives whether TLS begins behind it.
    fn reply(&mut self, line: &[u8], is_cut: bool, sink: &mut dyn Sink) -> bool {
        let side = Direction::ToClient;
        let (transaction, is_awaited) = match self.waiting.front() {
            Some(&(transaction, _)) => (transaction, true),
            // The greeting answers no command, nor does a word of farewell.
            None => (self.begin(Pending::Nothing), false),
        };
        if is_cut {
            sink.anomaly(transaction, side, Anomaly::FtpReplyTooLong);
        }
        let code = line.first_chunk::<3>().filter(|code| code.iter().all(u8::is_ascii_digit)).copied();
        let separator = line.get(3).copied();
        let text = match code {
            Some(_) => line.get(4..).unwrap_or_default(),
            None => line,
        };
        if let Some(code) = code {
            sink.buffer(transaction, side, Buffer::FtpCompletionCode, Piece::WHOLE, &code);
        }
        if !text.is_empty() {
            sink.buffer(transaction, side, Buffer::FtpReply, Piece::WHOLE, text);
        }
        match (self.multiline, code, separator) {
            (None, Some(code), Some(b'-')) => {
                self.multiline = Some(code);
                return false;
            }
            (Some(open), Some(code), separator) if open == code && separator != Some(b'-') => self.multiline = None,
            (Some(_), _, _) => return false,
            (None, _, _) => {}
        }
        if self.heed(code, text, sink) {
            return true;
        }
        // A preliminary reply (1yz) is followed by another. A line without a code is no reply: no command loses its own to it.
        if code.map_or(!is_awaited, |code| code[0] != b'1') {
            self.waiting.pop_front();
            sink.stage(transaction, side, Stage::Complete);
        }
        false
    }

    /// Does what the last line of a reply asks for; gives whether TLS begins behind it. What it answers is found among all
    /// commands that wait, so that a reply too many does not hide a data connection.
    fn heed(&mut self, code: Option<[u8; 3]>, text: &[u8], sink: &mut dyn Sink) -> bool {
        let pending = match code.as_ref() {
            Some(b"227") => Pending::Passive,
            Some(b"229") => Pending::ExtendedPassive,
            Some(b"234") => Pending::Tls,
            Some(_) | None => return false,
        };
        let Some(place) = self.waiting.iter().position(|&(_, waiting)| waiting == pending) else { return false };
        let announced = match pending {
            Pending::Passive => {
                let start = text.iter().position(u8::is_ascii_digit).unwrap_or(text.len());
                host_port(&text[start..]).map(|(address, port)| (Some(address), port))
            }
            Pending::ExtendedPassive => passive_port(text).map(|port| (None, port)),
            Pending::Tls => return true,
            Pending::Nothing => None,
        };
        if let Some((address, port)) = announced {
            self.announce(Direction::ToServer, address, port, sink);
            sink.detail(self.waiting[place].0, &Detail::FtpPort { is_active: false, port: Some(port) });
        }
        false
    }
}

fn number(text: &[u8]) -> Option<u16> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

fn mapped(address: [u8; 4]) -> [u8; 16] {
    std::net::Ipv4Addr::from(address).to_ipv6_mapped().octets()
}

/// `h1,h2,h3,h4,p1,p2` (RFC 959 section 4.1.2).
fn host_port(text: &[u8]) -> Option<([u8; 16], u16)> {
    let mut numbers = [0u8; 6];
    let mut parts = text.split(|&byte| byte == b',');
    for value in &mut numbers {
        let part = parts.next()?;
        let digits = part.iter().take_while(|byte| byte.is_ascii_digit()).count();
        *value = u8::try_from(number(&part[..digits])?).ok()?;
    }
    let [a, b, c, d, high, low] = numbers;
    Some((mapped([a, b, c, d]), u16::from_be_bytes([high, low])))
}

/// `|1|132.235.1.2|6275|` (RFC 2428 section 2).
fn extended_port(text: &[u8]) -> Option<([u8; 16], u16)> {
    let (&delimiter, rest) = text.split_first()?;
    let mut parts = rest.split(|&byte| byte == delimiter);
    parts.next()?;
    let address: std::net::IpAddr = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    let address = match address {
        std::net::IpAddr::V4(address) => mapped(address.octets()),
        std::net::IpAddr::V6(address) => address.octets(),
    };
    Some((address, number(parts.next()?)?))
}

/// `... (|||6446|)` (RFC 2428 section 3).
fn passive_port(text: &[u8]) -> Option<u16> {
    let open = text.iter().position(|&byte| byte == b'(')?;
    let (&delimiter, rest) = text[open + 1..].split_first()?;
    number(rest.split(|&byte| byte == delimiter).nth(2)?)
}

impl Parse for Ftp {
    fn next_transaction(&self) -> u32 {
        self.next
    }

    fn stream(&mut self, side: Direction, bytes: &[u8], _settings: &Settings, sink: &mut dyn Sink) -> Progress {
        let mut input = bytes;
        while let Some(line) = self.lines[side as usize].next(&mut input, LINE_BYTES_MAX) {
            match side {
                Direction::ToServer => self.command(&line.bytes, line.is_cut, sink),
                Direction::ToClient => {
                    if self.reply(&line.bytes, line.is_cut, sink) {
                        return Progress::Switch { used: bytes.len() - input.len(), held: Vec::new() };
                    }
                }
            }
        }
        Progress::More
    }
}

/// An FTP data connection: a file each way.
#[derive(Debug)]
pub(super) struct FtpData {
    transaction: u32,
    files: [Option<FileStream>; 2],
}

impl FtpData {
    pub(super) fn new(first_transaction: u32) -> Self {
        FtpData { transaction: first_transaction, files: [None, None] }
    }
}

impl Parse for FtpData {
    fn next_transaction(&self) -> u32 {
        self.transaction.wrapping_add(1)
    }

    fn stream(&mut self, side: Direction, bytes: &[u8], _settings: &Settings, sink: &mut dyn Sink) -> Progress {
        let transaction = self.transaction;
        let file = self.files[side as usize].get_or_insert_with(|| {
            let mut file = FileStream::new(transaction, side, sink);
            if let Some((name, is_part)) = sink.announced_file() {
                file.name(&name, sink);
                if is_part {
                    file.is_part();
                }
            }
            file
        });
        file.data(bytes, sink);
        Progress::More
    }

    fn pause(&mut self, side: Direction, sink: &mut dyn Sink) {
        if let Some(file) = &mut self.files[side as usize] {
            file.pause(sink);
        }
    }

    fn gap(&mut self, side: Direction, _length: u64, _settings: &Settings, sink: &mut dyn Sink) -> Progress {
        if let Some(file) = self.files[side as usize].take() {
            file.end(false, sink);
        }
        Progress::More
    }

    fn closed(&mut self, side: Direction, _settings: &Settings, sink: &mut dyn Sink) -> Progress {
        if let Some(file) = self.files[side as usize].take() {
            file.end(true, sink);
            sink.stage(self.transaction, side, Stage::Complete);
        }
        Progress::More
    }
}

#[cfg(test)]
mod tests {
    use super::super::recorder::{Case, Recorder, check_stream, check_stream_for};
    use super::super::{AppProtocol, Conversation};
    use super::*;
    use Direction::{ToClient, ToServer};

    #[test]
    fn commands_and_replies_are_transactions() {
        check_stream(
            &[
                Case(ToClient, b"220-hello\r\n x\r\n220 FTP ready\r\n"),
                Case(ToServer, b"USER joe\r\n"),
                Case(ToClient, b"331 who?\r\n"),
                Case(ToServer, b"NOOP\n"),
                Case(ToClient, b"150 wait\r\n226 done\r\n"),
            ],
            "0< ftp.completion_code[220]|0< ftp.reply[hello]|0< ftp.reply[ x]|0< ftp.completion_code[220]\
             |0< ftp.reply[FTP ready]|0< Complete|1> ftp.command[USER]|1> ftp.command_data[joe]|1> Complete\
             |1< ftp.completion_code[331]|1< ftp.reply[who?]|1< Complete|2> ftp.command[NOOP]|2> Complete\
             |2< ftp.completion_code[150]|2< ftp.reply[wait]|2< ftp.completion_code[226]|2< ftp.reply[done]|2< Complete",
        );
    }

    #[test]
    fn replies_belong_to_the_commands_in_their_order() {
        let many = b"NOOP\r\n".repeat(COMMANDS_MAX + 1);
        check_stream_for(
            &[
                Case(ToServer, b"USER joe\r\nPASV\r\nQUIT\r\n"),
                Case(ToClient, b"331 who?\r\n227 Entering (10,0,0,2,8,2).\r\n221-so\r\n221 long\r\n421 late\r\n"),
                Case(ToServer, &many),
                Case(ToClient, b"no code\r\n200 ok\r\n"),
            ],
            &["ftp.reply", "expect"],
            "0< ftp.reply[who?]|1< ftp.reply[Entering (10,0,0,2,8,2).]|expect(>,2050)|2< ftp.reply[so]|2< ftp.reply[long]\
             |3< ftp.reply[late]|5< ftp.reply[no code]|5< ftp.reply[ok]",
        );
        // One reply more than there are commands.
        check_stream_for(
            &[
                Case(ToServer, b"USER a\r\nPASV\r\n"),
                Case(ToClient, b"stray\r\n331 ok\r\n200 ok\r\n227 Entering (10,0,0,2,8,2).\r\n"),
                Case(ToServer, b"NOOP\r\nPASV\r\n"),
                Case(ToClient, b"227 Entering (10,0,0,2,8,3).\r\n"),
            ],
            &["expect"],
            "expect(>,2051)",
        );
    }

    #[test]
    fn data_connections_are_announced() {
        check_stream_for(
            &[
                Case(ToServer, b"USER a\r\nPORT 10,0,0,1,4,1\r\nEPRT |2|::1|99|\r\nPASV\r\n"),
                Case(ToClient, b"227 Entering (10,0,0,2,8,2).\r\n"),
                Case(ToServer, b"EPSV\r\n"),
                Case(ToClient, b"229 Entering (|||6446|)\r\n"),
                Case(ToServer, b"RETR a b.exe\r\nSTOR no.port\r\nPORT 10,0,0,1,4\r\nPORT 10,0,0,1,4,999\r\n"),
                Case(ToServer, b"PORT 10,0,0,1,4,2\r\nLIST\r\nSTOR x\r\n"),
                Case(ToServer, b"PORT 10,0,0,1,4,3\r\nREST 7\r\nRETR y\r\nPORT 10,0,0,1,4,4\r\nREST 0\r\nRETR z\r\n"),
            ],
            &["expect"],
            "expect(<,1025)|expect(<,99)|expect(>,2050)|expect(>,6446)|expect(>,6446,a b.exe)|expect(<,1026)\
             |expect(<,1027)|expect(<,1027,y,part)|expect(<,1028)|expect(<,1028,z)",
        );
    }

    #[test]
    fn long_lines_are_cut_and_tls_switches() {
        let long = [b"USER ".as_slice(), &[b'a'; LINE_BYTES_MAX], b"\r\nNOOP\r\n"].concat();
        let mut recorder = Recorder::wanting(&["anomaly", "ftp.command"]);
        let mut conversation = Conversation::new();
        for piece in long.chunks(1000) {
            conversation.stream(ToServer, piece, &Settings::default(), &mut recorder);
        }
        assert_eq!(recorder.text(), "0> ftp.command[USER]|0> !ftp.request_command_too_long|1> ftp.command[NOOP]");
        conversation.stream(ToServer, b"AUTH TLS\r\n", &Settings::default(), &mut recorder);
        conversation.stream(ToClient, b"234 go\r\n", &Settings::default(), &mut recorder);
        conversation.stream(ToServer, &[0x16, 3, 1, 0, 100, 1, 0], &Settings::default(), &mut recorder);
        assert_eq!(conversation.protocol(), Some(AppProtocol::Tls));
        assert_eq!(conversation.original_protocol(), Some(AppProtocol::Ftp));
    }

    #[test]
    fn a_data_connection_is_a_file() {
        let mut recorder = Recorder::default();
        let mut conversation = Conversation::ftp_data();
        let settings = Settings::default();
        conversation.stream(ToClient, b"abc", &settings, &mut recorder);
        conversation.stream(ToClient, b"def", &settings, &mut recorder);
        conversation.closed(ToClient, &settings, &mut recorder);
        assert_eq!(recorder.text(), "0< file.data[abcdef]|0< file(6,whole)|0< Complete");
    }
}
