//! What guests boot: Debian's cloud kernel, and an initrd made of busybox and the modules of a virtio network card.
//!
//! The initrd is packed here, in the kernel's "newc" cpio format (Documentation/driver-api/early-userspace/
//! buffer-format.rst), which is a header of thirteen hexadecimal numbers in front of each file. It takes milliseconds,
//! so it is packed anew each time and can never be out of date.

use std::path::{Path, PathBuf};

use crate::tools::{find_program, workspace};

/// The virtio network card's modules, each after those that it needs.
const MODULES: &[&str] = &[
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci",
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/net/virtio_net",
];

/// The line that a guest prints when its network is up and its shell reads.
pub const READY: &str = "@ready";

/// The guest's first and only program.
///
/// Its settings come from the kernel command line: `guest.ip=` takes addresses with their prefix lengths and
/// `guest.gateway=` the next hops, both split by commas. After that it reads lines of the form `NUMBER COMMAND` from
/// the serial line, runs each, and ends its output with `@NUMBER STATUS`: see [`crate::console`].
const INIT: &str = r#"#!/bin/sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /usr/bin /usr/sbin /sbin
/bin/busybox --install -s
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec </dev/ttyS0 >/dev/ttyS0 2>&1
stty -echo -opost
for module in $(cat /modules/order); do insmod "/modules/$module.ko"; done
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad
ip link set lo up
ip link set eth0 up
for word in $(cat /proc/cmdline); do
  for value in $(echo "${word#*=}" | tr , ' '); do
    case "${word%%=*}=$value" in
      guest.ip=*) ip addr add "$value" dev eth0 ;;
      guest.gateway=*:*) ip -6 route add default via "$value" ;;
      guest.gateway=*) ip route add default via "$value" ;;
    esac
  done
done
printf '\n@ready\n'
while true; do
  while read -r number line; do
    eval "$line" </dev/null
    printf '\n@%s %s\n' "$number" "$?"
  done
done
"#;

/// The two files that QEMU boots directly.
#[derive(Clone, Debug)]
pub struct Image {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initrd, made for this kernel.
    pub initrd: PathBuf,
}

impl Image {
    /// Finds the kernel that `scripts/guest-image` unpacked, and packs the initrd beside it.
    ///
    /// # Panics
    /// If the kernel or busybox is missing, with the command that gets it.
    pub fn prepare() -> Self {
        let guest = workspace().join("target/guest");
        let (kernel, version) = find_kernel(&guest.join("linux/boot"))
            .unwrap_or_else(|| panic!("no guest kernel in {}: run scripts/guest-image", guest.display()));
        let busybox = find_program("busybox").expect("busybox is not installed: run scripts/setup");

        let mut archive = Archive::default();
        for folder in ["bin", "dev", "modules"] {
            archive.add(folder, 0o040_755, &[]);
        }
        archive.add("bin/busybox", 0o100_755, &read(&busybox));
        archive.add("bin/sh", 0o120_777, b"busybox");
        archive.add("init", 0o100_755, INIT.as_bytes());
        let mut order = String::new();
        for module in MODULES {
            let source = guest.join(format!("linux/lib/modules/{version}/kernel/{module}.ko"));
            let name = Path::new(module).file_name().and_then(|n| n.to_str()).expect("module names are plain");
            archive.add(&format!("modules/{name}.ko"), 0o100_644, &read(&source));
            order += name;
            order += "\n";
        }
        archive.add("modules/order", 0o100_644, order.as_bytes());

        let initrd = guest.join("initrd.cpio");
        let fresh = guest.join(format!("initrd.cpio.{}", std::process::id()));
        std::fs::write(&fresh, archive.finish()).expect("target/guest can be written");
        std::fs::rename(&fresh, &initrd).expect("target/guest can be written");
        Self { kernel, initrd }
    }
}

fn find_kernel(boot: &Path) -> Option<(PathBuf, String)> {
    std::fs::read_dir(boot).ok()?.flatten().find_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        Some((entry.path(), name.strip_prefix("vmlinuz-")?.to_owned()))
    })
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}: run scripts/setup", path.display()))
}

/// A cpio archive in the "newc" format, being written.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entry_count: u32,
}

impl Archive {
    /// Appends one entry; for a symbolic link the content is its target.
    fn add(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entry_count += 1;
        let size = u32::try_from(content.len()).expect("an initrd file is far below 4 GiB");
        let name_size = u32::try_from(name.len() + 1).expect("names are short");
        self.bytes.extend_from_slice(b"070701");
        // inode, mode, uid, gid, links, mtime, size, device major and minor, the same of a node, name size, checksum
        for field in [self.entry_count, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0] {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    /// Header and content both start at a multiple of four bytes.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn an_entry_is_a_header_of_110_bytes_a_name_and_content_all_padded_to_four() {
        let mut archive = Archive::default();
        archive.add("init", 0o100_755, b"hello");
        // 110 + "init\0" = 115, padded to 116; then 5 bytes, padded to 8
        assert_eq!(archive.bytes.len(), 124);
        assert_eq!(&archive.bytes[..6], b"070701");
        assert_eq!(&archive.bytes[14..22], b"000081ed", "mode");
        assert_eq!(&archive.bytes[54..62], b"00000005", "size");
        assert_eq!(&archive.bytes[116..121], b"hello");
        let whole = archive.finish();
        assert_eq!(whole.len() % 4, 0);
        assert!(whole.windows(11).any(|w| w == b"TRAILER!!!\0"));
    }
}
