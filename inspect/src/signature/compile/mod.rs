//! Turns the syntax tree of a rule into a [`Signature`]: the meaning of protocols and
//! keywords.
//!
//! Every keyword is known here or the rule is refused; nothing is passed over. The keywords are grouped by what they
//! describe, one file each: [`contents`] (patterns), [`headers`] (packet headers), [`about`] (texts and rates).

mod about;
mod buffers;
mod contents;
mod finish;
mod headers;
mod memory;
mod numbers;
mod values;

use std::collections::HashMap;
use std::sync::Arc;

use super::cause::Cause;
use super::definition::{Absence, FlowTest, HeaderPart, Moment, Scope, Signature, SignatureInfo, Target, Transports};
use super::memory_test::{MemoryEffect, MemoryTest};
use super::parse;
use super::pcre;
use super::program::{Interval, Op, PacketTest};
use super::ranges::{AddressSet, PortSet, Vars};
use super::rate::Rate;
use super::syntax::{Action, Rule, RuleOption};
use super::text::RuleLine;
use super::transform::Transform;
use crate::protocol::{Anomaly, AppProtocol, Buffer, Number};

/// The bit of "no protocol that we know" in a mask of protocols.
pub(crate) const UNRECOGNISED: u32 = 1 << 31;

/// The bits of the protocols that a name in a rule stands for; 0 when there is none.
pub(crate) fn protocol_mask(name: &str) -> u32 {
    let named = AppProtocol::ALL.iter().filter(|protocol| protocol.answers_to(name));
    named.fold(0, |mask, &protocol| mask | buffers::mask_of(protocol))
}

/// Expressions by how they are written, which rules share while they are compiled: half of those in rule sets are repetitions.
#[derive(Debug, Default)]
pub(crate) struct Expressions(HashMap<String, pcre::Parsed>);

impl Expressions {
    /// The expression in a `pcre` option.
    fn get(&mut self, value: &str) -> Result<pcre::Parsed, Cause> {
        if let Some(known) = self.0.get(value) {
            return Ok(known.clone());
        }
        let parsed = pcre::parse(value)?;
        self.0.insert(value.to_owned(), parsed.clone());
        Ok(parsed)
    }
}

/// The addresses and ports of a rule, under the variables of the day.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ends {
    pub(crate) sources: AddressSet,
    pub(crate) source_ports: PortSet,
    pub(crate) destinations: AddressSet,
    pub(crate) destination_ports: PortSet,
}

/// A rule whose every part is understood, before it has a place in a set.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) info: Arc<SignatureInfo>,
    pub(crate) ends: Ends,
    /// All but its identity and the numbers of its sets.
    pub(crate) signature: Signature,
    /// It was taken over from an earlier set.
    pub(crate) is_kept: bool,
}

/// Compiles one rule line.
pub(crate) fn compile(line: &RuleLine, vars: &Vars, expressions: &mut Expressions) -> Result<Compiled, Refused> {
    let rule = parse::rule(line).map_err(|(position, cause)| Refused { position, sid: None, cause })?;
    let at = |position, cause| Refused { position, sid: rule.sid(), cause };
    let mut draft = Draft::new(&rule, expressions);
    draft.protocol(&rule.protocol).map_err(|cause| at(rule.protocol_at, cause))?;
    for option in &rule.options {
        draft.option(option).map_err(|cause| at(option.position, cause))?;
    }
    let ends = ends_of(&rule, vars)?;
    draft.finish(&rule, ends).map_err(|cause| at(rule.position, cause))
}

/// What became of the ends of a rule that has been compiled before, under these variables.
pub(crate) fn ends(line: &RuleLine, vars: &Vars) -> Result<Ends, Refused> {
    let rule = parse::rule(line).map_err(|(position, cause)| Refused { position, sid: None, cause })?;
    ends_of(&rule, vars)
}

fn ends_of(rule: &Rule, vars: &Vars) -> Result<Ends, Refused> {
    let at = |position, cause| Refused { position, sid: rule.sid(), cause };
    let (source, destination) = (&rule.source, &rule.destination);
    Ok(Ends {
        sources: vars.addresses(&source.addresses).map_err(|cause| at(source.addresses_at, cause))?,
        source_ports: vars.ports(&source.ports).map_err(|cause| at(source.ports_at, cause))?,
        destinations: vars.addresses(&destination.addresses).map_err(|cause| at(destination.addresses_at, cause))?,
        destination_ports: vars.ports(&destination.ports).map_err(|cause| at(destination.ports_at, cause))?,
    })
}

/// Where and why a rule was refused.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) position: super::text::Position,
    pub(crate) sid: Option<u32>,
    pub(crate) cause: Cause,
}

/// Where the contents of a list look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The payload of a packet, or the stream.
    Payload,
    /// Bytes of a packet's headers.
    Header(HeaderPart),
    /// What `base64_decode` has decoded.
    Base64,
    /// What a protocol parser delivers.
    Buffer(Buffer),
}

/// Contents that look at the same place.
#[derive(Debug)]
struct List {
    place: Place,
    transforms: Vec<Transform>,
    ops: Vec<Op>,
    absence: Absence,
}

