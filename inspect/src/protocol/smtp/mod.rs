//! SMTP (RFC 5321): commands and replies, and the mails between them.
//!
//! # Theory of operation
//!
//! ```text
//!   Command ── DATA ──> Mail ── "." ──> Command        Command ── BDAT n ──> Chunk(n) ──> Command
//! ```
//!
//! A client sends its mail once the server has answered DATA with 354; one that does not wait is believed, and if the server
//! then refuses, what follows counts as commands again. A mail, with the commands before it, is one transaction; RSET and
//! a new greeting begin the next. Commands wait in a bounded queue for their replies, which decide about DATA and STARTTLS.

mod mime;

use std::collections::VecDeque;

use self::mime::Mail;
use super::anomaly::Anomaly;
use super::buffer::Buffer;
use super::line::{Lines, split_word};
use super::parser::{Parse, Progress};
use super::settings::Settings;
use super::sink::{Piece, Sink, Stage};
use crate::inspector::Direction;

/// Bytes of a command line: RFC 5321 section 4.5.3.1.4 allows 512, extensions more.
const COMMAND_BYTES_MAX: usize = 2048;

/// Bytes of a reply line: RFC 5321 section 4.5.3.1.5 allows 512.
const REPLY_BYTES_MAX: usize = 2048;

/// Bytes of a mail's line that are taken at once; RFC 5321 section 4.5.3.1.6 allows 1000.
const MAIL_LINE_BYTES_MAX: usize = 4096;

/// Commands that wait for replies. Clients pipeline some dozens (RFC 2920).
const COMMANDS_MAX: usize = 128;

/// What a command's reply decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Data,
    StartTls,
    Other,
}

/// Where the client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Command,
    /// In a mail; `is_granted` once the server has asked for it.
    Mail {
        is_granted: bool,
    },
    /// Bytes left of a chunk, and whether it is the mail's last.
    Chunk {
        left: u64,
        is_last: bool,
    },
}

/// The SMTP of one connection.
#[derive(Debug)]
pub(super) struct Smtp {
    transaction: u32,
    /// Something of the current transaction has been told.
    is_used: bool,
    state: State,
    lines: [Lines; 2],
    /// In a mail's line that is longer than a piece.
    is_mid_line: bool,
    mail: Option<Box<Mail>>,
    waiting: VecDeque<Command>,
    /// What the client calls itself; of several names the first. Every transaction is told it.
    helo: Vec<u8>,
    /// The current transaction has been told the name, and the sender of its mail.
    has_helo: bool,
    has_sender: bool,
    has_greeting: bool,
    has_told_no_welcome: bool,
}

const CLIENT: Direction = Direction::ToServer;
const SERVER: Direction = Direction::ToClient;

/// The bytes cannot be SMTP.
struct Broken;

impl Smtp {
    pub(super) fn new(first_transaction: u32) -> Self {
        Smtp {
            transaction: first_transaction,
            is_used: false,
            state: State::Command,
            lines: Default::default(),
            is_mid_line: false,
            mail: None,
            waiting: VecDeque::new(),
            helo: Vec::new(),
            has_helo: false,
            has_sender: false,
            has_greeting: false,
            has_told_no_welcome: false,
        }
    }

