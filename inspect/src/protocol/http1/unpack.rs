//! Undoing content encodings: gzip, deflate, brotli and LZMA, one on top of the other.
//!
//! Browsers unpack what its header does not quite say: raw deflate under the name of gzip, zlib under the name of
//! deflate, gzip with a broken checksum. So a layer that fails before it has given anything tries the other formats of
//! the deflate family on the same bytes, and passes the bytes through when none fits: malware says gzip and sends plain
//! text. A layer that fails later gives nothing more.

use super::gzip::{Broken, GzipHeader};
use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::{Decompress, FlushDecompress, Status};

/// Packed bytes that a layer keeps for trying another format. A format that is not the right one fails within its header or
/// its first block's header, the longest of which (dynamic Huffman codes) takes some 300 bytes.
const RETRY_BYTES_MAX: usize = 1024;

/// Formats that are tried instead of the one that was named.
const TRIES_MAX: u8 = 3;

/// Bytes at a body's beginning that show whether it is text. Deflated data have as many that text has not about once in a
/// billion times.
const TEXT_BYTES: usize = 32;

/// Unpacked bytes that speak for a format that nobody has named, whatever follows. Texts that are taken for deflated ones give a
/// few hundred before they fail.
const GUESS_BYTES_MAX: usize = 4096;

/// Bytes unpacked at a time.
const PIECE_BYTES: usize = 8 * 1024;

/// Memory that an LZMA dictionary may take; Suricata's default.
const LZMA_DICTIONARY_BYTES_MAX: usize = 1 << 20;

/// Bytes given to the LZMA decoder at a time. It hands out all that comes of them at once, up to some thousand times as
/// much, so this bounds that buffer.
const LZMA_FEED_BYTES: usize = 16;

/// What it takes to begin with a layer: its tables and its dictionary.
const LAYER_WORK: u64 = 3_000;

/// A content encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Gzip,
    Deflate,
    Zlib,
    Brotli,
    Lzma,
}

/// Whether unpacking should go on; the answer of whoever receives the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Go {
    On,
    Stop,
}

/// How far unpacking may go.
#[derive(Debug)]
pub(super) struct Bounds {
    /// Bytes that each layer may give since its beginning.
    pub(super) given_max: u64,
    /// Work that it may take for the packet at hand, in units of about a nanosecond.
    pub(super) work_max: u64,
    /// What it has taken.
    pub(super) work: u64,
}

impl Bounds {
    /// Whether more work has been done than may be.
    pub(super) fn is_spent(&self) -> bool {
        self.work > self.work_max
    }
}

type Brotli = BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>;

/// A stack of encodings being undone.
#[derive(Debug)]
pub(super) struct Unpacker {
    /// The outermost encoding, the one applied last, stands first.
    layers: Vec<Layer>,
    has_begun: bool,
}

impl Unpacker {
    /// `encodings` in the order in which they were applied, which is that of `Content-Encoding`.
    pub(super) fn new(encodings: &[Encoding]) -> Self {
        Unpacker { layers: encodings.iter().rev().map(|&encoding| Layer::new(encoding)).collect(), has_begun: false }
    }

    /// Unpacks the next bytes and hands out what comes of them. It stops before a layer has given more than it may since its
    /// beginning, which holds for each layer by itself: one within another may take a flood and give nothing. And it stops soon
    /// after the work is spent, in whatever layer.
    pub(super) fn data(&mut self, bytes: &[u8], bounds: &mut Bounds, out: &mut dyn FnMut(&[u8]) -> Go) -> Go {
        if !std::mem::replace(&mut self.has_begun, true) {
            bounds.work += LAYER_WORK * self.layers.len() as u64;
        }
        feed(&mut self.layers, bytes, bounds, out)
    }

