//! SSH handshakes.

use inspect::inspector::Direction;
use inspect::protocol::Buffer;
use inspect::record::Transaction;

use super::{Filling, Object};

pub(super) fn object(transaction: &Transaction) -> Object {
    let mut ssh = Object::new();
    let sides = [
        ("client", Direction::ToServer, Buffer::SshHassh, Buffer::SshHasshString),
        ("server", Direction::ToClient, Buffer::SshHasshServer, Buffer::SshHasshServerString),
    ];
    for (key, side, hash, string) in sides {
        let mut end = Filling::of(transaction);
        end.of_side("proto_version", Buffer::SshProto, Some(side));
        end.of_side("software_version", Buffer::SshSoftware, Some(side));
        end.pair("hassh", hash, string);
        if !end.object.is_empty() {
            ssh.insert(key.to_owned(), end.object.into());
        }
    }
    ssh
}
