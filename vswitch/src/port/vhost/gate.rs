//! The gate: the front-end's messages are judged here before any crate sees them.
//!
//! # Theory of operation
//! Vhost-user-backend keeps one connection's state and maps the guest's memory, but it trusts its peer's order and numbers,
//! and answers every disagreement by hanging up, even where QEMU is right: QEMU sends SET_VRING_ENABLE before SET_FEATURES.
//! So the conversation is cut in two:
//!
//! ```text
//!    front-end  <--- its socket --->  gate  <--- socketpair of ours --->  VhostUserDaemon
//!                  hostile                    canonical order, checked values,
//!                                             each request acknowledged
//! ```
//!
//! Inside, the gate is a front-end of its own. It greets the daemon once (features, protocol features with REPLY_ACK, owner)
//! and then passes on only requests that change rings or memory, one at a time, each acknowledged before the next message is
//! read. Outside it answers the questions itself, and keeps what the daemon would not: the wish to enable a ring that comes
//! before the features, which is passed on right after them.
//!
//! ```text
//!   one ring, as the gate sees it:        SET_VRING_KICK
//!      configurable  ----------------------------------------------------->  started
//!      (NUM, BASE, ADDR in any order)  <---------------------------------  (all three are refused)
//!                                         GET_VRING_BASE
//! ```
//!
//! A ring's size, addresses and base are frozen while it is started. Whatever is not in the list of requests below was never
//! offered, and is refused without a thought for what it might have meant.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use vhost::vhost_user::message::{FrontendReq as Code, VhostUserProtocolFeatures};

use super::features::Features;
use super::guest_files::{check_eventfd, check_memory_file, check_regions};
use super::message::{self, Closing, MemoryRegion, Message, Request};
use super::ring::RING_SIZE_MAX;
use crate::memory::REGIONS_MAX;

/// The protocol features that are offered to front-ends.
pub(crate) const PROTOCOL_FEATURES: VhostUserProtocolFeatures = VhostUserProtocolFeatures::MQ
    .union(VhostUserProtocolFeatures::REPLY_ACK)
    .union(VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS);

/// How long the daemon may take for one request. It waits for workers, whose own limit is shorter.
const DAEMON_DEADLINE: Duration = Duration::from_secs(10);

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Done; the front-end is told if it asked for that.
    Done,
    /// Not done, without harm; the front-end is told if it asked for that.
    NotDone,
    /// A number.
    Number(u64),
    /// A ring's base.
    Base { ring: u32, base: u32 },
}

#[derive(Clone, Copy, Debug, Default)]
struct Ring {
    size: Option<u16>,
    has_addresses: bool,
    is_started: bool,
    /// What the front-end last said, even before it acknowledged features.
    wanted: bool,
}

/// The judge of one connection.
pub(crate) struct Gate {
    daemon: Daemon,
    offered: Features,
    memory_len_max: u64,
    protocol: u64,
    features: Option<Features>,
    regions: Vec<MemoryRegion>,
    rings: Vec<Ring>,
    is_sealed: bool,
}

impl Gate {
    /// A gate in front of a daemon that was just started, and which it greets.
    pub(crate) fn new(
        daemon: UnixStream,
        offered: Features,
        rings_count: usize,
        memory_len_max: u64,
    ) -> Result<Self, Closing> {
        let mut daemon = Daemon::new(daemon)?;
        daemon.greet()?;
        Ok(Self {
            daemon,
            offered,
            memory_len_max,
            protocol: 0,
            features: None,
            regions: Vec::new(),
            rings: vec![Ring::default(); rings_count],
            is_sealed: false,
        })
    }

    /// Whether all of the guest's memory is sealed against shrinking.
    pub(crate) fn is_memory_sealed(&self) -> bool {
        self.is_sealed && !self.regions.is_empty()
    }

