//! Signatures that are looked at for each packet, as far as their flow leaves them.

use super::*;

/// So many rules without a pattern; the last one has these options.
fn many(count: u32, last: &str) -> RuleSet {
    let others = (2..=count).map(|sid| format!("alert tcp any any -> any any (dsize:{}; sid:{sid};)\n", 1000 + sid));
    rules(&(others.collect::<String>() + last))
}

#[test]
fn what_the_flow_turns_out_to_be_leaves_other_signatures() {
    let get = request("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    for (last, expected) in [
        // Before the flow is established, and later; before it is known to speak HTTP, and later.
        ("alert tcp any any -> any 80 (flow:not_established; dsize:0; flags:S; sid:1;)", 1),
        ("alert tcp any any -> any 80 (flow:established,to_server; dsize:>20; sid:1;)", 2),
        ("alert tcp any any -> any 81 (flow:established,to_server; dsize:>20; sid:1;)", 0),
        ("alert tcp any 80 -> any any (flow:established,to_client; dsize:>10; sid:1;)", 1),
        ("alert http any any -> any any (flow:to_server; dsize:>20; sid:1;)", 2),
        ("alert http any any -> any any (flow:to_server; content:\"T \"; sid:1;)", 2),
        ("alert tls any any -> any any (flow:to_server; dsize:>20; sid:1;)", 0),
    ] {
        // Once so few that they are noted with the flow, once too many.
        for count in [3, 300] {
            let rules = many(count, last);
            let said = [get.clone(), response("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), get.clone()];
            assert_eq!(alerts(&rules, &said, usize::MAX), vec![1; expected], "{count} rules, the last {last}");
        }
    }
}
