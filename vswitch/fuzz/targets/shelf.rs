//! A worker that does nothing by itself.

use std::collections::HashMap;
use std::sync::Mutex;

use vswitch::frame::Batch;
use vswitch::port::QueueIo;
use vswitch::worker::{Attach, Detached, QueueId};

/// Keeps attached queues.
#[derive(Default)]
pub struct Shelf(Mutex<HashMap<QueueId, Box<dyn QueueIo>>>);

impl Attach for Shelf {
    fn attach(&self, id: QueueId, queue: Box<dyn QueueIo>) {
        let before = self.0.lock().expect("no panic").insert(id, queue);
        assert!(before.is_none(), "a queue is attached once");
    }

    fn detach(&self, id: QueueId) -> Detached {
        self.0.lock().expect("no panic").remove(&id).map_or(Detached::Absent, Detached::Queue)
    }
}

impl Shelf {
    pub fn is_empty(&self) -> bool {
        self.0.lock().expect("no panic").is_empty()
    }

    /// Uses the queue of a port that has one, which is given up when the answer is `false`; `false` without one.
    #[allow(dead_code, reason = "one target has its queues to itself")]
    pub fn with(&self, use_queue: impl FnOnce(&mut dyn QueueIo) -> bool) -> bool {
        let mut queues = self.0.lock().expect("no panic");
        let goes_on = queues.values_mut().next().is_some_and(|queue| use_queue(queue.as_mut()));
        if !goes_on {
            queues.clear();
        }
        goes_on
    }

    /// Lets every queue do a worker's work. What its guest has written may be a fault of the port; nothing else may happen.
    #[allow(dead_code, reason = "another lets them work")]
    pub fn work(&self) {
        let mut batch = Batch::new();
        self.0.lock().expect("no panic").retain(|_, queue| {
            batch.clear();
            queue.receive(&mut batch).is_ok()
        });
    }
}
