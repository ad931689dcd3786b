//! What parsers object to, under the names that `app-layer-event` has for them.

macro_rules! anomalies {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal;)*) => {
        /// A deviation from a protocol that signatures can ask for (`app-layer-event:<name>`) and EVE reports.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Anomaly {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Anomaly {
            /// Every anomaly, in the order of the enum.
            pub const ALL: &'static [Anomaly] = &[$(Anomaly::$variant),*];

            /// The name in `app-layer-event` and in EVE, with its protocol before the dot.
            pub fn name(self) -> &'static str {
                match self {
                    $(Anomaly::$variant => $name,)*
                }
            }
        }
    };
}

anomalies! {
    /// A request header field without a colon.
    HttpRequestFieldMissingColon = "http.request_field_missing_colon";
    /// A response header field without a colon.
    HttpResponseFieldMissingColon = "http.response_field_missing_colon";
    /// A chunk length in a request that is no number.
    HttpInvalidRequestChunkLength = "http.invalid_request_chunk_len";
    /// A chunk length in a response that is no number.
    HttpInvalidResponseChunkLength = "http.invalid_response_chunk_len";
    /// A transfer coding in a request other than chunked.
    HttpInvalidRequestTransferEncoding = "http.invalid_transfer_encoding_value_in_request";
    /// A `Content-Length` in a request that is no number.
    HttpInvalidRequestContentLength = "http.invalid_content_length_field_in_request";
    /// A `Content-Length` in a response that is no number.
    HttpInvalidResponseContentLength = "http.invalid_content_length_field_in_response";
    /// Several `Content-Length` fields in a request that disagree.
    HttpDuplicateRequestContentLength = "http.duplicate_content_length_field_in_request";
    /// Several `Content-Length` fields in a response that disagree.
    HttpDuplicateResponseContentLength = "http.duplicate_content_length_field_in_response";
    /// More than one 100 response to one request.
    HttpContinueAlreadySeen = "http.100_continue_already_seen";
    /// A response without a request before it.
    HttpUnableToMatchResponse = "http.unable_to_match_response_to_request";
    /// A request header field whose name is no token.
    HttpRequestHeaderInvalid = "http.request_header_invalid";
    /// A response header field whose name is no token.
    HttpResponseHeaderInvalid = "http.response_header_invalid";
    /// HTTP/1.1 request without `Host`.
    HttpMissingHostHeader = "http.missing_host_header";
    /// The host in the request target and in `Host` differ.
    HttpHostHeaderAmbiguous = "http.host_header_ambiguous";
    /// The host in the request target is no host name.
    HttpRequestUriHostInvalid = "http.request_uri_host_invalid";
    /// The host in `Host` is no host name.
    HttpRequestHeaderHostInvalid = "http.request_header_host_invalid";
    /// A folded line where no field can be continued, in a request.
    HttpInvalidRequestFolding = "http.invalid_request_field_folding";
    /// A folded line where no field can be continued, in a response.
    HttpInvalidResponseFolding = "http.invalid_response_field_folding";
    /// A request line or header block beyond its limit.
    HttpRequestFieldTooLong = "http.request_field_too_long";
    /// A status line or header block beyond its limit.
    HttpResponseFieldTooLong = "http.response_field_too_long";
    /// White space other than one space within the request target.
    HttpUriDelimiter = "http.uri_delim_non_compliant";
    /// White space other than one space after the method.
    HttpMethodDelimiter = "http.method_delim_non_compliant";
    /// White space before the method.
    HttpRequestLineLeadingWhitespace = "http.request_line_leading_whitespace";
    /// A request line without a protocol version, although header fields follow.
    HttpRequestLineMissingProtocol = "http.request_line_missing_protocol";
    /// A request line that is neither HTTP/0.9 nor has a version.
    HttpRequestLineInvalid = "http.request_line_invalid";
    /// Data where the next request should begin.
    HttpRequestBodyUnexpected = "http.request_body_unexpected";
    /// More content encodings on top of each other than are undone.
    HttpTooManyEncodingLayers = "http.too_many_encoding_layers";
    /// A content encoding that is unknown or oddly written.
    HttpAbnormalContentEncoding = "http.abnormal_ce_header";
    /// An authentication scheme that is not known.
    HttpRequestAuthUnrecognized = "http.request_auth_unrecognized";
    /// A request header field that is repeated.
    HttpRequestHeaderRepetition = "http.request_header_repetition";
    /// A response header field that is repeated.
    HttpResponseHeaderRepetition = "http.response_header_repetition";
    /// A transfer coding in a response that is more than plain `chunked`.
    HttpResponseAbnormalTransferEncoding = "http.response_abnormal_transfer_encoding";
    /// Chunked coding in HTTP/1.0 or older.
    HttpResponseChunkedOldProtocol = "http.response_chunked_old_proto";
    /// A status line whose version is none that exists.
    HttpResponseInvalidProtocol = "http.response_invalid_protocol";
    /// A status code that is not three digits.
    HttpResponseInvalidStatus = "http.response_invalid_status";
    /// A chunk with an extension in a request.
    HttpRequestChunkExtension = "http.request_chunk_extension";
    /// A chunk with an extension in a response.
    HttpResponseChunkExtension = "http.response_chunk_extension";
    /// More header fields in a request than the limit.
    HttpRequestTooManyHeaders = "http.request_too_many_headers";
    /// More header fields in a response than the limit.
    HttpResponseTooManyHeaders = "http.response_too_many_headers";
    /// A body that grows beyond all reason when unpacked.
    HttpCompressionBomb = "http.compression_bomb";
    /// A body that cannot be unpacked in the way its header says.
    HttpDecompressionFailed = "http.gzip_decompression_failed";
    /// An upgrade to another protocol that did not take place as announced.
    HttpFailedProtocolChange = "http.failed_protocol_change";
    /// A DNS message that ends before it should, or whose parts make no sense.
    DnsMalformedData = "dns.malformed_data";
    /// A DNS message to a server that is marked as a response.
    DnsNotRequest = "dns.not_request";
    /// A DNS message to a client that is marked as a query.
    DnsNotResponse = "dns.not_response";
    /// A DNS message with the reserved Z bit set.
    DnsZFlagSet = "dns.z_flag_set";
    /// A DNS message with an opcode above 6.
    DnsInvalidOpcode = "dns.invalid_opcode";
    /// A DNS name longer than 1025 bytes, cut there.
    DnsNameTooLong = "dns.name_too_long";
    /// A DNS name whose compression pointers run in a circle.
    DnsInfiniteLoop = "dns.infinite_loop";
    /// A DNS name of more labels than are followed.
    DnsTooManyLabels = "dns.too_many_labels";
    /// A TLS record of a type or version that does not exist.
    TlsInvalidRecord = "tls.invalid_ssl_record";
    /// A TLS handshake message whose lengths contradict each other.
    TlsInvalidHandshake = "tls.invalid_handshake_message";
    /// A TLS certificate that is not DER as X.509 wants it.
    TlsInvalidCertificate = "tls.invalid_certificate";
    /// A TLS heartbeat request that claims more than it carries (CVE-2014-0160).
    TlsOverflowHeartbeat = "tls.overflow_heartbeat_message";
    /// An SSH banner that is not one.
    SshInvalidBanner = "ssh.invalid_banner";
    /// An SSH banner beyond 255 bytes.
    SshLongBanner = "ssh.long_banner";
    /// An SSH packet whose length cannot be.
    SshInvalidRecord = "ssh.invalid_record";
    /// An SMTP reply that is not one.
    SmtpInvalidReply = "smtp.invalid_reply";
    /// A second name of an SMTP client, or a second sender of one mail.
    SmtpDuplicateFields = "smtp.duplicate_fields";
    /// An SMTP command line beyond its limit.
    SmtpCommandLineTooLong = "smtp.max_command_line_len_exceeded";
    /// An SMTP reply line beyond its limit.
    SmtpReplyLineTooLong = "smtp.max_reply_line_len_exceeded";
    /// A BDAT command whose argument is no number.
    SmtpInvalidBdat = "smtp.invalid_bdat";
    /// More data than the BDAT command announced.
    SmtpBdatChunkLengthExceeded = "smtp.bdat_chunk_len_exceeded";
    /// A server that speaks without its greeting.
    SmtpNoWelcome = "smtp.no_server_welcome_message";
    /// A reply that answers no command.
    SmtpUnmatchedReply = "smtp.unable_to_match_reply_with_request";
    /// DATA was answered with a refusal.
    SmtpDataRejected = "smtp.data_command_rejected";
    /// STARTTLS was answered with a refusal.
    SmtpTlsRejected = "smtp.tls_rejected";
    /// Base64 in a mail part that is none.
    SmtpMimeInvalidBase64 = "smtp.mime_invalid_base64";
    /// A mail line beyond 998 bytes.
    SmtpMimeLongLine = "smtp.mime_long_line";
    /// An FTP command line beyond its limit.
    FtpCommandTooLong = "ftp.request_command_too_long";
    /// An FTP reply line beyond its limit.
    FtpReplyTooLong = "ftp.response_command_too_long";
    /// SMB framing or header that cannot be.
    SmbMalformedData = "smb.malformed_data";
    /// SMB writes or reads of one file that overlap.
    SmbFileOverlap = "smb.file_overlap";
    /// DHCP options that contradict themselves.
    DhcpMalformedOptions = "dhcp.malformed_options";
    /// DHCP options that end early.
    DhcpTruncatedOptions = "dhcp.truncated_options";
}

impl Anomaly {
    /// Finds an anomaly by its `app-layer-event` name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|anomaly| anomaly.name() == name)
    }
}
