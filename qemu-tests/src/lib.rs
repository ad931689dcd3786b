//! Real guests on the real switch: the lab that boots them, and the words in which tests speak about them.
//!
//! The crate links no other crate of this project. What it knows of the switch is what an operator knows: the binary,
//! a configuration file, the command line, the EVE file and `/metrics`. So a test here cannot pass by reaching inside.
//!
//! From the ground up:
//! - [`tools`]: what must be installed, and how a child process is started so that it cannot outlive its test;
//! - [`image`]: the kernel and the initrd that guests boot;
//! - [`console`] and [`qmp`]: the two ways to talk to a guest, its shell and its QEMU;
//! - [`guest`]: one virtual machine; [`testpmd`]: a DPDK process that is a guest without being a machine;
//! - [`netns`]: a network namespace, for what stands outside the switch;
//! - [`firewall`]: the outside, made of two of those;
//! - [`switch`]: the process under test, and [`metrics`] what it counts;
//! - [`setup`] says what a lab is to be, [`lab`] is all of it together, torn down when the test ends, however it ends.
//!
//! A failed expectation in the lab panics with what was seen: these are the fittings of tests, not a library.

#![forbid(unsafe_code)]

pub mod console;
pub mod firewall;
pub mod guest;
pub mod image;
pub mod lab;
pub mod metrics;
pub mod netns;
pub mod qmp;
pub mod setup;
pub mod switch;
pub mod testpmd;
pub mod tools;
