//! Files under way in the flows, and what the lists of hashes say of them.
//!
//! # Theory of operation
//!
//! Parsers hash what they find to be a file and show the hashes of what has passed whenever its receiver might have the whole
//! of it ([`crate::protocol::File`]). Shown hashes are looked up at once, under the lists that hold for the packet at hand:
//! a file under way when lists change is judged at its end by the new ones. So the packet after which the receiver would have
//! every byte of a listed file is the one that is dropped, whether or not the sender has told the file's end.
//!
//! Only flows whose protocol may carry files are followed for this. One that turns out to speak something else is let go, and
//! costs nothing any more.

use std::sync::Arc;

use crate::alert::AlertAction;
use crate::file_hashes::{Digests, FileChecks, HashesWanted, ListAction, Unjudged};
use crate::inspector::flow::Flow;
use crate::inspector::flow_slots::Kept;
use crate::inspector::{Decision, Direction, Inspector, Look, Mode};
use crate::limits::FILE_EVENTS_PER_PACKET_MAX;
use crate::protocol::{AppProtocol, File, FileProgress};
use crate::verdict::Refused;
use crate::wire::TcpFlags;

/// What was found out about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileFinding {
    /// It is on a list: the list's place among [`FileChecks::lists`].
    Listed(u16),
    /// It has more bytes than are hashed.
    TooBig,
    /// It is a part of a file.
    Part,
}

/// A file that is worth a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEvent {
    /// What was found out.
    pub finding: FileFinding,
    /// What became of the packet.
    pub action: AlertAction,
    /// Its name, as its sender or receiver wrote it; may be empty.
    pub name: Vec<u8>,
    /// Bytes that have passed, those of this packet included.
    pub length: u64,
    /// Whether it has ended as its protocol says.
    pub is_complete: bool,
    /// Hashes of the bytes that have passed, as far as a list needs them.
    pub digests: Digests,
    /// Who sent it.
    pub side: Direction,
    /// Number of its transaction in the flow.
    pub transaction: u32,
    /// What carried it.
    pub protocol: Option<AppProtocol>,
}

/// Files that were seen to their end, by what was found out about them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileCounts {
    /// On a list.
    pub listed: u64,
    /// Complete, and on no list.
    pub unlisted: u64,
    /// Ended by a limit, a gap or a broken connection, and what came is on no list.
    pub cut: u64,
    /// Bigger than what is hashed.
    pub too_big: u64,
    /// A part of a file.
    pub part: u64,
    /// Begun before there was a list that needs its hash.
    pub unhashed: u64,
}

/// The checks that hold now, and what they have come to on the packet at hand.
#[derive(Debug, Default)]
pub(crate) struct FileWatch {
    checks: Option<Arc<FileChecks>>,
    wanted: Option<HashesWanted>,
    events: Vec<FileEvent>,
    suppressed_count: u64,
    counts: FileCounts,
    refused: Option<Refused>,
    mode: Mode,
    ends: (u128, u128),
    now_ms: u64,
}

impl FileWatch {
    /// Judges by these from now on.
    pub(crate) fn judge_by(&mut self, checks: Option<&Arc<FileChecks>>) {
        let checks = checks.filter(|checks| !checks.is_empty());
        if self.checks.as_ref().map(Arc::as_ptr) != checks.map(Arc::as_ptr) {
            self.checks = checks.cloned();
            self.wanted = checks.map(|checks| checks.wanted());
        }
    }

