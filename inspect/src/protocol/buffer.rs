//! The buffers that signatures can look at, under the names that the rule language has for them.

use super::app_protocol::AppProtocol;

/// Which senders' bytes a buffer is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sides {
    /// Only from what the client sent.
    Client,
    /// Only from what the server sent.
    Server,
    /// From each side's bytes; a rule's `flow` keyword chooses.
    Both,
}

/// How a buffer reaches the sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// Once per transaction and direction, in one piece.
    Once,
    /// Any number of instances per transaction and direction, each in one piece; a rule's contents must all match in one.
    Many,
    /// Instances that arrive in consecutive pieces while the data is on its way.
    Streamed,
}

macro_rules! buffers {
    ($($(#[doc = $doc:literal])*
       $variant:ident = $name:literal $([$($alias:literal),*])? $(modifier $modifier:literal)?,
       $protocol:expr, $sides:ident, $delivery:ident;)*) => {
        /// A named part of an application-layer transaction. The bytes of each are normalised as Suricata 8 does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Buffer {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Buffer {
            /// Every buffer, in the order of the enum; a buffer's index here is `buffer as usize`.
            pub const ALL: &'static [Buffer] = &[$(Buffer::$variant),*];

            /// The buffer's sticky name in the rule language.
            pub fn name(self) -> &'static str {
                match self {
                    $(Buffer::$variant => $name,)*
                }
            }

            /// Older sticky names that mean the same.
            pub fn aliases(self) -> &'static [&'static str] {
                match self {
                    $(Buffer::$variant => &[$($($alias),*)?],)*
                }
            }

            /// The name as a content modifier of Suricata 4 (`content:"x"; http_uri;`), where there is one.
            pub fn modifier(self) -> Option<&'static str> {
                match self {
                    $(Buffer::$variant => { let name: &[&'static str] = &[$($modifier)?]; name.first().copied() })*
                }
            }

            /// The protocol that fills the buffer; `None` where several do ([`Buffer::FileData`], [`Buffer::FileName`]).
            pub fn protocol(self) -> Option<AppProtocol> {
                match self {
                    $(Buffer::$variant => $protocol,)*
                }
            }

            /// Whose bytes the buffer is made from.
            pub fn sides(self) -> Sides {
                match self {
                    $(Buffer::$variant => Sides::$sides,)*
                }
            }

            /// In how many instances and pieces the buffer is delivered.
            pub fn delivery(self) -> Delivery {
                match self {
                    $(Buffer::$variant => Delivery::$delivery,)*
                }
            }
        }
    };
}

const HTTP: Option<AppProtocol> = Some(AppProtocol::Http1);
const TLS: Option<AppProtocol> = Some(AppProtocol::Tls);
const DNS: Option<AppProtocol> = Some(AppProtocol::Dns);
const SSH: Option<AppProtocol> = Some(AppProtocol::Ssh);
const SMTP: Option<AppProtocol> = Some(AppProtocol::Smtp);
const FTP: Option<AppProtocol> = Some(AppProtocol::Ftp);
const SMB: Option<AppProtocol> = Some(AppProtocol::Smb);

