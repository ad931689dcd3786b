//! Plays frames to the inspection engine, as the switch would between two of its ports.

use std::collections::BTreeMap;
use std::sync::Arc;

use inspect::alert::Alert;
use inspect::announcements::Announcements;
use inspect::file_hashes::FileChecks;
use inspect::flow_key::{FlowKey, Way};
use inspect::fragments::{FragmentOutcome, FragmentTable};
use inspect::inspector::{Direction, FileFinding, FlowView, Inspector, Mode, Settings};
use inspect::signature::RuleSet;
use inspect::stream::{TcpRefused, TcpState, Transition};
use inspect::verdict::{Refused, Verdict};
use inspect::wire::{Checksums, Packet, TcpFlags, TcpOption, TcpView};

use super::ending::Why;
use super::flows::{FLOWS_MAX, Flows, Found};
use super::record::{Drop, Ends, Record, What};
use super::tunnel;

/// How often silent flows are looked for, in milliseconds of the capture's time.
const SWEEP_INTERVAL_MS: u64 = 10_000;

/// Tunnels within tunnels that are looked into.
const TUNNELS_MAX: u8 = 4;

/// TCP fast open's cookie (RFC 7413): the one reason for a SYN to carry data.
const TCP_FAST_OPEN: u8 = 34;

/// What was played.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Frames that were handed to the engine.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames that the engine stopped.
    pub stopped: u64,
    /// The same by reason.
    pub stopped_by: BTreeMap<&'static str, u64>,
    /// Alerts that were raised.
    pub alerts: u64,
    /// Flows that were seen.
    pub flows: u64,
    /// Frames that the parser or the connection's state refused, by cause.
    pub refused: BTreeMap<&'static str, u64>,
}

/// The engine and what it must be told of the capture.
#[derive(Debug)]
pub struct Player<'a> {
    pub(super) rules: &'a RuleSet,
    pub(super) inspector: Inspector,
    settings: Settings,
    checksums: Checksums,
    pub(super) flows: Flows,
    fragments: FragmentTable,
    pub(super) alerts: Vec<Alert>,
    pub(super) records: Vec<Record>,
    pub(super) now_ms: u64,
    swept_ms: u64,
    pub(super) at_ns: u64,
    /// The frame that is played, counted from 1; 0 while flows are ended.
    pub(super) frame: u64,
    /// When the first frame was captured.
    pub(super) began_ns: Option<u64>,
    pub(super) tells_flows: bool,
    pub(super) tally: Tally,
}

impl<'a> Player<'a> {
    /// A player that has seen nothing.
    pub fn new(rules: &'a RuleSet, settings: Settings, checksums: Checksums) -> Self {
        Self {
            rules,
            inspector: Inspector::sharing(settings, Arc::new(Announcements::new())),
            settings,
            checksums,
            flows: Flows::default(),
            fragments: FragmentTable::default(),
            alerts: Vec::new(),
            records: Vec::new(),
            now_ms: 0,
            swept_ms: 0,
            at_ns: 0,
            frame: 0,
            began_ns: None,
            tells_flows: false,
            tally: Tally::default(),
        }
    }

    /// Judges files by these.
    pub fn judge_files_by(&mut self, checks: Option<&Arc<FileChecks>>) {
        self.inspector.judge_files_by(checks);
    }

    /// Whether the ends of flows are reported.
    pub fn tell_flows(&mut self, wanted: bool) {
        self.tells_flows = wanted;
    }

    /// Takes segments with wrong checksums as they are from now on.
    pub fn ignore_checksums(&mut self) {
        self.checksums = Checksums::Unchecked;
    }