    /// Hands out what was held back to the end. Of one layer that is no more than its dictionary holds, but what it holds may
    /// be packed in its turn: the bounds are as in [`Unpacker::data`].
    pub(super) fn end(mut self, bounds: &mut Bounds, out: &mut dyn FnMut(&[u8]) -> Go) -> Go {
        for outermost in 0..self.layers.len() {
            let (done, rest) = self.layers.split_at_mut(outermost + 1);
            let codec = std::mem::replace(&mut done[outermost].codec, Codec::Over);
            let cost = codec.cost_of_four();
            // A text too short to be known for one before.
            if done[outermost].is_guess() && done[outermost].is_named_gzip && is_text(&done[outermost].fed) {
                let text = std::mem::take(&mut done[outermost].fed);
                if feed(rest, &text, bounds, out) == Go::Stop {
                    return Go::Stop;
                }
            }
            if let Codec::Lzma(stream) = codec
                && let Ok(given) = stream.finish()
            {
                bounds.work += cost * given.len().div_ceil(4) as u64;
                if bounds.is_spent() || feed(rest, &given, bounds, out) == Go::Stop {
                    return Go::Stop;
                }
            }
        }
        Go::On
    }

    /// Gives nothing more, whatever comes: after a stop, nobody knows where the layers stand.
    pub(super) fn give_up(&mut self) {
        for layer in &mut self.layers {
            layer.codec = Codec::Over;
        }
    }

    /// Whether some layer could not make sense of its bytes.
    pub(super) fn has_failed(&self) -> bool {
        self.layers.iter().any(|layer| layer.has_failed)
    }
}

fn feed(layers: &mut [Layer], bytes: &[u8], bounds: &mut Bounds, out: &mut dyn FnMut(&[u8]) -> Go) -> Go {
    let Some((layer, rest)) = layers.split_first_mut() else { return out(bytes) };
    let (mut given, cost) = (layer.given, layer.codec.cost_of_four());
    let go = layer.data(bytes, &mut |piece| {
        given += piece.len() as u64;
        bounds.work += cost * piece.len().div_ceil(4) as u64;
        if given > bounds.given_max || bounds.is_spent() { Go::Stop } else { feed(rest, piece, bounds, out) }
    });
    layer.given = given;
    go
}

#[derive(Debug)]
struct Layer {
    codec: Codec,
    encoding: Encoding,
    is_named_gzip: bool,
    /// What has been fed while nothing has come out.
    fed: Vec<u8>,
    can_retry: bool,
    tries: u8,
    has_failed: bool,
    /// Bytes that have come out.
    given: u64,
}

enum Codec {
    Gzip(Gzip),
    Deflate(Box<Decompress>),
    Brotli(Box<Brotli>),
    Lzma(Box<lzma_rs::decompress::Stream<Vec<u8>>>),
    Through,
    Over,
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Codec::Gzip(_) => "Gzip",
            Codec::Deflate(_) => "Deflate",
            Codec::Brotli(_) => "Brotli",
            Codec::Lzma(_) => "Lzma",
            Codec::Through => "Through",
            Codec::Over => "Over",
        })
    }
}

/// How one feeding of a codec ended.
enum Fed {
    /// All bytes were taken.
    On,
    /// The packed data is over; what follows is ignored.
    End,
    /// The data makes no sense.
    Failed,
    /// The receiver wants no more.
    Stop,
}

impl Codec {
    fn new(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Gzip => Codec::Gzip(Gzip::default()),
            Encoding::Deflate => Codec::Deflate(Box::new(Decompress::new(false))),
            Encoding::Zlib => Codec::Deflate(Box::new(Decompress::new(true))),
            Encoding::Brotli => Codec::Brotli(Box::new(Brotli::new_strict(
                StandardAlloc::default(),
                StandardAlloc::default(),
                StandardAlloc::default(),
            ))),
            Encoding::Lzma => {
                let options = lzma_rs::decompress::Options {
                    memlimit: Some(LZMA_DICTIONARY_BYTES_MAX),
                    allow_incomplete: true,
                    ..lzma_rs::decompress::Options::default()
                };
                Codec::Lzma(Box::new(lzma_rs::decompress::Stream::new_with_options(&options, Vec::new())))
            }
        }
    }

    /// Work per four bytes that come out, in units of about a nanosecond. Long repetitions, which are what expands much, take the
    /// deflate family one; other bytes take more, but of those fewer come of each that was brought and has brought its own
    /// allowance. LZMA as we have it takes eighty and more for any.
    fn cost_of_four(&self) -> u64 {
        match self {
            Codec::Gzip(_) | Codec::Deflate(_) => 1,
            Codec::Brotli(_) => 2,
            Codec::Lzma(_) => 80,
            Codec::Through | Codec::Over => 0,
        }
    }

    fn feed(&mut self, bytes: &[u8], out: &mut dyn FnMut(&[u8]) -> Go) -> Fed {
        match self {
            Codec::Gzip(gzip) => match gzip.header.data(bytes) {
                Err(Broken) => Fed::Failed,
                Ok(None) => Fed::On,
                Ok(Some(rest)) => {
                    inflate(gzip.inner.get_or_insert_with(|| Box::new(Decompress::new(false))), rest, out)
                }
            },
            Codec::Deflate(inner) => inflate(inner, bytes, out),
            Codec::Brotli(state) => unbrotli(state, bytes, out),
            Codec::Lzma(stream) => unlzma(stream, bytes, out),
            Codec::Through => match out(bytes) {
                Go::On => Fed::On,
                Go::Stop => Fed::Stop,
            },
            Codec::Over => Fed::End,
        }
    }
}

