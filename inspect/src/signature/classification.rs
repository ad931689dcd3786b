//! The class types in common use and their priorities: 1 is the gravest.

use crate::limits::PRIORITY_DEFAULT;

/// Names and priorities as rule sets in common use take them for granted, sorted by name.
const CLASSES: &[(&str, u8)] = &[
    ("attempted-admin", 1),
    ("attempted-dos", 2),
    ("attempted-recon", 2),
    ("attempted-user", 1),
    ("bad-unknown", 2),
    ("coin-mining", 1),
    ("command-and-control", 1),
    ("credential-theft", 1),
    ("default-login-attempt", 2),
    ("denial-of-service", 2),
    ("domain-c2", 1),
    ("exploit-kit", 1),
    ("external-ip-check", 2),
    ("icmp-event", 3),
    ("inappropriate-content", 1),
    ("misc-activity", 3),
    ("misc-attack", 2),
    ("network-event", 3),
    ("network-scan", 3),
    ("non-standard-protocol", 2),
    ("not-suspicious", 3),
    ("policy-violation", 1),
    ("protocol-command-decode", 3),
    ("pup-activity", 2),
    ("rpc-portmap-decode", 2),
    ("shellcode-detect", 1),
    ("social-engineering", 2),
    ("string-detect", 3),
    ("successful-admin", 1),
    ("successful-dos", 2),
    ("successful-recon-largescale", 2),
    ("successful-recon-limited", 2),
    ("successful-user", 1),
    ("suspicious-filename-detect", 2),
    ("suspicious-login", 2),
    ("system-call-detect", 2),
    ("targeted-activity", 1),
    ("tcp-connection", 4),
    ("trojan-activity", 1),
    ("unknown", 3),
    ("unsuccessful-user", 1),
    ("unusual-client-port-connection", 2),
    ("web-application-activity", 2),
    ("web-application-attack", 1),
];

/// The priority of a class type; [`PRIORITY_DEFAULT`] for one that is not in the table, as rule sets bring their own.
pub(crate) fn priority(classtype: &str) -> u8 {
    CLASSES.binary_search_by_key(&classtype, |&(name, _)| name).map_or(PRIORITY_DEFAULT, |found| CLASSES[found].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_sorted_and_read() {
        assert!(CLASSES.is_sorted_by_key(|&(name, _)| name));
        assert_eq!(priority("trojan-activity"), 1);
        assert_eq!(priority("tcp-connection"), 4);
        assert_eq!(priority("of-our-own"), PRIORITY_DEFAULT);
    }
}