    /// What was played so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// What there is to report since the last call.
    pub fn take_records(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.records)
    }

    /// Plays one Ethernet frame that was captured at `at_ns` nanoseconds since 1970.
    pub fn play(&mut self, frame: &[u8], at_ns: u64) {
        self.tally.frames += 1;
        self.tally.bytes += frame.len() as u64;
        self.at_ns = at_ns;
        self.began_ns.get_or_insert(at_ns);
        // The engine's clock never goes back; captures do, where several were joined.
        self.now_ms = self.now_ms.max(at_ns / 1_000_000);
        if self.now_ms - self.swept_ms >= SWEEP_INTERVAL_MS {
            self.swept_ms = self.now_ms;
            let over = self.flows.sweep(self.now_ms);
            self.end_all(over, Why::Timeout);
        }
        self.frame = self.tally.frames;
        match Packet::parse(frame, self.checksums) {
            Ok(packet) => self.parsed(&packet, TUNNELS_MAX),
            Err(why) => self.refused(why.name()),
        }
    }

    /// Plays a packet and what it carries, as deep as so many tunnels.
    fn parsed(&mut self, packet: &Packet<'_>, tunnels: u8) {
        if packet.headers().fragment.is_some() {
            return self.fragment(packet, tunnels);
        }
        self.packet(packet);
        let Some(frame) = tunnels.checked_sub(1).and_then(|_| tunnel::inner(packet)) else { return };
        match Packet::parse(&frame, self.checksums) {
            Ok(packet) => self.parsed(&packet, tunnels - 1),
            Err(why) => self.refused(why.name()),
        }
    }

    /// Ends all flows, as the end of the capture does.
    pub fn finish(&mut self) {
        let over = self.flows.drain();
        self.end_all(over, Why::Shutdown);
    }

    fn fragment(&mut self, packet: &Packet<'_>, tunnels: u8) {
        let mut discarded = Vec::new();
        match self.fragments.insert(0, packet, self.now_ms, &mut discarded) {
            Ok(FragmentOutcome::Held) => {}
            Ok(FragmentOutcome::Complete(whole)) => match Packet::parse(&whole.frame, self.checksums) {
                Ok(packet) => self.parsed(&packet, tunnels),
                Err(why) => self.refused(why.name()),
            },
            Err(why) => {
                self.refused(why.name());
                self.stopped(packet, "defrag");
            }
        }
    }

    fn refused(&mut self, why: &'static str) {
        *self.tally.refused.entry(why).or_default() += 1;
    }

    fn packet(&mut self, packet: &Packet<'_>) {
        let Some((key, way)) = FlowKey::of(packet) else {
            let view = FlowView { slot: None, direction: Direction::ToServer, established: false, is_first: true };
            self.judge(packet, &view);
            return;
        };
        let (view, is_sound) = self.view(packet, &key, way);
        if is_sound {
            self.judge(packet, &view);
        } else if self.settings.mode == Mode::Prevent {
            self.stopped(packet, "stream");
        } else {
            // Who only watches still looks at the packet by itself; its bytes are no part of the stream.
            self.judge(packet, &FlowView { slot: None, ..view });
        }
    }

    /// Finds or opens the packet's flow. Gives what the engine must know of it, and whether the packet fits its connection.
    fn view(&mut self, packet: &Packet<'_>, key: &FlowKey, way: Way) -> (FlowView, bool) {
        let tcp = packet.tcp();
        let payload_len = packet.payload().len();
        let over = match self.flows.find(key, self.now_ms) {
            Found::None => None,
            Found::Silent(flow) => Some((flow, Why::Timeout)),
            Found::Flow(flow) => {
                let direction = flow.direction(way);
                let transition = match (&mut flow.tcp, &tcp) {
                    (Some(state), Some(tcp)) => match state.on_segment(direction, tcp, payload_len) {
                        // Who only watches looks at captures that lack packets; the sender has seen them.
                        Err(TcpRefused::AckUnsent) if self.settings.mode == Mode::Detect => {
                            state.missed(direction.reversed(), tcp.ack);
                            state.on_segment(direction, tcp, payload_len)
                        }
                        answer => answer,
                    },
                    // A handshake that begins now begins a new connection.
                    (None, Some(tcp)) if is_bare_syn(tcp) => Ok(Transition::Reopen),
                    (_, _) => Ok(Transition::Unchanged),
                };
                match transition {
                    Ok(Transition::Reopen) => self.flows.remove(key).map(|flow| (flow, Why::TcpReuse)),
                    Ok(Transition::Unchanged | Transition::Entered(_)) | Err(_) => {
                        flow.counts.count(direction, packet, self.at_ns);
                        flow.last_ms = self.now_ms;
                        flow.has_answer |= way != flow.to_server;
                        let established = flow.is_established(key.protocol);
                        let view = FlowView { slot: Some(flow.slot), direction, established, is_first: false };
                        if let Err(why) = transition {
                            self.refused(why.name());
                        }
                        return (view, transition.is_ok());
                    }
                }
            }
        };
        if let Some((flow, why)) = over {
            self.end(key, &flow, why);
        }
        if self.flows.len() >= FLOWS_MAX {
            let over = self.flows.sweep(self.now_ms);
            self.end_all(over, Why::Forced);
        }
        (self.open(key, way, packet), true)
    }

    fn open(&mut self, key: &FlowKey, way: Way, packet: &Packet<'_>) -> FlowView {
        self.tally.flows += 1;
        let (tcp, payload_len) = (packet.tcp(), packet.payload().len());
        let tcp = tcp.as_ref();
        let is_answer = tcp.is_some_and(|tcp| {
            let (has_syn, has_ack) = (tcp.flags.contains(TcpFlags::SYN), tcp.flags.contains(TcpFlags::ACK));
            has_syn && has_ack || self.settings.midstream && !has_syn && is_from_service(packet)
        });
        let to_server = if is_answer { way.reversed() } else { way };
        let direction = if is_answer { Direction::ToClient } else { Direction::ToServer };
        let state = tcp.and_then(|tcp| {
            if is_bare_syn(tcp) {
                TcpState::open(tcp, if is_fast_open(tcp) { 0 } else { payload_len }).ok()
            } else if self.settings.midstream {
                TcpState::pick_up(direction, tcp, payload_len).ok()
            } else {
                None
            }
        });
        let flow = self.flows.open(*key, to_server, state, self.now_ms);
        flow.counts.count(direction, packet, self.at_ns);
        let established = flow.is_established(key.protocol);
        FlowView { slot: Some(flow.slot), direction, established, is_first: true }
    }

    fn judge(&mut self, packet: &Packet<'_>, view: &FlowView) {
        self.alerts.clear();
        let verdict = self.inspector.inspect(self.rules, packet, view, self.now_ms, &mut self.alerts);
        self.report(packet, view);
        if let Verdict::Drop(why) = verdict {
            let signature = if let Refused::Signature(index) = why { Some(index) } else { None };
            self.stopped_by(packet, super::record::reason(why), signature);
        }
    }

    pub(super) fn report(&mut self, packet: &Packet<'_>, view: &FlowView) {
        let has_alert = !self.alerts.is_empty() | self.report_files(packet);
        let (at_ns, ends) = (self.at_ns, Ends::of(packet));
        if has_alert && let Some(flow) = FlowKey::of(packet).and_then(|(key, _)| self.flows.known(&key)) {
            flow.counts.has_alert = true;
        }
        if !self.alerts.is_empty() {
            self.tally.alerts += self.alerts.len() as u64;
            let protocol = view.slot.and_then(|slot| self.inspector.protocol_of(slot));
            for (index, alert) in self.alerts.iter().enumerate() {
                let context = self.inspector.take_context(index).map(Box::new);
                let what = What::Alert(*alert, protocol, view.direction, context);
                self.records.push(Record { at_ns, frame: self.frame, ends, what });
            }
        }
        self.report_notes(ends.of_flow(view.direction));
    }

    /// Reports what there is to tell of the flow between a client and a server.
    pub(super) fn report_notes(&mut self, ends: Ends) {
        let (at_ns, frame) = (self.at_ns, self.frame);
        self.records.extend(self.inspector.take_notes().map(|note| Record {
            at_ns,
            frame,
            ends: ends.of_flow(note.sender()),
            what: What::Note(note),
        }));
    }

    /// Reports the files that lists of hashes judge; gives whether one of them is on a list.
    fn report_files(&mut self, packet: &Packet<'_>) -> bool {
        let alerts_before = self.tally.alerts;
        for file in self.inspector.take_file_events() {
            let file = Arc::new(file);
            let alert = matches!(file.finding, FileFinding::Listed(_)).then(|| What::FileAlert(Arc::clone(&file)));
            self.tally.alerts += u64::from(alert.is_some());
            for what in alert.into_iter().chain([What::FileInfo(file)]) {
                self.records.push(Record { at_ns: self.at_ns, frame: self.frame, ends: Ends::of(packet), what });
            }
        }
        self.tally.alerts > alerts_before
    }

    fn stopped(&mut self, packet: &Packet<'_>, reason: &'static str) {
        self.stopped_by(packet, reason, None);
    }

    fn stopped_by(&mut self, packet: &Packet<'_>, reason: &'static str, signature: Option<u32>) {
        self.tally.stopped += 1;
        *self.tally.stopped_by.entry(reason).or_default() += 1;
        let drop = Drop { length: packet.without_padding().len() as u32, reason, signature };
        let (at_ns, frame, ends) = (self.at_ns, self.frame, Ends::of(packet));
        self.records.push(Record { at_ns, frame, ends, what: What::Drop(drop) });
    }
}

/// Whether a packet from the middle of a connection is rather a server's, by its ports: a service's is low, a client's one of
/// those that systems give out (RFC 6335 section 6).
fn is_from_service(packet: &Packet<'_>) -> bool {
    const GIVEN_OUT: u16 = 32_768;
    let (from, to) = (packet.source_port(), packet.destination_port());
    from < to && (from < 1_024 && to >= 1_024 || from < GIVEN_OUT && to >= GIVEN_OUT)
}

fn is_bare_syn(tcp: &TcpView<'_>) -> bool {
    tcp.flags.contains(TcpFlags::SYN) && !tcp.flags.contains(TcpFlags::ACK)
}

fn is_fast_open(tcp: &TcpView<'_>) -> bool {
    tcp.options().any(|option| matches!(option, TcpOption::Other(TCP_FAST_OPEN, _)))
}