impl Layer {
    fn new(encoding: Encoding) -> Self {
        let codec = Codec::new(encoding);
        let is_named_gzip = encoding == Encoding::Gzip;
        Layer {
            codec,
            encoding,
            is_named_gzip,
            fed: Vec::new(),
            can_retry: true,
            tries: 0,
            has_failed: false,
            given: 0,
        }
    }

    fn data(&mut self, bytes: &[u8], out: &mut dyn FnMut(&[u8]) -> Go) -> Go {
        let mut fed = if self.is_text_after_all(bytes) { Fed::Failed } else { self.attempt(bytes, out) };
        if self.can_retry {
            if self.fed.len() + bytes.len() > RETRY_BYTES_MAX && !matches!(fed, Fed::Failed) {
                self.stay();
            } else {
                self.fed.extend_from_slice(bytes);
            }
        }
        while matches!(fed, Fed::Failed) && self.can_retry {
            self.has_failed = true;
            self.retry();
            let all = std::mem::take(&mut self.fed);
            fed = self.attempt(&all, out);
            if self.can_retry {
                self.fed = all;
            }
        }
        match fed {
            Fed::On => Go::On,
            Fed::End => {
                self.codec = Codec::Over;
                Go::On
            }
            Fed::Failed => {
                self.has_failed = true;
                self.codec = Codec::Over;
                Go::On
            }
            Fed::Stop => Go::Stop,
        }
    }

    /// Feeds the codec. Of a format that nobody has named, what it gives counts only if the same bytes do not show that it is
    /// another: nearly any text begins like a deflated one. What shows that later is given once more by the right format.
    fn attempt(&mut self, bytes: &[u8], out: &mut dyn FnMut(&[u8]) -> Go) -> Fed {
        let is_guess = self.is_guess();
        let (mut has_given, mut held) = (false, Vec::new());
        let fed = self.codec.feed(bytes, &mut |piece| {
            if !is_guess || has_given {
                has_given |= !piece.is_empty();
                return out(piece);
            }
            held.extend_from_slice(piece);
            has_given = held.len() > GUESS_BYTES_MAX;
            if has_given { out(&std::mem::take(&mut held)) } else { Go::On }
        });
        let is_believed = match (&fed, is_guess) {
            (Fed::Failed, true) => has_given,
            (Fed::End, true) => true,
            _ => has_given,
        };
        if is_believed || matches!(self.codec, Codec::Through) {
            self.stay();
        }
        let is_void = held.is_empty() || matches!(fed, Fed::Failed);
        if !is_void && out(&held) == Go::Stop { Fed::Stop } else { fed }
    }

    /// Whether these bytes are those that show it, after too few that were taken for deflated ones.
    fn is_text_after_all(&self, bytes: &[u8]) -> bool {
        self.is_guess()
            && self.can_retry
            && self.is_named_gzip
            && self.fed.len() < TEXT_BYTES
            && self.fed.len() + bytes.len() >= TEXT_BYTES
            && is_text(&self.fed)
            && is_text(&bytes[..(TEXT_BYTES - self.fed.len()).min(bytes.len())])
    }

    fn is_guess(&self) -> bool {
        (1..=TRIES_MAX).contains(&self.tries)
    }

    /// Tries no other format any more.
    fn stay(&mut self) {
        self.can_retry = false;
        self.fed = Vec::new();
    }

