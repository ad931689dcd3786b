//! The header of a gzip member, which says nothing that anybody needs.

/// The bytes are no gzip header.
pub(super) struct Broken;

/// Skips a gzip header (RFC 1952 section 2.3) byte by byte. Checksums are not looked at: browsers do not either.
#[derive(Debug, Default)]
pub(super) struct GzipHeader {
    part: GzipPart,
    /// Bytes of the part seen.
    seen: u16,
    flags: u8,
    extra: u16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum GzipPart {
    #[default]
    Fixed,
    ExtraLength,
    Extra,
    Name,
    Comment,
    Checksum,
    Over,
}

impl GzipHeader {
    /// Takes header bytes; gives what follows the header once that is over.
    pub(super) fn data<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<&'a [u8]>, Broken> {
        const CHECKSUM: u8 = 2;
        const EXTRA: u8 = 4;
        const NAME: u8 = 8;
        const COMMENT: u8 = 16;
        let mut rest = bytes;
        loop {
            let is_absent = match self.part {
                GzipPart::Fixed => false,
                GzipPart::ExtraLength => self.flags & EXTRA == 0,
                GzipPart::Extra => self.extra == 0,
                GzipPart::Name => self.flags & NAME == 0,
                GzipPart::Comment => self.flags & COMMENT == 0,
                GzipPart::Checksum => self.flags & CHECKSUM == 0,
                GzipPart::Over => return Ok(Some(rest)),
            };
            if is_absent {
                self.advance();
                continue;
            }
            let Some((&byte, after)) = rest.split_first() else {
                return Ok(None);
            };
            rest = after;
            let is_last = match (self.part, self.seen) {
                (GzipPart::Fixed, seen) => {
                    let wanted = [0x1f, 0x8b, 8].get(usize::from(seen));
                    if wanted.is_some_and(|&wanted| wanted != byte) {
                        return Err(Broken);
                    }
                    if seen == 3 {
                        self.flags = byte;
                    }
                    seen == 9
                }
                (GzipPart::ExtraLength, seen) => {
                    self.extra |= u16::from(byte) << (8 * seen);
                    seen == 1
                }
                (GzipPart::Extra, seen) => seen + 1 == self.extra,
                (GzipPart::Name | GzipPart::Comment, _) => byte == 0,
                (GzipPart::Checksum, seen) => seen == 1,
                (GzipPart::Over, _) => true,
            };
            // Names have no length; saturation only keeps the count from wrapping.
            self.seen = self.seen.saturating_add(1);
            if is_last {
                self.advance();
            }
        }
    }

    fn advance(&mut self) {
        self.seen = 0;
        self.part = match self.part {
            GzipPart::Fixed => GzipPart::ExtraLength,
            GzipPart::ExtraLength => GzipPart::Extra,
            GzipPart::Extra => GzipPart::Name,
            GzipPart::Name => GzipPart::Comment,
            GzipPart::Comment => GzipPart::Checksum,
            GzipPart::Checksum | GzipPart::Over => GzipPart::Over,
        };
    }
}