    /// Judges one message and acts on it; answers the body of the reply, if one is due.
    pub(crate) fn handle(&mut self, message: Message) -> Result<Option<Vec<u8>>, Closing> {
        let request = message.request()?;
        let needs_reply = message.needs_reply;
        let answer = self.judge(request, &message.body, message.files)?;
        // The request that negotiates acknowledgements is the first to get one.
        let wants_ack = needs_reply && self.has_protocol(VhostUserProtocolFeatures::REPLY_ACK);
        Ok(match answer {
            Answer::Done => wants_ack.then(|| 0u64.to_ne_bytes().to_vec()),
            Answer::NotDone => wants_ack.then(|| 1u64.to_ne_bytes().to_vec()),
            Answer::Number(number) => Some(number.to_ne_bytes().to_vec()),
            Answer::Base { ring, base } => Some([ring.to_ne_bytes(), base.to_ne_bytes()].concat()),
        })
    }

    fn judge(&mut self, request: Request, body: &[u8], files: Vec<OwnedFd>) -> Result<Answer, Closing> {
        match request {
            Request::GetFeatures => Ok(Answer::Number(self.offered.0)),
            Request::SetFeatures(features) => self.set_features(Features(features)),
            // The daemon was told when it was greeted. Front-ends with several queue pairs may say it for each.
            Request::SetOwner => Ok(Answer::Done),
            // No longer used, and to be ignored.
            Request::ResetOwner => Ok(Answer::Done),
            Request::SetMemTable(regions) => self.set_memory(regions, body, &files),
            Request::SetVringNum { ring, size } => self.set_size(ring, size, body),
            Request::SetVringAddr { ring, flags } => self.set_addresses(ring, flags, body),
            Request::SetVringBase { ring, base } => self.set_base(ring, base, body),
            Request::GetVringBase { ring } => self.stop(ring, body),
            Request::SetVringKick { ring, has_file } => self.start(ring, has_file, body, &files),
            Request::SetVringCall { ring, .. } => self.set_event(Code::SET_VRING_CALL, ring, body, &files),
            Request::SetVringErr { ring, .. } => self.set_event(Code::SET_VRING_ERR, ring, body, &files),
            Request::GetProtocolFeatures => Ok(Answer::Number(PROTOCOL_FEATURES.bits())),
            Request::SetProtocolFeatures(features) => self.set_protocol(features),
            // In pairs, as QEMU and DPDK take it for network devices.
            Request::GetQueueNum => Ok(Answer::Number(self.rings.len() as u64 / 2)),
            Request::SetVringEnable { ring, enable } => self.enable(ring, enable),
            Request::GetMaxMemSlots => Ok(Answer::Number(REGIONS_MAX as u64)),
            Request::AddMemRegion(region) => self.add_memory(region, body, &files),
            Request::RemoveMemRegion(region) => self.remove_memory(region, body),
            Request::Unoffered => Ok(Answer::NotDone),
        }
    }

    fn has_protocol(&self, feature: VhostUserProtocolFeatures) -> bool {
        self.protocol & feature.bits() != 0
    }

    /// The ring of that index, compared before it is narrowed.
    fn ring(&mut self, index: u32) -> Result<&mut Ring, Closing> {
        let index = usize::try_from(index).map_err(|_| Closing::Broken("ring index"))?;
        self.rings.get_mut(index).ok_or(Closing::Broken("ring index"))
    }

    fn resting_ring(&mut self, index: u32) -> Result<&mut Ring, Closing> {
        match self.ring(index)? {
            ring if ring.is_started => Err(Closing::Broken("ring changed while it runs")),
            ring => Ok(ring),
        }
    }

    fn set_protocol(&mut self, features: u64) -> Result<Answer, Closing> {
        if features & !PROTOCOL_FEATURES.bits() != 0 {
            return Err(Closing::Broken("protocol features that were not offered"));
        }
        self.protocol = features;
        Ok(Answer::Done)
    }

    fn set_features(&mut self, features: Features) -> Result<Answer, Closing> {
        if !self.offered.has(features) {
            return Err(Closing::Broken("features that were not offered"));
        }
        // With several queue pairs QEMU repeats itself once for each, when the first may already run.
        if self.features == Some(features) {
            return Ok(Answer::Done);
        }
        if self.rings.iter().any(|ring| ring.is_started) {
            return Err(Closing::Broken("features changed while rings run"));
        }
        let inside = features.and(Features::PROTOCOL_FEATURES);
        self.daemon.request(Code::SET_FEATURES, &inside.0.to_ne_bytes(), &[])?;
        self.features = Some(features);
        for index in 0..self.rings.len() {
            let is_enabled = self.is_enabled(index, features);
            self.daemon.enable(index as u32, is_enabled)?;
        }
        Ok(Answer::Done)
    }

