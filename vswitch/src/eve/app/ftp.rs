//! FTP commands and their replies.

use inspect::inspector::Direction;
use inspect::protocol::Buffer;
use inspect::record::{Detail, Transaction};

use super::{Filling, Object};

pub(super) fn object(transaction: &Transaction) -> Object {
    let mut ftp = Filling::of(transaction);
    // Case means nothing in it, and Suricata's records have capitals.
    if let Some(command) = ftp.text(Buffer::FtpCommand, None) {
        ftp.put("command", command.to_ascii_uppercase());
    }
    if let Some(argument) = transaction.field(Buffer::FtpCommandData) {
        ftp.first("command_data", Buffer::FtpCommandData);
        ftp.put("command_truncated", argument.is_cut);
    }
    ftp.all("completion_code", Buffer::FtpCompletionCode, None);
    ftp.all("reply", Buffer::FtpReply, None);
    for detail in &transaction.details {
        if let Detail::FtpPort { is_active, port } = detail {
            ftp.put("mode", if *is_active { "active" } else { "passive" });
            if let Some(port) = port {
                ftp.put("dynamic_port", *port);
            }
        }
    }
    let is_answered = transaction.is_over[Direction::ToClient as usize];
    ftp.put("reply_received", if is_answered { "yes" } else { "no" });
    let mut replies = transaction.fields().filter(|field| field.buffer == Buffer::FtpReply);
    ftp.put("reply_truncated", transaction.has_more || replies.any(|reply| reply.is_cut));
    ftp.object
}