    fn client(&mut self, mut input: &[u8], sink: &mut dyn Sink) -> Result<(), Broken> {
        while !input.is_empty() {
            match self.state {
                State::Command => {
                    let Some(line) = self.lines[0].next(&mut input, COMMAND_BYTES_MAX) else { break };
                    self.is_used = true;
                    if line.is_cut {
                        sink.anomaly(self.transaction, CLIENT, Anomaly::SmtpCommandLineTooLong);
                    }
                    self.command(&line.bytes, sink)?;
                }
                State::Mail { .. } => {
                    let line = match memchr::memchr(b'\n', input) {
                        Some(at) => at + 1,
                        None => input.len(),
                    };
                    let (piece, rest) = input.split_at(line);
                    input = rest;
                    self.mail_bytes(piece, sink);
                }
                State::Chunk { left, is_last } => {
                    let count = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    let (piece, rest) = input.split_at(count);
                    input = rest;
                    let mail = self.mail.get_or_insert_with(Default::default);
                    for line in piece.split_inclusive(|&byte| byte == b'\n') {
                        mail.bytes(self.transaction, line, sink);
                    }
                    let left = left - count as u64;
                    self.state = State::Chunk { left, is_last };
                    if left == 0 {
                        self.state = State::Command;
                        if is_last {
                            self.end_mail(true, sink);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes bytes of a mail, at most one line. The dot that ends it, and dots that were doubled, stand at line starts.
    fn mail_bytes(&mut self, piece: &[u8], sink: &mut dyn Sink) {
        let mail = self.mail.get_or_insert_with(Default::default);
        if self.is_mid_line {
            self.is_mid_line = !piece.ends_with(b"\n");
            mail.bytes(self.transaction, piece, sink);
            return;
        }
        let mut input = piece;
        let Some(line) = self.lines[0].next_raw(&mut input, MAIL_LINE_BYTES_MAX) else { return };
        let text = line.strip_prefix(b".").unwrap_or(&line);
        if line.starts_with(b".") && matches!(text, b"\r\n" | b"\n") {
            self.state = State::Command;
            // The mail itself is answered too; the queue has room, for DATA had its place in it.
            self.waiting.push_back(Command::Other);
            self.end_mail(true, sink);
            return;
        }
        self.is_mid_line = !line.ends_with(b"\n");
        if self.is_mid_line {
            sink.anomaly(self.transaction, CLIENT, Anomaly::SmtpMimeLongLine);
        }
        mail.bytes(self.transaction, text, sink);
        if !input.is_empty() {
            self.mail_bytes(input, sink);
        }
    }

    fn end_mail(&mut self, is_whole: bool, sink: &mut dyn Sink) {
        if let Some(mail) = self.mail.take() {
            mail.end(self.transaction, is_whole, sink);
        }
        self.next_transaction_begins(sink);
    }

    fn next_transaction_begins(&mut self, sink: &mut dyn Sink) {
        if self.is_used {
            sink.stage(self.transaction, CLIENT, Stage::Complete);
            self.transaction = self.transaction.wrapping_add(1);
            (self.is_used, self.has_helo, self.has_sender) = (false, false, false);
        }
    }

    fn command(&mut self, line: &[u8], sink: &mut dyn Sink) -> Result<(), Broken> {
        if !self.has_greeting && !self.has_told_no_welcome {
            self.has_told_no_welcome = true;
            sink.anomaly(self.transaction, CLIENT, Anomaly::SmtpNoWelcome);
        }
        let (verb, argument) = split_word(line);
        let starts = |text: &[u8]| line.len() >= text.len() && line[..text.len()].eq_ignore_ascii_case(text);
        let is = |text: &[u8]| verb.eq_ignore_ascii_case(text);
        let mut command = Command::Other;
        if is(b"HELO") || is(b"EHLO") {
            if self.helo.is_empty() {
                self.helo = split_word(argument).0.to_vec();
                self.tell_name(sink);
            } else {
                sink.anomaly(self.transaction, CLIENT, Anomaly::SmtpDuplicateFields);
            }
        } else if starts(b"MAIL FROM:") {
            if std::mem::replace(&mut self.has_sender, true) {
                sink.anomaly(self.transaction, CLIENT, Anomaly::SmtpDuplicateFields);
            } else {
                self.tell_name(sink);
                give(self.transaction, Buffer::SmtpMailFrom, path(&line[10..]), sink);
            }
        } else if starts(b"RCPT TO:") {
            give(self.transaction, Buffer::SmtpRcptTo, path(&line[8..]), sink);
        } else if is(b"DATA") {
            command = Command::Data;
            self.state = State::Mail { is_granted: false };
            self.mail = Some(Box::default());
        } else if is(b"BDAT") {
            self.chunk(argument, sink);
        } else if is(b"STARTTLS") {
            command = Command::StartTls;
        } else if is(b"RSET") {
            self.mail = None;
            self.next_transaction_begins(sink);
        }
        if self.waiting.len() >= COMMANDS_MAX {
            return Err(Broken);
        }
        self.waiting.push_back(command);
        Ok(())
    }

    /// Tells the client's name, once for each transaction.
    fn tell_name(&mut self, sink: &mut dyn Sink) {
        if !std::mem::replace(&mut self.has_helo, true) {
            give(self.transaction, Buffer::SmtpHelo, &self.helo, sink);
        }
    }

    /// BDAT (RFC 3030): a number of bytes, and perhaps LAST.
    fn chunk(&mut self, argument: &[u8], sink: &mut dyn Sink) {
        let (number, rest) = split_word(argument);
        let length = std::str::from_utf8(number).ok().and_then(|text| text.parse::<u32>().ok());
        let is_last = rest.trim_ascii().eq_ignore_ascii_case(b"LAST");
        match length {
            Some(length) if is_last || rest.trim_ascii().is_empty() => {
                self.mail.get_or_insert_with(Default::default);
                if length > 0 {
                    self.state = State::Chunk { left: u64::from(length), is_last };
                } else if is_last {
                    self.end_mail(true, sink);
                }
            }
            Some(_) | None => sink.anomaly(self.transaction, CLIENT, Anomaly::SmtpInvalidBdat),
        }
    }

    /// Takes a reply line; gives whether TLS begins behind it.
    fn reply(&mut self, line: &[u8], sink: &mut dyn Sink) -> bool {
        let code = line.first_chunk::<3>().filter(|code| code.iter().all(u8::is_ascii_digit));
        let Some(code) = code else {
            if !line.is_empty() {
                sink.anomaly(self.transaction, SERVER, Anomaly::SmtpInvalidReply);
            }
            return false;
        };
        if line.get(3) == Some(&b'-') {
            return false;
        }
        let Some(command) = self.waiting.pop_front() else {
            if self.has_greeting {
                sink.anomaly(self.transaction, SERVER, Anomaly::SmtpUnmatchedReply);
            } else if code != b"220" {
                sink.anomaly(self.transaction, SERVER, Anomaly::SmtpInvalidReply);
            }
            self.has_greeting = true;
            return false;
        };
        match command {
            Command::Data if code[0] == b'3' => {
                if let State::Mail { is_granted } = &mut self.state {
                    *is_granted = true;
                }
            }
            Command::Data => {
                sink.anomaly(self.transaction, SERVER, Anomaly::SmtpDataRejected);
                if self.state == (State::Mail { is_granted: false }) {
                    self.state = State::Command;
                    self.is_mid_line = false;
                    if let Some(mail) = self.mail.take() {
                        mail.end(self.transaction, false, sink);
                    }
                }
            }
            Command::StartTls if code == b"220" => return true,
            Command::StartTls => sink.anomaly(self.transaction, SERVER, Anomaly::SmtpTlsRejected),
            Command::Other => {}
        }
        false
    }
}

fn give(transaction: u32, buffer: Buffer, bytes: &[u8], sink: &mut dyn Sink) {
    if !bytes.is_empty() {
        sink.buffer(transaction, CLIENT, buffer, Piece::WHOLE, bytes);
    }
}

/// The path in `<a@b> PARAMETERS`, with its brackets, as rules and readers of records know it from Suricata.
fn path(text: &[u8]) -> &[u8] {
    let text = text.trim_ascii();
    text.split(|&byte| byte == b' ').next().unwrap_or(text)
}

impl Parse for Smtp {
    fn next_transaction(&self) -> u32 {
        self.transaction.wrapping_add(u32::from(self.is_used))
    }

    fn stream(&mut self, side: Direction, bytes: &[u8], _settings: &Settings, sink: &mut dyn Sink) -> Progress {
        if side == CLIENT {
            return match self.client(bytes, sink) {
                Ok(()) => Progress::More,
                Err(Broken) => Progress::Broken,
            };
        }
        let mut input = bytes;
        while let Some(line) = self.lines[1].next(&mut input, REPLY_BYTES_MAX) {
            if line.is_cut {
                sink.anomaly(self.transaction, SERVER, Anomaly::SmtpReplyLineTooLong);
            }
            if self.reply(&line.bytes, sink) {
                self.next_transaction_begins(sink);
                return Progress::Switch { used: bytes.len() - input.len(), held: Vec::new() };
            }
        }
        Progress::More
    }

    fn gap(&mut self, _side: Direction, _length: u64, _settings: &Settings, sink: &mut dyn Sink) -> Progress {
        self.end_mail(false, sink);
        Progress::Broken
    }

    fn pause(&mut self, side: Direction, sink: &mut dyn Sink) {
        if let (CLIENT, Some(mail)) = (side, &mut self.mail) {
            mail.pause(sink);
        }
    }

    fn closed(&mut self, side: Direction, _settings: &Settings, sink: &mut dyn Sink) -> Progress {
        if side == CLIENT {
            self.state = State::Command;
            self.end_mail(false, sink);
        }
        Progress::More
    }
}

#[cfg(test)]
mod tests {
    use super::super::AppProtocol;
    use super::super::recorder::{Case, check_stream, check_stream_for, protocol_of};
    use super::*;

    const HELLO: Case<'_> = Case(SERVER, b"220 ESMTP\r\n");

    #[test]
    fn a_mail_is_a_transaction() {
        check_stream(
            &[
                HELLO,
                Case(CLIENT, b"EHLO me\r\nMAIL FROM:<a@b> SIZE=1\r\nRCPT TO: <c@d>\r\nDATA\r\n"),
                Case(SERVER, b"250-x\r\n250 PIPELINING\r\n250 ok\r\n250 ok\r\n354 go\r\n"),
                Case(CLIENT, b"Subject: hi\r\n there\r\nFrom: f\r\n\r\ntext\r\n..dot\r\n.\r\nQUIT\r\n"),
                Case(SERVER, b"250 ok\r\n221 bye\r\n"),
            ],
            "0> smtp.helo[me]|0> smtp.mail_from[<a@b>]|0> smtp.rcpt_to[<c@d>]|0> email.subject[hi there]|0> email.from[f]\
             |0> Complete|1> Complete",
        );
    }

    #[test]
    fn each_mail_is_told_its_clients_first_name() {
        let mail = b"MAIL FROM:a@b\r\nMAIL FROM:<x>\r\nDATA\r\n.\r\n";
        check_stream_for(
            &[HELLO, Case(CLIENT, b"EHLO me too\r\nHELO you\r\n"), Case(CLIENT, mail), Case(CLIENT, mail)],
            &["smtp.helo", "smtp.mail_from", "anomaly"],
            "0> smtp.helo[me]|0> !smtp.duplicate_fields|0> smtp.mail_from[a@b]|0> !smtp.duplicate_fields\
             |1> smtp.helo[me]|1> smtp.mail_from[a@b]|1> !smtp.duplicate_fields",
        );
    }

    #[test]
    fn attachments_are_files() {
        let mail = b"EHLO m\r\nDATA\r\nContent-Type: multipart/mixed; boundary=\"XX\"\r\n\r\npreamble\r\n--XX\r\n\
            Content-Type: text/plain\r\n\r\nbody\r\n--XX\r\nContent-Disposition: attachment; filename=a.exe\r\n\
            Content-Transfer-Encoding: base64\r\n\r\nTVo=\r\nQQ==\r\n--XX\r\nContent-Type: a/b; name=q\r\n\
            Content-Transfer-Encoding: quoted-printable\r\n\r\na=3Db=\r\nc\r\nd\r\n--XX\r\n\
            Content-Disposition: attachment; filename=p\r\n\r\nplain\r\nlines\r\n--XX--\r\nepilogue\r\n.\r\n";
        check_stream_for(
            &[HELLO, Case(CLIENT, mail)],
            &["file.name", "file.data", "file"],
            "0> file.name[a.exe]|0> file.data[MZA]|0> file(3,whole)|0> file.name[q]|0> file.data[a=bc\\r\\nd]\
             |0> file(7,whole)|0> file.name[p]|0> file.data[plain\\r\\nlines]|0> file(12,whole)",
        );
    }

    #[test]
    fn names_in_pieces_are_put_together() {
        let name_of =
            |field: &str| format!("EHLO m\r\nDATA\r\nContent-Disposition: attachment;\r\n {field}\r\n\r\nx\r\n.\r\n");
        for (field, expected) in [
            ("filename*0=a.;\r\n filename*1=exe", "0> file.name[a.exe]"),
            ("filename*=utf-8'de'a%2Eex%65", "0> file.name[a.exe]"),
            ("filename*0*=utf-8''a%2e; filename*1=\"ex\"; filename*2*=%65", "0> file.name[a.exe]"),
            ("filename=a.txt; filename*=''a.exe", "0> file.name[a.txt]|0> file.name[a.exe]"),
        ] {
            check_stream_for(&[HELLO, Case(CLIENT, name_of(field).as_bytes())], &["file.name"], expected);
        }
    }

    #[test]
    fn a_mail_within_a_mail_is_not_encoded_by_what_is_around_it() {
        let mail = b"EHLO m\r\nDATA\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n\
            Subject: inner\r\nContent-Disposition: attachment; filename=a.exe\r\n\r\nplain words\r\n.\r\n";
        check_stream_for(
            &[HELLO, Case(CLIENT, mail)],
            &["file.name", "file.data", "file", "anomaly"],
            "0> file.name[a.exe]|0> file.data[plain words]|0> file(11,whole)",
        );
    }

    #[test]
    fn chunks_are_mails_too() {
        check_stream_for(
            &[
                HELLO,
                Case(CLIENT, b"EHLO m\r\nBDAT 12\r\nSubject: hi\nBDAT 16 LAST\r\nFrom: me\r\n\r\nbodyMAIL FROM:<x>\r\nBDAT y\r\n"),
            ],
            &["email.subject", "email.from", "smtp.mail_from", "anomaly"],
            "0> email.subject[hi]|0> email.from[me]|1> smtp.mail_from[<x>]|1> !smtp.invalid_bdat",
        );
    }

    #[test]
    fn data_that_is_refused_gives_commands_again() {
        check_stream_for(
            &[
                HELLO,
                Case(CLIENT, b"EHLO m\r\nDATA\r\n"),
                Case(SERVER, b"250 ok\r\n554 no\r\n"),
                Case(CLIENT, b"MAIL FROM:<x>\r\n"),
            ],
            &["smtp.mail_from", "anomaly"],
            "0< !smtp.data_command_rejected|0> smtp.mail_from[<x>]",
        );
    }

    #[test]
    fn tls_is_recognised_behind_starttls() {
        let cases = [
            HELLO,
            Case(CLIENT, b"EHLO m\r\nSTARTTLS\r\n"),
            Case(SERVER, b"250 ok\r\n220 go\r\n"),
            Case(CLIENT, &[0x16, 3, 1, 0, 100, 1, 0]),
        ];
        assert_eq!(protocol_of(&cases), Some(AppProtocol::Tls));
    }

    /// Found by fuzzing.
    #[test]
    fn a_gap_ends_the_mail_and_its_files() {
        use super::super::{Conversation, Settings, recorder::Recorder};
        let settings = Settings::default();
        let mut recorder = Recorder::wanting(&["file.data"]);
        let mut conversation = Conversation::new();
        let mail = b"EHLO m\r\nDATA\r\nContent-Disposition: attachment; filename=a\r\n\r\nMZ\r\n";
        conversation.stream(CLIENT, mail, &settings, &mut recorder);
        conversation.gap(SERVER, 1, &settings, &mut recorder);
        // The recorder would complain about a file without an end.
        assert!(recorder.text().starts_with("0> file.data[MZ"), "{}", recorder.text());
    }
}
