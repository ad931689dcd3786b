//! What the two DPDK guests replay: UDP from the first guest to port 9000 of the second, and its answers.

use std::io::Write as _;
use std::path::Path;

/// MAC and IPv4 address of the guests of `configs/bench.yaml`.
pub const GUESTS: [([u8; 6], [u8; 4]); 2] =
    [([0x52, 0x54, 0, 0, 0, 0x0a], [10, 0, 0, 10]), ([0x52, 0x54, 0, 0, 0, 0x0b], [10, 0, 0, 11])];

/// Port of the second guest.
const SERVICE: u16 = 9_000;

fn checksum(sum: u32) -> [u8; 2] {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    (!(sum as u16)).to_be_bytes()
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum()
}

/// A frame of so many bytes, without the frame check sequence, from one guest to the other.
fn frame(from: usize, flow: u16, len: usize) -> Vec<u8> {
    let [(source_mac, source), (mac, destination)] = [GUESTS[from], GUESTS[1 - from]];
    let mut ports = [1_024 + flow, SERVICE];
    ports.rotate_left(from);
    let udp_len = (len - 34) as u16;
    let mut udp = Vec::new();
    for word in [ports[0], ports[1], udp_len, 0] {
        udp.extend(word.to_be_bytes());
    }
    udp.extend((0..len - 42).map(|index| ((usize::from(flow) * 7 + index) % 251) as u8));
    let pseudo = sum(&source) + sum(&destination) + 17 + u32::from(udp_len);
    let field = checksum(pseudo + sum(&udp));
    udp[6..8].copy_from_slice(if field == [0, 0] { &[0xff, 0xff] } else { &field });
    let total = (len as u16 - 14).to_be_bytes();
    let mut ip = vec![0x45, 0, total[0], total[1], 0, 1, 0x40, 0, 64, 17, 0, 0];
    ip.extend(source.iter().chain(&destination));
    let field = checksum(sum(&ip));
    ip[10..12].copy_from_slice(&field);
    [&mac[..], &source_mac, &[8, 0], &ip, &udp].concat()
}

/// Writes what a guest sends as a capture (libpcap's format 2.4): one frame of each flow. `size` counts the frame check
/// sequence, as benchmarks of switches do.
///
/// # Panics
/// If the file cannot be written.
pub fn write(path: &Path, from: usize, size: usize, flows: u16) {
    let len = size - 4;
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).expect("the folder can be written"));
    let mut put = |bytes: &[u8]| file.write_all(bytes).expect("the capture can be written");
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    put(&words(&[0xa1b2_c3d4, 2 | 4 << 16, 0, 0, 65_535, 1]));
    for flow in 0..flows {
        put(&words(&[0, 0, len as u32, len as u32]));
        put(&frame(from, flow, len));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_their_length_and_right_checksums() {
        for (from, flow, len) in [(0, 0, 60), (1, 20_000, 1_514), (0, 7, 61)] {
            let frame = frame(from, flow, len);
            assert_eq!(frame.len(), len);
            assert_eq!(checksum(sum(&frame[14..34])), [0, 0], "IPv4's");
            let pseudo = sum(&frame[26..34]) + 17 + (len as u32 - 34);
            assert_eq!(checksum(pseudo + sum(&frame[34..])), [0, 0], "UDP's");
        }
    }
}
