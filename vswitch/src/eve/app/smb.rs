//! SMB: connections to shares, and authentications, with what the server answers.

use inspect::protocol::Buffer;
use inspect::record::{Detail, SmbAnswer, SmbStatus, Transaction};

use super::super::text::text;
use super::{Filling, Object};

pub(super) fn object(transaction: &Transaction) -> Object {
    let mut smb = Filling::of(transaction);
    // Suricata counts them from 1.
    smb.put("id", u64::from(transaction.number) + 1);
    smb.first("share", Buffer::SmbShare);
    smb.first("named_pipe", Buffer::SmbNamedPipe);
    for detail in &transaction.details {
        match detail {
            Detail::Ntlmssp { host, version } => {
                let mut ntlmssp = Filling::of(transaction);
                for (key, buffer) in [("user", Buffer::SmbNtlmsspUser), ("domain", Buffer::SmbNtlmsspDomain)] {
                    let value = ntlmssp.text(buffer, None).unwrap_or_default();
                    ntlmssp.put(key, value);
                }
                ntlmssp.put("host", text(host));
                if let Some((major, minor, build, revision)) = version {
                    ntlmssp.put("version", format!("{major}.{minor} build {build} rev {revision}"));
                }
                smb.put("ntlmssp", ntlmssp.object);
            }
            Detail::SmbAnswer(answer) => answered(&mut smb, answer),
            Detail::DnsHeader { .. }
            | Detail::DnsQuestion { .. }
            | Detail::DnsRecord { .. }
            | Detail::Dhcp(_)
            | Detail::FtpPort { .. } => {}
        }
    }
    smb.object
}

fn answered(smb: &mut Filling<'_>, answer: &SmbAnswer) {
    smb.put("dialect", answer.dialect);
    smb.put("command", command(answer.version, answer.command));
    match answer.status {
        SmbStatus::Nt(status) => {
            smb.put("status", status_name(status).map_or_else(|| status.to_string(), str::to_owned));
            smb.put("status_code", format!("0x{status:x}"));
        }
        SmbStatus::Dos(class, code) => {
            smb.put("status", format!("UNKNOWN_{class:02x}_{code:04x}"));
            smb.put("status_code", format!("0x{code:04x}"));
        }
    }
    smb.put("session_id", answer.session);
    smb.put("tree_id", answer.tree);
    if let Some(share_type) = answer.share_type {
        let names = ["UNKNOWN", "FILE", "PIPE", "PRINT"];
        smb.put("share_type", *names.get(usize::from(share_type)).unwrap_or(&names[0]));
    }
}

/// The commands that are told.
fn command(version: u8, command: u16) -> String {
    let name = match (version, command) {
        (1, 0x73) => "SMB1_COMMAND_SESSION_SETUP_ANDX",
        (1, 0x75) => "SMB1_COMMAND_TREE_CONNECT_ANDX",
        (2, 1) => "SMB2_COMMAND_SESSION_SETUP",
        (2, 3) => "SMB2_COMMAND_TREE_CONNECT",
        (_, other) => return other.to_string(),
    };
    name.to_owned()
}

/// The values of NTSTATUS that connecting and authenticating end with (MS-ERREF section 2.3.1).
fn status_name(status: u32) -> Option<&'static str> {
    Some(match status {
        0 => "STATUS_SUCCESS",
        0xc000_000d => "STATUS_INVALID_PARAMETER",
        0xc000_0016 => "STATUS_MORE_PROCESSING_REQUIRED",
        0xc000_0022 => "STATUS_ACCESS_DENIED",
        0xc000_0034 => "STATUS_OBJECT_NAME_NOT_FOUND",
        0xc000_005e => "STATUS_NO_LOGON_SERVERS",
        0xc000_0064 => "STATUS_NO_SUCH_USER",
        0xc000_006a => "STATUS_WRONG_PASSWORD",
        0xc000_006d => "STATUS_LOGON_FAILURE",
        0xc000_006e => "STATUS_ACCOUNT_RESTRICTION",
        0xc000_006f => "STATUS_INVALID_LOGON_HOURS",
        0xc000_0070 => "STATUS_INVALID_WORKSTATION",
        0xc000_0071 => "STATUS_PASSWORD_EXPIRED",
        0xc000_0072 => "STATUS_ACCOUNT_DISABLED",
        0xc000_009a => "STATUS_INSUFFICIENT_RESOURCES",
        0xc000_00bb => "STATUS_NOT_SUPPORTED",
        0xc000_00ca => "STATUS_NETWORK_ACCESS_DENIED",
        0xc000_00cb => "STATUS_BAD_DEVICE_TYPE",
        0xc000_00cc => "STATUS_BAD_NETWORK_NAME",
        0xc000_00d0 => "STATUS_REQUEST_NOT_ACCEPTED",
        0xc000_015b => "STATUS_LOGON_TYPE_NOT_GRANTED",
        0xc000_018d => "STATUS_TRUSTED_RELATIONSHIP_FAILURE",
        0xc000_0193 => "STATUS_ACCOUNT_EXPIRED",
        0xc000_0203 => "STATUS_USER_SESSION_DELETED",
        0xc000_0224 => "STATUS_PASSWORD_MUST_CHANGE",
        0xc000_0234 => "STATUS_ACCOUNT_LOCKED_OUT",
        0xc000_035c => "STATUS_NETWORK_SESSION_EXPIRED",
        _ => return None,
    })
}
