//! Every bound of the crate, in one place, with the reason for each number.

/// IPv6 extension headers walked before a packet is refused. Real stacks send at most three; the bound keeps the walk
/// of a hostile chain constant (attack N03).
pub const EXTENSION_HEADERS_MAX: usize = 8;

/// Alerts raised by one packet at most; the same number as Suricata's `packet-alert-max`. Further matches only count.
pub const ALERTS_PER_PACKET_MAX: usize = 15;

/// Longest frame that is parsed, in bytes: Ethernet header, IPv6 header and the 65,535 bytes that a payload length can
/// name. A driver's segmentation super-segments stay below (virtio 1.2 section 5.1.6.3.1: 65,550).
pub const FRAME_LEN_MAX: usize = 14 + 40 + 65_535;

/// Options (paddings included) in one IPv6 hop-by-hop or destination options header. Linux accepts 8 options, each of
/// which may need a padding.
pub const IPV6_OPTIONS_PER_HEADER_MAX: usize = 16;

/// Options in one neighbour discovery message. Router advertisements of real routers carry less than ten.
pub const ND_OPTIONS_MAX: usize = 32;

/// Frames that one super-segment may be cut into. 65,535 bytes at an MSS of 256 make that many; a smaller segment size
/// on a larger frame is an amplifier, not a link (the least IPv6 MSS is 1,220, the least IPv4 default 536).
pub const SEGMENTS_PER_FRAME_MAX: usize = 256;
/// Bytes of one rule. Suricata stops at 8,192; some sets have grown past that.
pub const RULE_BYTES_MAX: usize = 65_536;

/// Lists within lists, negations within negations and variables within variables: bounds the recursion over rule text.
pub const RULE_LIST_DEPTH_MAX: usize = 16;

/// Disjoint ranges in one address or port set. Reputation lists have some ten thousand; sixteen times as many load.
pub const RANGES_PER_SET_MAX: usize = 262_144;

/// Bytes of one `content` pattern; Suricata's own bound is 255.
pub const PATTERN_BYTES_MAX: usize = 1024;

/// Steps (contents, tests, jumps) in one rule's programs together: bounds the recursion of the evaluation, and the rule
/// with most steps in Emerging Threats Open has some forty.
pub const STEPS_PER_RULE_MAX: usize = 128;

/// Values that one rule can remember by `byte_extract` and `byte_math`.
pub const VARIABLES_PER_RULE_MAX: usize = 8;

/// Bytes that `base64_decode` decodes at most.
pub const BASE64_BYTES_MAX: usize = 65_536;

/// Bytes that one regular expression may compile to. The largest in Emerging Threats Open stays below half of it.
pub const REGEX_PROGRAM_BYTES_MAX: usize = 1 << 20;

/// Bytes of lazily built automaton per cached expression; past it the automaton is built anew.
pub const REGEX_CACHE_BYTES_MAX: usize = 256 << 10;

/// Bytes of automata that a worker keeps. Emerging Threats Open has some six thousand expressions, which take some ten
/// kilobytes each for the texts that usually reach them.
pub const REGEX_CACHES_BYTES_MAX: usize = 128 << 20;

/// Steps of one backtracking search; some 50 microseconds.
pub const BACKTRACK_STEPS_MAX: usize = 2_000;

/// Bytes of a pattern that the prefilter looks at: a longer one is cut to a window around its rarest bytes. Bounds what
/// is carried over from one segment of a stream to the next.
pub const PREFILTER_PATTERN_BYTES_MAX: usize = 64;

/// Bytes from a text's start within which a short pattern counts as standing near it.
pub const PREFILTER_NEAR_BYTES_MAX: usize = 256;

/// Signatures with nothing but short patterns that are looked at for each packet whose headers leave them; when there are
/// more, their patterns are searched for first.
pub const SHORTS_LOOKED_AT_MAX: usize = 12;

/// Work that verifying signatures may cost for one packet that brings payload, however small, in units of about a
/// nanosecond. Real traffic decides how small it may be: of the captures that Suricata's tests come with, one connection of
/// remote procedure calls takes 10,000 units for every second packet, of 84 bytes, and once 30,000 for 600 bytes.
pub const WORK_PER_PACKET: u64 = 7_500;

/// The same for a packet without payload.
pub const WORK_PER_BARE_PACKET: u64 = 500;

/// Work per byte that a packet brings: five times what programs, libraries and pictures take, on an average of each. The
/// same for each byte that had waited behind a gap until the packet came: a program of 150 KB takes ten for each of them.
pub const WORK_PER_BYTE: u64 = 10;

/// The same where the flow speaks a protocol that a parser reads: source code that is posted as a form takes up to so much, for
/// as long as some signature has found its first pattern in it and waits for the rest.
pub const WORK_PER_PARSED_BYTE: u64 = 20;

/// Work per byte that a packet brings for unpacking it and for looking at what comes of it, beside the rest: a byte that is
/// unpacked takes a little more than one, and pages are packed to a twentieth.
pub const WORK_PER_PACKED_BYTE: u64 = 64;

