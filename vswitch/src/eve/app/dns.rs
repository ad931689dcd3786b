//! DNS messages in the shape of Suricata 8 (`version` 3): each message is a record of its own.

use inspect::record::{Detail, DnsData, DnsSection, Transaction};
use serde_json::{Value, json};

use super::{Filling, Object};
use crate::eve::text::{address_text, hex_pairs, text};

/// Bits of a message's second word that are told by name where they are set (RFC 1035 section 4.1.1).
const FLAGS: [(&str, u16); 6] =
    [("qr", 0x8000), ("aa", 0x0400), ("tc", 0x0200), ("rd", 0x0100), ("ra", 0x0080), ("z", 0x0040)];

/// The `dns` object.
pub(super) fn object(transaction: &Transaction) -> Object {
    let mut dns = Filling::of(transaction);
    dns.put("version", 3);
    dns.put("tx_id", transaction.number);
    let (mut queries, mut grouped) = (Vec::new(), Object::new());
    let mut sections: [(&str, Vec<Value>); 3] = ["answers", "authorities", "additionals"].map(|key| (key, Vec::new()));
    for detail in &transaction.details {
        match detail {
            Detail::DnsHeader { id, flags } => header(&mut dns, *id, *flags),
            Detail::DnsQuestion { name, kind } => {
                queries.push(json!({"rrname": text(name), "rrtype": type_name(*kind)}));
            }
            Detail::DnsRecord { section, name, kind, ttl, data } => {
                let kind = type_name(*kind);
                let mut record = json!({"rrname": text(name), "rrtype": kind, "ttl": ttl});
                if let Some((key, value)) = said(data) {
                    if *section == DnsSection::Answer {
                        group(&mut grouped, kind, value.clone());
                    }
                    record[key] = value;
                }
                sections[*section as usize].1.push(record);
            }
            Detail::Dhcp(_) | Detail::FtpPort { .. } | Detail::Ntlmssp { .. } | Detail::SmbAnswer(_) => {}
        }
    }
    for (key, list) in [("queries", queries)].into_iter().chain(sections) {
        if !list.is_empty() {
            dns.put(key, list);
        }
    }
    if !grouped.is_empty() {
        dns.put("grouped", grouped);
    }
    dns.object
}

fn header(dns: &mut Filling<'_>, id: u16, flags: u16) {
    let is_response = flags & 0x8000 != 0;
    dns.put("type", if is_response { "response" } else { "request" });
    dns.put("id", id);
    dns.put("flags", format!("{flags:x}"));
    for (key, _) in FLAGS.into_iter().filter(|&(_, bit)| flags & bit != 0) {
        dns.put(key, true);
    }
    dns.put("opcode", flags >> 11 & 0xf);
    dns.put("rcode", rcode_name(flags & 0xf));
}

/// Adds what an answer says to the list of its type.
fn group(grouped: &mut Object, kind: String, value: Value) {
    if let Value::Array(list) = grouped.entry(kind).or_insert_with(|| Value::Array(Vec::new())) {
        list.push(value);
    }
}

/// The key that a record's data stand under, and what they say.
fn said(data: &DnsData<'_>) -> Option<(&'static str, Value)> {
    Some(match data {
        DnsData::Other => return None,
        DnsData::Address(address) => ("rdata", address_text(*address).into()),
        DnsData::Name(bytes) | DnsData::Text(bytes) => ("rdata", text(bytes).into()),
        DnsData::Authority { server, mailbox, numbers: [serial, refresh, retry, expire, minimum] } => {
            let value = json!({
                "mname": text(server), "rname": text(mailbox), "serial": serial, "refresh": refresh, "retry": retry,
                "expire": expire, "minimum": minimum,
            });
            ("soa", value)
        }
        DnsData::Service { numbers: [priority, weight, port], target } => {
            ("srv", json!({"priority": priority, "weight": weight, "port": port, "name": text(target)}))
        }
        DnsData::SshKey { algorithm, kind, fingerprint } => {
            ("sshfp", json!({"algo": algorithm, "type": kind, "fingerprint": hex_pairs(fingerprint)}))
        }
    })
}

fn rcode_name(code: u16) -> String {
    let names = [
        "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH",
        "NOTZONE",
    ];
    names.get(usize::from(code)).map_or_else(|| code.to_string(), |name| (*name).to_owned())
}

/// A type's name, as IANA lists it.
fn type_name(kind: u16) -> String {
    let name = match kind {
        1 => "A",
        2 => "NS",
        3 => "MD",
        4 => "MF",
        5 => "CNAME",
        6 => "SOA",
        7 => "MB",
        8 => "MG",
        9 => "MR",
        10 => "NULL",
        11 => "WKS",
        12 => "PTR",
        13 => "HINFO",
        14 => "MINFO",
        15 => "MX",
        16 => "TXT",
        17 => "RP",
        18 => "AFSDB",
        24 => "SIG",
        25 => "KEY",
        28 => "AAAA",
        29 => "LOC",
        33 => "SRV",
        35 => "NAPTR",
        36 => "KX",
        37 => "CERT",
        39 => "DNAME",
        41 => "OPT",
        42 => "APL",
        43 => "DS",
        44 => "SSHFP",
        45 => "IPSECKEY",
        46 => "RRSIG",
        47 => "NSEC",
        48 => "DNSKEY",
        49 => "DHCID",
        50 => "NSEC3",
        51 => "NSEC3PARAM",
        52 => "TLSA",
        55 => "HIP",
        59 => "CDS",
        60 => "CDNSKEY",
        64 => "SVCB",
        65 => "HTTPS",
        99 => "SPF",
        249 => "TKEY",
        250 => "TSIG",
        251 => "IXFR",
        252 => "AXFR",
        253 => "MAILB",
        254 => "MAILA",
        255 => "ANY",
        256 => "URI",
        257 => "CAA",
        other => return other.to_string(),
    };
    name.to_owned()
}
