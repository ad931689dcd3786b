//! DHCPv4 messages (RFC 2131): the lease times of their options (RFC 2132).

use super::anomaly::Anomaly;
use super::parser::{Parse, Progress};
use super::settings::Settings;
use super::sink::{Number, Sink, Stage};
use crate::inspector::Direction;
use crate::record::{Detail, DhcpDetail};

/// BOOTP header, and the magic cookie behind it.
const HEADER_BYTES: usize = 240;

/// The room for a hardware address.
const HARDWARE_BYTES_MAX: usize = 16;

const PAD: u8 = 0;
const LEASE_TIME: u8 = 51;
const RENEWAL_TIME: u8 = 58;
const REBINDING_TIME: u8 = 59;
const END: u8 = 255;

/// The DHCP of one flow; every message is a transaction.
#[derive(Debug)]
pub(super) struct Dhcp {
    next: u32,
}

impl Dhcp {
    pub(super) fn new(first_transaction: u32) -> Self {
        Dhcp { next: first_transaction }
    }
}

impl Parse for Dhcp {
    fn next_transaction(&self) -> u32 {
        self.next
    }

    fn stream(&mut self, _side: Direction, _bytes: &[u8], _settings: &Settings, _sink: &mut dyn Sink) -> Progress {
        Progress::Broken
    }

    fn datagram(&mut self, side: Direction, bytes: &[u8], sink: &mut dyn Sink) {
        let transaction = self.next;
        self.next = self.next.wrapping_add(1);
        let mut rest = bytes.get(HEADER_BYTES..).unwrap_or_default();
        let mut has_end = false;
        let mut detail = sink.wants_details().then(|| header(bytes)).flatten();
        while let Some((&code, after)) = rest.split_first() {
            rest = after;
            match code {
                PAD => continue,
                END => {
                    has_end = true;
                    break;
                }
                _ => {}
            }
            let Some((&length, after)) = rest.split_first() else {
                break;
            };
            let Some((value, after)) = after.split_at_checked(usize::from(length)) else {
                break;
            };
            rest = after;
            if let Some(detail) = &mut detail {
                option(detail, code, value);
            }
            let number = match code {
                LEASE_TIME => Number::DhcpLeaseTime,
                RENEWAL_TIME => Number::DhcpRenewalTime,
                REBINDING_TIME => Number::DhcpRebindingTime,
                _ => continue,
            };
            match <[u8; 4]>::try_from(value) {
                Ok(value) => sink.number(transaction, side, number, u64::from(u32::from_be_bytes(value))),
                Err(_) => sink.anomaly(transaction, side, Anomaly::DhcpMalformedOptions),
            }
        }
        if let Some(detail) = detail {
            sink.detail(transaction, &Detail::Dhcp(detail));
        }
        if !has_end {
            sink.anomaly(transaction, side, Anomaly::DhcpTruncatedOptions);
        }
        sink.stage(transaction, side, Stage::Complete);
    }
}

/// What the fixed part of a message says.
fn header(bytes: &[u8]) -> Option<DhcpDetail<'_>> {
    let bytes = bytes.get(..HEADER_BYTES)?;
    let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    Some(DhcpDetail {
        operation: bytes[0],
        id: word(4),
        client_hardware: bytes[28..28 + usize::from(bytes[2]).min(HARDWARE_BYTES_MAX)].into(),
        client: word(12),
        assigned: word(16),
        next_server: word(20),
        relay: word(24),
        options: Vec::new(),
    })
}

/// What an option adds to it. Of an option that is repeated, the last counts.
fn option<'a>(detail: &mut DhcpDetail<'a>, code: u8, value: &'a [u8]) {
    if DhcpDetail::TOLD.contains(&code) {
        detail.options.retain(|&(known, _)| known != code);
        detail.options.push((code, value.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::recorder::check_datagrams;
    use super::*;
    use Direction::ToClient;

    #[track_caller]
    fn check(options: &[u8], expected: &str) {
        let mut message = vec![0; HEADER_BYTES];
        (message[0], message[1], message[2]) = (2, 1, 6);
        message[236..].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
        message.extend_from_slice(options);
        check_datagrams(&[(ToClient, &message)], expected);
    }

    #[test]
    fn lease_times_are_told() {
        check(b"\x35\x01\x05\x00\x33\x04\0\0\x0e\x10\xff", "0< dhcp.leasetime=3600|0< Complete");
        check(b"\x33\x02\0\0\xff", "0< !dhcp.malformed_options|0< Complete");
        check(b"\x33\x04\0", "0< !dhcp.truncated_options|0< Complete");
    }
}