    /// Rings of a front-end that did not negotiate protocol features are enabled from the start.
    fn is_enabled(&self, index: usize, features: Features) -> bool {
        self.rings[index].wanted || !features.has(Features::PROTOCOL_FEATURES)
    }

    fn enable(&mut self, index: u32, enable: u32) -> Result<Answer, Closing> {
        self.ring(index)?.wanted = match enable {
            0 => false,
            1 => true,
            _ => return Err(Closing::Broken("ring neither enabled nor disabled")),
        };
        // Before that it is only remembered.
        if let Some(features) = self.features {
            let is_enabled = self.is_enabled(index as usize, features);
            self.daemon.enable(index, is_enabled)?;
        }
        Ok(Answer::Done)
    }

    fn set_memory(
        &mut self,
        mut regions: Vec<MemoryRegion>,
        body: &[u8],
        files: &[OwnedFd],
    ) -> Result<Answer, Closing> {
        check_regions(&regions, self.memory_len_max)?;
        let mut is_sealed = true;
        for (region, file) in regions.iter().zip(files) {
            is_sealed &= check_memory_file(file, region)?;
        }
        if regions.is_sorted_by_key(|region| region.guest) {
            self.daemon.request(Code::SET_MEM_TABLE, body, files)?;
        } else {
            // The crates insist on an order that the protocol does not ask for.
            let mut order: Vec<usize> = (0..regions.len()).collect();
            order.sort_by_key(|&index| regions[index].guest);
            let files: Vec<OwnedFd> = order
                .iter()
                .map(|&index| files[index].try_clone())
                .collect::<Result<_, _>>()
                .map_err(|_| Closing::Broken("no file descriptor left"))?;
            regions.sort_by_key(|region| region.guest);
            self.daemon.request(Code::SET_MEM_TABLE, &message::memory_table(&regions), &files)?;
        }
        self.regions = regions;
        self.is_sealed = is_sealed;
        Ok(Answer::Done)
    }

    fn add_memory(&mut self, region: MemoryRegion, body: &[u8], files: &[OwnedFd]) -> Result<Answer, Closing> {
        // QEMU 7.2 with several queue pairs says everything about memory slots once for each pair.
        if self.regions.contains(&region) {
            return Ok(Answer::Done);
        }
        let regions: Vec<MemoryRegion> = self.regions.iter().copied().chain([region]).collect();
        check_regions(&regions, self.memory_len_max)?;
        let is_sealed = match files {
            [file] => check_memory_file(file, &region)?,
            _ => return Err(Closing::Broken("wrong number of file descriptors")),
        };
        self.is_sealed = is_sealed && (self.is_sealed || self.regions.is_empty());
        self.daemon.request(Code::ADD_MEM_REG, body, files)?;
        self.regions = regions;
        Ok(Answer::Done)
    }

    fn remove_memory(&mut self, region: MemoryRegion, body: &[u8]) -> Result<Answer, Closing> {
        let same = |r: &MemoryRegion| (r.guest, r.len, r.user) == (region.guest, region.len, region.user);
        // As with adding: the first pair's request has removed it.
        let Some(position) = self.regions.iter().position(same) else { return Ok(Answer::Done) };
        self.daemon.request(Code::REM_MEM_REG, body, &[])?;
        self.regions.remove(position);
        Ok(Answer::Done)
    }

    fn set_size(&mut self, ring: u32, size: u32, body: &[u8]) -> Result<Answer, Closing> {
        let size = u16::try_from(size).ok().filter(|size| size.is_power_of_two() && *size <= RING_SIZE_MAX);
        let size = size.ok_or(Closing::Broken("ring size"))?;
        self.resting_ring(ring)?.size = Some(size);
        self.daemon.request(Code::SET_VRING_NUM, body, &[])?;
        Ok(Answer::Done)
    }

    fn set_base(&mut self, ring: u32, base: u32, body: &[u8]) -> Result<Answer, Closing> {
        self.resting_ring(ring)?;
        u16::try_from(base).map_err(|_| Closing::Broken("ring base"))?;
        self.daemon.request(Code::SET_VRING_BASE, body, &[])?;
        Ok(Answer::Done)
    }

