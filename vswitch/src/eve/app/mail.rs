//! SMTP transactions, and the mails that they carry.

use inspect::protocol::Buffer;
use inspect::record::Transaction;
use serde_json::Value;

use super::super::text::text;
use super::{Filling, Object};

pub(super) fn smtp(transaction: &Transaction) -> Object {
    let mut smtp = Filling::of(transaction);
    smtp.first("helo", Buffer::SmtpHelo);
    smtp.first("mail_from", Buffer::SmtpMailFrom);
    smtp.all("rcpt_to", Buffer::SmtpRcptTo, None);
    smtp.object
}

pub(super) fn email(transaction: &Transaction) -> Object {
    let mut email = Filling::of(transaction);
    email.first("from", Buffer::EmailFrom);
    for (key, buffer) in [("to", Buffer::EmailTo), ("cc", Buffer::EmailCc)] {
        if let Some(field) = transaction.field(buffer) {
            email.put(key, addresses(field.bytes));
        }
    }
    email.first("subject", Buffer::EmailSubject);
    email.first("date", Buffer::EmailDate);
    email.first("message_id", Buffer::EmailMessageId);
    email.first("x_mailer", Buffer::EmailXMailer);
    email.all("received", Buffer::EmailReceived, None);
    email.all("attachment", Buffer::FileName, None);
    if !email.object.is_empty() {
        // Suricata's word for a mail whose header could be read. It has no other.
        email.put("status", "PARSE_DONE");
    }
    email.object
}

/// The addresses of a header field: what stands between its commas, those in quotes left alone.
fn addresses(field: &[u8]) -> Vec<Value> {
    let mut is_quoted = false;
    let parts = field.split(|&byte| {
        is_quoted ^= byte == b'"';
        byte == b',' && !is_quoted
    });
    let parts = parts.map(<[u8]>::trim_ascii_start).filter(|address| !address.is_empty());
    parts.map(|address| text(address).into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_part_addresses_but_not_in_quotes() {
        let split = |field: &str| Value::from(addresses(field.as_bytes())).to_string();
        assert_eq!(split(r#"a@b, "C, D" <c@d>,, e@f"#), r#"["a@b","\"C, D\" <c@d>","e@f"]"#);
        assert_eq!(split(r#""open, a@b"#), r#"["\"open, a@b"]"#);
        assert_eq!(split(" "), "[]");
    }
}
