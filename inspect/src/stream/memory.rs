//! The memory that all streams of one worker share, counted per domain.

use std::collections::{BTreeMap, VecDeque};

use crate::limits;

/// How much streams may hold; the defaults are those of [`crate::limits`]. Counted in bytes of payload, with a flat
/// charge per queued segment; buffers that grow can take twice that from the allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// For one direction of one connection.
    pub per_stream: StreamBytes,
    /// For all streams of one domain.
    pub per_domain: StreamBytes,
    /// For all streams.
    pub total: StreamBytes,
}

/// Bytes of the two kinds that streams hold. They have separate limits because the one must never starve the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamBytes {
    /// Delivered to inspection, not yet acknowledged by the receiver.
    pub unacked: usize,
    /// Waiting behind a gap.
    pub queued: usize,
}

impl StreamBytes {
    fn fits(self, more: StreamBytes, max: StreamBytes) -> bool {
        (more.unacked == 0 || self.unacked + more.unacked <= max.unacked)
            && (more.queued == 0 || self.queued + more.queued <= max.queued)
    }

    fn add(&mut self, more: StreamBytes) {
        self.unacked += more.unacked;
        self.queued += more.queued;
    }

    fn subtract(&mut self, less: StreamBytes) {
        self.unacked -= less.unacked;
        self.queued -= less.queued;
    }
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            per_stream: StreamBytes {
                unacked: limits::STREAM_UNACKED_BYTES_MAX,
                queued: limits::STREAM_QUEUED_BYTES_MAX,
            },
            per_domain: StreamBytes {
                unacked: limits::STREAM_UNACKED_BYTES_PER_DOMAIN_MAX,
                queued: limits::STREAM_QUEUED_BYTES_PER_DOMAIN_MAX,
            },
            total: StreamBytes {
                unacked: limits::STREAM_UNACKED_BYTES_TOTAL_MAX,
                queued: limits::STREAM_QUEUED_BYTES_TOTAL_MAX,
            },
        }
    }
}

/// What the streams of one worker hold. Streams take from it and give back; nothing is held here but a few empty buffers.
#[derive(Debug, Default)]
pub struct StreamMemory {
    limits: StreamLimits,
    total: StreamBytes,
    /// Domains that hold something.
    domains: BTreeMap<u32, StreamBytes>,
    /// Buffers of streams that have nothing unacknowledged, for those that get something.
    spare: Vec<VecDeque<u8>>,
}

impl StreamMemory {
    /// Memory of which nothing is taken.
    pub fn new(limits: StreamLimits) -> Self {
        Self { limits, total: StreamBytes::default(), domains: BTreeMap::new(), spare: Vec::new() }
    }

    /// What all streams hold.
    pub fn total(&self) -> StreamBytes {
        self.total
    }

    /// What the streams of one domain hold.
    pub fn of_domain(&self, domain: u32) -> StreamBytes {
        self.domains.get(&domain).copied().unwrap_or_default()
    }

    /// Takes `more` for a stream of `domain` that already holds `held`; answers whether there was room.
    pub(super) fn take(&mut self, domain: u32, held: StreamBytes, more: StreamBytes) -> bool {
        let of_domain = self.domains.entry(domain).or_default();
        let fits = held.fits(more, self.limits.per_stream)
            && of_domain.fits(more, self.limits.per_domain)
            && self.total.fits(more, self.limits.total);
        if fits {
            of_domain.add(more);
            self.total.add(more);
        }
        if *of_domain == StreamBytes::default() {
            self.domains.remove(&domain);
        }
        fits
    }

    /// An empty buffer, with room if there is a used one.
    pub(super) fn buffer(&mut self) -> VecDeque<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Keeps a buffer for the next stream, unless it is large or there are enough.
    pub(super) fn keep(&mut self, mut buffer: VecDeque<u8>) {
        let is_usable = (1..=limits::POOLED_BYTES_MAX).contains(&buffer.capacity());
        if is_usable && self.spare.len() < limits::POOL_MAX {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    pub(super) fn give_back(&mut self, domain: u32, less: StreamBytes) {
        self.total.subtract(less);
        if let Some(of_domain) = self.domains.get_mut(&domain) {
            of_domain.subtract(less);
            if *of_domain == StreamBytes::default() {
                self.domains.remove(&domain);
            }
        }
    }
}
