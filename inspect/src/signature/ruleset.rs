//! The compiled set of signatures: loaded once, immutable, shared by all workers.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::cause::{Cause, Refusal};
use super::compile::{self, Compiled, Ends, Expressions};
use super::definition::{Signature, SignatureInfo, Transports};
use super::gate::Gates;
use super::group::{GroupId, GroupKey};
use super::identity::TextKey;
use super::program::{Op, Step};
use super::ranges::{AddressSet, PortSet, Vars};
use super::selection::Selection;
use super::text::{RuleLine, rule_lines};
use super::witness::Witness;
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
    pub(crate) gates: Gates,
    infos: Vec<Arc<SignatureInfo>>,
    /// What each was compiled from.
    texts: Vec<TextKey>,
    /// Identities with the index of their signature, sorted.
    identities: Vec<(u64, u32)>,
    /// By index, the identity of each: beside the signatures, which are too large to fetch for that alone.
    identity_of: Box<[u64]>,
    /// By index, what each cannot do without; here for the same reason.
    pub(crate) witnesses: Box<[Witness]>,
    vars: Vars,
    pub(crate) addresses: Vec<AddressSet>,
    pub(crate) ports: Vec<PortSet>,
    pub(crate) selection: Selection,
    fingerprint: u64,
    kept_count: usize,
}

impl RuleSet {
    /// The set without signatures.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Compiles rule files. A rule loads fully or is refused; the refusal of one does not keep others from loading.
    pub fn compile(files: &[RuleFile], vars: &Vars) -> Loaded {
        Self::compile_after(&Self::empty(), files, vars)
    }

