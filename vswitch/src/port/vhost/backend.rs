//! What vhost-user-backend calls: our device, and vrings that tell the hand-over of every change.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::sync::Arc;

use vhost::vhost_user::message::VhostUserProtocolFeatures;
use vhost_user_backend::{VhostUserBackend, VringMutex, VringStateGuard, VringStateMutGuard, VringT};
use virtio_queue::Error as QueueError;
use vm_memory::GuestAddressSpace;
use vmm_sys_util::epoll::EventSet;

use super::features::Features;
use super::hand_over::{HandOver, Memory};
use super::ring::RING_SIZE_MAX;
use crate::memory::GuestMap;

thread_local! {
    /// The hand-over that vrings made on this thread belong to: `VringT::new` is called by the crate, which has no place for
    /// anything of ours.
    static OWNER: RefCell<Option<Arc<HandOver>>> = const { RefCell::new(None) };
}

/// Runs `make`, which makes a `VhostUserDaemon`, so that its vrings belong to `hand_over`.
pub(crate) fn with_vrings_of<R>(hand_over: &Arc<HandOver>, make: impl FnOnce() -> R) -> R {
    OWNER.set(Some(hand_over.clone()));
    let result = make();
    OWNER.set(None);
    result
}

/// The crate's vring, with each change of it announced to the hand-over, which takes the ring back from its worker first.
#[derive(Clone)]
pub(crate) struct PortVring {
    inner: VringMutex<Memory>,
    index: usize,
    owner: Arc<HandOver>,
}

impl PortVring {
    fn change<R>(&self, change: impl FnOnce(&VringMutex<Memory>) -> R) -> R {
        self.owner.change(self.index, false, change)
    }
}

impl<'a> VringStateGuard<'a, Memory> for PortVring {
    type G = <VringMutex<Memory> as VringStateGuard<'a, Memory>>::G;
}

impl<'a> VringStateMutGuard<'a, Memory> for PortVring {
    type G = <VringMutex<Memory> as VringStateMutGuard<'a, Memory>>::G;
}

impl VringT<Memory> for PortVring {
    fn new(memory: Memory, max_queue_size: u16) -> Result<Self, QueueError> {
        let owner = OWNER.with_borrow(Clone::clone).ok_or(QueueError::QueueNotReady)?;
        let inner = VringMutex::new(memory, max_queue_size)?;
        let index = owner.add(inner.clone());
        Ok(Self { inner, index, owner })
    }

    fn get_ref(&self) -> <Self as VringStateGuard<'_, Memory>>::G {
        self.inner.get_ref()
    }

    fn get_mut(&self) -> <Self as VringStateMutGuard<'_, Memory>>::G {
        self.inner.get_mut()
    }

    fn add_used(&self, descriptor: u16, len: u32) -> Result<(), QueueError> {
        self.inner.add_used(descriptor, len)
    }

    fn signal_used_queue(&self) -> io::Result<()> {
        self.inner.signal_used_queue()
    }

    fn enable_notification(&self) -> Result<bool, QueueError> {
        self.inner.enable_notification()
    }

    fn disable_notification(&self) -> Result<(), QueueError> {
        self.inner.disable_notification()
    }

    fn needs_notification(&self) -> Result<bool, QueueError> {
        self.inner.needs_notification()
    }

    fn set_enabled(&self, enabled: bool) {
        self.change(|ring| ring.set_enabled(enabled));
    }

    fn set_queue_info(&self, descriptors: u64, avail: u64, used: u64) -> Result<(), QueueError> {
        self.owner.change(self.index, true, |ring| ring.set_queue_info(descriptors, avail, used))
    }

    fn queue_next_avail(&self) -> u16 {
        self.inner.queue_next_avail()
    }

    fn set_queue_next_avail(&self, base: u16) {
        self.owner.change(self.index, true, |ring| ring.set_queue_next_avail(base));
    }

    fn set_queue_next_used(&self, index: u16) {
        self.change(|ring| ring.set_queue_next_used(index));
    }

    fn queue_used_idx(&self) -> Result<u16, QueueError> {
        self.inner.queue_used_idx()
    }

    fn set_queue_size(&self, size: u16) {
        self.change(|ring| ring.set_queue_size(size));
    }

    fn set_queue_event_idx(&self, enabled: bool) {
        // Workers go by the acknowledged features, which are announced right behind this.
        self.inner.set_queue_event_idx(enabled);
    }

    fn set_queue_ready(&self, ready: bool) {
        self.change(|ring| ring.set_queue_ready(ready));
    }

    fn set_kick(&self, file: Option<File>) {
        self.change(|ring| ring.set_kick(file));
    }

    fn read_kick(&self) -> io::Result<bool> {
        self.inner.read_kick()
    }

    fn set_call(&self, file: Option<File>) {
        self.change(|ring| ring.set_call(file));
    }

    fn set_err(&self, file: Option<File>) {
        self.inner.set_err(file);
    }
}

/// The device that one connection's front-end configures.
#[derive(Clone)]
pub(crate) struct Device {
    pub(crate) hand_over: Arc<HandOver>,
    pub(crate) offered: Features,
    pub(crate) rings_count: usize,
}

impl VhostUserBackend for Device {
    type Bitmap = ();
    type Vring = PortVring;

    fn num_queues(&self) -> usize {
        self.rings_count
    }

    fn max_queue_size(&self) -> usize {
        RING_SIZE_MAX.into()
    }

    fn features(&self) -> u64 {
        self.offered.0
    }

    fn acked_features(&self, features: u64) {
        self.hand_over.acknowledge(Features(features));
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        super::gate::PROTOCOL_FEATURES
    }

    fn set_event_idx(&self, _enabled: bool) {}

    fn update_memory(&self, memory: Memory) -> io::Result<()> {
        let map = GuestMap::from_mmap(memory.memory().into_inner()).map_err(io::Error::other)?;
        self.hand_over.replace_memory(map);
        Ok(())
    }

    /// No thread of the crate's serves rings.
    fn queues_per_thread(&self) -> Vec<u64> {
        Vec::new()
    }

    fn handle_event(&self, _: u16, _: EventSet, _: &[PortVring], _: usize) -> io::Result<()> {
        Ok(())
    }
}
