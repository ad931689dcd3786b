use super::super::AppProtocol;
use super::super::recorder::{Case, check_stream, check_stream_for, protocol_of};
use crate::inspector::Direction::{ToClient, ToServer};

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u32).to_be_bytes(), message].concat()
}

fn smb1(command: u8, words: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut header = [b"\xffSMB".as_slice(), &[command], &[0; 27]].concat();
    header[30] = 7;
    let count = (bytes.len() as u16).to_le_bytes();
    [&header[..], &[words.len() as u8 / 2], words, &count, bytes].concat()
}

fn smb2(command: u16, message_id: u64, next: u32, body: &[u8]) -> Vec<u8> {
    let mut header = [b"\xfeSMB\x40\0".as_slice(), &[0; 58]].concat();
    header[12..14].copy_from_slice(&command.to_le_bytes());
    header[20..24].copy_from_slice(&next.to_le_bytes());
    header[24..32].copy_from_slice(&message_id.to_le_bytes());
    [&header[..], body].concat()
}

fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// A write of SMB 1 to file 0x4000.
fn write1(offset: u32, data: &[u8]) -> Vec<u8> {
    let mut words = vec![0; 28];
    words[4..6].copy_from_slice(&[0, 0x40]);
    words[6..10].copy_from_slice(&offset.to_le_bytes());
    words[20..22].copy_from_slice(&(data.len() as u16).to_le_bytes());
    words[22] = 32 + 1 + 28 + 2 + 1;
    smb1(0x2f, &words, &[b"\xee", data].concat())
}

fn create2(message_id: u64, name: &str) -> Vec<u8> {
    let name = wide(name);
    let mut body = vec![0; 56];
    body[44..46].copy_from_slice(&120u16.to_le_bytes());
    body[46..48].copy_from_slice(&(name.len() as u16).to_le_bytes());
    smb2(5, message_id, 0, &[body, name].concat())
}

fn created2(message_id: u64) -> Vec<u8> {
    let mut body = vec![0; 88];
    body[64..80].copy_from_slice(&[9; 16]);
    smb2(5, message_id, 0, &body)
}

#[test]
fn files_written_by_smb1_are_told() {
    let create = smb1(0xa2, &[0; 48], b"\\a.exe\0");
    let mut created = vec![0; 68];
    created[5..7].copy_from_slice(&[0, 0x40]);
    check_stream(
        &[
            Case(ToServer, &framed(&create)),
            Case(ToClient, &framed(&smb1(0xa2, &created, b""))),
            Case(ToServer, &[framed(&write1(0, b"MZ")), framed(&write1(2, b"abc"))].concat()),
            Case(ToServer, &framed(&smb1(4, &[0, 0x40, 0, 0, 0, 0], b""))),
        ],
        "0> smb.version=1|0> file.name[\\\\a.exe]|0> file.data[MZabc]|0> file(5,whole)|0> Complete",
    );
}

/// A message of SMB 1 that locks, writes to file 0x4000, and closes it, with the data behind all three.
fn chained1(data: &[u8]) -> Vec<u8> {
    let (write_at, close_at) = (32 + 1 + 16 + 2, 32 + 1 + 16 + 2 + 1 + 28 + 2);
    let data_at = close_at + 1 + 6 + 2;
    let link = |words: &mut Vec<u8>, command: u8, at: usize| {
        words[0] = command;
        words[2..4].copy_from_slice(&(at as u16).to_le_bytes());
    };
    let (mut lock, mut write) = (vec![0; 16], vec![0; 28]);
    link(&mut lock, 0x2f, write_at);
    link(&mut write, 0x04, close_at);
    write[4..6].copy_from_slice(&[0, 0x40]);
    write[20..22].copy_from_slice(&(data.len() as u16).to_le_bytes());
    write[22..24].copy_from_slice(&(data_at as u16).to_le_bytes());
    let message = smb1(0x24, &lock, b"");
    [&message[..], &[14], &write, &[0, 0], &[3], &[0, 0x40, 0, 0, 0, 0], &[0, 0], data].concat()
}

#[test]
fn commands_that_are_chained_in_one_message_all_count() {
    check_stream_for(
        &[Case(ToServer, &[framed(&chained1(b"MZabc")), framed(&chained1(b"more"))].concat())],
        &["file.data", "file", "anomaly"],
        "0> file.data[MZabc]|0> file(5,whole)|1> file.data[more]|1> file(4,whole)",
    );
    // A chain that leads back to its beginning ends.
    let mut circle = chained1(b"x");
    circle[32 + 1 + 16 + 2 + 3..][..2].copy_from_slice(&32u16.to_le_bytes());
    check_stream_for(&[Case(ToServer, &framed(&circle))], &["file.data", "anomaly"], "0> file.data[x]");
}