impl List {
    fn new(place: Place) -> Self {
        Self { place, transforms: Vec::new(), ops: Vec::new(), absence: Absence::Refused }
    }

    fn is_unused(&self) -> bool {
        self.ops.is_empty() && self.absence == Absence::Refused
    }
}

/// A rule while its options are read.
#[derive(Debug)]
struct Draft<'n> {
    expressions: &'n mut Expressions,
    action: Action,
    transports: Transports,
    ip_version: Option<u8>,
    flow: FlowTest,
    only_stream: bool,
    no_stream: bool,
    /// The protocol word or a keyword asks for packets, or for the stream.
    needs: Scope,
    tests: Vec<PacketTest>,
    /// The first is that of the payload.
    lists: Vec<List>,
    /// The list that contents are added to.
    current: usize,
    /// List and index of the content that modifiers refer to.
    last: Option<(usize, usize)>,
    /// The list of the last step, which a relative step goes on from where no buffer is named.
    latest: usize,
    /// Names of `byte_extract` and `byte_math`.
    variables: Vec<String>,
    /// Protocols that the rule applies to, 0 for all and none.
    protocols: u32,
    protocol_moments: Vec<(Moment, u32)>,
    /// `app-layer-protocol` was used.
    names_protocol: bool,
    /// The protocol word is that of an application protocol.
    is_for_protocol: bool,
    numbers: Vec<(Number, Interval)>,
    events: Vec<Anomaly>,
    asks: Vec<MemoryTest>,
    effects: Vec<MemoryEffect>,
    rate: Option<Rate>,
    silent: bool,
    msg: Option<String>,
    sid: Option<u32>,
    gid: Option<u32>,
    rev: Option<u32>,
    classtype: Option<String>,
    priority: Option<u8>,
    target: Option<Target>,
    metadata: Vec<(String, String)>,
    references: Vec<(String, String)>,
}

impl<'n> Draft<'n> {
    fn new(rule: &Rule, expressions: &'n mut Expressions) -> Self {
        Self {
            expressions,
            action: rule.action,
            transports: Transports::ANY,
            ip_version: None,
            flow: FlowTest::default(),
            only_stream: false,
            no_stream: false,
            needs: Scope::default(),
            tests: Vec::new(),
            lists: vec![List::new(Place::Payload)],
            current: 0,
            last: None,
            latest: 0,
            variables: Vec::new(),
            protocols: 0,
            protocol_moments: Vec::new(),
            names_protocol: false,
            is_for_protocol: false,
            numbers: Vec::new(),
            events: Vec::new(),
            asks: Vec::new(),
            effects: Vec::new(),
            rate: None,
            silent: false,
            msg: None,
            sid: None,
            gid: None,
            rev: None,
            classtype: None,
            priority: None,
            target: None,
            metadata: Vec::new(),
            references: Vec::new(),
        }
    }

    fn protocol(&mut self, word: &str) -> Result<(), Cause> {
        self.transports = match word {
            "ip" => Transports::ANY,
            "ip4" | "ipv4" | "ip6" | "ipv6" => {
                self.ip_version = Some(if word.ends_with('4') { 4 } else { 6 });
                Transports::ANY
            }
            "tcp" => Transports::TCP,
            "tcp-pkt" => {
                self.needs.packet = true;
                Transports::TCP
            }
            "tcp-stream" => {
                self.needs.stream = true;
                Transports::TCP
            }
            "udp" => Transports::UDP,
            "icmp" => Transports::ICMP,
            "icmpv4" => Transports::ICMP4,
            "icmpv6" => Transports::ICMP6,
            _ => {
                self.protocols = protocol_mask(word);
                self.is_for_protocol = true;
                if self.protocols == 0 {
                    return Err(Cause::Protocol(word.to_owned()));
                }
                Transports::TCP.or(Transports::UDP)
            }
        };
        Ok(())
    }

    /// Reads one option. The order of the attempts does not matter: each keyword is known in one place only.
    fn option(&mut self, option: &RuleOption) -> Result<(), Cause> {
        let (name, value) = (option.name.as_str(), option.value.as_deref());
        let known = self.contents(name, value)?
            || self.about(name, value)?
            || self.header(name, value)?
            || self.buffers(name, value)?
            || self.numbers(name, value)?
            || self.memory(name, value)?;
        if known { Ok(()) } else { Err(Cause::UnknownKeyword(option.name.clone())) }
    }

    /// Adds to the list at hand.
    fn push(&mut self, op: Op) {
        if matches!(op, Op::Content(_)) {
            self.last = Some((self.current, self.lists[self.current].ops.len()));
        }
        self.push_to(self.current, op);
    }

    /// Adds a step other than a content to the list at hand. With `content:"x"; http_uri; isdataat:!1,relative;` there is
    /// none, and what is relative means the place that the step before it found.
    fn push_step(&mut self, op: Op, is_relative: bool) {
        let list = if self.current == 0 && is_relative { self.latest } else { self.current };
        self.push_to(list, op);
    }

    fn push_to(&mut self, list: usize, op: Op) {
        self.latest = list;
        self.lists[list].ops.push(op);
    }
}