    fn set_addresses(&mut self, ring: u32, flags: u32, body: &[u8]) -> Result<Answer, Closing> {
        if flags != 0 {
            return Err(Closing::Broken("ring logging was not offered"));
        }
        if self.regions.is_empty() {
            return Err(Closing::Broken("ring addresses before memory"));
        }
        self.resting_ring(ring)?;
        self.daemon.request(Code::SET_VRING_ADDR, body, &[])?;
        self.ring(ring)?.has_addresses = true;
        Ok(Answer::Done)
    }

    fn start(&mut self, ring: u32, has_file: bool, body: &[u8], files: &[OwnedFd]) -> Result<Answer, Closing> {
        let has_features = self.features.is_some();
        let state = self.ring(ring)?;
        if !has_features || state.size.is_none() || !state.has_addresses {
            return Err(Closing::Broken("ring started before it was set up"));
        }
        // The crates start no ring without one, and a sleeping worker would not hear of its frames.
        if !has_file {
            return Err(Closing::Broken("ring without a kick descriptor"));
        }
        self.set_event(Code::SET_VRING_KICK, ring, body, files)?;
        self.ring(ring)?.is_started = true;
        Ok(Answer::Done)
    }

    fn stop(&mut self, ring: u32, body: &[u8]) -> Result<Answer, Closing> {
        self.ring(ring)?.is_started = false;
        let base = self.daemon.ask(Code::GET_VRING_BASE, body)?;
        // The reply repeats the ring's index, and then says the base.
        let base = u32::from_ne_bytes([base[4], base[5], base[6], base[7]]);
        Ok(Answer::Base { ring, base })
    }

    fn set_event(&mut self, code: Code, ring: u32, body: &[u8], files: &[OwnedFd]) -> Result<Answer, Closing> {
        self.ring(ring)?;
        files.iter().try_for_each(check_eventfd)?;
        self.daemon.request(code, body, files)?;
        Ok(Answer::Done)
    }
}

/// The conversation with the daemon.
struct Daemon {
    socket: UnixStream,
}

impl Daemon {
    fn new(socket: UnixStream) -> Result<Self, Closing> {
        socket
            .set_read_timeout(Some(DAEMON_DEADLINE))
            .and_then(|()| socket.set_write_timeout(Some(DAEMON_DEADLINE)))
            .map_err(|_| Closing::Broken("no timeout on the inner socket"))?;
        Ok(Self { socket })
    }

    fn greet(&mut self) -> Result<(), Closing> {
        self.ask(Code::GET_FEATURES, &[])?;
        self.ask(Code::GET_PROTOCOL_FEATURES, &[])?;
        self.request(Code::SET_PROTOCOL_FEATURES, &PROTOCOL_FEATURES.bits().to_ne_bytes(), &[])?;
        self.request(Code::SET_OWNER, &[], &[])
    }

    fn enable(&mut self, ring: u32, is_enabled: bool) -> Result<(), Closing> {
        let body = [ring.to_ne_bytes(), u32::from(is_enabled).to_ne_bytes()].concat();
        self.request(Code::SET_VRING_ENABLE, &body, &[])
    }

    /// Passes a request on and waits until it was done.
    fn request(&mut self, code: Code, body: &[u8], files: &[OwnedFd]) -> Result<(), Closing> {
        match self.exchange(code, body, files)? {
            [0, 0, 0, 0, 0, 0, 0, 0] => Ok(()),
            _ => Err(Closing::Broken("refused by the vhost-user handler")),
        }
    }

    /// Passes a question on and waits for the answer.
    fn ask(&mut self, code: Code, body: &[u8]) -> Result<[u8; 8], Closing> {
        self.exchange(code, body, &[])
    }

    fn exchange(&mut self, code: Code, body: &[u8], files: &[OwnedFd]) -> Result<[u8; 8], Closing> {
        let gone = |_| Closing::Broken("refused by the vhost-user handler");
        message::request(&self.socket, code, body, files).map_err(gone)?;
        let mut header = [0; 12];
        let mut body = [0; 8];
        self.socket.read_exact(&mut header).and_then(|()| self.socket.read_exact(&mut body)).map_err(gone)?;
        Ok(body)
    }
}
