//! Files on their way, in every form that carries them: whatever the cut points, the hash of the whole is shown once
//! its last byte is there, and under its name.

use sha2::{Digest, Sha256};

use super::recorder::{Case, Recorder};
use super::sink::FileProgress;
use super::{Conversation, Settings};
use crate::file_hashes::HashesWanted;
use crate::inspector::Direction::{self, ToClient, ToServer};

pub(super) const FILE: &[u8] = b"MZ, says the file\r\nand ends here.";

const WANTED: HashesWanted = HashesWanted { sha256: true, sha1: false, md5: false, size_max: 1 << 20 };

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Plays the cases in packets that end at the places given by `cut`, with pauses between packets; both sides are closed
/// at the end.
fn play(cases: &[Case], cut: impl Fn(usize, &[u8]) -> Vec<usize>) -> Recorder {
    let mut recorder = Recorder::default();
    recorder.hashes = Some(WANTED);
    let mut conversation = Conversation::new();
    for (which, Case(side, bytes)) in cases.iter().enumerate() {
        let mut from = 0;
        for to in cut(which, bytes).into_iter().chain([bytes.len()]) {
            conversation.stream(*side, &bytes[from..to], &Settings::default(), &mut recorder);
            conversation.pause(*side, &mut recorder);
            from = to;
        }
    }
    for side in [ToServer, ToClient] {
        conversation.closed(side, &Settings::default(), &mut recorder);
    }
    recorder
}

/// The hash of the file is shown under the name, whatever the cut points. Gives how far the file had come then, whole
/// and cut at every byte.
#[track_caller]
fn check_shown(cases: &[Case], name: &str, file: &[u8]) {
    let shown = |recorder: &Recorder| {
        let of_file = recorder.digests.iter().find(|(_, _, _, digests)| digests.sha256 == Some(sha256(file)));
        of_file.map(|(name, progress, length, _)| (String::from_utf8_lossy(name).into_owned(), *progress, *length))
    };
    let whole = play(cases, |_, _| vec![]);
    let expected = (name.to_owned(), file.len() as u64);
    let check = |recorder: &Recorder, how: &str| match shown(recorder) {
        Some((name, progress, length)) => {
            assert_eq!((name, length), expected, "{how}");
            assert_ne!(progress, FileProgress::Cut, "{how}");
        }
        None => panic!("the file is not shown, {how}: {:?}", recorder.digests),
    };
    check(&whole, "whole");
    for step in [1, 2, 3, 7, 50] {
        check(&play(cases, |_, bytes| (step..bytes.len()).step_by(step).collect()), &format!("in pieces of {step}"));
    }
    for (which, Case(_, bytes)) in cases.iter().enumerate() {
        for at in 1..bytes.len() {
            let cut = |place: usize, _: &[u8]| if place == which { vec![at] } else { vec![] };
            check(&play(cases, cut), &format!("part {which} cut at {at}"));
        }
    }
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
}

fn response(fields: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n").as_bytes(), body].concat()
}