/// Work of taking messages apart that a packet is allowed beside the rest: a small message costs some hundred units, and what
/// costs more than is allowed takes from what signatures may cost.
pub const WORK_PARSING_PER_PACKET: u64 = 5_000;

/// The same per byte.
pub const WORK_PARSING_PER_BYTE: u64 = 20;

/// Bytes that have waited behind a gap for which the packet that fills it is allowed work of parsers: a super-segment's.
pub const WORK_WAITED_PARSED_MAX: usize = 65_536;

/// Work that a flow can save up while it is benign, for the packet that completes much at once: as much as five full
/// packets of a protocol that a parser reads may take.
pub const WORK_SAVED_MAX: u64 = 200_000;

/// Work that a new flow is given.
pub const WORK_SAVED_FIRST: u64 = 20_000;

/// Work that it is given when it turns out to speak a protocol that a parser reads, for its first request, response or
/// certificate, by which most signatures that it names are fetched for the first time: of real ones, a page takes 30,000 units
/// for 779 bytes under the rules of Emerging Threats Open.
pub const WORK_RECOGNISED: u64 = 50_000;

/// Tallies of `threshold` and `detection_filter` per worker; 64 bytes each, so 8 MiB.
pub const RATE_TALLIES_MAX: usize = 65_536;

/// Priority of a rule that names neither a priority nor a known class type (Suricata's default).
pub const PRIORITY_DEFAULT: u8 = 3;

/// Slots of flows that one worker's inspection remembers something about. The caller's flow table is the real bound, and has no
/// more places; of a flow in a later slot that needs memory, the exception policy decides.
pub const FLOW_SLOTS_MAX: usize = 1 << 23;

/// Fragments of one datagram held. The largest datagram at the least IPv6 MTU (1,280 bytes) makes 54; more is an attack
/// on whoever puts them together (attack N04).
pub const FRAGMENTS_PER_DATAGRAM_MAX: usize = 64;

/// Incomplete datagrams held per domain (the caller's port). NFS over UDP keeps some ten in flight.
pub const DATAGRAMS_PER_DOMAIN_MAX: usize = 64;

/// Bytes of fragments held per domain: seven datagrams of the greatest length (attack N05).
pub const FRAGMENT_BYTES_PER_DOMAIN_MAX: usize = 512 * 1024;

/// Bytes of fragments held in all, by one worker: 32 domains at their limit.
pub const FRAGMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long an incomplete datagram is held, in milliseconds. Less than any receiver waits (Linux 30 s, RFC 8200 60 s),
/// as IPv4 identifications come round soon; more than any path delays.
pub const FRAGMENT_TIMEOUT_MS: u64 = 10_000;

/// Bytes of one direction of a connection that were inspected but not yet acknowledged: what a sender may have in
/// flight through the switch. A round trip of 1 ms at 8 Gbit/s takes that much; more in flight is dropped, and TCP
/// adapts.
pub const STREAM_UNACKED_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of one direction that wait behind a gap. Beyond it segments are dropped, and sent again when the gap is
/// filled.
pub const STREAM_QUEUED_BYTES_MAX: usize = 256 * 1024;

/// Unacknowledged bytes per domain (the caller's port): 32 connections at their limit.
pub const STREAM_UNACKED_BYTES_PER_DOMAIN_MAX: usize = 32 * 1024 * 1024;

/// Bytes behind gaps per domain: 32 connections at their limit. Kept apart from the unacknowledged ones, since what
/// waits behind gaps must never take the room that filling the gaps needs.
pub const STREAM_QUEUED_BYTES_PER_DOMAIN_MAX: usize = 8 * 1024 * 1024;

/// Unacknowledged bytes in all, by one worker.
pub const STREAM_UNACKED_BYTES_TOTAL_MAX: usize = 128 * 1024 * 1024;

/// Bytes behind gaps in all, by one worker.
pub const STREAM_QUEUED_BYTES_TOTAL_MAX: usize = 32 * 1024 * 1024;

/// Sides of transactions of a flow that are still open behind a packet. Beyond it the oldest are given up.
pub const TRANSACTION_SIDES_MAX: usize = 64;

/// Sides of transactions that one packet may bring to a flow, those that it finds open included: a super-segment of 64
/// KiB holds as many messages of 64 bytes. All of them are kept until the packet has been judged, as a signature may ask
/// for the payload and for any of them; more of them would not fit into the nearer caches.
pub const TRANSACTION_SIDES_PER_PACKET_MAX: usize = 1024;

/// Bytes of whole buffers kept per side of a transaction: header fields end at 64 KiB with the parsers, and appear in
/// four or five buffers.
pub const TRANSACTION_BYTES_MAX: usize = 512 << 10;

/// Bodies, and files in them, kept per side of a transaction. Forms and mails have some ten.
pub const BODIES_PER_SIDE_MAX: usize = 1024;