    /// Goes on to the next format of the deflate family, and after three to passing the bytes through; at once if they are
    /// text under the name of gzip, which nobody takes for anything else without its header.
    fn retry(&mut self) {
        let is_text = self.is_named_gzip && self.fed.len() >= TEXT_BYTES && is_text(&self.fed);
        self.tries = if is_text { TRIES_MAX + 1 } else { self.tries + 1 };
        self.encoding = match self.encoding {
            Encoding::Gzip | Encoding::Brotli | Encoding::Lzma => Encoding::Deflate,
            Encoding::Deflate => Encoding::Zlib,
            Encoding::Zlib => Encoding::Gzip,
        };
        self.codec = if self.tries > TRIES_MAX { Codec::Through } else { Codec::new(self.encoding) };
    }
}

/// Whether bytes are such as no deflated ones are.
fn is_text(bytes: &[u8]) -> bool {
    let is_shown = |byte: &u8| matches!(byte, b'\t' | b'\r' | b'\n' | b' '..=b'~');
    bytes.iter().take(TEXT_BYTES).all(is_shown)
}

fn inflate(inner: &mut Decompress, mut bytes: &[u8], out: &mut dyn FnMut(&[u8]) -> Go) -> Fed {
    let mut piece = [0; PIECE_BYTES];
    loop {
        let before = (inner.total_in(), inner.total_out());
        let status = inner.decompress(bytes, &mut piece, FlushDecompress::None);
        let taken = (inner.total_in() - before.0) as usize;
        let given = (inner.total_out() - before.1) as usize;
        bytes = &bytes[taken..];
        if given > 0 && out(&piece[..given]) == Go::Stop {
            return Fed::Stop;
        }
        match status {
            Err(_) => return Fed::Failed,
            Ok(Status::StreamEnd) => return Fed::End,
            Ok(Status::Ok | Status::BufError) => {
                if given < PIECE_BYTES && (bytes.is_empty() || taken == 0) {
                    return Fed::On;
                }
            }
        }
    }
}

fn unbrotli(state: &mut Brotli, bytes: &[u8], out: &mut dyn FnMut(&[u8]) -> Go) -> Fed {
    let mut piece = [0; PIECE_BYTES];
    let (mut left, mut taken, mut total) = (bytes.len(), 0, 0);
    loop {
        let (mut room, mut given) = (PIECE_BYTES, 0);
        let result =
            BrotliDecompressStream(&mut left, &mut taken, bytes, &mut room, &mut given, &mut piece, &mut total, state);
        if given > 0 && out(&piece[..given]) == Go::Stop {
            return Fed::Stop;
        }
        match result {
            BrotliResult::ResultSuccess => return Fed::End,
            BrotliResult::NeedsMoreInput => return Fed::On,
            BrotliResult::NeedsMoreOutput => {}
            BrotliResult::ResultFailure => return Fed::Failed,
        }
    }
}

fn unlzma(stream: &mut lzma_rs::decompress::Stream<Vec<u8>>, bytes: &[u8], out: &mut dyn FnMut(&[u8]) -> Go) -> Fed {
    use std::io::Write;
    for part in bytes.chunks(LZMA_FEED_BYTES) {
        let result = stream.write_all(part);
        let Some(given) = stream.get_output_mut() else {
            return Fed::Failed;
        };
        let given = std::mem::take(given);
        if !given.is_empty() && out(&given) == Go::Stop {
            return Fed::Stop;
        }
        if result.is_err() {
            return Fed::Failed;
        }
    }
    Fed::On
}

#[derive(Debug, Default)]
struct Gzip {
    header: GzipHeader,
    inner: Option<Box<Decompress>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use std::io::Write;

    const TEXT: &[u8] = b"an exploit, an exploit, my kingdom for an exploit";

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[track_caller]
    fn check(encodings: &[Encoding], packed: &[u8], expected: &[u8]) {
        for step in [usize::MAX, 1, 2, 7] {
            let mut unpacker = Unpacker::new(encodings);
            let mut given = Vec::new();
            for bytes in packed.chunks(step) {
                unpacker.data(bytes, &mut unbounded(), &mut |piece| {
                    given.extend_from_slice(piece);
                    Go::On
                });
            }
            assert_eq!(given.escape_ascii().to_string(), expected.escape_ascii().to_string(), "in pieces of {step}");
        }
    }

