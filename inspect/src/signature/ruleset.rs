//! The compiled set of signatures: loaded once, immutable, shared by all workers.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::cause::{Cause, Refusal};
use super::compile::{self, Compiled, Names};
use super::definition::{Signature, SignatureInfo, Transports};
use super::group::{GroupId, GroupKey};
use super::ranges::{AddressSet, PortSet, Vars};
use super::selection::Selection;
use super::text::rule_lines;
use crate::inspector::Direction;
use crate::protocol::Buffer;

/// The text of one rule file, under the name that messages give it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFile {
    /// Name for messages, usually the path.
    pub name: String,
    /// The text.
    pub text: String,
}

/// What became of the rule files.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The signatures that were understood.
    pub rules: RuleSet,
    /// The rules that were not, in the order of the files.
    pub refused: Vec<Refusal>,
}

/// A compiled, immutable set of signatures, shared by all workers and swapped whole.
///
/// Signatures are numbered in the order in which they are considered: by action (pass, drop, reject, alert), those that
/// set bits before those that ask for them, then by priority, then in the order of the files.
#[derive(Debug, Default)]
pub struct RuleSet {
    pub(crate) signatures: Vec<Signature>,
    infos: Vec<SignatureInfo>,
    pub(crate) addresses: Vec<AddressSet>,
    pub(crate) ports: Vec<PortSet>,
    pub(crate) selection: Selection,
    fingerprint: u64,
}

impl RuleSet {
    /// The set without signatures.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Compiles rule files. A rule loads fully or is refused; the refusal of one does not keep others from loading.
    pub fn compile(files: &[RuleFile], vars: &Vars) -> Loaded {
        let (mut compiled, mut refused) = (Vec::new(), Vec::new());
        let mut hasher = DefaultHasher::new();
        let mut known = HashSet::new();
        let mut names = Names::default();
        for (name, value) in vars.iter() {
            (name, value).hash(&mut hasher);
        }
        for file in files {
            file.text.hash(&mut hasher);
            let group: Arc<str> = group_name(&file.name).into();
            for line in rule_lines(&file.text) {
                let refusal = match compile::compile(&line, vars, &mut names) {
                    Ok(mut rule) if known.insert((rule.info.gid, rule.info.sid)) => {
                        rule.info.group = Arc::clone(&group);
                        compiled.push(rule);
                        continue;
                    }
                    Ok(rule) => {
                        let sid = rule.info.sid;
                        let cause = Cause::DuplicateSid(sid);
                        Refusal { file: file.name.clone(), position: line.position(0), sid: Some(sid), cause }
                    }
                    Err(why) => {
                        Refusal { file: file.name.clone(), position: why.position, sid: why.sid, cause: why.cause }
                    }
                };
                refused.push(refusal);
            }
        }
        compiled.sort_by_key(|rule| (rule.info.action.order(), rule.memory_order(), rule.info.priority));
        Loaded { rules: Self::build(compiled, hasher.finish()), refused }
    }

    fn build(compiled: Vec<Compiled>, fingerprint: u64) -> Self {
        let mut rules = Self { fingerprint, ..Self::default() };
        let (mut addresses, mut ports) = (Interner::default(), Interner::default());
        for rule in compiled {
            let is_about_addresses = rule.is_about_addresses();
            rules.infos.push(rule.info);
            rules.signatures.push(Signature {
                action: rules.infos[rules.infos.len() - 1].action,
                silent: rule.silent,
                transports: rule.transports,
                ip_version: rule.ip_version,
                sources: addresses.number(rule.sources),
                destinations: addresses.number(rule.destinations),
                source_ports: ports.number(rule.source_ports),
                destination_ports: ports.number(rule.destination_ports),
                bidirectional: rule.bidirectional,
                flow: rule.flow,
                tests: rule.tests,
                payload: rule.payload,
                header_parts: rule.header_parts,
                scope: rule.scope,
                protocols: rule.protocols,
                protocol_moments: rule.protocol_moments,
                app: rule.app,
                asks: rule.asks,
                effects: rule.effects,
                rate: rule.rate,
                is_about_addresses,
                is_about_protocol: rule.is_about_protocol,
            });
        }
        rules.addresses = addresses.items;
        rules.ports = ports.items;
        rules.selection = Selection::of(&rules);
        rules
    }

    /// Signatures in the set.
    pub fn len(&self) -> usize {
        self.signatures.len()
    }

    /// Whether there are none, so that inspection need not look at anything.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.signatures.is_empty()
    }

    /// The texts of the signature with this index, as named by [`crate::alert::Alert::signature`] and
    /// [`crate::verdict::Refused::Signature`].
    pub fn signature(&self, index: u32) -> Option<&SignatureInfo> {
        self.infos.get(index as usize)
    }

    /// Tells sets apart that were compiled from different texts: what was remembered under one means nothing to
    /// another.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The group of signatures that packets of a flow can match in one direction; `None` when there is none, so that
    /// the packets of this flow and direction need not be looked at. `protocol` is the IP protocol number.
    #[inline]
    pub fn group(
        &self,
        protocol: u8,
        source_port: u16,
        destination_port: u16,
        direction: Direction,
    ) -> Option<GroupId> {
        let transport = match protocol {
            1 => Transports::ICMP4,
            6 => Transports::TCP,
            17 => Transports::UDP,
            58 => Transports::ICMP6,
            _ => Transports::OTHER,
        };
        let id = GroupKey { transport, direction }.id();
        let group = self.selection.packet_group(id)?;
        group.meets(source_port, destination_port).then_some(id)
    }

    /// What the signatures of a group are searched for in payload, in lower case, each with the number of signatures
    /// that are looked at where it occurs. For benchmarks and tests that write payload of the worst kind.
    pub fn payload_patterns(&self, group: GroupId) -> Vec<(Vec<u8>, usize)> {
        self.selection.packet_group(group).map(|group| group.payload.patterns().collect()).unwrap_or_default()
    }

    /// As [`RuleSet::payload_patterns`], for a buffer.
    pub fn buffer_patterns(&self, buffer: Buffer) -> Vec<(Vec<u8>, usize)> {
        self.selection.buffer_group(buffer).map(|group| group.prefilter.patterns().collect()).unwrap_or_default()
    }

    /// Whether any signature asks anything of a buffer.
    pub(crate) fn asks_for(&self, buffer: Buffer) -> bool {
        self.selection.buffer_group(buffer).is_some_and(|group| group.is_used)
    }

    /// Whether any signature asks for numbers, events or absent buffers of transactions.
    pub(crate) fn asks_for_values(&self) -> bool {
        self.selection.asks_values
    }

    #[inline]
    pub(crate) fn address_set(&self, set: u32) -> &AddressSet {
        &self.addresses[set as usize]
    }

    #[inline]
    pub(crate) fn port_set(&self, set: u32) -> &PortSet {
        &self.ports[set as usize]
    }
}

/// What a rule file is called by those who choose among rules: its name without directory and `.rules`.
fn group_name(file: &str) -> &str {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.strip_suffix(".rules").unwrap_or(name)
}

/// Keeps equal values once.
#[derive(Debug)]
struct Interner<T> {
    items: Vec<T>,
    numbers: HashMap<T, u32>,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self { items: Vec::new(), numbers: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Interner<T> {
    fn number(&mut self, item: T) -> u32 {
        let next = u32::try_from(self.items.len()).unwrap_or(u32::MAX);
        *self.numbers.entry(item).or_insert_with_key(|item| {
            self.items.push(item.clone());
            next
        })
    }
}
