//! The application protocols that can be recognised, under the names that the rule language has for them.

macro_rules! app_protocols {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal;)*) => {
        /// An application protocol that is recognised from its bytes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum AppProtocol {
            $($(#[doc = $doc])* $variant,)*
        }

        impl AppProtocol {
            /// Every protocol, in the order of the enum.
            pub const ALL: &'static [AppProtocol] = &[$(AppProtocol::$variant),*];

            /// The protocol's name in rules (`alert <name> ...`, `app-layer-protocol:<name>`) and in EVE (`app_proto`).
            pub fn name(self) -> &'static str {
                match self {
                    $(AppProtocol::$variant => $name,)*
                }
            }
        }
    };
}

app_protocols! {
    /// HTTP/0.9 to HTTP/1.1 (RFC 9112).
    Http1 = "http";
    /// HTTP/2 (RFC 9113), recognised by its connection preface, not taken apart.
    Http2 = "http2";
    /// SSL 2.0 hello to TLS 1.3 (RFC 8446).
    Tls = "tls";
    /// DNS over UDP and TCP (RFC 1035).
    Dns = "dns";
    /// DHCPv4 (RFC 2131).
    Dhcp = "dhcp";
    /// SSH (RFC 4253).
    Ssh = "ssh";
    /// SMTP (RFC 5321).
    Smtp = "smtp";
    /// FTP's control connection (RFC 959).
    Ftp = "ftp";
    /// FTP's data connection, expected from what the control connection agreed on.
    FtpData = "ftp-data";
    /// SMB 1 to 3 over NetBIOS session framing (MS-CIFS, MS-SMB2).
    Smb = "smb";
    /// IMAP (RFC 9051), recognised only.
    Imap = "imap";
    /// POP3 (RFC 1939), recognised only.
    Pop3 = "pop3";
    /// DCE/RPC over TCP (C706), recognised only.
    Dcerpc = "dcerpc";
    /// Remote desktop (MS-RDPBCGR), recognised only.
    Rdp = "rdp";
    /// Remote framebuffer, VNC (RFC 6143), recognised only.
    Rfb = "rfb";
    /// SIP (RFC 3261), recognised only.
    Sip = "sip";
    /// QUIC (RFC 9000), recognised only.
    Quic = "quic";
}

impl AppProtocol {
    /// Reads a protocol's name in a rule. `http` stands for both HTTP versions there: compare with [`AppProtocol::answers_to`].
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "http1" => Some(AppProtocol::Http1),
            _ => Self::ALL.iter().copied().find(|protocol| protocol.name() == name),
        }
    }

    /// Whether a flow of this protocol is meant by the rule-language name `name`: `http` means HTTP/1 and HTTP/2, `http1`
    /// the former alone.
    pub fn answers_to(self, name: &str) -> bool {
        match self {
            AppProtocol::Http1 => matches!(name, "http" | "http1"),
            AppProtocol::Http2 => matches!(name, "http" | "http2"),
            _ => self.name() == name,
        }
    }
}