    #[test]
    fn the_deflate_family_is_unpacked_under_any_of_its_names() {
        for encoding in [Encoding::Gzip, Encoding::Deflate, Encoding::Zlib] {
            check(&[encoding], &gzip(TEXT), TEXT);
            check(&[encoding], &deflate(TEXT), TEXT);
            check(&[encoding], &zlib(TEXT), TEXT);
        }
        check(&[Encoding::Gzip], b"plain text all along", b"plain text all along");
    }

    #[test]
    fn a_text_that_begins_like_a_deflated_one_is_given_as_it_is() {
        const JSON: &[u8] = b"{\"sdk_version\":11026,\"app_package\":\"org.example.game\",\"app_version\":\"1.7.4\"}";
        let mut given = Vec::new();
        let mut short = Unpacker::new(&[Encoding::Gzip]);
        let mut give = |piece: &[u8]| {
            given.extend_from_slice(piece);
            Go::On
        };
        short.data(&JSON[..20], &mut unbounded(), &mut give);
        short.end(&mut unbounded(), &mut give);
        assert!(given.ends_with(&JSON[..20]));
        for step in [usize::MAX, 1, 7] {
            let mut unpacker = Unpacker::new(&[Encoding::Gzip]);
            let mut given = Vec::new();
            for bytes in JSON.chunks(step) {
                unpacker.data(bytes, &mut unbounded(), &mut |piece| {
                    given.extend_from_slice(piece);
                    Go::On
                });
            }
            // Cut small, what could have been deflated stands before it: nobody knew better then.
            assert!(given.ends_with(JSON) && (step < JSON.len() || given == JSON), "in pieces of {step}");
        }
    }

    #[test]
    fn brotli_is_unpacked() {
        // One uncompressed meta-block (RFC 7932 section 9.2): WBITS 16, 5 bytes, then an empty last one.
        check(&[Encoding::Brotli], b"\x40\x00\x10hello\x03", b"hello");
    }

    #[test]
    fn layers_are_undone_from_the_outermost() {
        check(&[Encoding::Deflate, Encoding::Gzip], &gzip(&deflate(TEXT)), TEXT);
        check(&[Encoding::Gzip, Encoding::Gzip, Encoding::Gzip], &gzip(&gzip(&gzip(TEXT))), TEXT);
    }

    #[test]
    fn headers_with_every_part_are_skipped() {
        let mut packed = vec![0x1f, 0x8b, 8, 0x1e, 0, 0, 0, 0, 0, 0, 3, 0, b'a', b'b', b'c'];
        packed.extend_from_slice(b"name\0comment\0\x12\x34");
        packed.extend_from_slice(&deflate(TEXT));
        check(&[Encoding::Gzip], &packed, TEXT);
    }

    #[test]
    fn what_came_before_damage_is_given() {
        let mut packed = deflate(&TEXT.repeat(400));
        let cut = packed.len() / 2;
        packed.truncate(cut);
        let mut unpacker = Unpacker::new(&[Encoding::Deflate]);
        let mut given = 0;
        unpacker.data(&packed, &mut unbounded(), &mut |piece| {
            given += piece.len();
            Go::On
        });
        assert!(given > 0);
    }

    #[test]
    fn the_receiver_can_stop() {
        let packed = gzip(&vec![0; 1 << 20]);
        let mut calls = 0;
        let mut stop = |_: &[u8]| {
            calls += 1;
            Go::Stop
        };
        assert_eq!(Unpacker::new(&[Encoding::Gzip]).data(&packed, &mut unbounded(), &mut stop), Go::Stop);
        assert_eq!(calls, 1);
    }

    fn giving(given_max: u64) -> Bounds {
        Bounds { given_max, work_max: u64::MAX, work: 0 }
    }

    fn unbounded() -> Bounds {
        giving(u64::MAX)
    }