    /// [`RuleSet::compile`], with the same result, that shares with an earlier set what has not changed: programs,
    /// expressions and texts of rules whose text is the same, and the tables of patterns that are the same.
    pub fn compile_after(before: &RuleSet, files: &[RuleFile], vars: &Vars) -> Loaded {
        let (mut compiled, mut refused) = (Vec::new(), Vec::new());
        let mut hasher = DefaultHasher::new();
        let mut known = HashSet::new();
        let mut source = Source::new(before, vars);
        for (name, value) in vars.iter() {
            (name, value).hash(&mut hasher);
        }
        for file in files {
            file.text.hash(&mut hasher);
            let group: Arc<str> = group_name(&file.name).into();
            for line in rule_lines(&file.text) {
                let text = TextKey::of(&line.text);
                let refusal = match source.compile(text, &line) {
                    Ok(mut rule) if known.insert((rule.info.gid, rule.info.sid)) => {
                        if rule.info.group != group {
                            rule.info = Arc::new(SignatureInfo { group: Arc::clone(&group), ..(*rule.info).clone() });
                        }
                        compiled.push((text, rule));
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
        compiled.sort_by_key(|(_, Compiled { info, signature, .. })| {
            (info.action.order(), signature.memory_order(), info.priority)
        });
        drop(source);
        let is_kept = |(_, rule): &&(TextKey, Compiled)| rule.is_kept;
        let kept_count = compiled.iter().filter(is_kept).count();
        let rules = Self { vars: vars.clone(), fingerprint: hasher.finish(), kept_count, ..Self::default() };
        Loaded { rules: rules.filled(compiled, before), refused }
    }

    fn filled(mut self, compiled: Vec<(TextKey, Compiled)>, before: &RuleSet) -> Self {
        let (mut addresses, mut ports) = (Interner::default(), Interner::default());
        self.signatures.reserve_exact(compiled.len());
        self.infos.reserve_exact(compiled.len());
        self.texts.reserve_exact(compiled.len());
        for (text, Compiled { info, ends, signature, .. }) in compiled {
            self.signatures.push(Signature {
                identity: text.identity(&ends),
                sources: addresses.number(ends.sources),
                destinations: addresses.number(ends.destinations),
                source_ports: ports.number(ends.source_ports),
                destination_ports: ports.number(ends.destination_ports),
                ..signature
            });
            self.infos.push(info);
            self.texts.push(text);
        }
        self.identity_of = self.signatures.iter().map(|signature| signature.identity).collect();
        self.witnesses = self.signatures.iter().map(|signature| signature.witness).collect();
        self.identities = self.identity_of.iter().copied().zip(0u32..).collect();
        self.identities.sort_unstable();
        self.addresses = addresses.items;
        self.ports = ports.items;
        self.gates = Gates::of(&self);
        self.selection = Selection::of(&self, &before.selection);
        self
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

    /// How many of them were taken over from the set that this one was compiled after.
    pub fn kept_count(&self) -> usize {
        self.kept_count
    }

    /// The texts of the signature with this index, as named by [`crate::alert::Alert::signature`] and
    /// [`crate::verdict::Refused::Signature`].
    pub fn signature(&self, index: u32) -> Option<&SignatureInfo> {
        self.infos.get(index as usize).map(|info| &**info)
    }

    /// The index of the signature with this identity.
    pub(crate) fn index_of(&self, identity: u64) -> Option<u32> {
        let place = self.identities.binary_search_by_key(&identity, |&(known, _)| known).ok()?;
        self.identities.get(place).map(|&(_, index)| index)
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
        self.selection.packet_group(group).map(|group| group.patterns().collect()).unwrap_or_default()
    }

    /// As [`RuleSet::payload_patterns`], for a buffer.
    pub fn buffer_patterns(&self, buffer: Buffer) -> Vec<(Vec<u8>, usize)> {
        self.selection.buffer_group(buffer).map(|group| group.prefilter.patterns().collect()).unwrap_or_default()
    }

    /// All patterns that a signature of a group asks for in payload, the last one first; of each signature. For benchmarks:
    /// a text that holds all that is asked for, in the wrong order.
    pub fn payload_demands(&self, group: GroupId) -> Vec<Vec<u8>> {
        let meets = |signature: &&Signature| GroupKey::all().any(|key| key.id() == group && key.meets(signature));
        self.signatures.iter().filter(meets).filter_map(|signature| demands(&signature.payload)).collect()
    }

    /// As [`RuleSet::payload_demands`], for a buffer.
    pub fn buffer_demands(&self, buffer: Buffer) -> Vec<Vec<u8>> {
        let conditions = self.signatures.iter().filter_map(|signature| signature.app.as_ref());
        let conditions = conditions.flat_map(|app| &app.buffers).filter(|condition| condition.buffer == buffer);
        conditions.filter_map(|condition| demands(&condition.steps)).collect()
    }

    /// Whether any signature asks anything of a buffer.
    pub(crate) fn asks_for(&self, buffer: Buffer) -> bool {
        self.selection.uses(buffer)
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

/// The patterns that a program looks for, the last one first, if there is more than one.
fn demands(steps: &[Step]) -> Option<Vec<u8>> {
    let pattern = |step: &Step| match &step.op {
        Op::Content(content) if !content.negated => Some(content.pattern.bytes().to_vec()),
        _ => None,
    };
    let patterns: Vec<Vec<u8>> = steps.iter().rev().filter_map(pattern).collect();
    (patterns.len() > 1).then(|| patterns.concat())
}

/// A signature of which something is remembered: its index in the rule set of the day, and what it is known by in the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) signature: u32,
    identity: u64,
}

impl Known {
    /// The signature with this index.
    pub(crate) fn of(rules: &RuleSet, signature: u32) -> Self {
        Self { signature, identity: rules.identity_of[signature as usize] }
    }

    /// Gives it the index that it has in another rule set; `false` when it is not there.
    pub(crate) fn moves_to(&mut self, rules: &RuleSet) -> bool {
        let index = rules.index_of(self.identity);
        self.signature = index.unwrap_or(self.signature);
        index.is_some()
    }
}

/// Where compiled rules come from: from an earlier set when it has them, else from their text.
struct Source<'a> {
    before: &'a RuleSet,
    /// The earlier set's signatures by their texts.
    places: HashMap<TextKey, usize>,
    vars: &'a Vars,
    expressions: Expressions,
}

impl<'a> Source<'a> {
    fn new(before: &'a RuleSet, vars: &'a Vars) -> Self {
        let places = before.texts.iter().enumerate().map(|(place, &text)| (text, place)).collect();
        Self { before, places, vars, expressions: Expressions::default() }
    }

    fn compile(&mut self, text: TextKey, line: &RuleLine) -> Result<Compiled, compile::Refused> {
        match self.places.get(&text).copied() {
            Some(place) => self.take_over(place, line),
            None => compile::compile(line, self.vars, &mut self.expressions),
        }
    }

    /// The earlier set's signature as far as it is the same under the variables of today.
    fn take_over(&mut self, place: usize, line: &RuleLine) -> Result<Compiled, compile::Refused> {
        let signature = &self.before.signatures[place];
        let known = Ends {
            sources: self.before.address_set(signature.sources).clone(),
            source_ports: self.before.port_set(signature.source_ports).clone(),
            destinations: self.before.address_set(signature.destinations).clone(),
            destination_ports: self.before.port_set(signature.destination_ports).clone(),
        };
        let ends = if *self.vars == self.before.vars { known.clone() } else { compile::ends(line, self.vars)? };
        if (&ends.source_ports, &ends.destination_ports) != (&known.source_ports, &known.destination_ports) {
            // Ports decide about more of a signature than where it looks.
            return compile::compile(line, self.vars, &mut self.expressions);
        }
        Ok(Compiled { info: Arc::clone(&self.before.infos[place]), ends, signature: signature.clone(), is_kept: true })
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
