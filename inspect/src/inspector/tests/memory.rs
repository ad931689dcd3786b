//! What signatures remember between packets.

use super::*;

/// Sends requests one after another and compares the signature ids that each raises.
#[track_caller]
fn check(text: &str, said: &[&str], expected: &[&[u32]]) {
    let rules = rules(text);
    let mut connection = Connection::new(&rules, detect());
    connection.open();
    let mut got = Vec::new();
    for said in said {
        connection.sids.clear();
        connection.say(&request(said), 100);
        got.push(std::mem::take(&mut connection.sids));
    }
    assert_eq!(got, expected);
}

#[test]
fn flow_bits() {
    let text = r#"
        alert tcp any any -> any any (content:"login"; flowbits:set,user; flowbits:noalert; sid:1;)
        alert tcp any any -> any any (content:"delete"; flowbits:isset,user; sid:2;)
        alert tcp any any -> any any (content:"delete"; flowbits:isnotset,user; sid:3;)
        alert tcp any any -> any any (content:"logout"; flowbits:unset,user; sid:4;)
        alert tcp any any -> any any (content:"either"; flowbits:isset,other|user; sid:5;)"#;
    let said = ["delete", "login", "delete", "either", "logout", "delete", "login delete"];
    check(text, &said, &[&[3], &[], &[2], &[5], &[4], &[3], &[2]]);
}

#[test]
fn flow_numbers() {
    let text = r#"
        alert tcp any any -> any any (content:"try"; flowint:count,+,1; noalert; sid:1;)
        alert tcp any any -> any any (content:"try"; flowint:count,isset; flowint:count,>=,2; sid:2;)
        alert tcp any any -> any any (content:"reset"; flowint:count,=,0; sid:3;)
        alert tcp any any -> any any (content:"try"; flowint:absent,notset; sid:4;)"#;
    check(text, &["try", "try", "reset", "try"], &[&[4], &[2, 4], &[3], &[4]]);
}

#[test]
fn address_bits() {
    let text = r#"
        alert tcp any any -> any any (content:"mark"; xbits:set,bad,track ip_src,expire 10; sid:1;)
        alert tcp any any -> any any (content:"check"; xbits:isset,bad,track ip_src; sid:2;)"#;
    check(text, &["check", "mark", "check"], &[&[], &[1], &[2]]);
    let rules = rules(text);
    let mut connection = Connection::new(&rules, detect());
    connection.open();
    connection.say(&request("mark"), 100);
    connection.now_ms += 10_000;
    connection.say(&request("check"), 100);
    assert_eq!(connection.sids, [1]);
}
