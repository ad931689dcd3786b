//! What is told of each protocol's transactions, key by key as Suricata 8 writes them, from conversations through the whole walk.

use inspect::signature::RuleSet;
use inspect::wire::emit;
use serde_json::{Value, json};
use vswitch::eve::settings::EventType;

use crate::bench::*;
use crate::records::{Connection, TCP, bench, common, merge, only, take_records};

/// Who says what.
enum Said<'a> {
    Client(&'a [u8]),
    Server(&'a [u8]),
}
use Said::{Client, Server};

/// The records of a conversation, whole and cut into single bytes; both must be the same.
#[track_caller]
fn check(event_type: EventType, conversation: &[Said<'_>], protocol: &str, expected: &[Value]) {
    let settings = only(&[event_type]);
    let expected: Vec<Value> = expected
        .iter()
        .enumerate()
        .map(|(number, objects)| {
            let mut record = common(event_type.name(), TCP());
            merge(&mut record, json!({"app_proto": protocol, "tx_id": number}));
            merge(&mut record, objects.clone());
            record
        })
        .collect();
    for step in [usize::MAX, 1, 7] {
        let mut bench = bench(RuleSet::default(), settings);
        let mut connection = Connection::open(&mut bench);
        for said in conversation {
            match said {
                Client(text) => text.chunks(step).for_each(|part| connection.ask(part)),
                Server(text) => text.chunks(step).for_each(|part| connection.answer(part)),
            }
        }
        bench.finish();
        let records = take_records(&bench, &settings);
        assert_eq!(records, expected, "in pieces of {step}: {records:#?}");
        bench.assert_books_balance();
    }
}

/// A binary packet of SSH with so much padding (RFC 4253 section 6).
fn ssh_packet(code: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() + 6) as u32;
    [&length.to_be_bytes()[..], &[4, code], body, &[0; 4]].concat()
}

fn key_exchange(lists: [&str; 8]) -> Vec<u8> {
    let list = |text: &str| [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat();
    let lists = lists.into_iter().chain(["", ""]).map(list).collect::<Vec<_>>().concat();
    ssh_packet(20, &[&[7; 16][..], &lists, &[0; 5]].concat())
}

#[test]
fn an_ssh_handshake() {
    let client = key_exchange(["curve25519", "ed25519", "aes", "aes-s", "hmac", "hmac-s", "none", "none-s"]);
    let server = key_exchange(["ecdh", "rsa", "aes-c", "chacha", "hmac-c", "poly", "none-c", "zlib"]);
    let done = ssh_packet(21, b"");
    let ssh = json!({
        "client": {
            "proto_version": "2.0", "software_version": "OpenSSH_9.6",
            // printf 'curve25519;aes;hmac;none' | md5sum
            "hassh": {"hash": "30a6290622e488dd270f9acf394b7466", "string": "curve25519;aes;hmac;none"},
        },
        "server": {
            "proto_version": "2.0", "software_version": "dropbear",
            "hassh": {"hash": "9f3c75107ebbab0ca644cb2c7ef725ac", "string": "ecdh;chacha;poly;zlib"},
        },
    });
    check(
        EventType::Ssh,
        &[
            Server(b"SSH-2.0-dropbear\r\n"),
            Client(b"SSH-2.0-OpenSSH_9.6 Debian-2\r\n"),
            Client(&client),
            Server(&server),
            Client(&done),
            Server(&done),
        ],
        "ssh",
        &[json!({"ssh": ssh})],
    );
}

#[test]
fn smtp_transactions_and_their_mails() {
    let mail = b"From: \"Doe, A.\" <a@x>\r\nTo: b@y, \"C, D\" <c@y>\r\nCc: e@y\r\nSubject: hello\r\n there\r\n\
        Date: Sat, 28 Nov 2026 18:00:00 +0000\r\nMessage-Id: <1@x>\r\nX-Mailer: mail 1\r\n\
        Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Disposition: attachment; filename=a.exe\r\n\r\n\
        MZ\r\n--b\r\nContent-Type: text/plain; name=t.txt\r\n\r\nt\r\n--b--\r\n.\r\n";
    let first = json!({
        "smtp": {"helo": "me", "mail_from": "<a@x>", "rcpt_to": ["<b@y>", "<c@y>"]},
        "email": {
            "status": "PARSE_DONE", "from": "\"Doe, A.\" <a@x>", "to": ["b@y", "\"C, D\" <c@y>"], "cc": ["e@y"],
            "subject": "hello there", "date": "Sat, 28 Nov 2026 18:00:00 +0000", "message_id": "<1@x>",
            "x_mailer": "mail 1", "attachment": ["a.exe", "t.txt"],
        },
    });
    let second = json!({
        "smtp": {"helo": "me", "mail_from": "<>", "rcpt_to": ["b@y"]},
        "email": {"status": "PARSE_DONE", "subject": "again"},
    });
    check(
        EventType::Smtp,
        &[
            Server(b"220 mail ESMTP\r\n"),
            Client(b"EHLO me\r\n"),
            Server(b"250 hello\r\n"),
            Client(b"MAIL FROM:<a@x> SIZE=9\r\nRCPT TO:<b@y>\r\nRCPT TO: <c@y> NOTIFY=NEVER\r\nDATA\r\n"),
            Server(b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"),
            Client(mail),
            Server(b"250 queued\r\n"),
            Client(b"MAIL FROM:<>\r\nRCPT TO:b@y\r\nDATA\r\n"),
            Server(b"250 ok\r\n250 ok\r\n354 go\r\n"),
            Client(b"Subject: again\r\n\r\ntext\r\n.\r\nQUIT\r\n"),
            Server(b"250 queued\r\n221 bye\r\n"),
        ],
        "smtp",
        &[first, second],
    );
}

#[test]
fn ftp_commands_and_their_replies() {
    let ftp = |mut object: Value, is_answered: bool| {
        let rest = json!({"reply_received": if is_answered { "yes" } else { "no" }, "reply_truncated": false});
        merge(&mut object, rest);
        json!({ "ftp": object })
    };
    let said = |command: &str, data: &str, code: &str, reply: &str| {
        json!({
            "command": command, "command_data": data, "command_truncated": false, "completion_code": [code],
            "reply": [reply],
        })
    };
    let mut active = said("PORT", "10,0,0,11,200,1", "200", "ok");
    merge(&mut active, json!({"mode": "active", "dynamic_port": 51_201}));
    let passive = json!({
        "command": "PASV", "completion_code": ["227"], "reply": ["Entering passive mode (10,0,0,21,8,2)."],
        "mode": "passive", "dynamic_port": 2_050,
    });
    let refused = json!({"command": "EPSV", "completion_code": ["522"], "reply": ["no"], "mode": "passive"});
    let list = json!({"command": "LIST", "completion_code": ["150", "226"], "reply": ["here it comes", "done"]});
    check(
        EventType::Ftp,
        &[
            Server(b"220 ProFTPD ready\r\n"),
            Client(b"user joe\r\n"),
            Server(b"331 who?\r\n"),
            Client(b"PORT 10,0,0,11,200,1\r\nPASV\r\n"),
            Server(b"200 ok\r\n227 Entering passive mode (10,0,0,21,8,2).\r\n"),
            Client(b"EPSV\r\n"),
            Server(b"522 no\r\n"),
            Client(b"LIST\r\n"),
            Server(b"150 here it comes\r\n226 done\r\n"),
            Client(b"RETR a b.exe\r\n"),
        ],
        "ftp",
        &[
            ftp(json!({"completion_code": ["220"], "reply": ["ProFTPD ready"]}), true),
            ftp(said("USER", "joe", "331", "who?"), true),
            ftp(active, true),
            ftp(passive, true),
            ftp(refused, true),
            ftp(list, true),
            ftp(json!({"command": "RETR", "command_data": "a b.exe", "command_truncated": false}), false),
        ],
    );
}

#[test]
fn what_of_an_ftp_command_was_cut_is_said() {
    let settings = only(&[EventType::Ftp]);
    let mut bench = bench(RuleSet::default(), settings);
    let mut connection = Connection::open(&mut bench);
    connection.answer("220 ProFTPD ready\r\n");
    connection.ask([b"STOR ".as_slice(), &[b'a'; 2_000], b"\r\n"].concat());
    connection.answer([b"550 ".as_slice(), &[b'b'; 2_000], b"\r\n"].concat());
    let records = take_records(&bench, &settings);
    let (ftp, cut) = (&records[1]["ftp"], &records[1]["vswitch"]["cut"]);
    assert_eq!(ftp["command_data"].as_str().map(str::len), Some(1_024));
    assert_eq!((&ftp["command_truncated"], &ftp["reply_truncated"]), (&json!(true), &json!(true)));
    assert_eq!(cut, &json!(["ftp.command_data", "ftp.reply"]));
}

/// A message of SMB 2 behind its framing.
struct Smb2<'a> {
    command: u16,
    message: u64,
    status: u32,
    tree: u32,
    session: u64,
    is_async: bool,
    body: &'a [u8],
}

impl Smb2<'_> {
    fn build(&self) -> Vec<u8> {
        let mut header = [b"\xfeSMB\x40\0".as_slice(), &[0; 58]].concat();
        header[8..12].copy_from_slice(&self.status.to_le_bytes());
        header[12..14].copy_from_slice(&self.command.to_le_bytes());
        header[16] = if self.is_async { 3 } else { 1 };
        header[24..32].copy_from_slice(&self.message.to_le_bytes());
        header[36..40].copy_from_slice(&self.tree.to_le_bytes());
        header[40..48].copy_from_slice(&self.session.to_le_bytes());
        let message = [&header[..], self.body].concat();
        [&(message.len() as u32).to_be_bytes()[..], &message].concat()
    }
}

fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// An NTLMSSP AUTHENTICATE message (MS-NLMP section 2.2.1.3) of somebody at a machine with Windows 10.
fn ntlmssp(domain: &str, user: &str, host: &str) -> Vec<u8> {
    let mut message = [b"NTLMSSP\0\x03\0\0\0".as_slice(), &[0; 60]].concat();
    for (at, text) in [(28, domain), (36, user), (44, host)] {
        let text = wide(text);
        let (length, start) = (text.len() as u16, message.len() as u32);
        message[at..at + 2].copy_from_slice(&length.to_le_bytes());
        message[at + 4..at + 8].copy_from_slice(&start.to_le_bytes());
        message.extend_from_slice(&text);
    }
    message[60..64].copy_from_slice(&0x0200_0001_u32.to_le_bytes());
    message[64..72].copy_from_slice(&[10, 0, 0x61, 0x4a, 0, 0, 0, 15]);
    message
}

#[test]
fn smb2_connections_and_authentications() {
    let plain = Smb2 { command: 0, message: 0, status: 0, tree: 0, session: 0, is_async: false, body: &[0; 36] };
    let offered = plain.build();
    let mut agreed = [0; 64];
    agreed[4..6].copy_from_slice(&[0x11, 3]);
    let agreed = Smb2 { body: &agreed, ..plain }.build();
    let credentials = ntlmssp("DOM", "user", "PC1");
    let authenticate = Smb2 { command: 1, message: 1, session: 77, body: &credentials, ..plain };
    let refused = Smb2 { status: 0xc000_006d, body: &[9, 0, 0, 0, 0, 0, 0, 0, 0], ..authenticate };
    let path = wide("\\\\srv\\files");
    let connect_body = [&[9, 0, 0, 0, 72, 0, path.len() as u8, 0], &path[..]].concat();
    let connect = Smb2 { command: 3, message: 2, session: 77, body: &connect_body, ..plain };
    let connected = Smb2 { tree: 5, body: &[16, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], ..connect };
    let pending = Smb2 { status: 0x103, tree: 9, is_async: true, body: &[9, 0, 0, 0, 0, 0, 0, 0, 0], ..connect };
    let smb = |id: u64, command: &str, status: (&str, &str), tree: u32, more: Value| {
        let mut smb = json!({
            "id": id, "dialect": "3.11", "command": command, "status": status.0, "status_code": status.1,
            "session_id": 77, "tree_id": tree,
        });
        merge(&mut smb, more);
        json!({ "smb": smb })
    };
    let ntlmssp = json!({"ntlmssp": {
        "domain": "DOM", "user": "user", "host": "PC1", "version": "10.0 build 19041 rev 15",
    }});
    let share = json!({"share": "\\\\srv\\files", "share_type": "FILE"});
    let (failure, success) = (("STATUS_LOGON_FAILURE", "0xc000006d"), ("STATUS_SUCCESS", "0x0"));
    check(
        EventType::Smb,
        &[
            Client(&offered),
            Server(&agreed),
            Client(&authenticate.build()),
            Server(&refused.build()),
            Client(&connect.build()),
            Server(&pending.build()),
            Server(&connected.build()),
            // Nobody answers.
            Client(&Smb2 { message: 3, ..connect }.build()),
        ],
        "smb",
        &[
            smb(1, "SMB2_COMMAND_SESSION_SETUP", failure, 0, ntlmssp),
            smb(2, "SMB2_COMMAND_TREE_CONNECT", success, 5, share),
            json!({"smb": {"id": 3, "share": "\\\\srv\\files"}}),
        ],
    );
}

/// A message of SMB 1 behind its framing.
fn smb1(command: u8, status: [u8; 4], words: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut header = [b"\xffSMB".as_slice(), &[command], &status, &[0; 23]].concat();
    // NT status codes, no Unicode; the tree and the user.
    (header[11], header[24], header[28], header[30]) = (0x40, 8, 9, 7);
    let count = (bytes.len() as u16).to_le_bytes();
    let message = [&header[..], &[words.len() as u8 / 2], words, &count, bytes].concat();
    [&(message.len() as u32).to_be_bytes()[..], &message].concat()
}

#[test]
fn smb1_connections() {
    let offer = smb1(0x72, [0; 4], &[], b"\x02LANMAN1.0\0\x02NT LM 0.12\0");
    let choice = smb1(0x72, [0; 4], &[1, 0], b"");
    let connect = smb1(0x75, [0; 4], &[0xff, 0, 0, 0, 0, 0, 1, 0], b"\0\\\\srv\\IPC$\0IPC\0");
    let refused = smb1(0x75, [0xcc, 0, 0, 0xc0], &[], b"");
    let smb = json!({
        "id": 1, "dialect": "NT LM 0.12", "command": "SMB1_COMMAND_TREE_CONNECT_ANDX", "named_pipe": "\\\\srv\\IPC$",
        "status": "STATUS_BAD_NETWORK_NAME", "status_code": "0xc00000cc", "session_id": 9, "tree_id": 8,
    });
    check(
        EventType::Smb,
        &[Client(&offer), Server(&choice), Client(&connect), Server(&refused)],
        "smb",
        &[json!({ "smb": smb })],
    );
}

/// A DHCP message with these options.
fn dhcp_message(operation: u8, client: [u8; 4], assigned: [u8; 4], options: &[u8]) -> Vec<u8> {
    let mut message = vec![0; 240];
    message[..8].copy_from_slice(&[operation, 1, 6, 0, 0x12, 0x34, 0x56, 0x78]);
    message[12..16].copy_from_slice(&client);
    message[16..20].copy_from_slice(&assigned);
    if operation == 2 {
        message[20..24].copy_from_slice(&[10, 9, 9, 2]);
        message[24..28].copy_from_slice(&[10, 9, 9, 3]);
    }
    message[28..34].copy_from_slice(&mac(11));
    message[236..240].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    message.extend_from_slice(options);
    message.push(255);
    message
}

#[test]
fn dhcp_messages() {
    let settings = only(&[EventType::Dhcp]);
    let mut bench = bench(RuleSet::default(), settings);
    let server = [10, 9, 9, 1];
    let request = dhcp_message(
        1,
        ip(11),
        [0; 4],
        &[
            b"\x35\x01\x03\x32\x04\x0a\0\0\x0b\x0c\x04web1\x37\x05\x01\x03\x06\x0f\xfe".as_slice(),
            b"\x3c\x04MSFT\x3d\x07\x01\x52\x54\0\0\0\x0b",
        ]
        .concat(),
    );
    let ack = dhcp_message(
        2,
        ip(11),
        ip(11),
        &[
            b"\x35\x01\x05\x33\x04\0\0\x0e\x10\x3a\x04\0\0\x07\x08\x3b\x04\0\0\x0c\x4e".as_slice(),
            b"\x01\x04\xff\xff\xff\0\x03\x04\x0a\0\0\x01\x06\x08\x01\x01\x01\x01\x08\x08\x08\x08",
        ]
        .concat(),
    );
    let request = emit::udp((ip(11), 68), (server, 67)).payload(&request).macs(mac(11), OUTSIDE_MAC).build();
    bench.send(WEB1, &request);
    let ack = emit::udp((server, 67), (ip(11), 68)).payload(&ack).macs(OUTSIDE_MAC, mac(11)).build();
    bench.send(UP0, &ack);
    let record = |number: u32, dhcp: Value| {
        let mut record =
            common("dhcp", json!({"src_port": 68, "dest_port": 67, "proto": "UDP", "ip_v": 4, "dest_ip": "10.9.9.1"}));
        merge(&mut record, json!({"app_proto": "dhcp", "tx_id": number, "dhcp": dhcp}));
        merge(&mut record["vswitch"], json!({"to_port": "up0", "to_zone": "outside"}));
        record
    };
    let asked = json!({
        "type": "request", "id": 0x1234_5678, "client_mac": "52:54:00:00:00:0b", "assigned_ip": "0.0.0.0",
        "client_ip": "10.0.0.11", "dhcp_type": "request", "requested_ip": "10.0.0.11", "hostname": "web1",
        "params": ["subnet_mask", "router", "dns_server", "domain"], "vendor_class_identifier": "MSFT",
        "client_id": "52:54:00:00:00:0b",
    });
    let given = json!({
        "type": "reply", "id": 0x1234_5678, "client_mac": "52:54:00:00:00:0b", "assigned_ip": "10.0.0.11",
        "client_ip": "10.0.0.11", "relay_ip": "10.9.9.3", "next_server_ip": "10.9.9.2", "dhcp_type": "ack",
        "lease_time": 3_600, "renewal_time": 1_800, "rebinding_time": 3_150, "subnet_mask": "255.255.255.0",
        "routers": ["10.0.0.1"], "dns_servers": ["1.1.1.1", "8.8.8.8"],
    });
    let mut answer = record(1, given);
    let vswitch =
        json!({"from_port": "up0", "to_port": "web1", "from_zone": "outside", "to_zone": "web", "generation": 1});
    merge(
        &mut answer,
        json!({
            "in_iface": "up0", "src_ip": "10.9.9.1", "src_port": 67, "dest_ip": "10.0.0.11", "dest_port": 68,
            "vswitch": vswitch,
        }),
    );
    assert_eq!(take_records(&bench, &settings), [record(0, asked), answer]);
}