/// Last bytes of a body that signatures look at together; Suricata's inspection window for bodies is 16 KiB.
pub const BODY_WINDOW_BYTES: usize = 16 << 10;

/// Last bytes of each direction of a TCP stream that signatures look at together. Suricata's chunks are 2,560 bytes.
pub const STREAM_WINDOW_BYTES: usize = 2560;

/// Bytes of stream windows, buffers and bodies that one flow may hold: four sides of transactions with two full bodies
/// each, and their header fields.
pub const FLOW_BYTES_MAX: usize = 2 << 20;

/// Bytes of these that all flows of one worker may hold.
pub const FLOWS_BYTES_MAX: usize = 512 << 20;

/// Signatures that wait for more of one transaction side or of one stream direction. Benign flows have ten at most;
/// forgetting one of them would be a way past it, so beyond this number the exception policy decides.
pub const WAITING_MAX: usize = 64;

/// Signatures that have matched one transaction side, or one stream direction lately, and are remembered for it, so that the
/// same bytes are not told of again.
pub const MATCHED_MAX: usize = 256;

/// Numbers of one transaction side that are kept. A DNS answer has one for each record, of which a message holds some ten.
pub const NUMBERS_PER_SIDE_MAX: usize = 256;

/// Bits, and numbers, that signatures can set on one flow.
pub const FLOW_BITS_MAX: usize = 64;

/// Bits on addresses per worker; the oldest goes first.
pub const ADDRESS_BITS_MAX: usize = 65_536;

/// Signatures that one packet can make candidates, each for any side of a transaction, before it counts as out of budget: more
/// than the budget of a super-segment is enough for.
pub const CANDIDATES_MAX: usize = 16_384;

/// Sources whose behaviour is watched; each takes 5 KiB. As many as a host has guest ports, with room.
pub const DETECT_SOURCES_MAX: usize = 4096;

/// Destinations (and services) that are watched at once per source for scans (and sweeps). Scans of more at a time are
/// sweeps.
pub const DETECT_TARGETS_PER_SOURCE: usize = 8;

/// Flows, and bodies, whose memory a worker keeps for the next ones.
pub const POOL_MAX: usize = 256;

/// Transaction sides of which it does, and bytes of whole buffers of each: a super-segment's, 16 MiB together.
pub const SIDES_POOLED_MAX: usize = TRANSACTION_SIDES_PER_PACKET_MAX;
/// See [`SIDES_POOLED_MAX`].
pub const SIDE_POOLED_BYTES_MAX: usize = 16 << 10;

/// Bytes of one that is kept: larger ones go back to the allocator. Together at most 32 MiB.
pub const POOLED_BYTES_MAX: usize = 64 << 10;

/// Blocks of 64 signatures without a pattern of which a flow notes in each direction whether its addresses and ports are
/// asked for; those behind them are asked for each packet.
pub const BLOCKS_NOTED_MAX: usize = 8;

/// Hashes in all lists of files together; 32 bytes each, so 320 MiB. Public feeds have some million.
pub const HASHES_MAX: usize = 10_000_000;

/// Bytes of one line of such a list: a hash, a path of the greatest length and as much again.
pub const HASH_LINE_BYTES_MAX: usize = 8192;

/// Pairs of addresses between which a listed file was stopped and that are remembered; 8 bytes each.
pub const FILE_PAIRS_MAX: usize = 4096;

/// Sets of places for connections that were announced. The two hosts choose the set: with a hundred hosts that speak FTP with
/// each other, few share one.
pub const ANNOUNCED_SETS: usize = 1024;

/// Places of a set, and so connections that two hosts may have announced and not made. Clients announce one at a time.
pub const ANNOUNCED_WAYS: usize = 8;

/// Bytes of the name of a file that a connection is announced with; the rest of a longer name is not told.
pub const ANNOUNCED_NAME_BYTES_MAX: usize = 128;

/// Reports about files that one packet can raise. A packet that completes more of them carries files of some hundred
/// bytes.
pub const FILE_EVENTS_PER_PACKET_MAX: usize = 15;

/// Bytes of one field of a transaction that are noted for the log: a longer request target or name is cut there, and said
/// to be. What people search logs for stands at the beginning.
pub const NOTE_FIELD_BYTES_MAX: usize = 1024;

/// Fields, and further details, of one transaction that are noted; HTTP has ten, a DNS answer as many as it has records.
pub const NOTE_FIELDS_MAX: usize = 64;

/// Bytes of all fields of one transaction that are noted.
pub const NOTE_BYTES_MAX: usize = 16 << 10;

/// Transactions of one flow that are noted at a time; beyond it the oldest is told as it stands.
pub const NOTE_TRANSACTIONS_MAX: usize = 64;

/// Names of files on their way that are remembered per flow.
pub const NOTE_FILES_MAX: usize = 8;

/// Notes that one packet can raise. A super-segment of pipelined queries has some hundred.
pub const NOTES_MAX: usize = 256;