buffers! {
    /// Request method as sent, without white space around it.
    HttpMethod = "http.method" modifier "http_method", HTTP, Client, Once;
    /// Request target, percent-decoded and with its path normalised.
    HttpUri = "http.uri" modifier "http_uri", HTTP, Client, Once;
    /// Request target as sent.
    HttpUriRaw = "http.uri.raw" modifier "http_raw_uri", HTTP, Client, Once;
    /// Host name asked for, lower case, without port.
    HttpHost = "http.host" modifier "http_host", HTTP, Client, Once;
    /// Host name asked for, as sent, with its port.
    HttpHostRaw = "http.host.raw" modifier "http_raw_host", HTTP, Client, Once;
    /// Value of `User-Agent`.
    HttpUserAgent = "http.user_agent" modifier "http_user_agent", HTTP, Client, Once;
    /// All header fields as `Name: value\r\n`, folding undone, cookies left out, repeated fields joined.
    HttpHeader = "http.header" modifier "http_header", HTTP, Both, Once;
    /// The header fields' bytes as sent.
    HttpHeaderRaw = "http.header.raw" modifier "http_raw_header", HTTP, Both, Once;
    /// `\r\nName\r\nName\r\n\r\n`.
    HttpHeaderNames = "http.header_names" ["http_header_names"], HTTP, Both, Once;
    /// Value of `Cookie` or `Set-Cookie`.
    HttpCookie = "http.cookie" modifier "http_cookie", HTTP, Both, Once;
    /// Value of `Content-Type`.
    HttpContentType = "http.content_type" ["http_content_type"], HTTP, Both, Once;
    /// Value of `Content-Length`.
    HttpContentLen = "http.content_len" ["http_content_len"], HTTP, Both, Once;
    /// Value of `Accept`.
    HttpAccept = "http.accept" ["http_accept"], HTTP, Client, Once;
    /// Value of `Accept-Language`.
    HttpAcceptLang = "http.accept_lang" ["http_accept_lang"], HTTP, Client, Once;
    /// Value of `Accept-Encoding`.
    HttpAcceptEnc = "http.accept_enc" ["http_accept_enc"], HTTP, Client, Once;
    /// Value of `Referer`.
    HttpReferer = "http.referer" ["http_referer"], HTTP, Client, Once;
    /// Value of `Connection`.
    HttpConnection = "http.connection" ["http_connection"], HTTP, Client, Once;
    /// Value of `Location`.
    HttpLocation = "http.location", HTTP, Server, Once;
    /// Value of `Server`.
    HttpServer = "http.server", HTTP, Server, Once;
    /// Protocol version as sent, `HTTP/1.1`.
    HttpProtocol = "http.protocol" ["http_protocol"], HTTP, Both, Once;
    /// First line and all header fields as sent.
    HttpStart = "http.start" ["http_start"], HTTP, Both, Once;
    /// Request line without its line end.
    HttpRequestLine = "http.request_line" ["http_request_line"], HTTP, Client, Once;
    /// Status line without its line end.
    HttpResponseLine = "http.response_line" ["http_response_line"], HTTP, Server, Once;
    /// Status code as sent.
    HttpStatCode = "http.stat_code" modifier "http_stat_code", HTTP, Server, Once;
    /// Reason phrase.
    HttpStatMsg = "http.stat_msg" modifier "http_stat_msg", HTTP, Server, Once;
    /// Body of the request, de-chunked and unpacked.
    HttpRequestBody = "http.request_body" modifier "http_client_body", HTTP, Client, Streamed;
    /// Body of the response, de-chunked and unpacked.
    HttpResponseBody = "http.response_body" modifier "http_server_body", HTTP, Server, Streamed;
    /// One request header field, `Name: value`.
    HttpRequestHeader = "http.request_header", HTTP, Client, Many;
    /// One response header field, `Name: value`.
    HttpResponseHeader = "http.response_header", HTTP, Server, Many;
    /// Contents of a file on its way: HTTP bodies, mail attachments, FTP data.
    FileData = "file.data" ["file_data"], None, Both, Streamed;
    /// Name of a file on its way.
    FileName = "file.name", None, Both, Many;
    /// Name asked for in a query, labels joined by dots.
    DnsQuery = "dns.query" ["dns_query"], DNS, Client, Many;
    /// Name in the question section of either direction.
    DnsQueriesRrname = "dns.queries.rrname" ["dns.query.name"], DNS, Both, Many;
    /// Owner name of a record in the answer section.
    DnsAnswersRrname = "dns.answers.rrname" ["dns.answer.name"], DNS, Both, Many;
    /// Owner name of a record in the authority section.
    DnsAuthoritiesRrname = "dns.authorities.rrname", DNS, Both, Many;
    /// Owner name of a record in the additional section.
    DnsAdditionalsRrname = "dns.additionals.rrname", DNS, Both, Many;
    /// Any name of a response: questions, owners, and the names within the records.
    DnsResponseRrname = "dns.response.rrname", DNS, Server, Many;
    /// Server name that a TLS client asks for.
    TlsSni = "tls.sni" ["tls_sni"], TLS, Client, Once;
    /// Subject of the first certificate, `C=US, O=Example, CN=www`.
    TlsCertSubject = "tls.cert_subject" ["tls_cert_subject"], TLS, Both, Once;
    /// Issuer of the first certificate.
    TlsCertIssuer = "tls.cert_issuer" ["tls_cert_issuer"], TLS, Both, Once;
    /// Serial number of the first certificate, `0A:1B:...`.
    TlsCertSerial = "tls.cert_serial" ["tls_cert_serial"], TLS, Both, Once;
    /// SHA-1 of the first certificate, `0a:1b:...`.
    TlsCertFingerprint = "tls.cert_fingerprint" ["tls_cert_fingerprint"], TLS, Both, Once;
    /// One certificate of the chain, in DER.
    TlsCerts = "tls.certs", TLS, Both, Many;
    /// One subject alternative name of the first certificate.
    TlsSubjectAltName = "tls.subjectaltname", TLS, Server, Many;
    /// One application protocol of the ALPN extension.
    TlsAlpn = "tls.alpn", TLS, Both, Many;
    /// All 32 bytes of a hello's random.
    TlsRandom = "tls.random", TLS, Both, Once;
    /// The first 4 bytes of a hello's random.
    TlsRandomTime = "tls.random_time", TLS, Both, Once;
    /// The last 28 bytes of a hello's random.
    TlsRandomBytes = "tls.random_bytes", TLS, Both, Once;
    /// MD5 of the JA3 string, in hex.
    Ja3Hash = "ja3.hash" ["ja3_hash"], TLS, Client, Once;
    /// The client hello in the JA3 form.
    Ja3String = "ja3.string" ["ja3_string"], TLS, Client, Once;
    /// MD5 of the JA3S string, in hex.
    Ja3sHash = "ja3s.hash", TLS, Server, Once;
    /// The server hello in the JA3S form.
    Ja3sString = "ja3s.string", TLS, Server, Once;
    /// SSH protocol version of a banner, `2.0`.
    SshProto = "ssh.proto" ["ssh_proto"], SSH, Both, Once;
    /// SSH software of a banner.
    SshSoftware = "ssh.software" ["ssh_software"], SSH, Both, Once;
    /// MD5 of the client's algorithm lists, in hex.
    SshHassh = "ssh.hassh", SSH, Client, Once;
    /// The client's algorithm lists.
    SshHasshString = "ssh.hassh.string", SSH, Client, Once;
    /// MD5 of the server's algorithm lists, in hex.
    SshHasshServer = "ssh.hassh.server", SSH, Server, Once;
    /// The server's algorithm lists.
    SshHasshServerString = "ssh.hassh.server.string", SSH, Server, Once;
    /// Name given with HELO or EHLO, the first of a connection; each of its mails has it.
    SmtpHelo = "smtp.helo", SMTP, Client, Once;
    /// Path given with MAIL FROM, with the brackets that it has.
    SmtpMailFrom = "smtp.mail_from", SMTP, Client, Once;
    /// Path given with RCPT TO, with the brackets that it has.
    SmtpRcptTo = "smtp.rcpt_to", SMTP, Client, Many;
    /// Mail header field `From`.
    EmailFrom = "email.from", SMTP, Client, Once;
    /// Mail header field `To`.
    EmailTo = "email.to", SMTP, Client, Once;
    /// Mail header field `Cc`.
    EmailCc = "email.cc", SMTP, Client, Once;
    /// Mail header field `Subject`.
    EmailSubject = "email.subject", SMTP, Client, Once;
    /// Mail header field `Date`.
    EmailDate = "email.date", SMTP, Client, Once;
    /// Mail header field `Message-Id`.
    EmailMessageId = "email.message_id", SMTP, Client, Once;
    /// Mail header field `X-Mailer`.
    EmailXMailer = "email.x_mailer", SMTP, Client, Once;
    /// One mail header field `Received`.
    EmailReceived = "email.received", SMTP, Client, Many;
    /// Verb of an FTP command.
    FtpCommand = "ftp.command", FTP, Client, Once;
    /// Argument of an FTP command.
    FtpCommandData = "ftp.command_data", FTP, Client, Once;
    /// One line of an FTP reply, without its code.
    FtpReply = "ftp.reply", FTP, Server, Many;
    /// Code of one line of an FTP reply.
    FtpCompletionCode = "ftp.completion_code", FTP, Server, Many;
    /// Name of an SMB named pipe.
    SmbNamedPipe = "smb.named_pipe" ["smb_named_pipe"], SMB, Client, Once;
    /// Name of an SMB share.
    SmbShare = "smb.share" ["smb_share"], SMB, Client, Once;
    /// User name in an NTLMSSP authentication over SMB.
    SmbNtlmsspUser = "smb.ntlmssp_user", SMB, Client, Once;
    /// Domain in an NTLMSSP authentication over SMB.
    SmbNtlmsspDomain = "smb.ntlmssp_domain", SMB, Client, Once;
}

impl Buffer {
    /// How many buffers there are: the length of a table indexed by `buffer as usize`.
    pub const COUNT: usize = Self::ALL.len();

    /// Finds a buffer by its sticky name or an older alias of it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|buffer| buffer.name() == name || buffer.aliases().contains(&name))
    }

    /// Finds a buffer by its content modifier of Suricata 4 (`http_uri`, `http_client_body`, ...).
    pub fn from_modifier(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|buffer| buffer.modifier() == Some(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_finds_its_own_buffer() {
        for &buffer in Buffer::ALL {
            assert_eq!(Buffer::from_name(buffer.name()), Some(buffer));
            for alias in buffer.aliases() {
                assert_eq!(Buffer::from_name(alias), Some(buffer), "{alias}");
            }
            if let Some(modifier) = buffer.modifier() {
                assert_eq!(Buffer::from_modifier(modifier), Some(buffer), "{modifier}");
            }
            assert_eq!(Buffer::ALL[buffer as usize], buffer);
        }
    }
}