#[test]
fn writes_that_overlap_are_anomalies_and_new_files() {
    check_stream_for(
        &[Case(ToServer, &[framed(&write1(0, b"M")), framed(&write1(0, b"MZ"))].concat())],
        &["anomaly", "file.data"],
        "0> file.data[M]|0> !smb.file_overlap|1> file.data[MZ]",
    );
}

#[test]
fn files_read_by_smb2_are_told_also_from_compounds() {
    let mut read = vec![0; 49];
    read[16..32].copy_from_slice(&[9; 16]);
    let mut data = [0; 16];
    (data[2], data[4]) = (80, 3);
    let answer = smb2(8, 3, 0, &[&data[..], b"abc"].concat());
    let echo = smb2(13, 2, 72, &[0; 8]);
    check_stream(
        &[
            Case(ToServer, &framed(&create2(1, "dir\\f.txt"))),
            Case(ToClient, &framed(&created2(1))),
            Case(ToServer, &framed(&[smb2(13, 2, 72, &[0; 8]), smb2(8, 3, 0, &read)].concat())),
            Case(ToClient, &framed(&[echo, answer].concat())),
        ],
        "0> smb.version=2|0< file.name[dir\\\\f.txt]|0< file.data[abc]|0< file(3,cut)|0< Complete",
    );
}

#[test]
fn large_writes_go_by_unkept() {
    let mut body = vec![0; 48];
    body[2..4].copy_from_slice(&112u16.to_le_bytes());
    body[4..8].copy_from_slice(&10_000u32.to_le_bytes());
    body[16..32].copy_from_slice(&[9; 16]);
    let data: Vec<u8> = (0..10_000).map(|n| b'a' + (n % 26) as u8).collect();
    let message = framed(&smb2(9, 4, 0, &[body, data.clone()].concat()));
    let mut recorder = super::super::recorder::Recorder::wanting(&["file.data"]);
    let mut conversation = super::super::Conversation::new();
    let settings = super::super::Settings::default();
    for piece in message.chunks(1460) {
        conversation.stream(ToServer, piece, &settings, &mut recorder);
    }
    conversation.closed(ToServer, &settings, &mut recorder);
    assert_eq!(recorder.text(), format!("0> file.data[{}]", data.escape_ascii()));
}

#[test]
fn shares_and_users_are_told() {
    let path = wide("\\\\srv\\IPC$");
    let mut connect = vec![0; 8];
    connect[4..6].copy_from_slice(&72u16.to_le_bytes());
    connect[6..8].copy_from_slice(&(path.len() as u16).to_le_bytes());
    let mut ntlm = [b"NTLMSSP\0\x03\0\0\0".as_slice(), &[0; 52]].concat();
    (ntlm[28], ntlm[32], ntlm[36], ntlm[40], ntlm[60]) = (6, 64, 8, 70, 1);
    ntlm.extend_from_slice(&wide("DOM"));
    ntlm.extend_from_slice(&wide("user"));
    check_stream_for(
        &[Case(ToServer, &[framed(&smb2(1, 0, 0, &ntlm)), framed(&smb2(3, 1, 0, &[connect, path].concat()))].concat())],
        &["smb.named_pipe", "smb.ntlmssp_user", "smb.ntlmssp_domain"],
        "0> smb.ntlmssp_user[user]|0> smb.ntlmssp_domain[DOM]|1> smb.named_pipe[\\\\\\\\srv\\\\IPC$]",
    );
}

#[test]
fn what_is_no_smb_breaks_and_encryption_ends() {
    let good = framed(&smb1(0x72, &[], b""));
    check_stream_for(&[Case(ToServer, &[good, framed(b"junk")].concat())], &["anomaly"], "0> !smb.malformed_data");
    let encrypted = framed(&[b"\xfdSMB".as_slice(), &[0; 60]].concat());
    assert_eq!(protocol_of(&[Case(ToServer, &encrypted)]), Some(AppProtocol::Smb));
}

/// Found by fuzzing.
#[test]
fn what_breaks_the_protocol_ends_its_files() {
    use super::super::{Conversation, Settings, recorder::Recorder};
    let settings = Settings::default();
    for is_gap in [false, true] {
        let mut recorder = Recorder::wanting(&["file.data"]);
        let mut conversation = Conversation::new();
        conversation.stream(ToServer, &framed(&write1(0, b"MZ")), &settings, &mut recorder);
        if is_gap {
            conversation.gap(ToClient, 1, &settings, &mut recorder);
        } else {
            conversation.stream(ToServer, &framed(b"junk"), &settings, &mut recorder);
        }
        // The recorder would complain about a file without an end.
        assert_eq!(recorder.text(), "0> file.data[MZ]");
    }
}