    /// Whether there is a list to judge by.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.wanted.is_some()
    }

    pub(crate) fn wanted(&self) -> Option<HashesWanted> {
        self.wanted
    }

    /// A packet is looked at: by which profile, from whom to whom, and when.
    #[inline]
    pub(super) fn begin(&mut self, look: &Look<'_>) {
        if self.is_on() {
            self.mode = look.profile.settings().mode;
            (self.ends, self.now_ms) = ((look.facts.source, look.facts.destination), look.now_ms);
        }
    }

    /// A parser shows a file. Gives whether it is settled.
    pub(crate) fn file(&mut self, transaction: u32, side: Direction, name: &[u8], file: &File) -> bool {
        let Some(checks) = self.checks.clone() else { return false };
        if file.is_over {
            match file.progress {
                _ if file.is_told || file.is_aside => {}
                _ if file.digests == Digests::default() => self.counts.unhashed += 1,
                FileProgress::Complete => self.counts.unlisted += 1,
                FileProgress::SoFar | FileProgress::Cut | FileProgress::TooBig | FileProgress::Part => {
                    self.counts.cut += 1;
                }
            }
            return false;
        }
        let limits = checks.limits();
        let (finding, action) = match file.progress {
            FileProgress::Part => {
                self.counts.part += u64::from(!file.is_aside);
                let is_rest = checks.pairs().is_noted(self.ends.0, self.ends.1, self.now_ms);
                match if is_rest { Unjudged::Drop } else { limits.partial } {
                    Unjudged::Pass => return false,
                    Unjudged::Drop => (FileFinding::Part, ListAction::Drop),
                }
            }
            FileProgress::TooBig => {
                self.counts.too_big += u64::from(!file.is_aside);
                match limits.too_big {
                    Unjudged::Pass => return false,
                    Unjudged::Drop => (FileFinding::TooBig, ListAction::Drop),
                }
            }
            FileProgress::SoFar | FileProgress::Complete | FileProgress::Cut => {
                let Some((index, list)) = checks.find(&file.digests) else { return false };
                self.counts.listed += 1;
                (FileFinding::Listed(u16::try_from(index).unwrap_or(u16::MAX)), list.action())
            }
        };
        let action = match (action, self.mode) {
            (ListAction::Drop, Mode::Prevent | Mode::Audit) => {
                let refused = match finding {
                    FileFinding::Listed(list) => Refused::File(list),
                    FileFinding::TooBig | FileFinding::Part => Refused::FileUnjudged,
                };
                self.refused = self.refused.or(Some(refused));
                if self.mode == Mode::Prevent { AlertAction::Blocked } else { AlertAction::WouldBlock }
            }
            (ListAction::Drop, Mode::Detect) | (ListAction::Alert, _) => AlertAction::Allowed,
        };
        if action == AlertAction::Blocked && matches!(finding, FileFinding::Listed(_)) {
            checks.pairs().note(self.ends.0, self.ends.1, self.now_ms);
        }
        if self.events.len() >= FILE_EVENTS_PER_PACKET_MAX {
            self.suppressed_count += 1;
            return true;
        }
        let is_complete = file.progress == FileProgress::Complete;
        let (name, length, digests) = (name.to_vec(), file.length, file.digests);
        let protocol = None;
        self.events.push(FileEvent {
            finding,
            action,
            name,
            length,
            is_complete,
            digests,
            side,
            transaction,
            protocol,
        });
        true
    }

    /// Why the packet is to be refused for its files, if it is; its flow speaks `protocol`.
    fn take_refused(&mut self, protocol: Option<AppProtocol>) -> Option<Refused> {
        for event in &mut self.events {
            event.protocol = event.protocol.or(protocol);
        }
        self.refused.take()
    }

    /// What there is to report since the last call.
    pub(crate) fn take_events(&mut self) -> Vec<FileEvent> {
        std::mem::take(&mut self.events)
    }

    /// Whether there is anything to report.
    #[inline]
    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    pub(crate) fn counts(&self) -> FileCounts {
        self.counts
    }

    pub(crate) fn suppressed_count(&self) -> u64 {
        self.suppressed_count
    }
}

/// Whether a TCP flow that is to be followed from its beginning begins with this packet.
pub(super) fn can_begin(look: &Look<'_>) -> bool {
    let is_syn = look.facts.packet.tcp().is_some_and(|tcp| tcp.flags.contains(TcpFlags::SYN));
    is_syn || look.view.is_first || look.profile.settings().midstream
}

impl Inspector {
    /// Judges files by these from the next packet on; without lists none is hashed.
    pub fn judge_files_by(&mut self, checks: Option<&Arc<FileChecks>>) {
        self.files.judge_by(checks);
    }

    /// Whether the packets since the last [`Inspector::take_file_events`] have raised any.
    #[inline]
    pub fn has_file_events(&self) -> bool {
        self.files.has_events()
    }

    /// What there is to report about files since the last call.
    pub fn take_file_events(&mut self) -> Vec<FileEvent> {
        self.files.take_events()
    }

    /// Files seen so far.
    pub fn file_counts(&self) -> FileCounts {
        self.files.counts()
    }

    /// Takes out what is remembered of the packet's flow, and says whether it was let go because it carries no files; `None`
    /// if the packet need not be looked at. `has_group` says whether signatures look at single packets like it.
    pub(super) fn recall(&mut self, look: &Look<'_>, has_group: bool) -> Option<(Option<Box<Flow>>, bool)> {
        match look.view.slot.map(|slot| self.flows.take(slot)).unwrap_or_default() {
            Kept::Passed(mark) if mark == look.profile.pass_mark(look.rules) => {
                self.put_back(look.view, Kept::Passed(mark));
                None
            }
            Kept::WithoutFiles if look.is_for_files && !has_group => {
                self.put_back(look.view, Kept::WithoutFiles);
                None
            }
            Kept::WithoutFiles if look.is_for_files => Some((None, true)),
            Kept::Open(mut open) => {
                open.meet(look);
                Some((Some(open), false))
            }
            Kept::Passed(_) | Kept::Nothing | Kept::Refused(_) | Kept::WithoutFiles => Some((None, false)),
        }
    }

    /// What becomes of the packet and its flow after what its files have come to.
    pub(super) fn heed_files(&mut self, look: &Look<'_>, decision: Decision, flow: Option<&Flow>) -> Decision {
        let protocol = flow.and_then(|flow| flow.conversation.protocol());
        match (self.files.take_refused(protocol), look.profile.settings().mode) {
            (Some(refused), Mode::Prevent) => decision.or_refused(refused),
            (Some(refused), Mode::Audit) => {
                self.note_would_drop(refused, true);
                decision
            }
            (_, _) => decision,
        }
    }
}
