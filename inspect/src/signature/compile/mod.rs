//! Turns the syntax tree of a rule into a [`Signature`]: the meaning of protocols and keywords.
//!
//! Every keyword is known here or the rule is refused; nothing is passed over. The keywords are grouped by what they
//! describe, one file each: [`contents`] (patterns), [`headers`] (packet headers), [`about`] (texts and rates).

mod about;
mod contents;
mod headers;
mod values;

use super::cause::Cause;
use super::content::Content;
use super::definition::{FlowTest, Scope, SignatureInfo, Target, Transports};
use super::parse;
use super::program::{Op, PacketTest, Step, link};
use super::ranges::{AddressSet, PortSet, Vars};
use super::rate::Rate;
use super::syntax::{Action, Rule, RuleOption};
use super::text::RuleLine;
use crate::limits::STEPS_PER_RULE_MAX;

/// A rule whose every part is understood, before equal sets are shared.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) info: SignatureInfo,
    pub(crate) silent: bool,
    pub(crate) transports: Transports,
    pub(crate) ip_version: Option<u8>,
    pub(crate) sources: AddressSet,
    pub(crate) destinations: AddressSet,
    pub(crate) source_ports: PortSet,
    pub(crate) destination_ports: PortSet,
    pub(crate) bidirectional: bool,
    pub(crate) flow: FlowTest,
    pub(crate) tests: Box<[PacketTest]>,
    pub(crate) payload: Box<[Step]>,
    pub(crate) scope: Scope,
    pub(crate) rate: Option<Rate>,
}

/// Compiles one rule line.
pub(crate) fn compile(line: &RuleLine, vars: &Vars) -> Result<Compiled, Refused> {
    let rule = parse::rule(line).map_err(|(position, cause)| Refused { position, sid: None, cause })?;
    let at = |position, cause| Refused { position, sid: rule.sid(), cause };
    let mut draft = Draft::new(&rule);
    draft.protocol(&rule.protocol).map_err(|cause| at(rule.protocol_at, cause))?;
    for option in &rule.options {
        draft.option(option).map_err(|cause| at(option.position, cause))?;
    }
    let (source, destination) = (&rule.source, &rule.destination);
    let sources = vars.addresses(&source.addresses).map_err(|cause| at(source.addresses_at, cause))?;
    let source_ports = vars.ports(&source.ports).map_err(|cause| at(source.ports_at, cause))?;
    let destinations = vars.addresses(&destination.addresses).map_err(|cause| at(destination.addresses_at, cause))?;
    let destination_ports = vars.ports(&destination.ports).map_err(|cause| at(destination.ports_at, cause))?;
    let sets = (sources, source_ports, destinations, destination_ports);
    draft.finish(&rule, sets).map_err(|cause| at(rule.position, cause))
}

/// Where and why a rule was refused.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) position: super::text::Position,
    pub(crate) sid: Option<u32>,
    pub(crate) cause: Cause,
}

/// A rule while its options are read.
#[derive(Debug)]
struct Draft {
    action: Action,
    transports: Transports,
    ip_version: Option<u8>,
    flow: FlowTest,
    only_stream: bool,
    no_stream: bool,
    /// The protocol word or a keyword asks for packets, or for the stream.
    needs: Scope,
    tests: Vec<PacketTest>,
    payload: Vec<Op>,
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

impl Draft {
    fn new(rule: &Rule) -> Self {
        Self {
            action: rule.action,
            transports: Transports::ANY,
            ip_version: None,
            flow: FlowTest::default(),
            only_stream: false,
            no_stream: false,
            needs: Scope::default(),
            tests: Vec::new(),
            payload: Vec::new(),
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
            _ => return Err(Cause::Protocol(word.to_owned())),
        };
        Ok(())
    }

    /// Reads one option. The order of the attempts does not matter: each keyword is known in one place only.
    fn option(&mut self, option: &RuleOption) -> Result<(), Cause> {
        let value = option.value.as_deref();
        if self.about(&option.name, value)?
            || self.header(&option.name, value)?
            || self.contents(&option.name, value)?
        {
            return Ok(());
        }
        Err(Cause::UnknownKeyword(option.name.clone()))
    }

    /// The list that contents are added to.
    fn list(&mut self) -> &mut Vec<Op> {
        &mut self.payload
    }

    /// The content that a modifier such as `nocase` refers to.
    fn last_content(&mut self, keyword: &str) -> Result<&mut Content, Cause> {
        let last = self.list().iter_mut().rev().find_map(|op| match op {
            Op::Content(content) => Some(content),
            _ => None,
        });
        last.ok_or_else(|| Cause::context(keyword, "there is no content before it"))
    }

    /// Which program runs on what: Suricata's rules of thumb.
    fn scope(&self) -> Result<Scope, Cause> {
        let mut scope = self.needs;
        if self.only_stream {
            scope.stream = true;
        }
        if self.no_stream {
            scope.packet = true;
        }
        if !self.transports.meets(Transports::TCP) {
            return Ok(Scope { packet: true, stream: false });
        }
        if !scope.packet && !scope.stream {
            let is_placed = |op: &Op| matches!(op, Op::Content(content) if content.offset.or(content.depth).is_some());
            scope.stream = !self.payload.is_empty();
            // A pattern at a fixed place is meant for the start of a packet as much as for the start of the stream.
            scope.packet = !scope.stream
                || self.payload.iter().any(is_placed)
                || self.tests.iter().any(|test| matches!(test, PacketTest::StreamSize(_)));
        }
        Ok(scope)
    }

    fn finish(self, rule: &Rule, sets: (AddressSet, PortSet, AddressSet, PortSet)) -> Result<Compiled, Cause> {
        if self.payload.len() > STEPS_PER_RULE_MAX {
            return Err(Cause::Limit("steps"));
        }
        let scope = self.scope()?;
        let sid = self.sid.ok_or(Cause::NoSid)?;
        let by_class = || self.classtype.as_deref().map(super::classification::priority);
        let priority = self.priority.or_else(by_class).unwrap_or(crate::limits::PRIORITY_DEFAULT);
        let (sources, source_ports, destinations, destination_ports) = sets;
        let info = SignatureInfo {
            sid,
            gid: self.gid.unwrap_or(1),
            rev: self.rev.unwrap_or(0),
            msg: self.msg.unwrap_or_default(),
            classtype: self.classtype,
            priority,
            action: self.action,
            target: self.target,
            metadata: self.metadata,
            references: self.references,
        };
        Ok(Compiled {
            info,
            silent: self.silent,
            transports: self.transports,
            ip_version: self.ip_version,
            sources,
            destinations,
            source_ports,
            destination_ports,
            bidirectional: rule.bidirectional,
            flow: self.flow,
            tests: self.tests.into_boxed_slice(),
            payload: link(self.payload),
            scope,
            rate: self.rate,
        })
    }
}