fn chunked(bytes: &[u8], size: usize) -> Vec<u8> {
    let chunks =
        bytes.chunks(size).flat_map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    chunks.chain(*b"0\r\n\r\n").collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

#[test]
fn in_responses() {
    let length = format!("Content-Length: {}", FILE.len());
    let packed = gzip(FILE);
    let packed_length = format!("Content-Encoding: gzip\r\nContent-Length: {}", packed.len());
    let check = |body: &[u8], name: &str, file: &[u8]| {
        check_shown(&[Case(ToServer, &get("/dir/evil.exe")), Case(ToClient, body)], name, file);
    };
    let path = "/dir/evil.exe";
    check(&response(&length, FILE), path, FILE);
    check(&response("Transfer-Encoding: chunked", &chunked(FILE, 5)), path, FILE);
    check(&response("Transfer-Encoding: chunked", &chunked(FILE, 500)), path, FILE);
    check(&response("Connection: close", FILE), path, FILE);
    check(FILE, path, FILE);
    check(&response(&packed_length, &packed), path, FILE);
    // A receiver that does not unpack keeps what came.
    check(&response(&packed_length, &packed), path, &packed);
    check(&response(&format!("{length}\r\nContent-Disposition: attachment; filename=x.exe"), FILE), "x.exe", FILE);
    // Bytes in the same packet behind the announced end count as body for signatures, and are none for a browser.
    check(&response(&length, &[FILE, b"junk"].concat()), path, FILE);
    // More is announced than ever comes: the receiver has the file all the same.
    check(&response("Content-Length: 1000", FILE), path, FILE);
    check(&response("Transfer-Encoding: chunked", &[b"100\r\n", FILE].concat()), path, FILE);
    let trailer = [chunked(FILE, 9).strip_suffix(b"\r\n").unwrap(), b"X: y\r\n\r\n"].concat();
    check(&response("Transfer-Encoding: chunked", &trailer), path, FILE);
}

#[test]
fn in_pipelined_responses() {
    let length = format!("Content-Length: {}", FILE.len());
    let requests = [get("/a"), get("/b")].concat();
    let answers = [response("Content-Length: 3", b"abc"), response(&length, FILE)].concat();
    let cases = [Case(ToServer, &requests), Case(ToClient, &answers)];
    check_shown(&cases, "/a", b"abc");
    check_shown(&cases, "/b", FILE);
}

#[test]
fn in_requests() {
    let request = |method: &str, fields: &str, body: &[u8]| {
        [format!("{method} /up HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n").as_bytes(), body].concat()
    };
    let length = |bytes: &[u8]| format!("Content-Length: {}", bytes.len());
    let form = [
        b"--XX\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\n1\r\n--XX\r\n",
        &b"Content-Disposition: form-data; name=\"f\"; filename=\"evil.exe\"\r\n\r\n"[..],
        FILE,
        b"\r\n--XX--\r\n",
    ]
    .concat();
    let form_fields = format!("Content-Type: multipart/form-data; boundary=XX\r\n{}", length(&form));
    let check = |bytes: &[u8], name: &str, file: &[u8]| check_shown(&[Case(ToServer, bytes)], name, file);
    for method in ["PUT", "POST"] {
        check(&request(method, &length(FILE), FILE), "/up", FILE);
    }
    // Whatever the method, a body may be a file; it is not one for signatures.
    check(&request("PATCH", &length(FILE), FILE), "", FILE);
    check(&request("PUT", "Transfer-Encoding: chunked", &chunked(FILE, 7)), "/up", FILE);
    check(&request("POST", &form_fields, &form), "evil.exe", FILE);
    check(&request("POST", &form_fields, &form), "", b"1");
    // A server that does not know forms keeps the whole.
    check(&request("POST", &form_fields, &form), "", &form);
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let groups = bytes.chunks(3).map(|group| {
        let bits = group.iter().fold(0u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        let digits = (0..=group.len()).map(|digit| DIGITS[(bits >> (18 - 6 * digit)) as usize & 63] as char);
        format!("{:=<4}", digits.collect::<String>())
    });
    groups.collect::<Vec<_>>().concat()
}

#[test]
fn in_mails() {
    let mail = |disposition: &str| {
        format!(
            "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n\
             hi\r\n--b\r\nContent-Type: application/octet-stream\r\n{disposition}Content-Transfer-Encoding: base64\r\n\r\n\
             {}\r\n--b--\r\n",
            base64(FILE)
        )
    };
    let (named, unnamed) = (mail("Content-Disposition: attachment; filename=evil.exe\r\n"), mail(""));
    for (text, name) in [(&named, "evil.exe"), (&unnamed, "")] {
        let data = format!("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n{text}.\r\nQUIT\r\n");
        let cases = [
            Case(ToClient, b"220 mail\r\n"),
            Case(ToServer, b"EHLO a\r\n"),
            Case(ToClient, b"250 hi\r\n"),
            Case(ToServer, data.as_bytes()),
        ];
        check_shown(&cases, name, FILE);
        let chunk = format!("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT {} LAST\r\n{text}", text.len());
        check_shown(&[cases[0], cases[1], cases[2], Case(ToServer, chunk.as_bytes())], name, FILE);
    }
}

/// What is told of a file beside its hashes.
#[test]
fn parts_and_big_files_are_told_once() {
    struct Told(Vec<FileProgress>, u64);
    impl super::Sink for Told {
        fn buffer(&mut self, _: u32, _: Direction, _: super::Buffer, _: super::Piece, _: &[u8]) {}
        fn number(&mut self, _: u32, _: Direction, _: super::Number, _: u64) {}
        fn stage(&mut self, _: u32, _: Direction, _: super::Stage) {}
        fn anomaly(&mut self, _: u32, _: Direction, _: super::Anomaly) {}
        fn wants_hashes(&self) -> Option<HashesWanted> {
            Some(HashesWanted { size_max: self.1, ..WANTED })
        }
        fn file(&mut self, _: u32, _: Direction, _: &[u8], file: &super::File) -> bool {
            self.0.push(file.progress);
            false
        }
    }
    use FileProgress::{Complete, Part, SoFar, TooBig};
    let check = |head: &str, size_max: u64, expected: &[FileProgress]| {
        let mut told = Told(Vec::new(), size_max);
        let mut conversation = Conversation::new();
        let text = format!("HTTP/1.1 {head}\r\nContent-Length: 10\r\n\r\n0123456789");
        conversation.stream(ToServer, &get("/a"), &Settings::default(), &mut told);
        for piece in [&text.as_bytes()[..text.len() - 4], &text.as_bytes()[text.len() - 4..]] {
            conversation.stream(ToClient, piece, &Settings::default(), &mut told);
            conversation.pause(ToClient, &mut told);
        }
        assert_eq!(told.0, expected, "{head}");
    };
    check("200 OK", 10, &[SoFar, Complete, Complete]);
    check("200 OK", 9, &[SoFar, TooBig, Complete]);
    check("206 Partial\r\nContent-Range: bytes 5-14/15", 10, &[Part, SoFar, Complete, Complete]);
    check("206 Partial\r\nContent-Range: bytes 0-9/10", 10, &[SoFar, Complete, Complete]);
    check("206 Partial\r\nContent-Range: bytes 0-9/*", 10, &[Part, SoFar, Complete, Complete]);
    check("206 Partial", 10, &[Part, SoFar, Complete, Complete]);
}
