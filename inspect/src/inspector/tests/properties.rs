//! The engine against a plain reading of its rules.

use super::*;
use crate::limits::WORK_PER_PACKET;
use proptest::prelude::*;

/// A rule of a few contents: pattern, case, negation, and how it follows the one before.
type Contents = Vec<(String, bool, bool, Follows)>;

/// Bytes that are left out behind the match before, and bytes from there within which it must end.
type Follows = Option<(usize, Option<usize>)>;

fn follows() -> impl Strategy<Value = Follows> {
    prop::option::of((0usize..3, prop::option::of(5usize..12)))
}

fn contents() -> impl Strategy<Value = Contents> {
    proptest::collection::vec(("[abcA]{1,5}", any::<bool>(), prop::bool::weighted(0.2), follows()), 1..5)
}

fn rule(contents: &Contents, sid: usize) -> String {
    let mut text = String::new();
    for (index, (pattern, nocase, negated, follows)) in contents.iter().enumerate() {
        text.push_str(&format!("content:{}\"{pattern}\"; ", if *negated { "!" } else { "" }));
        if *nocase {
            text.push_str("nocase; ");
        }
        if let Some((distance, within)) = follows.filter(|_| index > 0) {
            text.push_str(&format!("distance:{distance}; "));
            within.iter().for_each(|within| text.push_str(&format!("within:{within}; ")));
        }
    }
    format!("alert tcp-pkt any any -> any any ({text}sid:{sid};)\n")
}

/// Whether the contents from `index` on can be placed in the text, the previous match ending at `at`.
fn holds(contents: &[(String, bool, bool, Follows)], index: usize, text: &[u8], at: usize) -> bool {
    let Some((pattern, nocase, negated, follows)) = contents.get(index) else { return true };
    let follows = follows.filter(|_| index > 0);
    let from = follows.map_or(0, |(distance, _)| at + distance);
    let end = follows.and_then(|(_, within)| Some(from + within?)).unwrap_or(text.len());
    let fits = |place: usize| {
        let window = text.get(place..place + pattern.len());
        window.is_some_and(|window| match nocase {
            true => window.eq_ignore_ascii_case(pattern.as_bytes()),
            false => window == pattern.as_bytes(),
        })
    };
    let mut places = (from..text.len()).filter(|&place| fits(place) && place + pattern.len() <= end);
    if *negated {
        return places.next().is_none() && holds(contents, index + 1, text, at);
    }
    places.any(|place| holds(contents, index + 1, text, place + pattern.len()))
}

proptest! {
    /// Prefilter, selection and backtracking together find what trying everything finds.
    #[test]
    fn all_rules_at_once_equal_each_rule_by_itself(
        contents in proptest::collection::vec(contents(), 1..10),
        text in "[abcABx]{1,40}",
    ) {
        let set: String = contents.iter().zip(1..).map(|(contents, sid)| rule(contents, sid)).collect();
        let rules = rules(&set);
        let naive: Vec<u32> = (1u32..).zip(&contents)
            .filter(|(_, contents)| holds(contents, 0, text.as_bytes(), 0))
            .map(|(sid, _)| sid)
            .collect();
        let mut connection = Connection::new(&rules, detect());
        connection.open();
        connection.say(&request(&text), usize::MAX);
        // What takes more work than a packet may is not looked at to its end.
        prop_assume!(connection.inspector.work_done() <= WORK_PER_PACKET);
        connection.sids.sort_unstable();
        prop_assert_eq!(connection.sids, naive);
    }

    /// However a stream is cut, a rule with one pattern finds it.
    #[test]
    fn cuts_do_not_matter(
        pattern in "[a-c]{2,8}",
        before in "[a-d]{0,60}",
        cuts in proptest::collection::vec(1usize..6, 1..40),
    ) {
        let text = format!("{before}{pattern}");
        let rules = rules(&format!(r#"drop tcp any any -> any any (content:"{pattern}"; sid:1;)"#));
        let mut connection = Connection::new(&rules, prevent());
        connection.open();
        let (mut rest, mut verdict) = (text.as_bytes(), Verdict::Forward);
        for cut in cuts.into_iter().cycle() {
            let (head, tail) = rest.split_at(cut.min(rest.len()));
            if head.is_empty() || verdict != Verdict::Forward {
                break;
            }
            verdict = connection.say(&request(head), usize::MAX);
            rest = tail;
        }
        prop_assert_eq!(verdict, Verdict::Drop(Refused::Signature(0)));
    }

    /// No bytes of either side make the engine panic.
    #[test]
    fn any_conversation_is_answered(
        said in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..60)), 0..12),
        plain in "(GET|POST) /[ -~]{0,20} HTTP/1.1\r\n([A-Za-z-]{1,8}: [ -~]{0,12}\r\n){0,3}\r\n",
    ) {
        let rules = rules(
            r#"alert http any any -> any any (http.uri; content:"a"; http.header; content:"b"; pcre:"/(?=x)y*/"; sid:1;)
               alert tcp any any -> any any (content:"|00 01|"; byte_jump:2,0,relative; byte_test:1,>,3,0,relative; sid:2;)
               alert http any any -> any any (file.data; base64_decode:bytes 20; base64_data; content:"z"; sid:3;)"#,
        );
        let mut connection = Connection::new(&rules, detect());
        connection.open();
        connection.say(&request(plain), 7);
        for (by_client, bytes) in said {
            let by = if by_client { Direction::ToServer } else { Direction::ToClient };
            prop_assert_eq!(connection.say(&Said { by, bytes }, 11), Verdict::Forward);
        }
    }
}