    #[test]
    fn work_ends_in_whatever_layer_it_is_done() {
        for (encodings, packed) in bombs() {
            let mut bounds = Bounds { work_max: 100_000, ..unbounded() };
            let mut unpacker = Unpacker::new(&encodings);
            let mut given = 0;
            let mut take = |piece: &[u8]| {
                given += piece.len();
                Go::On
            };
            let go = unpacker.data(&packed, &mut bounds, &mut take);
            assert!(unpacker.has_failed() || (go, bounds.is_spent()) == (Go::Stop, true), "{encodings:?}");
            // One piece of each layer is under way when it ends; LZMA's are the largest.
            assert!(bounds.work <= 100_000 + 20 * (64 << 10), "{encodings:?}: {}", bounds.work);
            unpacker.give_up();
            let before = given;
            let mut count = |piece: &[u8]| {
                given += piece.len();
                Go::On
            };
            assert_eq!(unpacker.data(&packed, &mut unbounded(), &mut count), Go::On);
            assert_eq!(given, before);
        }
        // What is no bomb costs what comes out, and its layers.
        let mut bounds = unbounded();
        Unpacker::new(&[Encoding::Gzip]).data(&gzip(TEXT), &mut bounds, &mut |_| Go::On);
        assert_eq!(bounds.work, LAYER_WORK + TEXT.len().div_ceil(4) as u64);
    }

    /// 4 MiB of zeros, and 4 MiB of the name of a gzip member that never ends.
    fn bombs() -> Vec<(Vec<Encoding>, Vec<u8>)> {
        use Encoding::{Brotli, Deflate, Gzip, Lzma, Zlib};
        let zeros = vec![0; 4 << 20];
        let endless = [b"\x1f\x8b\x08\x08\0\0\0\0\0\x03".as_slice(), &vec![b'a'; 4 << 20]].concat();
        // Made with node's zlib, and with Python's lzma: the dictionary is 64 KiB.
        let brotli = b"\x9b\xff\xff\x3f\xf8\x27\0\xe2\xb1\x40\x20\xf7\xfe\x07".to_vec();
        vec![
            (vec![Gzip], gzip(&zeros)),
            (vec![Deflate], deflate(&zeros)),
            (vec![Zlib], zlib(&zeros)),
            (vec![Brotli], brotli.clone()),
            // A layer within gives nothing, however much it gets.
            (vec![Gzip, Gzip], gzip(&endless)),
            (vec![Gzip, Gzip, Gzip], gzip(&gzip(&endless))),
            (
                vec![Lzma, Gzip],
                gzip(&[b"\x5d\0\0\x01\0\xff\xff\xff\xff\xff\xff\xff\xff\0".as_slice(), &zeros].concat()),
            ),
            (vec![Gzip, Brotli], brotli),
        ]
    }

    #[test]
    fn no_layer_gives_more_than_it_may() {
        let given_max = 1 << 20;
        for (encodings, packed) in bombs() {
            for step in [usize::MAX, 1460, 1] {
                let mut unpacker = Unpacker::new(&encodings);
                let (mut given, mut go) = (0, Go::On);
                for bytes in packed.chunks(step) {
                    go = unpacker.data(bytes, &mut giving(given_max), &mut |piece| {
                        given += piece.len() as u64;
                        Go::On
                    });
                    if go == Go::Stop {
                        break;
                    }
                }
                // The piece that was one too many is counted; LZMA's pieces are larger.
                let counts: Vec<u64> = unpacker.layers.iter().map(|layer| layer.given).collect();
                let is_within = counts.iter().all(|&count| count <= given_max + (64 << 10));
                assert!(is_within && given <= given_max, "{encodings:?} in pieces of {step}: {counts:?}");
                assert!(go == Go::Stop || unpacker.has_failed(), "{encodings:?} in pieces of {step}");
            }
        }
    }

    #[test]
    fn what_is_held_to_the_end_is_bounded_too() {
        // A gzip bomb of some 4 KiB, which LZMA holds in its dictionary until the end.
        let mut packed = Vec::new();
        lzma_rs::lzma_compress(&mut gzip(&vec![0; 4 << 20]).as_slice(), &mut packed).unwrap();
        let mut unpacker = Unpacker::new(&[Encoding::Gzip, Encoding::Lzma]);
        let mut given = 0;
        let mut take = |piece: &[u8]| {
            given += piece.len();
            Go::On
        };
        assert_eq!(unpacker.data(&packed, &mut giving(1 << 20), &mut take), Go::On);
        assert_eq!(unpacker.end(&mut giving(1 << 20), &mut take), Go::Stop);
        assert!(given <= 1 << 20, "{given}");
    }
}
