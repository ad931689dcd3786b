//! The virtio and vhost-user features that ports offer. What is not offered cannot be attacked.

use std::fmt;

/// A set of virtio feature bits.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Features(pub u64);

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Features({:#x})", self.0)
    }
}

macro_rules! bits {
    ($($(#[doc = $doc:literal])+ $name:ident = $bit:literal,)+) => {
        impl Features {
            $($(#[doc = $doc])+ pub const $name: Features = Features(1 << $bit);)+
        }
    };
}

bits! {
    /// We take frames whose transport checksum is partial (`VIRTIO_NET_F_CSUM`).
    CSUM = 0,
    /// The guest takes frames whose transport checksum is partial.
    GUEST_CSUM = 1,
    /// The guest takes TCP super-segments over IPv4.
    GUEST_TSO4 = 7,
    /// The guest takes TCP super-segments over IPv6.
    GUEST_TSO6 = 8,
    /// The guest takes super-segments with CWR.
    GUEST_ECN = 9,
    /// We take TCP super-segments over IPv4.
    HOST_TSO4 = 11,
    /// We take TCP super-segments over IPv6.
    HOST_TSO6 = 12,
    /// We take super-segments with CWR.
    HOST_ECN = 13,
    /// A frame may be spread over several receive buffers.
    MRG_RXBUF = 15,
    /// More than one pair of queues. The control queue that goes with it stays in the front-end.
    MQ = 22,
    /// A descriptor may stand for a table of descriptors.
    INDIRECT_DESC = 28,
    /// Notifications are asked for by ring index.
    EVENT_IDX = 29,
    /// Vhost-user's own features are negotiated too (`VHOST_USER_F_PROTOCOL_FEATURES`).
    PROTOCOL_FEATURES = 30,
    /// The device follows virtio 1.
    VERSION_1 = 32,
    /// Buffers are used in the order in which they were offered (`VIRTIO_F_IN_ORDER`). Rings do so whether or not it is
    /// negotiated; a driver that knows it does much less per frame (DPDK's).
    IN_ORDER = 35,
}

impl Features {
    /// The empty set.
    pub const NONE: Features = Features(0);

    /// Every feature that a port can have.
    pub const ALL: Features = Self::CSUM
        .and(Self::GUEST_CSUM)
        .and(Self::GUEST_TSO4)
        .and(Self::GUEST_TSO6)
        .and(Self::GUEST_ECN)
        .and(Self::HOST_TSO4)
        .and(Self::HOST_TSO6)
        .and(Self::HOST_ECN)
        .and(Self::MRG_RXBUF)
        .and(Self::MQ)
        .and(Self::INDIRECT_DESC)
        .and(Self::EVENT_IDX)
        .and(Self::PROTOCOL_FEATURES)
        .and(Self::VERSION_1)
        .and(Self::IN_ORDER);

    /// What lets a sender leave work to us; without all of these its virtio-net header claims nothing and is not read.
    pub const SENDER_OFFLOADS: Features = Self::CSUM.and(Self::HOST_TSO4).and(Self::HOST_TSO6).and(Self::HOST_ECN);

    /// This set joined with another.
    pub const fn and(self, other: Features) -> Features {
        Features(self.0 | other.0)
    }

    /// This set without another.
    pub const fn without(self, other: Features) -> Features {
        Features(self.0 & !other.0)
    }

    /// Whether all of `other` is in the set.
    pub const fn has(self, other: Features) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether anything of `other` is in the set.
    pub const fn has_any(self, other: Features) -> bool {
        self.0 & other.0 != 0
    }

    /// The set with every feature taken out that stands on one which is missing (virtio 1.2 section 5.1.3.1).
    pub const fn consistent(self) -> Features {
        let mut set = self;
        if !set.has(Self::CSUM) {
            set = set.without(Self::HOST_TSO4).without(Self::HOST_TSO6);
        }
        if !set.has_any(Self::HOST_TSO4.and(Self::HOST_TSO6)) {
            set = set.without(Self::HOST_ECN);
        }
        if !set.has(Self::GUEST_CSUM) {
            set = set.without(Self::GUEST_TSO4).without(Self::GUEST_TSO6);
        }
        if !set.has_any(Self::GUEST_TSO4.and(Self::GUEST_TSO6)) {
            set = set.without(Self::GUEST_ECN);
        }
        set
    }

    /// Length of the virtio-net header in bytes: 12, or 10 where nothing asked for its last field (virtio 1.2 section
    /// 5.1.6.1).
    pub const fn header_len(self) -> usize {
        if self.has_any(Self::VERSION_1.and(Self::MRG_RXBUF)) { 12 } else { 10 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offered_bits_are_those_of_the_specification() {
        // As QEMU 7.2 and a Linux 6.1 guest acknowledge them, plus GUEST_ECN, HOST_ECN, MQ and IN_ORDER.
        assert_eq!(Features::ALL.0, 0x9_7040_bb83);
    }

    #[test]
    fn features_that_stand_on_a_missing_one_are_taken_out() {
        #[track_caller]
        fn check(without: Features, also_gone: Features) {
            let set = Features::ALL.without(without).consistent();
            assert_eq!(set, Features::ALL.without(without).without(also_gone));
        }
        check(Features::NONE, Features::NONE);
        check(Features::CSUM, Features::HOST_TSO4.and(Features::HOST_TSO6).and(Features::HOST_ECN));
        check(Features::GUEST_CSUM, Features::GUEST_TSO4.and(Features::GUEST_TSO6).and(Features::GUEST_ECN));
        check(Features::HOST_TSO4, Features::NONE);
        check(Features::GUEST_TSO4.and(Features::GUEST_TSO6), Features::GUEST_ECN);
    }
}
