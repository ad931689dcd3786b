//! DHCP messages, as Suricata tells them in its extended mode.

use std::net::Ipv4Addr;

use inspect::protocol::Number;
use inspect::record::{Detail, DhcpDetail, Transaction};
use serde_json::Value;

use super::super::text::text;
use super::{Filling, Object};

const REPLY: u8 = 2;

pub(super) fn object(transaction: &Transaction) -> Object {
    let mut dhcp = Filling::of(transaction);
    for detail in &transaction.details {
        if let Detail::Dhcp(detail) = detail {
            message(&mut dhcp, detail);
        }
    }
    let times = [
        ("lease_time", Number::DhcpLeaseTime),
        ("renewal_time", Number::DhcpRenewalTime),
        ("rebinding_time", Number::DhcpRebindingTime),
    ];
    for (key, number) in times {
        if let Some(seconds) = transaction.number(number) {
            dhcp.put(key, seconds);
        }
    }
    dhcp.object
}

fn message(dhcp: &mut Filling<'_>, detail: &DhcpDetail<'_>) {
    let address = |bits: u32| Ipv4Addr::from(bits).to_string();
    dhcp.put(
        "type",
        match detail.operation {
            1 => "request",
            REPLY => "reply",
            _ => "<unknown>",
        },
    );
    dhcp.put("id", detail.id);
    dhcp.put("client_mac", with_colons(&detail.client_hardware));
    dhcp.put("assigned_ip", address(detail.assigned));
    dhcp.put("client_ip", address(detail.client));
    if detail.operation == REPLY {
        dhcp.put("relay_ip", address(detail.relay));
        dhcp.put("next_server_ip", address(detail.next_server));
    }
    for (code, value) in &detail.options {
        option(dhcp, *code, value);
    }
}

/// What is too short to mean anything is left out.
fn option(dhcp: &mut Filling<'_>, code: u8, value: &[u8]) {
    let addresses =
        || value.chunks_exact(4).map(|bytes| Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).to_string());
    let list = || addresses().map(Value::from).collect::<Vec<_>>();
    match (code, value) {
        (1, _) if value.len() == 4 => dhcp.put("subnet_mask", addresses().collect::<String>()),
        (50, _) if value.len() == 4 => dhcp.put("requested_ip", addresses().collect::<String>()),
        (3, _) => dhcp.put("routers", list()),
        (6, _) => dhcp.put("dns_servers", list()),
        (12, [_, ..]) => dhcp.put("hostname", text(value)),
        (53, [kind, ..]) => dhcp.put("dhcp_type", kind_name(*kind)),
        (55, _) => {
            dhcp.put("params", value.iter().filter_map(|&code| parameter(code)).map(Value::from).collect::<Vec<_>>())
        }
        (60, [_, ..]) => dhcp.put("vendor_class_identifier", text(value)),
        // Behind its type.
        (61, [_, identifier @ ..]) if !identifier.is_empty() => dhcp.put("client_id", with_colons(identifier)),
        _ => {}
    }
}

fn kind_name(kind: u8) -> &'static str {
    let names = ["discover", "offer", "request", "decline", "ack", "nak", "release", "inform"];
    usize::from(kind).checked_sub(1).and_then(|index| names.get(index)).unwrap_or(&"unknown")
}

/// The options that Suricata has words for where a client asks for them.
fn parameter(code: u8) -> Option<&'static str> {
    Some(match code {
        1 => "subnet_mask",
        3 => "router",
        6 => "dns_server",
        15 => "domain",
        35 => "arp_timeout",
        42 => "ntp_server",
        66 => "tftp_server_name",
        150 => "tftp_server_ip",
        _ => return None,
    })
}

fn with_colons(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}
